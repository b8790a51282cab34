//! Starts that keep their distance: what was missed is not made up for all at once. Pure: `now` is an argument.
//!
//! A driver that was held up for a moment, by a busy machine, would otherwise start everything that has come due in one
//! burst: another storm than the one that was asked for.

use std::time::{Duration, Instant};

/// A start may be so late, as timers are, before it counts as missed.
const LENIENCE: Duration = Duration::from_millis(2);

/// When the next start may be.
#[derive(Debug)]
pub struct Steps {
    distance: Duration,
    next: Instant,
}

impl Steps {
    /// No more a second than this; `per_second` is above 0.
    #[must_use]
    pub fn new(per_second: f64, start: Instant) -> Self {
        Self {
            distance: Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::ZERO),
            next: start,
        }
    }

    /// Takes the next start that is not before `due`, nor long past.
    pub fn take(&mut self, due: Instant, now: Instant) -> Instant {
        let earliest = now.checked_sub(LENIENCE).unwrap_or(now);
        let at = self.next.max(due).max(earliest);
        self.next = at + self.distance;
        at
    }

    /// Whether a start that was taken has been slept over, and another is to be taken.
    #[must_use]
    pub fn missed(at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) > LENIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn who_is_in_time_starts_when_it_is_due_and_who_was_held_up_not_in_a_burst() {
        let start = Instant::now();
        // One in 10 ms.
        let mut steps = Steps::new(100.0, start);
        // When it is due, when it asks, and when it may.
        for (due, now, at) in [
            (0, 0, 0),
            (10, 3, 10),
            (20, 20, 20),
            (30, 500, 498),
            (40, 500, 508),
            (50, 500, 518),
            (600, 500, 600),
        ] {
            let taken = steps.take(start + ms(due), start + ms(now));
            assert_eq!(taken, start + ms(at), "due at {due} ms");
        }
        assert!(!Steps::missed(start, start + ms(2)));
        assert!(Steps::missed(start, start + ms(3)));
        assert!(!Steps::missed(start + ms(9), start));
    }

    #[test]
    fn any_rate_has_a_distance() {
        let start = Instant::now();
        for per_second in [1e-9, 0.5, 1e6, f64::INFINITY, f64::NAN] {
            let _ = Steps::new(per_second, start).take(start, start);
        }
    }
}
