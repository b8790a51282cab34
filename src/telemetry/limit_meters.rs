//! What is counted of one `[[limit]]`.

use std::sync::PoisonError;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::catalogue;
use super::meters::{Meters, counter, gauge};

/// Limits that have series of their own; a reload may bring new names again and again, memory may not grow with it.
const LIMITS_MAX: usize = 1_024;

/// The handles of one limit.
#[derive(Debug)]
pub(crate) struct LimitMeters {
    waits: Counter,
    wait_seconds: Histogram,
    refusals: Counter,
    keys: Gauge,
}

impl Meters {
    /// The handles of the limit with this name. Their series begin at 0.
    pub(crate) fn limit(&self, name: &str) -> LimitMeters {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let label = if limits.contains(name) || limits.len() < LIMITS_MAX {
            limits.insert(name.into());
            name
        } else {
            "other"
        };
        let meters = LimitMeters {
            waits: counter(&self.recorder, &catalogue::LIMIT_WAITS, &[label]),
            wait_seconds: self.limit_wait_seconds.clone(),
            refusals: counter(&self.recorder, &catalogue::LIMIT_REFUSALS, &[label]),
            keys: gauge(&self.recorder, &catalogue::LIMIT_KEYS, &[label]),
        };
        meters.waits.increment(0);
        meters.refusals.increment(0);
        meters.keys.increment(0.0);
        meters
    }
}

impl LimitMeters {
    /// An exchange begins to wait.
    pub(crate) fn waits(&self) {
        self.waits.increment(1);
    }

    /// One waits no more.
    pub(crate) fn waited(&self, wait: Duration) {
        self.wait_seconds.record(wait.as_secs_f64());
    }

    pub(crate) fn refused(&self) {
        self.refusals.increment(1);
    }

    pub(crate) fn keys_changed(&self, before: usize, now: usize) {
        // Added to, never set: a limit that replaces another of its name counts beside it until that is gone.
        if before != now {
            self.keys.increment(now as f64 - before as f64);
        }
    }
}
