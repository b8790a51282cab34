//! What the tunnels of all cores show of their peers while connecting still works, and who is told of it.
//!
//! Accuses; what becomes of an accused peer is for others to say. It asks a tunnel's own task to look at its sockets,
//! and touches none itself.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::LiveTunnel;
use super::live::Tunnels;
use super::silence::{Live, Silence};
use crate::exchange::{DestinationName, Side};

const PACE_MIN: Duration = Duration::from_millis(25);
const PACE_MAX: Duration = Duration::from_secs(5);

/// Why a peer is suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// A tunnel was reset because nobody acknowledged what was sent in it.
    Unacknowledged,
    /// So many tunnels had no answer in time to what was asked in them, and none has had one since.
    Unanswered { tunnels: usize },
}

impl Ground {
    /// The word in metrics and in the journal.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Unacknowledged => "unacknowledged",
            Self::Unanswered { .. } => "unanswered",
        }
    }
}

/// Whoever is to know of suspect peers. Called in between: must not wait.
pub(crate) trait Verdicts: fmt::Debug + Send + Sync {
    fn suspect(&self, peer: SocketAddr, destination: &DestinationName, ground: Ground);
}

/// How long a peer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// To acknowledge data.
    pub(crate) acknowledge: Duration,
    /// To answer.
    pub(crate) answer: Duration,
}

/// The peers of all cores' tunnels.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(super) patience: Patience,
    silence: Mutex<Silence>,
    verdicts: Box<dyn Verdicts>,
}

impl Peers {
    pub(crate) fn new(patience: Patience, verdicts: impl Verdicts + 'static) -> Self {
        Self {
            patience,
            silence: Mutex::default(),
            verdicts: Box::new(verdicts),
        }
    }

    /// How often to watch: each limit is met within a quarter of it.
    pub(crate) fn pace(&self) -> Duration {
        let shorter = self.patience.answer.min(self.patience.acknowledge);
        (shorter / 4).clamp(PACE_MIN, PACE_MAX)
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tunnel is reset because its upstream acknowledges nothing.
    pub(super) fn unacknowledged(&self, tunnel: &LiveTunnel) {
        self.verdicts
            .suspect(tunnel.peer.0, tunnel.destination(), Ground::Unacknowledged);
    }

    /// A tunnel has ended. A sender that waits for as long as we do gives up just before we would have noted it.
    pub(super) fn ended(&self, tunnel: &LiveTunnel, closed_by: Side, now: Instant) {
        let peer = tunnel.peer.0;
        let heard = tunnel.heard(now);
        let given_up = match closed_by {
            Side::Proxy => None,
            Side::Client => tunnel.silent_since(self.patience.answer * 4 / 5, now),
            // It hung up on a question.
            Side::Upstream => tunnel.silent_since(Duration::ZERO, now),
        };
        let mut silence = self.silence();
        if let Some(at) = heard {
            silence.heard(peer, at, now);
        }
        if let Some(asked) = given_up {
            silence.silent(peer, tunnel.destination(), tunnel.id, asked, now);
        }
        silence.ended(peer);
    }

    /// Notes which tunnels of a core have fallen silent, judges their peers by the tunnels of all cores, and says
    /// which tunnels have to be looked at: those that moved, in turns, twice in the time that they have.
    pub(crate) fn watch(
        &self,
        own: &Tunnels,
        all: &[Tunnels],
        round: usize,
        now: Instant,
    ) -> Vec<Arc<LiveTunnel>> {
        let rounds = (self.patience.acknowledge.as_millis() / self.pace().as_millis() / 2) as usize;
        let rounds = rounds.max(1);
        let mut due = Vec::new();
        own.each(|place, tunnel| {
            if let Some(asked) = tunnel.silent_since(self.patience.answer, now) {
                tunnel.traffic.note_silence();
                self.silence()
                    .silent(tunnel.peer.0, tunnel.destination(), tunnel.id, asked, now);
            }
            let turn = place % rounds == round % rounds;
            if tunnel.is_due(turn, self.patience.acknowledge, now) {
                due.push(Arc::clone(tunnel));
            }
        });
        let candidates = self.silence().candidates(now);
        for (peer, live) in live(candidates, all, now) {
            let verdict = self.silence().judge(peer, live, now);
            if let Some(verdict) = verdict {
                let ground = Ground::Unanswered {
                    tunnels: verdict.tunnels,
                };
                self.verdicts.suspect(peer, &verdict.destination, ground);
            }
        }
        due
    }
}

/// What the tunnels of these peers show, in one walk: when our own way out breaks, all peers fall silent at once.
fn live(peers: Vec<SocketAddr>, all: &[Tunnels], now: Instant) -> HashMap<SocketAddr, Live> {
    let mut live: HashMap<_, _> = peers
        .into_iter()
        .map(|peer| (peer, Live::default()))
        .collect();
    if live.is_empty() {
        return live;
    }
    for tunnels in all {
        tunnels.each(|_, tunnel| {
            if let Some(live) = live.get_mut(&tunnel.peer.0) {
                live.tunnels += 1;
                live.heard = live.heard.max(tunnel.heard(now));
            }
        });
    }
    live
}

#[cfg(test)]
mod tests;
