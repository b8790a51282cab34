//! The list of live tunnels as JSON, oldest first.
//!
//! There may be a hundred thousand of them: the text is made piece by piece as its reader takes it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::Serialize;
use tokio::time::Instant;

use super::off_dns::OffDns;
use crate::dial::resolve::Resolver;
use crate::relay::{LiveTunnel, Tunnels};
use crate::telemetry::{Timestamp, json};

/// Tunnels in one piece of the text, some 64 KiB.
const PIECE: usize = 128;

/// A snapshot of who is there; bytes and idle times are those of the moment a piece is made.
#[derive(Debug)]
pub(super) struct TunnelList {
    left: vec::IntoIter<Arc<LiveTunnel>>,
    off_dns: OffDns,
    now: Instant,
    progress: Progress,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Fresh,
    Inside,
    Ended,
}

impl TunnelList {
    pub(super) fn gather(cores: &[Tunnels], resolver: Resolver, now: Instant) -> Self {
        let mut tunnels: Vec<_> = cores.iter().flat_map(Tunnels::snapshot).collect();
        tunnels.sort_by_key(|tunnel| (tunnel.opened, tunnel.id));
        Self {
            left: tunnels.into_iter(),
            off_dns: OffDns::new(resolver),
            now,
            progress: Progress::Fresh,
        }
    }

    /// The next part of the text, until there is none.
    pub(super) fn next_piece(&mut self) -> Option<Vec<u8>> {
        if self.progress == Progress::Ended {
            return None;
        }
        let mut piece = Vec::new();
        for tunnel in self.left.by_ref().take(PIECE) {
            let before = match self.progress {
                Progress::Fresh => b"[\n",
                Progress::Inside | Progress::Ended => b",\n",
            };
            self.progress = Progress::Inside;
            piece.extend_from_slice(before);
            let off_dns = self.off_dns.is_off(&tunnel);
            json::append(&mut piece, &Row::of(&tunnel, off_dns, self.now));
        }
        if self.left.len() == 0 {
            let last: &[u8] = match self.progress {
                Progress::Fresh => b"[]\n",
                Progress::Inside | Progress::Ended => b"\n]\n",
            };
            piece.extend_from_slice(last);
            self.progress = Progress::Ended;
        }
        Some(piece)
    }
}

impl Body for TunnelList {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.next_piece();
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece.into()))))
    }
}

/// One tunnel as it is shown.
#[derive(Debug, Serialize)]
struct Row<'a> {
    id: String,
    listener: &'a str,
    client: SocketAddr,
    client_name: Option<&'a str>,
    user: Option<&'a str>,
    target: String,
    destination: &'a str,
    peer: SocketAddr,
    /// Whether its name no longer resolves to the peer; null where that is not known.
    off_dns: Option<bool>,
    /// When the upstream was looked at last.
    rtt_ms: Option<f64>,
    opened_at: Timestamp,
    age_s: f64,
    idle_s: f64,
    bytes_up: u64,
    bytes_down: u64,
    /// Requests and their answers inside it; null where they cannot be told.
    exchanges: Option<u32>,
}

impl<'a> Row<'a> {
    fn of(tunnel: &'a LiveTunnel, off_dns: Option<bool>, now: Instant) -> Self {
        Self {
            id: tunnel.id.to_string(),
            listener: tunnel.listener.as_str(),
            client: tunnel.client.0,
            client_name: tunnel.sender.as_ref().map(|name| name.as_str()),
            user: tunnel.user.as_ref().map(|user| user.as_str()),
            target: tunnel.target.to_string(),
            destination: tunnel.destination().as_str(),
            peer: tunnel.peer.0,
            off_dns,
            rtt_ms: tunnel
                .traffic
                .rtt()
                .map(|rtt| rtt.as_micros() as f64 / 1_000.0),
            opened_at: Timestamp(tunnel.opened_at),
            age_s: seconds(now.saturating_duration_since(tunnel.opened)),
            idle_s: seconds(tunnel.idle(now)),
            bytes_up: tunnel.traffic.up(),
            bytes_down: tunnel.traffic.down(),
            exchanges: tunnel.traffic.exchanges(),
        }
    }
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1_000.0
}
