//! From a cleared target to a connected socket, inside one budget for names and every attempt on every address.
//!
//! Only this room opens outbound sockets, and only to addresses that the policy cleared after they were resolved; what
//! the operator configured by name has a way of its own (`operator.rs`).

mod cache;
pub(crate) mod connect;
pub(crate) mod operator;
pub(crate) mod order;
mod parent;
mod parents;
mod published;
pub(crate) mod race;
pub(crate) mod resolve;
mod servers;
mod source;
pub(crate) mod tls;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::{self, Families, Keepalive};
use crate::exchange::{Attempt, DestinationName, Host, PeerAddr, Reason};
use crate::policy::{Cleared, ClearedAddr, Denial};
use crate::telemetry::Meters;
use connect::ConnectError;
pub(crate) use parent::Way;
use resolve::{Answer, Family, ResolveError, Resolver};

/// Addresses of one target that are tried at most; a name with more gives its first.
const ADDRESSES_MAX: usize = 64;

/// Dials for the exchanges of a core.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    connect: config::Connect,
    keepalive: Keepalive,
    resolver: Resolver,
    meters: Arc<Meters>,
    told: Arc<Mutex<published::Told>>,
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
    pub(crate) connect: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) stream: Way,
    /// What came behind a parent's reply: the target's first bytes.
    pub(crate) early: Bytes,
    pub(crate) peer: PeerAddr,
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
    denial: Option<Denial>,
    other_family: bool,
    avoided: bool,
    error: Option<ResolveError>,
    took: Option<Duration>,
}

type Attempts = Vec<race::Attempt<ClearedAddr, ConnectError>>;

/// Writes the story when the dial ends, also when it is dropped.
struct Telling<'a> {
    attempts: Attempts,
    resolution: RefCell<Resolution>,
    begun: Instant,
    destination: &'a DestinationName,
    meters: &'a Meters,
    story: &'a mut Story,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let resolution = std::mem::take(self.resolution.get_mut());
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
        if !self.attempts.is_empty() {
            self.story.connect = Some(
                self.begun
                    .elapsed()
                    .saturating_sub(resolution.took.unwrap_or_default()),
            );
        }
    }
}

impl Dialer {
    pub(crate) fn new(
        connect: config::Connect,
        keepalive: Keepalive,
        resolver: Resolver,
        meters: Arc<Meters>,
        roots: tls::NativeRoots,
    ) -> Self {
        Self {
            connect,
            keepalive,
            resolver,
            meters,
            told: Arc::default(),
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
            story,
        };
        // One batch for each family of each name.
        let (found, incoming) = mpsc::channel(2 * destination.via.len().max(1));
        let owners = parents::Owners::default();
        let won = {
            let order = |waiting: VecDeque<ClearedAddr>, last: Option<&ClearedAddr>| {
                order::interleave(waiting, last, |addr| addr.socket_addr().is_ipv6())
            };
            let racing = race::race(
                incoming,
                order,
                |addr| self.attempt(cleared, *addr, &owners),
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
                if telling
                    .attempts
                    .first()
                    .is_some_and(|first| first.addr != addr)
                {
                    self.meters.failover(&destination.name);
                }
                Ok(Dialed {
                    stream,
                    early,
                    peer: PeerAddr(addr.socket_addr()),
                })
            }
            Err(_) => Err(why(&telling.attempts, telling.resolution.get_mut())),
        }
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
        // Whichever family comes first is tried first, and nobody waits for the other.
        let mut error = None;
        let take = |answer: Answer, error: &mut Option<ResolveError>| match answer {
            Ok(ips) => {
                self.compare_with_published(cleared, &ips);
                offer(&ips);
                resolution
                    .borrow_mut()
                    .took
                    .get_or_insert_with(|| begun.elapsed());
            }
            Err(failed) => *error = worst(*error, Some(failed)),
        };
        let v6 = ask(Family::V6, self.connect.families != Families::Ipv4);
        let v4 = ask(Family::V4, self.connect.families != Families::Ipv6);
        tokio::pin!(v6, v4);
        tokio::select! {
            biased;
            first = &mut v6 => {
                take(first, &mut error);
                take(v4.await, &mut error);
            }
            first = &mut v4 => {
                take(first, &mut error);
                // A name that does not exist has no other family either.
                if error != Some(ResolveError::NotFound) {
                    take(v6.await, &mut error);
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
