//! Whose address it is: what one host can take as its own counts as one.

use std::net::{IpAddr, Ipv6Addr};

/// One host has a /64 of IPv6 addresses to itself, and more than anybody could remember.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}
