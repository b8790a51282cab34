//! What a client asks for: host and port, parsed once and strictly.
//!
//! Everything behind this file compares parsed values: it splits no strings and knows one spelling of each host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::Reason;

/// The longest name that DNS can carry, written without its last dot (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// A name or an address; an address can never reach DNS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// Lower case, no trailing dot, at most 253 bytes.
    Name(Arc<str>),
    /// Canonical: an IPv4 address in IPv6 clothes (`::ffff:127.0.0.1`) is the IPv4 address.
    Addr(IpAddr),
}

/// Host and port, the port always explicit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// Why a text is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetError {
    Empty,
    HostMissing,
    PortMissing,
    Port,
    Userinfo,
    Path,
    Percent,
    NotAscii,
    Byte,
    Brackets,
    Ipv6,
    EmptyLabel,
    LabelTooLong,
    NameTooLong,
    Hyphen,
    Number,
    Scheme,
    Fragment,
    PathByte,
}

impl TargetError {
    pub(crate) fn reason(self) -> Reason {
        Reason::BadTarget
    }

    /// The same words for everybody: nothing of what the client wrote is in them.
    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::Empty => "target empty",
            Self::HostMissing => "host missing",
            Self::PortMissing => "port missing",
            Self::Port => "port is not a number from 1 to 65535",
            Self::Userinfo => "user information in the target",
            Self::Path => "scheme or path in the target",
            Self::Percent => "percent-encoding in the host",
            Self::NotAscii => "host is not ASCII",
            Self::Byte => "host has a byte that no name has",
            Self::Brackets => "brackets are for one IPv6 address",
            Self::Ipv6 => "not an IPv6 address",
            Self::EmptyLabel => "name with an empty label",
            Self::LabelTooLong => "name with a label over 63 bytes",
            Self::NameTooLong => "name over 253 bytes",
            Self::Hyphen => "name with a label that begins or ends with a hyphen",
            Self::Number => "host ends in a number and is no dotted IPv4 address",
            Self::Scheme => "only http, https and ws URIs are forwarded",
            Self::Fragment => "URI with a fragment",
            Self::PathByte => "path or query has a byte that no URI has",
        }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.details())
    }
}

impl std::error::Error for TargetError {}

impl Target {
    /// The authority-form of a CONNECT request (RFC 9112 §3.2.3), byte by byte.
    pub(crate) fn from_connect(authority: &[u8]) -> Result<Self, TargetError> {
        if authority.is_empty() {
            return Err(TargetError::Empty);
        }
        // A URI or a login in front of the host has colons of its own: named as what it is, before a port is looked for.
        if authority.contains(&b'@') {
            return Err(TargetError::Userinfo);
        }
        if authority.iter().any(|byte| b"/\\?#".contains(byte)) {
            return Err(TargetError::Path);
        }
        // What stands in brackets may hold colons too.
        let (host, port) = if authority[0] == b'[' {
            let close = authority.iter().position(|&byte| byte == b']');
            authority.split_at(close.ok_or(TargetError::Brackets)? + 1)
        } else {
            let colon = authority.iter().rposition(|&byte| byte == b':');
            authority.split_at(colon.unwrap_or(authority.len()))
        };
        let host = Host::parse(host)?;
        let port = match port {
            [] => return Err(TargetError::PortMissing),
            [b':', digits @ ..] => self::port(digits)?,
            _ => return Err(TargetError::Brackets),
        };
        Ok(Self { host, port })
    }
}

impl Host {
    /// A name, an IPv4 address or an IPv6 address in brackets, and nothing around it.
    pub(crate) fn parse(host: &[u8]) -> Result<Self, TargetError> {
        match host {
            [] => Err(TargetError::HostMissing),
            [b'[', inner @ .., b']'] => ipv6(inner),
            _ => name_or_ipv4(host),
        }
    }
}

impl fmt::Display for Host {
    /// `name`, `127.0.0.1`, `[::1]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Addr(IpAddr::V4(addr)) => addr.fmt(f),
            Self::Addr(IpAddr::V6(addr)) => write!(f, "[{addr}]"),
        }
    }
}

impl fmt::Display for Target {
    /// `name:443`, `127.0.0.1:443`, `[::1]:443`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

pub(super) fn port(digits: &[u8]) -> Result<u16, TargetError> {
    match digits {
        [] => Err(TargetError::PortMissing),
        [b'1'..=b'9', rest @ ..] if rest.len() < 5 && rest.iter().all(u8::is_ascii_digit) => {
            let value = digits
                .iter()
                .fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
            u16::try_from(value).map_err(|_| TargetError::Port)
        }
        _ => Err(TargetError::Port),
    }
}

fn ipv6(inner: &[u8]) -> Result<Host, TargetError> {
    // The standard library knows no zone ids and no "%": they fail here like any other text.
    let text = std::str::from_utf8(inner).map_err(|_| TargetError::NotAscii)?;
    let addr: Ipv6Addr = text.parse().map_err(|_| TargetError::Ipv6)?;
    Ok(Host::Addr(addr.to_canonical()))
}

fn name_or_ipv4(host: &[u8]) -> Result<Host, TargetError> {
    for &byte in host {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {}
            b'%' => return Err(TargetError::Percent),
            b':' | b'[' | b']' => return Err(TargetError::Brackets),
            0x80.. => return Err(TargetError::NotAscii),
            _ => return Err(TargetError::Byte),
        }
    }
    let name = host.strip_suffix(b".").unwrap_or(host);
    if name.len() > NAME_MAX {
        return Err(TargetError::NameTooLong);
    }
    let mut last: &[u8] = b"";
    for label in name.split(|&byte| byte == b'.') {
        match label {
            [] => return Err(TargetError::EmptyLabel),
            [b'-', ..] | [.., b'-'] => return Err(TargetError::Hyphen),
            _ if label.len() > LABEL_MAX => return Err(TargetError::LabelTooLong),
            _ => last = label,
        }
    }
    let mut text = String::from_utf8(name.to_vec()).map_err(|_| TargetError::NotAscii)?;
    text.make_ascii_lowercase();
    if is_number(last) {
        // Many resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1. Here an address has one spelling.
        let addr: Result<Ipv4Addr, _> = text.parse();
        return match addr {
            Ok(addr) if name.len() == host.len() => Ok(Host::Addr(addr.into())),
            Ok(_) | Err(_) => Err(TargetError::Number),
        };
    }
    Ok(Host::Name(text.into()))
}

/// Whether browsers and `inet_aton` take a host with this last label for an IPv4 address: digits, or hex behind `0x`.
fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', hex @ ..] => hex.iter().all(u8::is_ascii_hexdigit),
        _ => label.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests;
