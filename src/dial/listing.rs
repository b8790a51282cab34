//! Which addresses the names of a destination have now, as their last answers say.
//!
//! Pure; `now` is an argument. Bounded: of more names than that, the one that was asked for longest ago is forgotten.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::resolve::Family;

/// Names of one destination, each with two families; behind a wildcard there may be many.
const ANSWERS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Listing(Vec<Listed>);

/// The last answer for one family of a name.
#[derive(Debug)]
struct Listed {
    name: Arc<str>,
    family: Family,
    addrs: Arc<[IpAddr]>,
    asked: Instant,
}

impl Listing {
    /// Takes an answer; gives the one before where that was another.
    pub(super) fn note(
        &mut self,
        name: &Arc<str>,
        family: Family,
        addrs: &Arc<[IpAddr]>,
        now: Instant,
    ) -> Option<Arc<[IpAddr]>> {
        let mut all = self.0.iter_mut();
        if let Some(known) = all.find(|one| one.family == family && one.name == *name) {
            known.asked = now;
            // The cache gives the same one for as long as it is good.
            if Arc::ptr_eq(&known.addrs, addrs) {
                return None;
            }
            return Some(std::mem::replace(&mut known.addrs, Arc::clone(addrs)));
        }
        let listed = Listed {
            name: Arc::clone(name),
            family,
            addrs: Arc::clone(addrs),
            asked: now,
        };
        let is_full = self.0.len() >= ANSWERS_MAX;
        let all = self.0.iter_mut().filter(|_| is_full);
        match all.min_by_key(|one| one.asked) {
            Some(oldest) => *oldest = listed,
            None => self.0.push(listed),
        }
        Some([].into())
    }

    /// Whether a name has it.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|one| lists(&one.addrs, ip))
    }
}

/// A mapped address is dialled as what it stands for.
pub(super) fn lists(addrs: &[IpAddr], ip: IpAddr) -> bool {
    addrs.iter().any(|one| one.to_canonical() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ips(ips: &str) -> Arc<[IpAddr]> {
        let ips = ips.split_whitespace();
        ips.map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn the_last_answer_of_each_name_counts() {
        let (mut listing, now) = (Listing::default(), Instant::now());
        let [a, b]: [Arc<str>; 2] = ["a.test".into(), "b.test".into()];
        let first = ips("1.0.0.1 ::ffff:1.0.0.2");
        assert!(listing.note(&a, Family::V4, &first, now).is_some());
        assert_eq!(listing.note(&a, Family::V4, &first, now), None);
        listing.note(&b, Family::V4, &ips("1.0.0.1"), now);
        listing.note(&a, Family::V6, &ips("::1"), now);
        assert!(listing.has([1, 0, 0, 2].into()));
        let before = listing.note(&a, Family::V4, &ips("1.0.0.3"), now);
        assert_eq!(before, Some(first));
        let has = ["1.0.0.1", "1.0.0.2", "1.0.0.3", "::1"];
        let has = has.map(|ip| listing.has(ip.parse().unwrap()));
        assert_eq!(has, [true, false, true, true]);
    }

    #[test]
    fn names_without_end_fill_no_memory() {
        let (mut listing, now) = (Listing::default(), Instant::now());
        for n in 0..1_000_u32 {
            let name = format!("{n}.test").as_str().into();
            let later = now + Duration::from_secs(n.into());
            listing.note(&name, Family::V4, &ips("1.0.0.1"), later);
        }
        assert_eq!(listing.0.len(), ANSWERS_MAX);
    }
}
