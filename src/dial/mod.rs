//! From a cleared target to a connected socket, inside one budget for names and every attempt on every address.
//!
//! Only this room opens outbound sockets, and only to addresses that the policy cleared after they were resolved.

pub(crate) mod connect;
pub(crate) mod order;
pub(crate) mod race;
pub(crate) mod resolve;

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::{self, Families, Keepalive};
use crate::exchange::{Attempt, Host, PeerAddr, Reason};
use crate::policy::{Cleared, ClearedAddr, Denial};
use crate::telemetry::Meters;
use connect::{ConnectError, connect};
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
}

/// What a dial came to, and what is worth telling about the way.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) resolved: Vec<IpAddr>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) dns: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) result: Result<Dialed, DialError>,
}

#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) stream: TcpStream,
    pub(crate) peer: PeerAddr,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialError {
    Resolve(ResolveError),
    /// The name has addresses, and none of them may be dialled.
    Denied(Denial),
    Connect(ConnectError),
}

impl DialError {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Resolve(error) => error.reason(),
            Self::Denied(denial) => denial.reason(),
            Self::Connect(error) => error.reason(),
        }
    }
}

/// What a client may know of it: no address, no system text.
impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => error.fmt(f),
            Self::Denied(denial) => denial.fmt(f),
            Self::Connect(error) => f.write_str(match error {
                ConnectError::Refused => "the destination refused the connection",
                ConnectError::TimedOut => "the destination did not answer in time",
                ConnectError::Reset => "the destination reset the connection",
                ConnectError::Unreachable | ConnectError::Other => "the destination cannot be reached from here",
                ConnectError::Ourselves => "the target is this proxy",
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
    error: Option<ResolveError>,
    took: Option<Duration>,
}

impl Dialer {
    pub(crate) fn new(connect: config::Connect, keepalive: Keepalive, resolver: Resolver, meters: Arc<Meters>) -> Self {
        Self { connect, keepalive, resolver, meters }
    }

    /// Connects to the target. `begun` is when its head was complete: the budget counts from there. Dropping the
    /// future gives every attempt up.
    pub(crate) async fn dial(&self, cleared: &Cleared, begun: Instant) -> Outcome {
        let destination = cleared.destination();
        let deadline = begun + destination.connect_budget.unwrap_or(self.connect.budget);
        let resolution = RefCell::new(Resolution::default());
        let (found, addresses) = mpsc::channel(ADDRESSES_MAX);
        let connecting = Instant::now();
        let race = {
            let terms = race::Terms { deadline, attempt_delay: self.connect.attempt_delay };
            let racing = race::race(addresses, terms, |addr: ClearedAddr| connect(addr, self.keepalive));
            let resolving = self.resolve(cleared, found, &resolution);
            tokio::pin!(racing, resolving);
            tokio::select! {
                race = &mut racing => race,
                () = &mut resolving => racing.await,
            }
        };
        let resolution = resolution.into_inner();
        let attempts: Vec<Attempt> = race.attempts.iter().map(told).collect();
        for attempt in &attempts {
            self.meters.connect(&destination.name, attempt.error.unwrap_or("ok"), attempt.took);
        }
        let result = match race.winner {
            Some((addr, stream)) => {
                if race.attempts.first().is_some_and(|first| first.addr != addr) {
                    self.meters.failover(&destination.name);
                }
                Ok(Dialed { stream, peer: PeerAddr(addr.socket_addr()) })
            }
            None => Err(why(&race.attempts, &resolution)),
        };
        let connect = (!attempts.is_empty()).then(|| connecting.elapsed().saturating_sub(resolution.took.unwrap_or_default()));
        Outcome { resolved: resolution.resolved, attempts, dns: resolution.took, connect, result }
    }

    /// Hands on the target's addresses as they come.
    async fn resolve(&self, cleared: &Cleared, found: mpsc::Sender<ClearedAddr>, resolution: &RefCell<Resolution>) {
        let target = cleared.target();
        let destination = cleared.destination();
        let offer = |ips: &[IpAddr]| {
            let mut resolution = resolution.borrow_mut();
            for ip in ips {
                resolution.resolved.push(*ip);
                match cleared.addr(SocketAddr::new(*ip, target.port)) {
                    // More than the channel holds is more than can be tried inside a budget.
                    Ok(addr) => drop(found.try_send(addr)),
                    Err(denial) => resolution.denial = Some(denial),
                }
            }
        };
        let name = match &target.host {
            Host::Addr(ip) => return offer(&[*ip]),
            Host::Name(_) if !destination.addresses.is_empty() => {
                let (v6, v4) = destination.addresses.iter().filter(|ip| self.wants(**ip)).partition(|ip| ip.is_ipv6());
                return offer(&order::interleave(v6, v4));
            }
            Host::Name(name) => name,
        };
        let begun = Instant::now();
        let ask = |family, wanted: bool| async move {
            if wanted { self.resolver.lookup(name, family, destination.max_ttl).await } else { Err(ResolveError::NoAddress) }
        };
        let v4 = ask(Family::V4, self.connect.families != Families::Ipv6);
        let v6 = ask(Family::V6, self.connect.families != Families::Ipv4);
        tokio::pin!(v4, v6);
        // Known answers are ready at once, and are then mixed; otherwise whichever family comes first is tried first.
        let (first, second): (Answer, Option<Answer>) = tokio::select! {
            biased;
            first = &mut v6 => match poll_once(&mut v4).await {
                Some(other) => {
                    offer(&order::interleave(addrs(&first), addrs(&other)));
                    (first, Some(other))
                }
                None => {
                    offer(&addrs(&first));
                    let other = v4.await;
                    offer(&addrs(&other));
                    (first, Some(other))
                }
            },
            first = &mut v4 => {
                offer(&addrs(&first));
                resolution.borrow_mut().took = first.is_ok().then(|| begun.elapsed());
                // A name that does not exist has no other family either.
                let second = if first == Err(ResolveError::NotFound) { None } else { Some(v6.await) };
                if let Some(second) = &second {
                    offer(&addrs(second));
                }
                (first, second)
            }
        };
        let mut resolution = resolution.borrow_mut();
        resolution.took.get_or_insert_with(|| begun.elapsed());
        resolution.error = worst(first.err(), second.and_then(Result::err));
    }

    fn wants(&self, ip: IpAddr) -> bool {
        match self.connect.families {
            Families::Both => true,
            Families::Ipv4 => ip.is_ipv4(),
            Families::Ipv6 => ip.is_ipv6(),
        }
    }
}

fn addrs(answer: &Answer) -> Vec<IpAddr> {
    answer.as_ref().map(|addrs| addrs.to_vec()).unwrap_or_default()
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

/// Of two families' failures, the one that tells an administrator more.
fn worst(one: Option<ResolveError>, other: Option<ResolveError>) -> Option<ResolveError> {
    [ResolveError::TimedOut, ResolveError::Failed, ResolveError::NotFound, ResolveError::NoAddress].into_iter().find(|error| one == Some(*error) || other == Some(*error))
}

fn told(attempt: &race::Attempt<ClearedAddr, ConnectError>) -> Attempt {
    let error = match &attempt.outcome {
        race::AttemptOutcome::Connected => None,
        race::AttemptOutcome::Failed(error) => Some(error.token()),
        race::AttemptOutcome::Lost => Some("lost"),
        race::AttemptOutcome::TimedOut => Some("timed_out"),
    };
    Attempt { peer: attempt.addr.socket_addr(), took: attempt.took, error }
}

/// The one cause of a dial that failed. Our own lack comes first, silence before refusals, names only where nothing was tried.
fn why(attempts: &[race::Attempt<ClearedAddr, ConnectError>], resolution: &Resolution) -> DialError {
    const BY_WEIGHT: [ConnectError; 7] = [
        ConnectError::OutOfResources,
        ConnectError::TimedOut,
        ConnectError::Refused,
        ConnectError::Reset,
        ConnectError::Unreachable,
        ConnectError::Other,
        ConnectError::Ourselves,
    ];
    let failed = |wanted: ConnectError| {
        attempts.iter().any(|attempt| match &attempt.outcome {
            race::AttemptOutcome::Failed(error) => *error == wanted,
            race::AttemptOutcome::TimedOut => wanted == ConnectError::TimedOut,
            race::AttemptOutcome::Connected | race::AttemptOutcome::Lost => false,
        })
    };
    if let Some(error) = BY_WEIGHT.into_iter().find(|error| failed(*error)) {
        return DialError::Connect(error);
    }
    match (resolution.denial, resolution.error) {
        (Some(denial), _) => DialError::Denied(denial),
        (None, Some(error)) => DialError::Resolve(error),
        // The budget ended before the servers answered.
        (None, None) => DialError::Resolve(ResolveError::TimedOut),
    }
}
