//! What a client asks for: host and port, parsed once and strictly.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Reason;

/// A name or an address; an address can never reach DNS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// Lower case, no trailing dot, at most 253 bytes.
    Name(Arc<str>),
    Addr(IpAddr),
}

/// Host and port, the port always explicit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetError {
    Empty,
}

impl TargetError {
    pub(crate) fn reason(self) -> Reason {
        Reason::BadTarget
    }
}

impl Target {
    /// The authority-form of a CONNECT request (RFC 9112 §3.2.3), byte by byte.
    pub(crate) fn from_connect(authority: &[u8]) -> Result<Self, TargetError> {
        let _ = authority;
        Err(TargetError::Empty)
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("empty")
    }
}

impl fmt::Display for Target {
    /// `name:443`, `127.0.0.1:443`, `[::1]:443`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Addr(IpAddr::V4(addr)) => write!(f, "{addr}:{}", self.port),
            Host::Addr(IpAddr::V6(addr)) => write!(f, "[{addr}]:{}", self.port),
        }
    }
}
