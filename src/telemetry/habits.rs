//! What each client really uses: schemes, nonces, HTTP and TLS versions, server names, connections, endings.
//!
//! One book for each core, so that no core waits for another, and only who looks on reads them all. Bounded: the client
//! that was not seen for longest goes. No secret comes in: of a nonce only whether it is the one before.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::exchange::{ClientName, Exchange, Kind, ListenerName, UserName};

/// Clients of one core.
const CLIENTS_MAX: usize = 512;
/// Server names that a client is remembered with; the others are counted together.
const NAMES_MAX: usize = 8;
const OTHER_NAMES: &str = "others";

/// One core's book.
#[derive(Debug, Default)]
pub(crate) struct Habits(Mutex<HashMap<Who, Habit>>);

/// A client: a user, at an address, at a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) address: IpAddr,
    pub(crate) listener: ListenerName,
    /// `None`: it has not proved to be one. Most begin so, and are told together with the only user of their address.
    pub(crate) user: Option<UserName>,
}

/// How one request was made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    pub(crate) http10: bool,
    /// Of its connection: `TLSv1.3`; `None` without TLS.
    pub(crate) tls: Option<&'static str>,
    /// The connection carried another request before, and whether that was answered 407.
    pub(crate) before: Before,
    pub(crate) nonce: Option<NonceUse>,
    /// It called its digest something else than it was.
    pub(crate) mislabelled: bool,
    /// It is answered 407.
    pub(crate) challenged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Before {
    #[default]
    Nothing,
    Challenged,
    Answered,
}

/// What a digest says of its nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NonceUse {
    /// Tells it from the nonce before, and nothing else.
    pub(crate) mark: u64,
    /// `None`: the response has no count.
    pub(crate) count: Option<u32>,
}

/// All that is remembered of one client.
#[derive(Debug, Clone)]
pub(crate) struct Habit {
    pub(crate) sender: Option<ClientName>,
    pub(crate) user: Option<UserName>,
    pub(crate) first_seen: SystemTime,
    pub(crate) last_seen: SystemTime,
    pub(crate) requests: u64,
    pub(crate) connections: u64,
    pub(crate) tunnels: u64,
    pub(crate) forwards: u64,
    pub(crate) http10: u64,
    /// Connections by the version of their TLS.
    pub(crate) tls: Counts,
    /// Requests by the login they came with: `digest SHA-256`, `basic`, `none`.
    pub(crate) logins: Counts,
    pub(crate) mislabelled: u64,
    /// Answered 407.
    pub(crate) challenged: u64,
    /// Requests with a login right behind a 407 on the same connection, and such that came first on a new one.
    pub(crate) answered_here: u64,
    pub(crate) answered_anew: u64,
    pub(crate) nonces: Nonces,
    last_nonce: Option<NonceUse>,
    /// Where tunnels are looked at.
    pub(crate) names: BTreeMap<Box<str>, u64>,
    /// Tunnels that were there: who ended them, and the reason.
    pub(crate) endings: BTreeMap<(&'static str, &'static str), u64>,
}

pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// How nonces are used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Nonces {
    /// With the count 1.
    pub(crate) first: u64,
    /// With a higher one.
    pub(crate) again: u64,
    /// Of those, the same nonce as before on this core with a count that is no higher.
    pub(crate) not_rising: u64,
    /// Responses without a count.
    pub(crate) uncounted: u64,
    pub(crate) highest: u32,
}

impl Habits {
    /// A request has come as far as the gate.
    pub(crate) fn asked(&self, exchange: &Exchange, manner: &Manner, now: SystemTime) {
        let mut book = self.book();
        // Whoever is refused only says who it is.
        let who = Who::of(exchange, !manner.challenged);
        if book.len() >= CLIENTS_MAX && !book.contains_key(&who) {
            let oldest = book.iter().min_by_key(|(_, habit)| habit.last_seen);
            if let Some(oldest) = oldest.map(|(who, _)| who.clone()) {
                book.remove(&oldest);
            }
        }
        let habit = book.entry(who).or_insert_with(|| Habit::new(now));
        habit.asked(exchange, manner, now);
    }

    /// An exchange has ended. Of one that never came as far as the gate nothing is noted.
    pub(crate) fn ended(&self, exchange: &Exchange) {
        // Only tunnels that were there.
        if exchange.kind != Kind::Tunnel || !matches!(exchange.status, Some(101 | 200..=299)) {
            return;
        }
        let mut book = self.book();
        let Some(habit) = book.get_mut(&Who::of(exchange, true)) else {
            return;
        };
        let by = exchange.closed_by.map_or("nobody", |side| side.token());
        let ending = (exchange.reason.token(), by);
        *habit.endings.entry(ending).or_default() += 1;
        if let Some(name) = &exchange.sni {
            let known = habit.names.contains_key(name) || habit.names.len() < NAMES_MAX;
            let name = if known {
                name.clone()
            } else {
                OTHER_NAMES.into()
            };
            *habit.names.entry(name).or_default() += 1;
        }
    }

    /// What the books of all cores say together, whoever asked most first.
    pub(crate) fn together(books: &[Arc<Self>]) -> Vec<(Who, Habit)> {
        let mut all: HashMap<Who, Habit> = HashMap::new();
        for book in books {
            for (who, habit) in &*book.book() {
                match all.get_mut(who) {
                    Some(known) => known.add(habit),
                    None => drop(all.insert(who.clone(), habit.clone())),
                }
            }
        }
        unite(&mut all);
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|(a, x), (b, y)| (y.requests, a).cmp(&(x.requests, b)));
        all
    }

    fn book(&self) -> MutexGuard<'_, HashMap<Who, Habit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Who {
    fn of(exchange: &Exchange, is_proved: bool) -> Self {
        Self {
            user: exchange.user.clone().filter(|_| is_proved),
            address: exchange.client.0.ip().to_canonical(),
            listener: exchange.listener.clone(),
        }
    }
}

impl Who {
    fn nameless(&self) -> Self {
        Self {
            user: None,
            ..self.clone()
        }
    }
}

impl Habit {
    fn new(now: SystemTime) -> Self {
        Self {
            sender: None,
            user: None,
            first_seen: now,
            last_seen: now,
            requests: 0,
            connections: 0,
            tunnels: 0,
            forwards: 0,
            http10: 0,
            tls: Counts::new(),
            logins: Counts::new(),
            mislabelled: 0,
            challenged: 0,
            answered_here: 0,
            answered_anew: 0,
            nonces: Nonces::default(),
            last_nonce: None,
            names: BTreeMap::new(),
            endings: BTreeMap::new(),
        }
    }

    fn asked(&mut self, exchange: &Exchange, manner: &Manner, now: SystemTime) {
        self.last_seen = now;
        self.requests += 1;
        if exchange.sender.is_some() {
            self.sender.clone_from(&exchange.sender);
        }
        // Whoever is refused only says who it is.
        if exchange.user.is_some() && !manner.challenged {
            self.user.clone_from(&exchange.user);
        }
        match exchange.kind {
            Kind::Tunnel => self.tunnels += 1,
            Kind::Forward | Kind::Unknown => self.forwards += 1,
        }
        self.http10 += u64::from(manner.http10);
        self.mislabelled += u64::from(manner.mislabelled);
        self.challenged += u64::from(manner.challenged);
        let login = login(exchange);
        *self.logins.entry(login).or_default() += 1;
        let logs_in = login != "none" && login != "certificate";
        match manner.before {
            Before::Nothing => {
                self.connections += 1;
                *self.tls.entry(manner.tls.unwrap_or("none")).or_default() += 1;
                self.answered_anew += u64::from(logs_in);
            }
            Before::Challenged => self.answered_here += u64::from(logs_in),
            Before::Answered => {}
        }
        if let Some(nonce) = manner.nonce {
            self.nonces.note(nonce, self.last_nonce);
            self.last_nonce = Some(nonce);
        }
    }

    fn add(&mut self, other: &Self) {
        if other.last_seen > self.last_seen {
            self.sender = other.sender.clone().or_else(|| self.sender.take());
            self.user = other.user.clone().or_else(|| self.user.take());
        }
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        for (sum, more) in [
            (&mut self.requests, other.requests),
            (&mut self.connections, other.connections),
            (&mut self.tunnels, other.tunnels),
            (&mut self.forwards, other.forwards),
            (&mut self.http10, other.http10),
            (&mut self.mislabelled, other.mislabelled),
            (&mut self.challenged, other.challenged),
            (&mut self.answered_here, other.answered_here),
            (&mut self.answered_anew, other.answered_anew),
            (&mut self.nonces.first, other.nonces.first),
            (&mut self.nonces.again, other.nonces.again),
            (&mut self.nonces.not_rising, other.nonces.not_rising),
            (&mut self.nonces.uncounted, other.nonces.uncounted),
        ] {
            *sum += more;
        }
        self.nonces.highest = self.nonces.highest.max(other.nonces.highest);
        sum(&mut self.tls, &other.tls);
        sum(&mut self.logins, &other.logins);
        sum(&mut self.names, &other.names);
        sum(&mut self.endings, &other.endings);
    }
}

impl Nonces {
    fn note(&mut self, nonce: NonceUse, before: Option<NonceUse>) {
        let Some(count) = nonce.count else {
            self.uncounted += 1;
            return;
        };
        self.highest = self.highest.max(count);
        if count == 1 {
            self.first += 1;
        } else {
            self.again += 1;
        }
        let rises = |before: NonceUse| before.mark != nonce.mark || before.count < nonce.count;
        self.not_rising += u64::from(!before.is_none_or(rises));
    }
}

/// What an address asked before it logged in is told with its user, where it has only one.
fn unite(all: &mut HashMap<Who, Habit>) {
    let mut users: HashMap<Who, Vec<Who>> = HashMap::new();
    for who in all.keys().filter(|who| who.user.is_some()) {
        users.entry(who.nameless()).or_default().push(who.clone());
    }
    for (nameless, users) in users {
        if let [only] = &users[..]
            && let Some(before) = all.remove(&nameless)
            && let Some(habit) = all.get_mut(only)
        {
            habit.add(&before);
        }
    }
}

fn sum<K: Ord + Clone>(counts: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *counts.entry(key.clone()).or_default() += count;
    }
}

/// What a request logged in with, or tried to.
fn login(exchange: &Exchange) -> &'static str {
    use crate::exchange::{Algorithm, Scheme};
    match (exchange.scheme, exchange.algorithm) {
        (None, _) => "none",
        (Some(Scheme::Basic), _) => "basic",
        (Some(Scheme::Certificate), _) => "certificate",
        (Some(Scheme::Digest), None) => "digest",
        (Some(Scheme::Digest), Some(Algorithm::Md5)) => "digest MD5",
        (Some(Scheme::Digest), Some(Algorithm::Sha256)) => "digest SHA-256",
        (Some(Scheme::Digest), Some(Algorithm::Md5Sess)) => "digest MD5-sess",
        (Some(Scheme::Digest), Some(Algorithm::Sha256Sess)) => "digest SHA-256-sess",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::exchange::{ClientAddr, ExchangeId, Reason, Side};

    fn exchange(last: u16) -> Exchange {
        let [high, low] = last.to_be_bytes();
        let mut exchange = Exchange::new(
            ExchangeId::new(1, 2, 3),
            SystemTime::UNIX_EPOCH,
            Instant::now(),
            ListenerName::new("plain"),
            ClientAddr(([10, 0, high, low], 40_000).into()),
        );
        exchange.kind = Kind::Tunnel;
        exchange
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_that_was_not_seen_for_longest_goes_first() {
        let habits = Habits::default();
        for last in 0..=CLIENTS_MAX as u16 {
            habits.asked(&exchange(last), &Manner::default(), at(u64::from(last)));
        }
        let all = Habits::together(&[Arc::new(habits)]);
        assert_eq!(all.len(), CLIENTS_MAX);
        assert!(
            !all.iter()
                .any(|(who, _)| who.address == IpAddr::from([10, 0, 0, 0]))
        );
    }

    #[test]
    fn each_user_of_an_address_has_its_own() {
        let habits = Habits::default();
        let ask = |user: &str, challenged: bool| {
            let mut exchange = exchange(1);
            exchange.user = (!user.is_empty()).then(|| UserName::new(user));
            let manner = Manner {
                challenged,
                ..Manner::default()
            };
            habits.asked(&exchange, &manner, at(1));
        };
        let shown = |habits: &Habits| {
            let book = habits.book().clone();
            let all = Habits::together(&[Arc::new(Habits(Mutex::new(book)))]);
            let row = |(_, one): &(Who, Habit)| {
                let user = one.user.as_ref().map_or("", |user| user.as_str());
                (user.to_owned(), one.requests)
            };
            let mut all: Vec<_> = all.iter().map(row).collect();
            all.sort();
            all
        };
        let row = |user: &str, requests| (user.to_owned(), requests);
        ask("", true);
        ask("ann", false);
        // A name that is only said.
        ask("eve", true);
        assert_eq!(shown(&habits), [row("ann", 3)]);
        ask("ben", false);
        ask("ben", false);
        assert_eq!(
            shown(&habits),
            [row("", 2), row("ann", 1), row("ben", 2)],
            "nobody knows whose the first ones were"
        );
    }

    #[test]
    fn nonces_that_rise_and_those_that_do_not() {
        let check = |uses: &[(u64, Option<u32>)], first, again, not_rising, uncounted| {
            let habits = Habits::default();
            for (mark, count) in uses {
                let nonce = Some(NonceUse {
                    mark: *mark,
                    count: *count,
                });
                let manner = Manner {
                    nonce,
                    ..Manner::default()
                };
                habits.asked(&exchange(1), &manner, at(1));
            }
            let nonces = Habits::together(&[Arc::new(habits)])[0].1.nonces;
            let found = (
                nonces.first,
                nonces.again,
                nonces.not_rising,
                nonces.uncounted,
            );
            assert_eq!(found, (first, again, not_rising, uncounted), "{uses:?}");
        };
        check(&[(1, Some(1)), (1, Some(2)), (1, Some(3))], 1, 2, 0, 0);
        check(&[(1, Some(1)), (2, Some(1))], 2, 0, 0, 0);
        check(&[(1, Some(1)), (1, Some(1))], 2, 0, 1, 0);
        check(&[(1, Some(3)), (1, Some(2))], 0, 2, 1, 0);
        check(&[(1, None)], 0, 0, 0, 1);
    }

    #[test]
    fn the_books_of_two_cores_are_one_story() {
        let (one, other) = (Habits::default(), Habits::default());
        let mut tunnel = exchange(1);
        one.asked(&tunnel, &Manner::default(), at(5));
        let kept = Manner {
            before: Before::Answered,
            ..Manner::default()
        };
        other.asked(&tunnel, &kept, at(3));
        tunnel.status = Some(200);
        tunnel.reason = Reason::Finished;
        tunnel.closed_by = Some(Side::Client);
        for name in 0..20 {
            tunnel.sni = Some(format!("{name}.test").into());
            one.ended(&tunnel);
        }
        let all = Habits::together(&[Arc::new(one), Arc::new(other)]);
        let [(_, habit)] = &all[..] else {
            panic!("{all:?}")
        };
        assert_eq!(
            (habit.requests, habit.connections, habit.tunnels),
            (2, 1, 2)
        );
        assert_eq!((habit.first_seen, habit.last_seen), (at(3), at(5)));
        assert_eq!(habit.endings[&("finished", "client")], 20);
        assert_eq!(habit.names.len(), NAMES_MAX + 1);
        assert_eq!(habit.names[OTHER_NAMES], 20 - NAMES_MAX as u64);
    }
}
