//! Why an address that a name has is not tried.

use std::net::IpAddr;

use super::resolve::Family;
use super::{Dialer, source};
use crate::policy::{Cleared, Denial};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// `connect.families`, or the family of every `source`, leaves it out.
    OtherFamily,
    /// The name has too many.
    TooMany,
    Denied(Denial),
}

impl Dialer {
    /// Whether it is of a family that is not dialled, or that nothing can be dialled from.
    pub(super) fn leaves_out_family(&self, cleared: &Cleared, ip: IpAddr) -> bool {
        let sources = &cleared.destination().source;
        !self.wants(Family::of(ip)) || !source::has_family(sources, ip)
    }
}
