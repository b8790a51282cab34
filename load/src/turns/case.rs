//! One case: how the servers push, and the pushing.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::TurnsError;
use crate::measure::Latencies;
use crate::onprem::{Outcome, Server};

/// Servers of a case, and how many pushes are under way from one at once.
pub(super) const SERVERS: usize = 8;
pub(super) const AT_ONCE: usize = 4;
/// How far apart they begin, so that the handshakes of new tunnels do not keep those that are timed waiting for the core;
/// and how long each waits between two pushes, at least.
const APART: Duration = Duration::from_millis(20);
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// A tunnel that may carry several exchanges at once has to be quiet around one that is to be timed: four times what it
/// takes, within these bounds; and a little more, since clocks differ.
const QUIET_MIN: Duration = Duration::from_millis(250);
const QUIET_MAX: Duration = Duration::from_secs(5);
const MORE: Duration = Duration::from_millis(150);
/// How long a case may take, so that the proxy remembers all of it for a minute.
const LENGTH: Duration = Duration::from_secs(40);
const PUSHES_MAX: u32 = 20;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Case {
    pub(super) http2: bool,
    pub(super) at_once: bool,
    pub(super) delay: Duration,
}

impl Case {
    pub(super) fn all(delays: &[Duration]) -> Vec<Self> {
        let kinds = [(false, false), (false, true), (true, false), (true, true)];
        let of_delay = |delay| {
            kinds.map(|(http2, at_once)| Self {
                http2,
                at_once,
                delay,
            })
        };
        delays.iter().copied().flat_map(of_delay).collect()
    }

    /// What the proxy calls its destination.
    pub(super) fn name(self) -> String {
        let http = if self.http2 { "http2" } else { "http1" };
        let number = if self.at_once { "several" } else { "one" };
        format!("{http}-{number}-{}", self.delay.as_millis())
    }

    /// All of it, from every server; gives what the servers' clocks say.
    pub(super) async fn play(self, servers: &[Arc<Server>]) -> Result<Latencies, TurnsError> {
        let mut playing = JoinSet::new();
        let lanes = if self.at_once { AT_ONCE } else { 1 };
        for lane in 0..lanes {
            for server in servers {
                playing.spawn(self.lane(server.clone(), lane));
                sleep(APART).await;
            }
        }
        while let Some(end) = playing.join_next().await {
            if let Ok(Err(unconfirmed)) = end {
                return Err(unconfirmed);
            }
        }
        sleep(self.quiet()).await;
        let mut answers = Latencies::default();
        for server in servers {
            answers.add(&server.answers());
            server.close().await;
        }
        Ok(answers)
    }

    /// One push after the other.
    async fn lane(self, server: Arc<Server>, lane: usize) -> Result<(), TurnsError> {
        let pause = if self.at_once {
            (self.delay / 2).max(PAUSE_MIN)
        } else if self.http2 {
            self.quiet()
        } else {
            PAUSE_MIN
        };
        let pushes = (LENGTH.as_millis() / (self.delay + self.quiet()).as_millis()) as u32;
        for number in 0..pushes.min(PUSHES_MAX) {
            // Lanes of one tunnel are not to march in step.
            let own = (lane as u32 * 7 + number * 3) % 10;
            sleep(pause + self.delay.mul_f64(f64::from(own) / 20.0)).await;
            let id = format!("{}-{}-{lane}-{number}", self.name(), server.name());
            match server.push("phone", &id, "incoming call").await {
                Outcome::Confirmed => {}
                other => return Err(TurnsError::Unconfirmed(format!("{id}: {other:?}"))),
            }
        }
        Ok(())
    }

    fn quiet(self) -> Duration {
        (self.delay * 4 + MORE).clamp(QUIET_MIN, QUIET_MAX) + MORE
    }
}
