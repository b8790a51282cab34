//! HTTP/1.1 in TLS in a tunnel or to the proxy itself, one request at a time; or HTTP/2 in a tunnel, shared by several. It
//! knows whether it is open, and what its own clock says of each answer.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::Tunnel;
use super::tls::{HTTP2, server_name};
use super::tunnel::ProxyStream;
use super::wire::{Departure, Wire, WireClock};

const BODY_MAX: usize = 64 * 1024;
/// How long a closing connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    /// None where another one holds it.
    task: Option<JoinHandle<()>>,
    clock: WireClock,
    /// Which address of the proxy it goes through.
    pub(super) via: usize,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<SentBody>),
    Http2(http2::SendRequest<SentBody>),
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Post<'a> {
    /// A path in a tunnel, a whole URL to a proxy.
    pub(super) uri: &'a str,
    pub(super) host: &'a str,
    pub(super) bearer: Option<&'a str>,
    /// `Proxy-Authorization`.
    pub(super) credentials: Option<&'a str>,
    pub(super) body: &'a Value,
}

/// Its reply.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Null where it is no JSON.
    pub(super) body: Value,
    /// From the last byte of the request to the first of the answer.
    pub(super) took: Duration,
}

impl Answered {
    /// The proxy speaks for itself, not for the cloud.
    pub(super) fn is_by_proxy(&self) -> bool {
        !self.status.is_success() && self.headers.contains_key("proxy-status")
    }
}

/// Why a request has no reply.
#[derive(Debug)]
pub(super) enum SendError {
    /// The connection was closed before a byte of the request went out.
    Unsent,
    /// It broke under the request.
    Cut,
}

impl Connection {
    /// TLS and HTTP over a tunnel to `host:port`.
    pub(super) async fn over(
        tunnel: Tunnel,
        via: usize,
        authority: &str,
        tls: &TlsConnector,
    ) -> io::Result<Self> {
        let name = authority
            .rsplit_once(':')
            .map_or(authority, |(name, _)| name);
        let wire = Wire::over(tunnel);
        let clock = wire.clock();
        let stream = tls.connect(server_name(name)?, wire).await?;
        if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Self::on(stream, clock, via).await;
        }
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self {
            sender: Sender::Http2(sender),
            task: Some(task),
            clock,
            via,
        })
    }

    /// The same connection once more, if it can carry several requests at once.
    pub(super) fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Self {
                sender: Sender::Http2(sender.clone()),
                task: None,
                clock: self.clock.clone(),
                via: self.via,
            }),
        }
    }

    /// Whether another one holds it.
    pub(super) fn is_shared(&self) -> bool {
        self.task.is_none()
    }

    /// HTTP to the proxy itself.
    pub(super) async fn to_proxy(stream: ProxyStream, via: usize) -> io::Result<Self> {
        let wire = Wire::over(stream);
        let clock = wire.clock();
        Self::on(wire, clock, via).await
    }

    async fn on(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        clock: WireClock,
        via: usize,
    ) -> io::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // Its errors reach whoever waits for a reply.
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self {
            sender: Sender::Http1(sender),
            task: Some(task),
            clock,
            via,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// POSTs JSON and reads the reply.
    pub(super) async fn post(&mut self, post: &Post<'_>) -> Result<Answered, SendError> {
        let ready = match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await,
            Sender::Http2(sender) => sender.ready().await,
        };
        if ready.is_err() {
            return Err(SendError::Unsent);
        }
        let request = Request::builder()
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/json");
        let mut request = match &self.sender {
            Sender::Http1(_) => request.uri(post.uri).header(header::HOST, post.host),
            Sender::Http2(_) => request.uri(format!("https://{}{}", post.host, post.uri)),
        };
        if let Some(token) = post.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(credentials) = post.credentials {
            request = request.header(header::PROXY_AUTHORIZATION, credentials);
        }
        let departure = Departure::default();
        let body = SentBody {
            body: Full::new(Bytes::from(post.body.to_string())),
            departure: Some(departure.clone()),
            clock: self.clock.clone(),
        };
        let request = request.body(body).expect("target and fields are our own");
        let reply = match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        let took = self.clock.since(&departure);
        let reply = match reply {
            Ok(reply) => reply,
            // hyper hands a request back when it has not begun to write it.
            Err(mut error) => {
                return Err(if error.take_message().is_some() {
                    SendError::Unsent
                } else {
                    SendError::Cut
                });
            }
        };
        let (head, body) = reply.into_parts();
        let body = Limited::new(body, BODY_MAX)
            .collect()
            .await
            .map_err(|_| SendError::Cut)?
            .to_bytes();
        Ok(Answered {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            took,
        })
    }

    /// Says goodbye in every layer.
    pub(super) async fn close(self) {
        drop(self.sender);
        let Some(mut task) = self.task else { return };
        if tokio::time::timeout(GOODBYE, &mut task).await.is_err() {
            task.abort();
        }
    }

    /// Ends it at once, with whatever was under way.
    pub(super) fn abandon(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

/// A body that tells the clock when the last of it is handed over to be written.
#[derive(Debug)]
struct SentBody {
    body: Full<Bytes>,
    departure: Option<Departure>,
    clock: WireClock,
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(departure) = self.departure.take() {
            self.clock.depart(&departure);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
