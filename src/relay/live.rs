//! The tunnels that live now: one small shared record each, so that sweeps and views can look without asking.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
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
    pub(crate) traffic: Traffic,
    pub(crate) orders: Orders,
}

/// What has passed through. Written by the tunnel's own core, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
    /// Milliseconds from the opening to the last byte in either direction.
    last_ms: AtomicU64,
    /// The longest silence so far, in milliseconds.
    idle_max_ms: AtomicU64,
    /// Whether bytes were read from one side that the other has not taken yet.
    holding: AtomicBool,
    /// What the metrics know already: a tunnel lives for days, and its bytes must show before it ends.
    counted_up: AtomicU64,
    counted_down: AtomicU64,
}

impl Traffic {
    pub(crate) fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    pub(crate) fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    pub(crate) fn idle_max(&self) -> Duration {
        Duration::from_millis(self.idle_max_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn note_up(&self, bytes: usize, since_opened: Duration) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
        self.note(since_opened);
    }

    pub(crate) fn note_down(&self, bytes: usize, since_opened: Duration) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
        self.note(since_opened);
    }

    pub(crate) fn set_holding(&self, holding: bool) {
        self.holding.store(holding, Ordering::Relaxed);
    }

    /// Whether a cut now would lose bytes that one side has sent.
    pub(crate) fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Relaxed)
    }

    /// Bytes up and down since this was last asked.
    pub(crate) fn uncounted(&self) -> (u64, u64) {
        let (up, down) = (self.up(), self.down());
        let counted = (
            self.counted_up.swap(up, Ordering::Relaxed),
            self.counted_down.swap(down, Ordering::Relaxed),
        );
        (up.saturating_sub(counted.0), down.saturating_sub(counted.1))
    }

    /// Notes that something moved now: the silence before it has ended.
    pub(crate) fn note(&self, since_opened: Duration) {
        let now = u64::try_from(since_opened.as_millis()).unwrap_or(u64::MAX);
        let silence = now.saturating_sub(self.last_ms.swap(now, Ordering::Relaxed));
        self.idle_max_ms.fetch_max(silence, Ordering::Relaxed);
    }
}

/// Why a tunnel has to end although both sides live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Both directions were silent for too long.
    Idle,
    /// The proxy ends, and the tunnel's grace is over.
    Draining,
}

/// The order to end, given from outside the tunnel's task.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    given: AtomicU8,
    bell: Notify,
}

impl Orders {
    fn give(&self, order: Order) {
        let code = match order {
            Order::Idle => 1,
            Order::Draining => 2,
        };
        // The first order stands.
        let _ = self
            .given
            .compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        self.bell.notify_one();
    }

    /// Returns when the tunnel has to end.
    pub(crate) async fn given(&self) -> Order {
        loop {
            match self.given.load(Ordering::Acquire) {
                1 => return Order::Idle,
                2 => return Order::Draining,
                _ => self.bell.notified().await,
            }
        }
    }
}

impl LiveTunnel {
    /// How long both directions have been silent.
    pub(crate) fn idle(&self, now: Instant) -> Duration {
        let last =
            self.opened + Duration::from_millis(self.traffic.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(last)
    }
}

/// The live tunnels of one core; the admin window looks at all cores'.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tunnels(Arc<Mutex<HashMap<ExchangeId, Arc<LiveTunnel>>>>);

impl Tunnels {
    fn all(&self) -> MutexGuard<'_, HashMap<ExchangeId, Arc<LiveTunnel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a tunnel until the listing is dropped.
    pub(crate) fn list_while(&self, tunnel: Arc<LiveTunnel>) -> Listing {
        let id = tunnel.id;
        self.all().insert(id, tunnel);
        Listing {
            tunnels: self.clone(),
            id,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }

    pub(crate) fn snapshot(&self) -> Vec<Arc<LiveTunnel>> {
        self.all().values().cloned().collect()
    }

    /// Ends what has been silent for too long, and says how many bytes have passed since the last sweep, up and down.
    /// One sweep for all tunnels costs less than a timer for each.
    pub(crate) fn sweep(&self, idle_timeout: Duration, now: Instant) -> (u64, u64) {
        let mut moved = (0, 0);
        for tunnel in self.all().values() {
            let (up, down) = tunnel.traffic.uncounted();
            moved = (moved.0 + up, moved.1 + down);
            if tunnel.idle(now) >= idle_timeout {
                tunnel.orders.give(Order::Idle);
            }
        }
        moved
    }

    pub(crate) fn end_all(&self) {
        for tunnel in self.all().values() {
            tunnel.orders.give(Order::Draining);
        }
    }
}

/// A tunnel's place in the list.
#[derive(Debug)]
pub(crate) struct Listing {
    tunnels: Tunnels,
    id: ExchangeId,
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.tunnels.all().remove(&self.id);
    }
}
