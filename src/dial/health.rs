//! What each address of each destination was like lately: how fast it connects, how often it failed, whether it rests.
//!
//! One book for all cores, behind one short lock; it survives a reload. It opens no socket, knows no clock (`now` is an
//! argument) and never takes an address away: it only says which to try first. Bounded: the peers that were idle for
//! longest go first.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::listing::{self, Listing};
use super::peer::{Peer, doubled};
use super::resolve::{Family, ResolveError};
use crate::config;
use crate::exchange::DestinationName;

/// Trials under way at a time, of all cores.
const TRIALS_MAX: usize = 64;
/// For so long a destination is held to be dead that nobody asks for: its addresses may live again.
const DEAD_FOR: Duration = Duration::from_secs(3_600);
/// The last address of a destination is taken for silent for so many quarantines: its senders may push rarely.
const SILENT_QUARANTINES: u32 = 4;
/// How often the journal hears the same of a destination whose addresses come and go.
const AGAIN: Duration = Duration::from_secs(60);

/// The memory.
#[derive(Debug)]
pub(crate) struct HealthBook {
    book: Mutex<Book>,
}

/// How an attempt ended, as far as it says something about the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Connected,
    /// It refused, reset, timed out or has no route.
    Failed,
    /// An attempt that started later won.
    ///
    /// A hanging address seldom gets to time out: the next one wins first. So being overtaken is enough to go last at
    /// once. It may also have been a lost packet; that is why nothing is counted yet, and a trial in the background,
    /// which has all the time there is, finds out what it was.
    Overtaken,
}

/// What an address may hope for, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// With its usual time to connect.
    Healthy(Duration),
    Unknown,
    Quarantined,
}

/// What became of an address that was accused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accused {
    /// It goes last from now on.
    Demoted,
    /// It went last before: the same silence, seen again.
    Already,
    /// It stays where it is: no other address is left that could go first.
    NoOther,
}

/// The standings of a target's addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standings {
    /// As asked.
    pub(crate) each: Vec<Standing>,
    /// Goes up with every question of this destination: equals take turns.
    pub(crate) turn: usize,
    /// Whether one of them is due for a trial.
    pub(crate) due: bool,
}

/// The right to the one trial of an address; dropped with it.
#[derive(Debug)]
pub(crate) struct Claim {
    health: Arc<HealthBook>,
    destination: DestinationName,
    peer: SocketAddr,
}

/// One destination, to be shown.
#[derive(Debug)]
pub(crate) struct DestinationHealth {
    pub(crate) destination: DestinationName,
    /// The last exchange, or probe, that tried its addresses found none that connects, within the last hour, and none has
    /// since.
    pub(crate) dead: bool,
    /// None of its addresses answered in tunnels lately: the last of them was accused while all others rested.
    pub(crate) accused: bool,
    /// And nobody has counted an answer since, which is not known here.
    pub(crate) silent: bool,
    /// The last exchange, or probe, got no address for its name.
    pub(crate) unresolved: Option<ResolveError>,
    pub(crate) peers: Vec<PeerHealth>,
}

/// One address, to be shown.
#[derive(Debug)]
pub(crate) struct PeerHealth {
    pub(crate) peer: SocketAddr,
    pub(crate) standing: Standing,
    pub(crate) connect: Option<Duration>,
    pub(crate) failures: u32,
    /// What is left of its quarantine; zero while it waits for the try that may end it.
    pub(crate) quarantine: Option<Duration>,
    pub(crate) suspected: bool,
    /// False: the names that had it have it no more. It gets no new work; tunnels may live on.
    pub(crate) listed: bool,
}

impl DestinationHealth {
    /// Those that new exchanges may be given to.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &PeerHealth> {
        self.peers.iter().filter(|one| one.listed)
    }

    /// Whether one of these is known to connect.
    pub(crate) fn has_a_good_one(&self) -> bool {
        let is_good = |one: &PeerHealth| matches!(one.standing, Standing::Healthy(_));
        self.listed().any(is_good)
    }
}

impl HealthBook {
    pub(crate) fn new(connect: &config::Connect) -> Self {
        Self {
            book: Mutex::new(Book {
                quarantine: connect.quarantine,
                quarantine_max: connect.quarantine_max,
                peers_max: connect.peers as usize,
                configured: HashSet::new(),
                destinations: HashMap::new(),
                peers: 0,
                trials: 0,
            }),
        }
    }

    /// Which destinations there are: what is known of others is forgotten, and they are never shown.
    pub(crate) fn configure(&self, destinations: &[DestinationName]) {
        let mut book = self.book();
        book.configured = destinations.iter().cloned().collect();
        let Book {
            configured,
            destinations,
            ..
        } = &mut *book;
        destinations.retain(|name, _| configured.contains(name));
        book.recount();
    }

    /// An attempt has ended.
    pub(crate) fn note(
        &self,
        destination: &DestinationName,
        peer: SocketAddr,
        outcome: Outcome,
        took: Duration,
        now: Instant,
    ) {
        let turn = self.book().note(destination, peer, outcome, took, now);
        tell(destination, turn);
    }

    /// Live tunnels, or forwarded requests, say that a peer is sick although it connects: it is quarantined, and a
    /// connect that succeeds does not end that early. Not where no other address is left that could go first: they may
    /// all be slow, or it is their client.
    pub(crate) fn suspect(
        &self,
        destination: &DestinationName,
        peer: SocketAddr,
        now: Instant,
    ) -> Accused {
        self.book().suspect(destination, peer, now)
    }

    /// Several tunnels had no answer from the last address that could go first: none of the destination's answers.
    pub(crate) fn none_answers(&self, destination: &DestinationName, now: Instant) {
        if let Some(known) = self.book().destinations.get_mut(destination) {
            known.silent = Some(now);
        }
    }

    /// The last answer for one family of a name of the destination.
    pub(crate) fn listed(
        &self,
        destination: &DestinationName,
        name: &Arc<str>,
        family: Family,
        addrs: &Arc<[IpAddr]>,
        now: Instant,
    ) {
        self.book().listed(destination, name, family, addrs, now);
    }

    /// An exchange, or a probe, got no address for its name.
    pub(crate) fn unresolved(&self, destination: &DestinationName, error: ResolveError) {
        let mut book = self.book();
        let known = book.destinations.entry(destination.clone()).or_default();
        known.unresolved = Some(error);
    }

    /// An exchange was connected to another address than its first. Whether the journal is to hear of it.
    pub(crate) fn failed_over(&self, destination: &DestinationName, now: Instant) -> bool {
        self.book().failed_over(destination, now)
    }

    /// An exchange has tried every address of its target, none connected, and all of that was noted.
    pub(crate) fn none_connects(&self, destination: &DestinationName, now: Instant) {
        let turn = self
            .book()
            .none_connects(destination, Finder::Exchange, now);
        tell(destination, turn);
    }

    /// Likewise a probe in the background.
    pub(crate) fn no_probe_connects(&self, destination: &DestinationName, now: Instant) {
        let turn = self.book().none_connects(destination, Finder::Probe, now);
        tell(destination, turn);
    }

    /// There are no probes any more: what only they saw nobody would ever see again.
    pub(crate) fn forget_probes(&self) {
        for known in self.book().destinations.values_mut() {
            known.dead.probe = None;
        }
    }

    /// The standings of addresses that are about to be tried. `first`: it is the exchange's first try.
    pub(crate) fn standings(
        &self,
        destination: &DestinationName,
        peers: impl Iterator<Item = SocketAddr>,
        first: bool,
        now: Instant,
    ) -> Standings {
        self.book().standings(destination, peers, first, now)
    }

    /// Whether one of them is known to be good.
    pub(crate) fn knows_healthy(
        &self,
        destination: &DestinationName,
        mut peers: impl Iterator<Item = SocketAddr>,
    ) -> bool {
        let book = self.book();
        let Some(known) = book.destinations.get(destination) else {
            return false;
        };
        peers.any(|peer| matches!(known.standing(peer), Standing::Healthy(_)))
    }

    /// The right to try an address beside the exchanges, if that is due, and nobody else does it.
    pub(crate) fn claim(
        self: &Arc<Self>,
        destination: &DestinationName,
        peer: SocketAddr,
        now: Instant,
    ) -> Option<Claim> {
        self.book().claim(destination, peer, now).then(|| Claim {
            health: Arc::clone(self),
            destination: destination.clone(),
            peer,
        })
    }

    /// All that is known of configured destinations.
    pub(crate) fn view(&self, now: Instant) -> Vec<DestinationHealth> {
        self.book().view(now)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    pub(crate) fn note(&self, outcome: Outcome, took: Duration, now: Instant) {
        self.health
            .note(&self.destination, self.peer, outcome, took, now);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.health.book().release(&self.destination, self.peer);
    }
}

/// Who tried every address.
#[derive(Debug, Clone, Copy)]
enum Finder {
    Exchange,
    Probe,
}

/// When all addresses were last found to be dead, by whom.
#[derive(Debug, Default)]
struct Dead {
    exchange: Option<Instant>,
    probe: Option<Instant>,
}

impl Dead {
    fn holds(&self, now: Instant) -> bool {
        let mut last = [self.exchange, self.probe].into_iter().flatten();
        last.any(|at| now.saturating_duration_since(at) < DEAD_FOR)
    }
}

/// A destination's last address died, or the first of them lives again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    AllDead,
    AliveAgain,
}

fn tell(destination: &DestinationName, turn: Option<Turn>) {
    match turn {
        None => {}
        Some(Turn::AllDead) => tracing::warn!(
            event = "all_addresses_dead", %destination,
            "every address of a destination is dead: all of them are tried together until one answers"
        ),
        Some(Turn::AliveAgain) => tracing::info!(
            event = "address_alive", %destination,
            "an address of a destination answers again"
        ),
    }
}

/// What the lock guards.
#[derive(Debug)]
struct Book {
    quarantine: Duration,
    quarantine_max: Duration,
    peers_max: usize,
    configured: HashSet<DestinationName>,
    destinations: HashMap<DestinationName, Peers>,
    /// Of all destinations.
    peers: usize,
    trials: usize,
}

#[derive(Debug, Default)]
struct Peers {
    peers: HashMap<SocketAddr, Peer>,
    listing: Listing,
    unresolved: Option<ResolveError>,
    turn: usize,
    /// No address connected for the last exchange that tried them all, and none has since.
    dead: Dead,
    /// What the journal was told last, and when it was called dead.
    told_dead: bool,
    told_at: Option<Instant>,
    told_failover: Option<Instant>,
    /// When its last address that connects gave no answer.
    silent: Option<Instant>,
}

impl Book {
    fn note(
        &mut self,
        destination: &DestinationName,
        peer: SocketAddr,
        outcome: Outcome,
        took: Duration,
        now: Instant,
    ) -> Option<Turn> {
        let (first, most) = (self.quarantine, self.quarantine_max);
        let one = self.peer(destination, peer, now);
        one.tried = None;
        match outcome {
            Outcome::Connected => one.connected(took, now),
            // What began while it was quarantined, or before, tells nothing new: a hundred exchanges that meet the
            // same death count once.
            Outcome::Failed if one.until.is_some_and(|until| now < until) => {}
            Outcome::Failed => {
                one.failures = one.failures.saturating_add(1);
                one.until = Some(now + doubled(first, most, one.failures));
            }
            Outcome::Overtaken => {
                one.until.get_or_insert(now);
            }
        }
        if let Some(known) = self.destinations.get_mut(destination) {
            known.unresolved = None;
        }
        (outcome == Outcome::Connected)
            .then(|| self.alive(destination))
            .flatten()
    }

    fn suspect(
        &mut self,
        destination: &DestinationName,
        peer: SocketAddr,
        now: Instant,
    ) -> Accused {
        let (first, most) = (self.quarantine, self.quarantine_max);
        let Some(known) = self.destinations.get(destination) else {
            return Accused::NoOther;
        };
        let is_suspect = |one: &Peer| one.suspected_until.is_some_and(|until| now < until);
        if known.peers.get(&peer).is_some_and(is_suspect) {
            return Accused::Already;
        }
        let mut others = known.peers.iter();
        let may_go_first = |one: &Peer| one.until.is_none() && one.delisted.is_none();
        if !others.any(|(other, one)| *other != peer && may_go_first(one)) {
            return Accused::NoOther;
        }
        // Of one that was forgotten, too, this is worth to be known.
        self.peer(destination, peer, now).suspect(first, most, now);
        Accused::Demoted
    }

    /// That it is dead is known by exchanges that failed, never by the states of addresses: one that nobody knows yet
    /// may live.
    fn none_connects(
        &mut self,
        destination: &DestinationName,
        by: Finder,
        now: Instant,
    ) -> Option<Turn> {
        let window = self.quarantine_max;
        let known = self.destinations.get_mut(destination)?;
        // Another host of the destination lives.
        let mut peers = known.peers.values();
        if peers.any(|one| one.lives(window, now)) {
            return None;
        }
        match by {
            Finder::Exchange => known.dead.exchange = Some(now),
            Finder::Probe => known.dead.probe = Some(now),
        }
        let last = known.told_at;
        let news = !known.told_dead
            && last.is_none_or(|told| now.saturating_duration_since(told) >= AGAIN);
        news.then(|| {
            known.told_dead = true;
            known.told_at = Some(now);
            Turn::AllDead
        })
    }

    fn listed(
        &mut self,
        destination: &DestinationName,
        name: &Arc<str>,
        family: Family,
        addrs: &Arc<[IpAddr]>,
        now: Instant,
    ) {
        let known = self.destinations.entry(destination.clone()).or_default();
        let Some(before) = known.listing.note(name, family, addrs, now) else {
            return;
        };
        let Peers { peers, listing, .. } = known;
        for (peer, one) in peers.iter_mut() {
            if listing.has(peer.ip()) {
                one.delisted = None;
            } else if listing::lists(&before, peer.ip()) {
                one.delisted = Some(now);
            }
        }
        let count = peers.len();
        peers.retain(|_, one| !one.is_forgotten(now));
        self.peers -= count - peers.len();
    }

    fn failed_over(&mut self, destination: &DestinationName, now: Instant) -> bool {
        let Some(known) = self.destinations.get_mut(destination) else {
            return false;
        };
        let last = known.told_failover;
        let news = last.is_none_or(|told| now.saturating_duration_since(told) >= AGAIN);
        if news {
            known.told_failover = Some(now);
        }
        news
    }

    fn alive(&mut self, destination: &DestinationName) -> Option<Turn> {
        let known = self.destinations.get_mut(destination)?;
        known.dead = Dead::default();
        std::mem::take(&mut known.told_dead).then_some(Turn::AliveAgain)
    }

    fn standings(
        &mut self,
        destination: &DestinationName,
        peers: impl Iterator<Item = SocketAddr>,
        first: bool,
        now: Instant,
    ) -> Standings {
        let (first_rest, most) = (self.quarantine, self.quarantine_max);
        let Some(known) = self.destinations.get_mut(destination) else {
            return Standings {
                each: peers.map(|_| Standing::Unknown).collect(),
                turn: 0,
                due: true,
            };
        };
        let turn = known.turn;
        if first {
            known.turn = known.turn.wrapping_add(1);
        }
        let mut due = false;
        let each = peers.map(|peer| match known.peers.get_mut(&peer) {
            None => {
                due = true;
                Standing::Unknown
            }
            Some(one) => {
                one.seen = now;
                due |= one.is_due(first_rest, most, now);
                one.standing()
            }
        });
        Standings {
            each: each.collect(),
            turn,
            due,
        }
    }

    fn claim(&mut self, destination: &DestinationName, peer: SocketAddr, now: Instant) -> bool {
        if self.trials == TRIALS_MAX {
            return false;
        }
        let (first, most) = (self.quarantine, self.quarantine_max);
        let one = self.peer(destination, peer, now);
        if !one.is_due(first, most, now) {
            return false;
        }
        one.trial = true;
        one.tried = Some(now);
        self.trials += 1;
        true
    }

    fn release(&mut self, destination: &DestinationName, peer: SocketAddr) {
        self.trials = self.trials.saturating_sub(1);
        let peers = self.destinations.get_mut(destination);
        if let Some(one) = peers.and_then(|peers| peers.peers.get_mut(&peer)) {
            one.trial = false;
        }
    }

    /// The peer's entry, with room made for it.
    fn peer(&mut self, destination: &DestinationName, peer: SocketAddr, now: Instant) -> &mut Peer {
        let is_known = self
            .destinations
            .get(destination)
            .is_some_and(|peers| peers.peers.contains_key(&peer));
        if !is_known {
            if self.peers >= self.peers_max {
                self.forget_some();
            }
            self.peers += 1;
        }
        let peers = self.destinations.entry(destination.clone()).or_default();
        let one = peers.peers.entry(peer).or_insert_with(|| Peer::new(now));
        one.seen = now;
        one
    }

    /// Forgets the eighth that was idle for longest, so that the search for it is rare.
    fn forget_some(&mut self) {
        let all = self.destinations.values();
        let mut seen: Vec<Instant> = all
            .flat_map(|peers| peers.peers.values().map(|one| one.seen))
            .collect();
        let place = seen.len() / 8;
        if seen.is_empty() {
            return;
        }
        let (_, limit, _) = seen.select_nth_unstable(place);
        let limit = *limit;
        // Many may be of the same instant: never more than the eighth, or one.
        let mut left = place.max(1);
        for peers in self.destinations.values_mut() {
            peers.peers.retain(|_, one| {
                let goes = left > 0 && one.seen <= limit;
                left -= usize::from(goes);
                !goes
            });
        }
        self.destinations.retain(|_, peers| !peers.peers.is_empty());
        self.recount();
    }

    fn recount(&mut self) {
        self.peers = self
            .destinations
            .values()
            .map(|peers| peers.peers.len())
            .sum();
    }

    fn view(&self, now: Instant) -> Vec<DestinationHealth> {
        let lasts = self.quarantine.saturating_mul(SILENT_QUARANTINES);
        let is_new = |since: Instant| now.saturating_duration_since(since) < lasts;
        let mut all: Vec<_> = self
            .destinations
            .iter()
            .filter(|(name, _)| self.configured.contains(*name))
            .map(|(name, peers)| {
                let dead = peers.dead.holds(now);
                let accused = !dead && peers.silent.is_some_and(is_new);
                DestinationHealth {
                    destination: name.clone(),
                    dead,
                    accused,
                    silent: accused,
                    unresolved: peers.unresolved,
                    peers: peers.view(now),
                }
            })
            .collect();
        all.sort_by(|a, b| a.destination.cmp(&b.destination));
        all
    }
}

impl Peers {
    fn standing(&self, peer: SocketAddr) -> Standing {
        self.peers
            .get(&peer)
            .map_or(Standing::Unknown, Peer::standing)
    }

    fn view(&self, now: Instant) -> Vec<PeerHealth> {
        let mut all: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, one)| !one.is_forgotten(now))
            .map(|(peer, one)| PeerHealth {
                peer: *peer,
                standing: one.standing(),
                connect: one.connect,
                failures: one.failures,
                quarantine: one.until.map(|until| until.saturating_duration_since(now)),
                suspected: one.suspected_until.is_some_and(|until| now < until),
                listed: one.delisted.is_none(),
            })
            .collect();
        all.sort_by_key(|one| one.peer);
        all
    }
}

#[cfg(test)]
mod tests;
