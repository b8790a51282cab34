//! Which peers have fallen silent, judged by the turns of several of their tunnels.
//!
//! Pure: no sockets, no clock; `now` comes in as an argument. One silent tunnel proves nothing: a server may take its
//! time, or its client may not have asked. Whatever a peer answers in any tunnel excuses what was asked before.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::exchange::{DestinationName, ExchangeId};

/// Silent tunnels that tell against a peer, and where it has no others at all.
const SEVERAL: usize = 3;
const ALL_OF: usize = 2;
/// Silent tunnels that are remembered of one peer.
const SILENT_MAX: usize = 8;
/// Peers that are remembered; one more is not judged until others are forgotten.
const PEERS_MAX: usize = 4_096;
/// For how long what was heard, or not, is remembered. A sender gives up a tunnel after seconds, and may push rarely.
const MEMORY: Duration = Duration::from_secs(600);

/// What is remembered of the peers, shared by all cores.
#[derive(Debug, Default)]
pub(super) struct Silence {
    peers: HashMap<SocketAddr, Heard>,
}

#[derive(Debug)]
struct Heard {
    /// When any tunnel of it last brought bytes.
    last: Option<Instant>,
    /// Tunnels that asked, and when, and had no answer in time.
    silent: Vec<(ExchangeId, Instant)>,
    /// That of the last of them.
    destination: Option<DestinationName>,
    touched: Instant,
    /// Whether there is anything new to judge by.
    news: bool,
}

/// What the live tunnels of a peer show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) tunnels: usize,
    /// When any of them last brought bytes.
    pub(super) heard: Option<Instant>,
}

/// So many tunnels of a peer tell against it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) tunnels: usize,
    pub(super) destination: DestinationName,
}

impl Silence {
    /// A tunnel of this peer brought bytes.
    pub(super) fn heard(&mut self, peer: SocketAddr, at: Instant, now: Instant) {
        if let Some(heard) = self.peer(peer, now) {
            heard.hear(at);
        }
    }

    /// A tunnel of this peer had no answer in time to what it asked.
    pub(super) fn silent(
        &mut self,
        peer: SocketAddr,
        destination: &DestinationName,
        tunnel: ExchangeId,
        asked: Instant,
        now: Instant,
    ) {
        let Some(heard) = self.peer(peer, now) else {
            return;
        };
        if heard.last.is_some_and(|last| last >= asked) {
            return;
        }
        heard.silent.retain(|(other, _)| *other != tunnel);
        if heard.silent.len() == SILENT_MAX {
            heard.silent.remove(0);
        }
        heard.silent.push((tunnel, asked));
        heard.destination = Some(destination.clone());
        heard.news = true;
    }

    /// A tunnel of this peer has ended: those that are left may be all there are.
    pub(super) fn ended(&mut self, peer: SocketAddr) {
        if let Some(heard) = self.peers.get_mut(&peer) {
            heard.news = !heard.silent.is_empty();
        }
    }

    /// The peers that may have to be judged, each once until there is news of it.
    pub(super) fn candidates(&mut self, now: Instant) -> Vec<SocketAddr> {
        self.forget(now);
        let mut candidates = Vec::new();
        for (peer, heard) in &mut self.peers {
            if std::mem::take(&mut heard.news) && heard.silent.len() >= ALL_OF {
                candidates.push(*peer);
            }
        }
        candidates
    }

    /// The verdict, if there are enough tunnels for it. The peer begins anew then: the next one needs as many again.
    pub(super) fn judge(&mut self, peer: SocketAddr, live: Live, now: Instant) -> Option<Verdict> {
        let heard = self.peers.get_mut(&peer)?;
        if let Some(at) = live.heard {
            heard.hear(at);
        }
        heard
            .silent
            .retain(|(_, asked)| now.saturating_duration_since(*asked) < MEMORY);
        let tunnels = heard.silent.len();
        let enough = if live.tunnels <= ALL_OF {
            ALL_OF
        } else {
            SEVERAL
        };
        if tunnels < enough {
            return None;
        }
        heard.silent.clear();
        Some(Verdict {
            tunnels,
            destination: heard.destination.take()?,
        })
    }

    fn peer(&mut self, peer: SocketAddr, now: Instant) -> Option<&mut Heard> {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            return None;
        }
        let heard = self.peers.entry(peer).or_insert(Heard {
            last: None,
            silent: Vec::new(),
            destination: None,
            touched: now,
            news: false,
        });
        heard.touched = now;
        Some(heard)
    }

    fn forget(&mut self, now: Instant) {
        self.peers
            .retain(|_, heard| now.saturating_duration_since(heard.touched) < MEMORY);
    }
}

impl Heard {
    fn hear(&mut self, at: Instant) {
        if self.last.is_none_or(|last| at > last) {
            self.last = Some(at);
            self.silent.retain(|(_, asked)| *asked > at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY_ELSE: Live = Live {
        tunnels: 0,
        heard: None,
    };

    fn peer() -> SocketAddr {
        ([192, 0, 2, 1], 443).into()
    }

    fn silent(silence: &mut Silence, number: u64, asked: Instant, now: Instant) {
        let push = DestinationName::new("push");
        silence.silent(peer(), &push, tunnel(number), asked, now);
    }

    fn judge(silence: &mut Silence, live: Live, now: Instant) -> Option<usize> {
        let verdict = silence.judge(peer(), live, now)?;
        assert_eq!(verdict.destination.as_str(), "push");
        Some(verdict.tunnels)
    }

    fn tunnel(number: u64) -> ExchangeId {
        ExchangeId::new(0, 0, number)
    }

    /// Tunnels that asked at these seconds and were silent, beside `others` that live and have not answered.
    fn verdict(asked: &[u64], heard: Option<u64>, others: usize) -> Option<usize> {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut silence = Silence::default();
        for (number, asked) in asked.iter().enumerate() {
            silent(&mut silence, number as u64, at(*asked), at(asked + 5));
        }
        let live = Live {
            tunnels: asked.len() + others,
            heard: heard.map(at),
        };
        let last = asked.last().copied().unwrap_or_default() + 5;
        silence
            .candidates(at(last))
            .into_iter()
            .find_map(|_| judge(&mut silence, live, at(last)))
    }

    #[test]
    fn a_peer_is_judged_by_several_tunnels_and_by_none_that_answered_since() {
        assert_eq!(verdict(&[], None, 5), None);
        assert_eq!(verdict(&[10], None, 0), None, "never by one");
        assert_eq!(verdict(&[10], None, 5), None);
        assert_eq!(verdict(&[10, 20], None, 0), Some(2), "all that it has");
        assert_eq!(verdict(&[10, 20], None, 1), None);
        assert_eq!(verdict(&[10, 20, 30], None, 0), Some(3));
        assert_eq!(verdict(&[10, 20, 30], None, 1_000), Some(3));
        // An answer excuses what was asked before it.
        assert_eq!(verdict(&[10, 20, 30], Some(9), 1_000), Some(3));
        assert_eq!(verdict(&[10, 20, 30], Some(10), 1_000), None);
        assert_eq!(verdict(&[10, 20, 30], Some(40), 1_000), None);
        // Too long ago.
        assert_eq!(verdict(&[10, 20, 900], None, 1_000), None);
    }

    #[test]
    fn one_tunnel_counts_once_and_a_verdict_is_spoken_once() {
        let now = Instant::now();
        let mut silence = Silence::default();
        for _ in 0..9 {
            silent(&mut silence, 1, now, now);
        }
        assert_eq!(silence.candidates(now), []);
        for number in 2..=20 {
            silent(&mut silence, number, now, now);
        }
        assert_eq!(silence.candidates(now), [peer()]);
        assert_eq!(silence.candidates(now), [], "no news");
        assert_eq!(judge(&mut silence, NOBODY_ELSE, now), Some(SILENT_MAX));
        assert_eq!(judge(&mut silence, NOBODY_ELSE, now), None);
    }

    #[test]
    fn what_an_ended_tunnel_heard_counts() {
        let now = Instant::now();
        let later = now + Duration::from_secs(3);
        let mut silence = Silence::default();
        silence.heard(peer(), later, later);
        for number in 1..=3 {
            silent(&mut silence, number, now, later);
        }
        assert_eq!(silence.candidates(later), []);
        for number in 4..=5 {
            silent(&mut silence, number, later + Duration::from_secs(1), later);
        }
        let three = Live {
            tunnels: 3,
            heard: None,
        };
        assert_eq!(silence.candidates(later), [peer()]);
        assert_eq!(judge(&mut silence, three, later), None);
        // The third of them, which had not asked, has gone.
        silence.ended(peer());
        assert_eq!(silence.candidates(later), [peer()]);
        assert_eq!(judge(&mut silence, NOBODY_ELSE, later), Some(2));
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut silence = Silence::default();
        for number in 0..PEERS_MAX as u32 + 9 {
            let peer = (std::net::Ipv4Addr::from(number), 443).into();
            silence.heard(peer, now, now);
        }
        assert_eq!(silence.peers.len(), PEERS_MAX);
        let later = now + MEMORY;
        silence.heard(peer(), later, later);
        assert_eq!(silence.candidates(later), []);
        assert_eq!(silence.peers.len(), 0);
        silence.heard(peer(), later, later);
        assert_eq!(silence.peers.len(), 1);
    }
}
