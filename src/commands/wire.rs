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
    let Some(length) = heard.body.filter(|length| *length <= BODY_MAX) else {
        return false;
    };
    let reading = async {
        while buffer.len() < length {
            if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
                return false;
            }
        }
        true
    };
    if !timeout(PATIENCE, reading).await.unwrap_or(false) {
        return false;
    }
    let body = buffer.split_to(length);
    heard.read_body(&body);
    heard.keeps
}
