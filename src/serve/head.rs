//! One request head: strict lines, limits, and the few rules that make it safe to read on.
//!
//! Pure: bytes in, verdict out. What is wrong is found at its first byte, so that nobody waits for the rest of it,
//! and a head that comes byte by byte is looked at once. It decides nothing about targets, credentials or bodies.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::scan::Scan;
use crate::config;
use crate::exchange::Reason;

/// Two hundred are promised to clients; thousands are an attack.
pub(super) const FIELDS_MAX: usize = 256;

/// What a head may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    /// The whole head, its last empty line included. The request-target may take half of it.
    pub(crate) head_bytes: usize,
}

impl HeadLimits {
    pub(crate) fn new(intake: &config::Intake) -> Self {
        Self {
            head_bytes: usize::try_from(intake.head_bytes.0).unwrap_or(usize::MAX),
        }
    }
}

/// What the bytes so far are.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// Right as far as it goes.
    Partial,
    Complete(Head),
}

/// The versions that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

impl Version {
    /// As it stands in `Via`.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
        }
    }
}

/// A request head that keeps every rule of this file.
#[derive(Clone)]
pub(crate) struct Head {
    /// The head as it came; everything else points into it.
    bytes: Box<[u8]>,
    method: Range<usize>,
    request_target: Range<usize>,
    version: Version,
    /// Name and value of each field, in order.
    fields: Vec<(Range<usize>, Range<usize>)>,
}

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadError {
    // Other protocols on this port.
    TlsHello,
    Socks,
    Http2Preface,
    ProxyHeader,
    // Lines.
    BareLf,
    BareCr,
    Nul,
    EmptyLines,
    // The request line.
    Method,
    RequestTarget,
    RequestLine,
    Version,
    // Fields.
    ObsFold,
    SpaceBeforeColon,
    FieldName,
    ColonMissing,
    FieldValue,
    // The message.
    HostMissing,
    HostDoubled,
    HostInvalid,
    ConnectBody,
    Malformed,
    // Limits.
    TargetTooLong,
    TooManyFields,
    TooLarge,
}

/// Reads one head from the front of `buffer`, which holds all bytes since the last request.
///
/// `scan` remembers how far the same buffer was looked at by the calls before; a new head starts with a new one.
pub(crate) fn parse(
    buffer: &[u8],
    scan: &mut Scan,
    limits: &HeadLimits,
) -> Result<Parsed, HeadError> {
    let Some(len) = scan.advance(buffer, limits)? else {
        return Ok(Parsed::Partial);
    };
    let head = Head::split(&buffer[..len])?;
    check_host(&head)?;
    // The first bytes of a tunnel could be taken for that body, or the body for the first bytes of a tunnel.
    if head.is_connect() && (head.has("content-length") || head.has("transfer-encoding")) {
        return Err(HeadError::ConnectBody);
    }
    Ok(Parsed::Complete(head))
}

impl Head {
    /// Takes whole, well-formed lines apart. httparse is the second opinion: what it reads otherwise is refused.
    fn split(bytes: &[u8]) -> Result<Self, HeadError> {
        let mut room = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut room) {
            Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
            Ok(_) | Err(_) => return Err(HeadError::Malformed),
        }
        let (Some(method), Some(target)) = (request.method, request.path) else {
            return Err(HeadError::Malformed);
        };
        let version = match request.version {
            Some(0) => Version::Http10,
            Some(1) => Version::Http11,
            _ => return Err(HeadError::Version),
        };
        let place = |part: &[u8]| place_in(bytes, part);
        let field =
            |field: &httparse::Header<'_>| (place(field.name.as_bytes()), place(field.value));
        Ok(Self {
            method: place(method.as_bytes()),
            request_target: place(target.as_bytes()),
            version,
            fields: request.headers.iter().map(field).collect(),
            bytes: bytes.into(),
        })
    }

    /// Case counts: `connect` is not `CONNECT`.
    pub(crate) fn method(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.method.clone()]).unwrap_or_default()
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn is_connect(&self) -> bool {
        self.method() == "CONNECT"
    }

    /// As the client wrote it: digest compares it byte for byte.
    pub(crate) fn request_target(&self) -> &[u8] {
        &self.bytes[self.request_target.clone()]
    }

    /// The request line, with its line end.
    pub(crate) fn line(&self) -> &[u8] {
        let end = self.bytes[self.request_target.end..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(self.bytes.len(), |end| self.request_target.end + end + 1);
        &self.bytes[self.method.start..end]
    }

    /// How many bytes of the buffer were the head; what follows is body, tunnel or the next request.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Every field line in order: the name as written, the value without the space around it.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|(name, value)| (&self.bytes[name.clone()], &self.bytes[value.clone()]))
    }

    /// The values of all lines of one field.
    pub(crate) fn field_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    fn has(&self, name: &str) -> bool {
        self.field_values(name).next().is_some()
    }

    /// Whether the client counts on the connection after this exchange (RFC 9112 §9.3).
    ///
    /// An HTTP/1.0 client that asks for it gets it, though the RFC would have proxies close: its fear is an older proxy
    /// that passes the field on unread, and without it such clients never finish a digest round. `Proxy-Connection`
    /// says nothing here: clients that send it say the same in `Connection`, or mean the tunnel.
    pub(crate) fn keep_alive(&self) -> bool {
        match self.version {
            Version::Http11 => !self.connection_lists("close"),
            Version::Http10 => {
                self.connection_lists("keep-alive") && !self.connection_lists("close")
            }
        }
    }

    pub(crate) fn connection_lists(&self, option: &str) -> bool {
        self.field_values("connection")
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    }
}

impl fmt::Debug for Head {
    /// No values and no path: they hold passwords and device tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method())
            .field("version", &self.version)
            .field("fields", &self.fields.len())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Whole, well-formed field lines and the empty line behind them, as a map.
pub(super) fn fields(section: &[u8]) -> Result<HeaderMap, HeadError> {
    let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut room)
    else {
        return Err(HeadError::Malformed);
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::try_from(field.name).map_err(|_| HeadError::FieldName)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| HeadError::FieldValue)?;
        map.append(name, value);
    }
    Ok(map)
}

/// Where a part that httparse cut out of `whole` lies in it.
fn place_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    // An empty part may point anywhere; it is empty at the front as well.
    if part.is_empty() || start + part.len() > whole.len() {
        return 0..0;
    }
    start..start + part.len()
}

/// RFC 9112 §3.2. Whether it agrees with the target is nobody's business: some clients send the proxy's own name.
fn check_host(head: &Head) -> Result<(), HeadError> {
    let mut hosts = head.field_values("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version == Version::Http10 => Ok(()),
        (None, _) => Err(HeadError::HostMissing),
        (Some(_), Some(_)) => Err(HeadError::HostDoubled),
        (Some(host), None) if is_host(host) => Ok(()),
        (Some(_), None) => Err(HeadError::HostInvalid),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), not empty.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(close) = rest.iter().position(|&byte| byte == b']') else {
                return false;
            };
            let literal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if !rest[..close].iter().all(literal) {
                return false;
            }
            (&rest[..close], &rest[close + 1..])
        }
        _ => {
            let colon = value.iter().position(|&byte| byte == b':');
            value.split_at(colon.unwrap_or(value.len()))
        }
    };
    let port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port && !host.is_empty() && host.iter().all(is_host_byte)
}

/// The unreserved, sub-delim and percent bytes of a reg-name (RFC 3986 §3.2.2), and the colons of an address.
fn is_host_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:".contains(byte)
}

impl HeadError {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::TargetTooLong => Reason::UriTooLong,
            Self::TooManyFields | Self::TooLarge => Reason::HeadTooLarge,
            Self::TlsHello
            | Self::Socks
            | Self::Http2Preface
            | Self::ProxyHeader
            | Self::BareLf
            | Self::BareCr
            | Self::Nul
            | Self::EmptyLines
            | Self::Method
            | Self::RequestTarget
            | Self::RequestLine
            | Self::Version
            | Self::ObsFold
            | Self::SpaceBeforeColon
            | Self::FieldName
            | Self::ColonMissing
            | Self::FieldValue
            | Self::HostMissing
            | Self::HostDoubled
            | Self::HostInvalid
            | Self::ConnectBody
            | Self::Malformed => Reason::BadRequest,
        }
    }

    /// The same words for everybody: nothing of what the client wrote is in them.
    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::TlsHello => "a TLS hello on a plain listener",
            Self::Socks => "a SOCKS greeting on an HTTP listener",
            Self::Http2Preface => "HTTP/2 on an HTTP/1.1 listener",
            Self::ProxyHeader => "a PROXY protocol header from an address not trusted with it",
            Self::BareLf => "LF without CR",
            Self::BareCr => "CR without LF",
            Self::Nul => "NUL byte",
            Self::EmptyLines => "empty lines before the request",
            Self::Method => "method is not a token of at most 64 bytes",
            Self::RequestTarget => "request target has a byte that no URI has",
            Self::RequestLine => "request line is not method, target and version",
            Self::Version => "version is neither HTTP/1.0 nor HTTP/1.1",
            Self::ObsFold => "field line begins with a space",
            Self::SpaceBeforeColon => "space before a colon",
            Self::FieldName => "field name is not a token",
            Self::ColonMissing => "field line without a colon",
            Self::FieldValue => "control character in a field value",
            Self::HostMissing => "Host missing",
            Self::HostDoubled => "more than one Host",
            Self::HostInvalid => "Host invalid",
            Self::ConnectBody => "CONNECT with a body",
            Self::Malformed => "head malformed",
            Self::TargetTooLong => "request target too long",
            Self::TooManyFields => "too many fields",
            Self::TooLarge => "head too large",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.details())
    }
}

impl std::error::Error for HeadError {}

#[cfg(test)]
mod tests;
