//! The proxy's books, read over its admin address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::counters::Seen;
use super::samples::Samples;
use super::verdict::ProxySide;
use super::{DemoError, setup};

const PAGE_MAX: usize = 16 * 1024 * 1024;
const WAIT: Duration = Duration::from_secs(5);

/// Endings of exchanges that had a tunnel.
const TUNNEL_ENDS: [&str; 8] = [
    "finished",
    "idle",
    "client_reset",
    "upstream_reset",
    "upstream_timeout",
    "draining",
    "dropped",
    "internal",
];
const CHALLENGES: [&str; 3] = ["no_credentials", "stale_nonce", "bad_credentials"];

pub(super) async fn is_ready(admin: SocketAddr) -> bool {
    matches!(page(admin, "/readyz").await, Ok((StatusCode::OK, _)))
}

/// How many tunnels the proxy lists.
pub(super) async fn live_tunnels(admin: SocketAddr) -> Result<u64, DemoError> {
    let text = good_page(admin, "/tunnels").await?;
    let list: Vec<serde_json::Value> = serde_json::from_str(&text)
        .map_err(io::Error::other)
        .map_err(setup("reading /tunnels"))?;
    Ok(list.len() as u64)
}

/// What the proxy has counted.
pub(super) async fn ledger(admin: SocketAddr) -> Result<ProxySide, DemoError> {
    let text = good_page(admin, "/metrics").await?;
    Samples::parse(&text)
        .map(|samples| read(&samples))
        .map_err(io::Error::other)
        .map_err(setup("reading /metrics"))
}

/// What its page `/counters` says.
pub(super) async fn guide(admin: SocketAddr) -> Result<Seen, DemoError> {
    let text = good_page(admin, "/counters").await?;
    let page = serde_json::from_str(&text).map_err(io::Error::other);
    page.map(Seen).map_err(setup("reading /counters"))
}

fn read(samples: &Samples) -> ProxySide {
    let exchanges = |wanted: fn(&str, bool) -> bool| {
        samples.sum("tidegate_exchanges_total", |labels| {
            let is_forward = labels.of("kind") == Some("forward");
            labels
                .of("reason")
                .is_some_and(|reason| wanted(reason, is_forward))
        })
    };
    ProxySide {
        established: exchanges(was_tunnel),
        forwarded: exchanges(was_forwarded),
        challenged: exchanges(|reason, _| CHALLENGES.contains(&reason)),
        other: exchanges(|reason, is_forward| {
            !was_tunnel(reason, is_forward)
                && !was_forwarded(reason, is_forward)
                && !CHALLENGES.contains(&reason)
        }),
        authenticated: samples.sum("tidegate_authentications_total", |labels| {
            labels.of("result") == Some("ok")
        }),
        pushes: samples.sum("tidegate_pushes_total", |labels| {
            labels.of("status") != Some("none")
        }),
        failovers: samples.sum("tidegate_failovers_total", |_| true),
        live: samples.sum("tidegate_tunnels", |_| true),
    }
}

fn was_tunnel(reason: &str, is_forward: bool) -> bool {
    !is_forward && TUNNEL_ENDS.contains(&reason)
}

fn was_forwarded(reason: &str, is_forward: bool) -> bool {
    is_forward && reason == "finished"
}

async fn good_page(admin: SocketAddr, path: &'static str) -> Result<String, DemoError> {
    let (status, text) = page(admin, path).await.map_err(setup(path))?;
    if status != StatusCode::OK {
        return Err(setup(path)(io::Error::other(format!("answered {status}"))));
    }
    Ok(text)
}

async fn page(admin: SocketAddr, path: &str) -> io::Result<(StatusCode, String)> {
    let ask = async {
        let stream = TcpStream::connect(admin).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let request = Request::get(path)
            .header(header::HOST, admin.to_string())
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        let exchange = async move {
            let reply = sender
                .send_request(request)
                .await
                .map_err(io::Error::other)?;
            let status = reply.status();
            let body = Limited::new(reply.into_body(), PAGE_MAX)
                .collect()
                .await
                .map_err(io::Error::other)?
                .to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        // The connection may end in the same breath as it brings the reply: the reply is what counts.
        let (reply, _) = tokio::join!(exchange, connection);
        reply
    };
    timeout(WAIT, ask).await.map_err(io::Error::from)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_sorted_by_how_they_ended() {
        let text = r#"
tidegate_exchanges_total{listener="plain",destination="lab",kind="tunnel",reason="finished"} 20
tidegate_exchanges_total{listener="tls",destination="lab",kind="tunnel",reason="upstream_reset"} 8
tidegate_exchanges_total{listener="tls",destination="none",kind="tunnel",reason="no_credentials"} 7
tidegate_exchanges_total{listener="tls",destination="none",kind="tunnel",reason="stale_nonce"} 1
tidegate_exchanges_total{listener="tls",destination="lab",kind="tunnel",reason="connect_timeout"} 2
tidegate_exchanges_total{listener="plain",destination="lab",kind="forward",reason="finished"} 5
tidegate_exchanges_total{listener="plain",destination="lab",kind="forward",reason="upstream_reset"} 1
tidegate_exchanges_total{listener="plain",destination="none",kind="forward",reason="no_credentials"} 2
tidegate_authentications_total{scheme="digest",algorithm="MD5",result="ok"} 18
tidegate_authentications_total{scheme="basic",algorithm="none",result="ok"} 12
tidegate_authentications_total{scheme="none",algorithm="none",result="no_credentials"} 7
tidegate_pushes_total{service="APNS",kind="voip",status="200"} 3
tidegate_pushes_total{service="FCM",kind="message",status="410"} 1
tidegate_pushes_total{service="FCM",kind="message",status="none"} 2
tidegate_failovers_total{destination="lab"} 3
tidegate_tunnels{generation="0"} 4
"#;
        let side = read(&Samples::parse(text).unwrap());
        let expected = ProxySide {
            established: 28,
            forwarded: 5,
            challenged: 10,
            other: 3,
            authenticated: 30,
            pushes: 4,
            failovers: 3,
            live: 4,
        };
        assert_eq!(side, expected);
    }
}
