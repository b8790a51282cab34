//! HTTP/1.1, in TLS in a tunnel or to the proxy itself: one request at a time, and the knowledge whether it is open.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::Tunnel;
use super::tls::server_name;
use super::tunnel::ProxyStream;

const BODY_MAX: usize = 64 * 1024;
/// How long a closing connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    /// Which address of the proxy it goes through.
    pub(super) via: usize,
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
        Self::on(tls.connect(server_name(name)?, tunnel).await?, via).await
    }

    /// HTTP to the proxy itself.
    pub(super) async fn to_proxy(stream: ProxyStream, via: usize) -> io::Result<Self> {
        Self::on(stream, via).await
    }

    async fn on(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        via: usize,
    ) -> io::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // Its errors reach whoever waits for a reply.
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, task, via })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// POSTs JSON and reads the reply.
    pub(super) async fn post(&mut self, post: &Post<'_>) -> Result<Answered, SendError> {
        if self.sender.ready().await.is_err() {
            return Err(SendError::Unsent);
        }
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(post.uri)
            .header(header::HOST, post.host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = post.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(credentials) = post.credentials {
            request = request.header(header::PROXY_AUTHORIZATION, credentials);
        }
        let request = request
            .body(Full::new(Bytes::from(post.body.to_string())))
            .expect("target and fields are our own");
        let reply = match self.sender.try_send_request(request).await {
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
        })
    }

    /// Says goodbye in every layer.
    pub(super) async fn close(self) {
        drop(self.sender);
        let mut task = self.task;
        if tokio::time::timeout(GOODBYE, &mut task).await.is_err() {
            task.abort();
        }
    }

    /// Ends it at once, with whatever was under way.
    pub(super) fn abandon(self) {
        self.task.abort();
    }
}
