//! Which addresses each name has: what is new or gone is told once.
//!
//! Servers that hand out a few of many addresses in turns are no news: an address counts as gone only after it was
//! missing for a while, and in many answers. Bounded; `now` is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::turns::{GONE, GONE_ANSWERS};
use crate::exchange::Host;

const NAMES_MAX: usize = 1_024;
const ADDRESSES_MAX: usize = 128;

/// What is known of every name.
#[derive(Debug, Default)]
pub(super) struct Changes(HashMap<Host, [Known; 2]>);

/// One family of a name.
#[derive(Debug, Default)]
struct Known {
    /// The answer seen last: as long as the cache gives the same, nothing has to be compared.
    answer: Option<Weak<[IpAddr]>>,
    /// When each address was seen last, and how many answers have lacked it since.
    seen: HashMap<IpAddr, (Instant, u32)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) added: Vec<IpAddr>,
    pub(super) removed: Vec<IpAddr>,
}

impl Changes {
    /// What an answer changes. The first one of a name changes nothing.
    pub(super) fn note(
        &mut self,
        name: &Host,
        ips: &Arc<[IpAddr]>,
        now: Instant,
    ) -> Option<Change> {
        let family = usize::from(ips.first()?.is_ipv6());
        if let Some(known) = self.0.get_mut(name) {
            return known[family].note(ips, now);
        }
        // Rare: by then every name of a configuration has had its place many times over.
        if self.0.len() == NAMES_MAX {
            self.0.clear();
        }
        let known = self.0.entry(name.clone()).or_default();
        known[family].note(ips, now)
    }
}

impl Known {
    fn note(&mut self, ips: &Arc<[IpAddr]>, now: Instant) -> Option<Change> {
        let last = self.answer.as_ref();
        if last.is_some_and(|last| std::ptr::eq(last.as_ptr(), Arc::as_ptr(ips))) {
            return None;
        }
        let is_first = last.is_none();
        self.answer = Some(Arc::downgrade(ips));
        let mut added = Vec::new();
        for (_, missed) in self.seen.values_mut() {
            *missed = missed.saturating_add(1);
        }
        for ip in ips.iter().take(ADDRESSES_MAX) {
            if self.seen.insert(*ip, (now, 0)).is_none() {
                added.push(*ip);
            }
        }
        let mut removed = Vec::new();
        let too_many = self.seen.len() > ADDRESSES_MAX;
        self.seen.retain(|ip, (seen, missed)| {
            let is_gone = *missed >= GONE_ANSWERS && now.saturating_duration_since(*seen) >= GONE;
            let goes = *missed > 0 && (too_many || is_gone);
            if goes {
                removed.push(*ip);
            }
            !goes
        });
        removed.sort();
        (!(is_first || added.is_empty() && removed.is_empty())).then_some(Change { added, removed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(ips: &str) -> Arc<[IpAddr]> {
        ips.split_whitespace()
            .map(|ip| ip.parse().unwrap())
            .collect()
    }

    #[test]
    fn what_is_new_is_told_once_and_what_is_missing_for_an_hour_is_gone() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        let name = Host::Name("push.test".into());
        let mut check = |ips: &str, after: Duration, told: Option<(&str, &str)>| {
            let told = told.map(|(added, removed)| Change {
                added: answer(added).to_vec(),
                removed: answer(removed).to_vec(),
            });
            assert_eq!(
                changes.note(&name, &answer(ips), now + after),
                told,
                "{ips}"
            );
        };
        let minute = Duration::from_secs(60);
        check("1.0.0.1 1.0.0.2", Duration::ZERO, None);
        check("::1", Duration::ZERO, None);
        check("1.0.0.2 1.0.0.3", minute, Some(("1.0.0.3", "")));
        check("1.0.0.1 1.0.0.2", 2 * minute, None);
        for _ in 3..=GONE_ANSWERS {
            check("1.0.0.2", 3 * minute, None);
        }
        // Long ago, but two answers in turns are no more than that.
        check("1.0.0.1", 62 * minute, Some(("", "1.0.0.3")));
        check("1.0.0.2", 200 * minute, None);
        check("1.0.0.1", 300 * minute, None);
        for _ in 2..GONE_ANSWERS {
            check("1.0.0.1", 310 * minute, None);
        }
        check("1.0.0.1", 311 * minute, Some(("", "1.0.0.2")));
    }

    #[test]
    fn made_up_names_and_addresses_fill_no_memory() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        for n in 0..5_000_u32 {
            let name = Host::Name(format!("n{n}.test").as_str().into());
            changes.note(&name, &answer("1.0.0.1"), now);
            assert!(changes.0.len() <= NAMES_MAX);
        }
        let mut known = Known::default();
        for n in 0..5_000_u32 {
            let ips: Arc<[IpAddr]> = [IpAddr::V4(n.into())].into();
            known.note(&ips, now + Duration::from_millis(n.into()));
            assert!(known.seen.len() <= ADDRESSES_MAX + 1);
        }
    }
}
