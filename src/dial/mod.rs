//! From a cleared target to a connected socket, inside one budget for names and every attempt on every address.
//!
//! Only this room opens outbound sockets, and only to addresses that the policy cleared after they were resolved; what
//! the operator configured by name has a way of its own (`operator.rs`).

mod addresses;
pub(crate) mod answerer;
mod cache;
mod changes;
pub(crate) mod connect;
pub(crate) mod health;
mod hosts;
mod left_out;
mod lifetime;
mod listing;
pub(crate) mod operator;
pub(crate) mod order;
pub(crate) mod outlook;
mod parent;
mod parents;
mod peer;
mod published;
pub(crate) mod race;
mod refresh;
pub(crate) mod resolve;
mod server;
mod servers;
mod source;
mod story;
pub(crate) mod survey;
mod system;
pub(crate) mod tls;
mod trial;
mod turns;
pub(crate) mod unheard;
mod watched;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::{self, Keepalive};
use crate::exchange::{DestinationName, PeerAddr, Reason};
use crate::policy::{Cleared, ClearedAddr, Denial};
use crate::telemetry::{Derivation, Meters};
use addresses::Resolution;
use connect::ConnectError;
use health::HealthBook;
pub(crate) use left_out::LeftOut;
pub(crate) use parent::Way;
use resolve::{ResolveError, Resolver};
pub(crate) use story::Story;
use story::{Attempts, Telling, blames, is_no_way, told, why};

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
    /// Told of addresses that come and go.
    derivation: Arc<Derivation>,
    turns: Arc<source::Turns>,
    parents: Arc<parents::Parents>,
    /// It dials for probes in the background.
    probing: bool,
}

#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) stream: Way,
    /// What came behind a parent's reply: the target's first bytes.
    pub(crate) early: Bytes,
    pub(crate) peer: PeerAddr,
    /// Whether the target has other addresses that may be tried, and did not just fail.
    pub(crate) others: bool,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialError {
    Resolve(ResolveError),
    /// The name has addresses, and none of them may be dialled.
    Denied(Denial),
    Connect(ConnectError),
    /// The same, where it was a parent proxy that was to be connected to.
    ToParent(ConnectError),
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
            Self::Connect(error) | Self::ToParent(error) => error.reason(),
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
            Self::ToParent(ConnectError::Refused) => {
                f.write_str("the parent proxy refused the connection")
            }
            Self::ToParent(ConnectError::TimedOut) => {
                f.write_str("the parent proxy did not answer in time")
            }
            Self::ToParent(ConnectError::Reset) => {
                f.write_str("the parent proxy reset the connection")
            }
            Self::ToParent(ConnectError::Unreachable | ConnectError::Other) => {
                f.write_str("the parent proxy cannot be reached from here")
            }
            Self::Connect(error) | Self::ToParent(error) => f.write_str(match error {
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

impl Dialer {
    pub(crate) fn new(
        connect: config::Connect,
        keepalive: Keepalive,
        resolver: Resolver,
        meters: Arc<Meters>,
        health: Arc<HealthBook>,
        roots: tls::NativeRoots,
        derivation: Arc<Derivation>,
    ) -> Self {
        Self {
            connect,
            keepalive,
            resolver,
            meters,
            told: Arc::default(),
            changes: Arc::default(),
            health,
            derivation,
            turns: Arc::default(),
            parents: Arc::new(parents::Parents::new(roots)),
            probing: false,
        }
    }

    /// The same, for probes in the background.
    pub(crate) fn probing(self) -> Self {
        Self {
            probing: true,
            ..self
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
                let is_left = |other: &&ClearedAddr| {
                    let mut attempts = telling.attempts.iter();
                    **other != addr
                        && !attempts.any(|one| one.addr == **other && blames(&one.outcome))
                };
                let others = offered.iter().any(|other| is_left(&other));
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
                let Resolution { offered, error, .. } = telling.resolution.get_mut();
                let tried_all = avoid.is_empty()
                    && error.is_none_or(ResolveError::is_answer)
                    && !offered.is_empty()
                    && telling.attempts.len() == offered.len();
                let each = |is: fn(&_) -> bool| telling.attempts.iter().all(|one| is(&one.outcome));
                let (no_way, all_sick) = (tried_all && each(is_no_way), tried_all && each(blames));
                let error = match why(&telling.attempts, telling.resolution.get_mut()) {
                    DialError::Connect(error) if !destination.via.is_empty() => {
                        DialError::ToParent(error)
                    }
                    error => error,
                };
                telling.story.tried_all = no_way;
                // The book hears of the attempts first.
                drop(telling);
                let now = Instant::now();
                match (all_sick, self.probing) {
                    (true, false) => self.health.none_connects(&destination.name, now),
                    (true, true) => self.health.no_probe_connects(&destination.name, now),
                    (false, _) => {}
                }
                if let DialError::Resolve(error) = &error {
                    self.health.unresolved(&destination.name, *error);
                }
                Err(error)
            }
        }
    }

    /// A forwarded request shows that a peer is sick although it connects. Behind a parent it is the origin that was
    /// silent or hung up, and the parent did its part.
    pub(crate) fn suspect(&self, cleared: &Cleared, peer: PeerAddr) {
        let destination = cleared.destination();
        if destination.via.is_empty() {
            self.health
                .suspect(&destination.name, peer.0, Instant::now());
        }
    }

    /// The time from a head's last byte to our answer.
    pub(crate) fn budget(&self, cleared: &Cleared) -> Duration {
        let own = cleared.destination().connect_budget;
        own.unwrap_or(self.connect.budget)
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
