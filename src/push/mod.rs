//! What a visible push says, and what its answer means.
//!
//! Pure: no clock, no sockets, nothing of a body is kept. A request is looked at as it passes, and tells its service,
//! its kind and its tracking id; of its answer come the guide's counters and alarms. Whoever moves them is told what,
//! by name. Device tokens never leave this room: nothing here returns a path, a target, or a value that was not asked
//! for.

mod answer;
mod message;
mod outcome;
mod scan;
mod sight;
mod words;

pub(crate) use outcome::{Alarm, End, Move};
pub(crate) use sight::{Sight, Subject};
