//! A tunnel from its 200 to its end, in a task of its own, so that little is held while it is silent.

use std::io;
use std::sync::Arc;

use super::copy::{CopyEnd, both_ways};
use super::live::Listing;
use super::{ClientStream, LiveTunnel, Order, Scratch, UpstreamStream};
use crate::exchange::{Reason, Side};
use crate::telemetry::{Entry, Meters};

/// Everything a running tunnel owns. Its line is written when it ends, whatever ends it.
#[derive(Debug)]
pub(crate) struct Tunnel<Held> {
    pub(crate) client: ClientStream,
    pub(crate) upstream: UpstreamStream,
    /// What the client sent behind its CONNECT head.
    pub(crate) early: Box<[u8]>,
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
            mut entry,
            live,
            listing,
            held,
        } = self;
        let end = tokio::select! {
            end = both_ways(&mut client, &mut upstream, early, &scratch, &live.traffic, live.opened) => Ok(end),
            order = live.orders.given() => Err(order),
        };
        let (reason, closed_by) = match end {
            Ok(CopyEnd::Finished { first }) => (Reason::Finished, first),
            Ok(CopyEnd::Broken { side, error }) => {
                // A reset stays a reset: otherwise one side takes the other's failure for a clean end.
                client.reset_on_close();
                upstream.reset_on_close();
                (broken(side, &error), side)
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
        live.traffic.note(live.opened.elapsed());
        entry.bytes_up = live.traffic.up();
        entry.bytes_down = live.traffic.down();
        entry.idle_max = Some(live.traffic.idle_max());
        entry.closed_by = Some(closed_by);
        entry.end(reason);
        let (up, down) = live.traffic.uncounted();
        meters.tunnel_bytes(up, down);
        // The sockets close before the permit is free again, so that a cap on tunnels is a cap on sockets.
        drop((client, upstream));
        drop((listing, entry, held));
    }
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
