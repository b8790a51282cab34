//! Every rule that has a target's host, and what each says of the rest: what a decision is made of, and how it can be
//! explained afterwards.

use super::Policy;
use crate::exchange::{DestinationName, Target};

/// One host rule that has the target's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weighed {
    /// The destination's place in the configuration.
    pub(crate) destination: usize,
    /// The rule's place among the destination's hosts.
    pub(crate) rule: usize,
    /// Whether the destination has the port too.
    pub(crate) has_port: bool,
    /// Whether the client may use the destination.
    pub(crate) may_use: bool,
}

impl Policy {
    /// The rules that speak of the target, the closest first, for a client with these destinations (none: all).
    pub(crate) fn weigh<'a>(
        &'a self,
        allowed: &'a [DestinationName],
        target: &'a Target,
    ) -> impl Iterator<Item = Weighed> + 'a {
        self.hosts.matching(&target.host).map(move |found| {
            let destination = &self.destinations[found.destination];
            let mut ports = destination.ports.iter();
            Weighed {
                destination: found.destination,
                rule: found.rule,
                has_port: ports.any(|range| range.contains(target.port)),
                may_use: allowed.is_empty() || allowed.contains(&destination.name),
            }
        })
    }
}
