//! The addresses of each destination and how they are: the page `/destinations`, and the gauge that says it in short.
//!
//! At most as long as the book, which is bounded.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::dial::health::{DestinationHealth, HealthBook, Standing};
use crate::relay::Tunnels;
use crate::relay::confirmations::{Recent, Times};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::{catalogue, json};

/// Addresses that the gauge tells; the page has all.
const PEERS_MAX: usize = 2_048;

#[derive(Debug, Serialize)]
struct Destination<'a> {
    destination: &'a str,
    /// The last exchange that tried all addresses of its target found none that connects, and none has since.
    dead: bool,
    /// Why the last exchange, or probe, got no address for its name.
    unresolved: Option<String>,
    addresses: Vec<Address>,
    /// What the exchanges in its tunnels took in the last minute; null without any.
    confirmations: Option<Confirmed>,
}

#[derive(Debug, Serialize)]
struct Confirmed {
    exchanges: u64,
    /// How many of them have a time; without any the next three are null.
    timed: u64,
    mean_ms: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Confirmed {
    fn of(recent: Recent) -> Self {
        let milliseconds = |time: fn(Times) -> Duration| {
            recent
                .times
                .map(|times| time(times).as_micros() as f64 / 1_000.0)
        };
        Self {
            exchanges: recent.exchanges,
            timed: recent.timed,
            mean_ms: milliseconds(|times| times.mean),
            p50_ms: milliseconds(|times| times.p50),
            p99_ms: milliseconds(|times| times.p99),
        }
    }
}

#[derive(Debug, Serialize)]
struct Address {
    peer: SocketAddr,
    state: &'static str,
    connect_ms: Option<f64>,
    failures: u32,
    /// What is left of it; 0: the next try decides.
    quarantine_s: Option<f64>,
    suspected: bool,
    /// Whether its name has it now, as the last answer said.
    listed: bool,
}

pub(super) fn shown(all: &[DestinationHealth], cores: &[Tunnels], now: Instant) -> Vec<u8> {
    let rows: Vec<_> = all
        .iter()
        .map(|one| Destination {
            destination: one.destination.as_str(),
            dead: one.dead,
            unresolved: one.unresolved.map(|error| error.to_string()),
            addresses: one
                .peers
                .iter()
                .map(|peer| Address {
                    peer: peer.peer,
                    state: match peer.standing {
                        Standing::Healthy(_) => "healthy",
                        Standing::Unknown => "unknown",
                        Standing::Quarantined => "quarantined",
                    },
                    connect_ms: peer.connect.map(|took| took.as_secs_f64() * 1_000.0),
                    failures: peer.failures,
                    quarantine_s: peer.quarantine.map(|left| left.as_secs_f64()),
                    suspected: peer.suspected,
                    listed: peer.listed,
                })
                .collect(),
            // Each core knows the figures of all.
            confirmations: cores
                .first()
                .and_then(|core| core.confirmations().recent(&one.destination, now))
                .map(Confirmed::of),
        })
        .collect();
    let mut text = Vec::new();
    json::append(&mut text, &rows);
    text.push(b'\n');
    text
}

/// What is known of the destinations; one in whose tunnels an exchange was counted in the last minute is not silent.
pub(crate) fn seen(book: &HealthBook, cores: &[Tunnels], now: Instant) -> Vec<DestinationHealth> {
    let mut all = book.view(now);
    // Each core knows the figures of all.
    let core = cores.first();
    for one in all.iter_mut().filter(|one| one.silent) {
        let recent = core.and_then(|core| core.confirmations().recent(&one.destination, now));
        one.silent = recent.is_none();
    }
    all
}

/// Takes away the addresses that no name has any more and no tunnel uses: they say nothing of the destination.
pub(super) fn without_gone(all: &mut [DestinationHealth], cores: &[Tunnels]) {
    let mut gone = all.iter().flat_map(|one| &one.peers);
    if gone.all(|peer| peer.listed) {
        return;
    }
    let tunnels = cores.iter().flat_map(Tunnels::snapshot);
    let used: HashSet<SocketAddr> = tunnels.map(|tunnel| tunnel.peer.0).collect();
    for one in all {
        one.peers
            .retain(|peer| peer.listed || used.contains(&peer.peer));
    }
}

/// The lines of `tidegate_peer_up`, made at every scrape: an address that is forgotten leaves no series behind.
pub(super) fn peers_up(all: &[DestinationHealth]) -> String {
    let row = &catalogue::PEER_UP;
    let mut text = Exposition::default();
    text.family(row);
    let peers = all
        .iter()
        .flat_map(|one| one.peers.iter().map(move |peer| (&one.destination, peer)));
    for (destination, peer) in peers.take(PEERS_MAX) {
        let up = u8::from(peer.standing != Standing::Quarantined);
        let labels = [destination.as_str(), &peer.peer.to_string()];
        text.sample(row, &labels, up);
    }
    text.text()
}
