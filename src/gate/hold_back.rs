//! Refusals of limits are given late: not before half of the time is over that the exchange may wait.
//!
//! A sender that comes again at once after each refusal would keep a core busy with nothing else, which everybody
//! behind the same core would feel. Held back, it can do no more than its connections allow. How many are held at a
//! time is bounded, since each holds a connection; beyond that a refusal goes out at once. Each is held for another
//! time, between half of it and all: those that were refused together do not come again together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::limited::Limited;
use super::limits::Waited;

/// The places of those that are held back. Shared by all cores.
#[derive(Debug, Clone, Default)]
pub(super) struct HoldBack {
    held: Arc<AtomicUsize>,
    max: usize,
    /// How many there were, for each its own time.
    turns: Arc<AtomicU32>,
}

/// One that is held back.
struct Place<'a>(&'a AtomicUsize);

impl HoldBack {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    /// Hands the refusal on when it is due, or at once where no place is free. Dropping the future frees the place.
    pub(super) async fn until_due(&self, limited: Limited, waited: &mut Waited) -> Limited {
        let now = Instant::now();
        if limited.due <= now {
            return limited;
        }
        let Some(_place) = self.take() else {
            return limited;
        };
        waited.since.get_or_insert(now);
        sleep_until(now + self.share_of(limited.due - now)).await;
        let after = limited.after.saturating_sub(now.elapsed());
        Limited { after, ..limited }
    }

    /// Steps of the golden ratio spread evenly, however many there are.
    fn share_of(&self, time: Duration) -> Duration {
        const GOLDEN: u32 = 2_654_435_769;
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let share = f64::from(turn.wrapping_mul(GOLDEN)) / f64::from(u32::MAX);
        time.mul_f64(1.0 - share / 2.0)
    }

    fn take(&self) -> Option<Place<'_>> {
        let before = self.held.fetch_add(1, Ordering::AcqRel);
        let place = Place(&self.held);
        (before < self.max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::limited::Lack;

    fn refusal(due: Instant) -> Limited {
        Limited {
            limit: "per-cluster".into(),
            lacks: Lack::Places { tunnels: 1 },
            after: Duration::from_secs(3),
            due,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_goes_out_by_when_it_is_due_and_says_what_is_left() {
        let hold_back = HoldBack::new(1);
        let start = Instant::now();
        let mut waited = Waited::default();
        let due = start + Duration::from_millis(500);
        let refused = hold_back.until_due(refusal(due), &mut waited).await;
        assert_eq!(start.elapsed(), Duration::from_millis(500));
        // Somebody who comes then has waited half a second of the three already.
        assert_eq!(refused.after, Duration::from_millis(2_500));
        assert_eq!(waited.took(Instant::now()), Some(start.elapsed()));
        assert_eq!(hold_back.held.load(Ordering::Acquire), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_refused_together_do_not_come_again_together() {
        let hold_back = HoldBack::new(1);
        let second = Duration::from_secs(1);
        let mut shares: Vec<_> = (0..100).map(|_| hold_back.share_of(second)).collect();
        shares.sort_unstable();
        assert!(
            shares[0] >= second / 2 && shares[99] <= second,
            "{shares:?}"
        );
        let widest = shares.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(second / 50), "{shares:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_cap_it_goes_out_at_once_and_who_leaves_frees_its_place() {
        let hold_back = HoldBack::new(1);
        let start = Instant::now();
        let due = start + Duration::from_secs(1);
        let (mut first, mut second) = (Waited::default(), Waited::default());
        {
            let held = hold_back.until_due(refusal(due), &mut first);
            tokio::pin!(held);
            tokio::select! {
                biased;
                _ = &mut held => panic!("it was not held back"),
                () = std::future::ready(()) => {}
            }
            let refused = hold_back.until_due(refusal(due), &mut second).await;
            assert_eq!(refused.after, Duration::from_secs(3));
            assert_eq!((start.elapsed(), second.since), (Duration::ZERO, None));
        }
        hold_back.until_due(refusal(due), &mut second).await;
        assert!(start.elapsed() >= Duration::from_millis(500));
    }
}
