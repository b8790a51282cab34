//! What follows when tunnels show that a peer is dead while connecting to it still works.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::dial::health::{Accused, HealthBook};
use crate::exchange::DestinationName;
use crate::relay::{Ground, Verdicts};
use crate::telemetry::Meters;

#[derive(Debug)]
pub(super) struct Court {
    pub(super) meters: Arc<Meters>,
    pub(super) health: Arc<HealthBook>,
}

impl Verdicts for Court {
    fn suspect(&self, peer: SocketAddr, destination: &DestinationName, ground: Ground) {
        self.meters.peer_suspected(destination, ground.token());
        let now = Instant::now();
        let accused = self.health.suspect(destination, peer, now);
        match (ground, accused) {
            // Each such tunnel has its access line; a thousand of them may end at once.
            (Ground::Unacknowledged, _) => {
                tracing::debug!(%destination, %peer, "a tunnel was reset: its peer acknowledges nothing");
            }
            (Ground::Unanswered { tunnels }, Accused::Demoted) => {
                tracing::warn!(%destination, %peer, tunnels, "a peer no longer answers in its tunnels: other addresses go first");
            }
            (Ground::Unanswered { tunnels }, Accused::Already) => {
                tracing::warn!(%destination, %peer, tunnels, "a peer no longer answers in its tunnels: other addresses go first already");
            }
            (Ground::Unanswered { tunnels }, Accused::NoOther) => {
                self.health.none_answers(destination, now);
                tracing::warn!(%destination, %peer, tunnels, "a peer no longer answers in its tunnels, and no other address is known to be better");
            }
        }
    }
}
