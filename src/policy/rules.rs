//! The tables behind a clearance: which hosts stand in which destination, and which address ranges are special.
//!
//! A lookup names facts only; `mod.rs` decides what they mean.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::config::{self, HostPattern};
use crate::exchange::Host;

/// A host rule that matched: the destination's place in the file, and the rule's among its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) destination: usize,
    pub(super) rule: usize,
}

/// Every host rule of every destination, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Host, Vec<Match>>,
    /// With their dot in front: `.cloud.test`.
    suffixes: HashMap<Arc<str>, Vec<Match>>,
}

impl Hosts {
    pub(super) fn new(destinations: &[config::Destination]) -> Self {
        let mut hosts = Self::default();
        for (destination, section) in destinations.iter().enumerate() {
            for (place, rule) in section.hosts.iter().enumerate() {
                let matches = match &rule.pattern {
                    HostPattern::Name(name) => {
                        hosts.exact.entry(Host::Name(name.clone())).or_default()
                    }
                    HostPattern::Addr(addr) => {
                        let addr = addr.to_canonical();
                        hosts.exact.entry(Host::Addr(addr)).or_default()
                    }
                    HostPattern::Suffix(suffix) => {
                        hosts.suffixes.entry(suffix.clone()).or_default()
                    }
                };
                matches.push(Match {
                    destination,
                    rule: place,
                });
            }
        }
        hosts
    }

    /// All rules for a host, the closest first: the very name, then the longest suffix; among equals the first in the file.
    pub(super) fn matching(&self, host: &Host) -> impl Iterator<Item = Match> {
        let name: &str = match host {
            Host::Name(name) => name,
            Host::Addr(_) => "",
        };
        let suffixes = name
            .match_indices('.')
            .filter_map(|(dot, _)| self.suffixes.get(&name[dot..]));
        self.exact
            .get(host)
            .into_iter()
            .chain(suffixes)
            .flatten()
            .copied()
    }
}

/// A range that is not the open internet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Special<N> {
    pub(super) net: N,
    /// What it is for, and who says so.
    pub(super) name: &'static str,
}

/// The name of the special-purpose range that an address lies in.
pub(super) fn special(addr: IpAddr) -> Option<&'static str> {
    match embedded(addr) {
        IpAddr::V4(addr) => SPECIAL_V4
            .iter()
            .find(|range| range.net.contains(&addr))
            .map(|range| range.name),
        IpAddr::V6(addr) => SPECIAL_V6
            .iter()
            .find(|range| range.net.contains(&addr))
            .map(|range| range.name),
    }
}

/// Whether it lies in a network that belongs to whoever uses it, and is no metadata service of a cloud platform.
pub(super) fn is_private(addr: IpAddr) -> bool {
    match embedded(addr) {
        IpAddr::V4(addr) => PRIVATE_V4.iter().any(|net| net.contains(&addr)) && addr != METADATA_V4,
        IpAddr::V6(addr) => {
            PRIVATE_V6.contains(&addr) && !METADATA_V6.iter().any(|net| net.contains(&addr))
        }
    }
}

const PRIVATE_V4: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
];
const PRIVATE_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7);

/// Alibaba's lies in the carriers' range, those of Amazon and Google among the unique local addresses.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: [Ipv6Net; 2] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32),
];

/// The IPv4 address that a packet to an IPv4-mapped (RFC 4291 §2.5.5.2) or NAT64 (RFC 6052) address ends at.
pub(super) fn embedded(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(v6) if NAT64.contains(&v6) => Ipv4Addr::from(v6.to_bits() as u32).into(),
        canonical => canonical,
    }
}

const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// The IANA IPv4 Special-Purpose Address Registry, multicast, and one address that a cloud platform keeps for itself.
#[rustfmt::skip]
pub(super) const SPECIAL_V4: &[Special<Ipv4Net>] = &[
    v4([0, 0, 0, 0], 8, "this network (RFC 791)"),
    v4([10, 0, 0, 0], 8, "private (RFC 1918)"),
    v4([100, 64, 0, 0], 10, "carrier-grade NAT (RFC 6598)"),
    v4([127, 0, 0, 0], 8, "loopback (RFC 1122)"),
    v4([168, 63, 129, 16], 32, "platform metadata (Azure)"),
    v4([169, 254, 169, 254], 32, "platform metadata (RFC 3927, many clouds)"),
    v4([169, 254, 0, 0], 16, "link-local (RFC 3927)"),
    v4([172, 16, 0, 0], 12, "private (RFC 1918)"),
    v4([192, 0, 0, 0], 24, "protocol assignments (RFC 6890)"),
    v4([192, 0, 2, 0], 24, "documentation (RFC 5737)"),
    v4([192, 31, 196, 0], 24, "AS112 (RFC 7535)"),
    v4([192, 52, 193, 0], 24, "multicast tunnelling (RFC 7450)"),
    v4([192, 88, 99, 0], 24, "6to4 relay (RFC 7526)"),
    v4([192, 168, 0, 0], 16, "private (RFC 1918)"),
    v4([192, 175, 48, 0], 24, "AS112 (RFC 7534)"),
    v4([198, 18, 0, 0], 15, "benchmarking (RFC 2544)"),
    v4([198, 51, 100, 0], 24, "documentation (RFC 5737)"),
    v4([203, 0, 113, 0], 24, "documentation (RFC 5737)"),
    v4([224, 0, 0, 0], 4, "multicast (RFC 5771)"),
    v4([255, 255, 255, 255], 32, "broadcast (RFC 919)"),
    v4([240, 0, 0, 0], 4, "reserved (RFC 1112)"),
];

/// The IANA IPv6 Special-Purpose Address Registry and all that is not global unicast (RFC 4291 §2.4, IANA's table).
///
/// The two ranges that carry an IPv4 address to be judged (`embedded`) are not in it.
#[rustfmt::skip]
pub(super) const SPECIAL_V6: &[Special<Ipv6Net>] = &[
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified (RFC 4291)"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback (RFC 4291)"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-compatible (RFC 4291)"),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, "IPv4-translated (RFC 2765)"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local NAT64 (RFC 8215)"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 8, "reserved (RFC 4291)"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard (RFC 6666)"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "dummy prefix (RFC 9780)"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 8, "reserved (RFC 4291)"),
    v6([0x200, 0, 0, 0, 0, 0, 0, 0], 7, "reserved (RFC 4048)"),
    v6([0x400, 0, 0, 0, 0, 0, 0, 0], 6, "reserved (RFC 4291)"),
    v6([0x800, 0, 0, 0, 0, 0, 0, 0], 5, "reserved (RFC 4291)"),
    v6([0x1000, 0, 0, 0, 0, 0, 0, 0], 4, "reserved (RFC 4291)"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo (RFC 4380)"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, "benchmarking (RFC 5180)"),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, "ORCHID (RFC 4843)"),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, "ORCHIDv2 (RFC 7343)"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignments (RFC 2928)"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation (RFC 3849)"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4 (RFC 3056)"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "AS112 (RFC 7534)"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation (RFC 9637)"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing (RFC 9602)"),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 3, "reserved (RFC 4291)"),
    v6([0x6000, 0, 0, 0, 0, 0, 0, 0], 3, "reserved (RFC 4291)"),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 3, "reserved (RFC 4291)"),
    v6([0xa000, 0, 0, 0, 0, 0, 0, 0], 3, "reserved (RFC 4291)"),
    v6([0xc000, 0, 0, 0, 0, 0, 0, 0], 3, "reserved (RFC 4291)"),
    v6([0xe000, 0, 0, 0, 0, 0, 0, 0], 4, "reserved (RFC 4291)"),
    v6([0xf000, 0, 0, 0, 0, 0, 0, 0], 5, "reserved (RFC 4291)"),
    v6([0xf800, 0, 0, 0, 0, 0, 0, 0], 6, "reserved (RFC 4291)"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique local (RFC 4193)"),
    v6([0xfe00, 0, 0, 0, 0, 0, 0, 0], 9, "reserved (RFC 4291)"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local (RFC 4291)"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local (RFC 3879)"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast (RFC 4291)"),
];

const fn v4(octets: [u8; 4], len: u8, name: &'static str) -> Special<Ipv4Net> {
    let [a, b, c, d] = octets;
    let net = Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), len);
    Special { net, name }
}

const fn v6(segments: [u16; 8], len: u8, name: &'static str) -> Special<Ipv6Net> {
    let [a, b, c, d, e, f, g, h] = segments;
    let net = Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), len);
    Special { net, name }
}

#[cfg(test)]
mod tests;
