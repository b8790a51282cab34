//! The tunnels that live now: one small shared record each, so that sweeps and views can look without asking.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::exchange::{
    ClientAddr, ClientName, DestinationName, ExchangeId, ListenerName, PeerAddr, Target, UserName,
};

/// What a tunnel is, and how far it has come.
#[derive(Debug)]
pub(crate) struct LiveTunnel {
    pub(crate) id: ExchangeId,
    pub(crate) opened_at: SystemTime,
    pub(crate) opened: Instant,
    pub(crate) listener: ListenerName,
    pub(crate) client: ClientAddr,
    pub(crate) sender: Option<ClientName>,
    pub(crate) user: Option<UserName>,
    pub(crate) target: Target,
    pub(crate) destination: DestinationName,
    pub(crate) peer: PeerAddr,
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    /// Milliseconds from `opened` to the last byte in either direction.
    pub(crate) last_ms: AtomicU64,
}

impl LiveTunnel {
    /// How long both directions have been silent.
    pub(crate) fn idle(&self, now: Instant) -> Duration {
        let last = self.opened + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(last)
    }
}

/// All live tunnels of one core, or of all (`Tunnels` of every core are listed together by the admin window).
#[derive(Debug, Clone, Default)]
pub(crate) struct Tunnels(Arc<Mutex<HashMap<ExchangeId, Arc<LiveTunnel>>>>);

impl Tunnels {
    pub(crate) fn add(&self, tunnel: Arc<LiveTunnel>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tunnel.id, tunnel);
    }

    pub(crate) fn remove(&self, id: ExchangeId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }

    pub(crate) fn list(&self) -> Vec<Arc<LiveTunnel>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}
