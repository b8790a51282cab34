//! Wrong credentials: how many, from where, for whom; and when it is enough.
//!
//! Counts per address, and per user and address (GCRA: a burst, then a rate). Beyond the address's limit what is wrong
//! is told to wait; beyond the user's, from that one address, what is right waits too, else nobody would be kept from
//! guessing on. Another address never suffers. Bounded; `now` comes in as an argument.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::network::network_of;
use crate::exchange::UserName;

const SHARDS: usize = 16;
/// The journal has a line for each address that goes on, and not more often.
const WINDOW: Duration = Duration::from_secs(60);

/// How much is forgiven.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The time in which one failure is forgiven.
    each: u64,
    burst: u64,
    keys: usize,
}

/// It was enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) retry_after: Duration,
    /// How many were held since the last report, where it is time for one.
    pub(crate) report: Option<u64>,
}

/// Who failed, and how often lately.
pub(crate) struct Throttle {
    /// By address, so that what belongs together is behind one lock.
    shards: [Mutex<HashMap<Key, Bucket>>; SHARDS],
}

/// An address, or one user at it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    network: IpAddr,
    user: Option<UserName>,
}

/// Times are nanoseconds since 1970.
#[derive(Default)]
struct Bucket {
    /// When all is forgiven (GCRA's theoretical arrival time).
    clear_at: u64,
    held: u64,
    reported: Option<u64>,
}

impl Patience {
    pub(crate) fn new(per_second: f64, burst: u32, keys: usize) -> Self {
        let each = Duration::from_secs_f64(1.0 / per_second.max(1e-6));
        Self {
            each: nanos(each),
            burst: u64::from(burst.max(1)),
            keys,
        }
    }
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Counts a failure, and says whether that is one too many. `user` is the one that was meant, if there is one.
    pub(crate) fn wrong(
        &self,
        address: IpAddr,
        user: Option<&UserName>,
        patience: &Patience,
        now: SystemTime,
    ) -> Option<Held> {
        let now = since_epoch(now);
        let network = network_of(address);
        let mut shard = self.shard(network);
        // Nobody is counted too, under a name that nobody can have: a wrong name costs the work of a wrong password.
        let user = user.cloned().unwrap_or_else(|| UserName::new(""));
        let key = Key {
            network,
            user: Some(user),
        };
        bucket(&mut shard, key, patience, now).charge(patience, now);
        let key = Key {
            network,
            user: None,
        };
        let bucket = bucket(&mut shard, key, patience, now);
        let retry_after = bucket.charge(patience, now)?;
        Some(bucket.hold(retry_after, now))
    }

    /// Whether this user, from this address, has to wait even with the right credentials.
    pub(crate) fn holds(
        &self,
        address: IpAddr,
        user: &UserName,
        patience: &Patience,
        now: SystemTime,
    ) -> Option<Held> {
        let network = network_of(address);
        let mut shard = self.shard(network);
        if shard.is_empty() {
            return None;
        }
        let now = since_epoch(now);
        let mut key = Key {
            network,
            user: Some(user.clone()),
        };
        let retry_after = shard.get_mut(&key)?.over(patience, now)?;
        key.user = None;
        Some(bucket(&mut shard, key, patience, now).hold(retry_after, now))
    }

    fn shard(&self, network: IpAddr) -> MutexGuard<'_, HashMap<Key, Bucket>> {
        let mut hasher = DefaultHasher::new();
        network.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or_default();
        self.shards[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bucket of a key; where there is no room for another, the one goes that is nearest to being forgiven.
fn bucket<'a>(
    shard: &'a mut HashMap<Key, Bucket>,
    key: Key,
    patience: &Patience,
    now: u64,
) -> &'a mut Bucket {
    let most = (patience.keys / SHARDS).max(2);
    if shard.len() >= most && !shard.contains_key(&key) {
        // An empty bucket says no more than none.
        shard.retain(|_, bucket| bucket.clear_at > now);
        if shard.len() >= most {
            let emptiest = shard.iter().min_by_key(|(_, bucket)| bucket.clear_at);
            if let Some(key) = emptiest.map(|(key, _)| key.clone()) {
                shard.remove(&key);
            }
        }
    }
    shard.entry(key).or_default()
}

impl Bucket {
    /// How long until the next failure is within the limit; `None` if it is now.
    fn over(&mut self, patience: &Patience, now: u64) -> Option<Duration> {
        let full = patience.each.saturating_mul(patience.burst);
        // Only a clock that was set back, or a limit that was changed, makes it fuller than full.
        self.clear_at = self.clear_at.min(now.saturating_add(full));
        let within_at = self.clear_at.saturating_sub(full - patience.each);
        (within_at > now).then(|| Duration::from_nanos(within_at - now))
    }

    /// Counts one; where it is one too many, it is not counted, so that who goes on is not kept waiting for ever.
    fn charge(&mut self, patience: &Patience, now: u64) -> Option<Duration> {
        let over = self.over(patience, now);
        if over.is_none() {
            self.clear_at = self.clear_at.max(now).saturating_add(patience.each);
        }
        over
    }

    fn hold(&mut self, retry_after: Duration, now: u64) -> Held {
        self.held += 1;
        let due = self
            .reported
            .is_none_or(|last| now.abs_diff(last) >= nanos(WINDOW));
        let report = due.then(|| {
            self.reported = Some(now);
            std::mem::take(&mut self.held)
        });
        Held {
            retry_after,
            report,
        }
    }
}

fn since_epoch(at: SystemTime) -> u64 {
    nanos(
        at.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: &str = "192.0.2.10";

    /// One a second, three at once.
    fn patience() -> Patience {
        Patience::new(1.0, 3, 1000)
    }

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + ms)
    }

    /// Seconds to wait, as a failure is answered.
    fn fail(throttle: &Throttle, address: &str, user: &str, ms: u64) -> Option<u64> {
        let user = UserName::new(user);
        let user = (user.as_str() != "-").then_some(&user);
        let address = address.parse().expect("an address");
        let held = throttle.wrong(address, user, &patience(), at(ms));
        held.map(|held| held.retry_after.as_secs())
    }

    fn holds(throttle: &Throttle, address: &str, user: &str, ms: u64) -> bool {
        let address = address.parse().expect("an address");
        let user = UserName::new(user);
        throttle
            .holds(address, &user, &patience(), at(ms))
            .is_some()
    }

    #[test]
    fn a_burst_then_a_rate() {
        let throttle = Throttle::new();
        let mut fail = |ms| fail(&throttle, TEN, "ann", ms);
        assert_eq!([0, 0, 0].map(&mut fail), [None; 3]);
        assert_eq!(fail(0), Some(1));
        assert_eq!(fail(999), Some(0));
        assert_eq!(fail(1000), None);
        assert_eq!(fail(1000), Some(1));
        assert_eq!([5000, 5000, 5000].map(&mut fail), [None; 3]);
        assert_eq!(fail(5000), Some(1));
        assert_eq!(fail(0), Some(1), "a clock that was set back");
        assert_eq!(fail(1000), None);
    }

    #[test]
    fn only_who_was_guessed_waits_and_only_there() {
        let throttle = Throttle::new();
        for _ in 0..9 {
            fail(&throttle, TEN, "ann", 0);
        }
        assert!(holds(&throttle, TEN, "ann", 0));
        assert!(!holds(&throttle, TEN, "bob", 0), "behind the same address");
        assert!(!holds(&throttle, "192.0.2.11", "ann", 0), "from another");
        assert_eq!(fail(&throttle, TEN, "bob", 0), Some(1));
        assert_eq!(fail(&throttle, "192.0.2.11", "ann", 0), None);
        assert!(!holds(&throttle, TEN, "ann", 1000));
        // Names that nobody has count for the address alone.
        for _ in 0..9 {
            fail(&throttle, "192.0.2.12", "-", 0);
        }
        assert_eq!(fail(&throttle, "192.0.2.12", "-", 0), Some(1));
    }

    #[test]
    fn an_ipv6_host_is_its_64() {
        let throttle = Throttle::new();
        for host in 1..=3 {
            assert_eq!(fail(&throttle, &format!("2001:db8::{host}"), "-", 0), None);
        }
        assert_eq!(fail(&throttle, "2001:db8::9", "-", 0), Some(1));
        assert_eq!(fail(&throttle, "2001:db8:0:1::9", "-", 0), None);
    }

    #[test]
    fn a_report_once_a_minute() {
        let throttle = Throttle::new();
        let report = |ms| {
            let address = TEN.parse().expect("an address");
            let held = throttle.wrong(address, None, &patience(), at(ms));
            held.map(|held| held.report)
        };
        assert_eq!([0, 0, 0].map(report), [None; 3]);
        assert_eq!(report(0), Some(Some(1)));
        assert_eq!(report(10), Some(None));
        assert_eq!(report(20), Some(None));
        assert_eq!([59_000, 59_000, 59_000].map(report), [None; 3]);
        assert_eq!(report(59_999), Some(None));
        assert_eq!(report(60_000), None);
        assert_eq!(report(60_000), Some(Some(4)));
    }

    #[test]
    fn the_memory_is_bounded_and_the_worst_are_remembered() {
        let throttle = Throttle::new();
        for _ in 0..3 {
            fail(&throttle, TEN, "ann", 0);
        }
        for n in 0..20_000_u32 {
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0A00_0000 + n));
            throttle.wrong(address, None, &patience(), at(0));
        }
        let held = throttle
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len());
        assert!(held.sum::<usize>() <= 1000);
        assert_eq!(fail(&throttle, TEN, "ann", 0), Some(1));
        assert!(holds(&throttle, TEN, "ann", 0));
    }
}
