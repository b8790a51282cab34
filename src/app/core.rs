//! One core: a thread with its own sockets, tunnels and scratch buffer.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::bound::Share;
use crate::config;
use crate::dial::Dialer;
use crate::dial::tls::{NativeRoots, OriginTls};
use crate::gate::{Gate, Rules};
use crate::lifecycle::{DrainWatch, Phase, PhaseView};
use crate::listen::Door;
use crate::listen::permits::Permits;
use crate::policy::Reports;
use crate::relay::{Idle, Peers, Scratch, Tunnels};
use crate::serve::headers::Pseudonym;
use crate::serve::{Ids, Service};
use crate::telemetry::{AlarmBoard, Chain, GuideCounters, Ledger, Meters};

/// The longest time between two sweeps: bytes show in the metrics so soon.
const SWEEP: Duration = Duration::from_secs(5);

/// Reports a core whose thread ends, also by a panic.
pub(super) struct TellsWhenLost {
    pub(super) number: usize,
    pub(super) lost: mpsc::Sender<usize>,
}

impl Drop for TellsWhenLost {
    fn drop(&mut self) {
        // One place for each core: never full.
        let _ = self.lost.try_send(self.number);
    }
}

pub(super) fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
}

/// One core's thread: its sockets, its tunnels, its scratch.
pub(super) struct Core {
    pub(super) doors: Share,
    pub(super) gate: Arc<Gate>,
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    pub(super) dialer: Dialer,
    pub(super) ledger: Ledger,
    pub(super) meters: Arc<Meters>,
    pub(super) alarms: Arc<AlarmBoard>,
    pub(super) counters: Arc<GuideCounters>,
    pub(super) intake: config::Intake,
    pub(super) forward: config::Forward,
    pub(super) native_roots: NativeRoots,
    pub(super) pseudonym: Pseudonym,
    pub(super) idle_timeout: Duration,
    /// Whether tunnels write a line every hour.
    pub(super) hourly: bool,
    pub(super) tunnels: Tunnels,
    pub(super) peers: Arc<Peers>,
    /// Those of every core.
    pub(super) all_tunnels: Vec<Tunnels>,
    pub(super) reports: Arc<Reports>,
    pub(super) permits: Permits,
    pub(super) watch: DrainWatch,
    pub(super) exit: watch::Receiver<bool>,
}

impl Core {
    pub(super) fn run(self) {
        match runtime() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => tracing::error!(error = %Chain(&error), "a core cannot start"),
        }
    }

    async fn serve(self) {
        let Self {
            doors,
            gate,
            rules,
            dialer,
            ledger,
            meters,
            alarms,
            counters,
            intake,
            forward,
            native_roots,
            pseudonym,
            idle_timeout,
            hourly,
            tunnels,
            peers,
            all_tunnels,
            reports,
            permits,
            watch,
            mut exit,
        } = self;
        let scratch = Scratch::new();
        let ids = Ids::new(seed());
        let idle = Idle::new(forward.idle_connections as usize, forward.idle_timeout);
        let service = Rc::new(Service {
            gate,
            rules,
            dialer,
            ledger,
            meters: Arc::clone(&meters),
            alarms,
            counters,
            intake,
            tunnels: tunnels.clone(),
            scratch,
            reports,
            ids,
            forward,
            pseudonym,
            origin_tls: OriginTls::new(native_roots),
            idle: idle.clone(),
            event_limit: idle_timeout,
        });
        for (terms, socket) in doors {
            let socket = match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::error!(listener = %terms.borrow().listener.name, error = %Chain(&error), "a core cannot serve a listener");
                    return;
                }
            };
            let door = Door {
                terms,
                permits: permits.clone(),
                meters: Arc::clone(&meters),
                service: Rc::clone(&service),
                watch: watch.clone(),
            };
            tokio::task::spawn_local(door.accept(socket));
        }
        drop(service);
        tokio::task::spawn_local(sweep(tunnels.clone(), idle, idle_timeout, hourly, meters));
        tokio::task::spawn_local(watch_peers(peers, tunnels.clone(), all_tunnels));
        let until = watch.view();
        drop(watch);
        tokio::task::spawn_local(end_tunnels(until, tunnels));
        // An error means that the control thread is gone: nobody would tell this core to end any more.
        let _ = exit.wait_for(|exit| *exit).await;
    }
}

pub(super) fn seed() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's random keys differ between processes and calls; ids need no more than that.
    RandomState::new().hash_one(thread::current().id()) as u32
}

/// Ends idle tunnels, has old ones write their line, lets go of origin connections that nobody needs, and counts bytes, a
/// few times within every idle limit.
async fn sweep(
    tunnels: Tunnels,
    idle: Idle,
    idle_timeout: Duration,
    hourly: bool,
    meters: Arc<Meters>,
) {
    let mut ticks = interval((idle_timeout / 8).clamp(Duration::from_millis(100), SWEEP));
    loop {
        let now = ticks.tick().await;
        let (up, down) = tunnels.sweep(idle_timeout, hourly, now);
        meters.tunnel_bytes(up, down);
        idle.sweep(now);
    }
}

/// Watches what the tunnels of a core show of their peers. Those that have to look at their sockets do so a few at a time:
/// others wait for this core, too.
async fn watch_peers(peers: Arc<Peers>, own: Tunnels, all: Vec<Tunnels>) {
    const AT_A_TIME: usize = 100;
    let mut ticks = interval(peers.pace());
    // A core that was held up has no rounds to make up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0.. {
        let now = ticks.tick().await;
        for some in peers.watch(&own, &all, round, now).chunks(AT_A_TIME) {
            for tunnel in some {
                tunnel.ask_to_look();
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Ends the tunnels of a core when a drain's grace is over, and those that still come after it.
async fn end_tunnels(mut until: PhaseView, tunnels: Tunnels) {
    until.begun().await;
    let Phase::Draining {
        tunnels_until: Some(end),
    } = until.phase()
    else {
        return;
    };
    sleep_until(end).await;
    let mut ticks = interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        tunnels.end_all();
    }
}
