//! One request head sent, and its answer read, within the patience of who looks on.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::heard::{HEAD_MAX, Heard};

/// Longer than any server's patience: who is slow is told from who is silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const BODY_MAX: usize = 64 * 1024;

/// Sends a head and reads the answer's, less interim ones. The error: what happened, and what helps.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    head: &str,
) -> Result<Heard, (String, &'static str)> {
    const CLOSED: (&str, &str) = (
        "the connection was closed without an answer",
        "is it a proxy, and are http and https right in the URL? its log knows more",
    );
    let asking = async {
        let sent = async {
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await
        };
        if let Err(error) = sent.await {
            if wants_certificate(&error) {
                return Err(no_certificate());
            }
            return Err((error.to_string(), CLOSED.1));
        }
        loop {
            match Heard::parse(buffer) {
                Ok(Some((heard, length))) => {
                    buffer.advance(length);
                    if !(100..200).contains(&heard.status) {
                        return Ok(heard);
                    }
                    continue;
                }
                Ok(None) if buffer.len() < HEAD_MAX => {}
                // A TLS record: an alert, or a handshake.
                Err(_) if matches!(buffer[..], [0x15 | 0x16, 3, ..]) => {
                    return Err(("this port speaks TLS".to_owned(), "reach it with https://"));
                }
                Ok(None) | Err(_) => {
                    return Err((
                        "what came is not HTTP".to_owned(),
                        "this is no HTTP proxy: look at host and port",
                    ));
                }
            }
            match stream.read_buf(buffer).await {
                Ok(0) => return Err((CLOSED.0.to_owned(), CLOSED.1)),
                Ok(_) => {}
                Err(error) if wants_certificate(&error) => return Err(no_certificate()),
                Err(error) => return Err((error.to_string(), CLOSED.1)),
            }
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
        Err((
            format!("no answer within {} s", PATIENCE.as_secs()),
            "the proxy hangs, or a firewall between here and it drops what it does not know",
        ))
    })
}

/// Whether the other end has asked for a certificate, and missed it.
pub(super) fn wants_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
        ))
    )
}

fn no_certificate() -> (String, &'static str) {
    (
        "the proxy wants a certificate of its client (client_ca)".to_owned(),
        "go to a listener without client_ca: call servers log in with digest and show none",
    )
}

/// Reads a refusal's body, which names the exchange where the proxy is a tidegate; whether the connection is good for
/// another request.
pub(super) async fn read_over<S: AsyncRead + Unpin>(
    heard: &mut Heard,
    stream: &mut S,
    buffer: &mut BytesMut,
) -> bool {
    let reading = async {
        loop {
            match Body::of(heard, buffer) {
                Body::Whole(body, length) => return Some((body, length)),
                Body::Partial if buffer.len() <= BODY_MAX + HEAD_MAX => {}
                Body::Partial | Body::Endless => return None,
            }
            if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
                return None;
            }
        }
    };
    let Ok(Some((body, length))) = timeout(PATIENCE, reading).await else {
        // Whatever was announced: nothing can follow on this connection.
        heard.keeps = false;
        return false;
    };
    buffer.advance(length);
    heard.read_body(&body);
    heard.keeps
}

/// A body, as far as it has come.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    Partial,
    /// And how much of the buffer it took.
    Whole(Vec<u8>, usize),
    /// No end of it is to be found.
    Endless,
}

impl Body {
    fn of(heard: &Heard, buffer: &[u8]) -> Self {
        if heard.chunked {
            return Self::of_chunks(buffer);
        }
        let Some(length) = heard.body.filter(|length| *length <= BODY_MAX) else {
            return Self::Endless;
        };
        match buffer.get(..length) {
            Some(body) => Self::Whole(body.to_vec(), length),
            None => Self::Partial,
        }
    }

    /// RFC 9112 §7.1. Of trailers, only the end is looked for.
    fn of_chunks(buffer: &[u8]) -> Self {
        let (mut body, mut at) = (Vec::new(), 0);
        loop {
            let (head, size) = match httparse::parse_chunk_size(&buffer[at..]) {
                Ok(httparse::Status::Complete(found)) => found,
                Ok(httparse::Status::Partial) => return Self::Partial,
                Err(_) => return Self::Endless,
            };
            let begin = at + head;
            if size == 0 {
                at = begin;
                break;
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > BODY_MAX {
                return Self::Endless;
            }
            let end = begin + size;
            match buffer.get(end..end + 2) {
                Some(b"\r\n") => {}
                Some(_) => return Self::Endless,
                None => return Self::Partial,
            }
            body.extend_from_slice(&buffer[begin..end]);
            at = end + 2;
        }
        loop {
            let mut pairs = buffer[at..].windows(2);
            let Some(line) = pairs.position(|pair| pair == b"\r\n") else {
                return Self::Partial;
            };
            at += line + 2;
            if line == 0 {
                return Self::Whole(body, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_read_to_their_end_and_no_further() {
        let whole = b"5;a=b\r\nlog i\r\n1\r\nn\r\n0\r\nX: y\r\n\r\n";
        let found = Body::of_chunks(&[&whole[..], b"HTTP/1.1 200"].concat());
        assert_eq!(found, Body::Whole(b"log in".to_vec(), whole.len()));
        for length in 0..whole.len() {
            let found = Body::of_chunks(&whole[..length]);
            assert_eq!(found, Body::Partial, "{length}");
        }
        for broken in [
            "x\r\n",
            "1\r\nnope\r\n",
            "fffffff\r\n",
            "ffffffffffffffff\r\n",
        ] {
            assert_eq!(
                Body::of_chunks(broken.as_bytes()),
                Body::Endless,
                "{broken}"
            );
        }
    }
}
