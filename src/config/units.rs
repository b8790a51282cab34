//! Durations "250ms", sizes "64KiB", rates "50/s", networks "10.0.0.0/8", ports 443 and "8000-8099".

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

/// Events (or bytes) per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
}

/// An address range.
pub(crate) type Network = ipnet::IpNet;

/// First and last port, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl PortRange {
    pub(crate) fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}
