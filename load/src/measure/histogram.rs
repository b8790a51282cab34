//! Latencies, each from the moment a push was *due*, so that a stalled sender can't hide the stall.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Anything longer is recorded as this.
const LONGEST: Duration = Duration::from_secs(600);

/// A histogram with three significant figures, in microseconds.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let longest = u64::try_from(LONGEST.as_micros()).expect("ten minutes fit");
        Self(Histogram::new_with_bounds(1, longest, 3).expect("the bounds are valid"))
    }
}

impl Latencies {
    /// One more.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    /// All of these as well.
    pub fn add(&mut self, others: &Self) {
        // The bounds are the same.
        let _ = self.0.add(&others.0);
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Their mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.0.mean() / 1e6)
    }

    /// The latency that this share (0 to 1) stayed at or below.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }

    /// The longest one.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::default();
        for ms in 1..=100 {
            latencies.record(Duration::from_millis(ms));
        }
        let check = |share, ms: u64| {
            let off = latencies.quantile(share).as_millis() as i64 - ms as i64;
            assert!(off.abs() <= 1, "{share}: {:?}", latencies.quantile(share));
        };
        check(0.5, 50);
        check(0.99, 99);
        check(1.0, 100);
    }

    #[test]
    fn what_is_too_long_is_kept_at_the_bound() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_secs(86_400));
        assert!(latencies.max() >= Duration::from_secs(599));
    }
}
