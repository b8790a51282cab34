//! The generic cell rate algorithm: one instant of memory says how far a rate is used up.
//!
//! Pure: `now` is an argument. In any span of time no more pass than its length times the rate, and one burst.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;

/// Longer spans mean nothing to anybody, and an `Instant` cannot be moved by all that a `Duration` can say.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How fast, and how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// From one to the next, rounded up: a rate is never exceeded.
    interval: Duration,
    burst: u32,
}

/// What one key has used of its rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gcra {
    /// When all that was taken will have been earned (the algorithm's theoretical arrival time).
    earned: Instant,
}

impl Pace {
    pub(super) fn new(rate: Rate, burst: u32) -> Self {
        let seconds = (1.0 / rate.per_second).min(LONGEST.as_secs_f64());
        let nanoseconds = (seconds * 1e9).ceil();
        Self {
            interval: Duration::from_nanos(nanoseconds as u64).min(LONGEST),
            burst: burst.max(1),
        }
    }

    pub(super) fn burst(self) -> u32 {
        self.burst
    }

    /// How long a burst takes to be earned again.
    pub(super) fn window(self) -> Duration {
        self.times(u64::from(self.burst))
    }

    /// So many intervals.
    pub(super) fn times(self, count: u64) -> Duration {
        let nanoseconds = self.interval.as_nanos().saturating_mul(count.into());
        u64::try_from(nanoseconds).map_or(LONGEST, |short| Duration::from_nanos(short).min(LONGEST))
    }
}

impl Gcra {
    /// With a whole burst to spend.
    pub(super) fn new(now: Instant) -> Self {
        Self { earned: now }
    }

    /// When the next may pass; in the past if it may now.
    pub(super) fn next(&self, pace: Pace, now: Instant) -> Instant {
        let ahead = pace.times(u64::from(pace.burst) - 1);
        self.earned.checked_sub(ahead).unwrap_or(now)
    }

    /// Takes one; if none is left, says when there will be.
    pub(super) fn take(&mut self, pace: Pace, now: Instant) -> Result<(), Instant> {
        self.take_ahead(pace, now, Duration::ZERO)
    }

    /// Takes one that there is now, or will be within `ahead`.
    pub(super) fn take_ahead(
        &mut self,
        pace: Pace,
        now: Instant,
        ahead: Duration,
    ) -> Result<(), Instant> {
        // What can be owed at most: a pace that has become faster does not wait for the debt of a slower one.
        self.earned = self.earned.min(now + pace.window() + ahead);
        let next = self.next(pace, now);
        if next > now + ahead {
            return Err(next);
        }
        self.earned = self.earned.max(now) + pace.interval;
        Ok(())
    }

    /// Gives one back that was taken and not used.
    pub(super) fn put_back(&mut self, pace: Pace) {
        if let Some(earned) = self.earned.checked_sub(pace.interval) {
            self.earned = earned;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pace(per_second: f64, burst: u32) -> Pace {
        Pace::new(Rate { per_second }, burst)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_at_once_then_the_rate() {
        let start = Instant::now();
        let mut gcra = Gcra::new(start);
        let pace = pace(10.0, 3);
        // When it is asked, and what it says: taken, or how long to wait.
        for (at, said) in [
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(100)),
            (99, Err(100)),
            (100, Ok(())),
            (100, Err(200)),
            (310, Ok(())),
            (310, Ok(())),
            (310, Err(400)),
            (10_000, Ok(())),
            (10_000, Ok(())),
            (10_000, Ok(())),
            (10_000, Err(10_100)),
        ] {
            let taken = gcra.take(pace, start + ms(at));
            assert_eq!(taken, said.map_err(|at| start + ms(at)), "at {at} ms");
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let start = Instant::now();
        let mut gcra = Gcra::new(start);
        let pace = pace(1.0, 1);
        assert!(gcra.take(pace, start).is_ok());
        assert!(gcra.take(pace, start).is_err());
        gcra.put_back(pace);
        assert!(gcra.take(pace, start).is_ok());
        assert!(gcra.take(pace, start).is_err());
    }

    #[test]
    fn a_faster_pace_does_not_wait_for_the_debt_of_a_slower_one() {
        let start = Instant::now();
        let mut gcra = Gcra::new(start);
        for _ in 0..100 {
            assert!(gcra.take(pace(0.01, 100), start).is_ok());
        }
        let faster = pace(10.0, 5);
        assert_eq!(gcra.take(faster, start), Err(start + ms(100)));
        assert_eq!(gcra.take(faster, start + ms(100)), Ok(()));
    }

    #[test]
    fn what_may_wait_is_promised_as_far_ahead_as_it_may_wait_and_no_further() {
        let start = Instant::now();
        let mut gcra = Gcra::new(start);
        let pace = pace(10.0, 2);
        let promised = (0..10).filter(|_| gcra.take_ahead(pace, start, ms(300)).is_ok());
        assert_eq!(promised.count(), 5);
        assert_eq!(gcra.take_ahead(pace, start + ms(100), ms(300)), Ok(()));
    }

    #[test]
    fn the_slowest_rate_and_the_largest_burst_are_no_overflow() {
        let start = Instant::now();
        let slow = pace(0.001, 10_000_000);
        let mut gcra = Gcra::new(start);
        assert!(gcra.take(slow, start).is_ok());
        assert!(gcra.next(slow, start) <= start);
    }

    proptest! {
        #[test]
        fn in_any_window_no_more_than_the_rate_and_one_burst(
            per_second in 0.5f64..2_000.0,
            burst in 1u32..40,
            steps in prop::collection::vec(0u64..200_000, 1..300),
        ) {
            let pace = pace(per_second, burst);
            let start = Instant::now();
            let mut gcra = Gcra::new(start);
            let mut at = start;
            let mut passed = Vec::new();
            for step in steps {
                at += Duration::from_micros(step);
                if gcra.take(pace, at).is_ok() {
                    passed.push(at);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (more, to) in passed[first..].iter().enumerate() {
                    let span = to.duration_since(*from).as_secs_f64();
                    let most = span * per_second + f64::from(burst);
                    prop_assert!((more + 1) as f64 <= most + 1e-6, "{} in {span} s", more + 1);
                }
            }
        }

        #[test]
        fn whoever_comes_when_it_was_told_to_passes(
            per_second in 0.5f64..2_000.0,
            burst in 1u32..40,
            asks in 1usize..100,
        ) {
            let pace = pace(per_second, burst);
            let start = Instant::now();
            let mut gcra = Gcra::new(start);
            let mut at = start;
            for _ in 0..asks {
                if let Err(next) = gcra.take(pace, at) {
                    prop_assert!(next > at);
                    at = next;
                    prop_assert_eq!(gcra.take(pace, at), Ok(()));
                }
            }
        }
    }
}
