//! A tunnel from its 200 to its end, in a task of its own, so that little is held while it is silent.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::copy::{CopyEnd, Opening, both_ways};
use super::live::{Cause, Listing, Order};
use super::{Brake, ClientStream, Inspection, LiveTunnel, Scratch, UpstreamStream};
use crate::exchange::{Reason, Side};
use crate::sys::tcp_info;
use crate::telemetry::{Entry, Event, Meters};

/// A fatal `unrecognized_name` (RFC 6066 §3), as a server without this name would send it.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Everything a running tunnel owns. Its line is written when it ends, whatever ends it.
#[derive(Debug)]
pub(crate) struct Tunnel<Held> {
    pub(crate) client: ClientStream,
    pub(crate) upstream: UpstreamStream,
    /// What the client sent behind its CONNECT head.
    pub(crate) early: Box<[u8]>,
    /// What the client may open with, where its destination cares.
    pub(crate) inspection: Option<Box<Inspection>>,
    /// Where its bytes are limited.
    pub(crate) brake: Option<Box<Brake>>,
    pub(crate) entry: Entry,
    pub(crate) live: Listing,
    /// Permits and watches: freed with the tunnel.
    pub(crate) held: Held,
}

impl<Held> Tunnel<Held> {
    /// Not an `async fn`: that would hold the tunnel twice, as it came and taken apart, for as long as it lives.
    pub(crate) fn run(self, scratch: Scratch, meters: Arc<Meters>) -> impl Future<Output = ()> {
        let Self {
            mut client,
            mut upstream,
            early,
            inspection,
            brake,
            entry,
            live,
            held,
        } = self;
        let reported = entry.would_refuse;
        // The inspection and the hourly line write in it, each in a poll of its own.
        let book = RefCell::new(entry);
        async move {
            let end = {
                let opening = Opening {
                    early,
                    inspection,
                    exchange: &book,
                    brake,
                };
                let moving = both_ways(&mut client, &mut upstream, opening, &scratch, &live, dead);
                tokio::pin!(moving);
                loop {
                    let order = tokio::select! {
                        end = &mut moving => break Ok(end),
                        order = live.orders.given() => order,
                    };
                    match order {
                        Order::Tell => tell(&mut book.borrow_mut(), &live),
                        Order::End(cause) => break Err(cause),
                    }
                }
            };
            let mut entry = book.into_inner();
            let mut refused = None;
            let (reason, closed_by) = match end {
                Ok(CopyEnd::Finished { first }) => (Reason::Finished, first),
                Ok(CopyEnd::Broken { side, error }) => {
                    // A reset stays a reset: otherwise one side takes the other's failure for a clean end.
                    client.reset_on_close();
                    upstream.reset_on_close();
                    (broken(side, &error), side)
                }
                Ok(CopyEnd::Unacknowledged { side }) => {
                    client.reset_on_close();
                    upstream.reset_on_close();
                    if let (Side::Upstream, Some(peers)) = (side, live.peers()) {
                        peers.unacknowledged(&live);
                    }
                    (broken(side, &io::ErrorKind::TimedOut.into()), side)
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
                Err(cause) => {
                    if live.traffic.is_holding() {
                        // A clean end would make a stream that was cut short look whole.
                        client.reset_on_close();
                        upstream.reset_on_close();
                    }
                    match cause {
                        Cause::Idle => (Reason::Idle, Side::Proxy),
                        Cause::Draining => (Reason::Draining, Side::Proxy),
                    }
                }
            };
            if let (None, Some(reason)) = (reported, entry.would_refuse) {
                meters.would_refuse(live.destination(), live.sender.as_ref(), reason);
            }
            live.ended(closed_by, Instant::now());
            live.traffic.note(live.opened.elapsed());
            note_traffic(&mut entry, &live);
            entry.closed_by = Some(closed_by);
            entry.end(reason);
            let (up, down) = live.traffic.uncounted();
            meters.tunnel_bytes(up, down);
            drop(upstream);
            match refused {
                Some(last_word) => {
                    // The line need not wait until the client has gone.
                    drop((live, entry));
                    Box::pin(client.farewell(last_word, &scratch)).await;
                    drop(held);
                }
                None => {
                    // The sockets close before the permit is free again, so that a cap on tunnels is a cap on sockets;
                    // and it is free before the line tells that the tunnel has ended.
                    drop(client);
                    drop(held);
                    drop((live, entry));
                }
            }
        }
    }
}

/// The silence that lasts still counts as one.
fn note_traffic(entry: &mut Entry, live: &LiveTunnel) {
    entry.bytes_up = live.traffic.up();
    entry.bytes_down = live.traffic.down();
    entry.exchanges = live.traffic.exchanges();
    entry.handshake = live.traffic.handshake();
    entry.idle_max = Some(live.traffic.idle_max().max(live.idle(Instant::now())));
}

fn tell(entry: &mut Entry, live: &LiveTunnel) {
    note_traffic(entry, live);
    entry.tell(Event::Hourly);
}

/// Looks at both sockets when that was asked for: which side leaves data unacknowledged for too long.
fn dead(client: &ClientStream, upstream: &UpstreamStream, live: &Listing) -> Option<Side> {
    if !live.has_to_look() {
        return None;
    }
    let patience = live.peers()?.patience.acknowledge;
    // A socket that is gone leaves nothing unacknowledged: reading from it tells.
    let (upstream, client) = (tcp_info(upstream), tcp_info(client));
    let (upstream, client) = (upstream.unwrap_or_default(), client.unwrap_or_default());
    live.look(upstream, client, patience, Instant::now())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Exchange, Kind};
    use crate::relay::{Tunnels, live};
    use crate::telemetry::access_log::tests::{collector, log_to};
    use crate::telemetry::{AccessLog, Ledger, LogEnd};
    use serde_json::Value;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    #[expect(clippy::disallowed_methods, reason = "a test plays both sides")]
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).await;
        (one.unwrap(), listener.accept().await.unwrap().0)
    }

    /// The task's own memory is what a silent tunnel costs most; the next size up costs each of them 128 bytes.
    #[tokio::test]
    async fn a_tunnel_holds_no_more_than_it_needs() {
        let (outer, inner) = pair().await;
        let live = live::tests::tunnel();
        let meters = Arc::new(Meters::new(&[], &[]));
        let (log, _) = AccessLog::start(&log_to(collector(), &["close"]), |_| {}).unwrap();
        let ledger = Ledger::new(Arc::clone(&meters), log);
        let entry = ledger.open(Exchange::new(
            live.id,
            live.opened_at,
            std::time::Instant::now(),
            live.listener.clone(),
            live.client,
        ));
        let tunnel = Tunnel {
            client: ClientStream::Plain(inner),
            upstream: UpstreamStream::Plain(outer),
            early: Box::default(),
            inspection: None,
            brake: None,
            entry,
            live: Tunnels::default().list_while(live),
            held: (),
        };
        let size = size_of_val(&tunnel.run(Scratch::new(), meters));
        assert!(size <= 416, "{size} bytes");
        // With the two counters of its Arc.
        let listed = size_of::<LiveTunnel>() + 16;
        assert!(listed <= 320, "{listed} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_tunnel_writes_its_hourly_line_and_lives_on() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let log = log_to(collector(), &["hourly", "close"]);
        let (log, LogEnd::Collector(mut waiting)) = AccessLog::start(&log, |_| {}).unwrap() else {
            panic!("a collector has a queue");
        };
        let meters = Arc::new(Meters::new(&[], &[]));
        let ledger = Ledger::new(Arc::clone(&meters), log);
        let live = live::tests::tunnel();
        let mut entry = ledger.open(Exchange::new(
            live.id,
            live.opened_at,
            std::time::Instant::now(),
            live.listener.clone(),
            live.client,
        ));
        entry.kind = Kind::Tunnel;
        let (mut client, inner) = pair().await;
        let (mut server, outer) = pair().await;
        let tunnels = Tunnels::default();
        let tunnel = Tunnel {
            client: ClientStream::Plain(inner),
            upstream: UpstreamStream::Plain(outer),
            early: Box::default(),
            inspection: None,
            brake: None,
            entry,
            live: tunnels.list_while(live),
            held: (),
        };
        let moving = async {
            for age in 1..=3 {
                let said = format!("hour {age}");
                client.write_all(said.as_bytes()).await.unwrap();
                let mut heard = [0; 6];
                server.read_exact(&mut heard).await.unwrap();
                assert_eq!(heard, said.as_bytes());
                tokio::time::advance(HOUR).await;
                tunnels.sweep(100 * HOUR, true, Instant::now());
                // The clock stands still while the tunnel's task can run.
                let line = timeout(HOUR / 2, waiting.next()).await;
                let line = line.expect("an hourly line").unwrap().line;
                let line: Value = serde_json::from_slice(&line).unwrap();
                assert_eq!(
                    (&line["event"], &line["reason"]),
                    (&"hourly".into(), &Value::Null)
                );
                assert_eq!(line["bytes_up"], 6 * age);
                // The silence that lasts is the longest.
                assert!(
                    line["idle_max_ms"].as_f64().unwrap() >= 3_599_000.0,
                    "{line}"
                );
            }
            drop((client, server));
            let line = waiting.next().await.unwrap().line;
            let line: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(line["event"], "close");
        };
        tokio::join!(tunnel.run(Scratch::new(), Arc::clone(&meters)), moving);
    }
}
