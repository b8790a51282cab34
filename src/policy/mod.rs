//! May this be reached: targets become `Cleared`, resolved addresses become `ClearedAddr`.
//!
//! No I/O, no async, no clock: the same question has the same answer until the next reload. Where rules are only tried
//! out, the answer is yes, and what it would have been is told along with it.

mod lines;
mod own;
mod reports;
mod rules;
mod weigh;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::{self, HostPattern, HostRule, Role, Sni, Unlisted};
use crate::exchange::{DestinationName, Host, Reason, Target};

pub(crate) use lines::Lacking;
pub(crate) use own::OwnAddresses;
pub(crate) use reports::{Latest, Passed, Reports, WouldRefuse};
pub(crate) use weigh::Weighed;

/// The destinations of one configuration, and our own addresses.
#[derive(Debug)]
pub(crate) struct Policy {
    destinations: Vec<config::Destination>,
    /// Their names, for reports.
    names: Arc<[DestinationName]>,
    hosts: rules::Hosts,
    own: OwnAddresses,
    /// Where targets of no destination go while they are let pass.
    unlisted: Option<usize>,
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
    pub(crate) fn new(
        destinations: &[config::Destination],
        unlisted: Unlisted,
        own: OwnAddresses,
    ) -> Self {
        let hosts = rules::Hosts::new(destinations);
        let mut destinations = destinations.to_vec();
        let unlisted = match unlisted {
            Unlisted::Refuse => None,
            Unlisted::Report => {
                destinations.push(config::Destination::unlisted());
                Some(destinations.len() - 1)
            }
        };
        Self {
            names: destinations.iter().map(|one| one.name.clone()).collect(),
            destinations,
            hosts,
            own,
            unlisted,
        }
    }

    /// Those of the configuration.
    pub(crate) fn destinations(&self) -> &[config::Destination] {
        &self.destinations
    }

    /// Whether a client with these destinations (none: all) may ask for this target.
    ///
    /// Of several destinations that have it, the closest host rule decides; one that the client may not use, or that
    /// lacks the port, leaves the word to the next. What none of them allows is let pass by one that only reports.
    pub(crate) fn clear(
        self: &Arc<Self>,
        allowed: &[DestinationName],
        target: &Target,
    ) -> Result<Cleared, Denial> {
        let mut denial = Denial::Target;
        // The destination that lets it pass, and whether the port is among what it lacks.
        let mut reports: Option<(usize, bool)> = None;
        for weighed in self.weigh(allowed, target) {
            let destination = &self.destinations[weighed.destination];
            let Weighed {
                has_port, may_use, ..
            } = weighed;
            if has_port && may_use {
                return Ok(self.cleared(weighed.destination, target, None));
            }
            // Of two, the one that lacks less.
            if destination.report_only && reports.is_none_or(|(_, lacks)| lacks && has_port) {
                reports = Some((weighed.destination, !has_port));
            }
            if !has_port {
                if denial == Denial::Target {
                    let destination = destination.name.clone();
                    denial = Denial::Port { destination };
                }
            } else if !matches!(denial, Denial::Client { .. }) {
                // Further than the port: this is the better answer, and the closest rule gives it.
                let destination = destination.name.clone();
                denial = Denial::Client { destination };
            }
        }
        let reports = match (reports, self.unlisted) {
            (None, Some(unlisted)) if denial == Denial::Target => Some((unlisted, false)),
            (reports, _) => reports,
        };
        match reports {
            Some((destination, lacks_port)) => {
                let reported = Reported {
                    denial,
                    lacks_port,
                    allowed: allowed.into(),
                };
                Ok(self.cleared(destination, target, Some(Box::new(reported))))
            }
            None => Err(denial),
        }
    }

    fn cleared(
        self: &Arc<Self>,
        destination: usize,
        target: &Target,
        reported: Option<Box<Reported>>,
    ) -> Cleared {
        Cleared {
            policy: self.clone(),
            destination,
            target: target.clone(),
            reported,
        }
    }
}

/// A target that its client may ask for, with the policy that said so.
#[derive(Debug, Clone)]
pub(crate) struct Cleared {
    policy: Arc<Policy>,
    destination: usize,
    target: Target,
    /// It only passes because somebody wants to see what would be refused.
    reported: Option<Box<Reported>>,
}

/// What would have been said, and what would have to change for it to be allowed.
#[derive(Debug, Clone)]
struct Reported {
    denial: Denial,
    lacks_port: bool,
    /// The destinations that the client may use.
    allowed: Box<[DestinationName]>,
}

impl Cleared {
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn destination(&self) -> &config::Destination {
        &self.policy.destinations[self.destination]
    }

    /// What the target is for its destination.
    pub(crate) fn role(&self) -> Role {
        let rule = HostRule::closest(&self.destination().hosts, &self.target.host);
        rule.map_or(Role::Other, |rule| rule.role)
    }

    /// Whether nothing but TLS may go there, and a request in the clear is refused.
    pub(crate) fn takes_only_tls(&self) -> bool {
        self.destination().sni == Sni::Require
    }

    /// Whether a server behind the target may be asked for under this name (the SNI of a TLS hello).
    ///
    /// A target that is a name has only that name. One that is an address has all names of its destination: whoever
    /// may ask for both could as well have asked for the name.
    pub(crate) fn goes_by(&self, name: &Host) -> bool {
        match (&self.target.host, name) {
            (Host::Addr(_), Host::Name(_)) => self
                .policy
                .hosts
                .matching(name)
                .any(|found| found.destination == self.destination),
            (target, name) => target == name,
        }
    }

    /// Whether an address lies outside of the ranges that the destination's service says its addresses are in.
    pub(crate) fn is_unpublished(&self, addr: IpAddr) -> bool {
        let published = &self.destination().published;
        // Behind DNS64 the network's own prefix stands before the service's address.
        let addr = rules::embedded(addr);
        !published.is_empty() && !published.iter().any(|range| range.contains(&addr))
    }

    /// Whether it is the same target, cleared by the same policy for the same destination.
    pub(crate) fn is_the_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.policy, &other.policy)
            && self.destination == other.destination
            && self.target == other.target
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
            && !lists(destination, addr.ip())
            && !self.reports_address(addr.ip())
        {
            return Err(Denial::Address { range });
        }
        self.not_our_own(addr)
    }

    /// Whether the address of a parent proxy of the destination may be dialled: it is the operator's own, and only must
    /// not be ourselves.
    pub(crate) fn parent(&self, addr: SocketAddr) -> Result<ClearedAddr, Denial> {
        self.not_our_own(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }

    fn not_our_own(&self, addr: SocketAddr) -> Result<ClearedAddr, Denial> {
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

    /// What this exchange would have been refused for, had the rules not only been tried out. `peer` is the address
    /// that it was connected to, if it came so far.
    pub(crate) fn would_refuse(&self, peer: Option<SocketAddr>) -> Option<Denial> {
        if let Some(reported) = &self.reported {
            return Some(reported.denial.clone());
        }
        let peer = peer.filter(|peer| self.is_unlisted_special(peer.ip()))?;
        rules::special(peer.ip()).map(|range| Denial::Address { range })
    }

    /// Only private networks, where a company's own servers are, and never metadata services. A destination whose
    /// hosts somebody wrote down may lead to loopback; if any target passes, that would open every local port.
    fn reports_address(&self, ip: IpAddr) -> bool {
        self.destination().report_only
            && (rules::is_private(ip) || (!self.is_unlisted() && rules::embedded(ip).is_loopback()))
    }

    fn is_unlisted_special(&self, ip: IpAddr) -> bool {
        rules::special(ip).is_some() && !lists(self.destination(), ip.to_canonical())
    }

    fn is_unlisted(&self) -> bool {
        self.policy.unlisted == Some(self.destination)
    }
}

/// Whether the operator named this very address, or a network around it.
fn lists(destination: &config::Destination, ip: IpAddr) -> bool {
    let ends_at = rules::embedded(ip);
    let network = |network: &config::Network| network.contains(&ip) || network.contains(&ends_at);
    let host = |rule: &HostRule| match &rule.pattern {
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
