//! Which fields travel on, in both directions, and which end here (RFC 9110 §7.6).
//!
//! Pure. What says where a message ends is written anew on both sides, never copied.

use std::time::SystemTime;

use http::header::{
    self, CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    MAX_FORWARDS, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};

use super::body::Framing;
use super::head::{Head, HeadError, Version};
use crate::exchange::Absolute;
use crate::policy::Cleared;

/// Hops of a request that a parent proxy is told of at most, and how long one may be.
const HOPS_MAX: usize = 32;
const HOP_MAX: usize = 128;

/// Fields of one connection, besides those that it lists itself.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    // A proxy that passes it on is talked into HTTP/2 between two parties that it cannot watch.
    HeaderName::from_static("http2-settings"),
];

/// Trailers must not change what was decided from the head (RFC 9110 §6.5.1).
const NOT_IN_TRAILERS: [HeaderName; 13] = [
    CONTENT_LENGTH,
    HOST,
    TRAILER,
    EXPECT,
    MAX_FORWARDS,
    VIA,
    header::AUTHORIZATION,
    header::COOKIE,
    header::SET_COOKIE,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CACHE_CONTROL,
];

/// Who we are in `Via`: differs per process, so that a request that comes back is known.
#[derive(Debug, Clone)]
pub(crate) struct Pseudonym(Box<str>);

impl Pseudonym {
    pub(crate) fn new(number: u32) -> Self {
        Self(format!("tidegate-{number:08x}").into())
    }

    fn entry(&self, version: Version) -> HeaderValue {
        let text = format!("{} {}", version.token(), self.0);
        HeaderValue::try_from(text).expect("digits, letters, a dot and a hyphen")
    }

    /// What `Via` says of a request that comes from ourselves.
    pub(crate) fn own(&self) -> String {
        format!("1.1 {}", self.0)
    }

    /// The proxies that a request for a parent proxy has passed, ourselves last; nothing where it needs no parent.
    pub(crate) fn trail(&self, head: &Head, cleared: &Cleared) -> String {
        if cleared.destination().via.is_empty() {
            return String::new();
        }
        let values = head
            .field_values("via")
            .flat_map(|value| value.split(|&b| b == b','));
        // What cannot stand in a field is not ours to repeat.
        let hops = values.filter_map(|hop| std::str::from_utf8(hop).ok().map(str::trim));
        let ours = format!("{} {}", head.version().token(), self.0);
        let mut trail: Vec<&str> = hops.filter(|hop| !hop.is_empty()).collect();
        // Of a list that long the last tell of a circle soon enough.
        let surplus = trail.len().saturating_sub(HOPS_MAX);
        trail.drain(..surplus);
        trail.retain(|hop| hop.len() <= HOP_MAX);
        trail.push(&ours);
        trail.join(", ")
    }

    /// Whether a request has been here before.
    pub(crate) fn stands_in(&self, head: &Head) -> bool {
        head.field_values("via")
            .flat_map(|value| value.split(|&byte| byte == b','))
            .filter_map(|hop| {
                hop.split(u8::is_ascii_whitespace)
                    .filter(|word| !word.is_empty())
                    .nth(1)
            })
            .any(|by| by.eq_ignore_ascii_case(self.0.as_bytes()))
    }
}

/// What of a request is the sender's business with the origin, and what is ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passing {
    pub(crate) framing: Framing,
    /// The request asks for WebSocket, and may have it.
    pub(crate) websocket: bool,
    /// What is left of `Max-Forwards`, where it counts.
    pub(crate) max_forwards: Option<u64>,
}

/// The fields for the origin.
pub(crate) fn request(
    head: &Head,
    absolute: &Absolute,
    passing: Passing,
    pseudonym: &Pseudonym,
) -> Result<HeaderMap, HeadError> {
    let mut fields = HeaderMap::with_capacity(16);
    let host = HeaderValue::try_from(absolute.host_field());
    fields.insert(HOST, host.map_err(|_| HeadError::HostInvalid)?);
    for (name, value) in head.fields() {
        let name = HeaderName::from_bytes(name).map_err(|_| HeadError::FieldName)?;
        if name == HOST
            || name == CONTENT_LENGTH
            || (name == TRAILER && passing.framing != Framing::Chunked)
            || (name == EXPECT && head.version() == Version::Http10)
            || (name == MAX_FORWARDS && passing.max_forwards.is_some())
            || is_ours(&name)
            || head.connection_lists(name.as_str())
        {
            continue;
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| HeadError::FieldValue)?;
        fields.append(name, value);
    }
    if let Some(left) = passing.max_forwards {
        fields.insert(MAX_FORWARDS, left.into());
    }
    match passing.framing {
        Framing::None => {}
        Framing::Length(length) => drop(fields.insert(CONTENT_LENGTH, length.into())),
        // Said outright, or the body of a GET would be left out.
        Framing::Chunked => {
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    fields.append(VIA, pseudonym.entry(head.version()));
    if passing.websocket {
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    } else if asks_for_trailers(head) {
        fields.insert(CONNECTION, HeaderValue::from_static("TE"));
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(fields)
}

/// The fields of the origin's reply that the client may see. Framing and connection are still to be added.
pub(crate) fn reply(
    origins: &HeaderMap,
    version: http::Version,
    trailers: bool,
    pseudonym: &Pseudonym,
) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(origins.len() + 3);
    for (name, value) in origins {
        let ends_here = *name == CONTENT_LENGTH
            || (*name == TRAILER && !trailers)
            // RFC 9209 wants that one to travel.
            || (is_ours(name) && name.as_str() != "proxy-status")
            || lists(origins, name);
        if !ends_here {
            fields.append(name.clone(), value.clone());
        }
    }
    let version = match version {
        http::Version::HTTP_10 => Version::Http10,
        _ => Version::Http11,
    };
    fields.append(VIA, pseudonym.entry(version));
    fields
}

/// RFC 9110 §6.6.1: whoever passes a reply without a date on, and has a clock, dates it.
pub(crate) fn date(fields: &mut HeaderMap, now: SystemTime) {
    if !fields.contains_key(DATE) {
        let date = HeaderValue::try_from(httpdate::fmt_http_date(now));
        fields.insert(DATE, date.expect("a date is ASCII"));
    }
}

/// The trailers that may travel on.
pub(crate) fn trailers(fields: &HeaderMap) -> HeaderMap {
    fields
        .iter()
        .filter(|(name, _)| !is_ours(name) && !NOT_IN_TRAILERS.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Whether the client takes trailers (RFC 9110 §10.1.4).
pub(crate) fn asks_for_trailers(head: &Head) -> bool {
    head.version() == Version::Http11
        && head
            .field_values("te")
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Whether the client waits for a `100` before it sends its body (RFC 9110 §10.1.1).
pub(crate) fn expects_continue(head: &Head) -> bool {
    head.version() == Version::Http11
        // A field of this connection alone is none that the origin sees.
        && !head.connection_lists("expect")
        && head
            .field_values("expect")
            .any(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Whether one of the logins is in play that count for a connection, not for a request (Negotiate, NTLM).
pub(crate) fn logs_the_connection_in(head: &Head, reply: &HeaderMap) -> bool {
    let asked = head.field_values("authorization");
    let offered = reply
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .map(HeaderValue::as_bytes);
    asked
        .chain(offered)
        .flat_map(|value| value.split(|byte| b" ,".contains(byte)))
        .any(|word| word.eq_ignore_ascii_case(b"negotiate") || word.eq_ignore_ascii_case(b"ntlm"))
}

/// Whether the request opens a WebSocket (RFC 6455 §4.1); every other upgrade ends here.
pub(crate) fn asks_for_websocket(head: &Head, framing: Framing) -> bool {
    let mut upgrades = head.field_values("upgrade");
    let only = (upgrades.next(), upgrades.next());
    head.version() == Version::Http11
        && head.method() == "GET"
        && framing == Framing::None
        && matches!(only, (Some(value), None) if value.eq_ignore_ascii_case(b"websocket"))
        && head.connection_lists("upgrade")
}

/// Whether a reply opens the WebSocket that was asked for.
pub(crate) fn opens_websocket(fields: &HeaderMap) -> bool {
    let mut upgrades = fields.get_all(UPGRADE).iter();
    let only = (upgrades.next(), upgrades.next());
    matches!(only, (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Fields between two neighbours: this connection's, and every proxy's own.
fn is_ours(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || name.as_str().starts_with("proxy-")
}

fn lists(fields: &HeaderMap, name: &HeaderName) -> bool {
    fields
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|listed| {
            listed
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadLimits, Parsed, parse};
    use super::super::scan::Scan;
    use super::*;

    fn head(fields: &str) -> Head {
        let text = format!("GET http://push.test/x HTTP/1.1\r\nHost: other.test\r\n{fields}\r\n");
        let limits = HeadLimits { head_bytes: 65_536 };
        match parse(text.as_bytes(), &mut Scan::default(), &limits) {
            Ok(Parsed::Complete(head)) => head,
            other => panic!("{other:?}"),
        }
    }

    fn shown(fields: &HeaderMap) -> String {
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        fields.iter().map(line).collect::<Vec<_>>().join("|")
    }

    fn passed(fields: &str, framing: Framing) -> String {
        let head = head(fields);
        let absolute = Absolute::parse(b"http://push.test/x").unwrap();
        let passing = Passing {
            framing,
            websocket: asks_for_websocket(&head, framing),
            max_forwards: None,
        };
        shown(&request(&head, &absolute, passing, &Pseudonym::new(7)).unwrap())
    }

    #[test]
    fn what_reaches_the_origin() {
        const VIA: &str = "via: 1.1 tidegate-00000007";
        for (fields, want) in [
            ("", format!("host: push.test|{VIA}")),
            (
                "Accept: a\r\nAccept: b\r\n",
                format!("host: push.test|accept: a|accept: b|{VIA}"),
            ),
            (
                "Proxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\nProxy-X: 1\r\n",
                format!("host: push.test|{VIA}"),
            ),
            (
                "Connection: keep-alive, X-Own\r\nX-Own: 1\r\nKeep-Alive: 5\r\n",
                format!("host: push.test|{VIA}"),
            ),
            (
                "Connection: close\r\nConnection: x-a\r\nX-A: 1\r\nX-B: 2\r\n",
                format!("host: push.test|x-b: 2|{VIA}"),
            ),
            ("Connection: host\r\n", format!("host: push.test|{VIA}")),
            (
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
                format!("host: push.test|{VIA}"),
            ),
            ("HTTP2-Settings: AA\r\n", format!("host: push.test|{VIA}")),
            (
                "Connection: upgrade\r\nUpgrade: websocket\r\n",
                format!("host: push.test|{VIA}|connection: Upgrade|upgrade: websocket"),
            ),
            ("Upgrade: websocket\r\n", format!("host: push.test|{VIA}")),
            (
                "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
                format!("host: push.test|{VIA}"),
            ),
            (
                "TE: gzip, trailers\r\nConnection: TE\r\n",
                format!("host: push.test|{VIA}|connection: TE|te: trailers"),
            ),
            ("TE: gzip\r\n", format!("host: push.test|{VIA}")),
            ("Trailer: X\r\n", format!("host: push.test|{VIA}")),
            (
                "Via: 1.0 first\r\n",
                format!("host: push.test|via: 1.0 first|{VIA}"),
            ),
            (
                "X-Name: J\u{fc}rgen\r\n",
                format!("host: push.test|x-name: J\u{fc}rgen|{VIA}"),
            ),
        ] {
            assert_eq!(passed(fields, Framing::None), want, "{fields}");
        }
        assert_eq!(
            passed(
                "Content-Length: 3\r\nConnection: content-length\r\n",
                Framing::Length(3)
            ),
            format!("host: push.test|content-length: 3|{VIA}")
        );
        assert_eq!(
            passed(
                "Transfer-Encoding: chunked\r\nTrailer: X\r\n",
                Framing::Chunked
            ),
            format!("host: push.test|trailer: X|transfer-encoding: chunked|{VIA}")
        );
    }

    #[test]
    fn our_own_mark_is_a_loop() {
        let pseudonym = Pseudonym::new(7);
        for (via, want) in [
            ("1.1 tidegate-00000007", true),
            ("1.0 first, HTTP/1.1 TideGate-00000007 (note)", true),
            ("1.1 first\r\nVia: 1.1\ttidegate-00000007", true),
            ("1.1 tidegate-00000008", false),
            ("tidegate-00000007", false),
            ("1.1 tidegate-000000070", false),
            (",, ,", false),
        ] {
            let head = head(&format!("Via: {via}\r\n"));
            assert_eq!(pseudonym.stands_in(&head), want, "{via}");
        }
    }

    #[test]
    fn what_reaches_the_client() {
        let mut origins = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("connection", "close, x-own"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("proxy-authenticate", "Basic"),
            ("proxy-status", "origin"),
            ("trailer", "X"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ] {
            origins.append(name, HeaderValue::from_static(value));
        }
        let now = SystemTime::UNIX_EPOCH;
        let mut fields = reply(&origins, http::Version::HTTP_10, false, &Pseudonym::new(7));
        date(&mut fields, now);
        assert_eq!(
            shown(&fields),
            "content-type: text/plain|proxy-status: origin|set-cookie: a=1|set-cookie: b=2|via: 1.0 tidegate-00000007|date: Thu, 01 Jan 1970 00:00:00 GMT"
        );
        origins.insert(DATE, HeaderValue::from_static("then"));
        let mut fields = reply(&origins, http::Version::HTTP_11, true, &Pseudonym::new(7));
        date(&mut fields, now);
        assert_eq!(
            shown(&fields),
            "content-type: text/plain|proxy-status: origin|trailer: X|set-cookie: a=1|set-cookie: b=2|date: then|via: 1.1 tidegate-00000007"
        );
    }

    #[test]
    fn trailers_decide_nothing() {
        let mut fields = HeaderMap::new();
        for name in [
            "x-sum",
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
            "proxy-authorization",
            "connection",
        ] {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        assert_eq!(shown(&trailers(&fields)), "x-sum: 1");
    }
}
