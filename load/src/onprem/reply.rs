//! A proxy's answer to CONNECT, read off the wire by code of our own.

use std::io;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::AsyncReadExt as _;

use super::ConnectError;
use super::tunnel::ProxyStream;

const HEAD_MAX: usize = 64 * 1024;
const BODY_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

/// The proxy's answer, its body read.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Bytes behind the answer.
    pub(super) rest: Bytes,
    /// The connection can carry another request.
    pub(super) keeps_open: bool,
}

/// Reads the answer to a CONNECT; of a refusal the body too.
pub(super) async fn read_reply(stream: &mut ProxyStream) -> Result<Reply, ConnectError> {
    let mut buffer = BytesMut::with_capacity(4096);
    let (status, headers, is_http11, length) = loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some(head) = parse_head(&buffer)? {
            break head;
        }
        if buffer.len() > HEAD_MAX {
            return Err(ConnectError::BadReply("head too long".into()));
        }
    };
    let _head = buffer.split_to(length);
    if status == 200 {
        return Ok(Reply {
            status,
            headers,
            body: Bytes::new(),
            rest: buffer.freeze(),
            keeps_open: true,
        });
    }
    let field = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let body_length: Option<usize> = field(CONTENT_LENGTH).and_then(|value| value.parse().ok());
    let closes = field(CONNECTION).is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let is_chunked = headers.contains_key(TRANSFER_ENCODING);
    let keeps_open =
        is_http11 && !closes && !is_chunked && body_length.is_some_and(|n| n <= BODY_MAX);

    let wanted = body_length.filter(|_| !is_chunked).unwrap_or(BODY_MAX);
    while buffer.len() < wanted.min(BODY_MAX) && stream.read_buf(&mut buffer).await? > 0 {}
    let body = buffer
        .split_to(wanted.min(BODY_MAX).min(buffer.len()))
        .freeze();
    Ok(Reply {
        status,
        headers,
        body,
        rest: buffer.freeze(),
        keeps_open,
    })
}

type ReplyHead = (u16, HeaderMap, bool, usize);

#[expect(
    clippy::result_large_err,
    reason = "a refusal carries the whole reply; it happens once a connection"
)]
fn parse_head(bytes: &[u8]) -> Result<Option<ReplyHead>, ConnectError> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut reply = httparse::Response::new(&mut fields);
    let bad = |error: &dyn std::fmt::Display| ConnectError::BadReply(error.to_string());
    let httparse::Status::Complete(length) = reply.parse(bytes).map_err(|error| bad(&error))?
    else {
        return Ok(None);
    };
    let mut headers = HeaderMap::new();
    for field in reply.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| bad(&error))?;
        let value = HeaderValue::from_bytes(field.value).map_err(|error| bad(&error))?;
        headers.append(name, value);
    }
    let (Some(status), Some(version)) = (reply.code, reply.version) else {
        return Err(ConnectError::BadReply("no status line".into()));
    };
    Ok(Some((status, headers, version == 1, length)))
}
