//! May this be reached: targets become `Cleared`, resolved addresses become `ClearedAddr`.
//!
//! No I/O, no async, no clock: the same question has the same answer until the next reload.

mod own;
mod rules;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{self, HostPattern};
use crate::exchange::{DestinationName, Reason, Target};

pub(crate) use own::OwnAddresses;

/// The destinations of one configuration, and our own addresses.
#[derive(Debug)]
pub(crate) struct Policy {
    destinations: Vec<config::Destination>,
    hosts: rules::Hosts,
    own: OwnAddresses,
}

/// Why a target or an address may not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    /// No destination has the host.
    Target,
    /// The host stands in this destination (and perhaps others), the port in none of them.
    Port { destination: DestinationName },
    /// The client may not use this destination, and no other has the target.
    Client { destination: DestinationName },
    /// The address is special-purpose and the destination does not list it.
    Address { range: &'static str },
    /// The address is one that we listen on.
    OwnAddress,
}

impl Policy {
    pub(crate) fn new(destinations: &[config::Destination], own: OwnAddresses) -> Self {
        Self {
            destinations: destinations.to_vec(),
            hosts: rules::Hosts::new(destinations),
            own,
        }
    }

    /// Whether a client with these destinations (none: all) may ask for this target.
    ///
    /// Of several destinations that have it, the closest host rule decides; one that the client may not use, or that
    /// lacks the port, leaves the word to the next.
    pub(crate) fn clear(
        self: &Arc<Self>,
        allowed: &[DestinationName],
        target: &Target,
    ) -> Result<Cleared, Denial> {
        let mut denial = Denial::Target;
        for found in self.hosts.matching(&target.host) {
            let destination = &self.destinations[found.destination];
            let port = |range: &config::PortRange| range.contains(target.port);
            if !destination.ports.iter().any(port) {
                if denial == Denial::Target {
                    let destination = destination.name.clone();
                    denial = Denial::Port { destination };
                }
            } else if !allowed.is_empty() && !allowed.contains(&destination.name) {
                // Further than the port: this is the better answer, and the closest rule gives it.
                if !matches!(denial, Denial::Client { .. }) {
                    let destination = destination.name.clone();
                    denial = Denial::Client { destination };
                }
            } else {
                return Ok(Cleared {
                    policy: self.clone(),
                    destination: found.destination,
                    target: target.clone(),
                });
            }
        }
        Err(denial)
    }
}

/// A target that its client may ask for, with the policy that said so.
#[derive(Debug, Clone)]
pub(crate) struct Cleared {
    policy: Arc<Policy>,
    destination: usize,
    target: Target,
}

impl Cleared {
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn destination(&self) -> &config::Destination {
        &self.policy.destinations[self.destination]
    }

    /// Whether an address that the target resolved to may be dialled.
    pub(crate) fn addr(&self, addr: SocketAddr) -> Result<ClearedAddr, Denial> {
        let destination = self.destination();
        // The port was part of the question that was answered: another one was never cleared.
        if addr.port() != self.target.port {
            let destination = destination.name.clone();
            return Err(Denial::Port { destination });
        }
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if let Some(range) = rules::special(addr.ip())
            && !lists(destination, addr)
        {
            return Err(Denial::Address { range });
        }
        let refuse_if_local = match self.policy.own.look_up(addr) {
            own::Own::Yes => return Err(Denial::OwnAddress),
            own::Own::IfLocal => true,
            own::Own::No => false,
        };
        Ok(ClearedAddr {
            addr,
            refuse_if_local,
        })
    }
}

/// Whether the operator named this very address, or a network around it.
fn lists(destination: &config::Destination, addr: SocketAddr) -> bool {
    let ip = addr.ip();
    let ends_at = rules::embedded(ip);
    let network = |network: &config::Network| network.contains(&ip) || network.contains(&ends_at);
    let host = |rule: &config::HostRule| match &rule.pattern {
        HostPattern::Addr(listed) => listed.to_canonical() == ip,
        HostPattern::Name(_) | HostPattern::Suffix(_) => false,
    };
    destination.networks.iter().any(network)
        || destination.hosts.iter().any(host)
        || destination
            .addresses
            .iter()
            .any(|listed| listed.to_canonical() == ip)
}

/// An address that was checked, after resolution, or that is the operator's own; nothing else is ever dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClearedAddr {
    addr: SocketAddr,
    refuse_if_local: bool,
}

impl ClearedAddr {
    /// Of an endpoint that the operator configured: nobody else can name one, so no policy stands between.
    pub(crate) fn operator(addr: SocketAddr) -> Self {
        Self {
            addr: SocketAddr::new(addr.ip().to_canonical(), addr.port()),
            refuse_if_local: false,
        }
    }

    /// Canonical: an IPv4 address is never an IPv4-mapped one.
    pub(crate) fn socket_addr(self) -> SocketAddr {
        self.addr
    }

    /// We listen on this port on all addresses: ask the kernel before connecting, and refuse a local address as our own.
    pub(crate) fn refuse_if_local(self) -> bool {
        self.refuse_if_local
    }
}

impl Denial {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Target => Reason::TargetDenied,
            Self::Port { .. } => Reason::PortDenied,
            Self::Client { .. } => Reason::ClientDenied,
            Self::Address { .. } => Reason::AddressDenied,
            Self::OwnAddress => Reason::SelfTarget,
        }
    }

    /// The destination whose rules said no.
    pub(crate) fn destination(&self) -> Option<&DestinationName> {
        match self {
            Self::Port { destination } | Self::Client { destination } => Some(destination),
            Self::Target | Self::Address { .. } | Self::OwnAddress => None,
        }
    }
}

impl fmt::Display for Denial {
    /// For the operator: a client is told the reason's word alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target => f.write_str("no destination has this host"),
            Self::Port { destination } => write!(f, "destination {destination} lacks this port"),
            Self::Client { destination } => {
                write!(f, "the client may not use destination {destination}")
            }
            Self::Address { range } => write!(f, "address is special-purpose: {range}"),
            Self::OwnAddress => f.write_str("address is our own"),
        }
    }
}

impl std::error::Error for Denial {}

#[cfg(test)]
mod tests;
