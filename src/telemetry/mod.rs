//! What the operator learns: counters and gauges, one access line per exchange, the journal of changes.
//!
//! Log a change, count an event. No station of the data path is known here, nothing here makes a caller wait,
//! and only this room touches the `metrics` crate. A secret never comes in.

pub(crate) mod access_log;
pub(crate) mod alarm;
pub(crate) mod alarms;
pub(crate) mod catalogue;
mod configured;
pub(crate) mod derive;
pub(crate) mod exposition;
pub(crate) mod guide;
pub(crate) mod guide_counters;
pub(crate) mod habits;
pub(crate) mod journal;
pub(crate) mod json;
pub(crate) mod ledger;
pub(crate) mod limit_meters;
mod lines;
pub(crate) mod meters;
pub(crate) mod outbox;
pub(crate) mod probed;
pub(crate) mod reached;
mod refusals;
mod sink;
mod subjects;
pub(crate) mod summary;
pub(crate) mod timestamp;

pub(crate) use access_log::{AccessLog, AccessLogError, Event, LogEnd};
pub(crate) use alarms::AlarmBoard;
pub(crate) use derive::Derivation;
pub(crate) use guide_counters::GuideCounters;
pub(crate) use habits::{Before, Habits, Manner, NonceUse};
pub(crate) use journal::{Chain, Journal, LevelSwitch};
pub(crate) use ledger::{Entry, Ledger};
pub(crate) use limit_meters::LimitMeters;
pub(crate) use lines::LineWriter;
pub(crate) use meters::Meters;
pub(crate) use outbox::{Letter, Waiting};
pub(crate) use reached::Reached;
pub(crate) use timestamp::{Moment, Timestamp};
