//! Which nonce counts were used: each passes once, in whatever order they come inside a window.
//!
//! Only a nonce that came with a right response is remembered here, so nobody fills the memory without a password. It
//! is bounded all the same; and what was forgotten never counts as new: a nonce that is not known, and not younger than
//! the youngest one forgotten, is refused. One memory for all cores, in shards behind short locks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::network::network_of;
use super::nonce::NonceId;
use crate::exchange::UserName;

const SHARDS: usize = 16;

/// What was used of the nonces that were good for something.
pub(crate) struct Replays {
    shards: [Mutex<Shard>; SHARDS],
}

/// Nonces that were used for one request only are apart: clients that take a new one each time cannot push out those
/// that come back.
#[derive(Default)]
struct Shard {
    once: BTreeMap<NonceId, Used>,
    again: BTreeMap<NonceId, Used>,
    /// The youngest one that was forgotten.
    forgotten: Option<NonceId>,
}

struct Used {
    /// Who used it first, and at which address.
    by: (UserName, IpAddr),
    counts: Window,
}

/// The highest count that came, and which of those before it.
struct Window {
    highest: u32,
    /// Bit n stands for the count n below the highest.
    used: u128,
}

impl Replays {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Uses a count up; false where it was used before, or might have been. `most` nonces are remembered.
    pub(crate) fn spend(
        &self,
        nonce: NonceId,
        user: &UserName,
        address: IpAddr,
        count: u32,
        most: usize,
    ) -> bool {
        // Two halves in each shard.
        let most = (most / SHARDS / 2).max(1);
        let by = || (user.clone(), network_of(address));
        self.shard(nonce).spend(nonce, by, count, most)
    }

    /// Whether it was this user, from this address, that came through with this nonce first.
    pub(crate) fn knows(&self, nonce: NonceId, user: &UserName, address: IpAddr) -> bool {
        let shard = self.shard(nonce);
        let used = shard.again.get(&nonce).or_else(|| shard.once.get(&nonce));
        used.is_some_and(|used| used.by.0 == *user && used.by.1 == network_of(address))
    }

    fn shard(&self, nonce: NonceId) -> MutexGuard<'_, Shard> {
        self.shards[nonce.spread() % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn spend(
        &mut self,
        nonce: NonceId,
        by: impl FnOnce() -> (UserName, IpAddr),
        count: u32,
        most: usize,
    ) -> bool {
        if let Some(used) = self.again.get_mut(&nonce) {
            return used.counts.take(count);
        }
        if let Some(mut used) = self.once.remove(&nonce) {
            let taken = used.counts.take(count);
            let half = if taken {
                &mut self.again
            } else {
                &mut self.once
            };
            half.insert(nonce, used);
            self.trim(most);
            return taken;
        }
        if self.forgotten.is_some_and(|forgotten| nonce <= forgotten) {
            return false;
        }
        let used = Used {
            by: by(),
            counts: Window::new(count),
        };
        self.once.insert(nonce, used);
        self.trim(most);
        true
    }

    /// Forgets the oldest ones of either half.
    fn trim(&mut self, most: usize) {
        for half in [&mut self.once, &mut self.again] {
            while half.len() > most {
                let oldest = half.pop_first().map(|(nonce, _)| nonce);
                self.forgotten = self.forgotten.max(oldest);
            }
        }
    }
}

impl Window {
    const WIDTH: u32 = u128::BITS;

    fn new(first: u32) -> Self {
        Self {
            highest: first,
            used: 1,
        }
    }

    fn take(&mut self, count: u32) -> bool {
        if let Some(ahead) = count.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            self.used = self.used.checked_shl(ahead).unwrap_or_default() | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if behind >= Self::WIDTH {
            return false;
        }
        let bit = 1 << behind;
        let new = self.used & bit == 0;
        self.used |= bit;
        new
    }
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replays").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const TEN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const ELEVEN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(11, 0, 0, 1));

    fn ann() -> UserName {
        UserName::new("ann")
    }

    /// Counts that come on one nonce, and whether each passes.
    #[track_caller]
    fn check(counts: &[(u32, bool)]) {
        let replays = Replays::new();
        let nonce = NonceId::new(5, 1);
        for (count, want) in counts {
            let passed = replays.spend(nonce, &ann(), TEN, *count, 1000);
            assert_eq!(passed, *want, "{count} of {counts:?}");
        }
    }

    #[test]
    fn each_count_once_in_any_order_inside_the_window() {
        check(&[(1, true), (2, true), (3, true), (2, false), (3, false)]);
        check(&[(2, true), (2, false), (1, true), (1, false)]);
        check(&[(5, true), (3, true), (8, true), (4, true), (3, false)]);
        check(&[(0, true), (0, false), (u32::MAX, true), (0, false)]);
        check(&[
            (129, true),
            (2, true),
            (1, false),
            (130, true),
            (2, false),
            (3, true),
        ]);
        check(&[
            (1, true),
            (128, true),
            (1, false),
            (129, true),
            (256, true),
            (128, false),
        ]);
    }

    #[test]
    fn what_was_forgotten_is_never_new_again() {
        let replays = Replays::new();
        let most = 2 * SHARDS * 3;
        let nonce = |ms| NonceId::new(ms, 0);
        let spend = |ms, count| replays.spend(nonce(ms), &ann(), TEN, count, most);
        for ms in 1..=3 {
            assert!(spend(ms, 1), "{ms}");
        }
        // Three have room; the fourth pushes the oldest out.
        assert!(spend(4, 1));
        assert!(!spend(1, 1), "forgotten");
        assert!(!spend(1, 2), "forgotten, whatever the count");
        assert!(!spend(2, 1), "used");
        // What has come back is in the other half, where new nonces do not push.
        assert!(spend(2, 2));
        for ms in 5..100 {
            assert!(spend(ms, 1), "{ms}");
        }
        assert!(spend(2, 3));
        assert!(!spend(2, 3));
        // A nonce that is older than those forgotten, and was never seen: it might have been.
        assert!(!spend(50, 1));
        assert!(spend(200, 1));
    }

    #[test]
    fn the_memory_is_bounded() {
        let replays = Replays::new();
        for n in 0..10_000_u64 {
            for count in 1..=1 + u32::from(n % 3 == 0) {
                replays.spend(NonceId::new(n, n), &ann(), TEN, count, 1000);
            }
        }
        let held = replays.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap();
            shard.once.len() + shard.again.len()
        });
        let held: usize = held.sum();
        assert!((900..=1000).contains(&held), "{held}");
    }

    #[test]
    fn only_who_came_through_with_it_is_known_by_it() {
        let replays = Replays::new();
        let nonce = NonceId::new(7, 7);
        assert!(!replays.knows(nonce, &ann(), TEN));
        for count in 1..3 {
            replays.spend(nonce, &ann(), TEN, count, 1000);
            assert!(replays.knows(nonce, &ann(), TEN));
            assert!(!replays.knows(nonce, &UserName::new("bob"), TEN));
            assert!(
                !replays.knows(nonce, &ann(), ELEVEN),
                "whoever read it on the way"
            );
        }
    }

    proptest! {
        /// However they come, with however little room: what passed once never passes again.
        #[test]
        fn nothing_passes_twice(
            uses in proptest::collection::vec((0..40_u64, 0..4_u64, 0..300_u32), 1..400),
            most in 1..200_usize,
        ) {
            let replays = Replays::new();
            let mut passed = HashSet::new();
            for (ms, chance, count) in uses {
                if replays.spend(NonceId::new(ms, chance), &ann(), TEN, count, most) {
                    prop_assert!(passed.insert((ms, chance, count)), "{ms} {chance} {count}");
                }
            }
        }
    }
}
