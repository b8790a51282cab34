//! Which local address a connection is made from, where the operator named some: each in its turn, for every peer.
//!
//! Opens nothing. Which of them this machine has is the kernel's to say, when one is used.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

/// Peers that have a turn of their own; all others share one.
const PEERS_MAX: usize = 4_096;

/// Whose turn it is, for all cores.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    peers: HashMap<SocketAddr, usize>,
    others: usize,
}

impl Turns {
    /// The sources of the peer's family, the one whose turn it is in front; the others are for the case that it has no
    /// port left or is not on this machine.
    pub(super) fn next(&self, sources: &[IpAddr], peer: SocketAddr) -> Vec<IpAddr> {
        let mut fitting: Vec<IpAddr> = sources
            .iter()
            .copied()
            .filter(|source| source.is_ipv4() == peer.is_ipv4())
            .collect();
        if fitting.len() > 1 {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Counts { peers, others } = &mut *counts;
            let count = if peers.len() < PEERS_MAX || peers.contains_key(&peer) {
                peers.entry(peer).or_default()
            } else {
                others
            };
            let turn = *count % fitting.len();
            *count = count.wrapping_add(1);
            fitting.rotate_left(turn);
        }
        fitting
    }
}

/// Whether a connection to this address can be made at all: a source has one family only.
pub(super) fn has_family(sources: &[IpAddr], peer: IpAddr) -> bool {
    sources.is_empty()
        || sources
            .iter()
            .any(|source| source.is_ipv4() == peer.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_each_source_in_its_turn() {
        let turns = Turns::default();
        let sources: Vec<IpAddr> = ["10.0.0.1", "::1", "10.0.0.2"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let first = |peer: &str| turns.next(&sources, peer.parse().unwrap());
        for _ in 0..2 {
            // Two peers by turns: with one count for both, each would have one source alone.
            assert_eq!(first("192.0.2.1:1"), [sources[0], sources[2]]);
            assert_eq!(first("192.0.2.2:1"), [sources[0], sources[2]]);
            assert_eq!(first("192.0.2.1:1"), [sources[2], sources[0]]);
            assert_eq!(first("192.0.2.2:1"), [sources[2], sources[0]]);
            assert_eq!(first("[::2]:1"), [sources[1]]);
        }
        assert!(has_family(&[], sources[0]) && has_family(&sources[..1], sources[2]));
        assert!(!has_family(&sources[..1], sources[1]));
    }

    #[test]
    fn peers_without_number_fill_no_memory() {
        let turns = Turns::default();
        let sources = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        for port in 1..=u16::MAX {
            turns.next(&sources, SocketAddr::from(([192, 0, 2, 1], port)));
        }
        let counts = turns.0.lock().unwrap();
        assert_eq!(counts.peers.len(), PEERS_MAX);
        assert_eq!(counts.others, usize::from(u16::MAX) - PEERS_MAX);
    }
}
