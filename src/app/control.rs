//! The control thread: names, the admin endpoint and signals, and one loop over everything that can happen.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};

use super::core::runtime;
use super::logkeeper::LogKeeper;
use crate::admin::{self, Loaded, Window};
use crate::config::Grace;
use crate::dial::resolve::Answerer;
use crate::gate::Rules;
use crate::lifecycle::Drain;
use crate::lifecycle::signals::{Signal, Signals};
use crate::relay::Tunnels;
use crate::telemetry::{AccessLog, Meters};

/// How long tunnels have to write their last line once they were told to end at once.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the access log may take to write what it holds when the program ends.
const LOG_FLUSH: Duration = Duration::from_secs(2);

const UPKEEP: Duration = Duration::from_secs(5);

/// Everything that can wake the program.
#[derive(Debug)]
enum Event {
    Signal(Signal),
    CoreLost(usize),
    /// Everything that had to finish has finished.
    Drained,
}

/// The control thread.
pub(super) struct Control {
    pub(super) admin: TcpListener,
    pub(super) window: Window,
    pub(super) answerer: Answerer,
    pub(super) meters: Arc<Meters>,
    pub(super) tunnels: Vec<Tunnels>,
    pub(super) drain: Drain,
    pub(super) grace: Grace,
    pub(super) exit: watch::Sender<bool>,
    pub(super) cores: Vec<JoinHandle<()>>,
    pub(super) cores_lost: mpsc::Receiver<usize>,
    pub(super) log: AccessLog,
    pub(super) log_end: LogKeeper,
    /// What a reload will replace.
    pub(super) _snapshots: (watch::Sender<Arc<Rules>>, watch::Sender<Loaded>),
}

impl Control {
    pub(super) fn run(self, ready: &std::sync::mpsc::Sender<io::Result<()>>) -> u8 {
        match runtime() {
            Ok(runtime) => runtime.block_on(self.serve(ready)),
            Err(error) => {
                let _ = ready.send(Err(error));
                1
            }
        }
    }

    async fn serve(self, ready: &std::sync::mpsc::Sender<io::Result<()>>) -> u8 {
        let Self {
            admin,
            window,
            answerer,
            meters,
            tunnels,
            drain,
            grace,
            exit,
            cores,
            mut cores_lost,
            log,
            log_end,
            _snapshots,
        } = self;
        let started = Signals::take()
            .and_then(|signals| Ok((signals, tokio::net::TcpListener::from_std(admin)?)));
        let (mut signals, admin) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = ready.send(Err(error));
                return 1;
            }
        };
        tokio::task::spawn_local(admin::serve(admin, window));
        tokio::task::spawn_local(answerer.run());
        tokio::task::spawn_local(upkeep(meters));
        let log_end = log_end.start();
        let _ = ready.send(Ok(()));

        let mut ending = Ending::NotYet(drain);
        let code = loop {
            let event = tokio::select! {
                signal = signals.next() => Event::Signal(signal),
                Some(number) = cores_lost.recv() => Event::CoreLost(number),
                () = ending.finished() => Event::Drained,
            };
            match event {
                Event::Signal(Signal::Drain) => match ending {
                    Ending::NotYet(drain) => {
                        let (limit, told) = match grace {
                            Grace::For(grace) => (Some(grace), format!("{}s", grace.as_secs_f64())),
                            Grace::Unlimited => (None, "unlimited".to_owned()),
                        };
                        drain.begin(limit);
                        let open: usize = tunnels.iter().map(Tunnels::count).sum();
                        tracing::info!(
                            tunnels = open,
                            tunnel_grace = told,
                            "draining: no new connections; a second signal ends at once"
                        );
                        ending = Ending::Begun(Box::pin(drain.finished()));
                    }
                    Ending::Begun(mut finished) => {
                        tracing::info!("ending at once");
                        for tunnels in &tunnels {
                            tunnels.end_all();
                        }
                        let _ = timeout(LAST_WORDS, &mut finished).await;
                        break 0;
                    }
                },
                Event::Signal(Signal::ReopenLogs) => {
                    log.reopen();
                    tracing::info!("access log reopened");
                }
                Event::Signal(Signal::Reload) => tracing::warn!(
                    "reload is not available yet: restart to apply a changed configuration"
                ),
                Event::Signal(Signal::Successor) => {
                    tracing::warn!("starting a successor is not available yet")
                }
                Event::CoreLost(number) => {
                    tracing::error!(
                        core = number,
                        "a core has ended by itself: ending, so that a supervisor can start the proxy anew"
                    );
                    break 1;
                }
                Event::Drained => break 0,
            }
        };
        exit.send_replace(true);
        for core in cores {
            let _ = core.join();
        }
        if !log_end.finish(LOG_FLUSH).await {
            tracing::warn!("the access log could not be written to its end");
        }
        tracing::info!("ended");
        code
    }
}

/// How far the end has come.
enum Ending {
    NotYet(Drain),
    Begun(std::pin::Pin<Box<dyn Future<Output = ()>>>),
}

impl Ending {
    async fn finished(&mut self) {
        match self {
            Self::NotYet(_) => std::future::pending().await,
            Self::Begun(finished) => finished.await,
        }
    }
}

async fn upkeep(meters: Arc<Meters>) {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        meters.upkeep();
    }
}
