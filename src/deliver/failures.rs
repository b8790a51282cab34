//! How deliveries to one receiver fail: what the journal hears of it, and how long to wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::post::PostError;
use super::trouble::{CALM, Trouble};
use crate::telemetry::Meters;

/// How deliveries to one receiver fail: counted, told once, and followed by a pause.
pub(super) struct Failures {
    sink: &'static str,
    place: String,
    meters: Arc<Meters>,
    trouble: Trouble,
    backoff: Backoff,
    /// Since when none has failed.
    well_since: Option<Instant>,
}

impl Failures {
    pub(super) fn new(sink: &'static str, place: String, meters: Arc<Meters>) -> Self {
        meters.alarm_deliveries_begin(sink);
        Self {
            sink,
            place,
            meters,
            trouble: Trouble::default(),
            backoff: Backoff::default(),
            well_since: None,
        }
    }

    pub(super) fn none(&mut self, now: Instant) {
        self.meters.alarm_delivery(self.sink, "ok");
        self.well_since.get_or_insert(now);
        if self.trouble.ends() {
            tracing::info!(sink = self.sink, to = %self.place, "alarms are delivered again");
        }
    }

    /// How long to wait before the next try.
    pub(super) fn one(&mut self, error: &PostError, now: Instant) -> Duration {
        self.meters.alarm_delivery(self.sink, error.token());
        if self.well_since.is_some_and(|since| now - since >= CALM) {
            self.backoff = Backoff::default();
        }
        self.well_since = None;
        if self.trouble.is_news(error.kind(), now) {
            tracing::warn!(sink = self.sink, to = %self.place, cause = %error, "alarms cannot be delivered: it is tried again");
        }
        let mut chance = [0];
        // Without chance the pauses are only the longer.
        let _ = aws_lc_rs::rand::fill(&mut chance);
        self.backoff.jittered(chance[0])
    }
}
