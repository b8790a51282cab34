//! What the status page shows, gathered at one moment from what the window sees.
//!
//! Bounded: of lists that may be long it holds the first rows and how many there are.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::figures::Figures;
use super::{Loaded, Window, status};
use crate::dial::health::DestinationHealth;
use crate::lifecycle::Phase;
use crate::policy::WouldRefuse;
use crate::relay::Tunnels;
use crate::telemetry::alarms::{AlarmState, State};
use crate::telemetry::guide;
use crate::telemetry::{AlarmBoard, Moment};

/// With more, who goes where is told by `/tunnels` alone: walking through all of them costs.
const WALKED_MAX: usize = 10_000;
/// Rows of alarms.
const ALARMS_MAX: usize = 200;
/// Rows of what would have been refused.
pub(super) const HINTS_MAX: usize = 20;

#[derive(Debug)]
pub(super) struct Glance {
    pub(super) at: SystemTime,
    pub(super) uptime: Duration,
    pub(super) phase: Phase,
    /// What is left to the tunnels of a proxy that drains.
    pub(super) tunnels_end_in: Option<Duration>,
    pub(super) loaded: Loaded,
    pub(super) figures: Figures,
    pub(super) tunnels: usize,
    /// Open tunnels by destination; `None` where they are too many to be walked through.
    pub(super) tunnels_by_destination: Option<BTreeMap<String, usize>>,
    pub(super) destinations: Vec<DestinationHealth>,
    pub(super) would_refuse: Vec<WouldRefuse>,
    pub(super) would_refuse_rows: usize,
    pub(super) memory_bytes: Option<u64>,
    pub(super) alarms: Vec<AlarmRow>,
    /// What is left of a silence: alarms are shown and not delivered.
    pub(super) silenced: Option<Duration>,
}

/// One alarm that is raised now, or was.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AlarmRow {
    pub(super) name: String,
    pub(super) component: String,
    pub(super) severity_name: String,
    pub(super) severity: Severity,
    pub(super) summary: String,
    pub(super) action: String,
    pub(super) active: bool,
    /// Of this state.
    pub(super) since: SystemTime,
    pub(super) raised: u64,
    pub(super) origin: String,
    /// What it is about; "" where there is only one such thing.
    pub(super) subject: String,
    pub(super) evidence: String,
    pub(super) exchange: Option<String>,
}

/// How bad, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Notice,
    Warning,
    Error,
}

impl Glance {
    /// Renders metrics and may walk through tunnels: not for the control thread.
    pub(super) fn gather(window: &Window) -> Self {
        let now = Instant::now();
        let phase = window.phase.phase();
        let tunnels: usize = window.tunnels.iter().map(Tunnels::count).sum();
        let mut would_refuse = window.reports.rows();
        let would_refuse_rows = would_refuse.len();
        would_refuse.truncate(HINTS_MAX);
        Self {
            at: SystemTime::now(),
            uptime: now.saturating_duration_since(window.started),
            phase,
            tunnels_end_in: match phase {
                Phase::Serving => None,
                Phase::Draining { tunnels_until } => {
                    tunnels_until.map(|until| until.saturating_duration_since(now))
                }
            },
            loaded: window.loaded.borrow().clone(),
            figures: Figures::read(&window.meters.render()),
            tunnels,
            tunnels_by_destination: (tunnels <= WALKED_MAX).then(|| by_destination(window)),
            destinations: window.health.view(now),
            would_refuse,
            would_refuse_rows,
            memory_bytes: status::memory(),
            alarms: alarm_rows(&window.alarms),
            silenced: window
                .alarms
                .silenced(Moment::now())
                .map(|until| until.instant.saturating_duration_since(now.into_std())),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.phase != Phase::Serving
    }

    /// What the file calls its destinations, those that nobody asked for yet included.
    pub(super) fn destination_names(&self) -> Vec<&str> {
        let configured = self.loaded.shown["destination"].as_array();
        let configured = configured.into_iter().flatten();
        configured
            .filter_map(|destination| destination["name"].as_str())
            .collect()
    }
}

fn by_destination(window: &Window) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for tunnel in window.tunnels.iter().flat_map(Tunnels::snapshot) {
        *counts.entry(tunnel.destination().to_string()).or_default() += 1;
    }
    counts
}

/// A row for each that is active and each that was, and for each thing that it is about; the active first.
fn alarm_rows(board: &AlarmBoard) -> Vec<AlarmRow> {
    let all = board.snapshot();
    let mut rows: Vec<_> = all.iter().flat_map(rows_of).collect();
    rows.sort_by_key(|row| !row.active);
    rows.truncate(ALARMS_MAX);
    rows
}

fn rows_of(one: &AlarmState) -> impl Iterator<Item = AlarmRow> + '_ {
    let definition = &one.definition;
    one.subjects.iter().map(move |subject| AlarmRow {
        name: one.alarm.name().to_owned(),
        component: definition.component.name().to_owned(),
        severity: severity(definition.severity),
        severity_name: definition.severity.name().to_owned(),
        summary: definition.summary.to_string(),
        action: definition.action.to_string(),
        active: subject.state == State::Active,
        since: subject.since.wall,
        raised: subject.raised,
        origin: subject.origin.token().to_owned(),
        subject: subject.name.to_string(),
        evidence: subject.evidence.text.clone(),
        exchange: subject.evidence.exchange.map(|id| id.to_string()),
    })
}

fn severity(severity: guide::Severity) -> Severity {
    match severity {
        guide::Severity::Unspecified | guide::Severity::Information | guide::Severity::Notice => {
            Severity::Notice
        }
        guide::Severity::Warning => Severity::Warning,
        guide::Severity::Error | guide::Severity::Critical | guide::Severity::Alert => {
            Severity::Error
        }
    }
}
