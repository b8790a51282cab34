//! The status page's pulse: one look at everything per tick, sent to all who watch. While nobody does, only the curves go
//! on.
//!
//! Bounded: so many watchers, each with room for a state or two. Nobody waits for one who reads slowly; it is let go. And
//! since the system takes a lot for one who does not read at all, the one who came first makes room for the next.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::figures::Figures;
use super::glance::Glance;
use super::history::{History, PERIOD};
use super::{Window, page};
use crate::relay::Tunnels;
use crate::telemetry::json;

/// People who watch at a time, fewer than the listener has places: scrapers must find one.
pub(super) const WATCHERS_MAX: usize = 8;
/// One who was there for so long may have to make room for another.
const STAY: Duration = Duration::from_secs(15);
/// States that wait for their reader.
const WAITING: usize = 2;
/// A reader for whom so many states in a row had no room is let go.
const MISSES_MAX: u32 = 4;
/// The clock of the page: half of what is between two samples.
pub(super) const TICK: Duration = Duration::from_millis(2_500);

/// Looks, remembers and tells.
#[derive(Debug)]
pub(super) struct Pulse {
    window: Arc<Window>,
    history: Arc<Mutex<History>>,
    watchers: Mutex<Vec<Watcher>>,
}

#[derive(Debug)]
struct Watcher {
    news: mpsc::Sender<Bytes>,
    since: Instant,
    misses: u32,
    /// Dropped with it: its connection learns that it was let go.
    _held: oneshot::Sender<Infallible>,
}

/// The text of `/events`.
#[derive(Debug)]
pub(super) struct EventStream(mpsc::Receiver<Bytes>);

/// Resolves when a watcher was let go.
pub(super) type LetGo = oneshot::Receiver<Infallible>;

impl Pulse {
    pub(super) fn new(window: Arc<Window>) -> Self {
        Self {
            window,
            history: Arc::default(),
            watchers: Mutex::default(),
        }
    }

    pub(super) fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// The page as it is now.
    pub(super) async fn page(&self) -> Option<Bytes> {
        self.look(false, page::document).await
    }

    /// A place among the watchers; `None` where all were taken only just now.
    pub(super) fn watch(&self, now: Instant) -> Option<(EventStream, LetGo)> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|one| !one.news.is_closed());
        if watchers.len() >= WATCHERS_MAX {
            // They stand in the order in which they came.
            let first = watchers.first().map(|one| one.since);
            if first.is_none_or(|since| now < since + STAY) {
                return None;
            }
            watchers.remove(0);
        }
        let (news, stream) = mpsc::channel(WAITING);
        let (held, let_go) = oneshot::channel();
        // What stands between us may wait for a first byte before it passes anything on.
        let _ = news.try_send(Bytes::from_static(
            b": the state follows every few seconds\n\n",
        ));
        watchers.push(Watcher {
            news,
            since: now,
            misses: 0,
            _held: held,
        });
        Some((EventStream(stream), let_go))
    }

    /// Runs until it is dropped, through a drain too, whose beginning is told at once.
    pub(super) async fn run(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut phase = self.window.phase.clone();
        let mut sampled: Option<Instant> = None;
        let mut ended = phase.is_draining();
        loop {
            tokio::select! {
                now = ticks.tick() => {
                    let sample = sampled.is_none_or(|last| now >= last + PERIOD);
                    if sample {
                        sampled = Some(now);
                    }
                    self.beat(sample).await;
                }
                () = phase.begun(), if !ended => {
                    ended = true;
                    self.beat(false).await;
                }
            }
        }
    }

    async fn beat(&self, sample: bool) {
        let watched = {
            let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            watchers.retain(|one| !one.news.is_closed());
            !watchers.is_empty()
        };
        if watched {
            if let Some(event) = self.look(sample, state).await {
                self.tell(&event);
            }
        } else if sample {
            self.sample().await;
        }
    }

    /// A look at everything, shown. Beside this thread, which resolves names, too.
    async fn look<T: Send + 'static>(
        &self,
        sample: bool,
        show: impl FnOnce(&str, &str) -> T + Send + 'static,
    ) -> Option<T> {
        let (window, history) = (Arc::clone(&self.window), Arc::clone(&self.history));
        let looked = task::spawn_blocking(move || {
            let mut glance = Glance::gather(&window);
            let samples = {
                let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
                if sample {
                    history.note(&glance.figures, glance.tunnels, Instant::now());
                }
                glance.lately = history.lately(&glance.figures);
                history.samples()
            };
            show(&page::title(&glance), &page::main(&glance, &samples))
        });
        looked.await.ok()
    }

    /// Nobody is shown anything: the curves go on, for whoever comes next.
    async fn sample(&self) {
        let (window, history) = (Arc::clone(&self.window), Arc::clone(&self.history));
        let sampled = task::spawn_blocking(move || {
            let figures = Figures::read(&window.meters.render());
            let tunnels = window.tunnels.iter().map(Tunnels::count).sum();
            let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
            history.note(&figures, tunnels, Instant::now());
        });
        let _ = sampled.await;
    }

    fn tell(&self, event: &Bytes) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain_mut(|one| match one.news.try_send(event.clone()) {
            Ok(()) => {
                one.misses = 0;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                one.misses += 1;
                one.misses < MISSES_MAX
            }
        });
    }
}

#[derive(Serialize)]
struct State<'a> {
    title: &'a str,
    html: &'a str,
}

fn state(title: &str, html: &str) -> Bytes {
    let mut text = b"event: state\ndata: ".to_vec();
    json::append(&mut text, &State { title, html });
    text.extend_from_slice(b"\n\n");
    text.into()
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
