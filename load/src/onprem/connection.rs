//! HTTP/1.1 in TLS in a tunnel: one request at a time, and the knowledge whether it is still open.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::Tunnel;
use super::tls::server_name;

const BODY_MAX: usize = 64 * 1024;
/// How long a closing connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    task: JoinHandle<()>,
    /// Which address of the proxy it goes through.
    pub(super) via: usize,
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
        let stream = tls.connect(server_name(name)?, tunnel).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // Its errors reach whoever waits for a reply.
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            host: authority.to_owned(),
            task,
            via,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// POSTs JSON and reads the JSON reply (null where there is none).
    pub(super) async fn post(
        &mut self,
        path: &str,
        bearer: Option<&str>,
        body: &Value,
    ) -> Result<(StatusCode, Value), SendError> {
        if self.sender.ready().await.is_err() {
            return Err(SendError::Unsent);
        }
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("path and fields are our own");
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
        let status = reply.status();
        let body = Limited::new(reply.into_body(), BODY_MAX)
            .collect()
            .await
            .map_err(|_| SendError::Cut)?
            .to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
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
