//! The control thread: names, the admin endpoint, the control socket and signals, and one loop over everything that can happen.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{interval, timeout};

use super::core::runtime;
use super::logkeeper::LogKeeper;
use super::reload::Reloader;
use crate::admin::control::{self, ControlSocket};
use crate::admin::{self, Window};
use crate::config::{Dns, Grace};
use crate::dial::answerer::Answerer;
use crate::dial::tls::NativeRoots;
use crate::lifecycle::orders::{Answer, Asked, By, Draining, Order, Refused};
use crate::lifecycle::signals::{Signal, Signals};
use crate::lifecycle::{Drain, notify};
use crate::relay::Tunnels;
use crate::telemetry::{AccessLog, AlarmBoard, Meters, Moment};

/// How long tunnels have to write their last line once they were told to end at once.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the access log may take to write what it holds when the program ends.
const LOG_FLUSH: Duration = Duration::from_secs(2);

const UPKEEP: Duration = Duration::from_secs(5);

/// Orders that wait their turn: one of each connection of the control socket, and of signals.
const ORDERS: usize = 16;

/// Everything that can wake the program.
#[derive(Debug)]
enum Event {
    Signal(Signal),
    Asked(Asked),
    CoreLost(usize),
    /// Everything that had to finish has finished.
    Drained,
}

/// The control thread.
pub(super) struct Control {
    pub(super) admin: TcpListener,
    pub(super) window: Window,
    pub(super) answerer: Answerer,
    pub(super) dns: Dns,
    pub(super) native_roots: NativeRoots,
    pub(super) meters: Arc<Meters>,
    pub(super) alarms: Arc<AlarmBoard>,
    pub(super) tunnels: Vec<Tunnels>,
    pub(super) drain: Drain,
    pub(super) grace: watch::Receiver<Grace>,
    pub(super) control_socket: Option<ControlSocket>,
    pub(super) reloader: Reloader,
    pub(super) exit: watch::Sender<bool>,
    pub(super) cores: Vec<JoinHandle<()>>,
    pub(super) cores_lost: mpsc::Receiver<usize>,
    pub(super) log: AccessLog,
    pub(super) log_end: LogKeeper,
}

impl Control {
    pub(super) fn run(self, ready: &std::sync::mpsc::Sender<io::Result<()>>) -> u8 {
        match runtime() {
            Ok(runtime) => {
                let code = runtime.block_on(self.serve(ready));
                // A file that hangs must not keep the program from ending.
                runtime.shutdown_background();
                code
            }
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
            dns,
            native_roots,
            meters,
            alarms,
            tunnels,
            drain,
            grace,
            mut control_socket,
            reloader,
            exit,
            cores,
            mut cores_lost,
            log,
            log_end,
        } = self;
        let started = Signals::take().and_then(|signals| {
            let orders = control_socket.as_mut().and_then(ControlSocket::take);
            let orders = orders.map(tokio::net::UnixListener::from_std).transpose()?;
            Ok((signals, tokio::net::TcpListener::from_std(admin)?, orders))
        });
        let (mut signals, admin, orders) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = ready.send(Err(error));
                return 1;
            }
        };
        let window = Arc::new(window);
        let (order, mut asked) = mpsc::channel(ORDERS);
        if let Some(listener) = orders {
            let window = Arc::clone(&window);
            tokio::task::spawn_local(control::serve(listener, window, order));
        }
        let (reloads, to_reload) = mpsc::channel(ORDERS);
        tokio::task::spawn_local(reloader.run(to_reload));
        tokio::task::spawn_local(admin::serve(admin, window));
        tokio::task::spawn_local(answerer.run(dns, native_roots));
        tokio::task::spawn_local(upkeep(meters, alarms));
        let log_end = log_end.start();
        let _ = ready.send(Ok(()));

        let mut ending = Ending::NotYet(drain);
        let code = loop {
            let event = tokio::select! {
                signal = signals.next() => Event::Signal(signal),
                Some(asked) = asked.recv() => Event::Asked(asked),
                Some(number) = cores_lost.recv() => Event::CoreLost(number),
                () = ending.finished() => Event::Drained,
            };
            match event {
                Event::Signal(Signal::Drain) => match ending {
                    Ending::NotYet(drain) => {
                        let by = By::Signal("signal");
                        (ending, _) = begin(drain, *grace.borrow(), &tunnels, by);
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
                    // Its thread says what came of it.
                    log.reopen();
                }
                Event::Signal(Signal::Reload) => {
                    // Nobody waits for an answer. A full queue means that the file will be read again anyway.
                    let (answer, _) = oneshot::channel();
                    let _ = reloads.try_send(Asked {
                        order: Order::Reload,
                        by: By::Signal("SIGHUP"),
                        answer,
                    });
                }
                Event::Asked(asked) => match (asked.order, ending) {
                    (Order::Reload, as_before) => {
                        ending = as_before;
                        // Where it is full, the dropped order tells the one who waits.
                        let _ = reloads.try_send(asked);
                    }
                    (Order::Drain, Ending::NotYet(drain)) => {
                        let begun;
                        (ending, begun) = begin(drain, *grace.borrow(), &tunnels, asked.by);
                        let _ = asked.answer.send(Answer::Draining(begun));
                    }
                    (Order::Drain, as_before @ Ending::Begun(_)) => {
                        ending = as_before;
                        let refused = Refused::because(
                            "it is draining already; a second SIGTERM ends it at once",
                        );
                        let _ = asked.answer.send(Answer::Refused(refused));
                    }
                },
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
        drop(control_socket);
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

/// Begins the drain, and says so to everybody whom it concerns.
fn begin(drain: Drain, grace: Grace, tunnels: &[Tunnels], by: By) -> (Ending, Draining) {
    let (limit, told) = match grace {
        Grace::For(grace) => (Some(grace), format!("{}s", grace.as_secs_f64())),
        Grace::Unlimited => (None, "unlimited".to_owned()),
    };
    drain.begin(limit);
    let open = tunnels.iter().map(Tunnels::count).sum();
    tracing::info!(
        action = "drain",
        %by,
        uid = by.uid(),
        pid = by.pid(),
        tunnels = open,
        tunnel_grace = told,
        "draining: no new connections; a second signal ends at once"
    );
    let status = format!("draining; {open} tunnels open, tunnel_grace {told}");
    drop(tokio::task::spawn_blocking(move || {
        notify::stopping(&status);
    }));
    let begun = Draining {
        tunnels: open,
        tunnel_grace: told,
    };
    (Ending::Begun(Box::pin(drain.finished())), begun)
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

async fn upkeep(meters: Arc<Meters>, alarms: Arc<AlarmBoard>) {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        meters.upkeep();
        alarms.tick(Moment::now());
    }
}
