//! What the status page shows, gathered at one moment from what the window sees.
//!
//! Bounded: of lists that may be long it holds the first rows and how many there are.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::figures::Figures;
use super::history::Counts;
use super::{Loaded, Window, destinations, status};
use crate::dial::health::DestinationHealth;
use crate::lifecycle::Phase;
use crate::policy::WouldRefuse;
use crate::relay::Tunnels;
use crate::relay::confirmations::Recent;
use crate::telemetry::Moment;
use crate::telemetry::alarms::AlarmState;
use crate::telemetry::guide;

/// With more, who goes where is told by `/tunnels` alone: walking through all of them costs.
const WALKED_MAX: usize = 10_000;
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
    /// Of these, what is of the last five minutes; whoever has the history fills it in.
    pub(super) lately: Counts,
    /// What the exchanges in tunnels took in the last minute, sharper than the metric's buckets.
    pub(super) confirmations: Option<Recent>,
    pub(super) tunnels: usize,
    /// Open tunnels by destination; `None` where they are too many to be walked through.
    pub(super) tunnels_by_destination: Option<BTreeMap<String, usize>>,
    pub(super) destinations: Vec<DestinationHealth>,
    pub(super) would_refuse: Vec<WouldRefuse>,
    pub(super) would_refuse_rows: usize,
    pub(super) memory_bytes: Option<u64>,
    /// All of the board, which is bounded.
    pub(super) alarms: Vec<AlarmState>,
    /// What is left of a silence: alarms are shown and not delivered.
    pub(super) silenced: Option<Duration>,
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
            lately: Counts::default(),
            // Each core knows the figures of all.
            confirmations: window
                .tunnels
                .first()
                .and_then(|core| core.confirmations().recent_of_all(now)),
            tunnels,
            tunnels_by_destination: (tunnels <= WALKED_MAX).then(|| by_destination(window)),
            destinations: destinations::seen(&window.health, &window.tunnels, now),
            would_refuse,
            would_refuse_rows,
            memory_bytes: status::memory(),
            alarms: window.alarms.snapshot(),
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

pub(super) fn severity(severity: guide::Severity) -> Severity {
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
