//! The operator's window: what runs, how it goes, and nothing that could change it.
//!
//! The control socket beside it (`control.rs`) is where something can be asked for. Here: a listener of its own, read-only, on the control thread. It waits for nobody for long, keeps few connections, and
//! no secret comes in here that could be shown: the configuration arrives with its secrets already hidden.

mod alarm_list;
mod alarms;
pub(crate) mod control;
mod counters;
mod deep;
mod destination_list;
pub(crate) mod destinations;
mod events;
mod failing;
mod figures;
mod findings;
mod glance;
mod history;
mod markup;
pub(crate) mod off_dns;
mod page;
mod parts;
mod places;
mod plot;
mod status;
mod tables;
mod tiles;
mod tunnels;
mod views;
mod would_refuse;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{self, Instant};

use self::events::{LetGo, Pulse};
use self::places::{Place, Places, Room, Stage};
use crate::config::diff::Change;
use crate::dial::health::HealthBook;
use crate::dial::resolve::Resolver;
use crate::exchange::ListenerName;
use crate::lifecycle::PhaseView;
use crate::policy::Reports;
use crate::relay::Tunnels;
use crate::telemetry::habits::{Habit, Who};
use crate::telemetry::{AlarmBoard, GuideCounters, Habits, Meters, Reached};

/// Connections at a time; more wait in the backlog until one of these gives up its place.
const CONNECTIONS_MAX: usize = 64;
/// A connection's life. A scraper connects again.
const LIFE: Duration = Duration::from_secs(10);
/// What an answer that is under way at the end of that life may still take.
const LAST_ANSWER: Duration = Duration::from_secs(2);
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What there is to see.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) meters: Arc<Meters>,
    /// Of every core.
    pub(crate) tunnels: Vec<Tunnels>,
    /// To compare with; nobody is asked.
    pub(crate) resolver: Resolver,
    pub(crate) phase: PhaseView,
    pub(crate) reports: Arc<Reports>,
    pub(crate) health: Arc<HealthBook>,
    pub(crate) alarms: Arc<AlarmBoard>,
    pub(crate) counters: Arc<GuideCounters>,
    pub(crate) reached: Arc<Reached>,
    /// Of every core.
    pub(crate) habits: Vec<Arc<Habits>>,
    pub(crate) loaded: watch::Receiver<Loaded>,
    pub(crate) started: Instant,
}

impl Window {
    /// What each client uses, on all cores.
    fn habits(&self) -> Vec<(Who, Habit)> {
        Habits::together(&self.habits)
    }
}

/// The configuration in force, as it may be shown.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// `None`: the embedded default.
    pub(crate) path: Option<PathBuf>,
    pub(crate) hash: String,
    pub(crate) loaded_at: SystemTime,
    /// With secrets hidden.
    pub(crate) shown: serde_json::Value,
    /// Why the last reload changed nothing.
    pub(crate) last_complaint: Option<String>,
    /// What the file says, and a restart only would apply.
    pub(crate) needs_restart: Vec<Change>,
    /// What is really bound: port 0 in the file is a number here.
    pub(crate) listeners: Vec<(ListenerName, SocketAddr)>,
}

/// Serves until it is dropped, and its connections with it.
pub(crate) async fn serve(listener: TcpListener, window: impl Into<Arc<Window>>) {
    let pulse = Arc::new(Pulse::new(window.into()));
    tokio::select! {
        () = accept(listener, &pulse) => {}
        () = pulse.run() => {}
    }
}

async fn accept(listener: TcpListener, pulse: &Arc<Pulse>) {
    let mut open = JoinSet::new();
    let mut places = Places::new(CONNECTIONS_MAX);
    let changed = Arc::new(Notify::new());
    let is_private = listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_loopback());
    let mut failing = false;
    loop {
        let room = places.make_room(Instant::now());
        let later = async {
            match room {
                Room::Later(Some(at)) => time::sleep_until(at).await,
                Room::Later(None) | Room::Free => pending().await,
            }
        };
        let accepted = tokio::select! {
            accepted = listener.accept(), if room == Room::Free => accepted,
            Some(_ended) = open.join_next() => continue,
            () = changed.notified(), if room != Room::Free => continue,
            () = later => continue,
        };
        match accepted {
            Ok((stream, _client)) => {
                failing = false;
                places.take(Instant::now(), |place| {
                    let (pulse, changed) = (Arc::clone(pulse), Arc::clone(&changed));
                    open.spawn(connection(stream, pulse, is_private, place, changed))
                });
                // It is to be looked at before the next one wants its place.
                yield_now().await;
            }
            // The client left before we came to it.
            Err(err) if err.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(err) => {
                if !failing {
                    tracing::warn!(error = %err, "the admin listener can't accept, it tries again");
                }
                failing = true;
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    pulse: Arc<Pulse>,
    is_private: bool,
    place: Place,
    changed: Arc<Notify>,
) {
    let watching = Arc::new(Mutex::new(None::<LetGo>));
    let watched = Arc::clone(&watching);
    let service = service_fn(move |request| {
        let (pulse, watched) = (Arc::clone(&pulse), Arc::clone(&watched));
        let (place, changed) = (place.clone(), Arc::clone(&changed));
        async move {
            place.is_now(Stage::Answering, Instant::now());
            let (answer, let_go) = views::answer(&pulse, &request, is_private).await;
            if let_go.is_some() {
                place.is_now(Stage::Watching, Instant::now());
                *watched.lock().unwrap_or_else(PoisonError::into_inner) = let_go;
            }
            let answered = Answered { place, changed };
            Ok::<_, Infallible>(answer.map(|body| Served {
                body,
                _answered: answered,
            }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How a connection ended is its client's business: a scraper that left is no change of ours.
    if time::timeout(LIFE, connection.as_mut()).await.is_ok() {
        return;
    }
    let let_go = watching
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    // Who watches may stay for as long as it reads what it is sent.
    if let Some(let_go) = let_go {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = let_go => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = time::timeout(LAST_ANSWER, connection).await;
}

/// An answer, until it was handed over.
#[derive(Debug)]
struct Served {
    body: views::Body,
    _answered: Answered,
}

#[derive(Debug)]
struct Answered {
    place: Place,
    changed: Arc<Notify>,
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.place.is_now(Stage::Idle, Instant::now());
        self.changed.notify_one();
    }
}

impl Body for Served {
    type Data = Bytes;
    type Error = <views::Body as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
