//! What each name says, and how often it was asked. No sockets, no waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// A bound on names that are counted though they do not exist.
const COUNTED_MAX: usize = 10_000;

/// Which record a query is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Anything else; answered empty.
    Other,
}

/// How a name fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// SERVFAIL.
    Servfail,
    /// No answer at all.
    Silent,
    /// NXDOMAIN: the name does not exist.
    NxDomain,
}

/// What is said to one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Possibly none: the name exists, but not with this type.
    Addresses(Vec<IpAddr>),
    Failed(Failure),
}

#[derive(Debug, Default)]
pub(super) struct Zone {
    names: HashMap<String, Entry>,
    asked: HashMap<(String, Kind), u64>,
}

#[derive(Debug, Default)]
struct Entry {
    addresses: Vec<IpAddr>,
    failure_a: Option<Failure>,
    failure_aaaa: Option<Failure>,
    delay: Duration,
}

impl Zone {
    /// The name has these addresses, and works again.
    pub(super) fn set(&mut self, name: &str, addresses: Vec<IpAddr>) {
        let entry = self.entry(name);
        entry.addresses = addresses;
        entry.failure_a = None;
        entry.failure_aaaa = None;
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(&plain(name));
    }

    pub(super) fn fail(&mut self, name: &str, kind: Kind, failure: Failure) {
        let entry = self.entry(name);
        match kind {
            Kind::A => entry.failure_a = Some(failure),
            Kind::Aaaa => entry.failure_aaaa = Some(failure),
            Kind::Other => {}
        }
    }

    pub(super) fn delay(&mut self, name: &str, delay: Duration) {
        self.entry(name).delay = delay;
    }

    /// What a query is answered, and after how long; it is counted.
    pub(super) fn ask(&mut self, name: &str, kind: Kind) -> (Said, Duration) {
        let name = plain(name);
        if self.asked.len() < COUNTED_MAX || self.asked.contains_key(&(name.clone(), kind)) {
            *self.asked.entry((name.clone(), kind)).or_default() += 1;
        }
        let Some(entry) = self.names.get(&name) else {
            return (Said::Failed(Failure::NxDomain), Duration::ZERO);
        };
        let (failure, is_wanted): (_, fn(&IpAddr) -> bool) = match kind {
            Kind::A => (entry.failure_a, IpAddr::is_ipv4),
            Kind::Aaaa => (entry.failure_aaaa, IpAddr::is_ipv6),
            Kind::Other => (None, |_| false),
        };
        let said = failure.map_or_else(
            || Said::Addresses(entry.addresses.iter().copied().filter(is_wanted).collect()),
            Said::Failed,
        );
        (said, entry.delay)
    }

    pub(super) fn queries(&self, name: &str, kind: Kind) -> u64 {
        self.asked.get(&(plain(name), kind)).copied().unwrap_or(0)
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.names.entry(plain(name)).or_default()
    }
}

/// Lower case, no trailing dot.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_says_what_it_has_of_each_kind() {
        let mut zone = Zone::default();
        zone.set("push.test", vec![ip("127.0.0.11"), ip("127.0.0.12")]);
        let mut check = |name: &str, kind, expected: Said| {
            assert_eq!(zone.ask(name, kind).0, expected, "{name} {kind:?}");
        };
        let both = || Said::Addresses(vec![ip("127.0.0.11"), ip("127.0.0.12")]);
        check("push.test", Kind::A, both());
        check("PUSH.test.", Kind::A, both());
        check("push.test", Kind::Aaaa, Said::Addresses(vec![]));
        check("push.test", Kind::Other, Said::Addresses(vec![]));
        check("nowhere.test", Kind::A, Said::Failed(Failure::NxDomain));
        assert_eq!(zone.queries("push.test", Kind::A), 2);
        assert_eq!(zone.queries("nowhere.test", Kind::A), 1);
    }

    #[test]
    fn one_kind_can_fail_alone_and_setting_the_name_heals_it() {
        let mut zone = Zone::default();
        zone.set("push.test", vec![ip("127.0.0.11")]);
        zone.fail("push.test", Kind::Aaaa, Failure::Silent);
        assert_eq!(
            zone.ask("push.test", Kind::Aaaa).0,
            Said::Failed(Failure::Silent)
        );
        assert_eq!(
            zone.ask("push.test", Kind::A).0,
            Said::Addresses(vec![ip("127.0.0.11")])
        );
        zone.set("push.test", vec![ip("::1")]);
        assert_eq!(
            zone.ask("push.test", Kind::Aaaa).0,
            Said::Addresses(vec![ip("::1")])
        );
    }
}
