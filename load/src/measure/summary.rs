//! What a run amounts to: outcomes and confirmation times, as rows of text and as JSON.

use std::time::Duration;

use super::{Latencies, Tally};

/// The outcome that counts as success.
pub const CONFIRMED: &str = "confirmed";

/// A run in numbers.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Pushes that were due.
    pub pushes: u64,
    /// How each ended, as its server saw it.
    pub outcomes: Tally,
    /// Half of the confirmations came within so many milliseconds of the push being due.
    pub p50_ms: f64,
    /// 99 in 100.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
}

impl Summary {
    /// From `(outcome, time since it was due)` of every push.
    pub fn of(ends: impl IntoIterator<Item = (&'static str, Duration)>) -> Self {
        let (mut tally, mut latencies) = (Tally::default(), Latencies::default());
        for (outcome, latency) in ends {
            tally.note(outcome);
            if outcome == CONFIRMED {
                latencies.record(latency);
            }
        }
        Self {
            pushes: tally.total(),
            p50_ms: milliseconds(latencies.quantile(0.5)),
            p99_ms: milliseconds(latencies.quantile(0.99)),
            max_ms: milliseconds(latencies.max()),
            outcomes: tally,
        }
    }

    /// The confirmation times as one line.
    #[must_use]
    pub fn times(&self) -> String {
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            self.p50_ms, self.p99_ms, self.max_ms
        )
    }
}

fn milliseconds(latency: Duration) -> f64 {
    (latency.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_confirmed_pushes_have_a_confirmation_time() {
        let ms = Duration::from_millis;
        let summary = Summary::of([(CONFIRMED, ms(10)), (CONFIRMED, ms(20)), ("cut", ms(5000))]);
        assert_eq!(summary.pushes, 3);
        assert_eq!(summary.outcomes.of("cut"), 1);
        assert!(summary.max_ms < 21.0, "{}", summary.times());
    }
}
