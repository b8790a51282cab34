//! One exchange as a call server makes it: a CONNECT, TLS in the tunnel, one push, its confirmation.
//!
//! It is as patient as they are, and repeats nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::cloud::{self, PUSH_PATH};
use crate::display::chain;
use crate::onprem::{ProxyClient, Tunnel, tls};

/// A sender waits so long for its proxy, and so long for the confirmation of a push.
const PROXY_WAIT: Duration = Duration::from_secs(2);
const PUSH_WAIT: Duration = Duration::from_secs(5);
/// Looks encrypted, which is all that the cloud looks at.
const SEALED: &str = "A256GCM.AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How one went.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// Since the first one ended.
    pub(super) after: Duration,
    /// From when it was due to the proxy's 200.
    pub(super) connect: Result<Duration, String>,
    /// What became of the push; `None`: there was no tunnel to send it through.
    pub(super) push: Option<Result<(), String>>,
}

/// Whoever makes them, through one proxy.
pub(super) struct Sender {
    proxy: ProxyClient,
    target: String,
    name: ServerName<'static>,
    tls: TlsConnector,
    token: String,
}

impl Sender {
    pub(super) fn new(proxy: SocketAddr, cloud: &cloud::Running) -> io::Result<Self> {
        let push = &cloud.hosts().push;
        Ok(Self {
            proxy: ProxyClient::plain(proxy),
            target: format!("{push}:{}", cloud.port()),
            name: tls::server_name(push)?,
            tls: tls::trusting(cloud.ca_pem())?,
            token: cloud
                .access_token()
                .ok_or_else(|| io::Error::other("the cloud gives no more tokens"))?,
        })
    }

    /// The first half, for one that was due then.
    pub(super) async fn connect(&self, due: Instant) -> (Result<Duration, String>, Option<Tunnel>) {
        match timeout(PROXY_WAIT, self.proxy.connect(&self.target)).await {
            Ok(Ok(tunnel)) => (Ok(due.elapsed()), Some(tunnel)),
            Ok(Err(error)) => (Err(chain(&error)), None),
            Err(_) => (Err(format!("no answer within {PROXY_WAIT:?}")), None),
        }
    }

    /// The second half.
    pub(super) async fn push(&self, tunnel: Tunnel) -> Result<(), String> {
        match timeout(PUSH_WAIT, self.post(tunnel)).await {
            Ok(Ok(StatusCode::OK)) => Ok(()),
            Ok(Ok(status)) => Err(format!("answered {status}")),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("not confirmed within {PUSH_WAIT:?}")),
        }
    }

    async fn post(&self, tunnel: Tunnel) -> io::Result<StatusCode> {
        let stream = self.tls.connect(self.name.clone(), tunnel).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let body = json!({ "target": "phone", "trackingId": "failover", "payload": SEALED });
        let request = Request::post(PUSH_PATH)
            .header(header::HOST, &self.target)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(io::Error::other)?;
        // The connection may end in the same breath as it brings the reply: the reply is what counts.
        let reply = async move { sender.send_request(request).await.map_err(io::Error::other) };
        let (reply, _) = tokio::join!(reply, connection);
        Ok(reply?.status())
    }
}
