//! An origin's reply as it goes to the client: its status, the fields that travel, and framing of our own.
//!
//! Pure. Chooses no status: an origin's answer stands as it came.

use std::io::Write as _;
use std::time::SystemTime;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};
use hyper::ext::ReasonPhrase;

use super::body;
use super::head::{Head, Version};
use super::headers::{self, Pseudonym};

/// How a `100` begins: the client that waits for it sends its body now.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 ";

/// How the client learns where the reply's body ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyFraming {
    /// There is none, whatever `Content-Length` says; it may stand for what a GET would bring.
    Empty,
    Length(u64),
    Chunked,
    /// An HTTP/1.0 client reads until we close.
    UntilClose,
}

impl ReplyFraming {
    /// `length` is the body's, where the origin said it.
    pub(super) fn of(parts: &response::Parts, head: &Head, length: Option<u64>) -> Self {
        let empty = matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        match (length, head.version()) {
            _ if empty || head.method() == "HEAD" => Self::Empty,
            (Some(length), _) => Self::Length(length),
            (None, Version::Http11) => Self::Chunked,
            (None, Version::Http10) => Self::UntilClose,
        }
    }

    /// Adds a piece of the body.
    pub(super) fn data(self, out: &mut Vec<u8>, data: &[u8]) {
        // An empty chunk would be the end.
        if data.is_empty() || self == Self::Empty {
            return;
        }
        self.before(out, data.len());
        out.extend_from_slice(data);
        self.after(out);
    }

    /// Adds what stands before a piece of the body.
    pub(super) fn before(self, out: &mut Vec<u8>, length: usize) {
        if self == Self::Chunked {
            let _ = write!(out, "{length:x}\r\n");
        }
    }

    /// Adds what stands behind one.
    pub(super) fn after(self, out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Adds the body's end.
    pub(super) fn end(self, out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
        match self {
            Self::Chunked => {
                out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    lines(out, trailers);
                }
                out.extend_from_slice(b"\r\n");
            }
            Self::Empty | Self::Length(_) | Self::UntilClose => {}
        }
    }
}

/// What shapes the reply's head besides what the origin sent.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub(super) head: &'a Head,
    pub(super) framing: ReplyFraming,
    pub(super) trailers: bool,
    pub(super) keep: bool,
    pub(super) pseudonym: &'a Pseudonym,
    /// The value of `Proxy-Authentication-Info`.
    pub(super) authentication_info: Option<&'a str>,
}

const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");

/// The head of a reply.
pub(super) fn head(parts: &response::Parts, shape: &Shape<'_>, now: SystemTime) -> Vec<u8> {
    let mut fields = headers::reply(
        &parts.headers,
        parts.version,
        shape.trailers,
        shape.pseudonym,
    );
    headers::date(&mut fields, now);
    match shape.framing {
        ReplyFraming::Length(length) => drop(fields.insert(CONTENT_LENGTH, length.into())),
        ReplyFraming::Chunked => {
            let chunked = HeaderValue::from_static("chunked");
            fields.insert(TRANSFER_ENCODING, chunked);
        }
        // A 204 has no length (RFC 9110 §8.6); a HEAD's or a 304's is the one that a GET would have.
        ReplyFraming::Empty if parts.status != StatusCode::NO_CONTENT => {
            let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
            // One that is no number must not travel (RFC 9110 §8.6), though no body follows.
            if let (Some(length), None) = (lengths.next(), lengths.next())
                && let Ok(length) = body::length(length.as_bytes())
            {
                fields.insert(CONTENT_LENGTH, length.into());
            }
        }
        ReplyFraming::Empty | ReplyFraming::UntilClose => {}
    }
    if !shape.keep {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    } else if shape.head.version() == Version::Http10 {
        fields.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    if let Some(Ok(info)) = shape.authentication_info.map(HeaderValue::from_str) {
        fields.insert(PROXY_AUTHENTICATION_INFO, info);
    }
    let phrase = parts.extensions.get::<ReasonPhrase>();
    rendered(parts.status, phrase.map(ReasonPhrase::as_bytes), &fields)
}

/// A reply before the reply: 100 Continue, 103 Early Hints. A 101 is none, it switches.
pub(super) fn interim(status: u16, fields: &HeaderMap, pseudonym: &Pseudonym) -> Option<Vec<u8>> {
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| !is_switching(*status))?;
    let fields = headers::reply(fields, http::Version::HTTP_11, false, pseudonym);
    Some(rendered(status, None, &fields))
}

/// The `101` that opens a WebSocket.
pub(super) fn switching(
    parts: &response::Parts,
    pseudonym: &Pseudonym,
    now: SystemTime,
) -> Vec<u8> {
    let mut fields = headers::reply(&parts.headers, parts.version, false, pseudonym);
    headers::date(&mut fields, now);
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    rendered(parts.status, None, &fields)
}

pub(super) fn is_switching(status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
}

/// Server-sent events: silence in such a body means nothing.
pub(super) fn is_event_stream(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.and_then(|kind| kind.split(|&byte| byte == b';').next())
        .is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

fn rendered(status: StatusCode, phrase: Option<&[u8]>, fields: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let usual = status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(phrase.unwrap_or(usual.as_bytes()));
    out.extend_from_slice(b"\r\n");
    lines(&mut out, fields);
    out.extend_from_slice(b"\r\n");
    out
}

fn lines(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        title_case(out, name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Fields have no case, but some clients know only the textbooks' spelling.
fn title_case(out: &mut Vec<u8>, name: &HeaderName) {
    let mut first = true;
    for byte in name.as_str().bytes() {
        out.push(if first {
            byte.to_ascii_uppercase()
        } else {
            byte
        });
        first = byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadLimits, Parsed, parse};
    use super::super::scan::Scan;
    use super::*;

    fn request(line: &str) -> Head {
        let text = format!("{line}\r\nHost: a.test\r\n\r\n");
        let limits = HeadLimits { head_bytes: 65_536 };
        match parse(text.as_bytes(), &mut Scan::default(), &limits) {
            Ok(Parsed::Complete(head)) => head,
            other => panic!("{other:?}"),
        }
    }

    fn parts(status: u16, fields: &[(&'static str, &'static str)]) -> response::Parts {
        let mut response = http::Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    #[test]
    fn where_a_reply_ends() {
        use ReplyFraming::{Chunked, Empty, Length, UntilClose};
        for (line, status, length, want) in [
            ("GET http://a.test/ HTTP/1.1", 200, Some(3), Length(3)),
            ("GET http://a.test/ HTTP/1.1", 200, Some(0), Length(0)),
            ("GET http://a.test/ HTTP/1.1", 200, None, Chunked),
            ("GET http://a.test/ HTTP/1.0", 200, None, UntilClose),
            ("GET http://a.test/ HTTP/1.0", 200, Some(3), Length(3)),
            ("HEAD http://a.test/ HTTP/1.1", 200, Some(0), Empty),
            ("HEAD http://a.test/ HTTP/1.1", 404, None, Empty),
            ("GET http://a.test/ HTTP/1.1", 204, Some(0), Empty),
            ("GET http://a.test/ HTTP/1.1", 304, None, Empty),
            ("head http://a.test/ HTTP/1.1", 200, None, Chunked),
        ] {
            let framing = ReplyFraming::of(&parts(status, &[]), &request(line), length);
            assert_eq!(framing, want, "{line} {status} {length:?}");
        }
    }

    #[test]
    fn heads() {
        let date = ("date", "then");
        for (line, keep, framing, status, fields, want) in [
            (
                "GET http://a.test/ HTTP/1.1",
                true,
                ReplyFraming::Length(3),
                200,
                vec![("etag", "x"), ("content-length", "3"), date],
                "HTTP/1.1 200 OK\r\nEtag: x\r\nDate: then\r\nVia: 1.1 tidegate-00000007\r\nContent-Length: 3\r\n\r\n",
            ),
            (
                "GET http://a.test/ HTTP/1.1",
                false,
                ReplyFraming::Chunked,
                299,
                vec![date],
                "HTTP/1.1 299 \r\nDate: then\r\nVia: 1.1 tidegate-00000007\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            ),
            (
                "GET http://a.test/ HTTP/1.0",
                true,
                ReplyFraming::Length(0),
                200,
                vec![date],
                "HTTP/1.1 200 OK\r\nDate: then\r\nVia: 1.1 tidegate-00000007\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
            ),
            (
                "HEAD http://a.test/ HTTP/1.1",
                true,
                ReplyFraming::Empty,
                200,
                vec![("content-length", "1234"), date],
                "HTTP/1.1 200 OK\r\nDate: then\r\nVia: 1.1 tidegate-00000007\r\nContent-Length: 1234\r\n\r\n",
            ),
            (
                "GET http://a.test/ HTTP/1.1",
                true,
                ReplyFraming::Empty,
                204,
                vec![("content-length", "0"), date],
                "HTTP/1.1 204 No Content\r\nDate: then\r\nVia: 1.1 tidegate-00000007\r\n\r\n",
            ),
        ] {
            let shape = Shape {
                head: &request(line),
                framing,
                trailers: false,
                keep,
                pseudonym: &Pseudonym::new(7),
                authentication_info: None,
            };
            let bytes = head(&parts(status, &fields), &shape, SystemTime::now());
            assert_eq!(String::from_utf8_lossy(&bytes), want, "{line}");
        }
    }

    #[test]
    fn chunks_end_with_their_trailers() {
        let mut out = Vec::new();
        ReplyFraming::Chunked.data(&mut out, b"");
        ReplyFraming::Chunked.data(&mut out, b"0123456789");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        ReplyFraming::Chunked.end(&mut out, Some(&trailers));
        assert_eq!(out, b"a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n");
    }

    #[test]
    fn event_streams_are_known_by_their_type() {
        for (kind, want) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("text/event-streams", false),
            ("text/plain", false),
        ] {
            let fields = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_event_stream(&fields), want, "{kind}");
        }
    }
}
