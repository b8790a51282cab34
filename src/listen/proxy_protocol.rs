//! The PROXY protocol, versions 1 and 2: a load balancer says whose connection it passes on.
//!
//! The parser is pure and takes bytes as they come; it never takes one that stands behind the header.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest version 1 line, its CRLF included.
const LINE_MAX: usize = 107;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// What of a version 2 header is kept: everything up to the end of two IPv6 addresses and ports.
const KEPT: usize = FIXED + 36;
/// The longest version 2 header behind its fixed part; most of it are extensions, which are skipped.
const REST_MAX: usize = 4096;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// `None`: the balancer speaks for itself (a health check), or does not know.
    pub(super) source: Option<SocketAddr>,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    NoHeader,
    Cut,
    TooLong,
    Line,
    Version,
    Command,
    Family,
    Short,
}

impl fmt::Display for HeaderError {
    /// The same words for everybody: nothing of what was sent is in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "no PROXY protocol header from an address that must send one",
            Self::Cut => "connection closed inside the PROXY protocol header",
            Self::TooLong => "PROXY protocol header too long",
            Self::Line => "PROXY protocol line malformed",
            Self::Version => "PROXY protocol version is neither 1 nor 2",
            Self::Command => "PROXY protocol command is neither LOCAL nor PROXY",
            Self::Family => "PROXY protocol header for something else than a TCP connection",
            Self::Short => "PROXY protocol header too short for its addresses",
        })
    }
}

impl std::error::Error for HeaderError {}

/// Reads one header off the socket, and not a byte more. `None`: closed before the first byte.
pub(super) async fn read(tcp: &mut TcpStream) -> Result<Option<Header>, HeaderError> {
    let mut parser = Parser::default();
    let mut waiting = [0; 256];
    let mut begun = false;
    loop {
        let seen = match tcp.peek(&mut waiting).await {
            Ok(0) | Err(_) if !begun => return Ok(None),
            Ok(0) | Err(_) => return Err(HeaderError::Cut),
            Ok(seen) => seen,
        };
        begun = true;
        let (ours, header) = parser.take(&waiting[..seen])?;
        // These bytes are there: it is taken what was seen.
        tcp.read_exact(&mut waiting[..ours])
            .await
            .map_err(|_| HeaderError::Cut)?;
        if header.is_some() {
            return Ok(header);
        }
    }
}

/// A header as far as it has come.
#[derive(Debug)]
struct Parser {
    kept: [u8; LINE_MAX],
    len: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            kept: [0; LINE_MAX],
            len: 0,
        }
    }
}

impl Parser {
    /// How many of these bytes belong to the header, and the header once it is whole.
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Header>), HeaderError> {
        for (place, byte) in bytes.iter().enumerate() {
            if let Some(kept) = self.kept.get_mut(self.len) {
                *kept = *byte;
            }
            self.len += 1;
            let header = match self.kept[0] {
                b'P' => self.line()?,
                b'\r' => self.binary()?,
                _ => return Err(HeaderError::NoHeader),
            };
            if header.is_some() {
                return Ok((place + 1, header));
            }
        }
        Ok((bytes.len(), None))
    }

    fn line(&self) -> Result<Option<Header>, HeaderError> {
        const BEGINNING: &[u8] = b"PROXY ";
        let line = self.kept.get(..self.len).ok_or(HeaderError::TooLong)?;
        let begun = line.len().min(BEGINNING.len());
        if line[..begun] != BEGINNING[..begun] {
            return Err(HeaderError::NoHeader);
        }
        match line {
            [.., b'\n'] => source_of_line(line).map(|source| Some(Header { source })),
            [.., b'\r', _] => Err(HeaderError::Line),
            _ if line.len() == LINE_MAX => Err(HeaderError::TooLong),
            _ => Ok(None),
        }
    }

    fn binary(&self) -> Result<Option<Header>, HeaderError> {
        let begun = self.len.min(SIGNATURE.len());
        if self.kept[..begun] != SIGNATURE[..begun] {
            return Err(HeaderError::NoHeader);
        }
        let Some(fixed) = self.kept[..self.len.min(KEPT)].get(..FIXED) else {
            return Ok(None);
        };
        let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        let family = Family::of(fixed[12], fixed[13])?;
        if rest > REST_MAX {
            return Err(HeaderError::TooLong);
        }
        if rest < family.addresses() {
            return Err(HeaderError::Short);
        }
        // The kept part may hold bytes of extensions; only as much is looked at as the family has.
        let whole = self.len == FIXED + rest;
        Ok(whole.then(|| Header {
            source: family.source(&self.kept[FIXED..KEPT]),
        }))
    }
}

/// Whose addresses a version 2 header has.
#[derive(Debug, Clone, Copy)]
enum Family {
    /// None that mean something to us.
    Unspecified,
    V4,
    V6,
}

impl Family {
    fn of(version_and_command: u8, family: u8) -> Result<Self, HeaderError> {
        if version_and_command >> 4 != 2 {
            return Err(HeaderError::Version);
        }
        match (version_and_command & 0x0F, family) {
            // LOCAL: the balancer itself. Whatever stands behind it is to be ignored.
            (0, _) => Ok(Self::Unspecified),
            (1, 0x11) => Ok(Self::V4),
            (1, 0x21) => Ok(Self::V6),
            // Unspecified, and Unix sockets: there is no address that a rule could know.
            (1, 0x00 | 0x31) => Ok(Self::Unspecified),
            (1, _) => Err(HeaderError::Family),
            (_, _) => Err(HeaderError::Command),
        }
    }

    /// Bytes that two addresses and two ports take.
    fn addresses(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::V4 => 12,
            Self::V6 => 36,
        }
    }

    /// Source, destination, source port, destination port.
    fn source(self, addresses: &[u8]) -> Option<SocketAddr> {
        let (ip, port): (IpAddr, _) = match self {
            Self::Unspecified => return None,
            Self::V4 => {
                let octets: [u8; 4] = addresses.get(..4)?.try_into().ok()?;
                (Ipv4Addr::from(octets).into(), addresses.get(8..10)?)
            }
            Self::V6 => {
                let octets: [u8; 16] = addresses.get(..16)?.try_into().ok()?;
                (Ipv6Addr::from(octets).into(), addresses.get(32..34)?)
            }
        };
        let port = u16::from_be_bytes(port.try_into().ok()?);
        Some(SocketAddr::new(ip.to_canonical(), port))
    }
}

/// `PROXY TCP4 source destination source-port destination-port` and CRLF; behind UNKNOWN anything may stand.
fn source_of_line(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let line = line.strip_suffix(b"\r\n").ok_or(HeaderError::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Line)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    let (source, destination): (Option<IpAddr>, Option<IpAddr>) = match family {
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => (words.next().and_then(v4), words.next().and_then(v4)),
        Some("TCP6") => (words.next().and_then(v6), words.next().and_then(v6)),
        Some(_) | None => return Err(HeaderError::Line),
    };
    let (port, other) = (words.next().and_then(port), words.next().and_then(port));
    match (source, destination, port, other, words.next()) {
        (Some(source), Some(_), Some(port), Some(_), None) => {
            Ok(Some(SocketAddr::new(source.to_canonical(), port)))
        }
        _ => Err(HeaderError::Line),
    }
}

fn v4(word: &str) -> Option<IpAddr> {
    word.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn v6(word: &str) -> Option<IpAddr> {
    word.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// No sign, no leading zero.
fn port(word: &str) -> Option<u16> {
    let plain = word == "0" || !word.starts_with(['0', '+']);
    plain.then(|| word.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
