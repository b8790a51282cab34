//! A tunnel from its 200 to its end, in a task of its own, so that little is held while it is silent.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::copy::{CopyEnd, Opening, both_ways};
use super::live::Listing;
use super::{ClientStream, Inspection, LiveTunnel, Order, Scratch, UpstreamStream};
use crate::exchange::{Reason, Side};
use crate::telemetry::{Entry, Meters};

/// A fatal `unrecognized_name` (RFC 6066 §3), as a server without this name would send it.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// How long a client that was refused may take to close, and how much of what it still sends is read until then: a
/// reset would eat the alert.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_BYTES: usize = 256 * 1024;

/// Everything a running tunnel owns. Its line is written when it ends, whatever ends it.
#[derive(Debug)]
pub(crate) struct Tunnel<Held> {
    pub(crate) client: ClientStream,
    pub(crate) upstream: UpstreamStream,
    /// What the client sent behind its CONNECT head.
    pub(crate) early: Box<[u8]>,
    /// What the client may open with, where its destination cares.
    pub(crate) inspection: Option<Box<Inspection>>,
    pub(crate) entry: Entry,
    pub(crate) live: Arc<LiveTunnel>,
    pub(crate) listing: Listing,
    /// Permits and watches: freed with the tunnel.
    pub(crate) held: Held,
}

impl<Held> Tunnel<Held> {
    pub(crate) async fn run(self, scratch: Scratch, meters: Arc<Meters>) {
        let Self {
            mut client,
            mut upstream,
            early,
            inspection,
            mut entry,
            live,
            listing,
            held,
        } = self;
        let reported = entry.would_refuse;
        let opening = Opening {
            early,
            inspection,
            exchange: &mut entry,
        };
        let end = tokio::select! {
            end = both_ways(&mut client, &mut upstream, opening, &scratch, &live.traffic, live.opened) => Ok(end),
            order = live.orders.given() => Err(order),
        };
        let mut refused = None;
        let (reason, closed_by) = match end {
            Ok(CopyEnd::Finished { first }) => (Reason::Finished, first),
            Ok(CopyEnd::Broken { side, error }) => {
                // A reset stays a reset: otherwise one side takes the other's failure for a clean end.
                client.reset_on_close();
                upstream.reset_on_close();
                (broken(side, &error), side)
            }
            Ok(CopyEnd::Refused { tls }) => {
                // In the middle of what a server said first, an alert would be no alert.
                let understood = tls && live.traffic.down() == 0;
                refused = Some(if understood {
                    &UNRECOGNIZED_NAME[..]
                } else {
                    &[]
                });
                (Reason::SniMismatch, Side::Proxy)
            }
            Err(order) => {
                if live.traffic.is_holding() {
                    // A clean end would make a stream that was cut short look whole.
                    client.reset_on_close();
                    upstream.reset_on_close();
                }
                match order {
                    Order::Idle => (Reason::Idle, Side::Proxy),
                    Order::Draining => (Reason::Draining, Side::Proxy),
                }
            }
        };
        if let (None, Some(reason)) = (reported, entry.would_refuse) {
            meters.would_refuse(&live.destination, live.sender.as_ref(), reason);
        }
        live.traffic.note(live.opened.elapsed());
        entry.bytes_up = live.traffic.up();
        entry.bytes_down = live.traffic.down();
        entry.idle_max = Some(live.traffic.idle_max());
        entry.closed_by = Some(closed_by);
        entry.end(reason);
        let (up, down) = live.traffic.uncounted();
        meters.tunnel_bytes(up, down);
        drop(upstream);
        match refused {
            Some(last_word) => {
                // The line need not wait until the client has gone.
                drop((listing, entry));
                Box::pin(farewell(client, last_word, &scratch)).await;
            }
            None => {
                drop(client);
                drop((listing, entry));
            }
        }
        // The sockets close before the permit is free again, so that a cap on tunnels is a cap on sockets.
        drop(held);
    }
}

/// Says why and closes, so that the client can still read it.
async fn farewell(mut client: ClientStream, last_word: &[u8], scratch: &Scratch) {
    let _ = timeout(FAREWELL, async {
        client.write_all(last_word).await?;
        client.shutdown().await?;
        let mut left = FAREWELL_BYTES;
        while left > 0 {
            let read = poll_fn(|cx| {
                let mut scratch = scratch.borrow();
                let mut buf = ReadBuf::new(&mut scratch);
                ready!(Pin::new(&mut client).poll_read(cx, &mut buf))?;
                Poll::Ready(io::Result::Ok(buf.filled().len()))
            })
            .await?;
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read);
        }
        io::Result::Ok(())
    })
    .await;
}

/// A leg that keepalive found dead is not one that was reset.
fn broken(side: Side, error: &io::Error) -> Reason {
    let dead = matches!(
        error.kind(),
        io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    );
    match (side, dead) {
        (Side::Client, false) => Reason::ClientReset,
        (Side::Client, true) => Reason::ClientGone,
        (Side::Upstream, false) => Reason::UpstreamReset,
        (Side::Upstream, true) => Reason::UpstreamTimeout,
        (Side::Proxy, _) => Reason::Internal,
    }
}
