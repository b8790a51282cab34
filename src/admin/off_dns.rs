//! Which tunnels are on addresses that their names have no more.
//!
//! Compares with answers that are held and fresh; it asks for none, so an idle name says nothing. A look shows what the
//! last answer says; what is to last is compared with all of the answers that came lately.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::dial::resolve::{Family, Resolver};
use crate::exchange::{DestinationName, Host};
use crate::relay::{LiveTunnel, Tunnels};
use crate::telemetry::Meters;

type Addrs = Option<Arc<[IpAddr]>>;

/// One comparison; each name is looked up once for all its tunnels.
#[derive(Debug)]
pub(super) struct OffDns {
    resolver: Resolver,
    /// Compares with more than the last answer.
    lately: bool,
    known: HashMap<(Arc<str>, Family), Addrs>,
}

impl OffDns {
    pub(super) fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            lately: false,
            known: HashMap::new(),
        }
    }

    /// Compares with all answers that came lately: some names list a part of their addresses each time.
    fn lately(resolver: Resolver) -> Self {
        Self {
            lately: true,
            ..Self::new(resolver)
        }
    }

    /// `None`: nothing is known of its name now, or it has none.
    pub(super) fn is_off(&mut self, tunnel: &LiveTunnel) -> Option<bool> {
        let Host::Name(name) = &tunnel.target.host else {
            return None;
        };
        let ip = tunnel.peer.0.ip();
        let family = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
        let listed = self
            .known
            .entry((Arc::clone(name), family))
            .or_insert_with(|| match self.lately {
                true => self.resolver.listed_lately(name, family),
                false => self.resolver.listed(name, family),
            });
        listed.as_ref().map(|listed| !listed.contains(&ip))
    }
}

/// Counts them for each destination that has tunnels, or had when it was counted last.
pub(super) fn count(cores: &[Tunnels], resolver: &Resolver, meters: &Meters) {
    let counts = counts(cores, OffDns::new(resolver.clone())).into_iter();
    meters.tunnels_off_dns(counts.map(|(name, off)| (name, off.unwrap_or_default())));
}

/// How many there are of each destination that has tunnels, on addresses that no answer had lately; `None`: too little
/// is known of any of its names now.
pub(crate) fn lasting(
    cores: &[Tunnels],
    resolver: &Resolver,
) -> HashMap<DestinationName, Option<usize>> {
    counts(cores, OffDns::lately(resolver.clone()))
}

fn counts(cores: &[Tunnels], mut off_dns: OffDns) -> HashMap<DestinationName, Option<usize>> {
    let mut counts: HashMap<DestinationName, Option<usize>> = HashMap::new();
    for tunnel in cores.iter().flat_map(Tunnels::snapshot) {
        let count = counts.entry(tunnel.destination().clone()).or_default();
        if let Some(is_off) = off_dns.is_off(&tunnel) {
            *count = Some(count.unwrap_or_default() + usize::from(is_off));
        }
    }
    counts
}
