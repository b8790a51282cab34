//! Looks after the alarms, every second or so: what destinations, certificates and tunnels show, and what has been quiet.
//!
//! Asks nobody; it only looks at what is known.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::admin::{destinations, off_dns};
use crate::dial::health::{DestinationHealth, HealthBook, Standing};
use crate::dial::resolve::Resolver;
use crate::relay::Tunnels;
use crate::telemetry::{AlarmBoard, Derivation, Moment};

const LOOK: Duration = Duration::from_secs(1);
/// Every tunnel is looked at, and that of a hundred thousand.
const LOOKS_PER_TUNNEL_LOOK: u64 = 10;
/// Addresses in the evidence.
const ADDRESSES_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Watchman {
    pub(super) alarms: Arc<AlarmBoard>,
    pub(super) derivation: Arc<Derivation>,
    pub(super) health: Arc<HealthBook>,
    /// Of every core.
    pub(super) tunnels: Vec<Tunnels>,
    pub(super) resolver: Resolver,
}

impl Watchman {
    pub(super) async fn watch(self) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 1_u64.. {
            ticks.tick().await;
            let health = destinations::seen(&self.health, &self.tunnels, Instant::now());
            let now = Moment::now();
            let all = health.iter().map(|one| {
                let has_parents = self.derivation.has_parents(&one.destination);
                let is_dead = one.dead || one.silent;
                let text = addresses(one, has_parents);
                (one.destination.clone(), is_dead, text)
            });
            self.derivation.destinations(all, now);
            self.derivation.certificates(now);
            self.derivation.clear_gone(now);
            self.alarms.tick(now);
            if look % LOOKS_PER_TUNNEL_LOOK == 0 {
                let (tunnels, resolver) = (self.tunnels.clone(), self.resolver.clone());
                // Names are resolved on this thread, too; they should not wait for it.
                let counts = spawn_blocking(move || off_dns::lasting(&tunnels, &resolver));
                if let Ok(counts) = counts.await {
                    self.derivation.off_dns(&counts, Moment::now());
                }
            }
        }
    }
}

/// What the addresses of a destination are like, or of its parents, in few words.
fn addresses(health: &DestinationHealth, has_parents: bool) -> String {
    if health.silent {
        return String::from("its addresses accept connections, and none answers in its tunnels");
    }
    if !health.dead {
        return String::new();
    }
    let mut text = String::from(if has_parents {
        "no way through its parent proxies (via):"
    } else {
        "none of its addresses connects:"
    });
    for one in health.peers.iter().take(ADDRESSES_MAX) {
        let state = match one.standing {
            Standing::Quarantined => "quarantined",
            Standing::Healthy(_) => "not tried lately",
            Standing::Unknown => "unknown",
        };
        // Writing to a string never fails.
        let _ = write!(text, " {} ({state}, {} failures)", one.peer, one.failures);
    }
    text
}
