//! One connection to an origin, and one request on it at a time (absolute-form).
//!
//! HTTP towards origins is hyper's: strict with what it reads. Knows nothing of the client that asked.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::UpstreamStream;
use super::outgoing::Outgoing;
use crate::exchange::{PeerAddr, Reason};
use crate::policy::Cleared;

/// Interim replies (1xx) to one request. An origin that sends more has no reply.
pub(crate) const INTERIM_MAX: usize = 64;

/// Fields in a reply; as many as we take in a request.
const FIELDS_MAX: usize = 256;

/// Bytes of a reply that are read ahead of the client.
const BUFFER: usize = 64 * 1024;

/// Bytes that may wait unsent in the kernel.
const UNSENT_MAX: u32 = 128 * 1024;

/// A connection to an origin, ready for a request.
#[derive(Debug)]
pub(crate) struct Origin {
    sender: SendRequest<Outgoing>,
    /// How many interim replies came to the request on its way.
    interims: Arc<AtomicUsize>,
    pub(crate) peer: PeerAddr,
    /// Who may be asked over it, and the policy that said so.
    pub(crate) cleared: Cleared,
    pub(crate) tls: bool,
    /// When it was last in use.
    pub(crate) used: Instant,
    /// Whether a request went over it before.
    pub(crate) reused: bool,
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum ForwardError {
    /// Not a byte of the request was sent: here it is again.
    Unsent(Box<Request<Outgoing>>),
    /// The origin closed before it had answered.
    Closed,
    Reset,
    /// What came is no HTTP/1.1 reply, or not one that we would pass on.
    BadReply,
    /// The client's body broke off.
    BrokeOff,
}

impl ForwardError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Unsent(_) | Self::Closed | Self::Reset => Reason::UpstreamReset,
            Self::BadReply => Reason::BadReply,
            Self::BrokeOff => Reason::ClientGone,
        }
    }

    pub(crate) fn details(&self) -> &'static str {
        match self {
            Self::Unsent(_) | Self::Closed => "the origin closed before it had answered",
            Self::Reset => "the origin reset the connection",
            Self::BadReply => "the origin's reply is not valid HTTP/1.1",
            Self::BrokeOff => "the request's body broke off",
        }
    }
}

impl Origin {
    /// Takes a connected stream over; `tls` says that it carries TLS with the origin itself. `head_bytes` is the largest head of a reply.
    pub(crate) async fn open(
        stream: UpstreamStream,
        tls: bool,
        peer: PeerAddr,
        cleared: Cleared,
        head_bytes: usize,
        now: Instant,
    ) -> Result<Self, ForwardError> {
        let interims = Arc::new(AtomicUsize::new(0));
        let stream = Watched {
            stream,
            interims: Arc::clone(&interims),
            deaf: false,
        };
        // Else a slow origin's progress would show only when a large part of the kernel's buffer has drained.
        stream.stream.set_unsent_max(UNSENT_MAX);
        let handshake = Builder::new()
            .max_headers(FIELDS_MAX)
            .max_header_size(head_bytes)
            // As much as a slow client may have waiting for it in our memory.
            .max_buf_size(head_bytes.max(BUFFER))
            // Some origins know only the spelling of the textbooks.
            .title_case_headers(true)
            .handshake::<_, Outgoing>(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|error| told(&error))?;
        // Ends when its sender is dropped, or the origin closes.
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%peer, error = %crate::telemetry::Chain(&error), "connection to an origin broke");
            }
        });
        Ok(Self {
            sender,
            interims,
            peer,
            cleared,
            tls,
            used: now,
            reused: false,
        })
    }

    /// Sends a request and waits for the head of its reply; `told` hears of interim replies.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Outgoing>,
        told_of: impl Fn(u16, &HeaderMap) + Send + Sync + 'static,
    ) -> Result<Response<Incoming>, ForwardError> {
        self.interims.store(0, Ordering::Relaxed);
        let interims = Arc::clone(&self.interims);
        hyper::ext::on_informational(&mut request, move |response| {
            if interims.fetch_add(1, Ordering::Relaxed) < INTERIM_MAX {
                told_of(response.status().as_u16(), response.headers());
            }
        });
        let sent = self.sender.try_send_request(request).await;
        let response = sent.map_err(|mut error| match error.take_message() {
            Some(request) => ForwardError::Unsent(Box::new(request)),
            None => told(error.error()),
        })?;
        check(&response)?;
        Ok(response)
    }

    /// Whether the next request can go out at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Returns when the last reply has been read to its end; an error where the connection will carry no other.
    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        self.sender.ready().await
    }
}

/// What hyper lets pass, and we must not: a reply that two readers could cut in two ways.
fn check(response: &Response<Incoming>) -> Result<(), ForwardError> {
    use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
    let fields = response.headers();
    let mut encodings = fields.get_all(TRANSFER_ENCODING).iter();
    let Some(encoding) = encodings.next() else {
        return Ok(());
    };
    let chunked = encodings.next().is_none()
        && encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
        && response.version() == http::Version::HTTP_11
        && !fields.contains_key(CONTENT_LENGTH);
    if chunked {
        Ok(())
    } else {
        Err(ForwardError::BadReply)
    }
}

/// hyper's error in our words.
pub(crate) fn told(error: &hyper::Error) -> ForwardError {
    if error.is_user() || error.is_body_write_aborted() {
        return ForwardError::BrokeOff;
    }
    if error.is_parse() {
        return ForwardError::BadReply;
    }
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ForwardError::Reset,
                // Of a chunk that is none.
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ForwardError::BadReply,
                _ => ForwardError::Closed,
            };
        }
        cause = inner.source();
    }
    ForwardError::Closed
}

/// The origin's side of an upgraded connection, and what it has sent already.
pub(crate) async fn upgraded(
    response: Response<Incoming>,
) -> Result<(UpstreamStream, bytes::Bytes), ForwardError> {
    let upgraded = hyper::upgrade::on(response).await;
    let upgraded = upgraded.map_err(|error| told(&error))?;
    match upgraded.downcast::<TokioIo<Watched>>() {
        Ok(parts) => Ok((parts.io.into_inner().stream, parts.read_buf)),
        Err(_) => Err(ForwardError::Closed),
    }
}

/// The stream under an origin's connection. It stops reading from an origin that sends interim replies without end:
/// hyper reads over them in a loop that would never come back.
#[derive(Debug)]
struct Watched {
    stream: UpstreamStream,
    interims: Arc<AtomicUsize>,
    /// It takes no more.
    deaf: bool,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.interims.load(Ordering::Relaxed) > INTERIM_MAX {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            // An origin that refuses a body early may have answered before it closed (RFC 9112 §9.5): what it said is
            // still to be read, and if it said nothing, reading will tell.
            Poll::Ready(Err(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.deaf = true;
                Poll::Ready(Ok(bytes.len()))
            }
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
