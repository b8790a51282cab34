//! From a cleared target to a connected socket, inside one budget for names and every attempt on every address.
//!
//! Only this room opens outbound sockets, and only to addresses that the policy cleared after they were resolved; what
//! the operator configured by name has a way of its own (`operator.rs`).

pub(crate) mod answerer;
mod cache;
mod changes;
pub(crate) mod connect;
pub(crate) mod health;
mod hosts;
mod lifetime;
pub(crate) mod operator;
pub(crate) mod order;
mod parent;
mod parents;
mod published;
pub(crate) mod race;
mod refresh;
pub(crate) mod resolve;
mod servers;
mod source;
mod system;
pub(crate) mod tls;
mod trial;
mod watched;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::config::{self, Families, Keepalive};
use crate::exchange::{Attempt, DestinationName, Host, PeerAddr, Reason};
use crate::policy::{Cleared, ClearedAddr, Denial};
use crate::telemetry::Meters;
use connect::ConnectError;
use health::HealthBook;
pub(crate) use parent::Way;
use resolve::{Family, Lookup, ResolveError, Resolver};

/// Addresses of one target that are tried at most; a name with more gives its first.
const ADDRESSES_MAX: usize = 64;

/// How long the first IPv4 address of a name that nobody knows yet waits for IPv6 (RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// An attempt that had so much more time than the winner was overtaken, not only outrun.
const LEAD: Duration = Duration::from_millis(10);

/// Dials for the exchanges of a core.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    connect: config::Connect,
    keepalive: Keepalive,
    resolver: Resolver,
    meters: Arc<Meters>,
    told: Arc<Mutex<published::Told>>,
    changes: Arc<Mutex<changes::Changes>>,
    health: Arc<HealthBook>,
    turns: Arc<source::Turns>,
    parents: Arc<parents::Parents>,
}

/// What is worth telling about the way to a connection. Filled as the dial goes on, so that one that is given up has
/// its story too.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) resolved: Vec<IpAddr>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) dns: Option<Duration>,
    /// How far beyond its time the name's answer was.
    pub(crate) dns_stale: Option<Duration>,
    pub(crate) connect: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) stream: Way,
    /// What came behind a parent's reply: the target's first bytes.
    pub(crate) early: Bytes,
    pub(crate) peer: PeerAddr,
    /// Whether the target has other addresses that may be tried.
    pub(crate) others: bool,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialError {
    Resolve(ResolveError),
    /// The name has addresses, and none of them may be dialled.
    Denied(Denial),
    Connect(ConnectError),
    /// Every address of the target is of a family that `connect.families` leaves out.
    OtherFamily,
    /// Every address is one that is to be avoided.
    NoOther,
}

impl DialError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Resolve(error) => error.reason(),
            Self::Denied(denial) => denial.reason(),
            Self::Connect(error) => error.reason(),
            Self::OtherFamily | Self::NoOther => Reason::Unreachable,
        }
    }
}

/// What a client may know of it: no address, no system text.
impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => error.fmt(f),
            Self::OtherFamily => f.write_str("the proxy does not connect over this IP family"),
            Self::NoOther => f.write_str("the destination has no other address"),
            // Which range an address lies in would tell what it is.
            Self::Denied(Denial::OwnAddress) => f.write_str("the target is this proxy"),
            Self::Denied(_) => f.write_str("no address of the target may be reached"),
            Self::Connect(error) => f.write_str(match error {
                ConnectError::Refused => "the destination refused the connection",
                ConnectError::TimedOut => "the destination did not answer in time",
                ConnectError::Reset => "the destination reset the connection",
                ConnectError::Unreachable | ConnectError::Other => {
                    "the destination cannot be reached from here"
                }
                ConnectError::Ourselves => "the target is this proxy",
                ConnectError::Parent(error) => error.details(),
                ConnectError::NoSource => {
                    "the proxy has none of the source addresses that it is to connect from"
                }
                ConnectError::OutOfResources => "the proxy is out of sockets or ports",
            }),
        }
    }
}

/// What resolving has brought so far.
#[derive(Debug, Default)]
struct Resolution {
    resolved: Vec<IpAddr>,
    offered: Vec<ClearedAddr>,
    denial: Option<Denial>,
    other_family: bool,
    avoided: bool,
    error: Option<ResolveError>,
    took: Option<Duration>,
    stale: Option<Duration>,
}

type Attempts = Vec<race::Attempt<ClearedAddr, ConnectError>>;

/// Writes the story when the dial ends, also when it is dropped.
struct Telling<'a> {
    attempts: Attempts,
    resolution: RefCell<Resolution>,
    begun: Instant,
    destination: &'a DestinationName,
    meters: &'a Meters,
    health: &'a HealthBook,
    story: &'a mut Story,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let resolution = std::mem::take(self.resolution.get_mut());
        self.note();
        self.story.attempts = self.attempts.iter().map(told).collect();
        for attempt in &self.story.attempts {
            self.meters.connect(
                self.destination,
                attempt.error.unwrap_or("ok"),
                attempt.took,
            );
        }
        self.story.resolved = resolution.resolved;
        self.story.dns = resolution.took;
        self.story.dns_stale = resolution.stale;
        if !self.attempts.is_empty() {
            self.story.connect = Some(
                self.begun
                    .elapsed()
                    .saturating_sub(resolution.took.unwrap_or_default()),
            );
        }
    }
}

impl Telling<'_> {
    /// Tells the book what the attempts say about their addresses. What is our own lack, or our client's, says nothing.
    fn note(&self) {
        let now = Instant::now();
        let winner = self
            .attempts
            .iter()
            .find(|attempt| attempt.outcome == race::Outcome::Connected);
        for attempt in &self.attempts {
            let outcome = match attempt.outcome {
                race::Outcome::Connected => health::Outcome::Connected,
                race::Outcome::Failed(error) if error.blames_the_address() => {
                    health::Outcome::Failed
                }
                race::Outcome::TimedOut => health::Outcome::Failed,
                race::Outcome::Lost
                    if winner.is_some_and(|won| attempt.took >= won.took + LEAD) =>
                {
                    health::Outcome::Overtaken
                }
                race::Outcome::Failed(_) | race::Outcome::Lost | race::Outcome::Abandoned => {
                    continue;
                }
            };
            let peer = attempt.addr.socket_addr();
            self.health
                .note(self.destination, peer, outcome, attempt.took, now);
        }
    }
}

impl Dialer {
    pub(crate) fn new(
        connect: config::Connect,
        keepalive: Keepalive,
        resolver: Resolver,
        meters: Arc<Meters>,
        health: Arc<HealthBook>,
        roots: tls::NativeRoots,
    ) -> Self {
        Self {
            connect,
            keepalive,
            resolver,
            meters,
            told: Arc::default(),
            changes: Arc::default(),
            health,
            turns: Arc::default(),
            parents: Arc::new(parents::Parents::new(roots)),
        }
    }

    /// Connects to the target. `begun` is when its head was complete: the budget counts from there. Dropping the
    /// future gives every attempt up. Addresses to `avoid` are not tried.
    pub(crate) async fn dial(
        &self,
        cleared: &Cleared,
        begun: Instant,
        avoid: &[SocketAddr],
        trail: &str,
        story: &mut Story,
    ) -> Result<Dialed, DialError> {
        let destination = cleared.destination();
        let pace = race::Pace {
            deadline: begun + self.budget(cleared),
            attempt_delay: self.connect.attempt_delay,
        };
        let mut telling = Telling {
            attempts: Attempts::new(),
            resolution: RefCell::default(),
            begun: Instant::now(),
            destination: &destination.name,
            meters: &self.meters,
            health: &self.health,
            story,
        };
        let mut due = false;
        // One batch for each family of each name.
        let (found, incoming) = mpsc::channel(2 * destination.via.len().max(1));
        let owners = parents::Owners::default();
        let won = {
            let order = |waiting: VecDeque<ClearedAddr>, last: Option<&ClearedAddr>| {
                // Of one there is no order.
                if waiting.len() < 2 {
                    return waiting.into();
                }
                let peers = waiting.iter().map(|addr| addr.socket_addr());
                let now = Instant::now();
                let standings =
                    self.health
                        .standings(&destination.name, peers, last.is_none(), now);
                due |= standings.due;
                order::by_health(waiting, &standings, last, |addr| {
                    addr.socket_addr().is_ipv6()
                })
            };
            let racing = race::race(
                incoming,
                order,
                |addr| self.attempt(cleared, *addr, &owners, trail),
                pace,
                &mut telling.attempts,
            );
            let resolving = async {
                let resolution = &telling.resolution;
                if destination.via.is_empty() {
                    self.resolve(cleared, avoid, found, resolution).await;
                } else {
                    self.resolve_parents(cleared, avoid, found, resolution, &owners)
                        .await;
                }
            };
            tokio::pin!(racing, resolving);
            tokio::select! {
                biased;
                () = &mut resolving => racing.await,
                won = &mut racing => won,
            }
        };
        match won {
            Ok((addr, (stream, early))) => {
                let mut failed_over = false;
                if telling
                    .attempts
                    .first()
                    .is_some_and(|first| first.addr != addr)
                {
                    self.meters.failover(&destination.name);
                    failed_over = true;
                }
                let offered = std::mem::take(&mut telling.resolution.get_mut().offered);
                let others = offered.len() > 1;
                due |= telling.attempts.len() > 1;
                let first = telling.attempts.first().map(told);
                drop(telling);
                if failed_over && self.health.failed_over(&destination.name, Instant::now()) {
                    let (from, error) = first.map(|first| (first.peer, first.error)).unzip();
                    tracing::info!(
                        event = "failover", destination = %destination.name,
                        from = from.map(tracing::field::display), error = error.flatten(), to = %addr.socket_addr(),
                        "an exchange went to another address"
                    );
                }
                if due {
                    self.try_out(cleared, &owners, trail, &offered, addr);
                }
                Ok(Dialed {
                    stream,
                    early,
                    peer: PeerAddr(addr.socket_addr()),
                    others,
                })
            }
            Err(_) => {
                let tried_all = telling
                    .attempts
                    .iter()
                    .all(|attempt| match &attempt.outcome {
                        race::Outcome::Failed(error) => error.blames_the_address(),
                        race::Outcome::TimedOut => true,
                        race::Outcome::Connected
                        | race::Outcome::Lost
                        | race::Outcome::Abandoned => false,
                    });
                if tried_all && !telling.attempts.is_empty() && avoid.is_empty() {
                    let now = Instant::now();
                    self.health.none_connects(&destination.name, now);
                }
                Err(why(&telling.attempts, telling.resolution.get_mut()))
            }
        }
    }

    /// A forwarded request shows that a peer is sick although it connects.
    pub(crate) fn suspect(&self, destination: &DestinationName, peer: PeerAddr) {
        self.health.suspect(destination, peer.0, Instant::now());
    }

    /// The time from a head's last byte to our answer.
    pub(crate) fn budget(&self, cleared: &Cleared) -> Duration {
        let own = cleared.destination().connect_budget;
        own.unwrap_or(self.connect.budget)
    }

    /// Hands on the target's addresses, family by family, as they come.
    async fn resolve(
        &self,
        cleared: &Cleared,
        avoid: &[SocketAddr],
        found: mpsc::Sender<Vec<ClearedAddr>>,
        resolution: &RefCell<Resolution>,
    ) {
        let target = cleared.target();
        let destination = cleared.destination();
        let offer = |ips: &[IpAddr]| {
            let mut resolution = resolution.borrow_mut();
            let mut batch = Vec::new();
            for ip in ips.iter().take(ADDRESSES_MAX) {
                resolution.resolved.push(*ip);
                if !self.wants(*ip) || !source::has_family(&destination.source, *ip) {
                    resolution.other_family = true;
                    continue;
                }
                match cleared.addr(SocketAddr::new(*ip, target.port)) {
                    Ok(addr) if avoid.contains(&addr.socket_addr()) => resolution.avoided = true,
                    Ok(addr) => batch.push(addr),
                    Err(denial) => resolution.denial = Some(denial),
                }
            }
            resolution.offered.extend_from_slice(&batch);
            // Two families, two places: never full. Closed: the race is over.
            let _ = found.try_send(batch);
        };
        let name = match &target.host {
            Host::Addr(ip) => return offer(&[*ip]),
            Host::Name(_) if !destination.addresses.is_empty() => {
                return offer(&destination.addresses);
            }
            Host::Name(name) => name,
        };
        let begun = Instant::now();
        let ask = |family, wanted: bool| async move {
            if wanted {
                self.resolver
                    .lookup(name, family, destination.max_ttl)
                    .await
            } else {
                Err(ResolveError::NoAddress)
            }
        };
        // Whichever family comes first is tried first. Only an unknown name's IPv4 waits a moment for IPv6.
        let mut error = None;
        let take = |answer: Lookup, error: &mut Option<ResolveError>| match answer {
            Ok(found) => {
                self.compare_with_published(cleared, &found.addrs);
                self.note_changes(cleared, &found.addrs);
                offer(&found.addrs);
                let mut resolution = resolution.borrow_mut();
                resolution.took.get_or_insert_with(|| begun.elapsed());
                resolution.stale = resolution.stale.max(found.stale);
            }
            Err(failed) => *error = worst(*error, Some(failed)),
        };
        let v6 = ask(Family::V6, self.connect.families != Families::Ipv4);
        let v4 = ask(Family::V4, self.connect.families != Families::Ipv6);
        tokio::pin!(v6, v4);
        'both: {
            tokio::select! {
                biased;
                first = &mut v6 => {
                    take(first, &mut error);
                    take(v4.await, &mut error);
                }
                first = &mut v4 => {
                    if let Ok(ips) = &first
                        && self.connect.families == Families::Both
                        && !self.knows_healthy(cleared, &ips.addrs)
                        && let Ok(second) = timeout(RESOLUTION_DELAY, &mut v6).await
                    {
                        take(second, &mut error);
                        take(first, &mut error);
                        break 'both;
                    }
                    take(first, &mut error);
                    // A name that does not exist has no other family either.
                    if error != Some(ResolveError::NotFound) {
                        take(v6.await, &mut error);
                    }
                }
            }
        }
        let mut resolution = resolution.borrow_mut();
        resolution.took.get_or_insert_with(|| begun.elapsed());
        resolution.error = error;
    }

    /// Warns of answers that the service does not know of: it moved, or somebody else answers in its name.
    fn compare_with_published(&self, cleared: &Cleared, ips: &[IpAddr]) {
        for ip in ips.iter().take(ADDRESSES_MAX) {
            if !cleared.is_unpublished(*ip) {
                continue;
            }
            let destination = &cleared.destination().name;
            self.meters.published_range_miss(destination);
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_news(destination, *ip, Instant::now()) {
                tracing::warn!(
                    %destination, name = %cleared.target().host, address = %ip,
                    "a name resolved to an address outside of its service's published ranges"
                );
            }
        }
    }

    /// Whether an address of the answer is known to be good.
    fn knows_healthy(&self, cleared: &Cleared, ips: &[IpAddr]) -> bool {
        let port = cleared.target().port;
        let peers = ips
            .iter()
            .take(ADDRESSES_MAX)
            .map(|ip| SocketAddr::new(ip.to_canonical(), port));
        self.health
            .knows_healthy(&cleared.destination().name, peers)
    }

    /// Tells the journal, once, of addresses that a name did not have before.
    fn note_changes(&self, cleared: &Cleared, ips: &Arc<[IpAddr]>) {
        let name = &cleared.target().host;
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(change) = changes.note(name, ips, Instant::now()) else {
            return;
        };
        drop(changes);
        let destination = &cleared.destination().name;
        self.meters.address_change(destination);
        tracing::info!(
            event = "address_set_changed", %destination, %name,
            added = ?change.added, removed = ?change.removed,
            "a name's addresses have changed"
        );
    }

    /// Tries addresses that are due for it, beside the exchanges: no exchange pays for what they turn out to be.
    fn try_out(
        &self,
        cleared: &Cleared,
        owners: &parents::Owners,
        trail: &str,
        offered: &[ClearedAddr],
        won: ClearedAddr,
    ) {
        let now = Instant::now();
        let destination = &cleared.destination().name;
        let others = offered.iter().filter(|addr| **addr != won);
        let claims = others.filter_map(|addr| {
            let claim = self.health.claim(destination, addr.socket_addr(), now)?;
            Some((*addr, claim))
        });
        for (addr, claim) in claims.take(trial::AT_ONCE) {
            let (dialer, cleared, owners) = (self.clone(), cleared.clone(), owners.clone());
            let trail = String::from(trail);
            // A parent is tried as an exchange would: that it accepts connections says nothing of what it does.
            let attempt = async move {
                let connected = dialer.attempt(&cleared, addr, &owners, &trail).await;
                connected.map(drop)
            };
            tokio::task::spawn_local(trial::run(attempt, claim, self.connect.budget));
        }
    }

    fn wants(&self, ip: IpAddr) -> bool {
        match self.connect.families {
            Families::Both => true,
            Families::Ipv4 => ip.is_ipv4(),
            Families::Ipv6 => ip.is_ipv6(),
        }
    }
}

/// Source addresses that this machine does not have now. They may come: of a virtual address only one of two has it.
pub(crate) fn missing_sources(
    destinations: &[config::Destination],
) -> impl Iterator<Item = (&DestinationName, IpAddr)> {
    destinations.iter().flat_map(|destination| {
        let missing = destination
            .source
            .iter()
            .filter(|ip| !connect::is_here(**ip));
        missing.map(|ip| (&destination.name, *ip))
    })
}

/// Of two families' failures, the one that tells an administrator more.
fn worst(one: Option<ResolveError>, other: Option<ResolveError>) -> Option<ResolveError> {
    [
        ResolveError::TimedOut,
        ResolveError::Unreachable,
        ResolveError::Failed,
        ResolveError::NotFound,
        ResolveError::NoAddress,
    ]
    .into_iter()
    .find(|error| one == Some(*error) || other == Some(*error))
}

fn told(attempt: &race::Attempt<ClearedAddr, ConnectError>) -> Attempt {
    let error = match &attempt.outcome {
        race::Outcome::Connected => None,
        race::Outcome::Failed(error) => Some(error.token()),
        race::Outcome::Lost => Some("lost"),
        race::Outcome::TimedOut => Some("timed_out"),
        race::Outcome::Abandoned => Some("abandoned"),
    };
    Attempt {
        peer: attempt.addr.socket_addr(),
        took: attempt.took,
        error,
    }
}

/// The one cause of a dial that failed. Our own lack comes first, silence before refusals, names only where nothing
/// was tried.
fn why(attempts: &Attempts, resolution: &mut Resolution) -> DialError {
    let parents = parent::ParentError::ALL.map(ConnectError::Parent);
    const BY_WEIGHT: [ConnectError; 8] = [
        ConnectError::OutOfResources,
        ConnectError::NoSource,
        ConnectError::TimedOut,
        ConnectError::Refused,
        ConnectError::Reset,
        ConnectError::Unreachable,
        ConnectError::Other,
        ConnectError::Ourselves,
    ];
    let failed = |wanted: ConnectError| {
        attempts.iter().any(|attempt| match &attempt.outcome {
            race::Outcome::Failed(error) => *error == wanted,
            race::Outcome::TimedOut => wanted == ConnectError::TimedOut,
            race::Outcome::Connected | race::Outcome::Lost | race::Outcome::Abandoned => false,
        })
    };
    // What a parent said says more than what another one did not.
    let by_weight = parents.into_iter().chain(BY_WEIGHT);
    if let Some(error) = by_weight.into_iter().find(|error| failed(*error)) {
        return DialError::Connect(error);
    }
    match (resolution.denial.take(), resolution.error) {
        (Some(denial), _) => DialError::Denied(denial),
        _ if resolution.avoided => DialError::NoOther,
        _ if resolution.other_family => DialError::OtherFamily,
        (None, Some(error)) => DialError::Resolve(error),
        // The budget ended before the servers answered.
        (None, None) => DialError::Resolve(ResolveError::TimedOut),
    }
}
