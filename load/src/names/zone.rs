//! What each name says, and how often it was asked. No sockets, no waiting.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
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

/// How a name fails, or all names of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// SERVFAIL.
    Servfail,
    /// No answer at all.
    Silent,
    /// NXDOMAIN: the name does not exist.
    NxDomain,
    /// Over UDP an empty answer that says it was too long; over TCP the whole one.
    Truncated,
}

const FAILURES: [(Failure, &str); 4] = [
    (Failure::Servfail, "servfail"),
    (Failure::Silent, "silent"),
    (Failure::NxDomain, "nxdomain"),
    (Failure::Truncated, "truncated"),
];

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = FAILURES.iter().find(|(failure, _)| failure == self);
        f.write_str(word.map_or("", |(_, word)| word))
    }
}

impl FromStr for Failure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let failure = FAILURES.iter().find(|(_, word)| *word == text);
        failure
            .map(|(failure, _)| *failure)
            .ok_or_else(|| format!("{text:?} is none of servfail, silent, nxdomain, truncated"))
    }
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
    names: BTreeMap<String, Entry>,
    asked: HashMap<(String, Kind), u64>,
    /// Of every name, those that do not exist included.
    failure: Option<Failure>,
    delay: Duration,
}

/// What a name is, as far as one can see it from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Each answer takes the next of these sets, and A and AAAA go round alone; mostly there is one.
    pub(super) turns: Vec<Vec<IpAddr>>,
    taken: [usize; 2],
    pub(super) a: Option<Failure>,
    pub(super) aaaa: Option<Failure>,
    pub(super) delay: Duration,
}

impl Zone {
    /// The name has these addresses, and works again.
    pub(super) fn set(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.take_turns(name, vec![addresses]);
    }

    /// The name has another of these sets with each answer, and works again.
    pub(super) fn take_turns(&mut self, name: &str, turns: Vec<Vec<IpAddr>>) {
        let entry = self.entry(name);
        *entry = Entry {
            turns,
            delay: entry.delay,
            ..Entry::default()
        };
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.names.contains_key(&plain(name))
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(&plain(name));
    }

    pub(super) fn fail(&mut self, name: &str, kind: Kind, failure: Option<Failure>) {
        let entry = self.entry(name);
        match kind {
            Kind::A => entry.a = failure,
            Kind::Aaaa => entry.aaaa = failure,
            Kind::Other => {}
        }
    }

    pub(super) fn delay(&mut self, name: &str, delay: Duration) {
        self.entry(name).delay = delay;
    }

    pub(super) fn fail_all(&mut self, failure: Option<Failure>) {
        self.failure = failure;
    }

    pub(super) fn delay_all(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// What all names share: how they fail, and how much later they are answered.
    pub(super) fn of_all(&self) -> (Option<Failure>, Duration) {
        (self.failure, self.delay)
    }

    /// Every name, in the order of the alphabet.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.names
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// What a query is answered, and after how long; it is counted.
    pub(super) fn ask(&mut self, name: &str, kind: Kind, is_udp: bool) -> (Said, Duration) {
        let name = plain(name);
        if self.asked.len() < COUNTED_MAX || self.asked.contains_key(&(name.clone(), kind)) {
            *self.asked.entry((name.clone(), kind)).or_default() += 1;
        }
        let (failure, delay) = (self.failure, self.delay);
        // What TCP hears of a name that is too long for UDP.
        let applies = |failure: &Failure| is_udp || *failure != Failure::Truncated;
        let Some(entry) = self.names.get_mut(&name) else {
            let said = failure.filter(applies).unwrap_or(Failure::NxDomain);
            return (Said::Failed(said), delay);
        };
        let own = match kind {
            Kind::A => entry.a,
            Kind::Aaaa => entry.aaaa,
            Kind::Other => None,
        };
        let said = match failure.or(own).filter(applies) {
            Some(failure) => Said::Failed(failure),
            None => Said::Addresses(entry.next(kind)),
        };
        (said, delay + entry.delay)
    }

    pub(super) fn queries(&self, name: &str, kind: Kind) -> u64 {
        self.asked.get(&(plain(name), kind)).copied().unwrap_or(0)
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.names.entry(plain(name)).or_default()
    }
}

impl Entry {
    /// The addresses of this kind in the set whose turn it is.
    fn next(&mut self, kind: Kind) -> Vec<IpAddr> {
        let (taken, is_wanted): (_, fn(&IpAddr) -> bool) = match kind {
            Kind::A => (&mut self.taken[0], IpAddr::is_ipv4),
            Kind::Aaaa => (&mut self.taken[1], IpAddr::is_ipv6),
            Kind::Other => return Vec::new(),
        };
        if self.turns.is_empty() {
            return Vec::new();
        }
        let set = &self.turns[*taken % self.turns.len()];
        *taken = taken.wrapping_add(1);
        set.iter().copied().filter(is_wanted).collect()
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
            assert_eq!(zone.ask(name, kind, true).0, expected, "{name} {kind:?}");
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
        zone.fail("push.test", Kind::Aaaa, Some(Failure::Silent));
        assert_eq!(
            zone.ask("push.test", Kind::Aaaa, true).0,
            Said::Failed(Failure::Silent)
        );
        assert_eq!(
            zone.ask("push.test", Kind::A, true).0,
            Said::Addresses(vec![ip("127.0.0.11")])
        );
        zone.set("push.test", vec![ip("::1")]);
        assert_eq!(
            zone.ask("push.test", Kind::Aaaa, true).0,
            Said::Addresses(vec![ip("::1")])
        );
    }

    #[test]
    fn answers_take_turns_each_kind_for_itself() {
        let mut zone = Zone::default();
        let turns = vec![vec![ip("127.0.0.11"), ip("::1")], vec![ip("127.0.0.12")]];
        zone.take_turns("push.test", turns);
        let mut check = |kind, expected: &[&str]| {
            let expected = expected.iter().map(|text| ip(text)).collect();
            let said = zone.ask("push.test", kind, true).0;
            assert_eq!(said, Said::Addresses(expected), "{kind:?}");
        };
        check(Kind::A, &["127.0.0.11"]);
        check(Kind::Aaaa, &["::1"]);
        check(Kind::A, &["127.0.0.12"]);
        check(Kind::Aaaa, &[]);
        check(Kind::A, &["127.0.0.11"]);
    }

    #[test]
    fn a_server_that_fails_fails_every_name_and_only_udp_is_truncated() {
        let mut zone = Zone::default();
        zone.set("push.test", vec![ip("127.0.0.11")]);
        let addresses = || Said::Addresses(vec![ip("127.0.0.11")]);
        zone.fail_all(Some(Failure::Servfail));
        for name in ["push.test", "nowhere.test"] {
            let said = zone.ask(name, Kind::A, true).0;
            assert_eq!(said, Said::Failed(Failure::Servfail), "{name}");
        }
        zone.fail_all(Some(Failure::Truncated));
        let mut check = |name, is_udp, expected| {
            assert_eq!(zone.ask(name, Kind::A, is_udp).0, expected, "{name}");
        };
        check("push.test", true, Said::Failed(Failure::Truncated));
        check("push.test", false, addresses());
        check("nowhere.test", false, Said::Failed(Failure::NxDomain));
        zone.fail_all(None);
        assert_eq!(zone.ask("push.test", Kind::A, true).0, addresses());
    }

    #[test]
    fn failures_have_words() {
        for (failure, word) in FAILURES {
            assert_eq!(failure.to_string(), word);
            assert_eq!(word.parse(), Ok(failure));
        }
        assert!("ok".parse::<Failure>().is_err());
    }
}
