//! Open-loop pacing: push n is due at n / rate, and no answer, late or missing, changes that. Pure.

use std::time::Duration;

/// So many pushes a second, so many in all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    per_second: f64,
    total: u64,
}

impl Pace {
    /// An even pace over a time; rates that make no sense count as one a second.
    #[must_use]
    pub fn new(per_second: f64, length: Duration) -> Self {
        let per_second = if per_second.is_finite() && per_second > 0.0 {
            per_second
        } else {
            1.0
        };
        Self {
            per_second,
            total: (per_second * length.as_secs_f64()).round() as u64,
        }
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// When push n (from 0) is due, counted from the start; `None` after the last.
    #[must_use]
    pub fn due(&self, n: u64) -> Option<Duration> {
        (n < self.total).then(|| Duration::from_secs_f64(n as f64 / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_are_due_evenly_and_end() {
        let check = |rate, seconds, n, expected: Option<f64>| {
            let pace = Pace::new(rate, Duration::from_secs(seconds));
            let due = pace.due(n).map(|due| due.as_secs_f64());
            let close = match (due, expected) {
                (Some(due), Some(expected)) => (due - expected).abs() < 1e-6,
                (None, None) => true,
                _ => false,
            };
            assert!(close, "{rate}/s for {seconds} s, push {n}: {due:?}");
        };
        check(60.0, 10, 0, Some(0.0));
        check(60.0, 10, 60, Some(1.0));
        check(60.0, 10, 599, Some(599.0 / 60.0));
        check(60.0, 10, 600, None);
        check(0.5, 10, 4, Some(8.0));
        check(0.5, 10, 5, None);
        check(f64::NAN, 3, 3, None);
        check(0.0, 3, 2, Some(2.0));
    }
}
