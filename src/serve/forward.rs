//! One forwarded exchange: the request's body goes up while the reply comes down, piece by piece.
//!
//! Nothing of either body is kept. Decides nothing about who may ask for what; it is given an open origin, and says
//! at the end what became of the reply.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use http::request::Parts;
use http::{HeaderMap, Response};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::body::Framing;
use super::head::{Head, HeadLimits};
use super::headers::Pseudonym;
use super::pushes::Watching;
use super::turn::Refused;
use crate::config;
use crate::exchange::{PeerAddr, Reason, Side};
use crate::gate::Shares;
use crate::lifecycle::{DrainWatch, Phase};
use crate::relay::halves::Halves;
use crate::relay::outgoing::{Feed, Outgoing};
use crate::relay::{ClientStream, Idle, Origin, Scratch};
use crate::telemetry::Entry;

/// What the exchange is given.
pub(super) struct Exchange<'a> {
    pub(super) head: &'a Head,
    pub(super) framing: Framing,
    pub(super) websocket: bool,
    /// Whether the client may keep its connection, as far as the head goes.
    pub(super) keep: bool,
    pub(super) watch: &'a DrainWatch,
    pub(super) limits: &'a config::Forward,
    pub(super) head_limits: HeadLimits,
    pub(super) event_limit: Duration,
    pub(super) pseudonym: &'a Pseudonym,
    /// Our own proof that we know the password.
    pub(super) authentication_info: Option<&'a str>,
    pub(super) scratch: &'a Scratch,
    pub(super) idle: &'a Idle,
    /// Whether it may be sent again, should no answer come: what it asks for can be done twice.
    pub(super) repeatable: bool,
    /// Whether it may at least be sent again where a kept connection was closed under it.
    pub(super) retryable: bool,
    /// Where its bytes are limited.
    pub(super) toll: Option<&'a Shares>,
    /// Shown what passes, where it is a push or asks for a token.
    pub(super) watching: Option<&'a Watching<'a>>,
    /// Told of a peer that connected and then had no answer.
    pub(super) blame: &'a dyn Fn(PeerAddr),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Ending {
    /// The reply has gone out to its end.
    Replied { keep: bool },
    /// No byte of a reply has gone out.
    Refused(Refused),
    /// A reply was begun and will never be whole.
    Cut {
        reason: Reason,
        by: Side,
        /// A plain close would make it look whole.
        reset: bool,
    },
    /// Nobody is left to be answered.
    Left(Reason),
    /// The origin agreed to WebSocket, and the client was told.
    Upgraded(Box<Response<Incoming>>),
}

/// Rings once; whoever asks later hears it too.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    waiting: Notify,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.rung.set(true);
        self.waiting.notify_waiters();
    }

    pub(super) fn has_rung(&self) -> bool {
        self.rung.get()
    }

    pub(super) async fn heard(&self) {
        // One task does both: nothing can ring between the look and the wait.
        while !self.rung.get() {
            self.waiting.notified().await;
        }
    }
}

/// As much of a body as is kept to be sent again; a push has no more than some kilobytes.
pub(super) const KEPT_MAX: usize = 64 * 1024;

/// A body that may have to be sent again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) bytes: BytesMut,
    pub(super) trailers: Option<HeaderMap>,
}

impl Shared {
    fn new(keep: bool) -> Self {
        Self {
            kept: RefCell::new(keep.then(Kept::default)),
            ..Self::default()
        }
    }

    /// Keeps a piece of the body; all or nothing.
    pub(super) fn keep(&self, bytes: &[u8]) {
        let mut kept = self.kept.borrow_mut();
        match &mut *kept {
            Some(body) if body.bytes.len() + bytes.len() <= KEPT_MAX => {
                body.bytes.extend_from_slice(bytes);
            }
            _ => *kept = None,
        }
    }

    /// Keeps what stands behind a body.
    pub(super) fn keep_trailers(&self, trailers: Option<&HeaderMap>) {
        if let Some(body) = &mut *self.kept.borrow_mut() {
            body.trailers = trailers.cloned();
        }
    }
}

/// What the two directions tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The request has been read, and handed on, to its end.
    pub(super) uploaded: Bell,
    /// The origin's connection takes no more of the request.
    pub(super) unwanted: Bell,
    /// The origin wants the body that the client holds back.
    pub(super) continued: Bell,
    /// The body as far as it was read, where it may have to be sent again.
    pub(super) kept: RefCell<Option<Kept>>,
    /// The origin has said something, if no reply yet.
    pub(super) informed: Cell<bool>,
    /// A byte of the reply has gone out.
    pub(super) begun: Cell<bool>,
    pub(super) up: Cell<u64>,
    pub(super) down: Cell<u64>,
}

impl Exchange<'_> {
    /// Pays for bytes that have moved, and waits until more may.
    pub(super) async fn pay(&self, bytes: usize) {
        let now = Instant::now();
        let until = self.toll.map_or(now, |toll| toll.pay(bytes, now));
        if until > now {
            sleep_until(until).await;
        }
    }

    /// Sends the request to the origin and its reply to the client. `pending` has what the client sent behind its
    /// head, and in the end what it sent behind its request. `reopen` makes a new connection, to none of the addresses it
    /// is given: where a kept one turned out to be closed before it had carried the request, and where the request may be
    /// sent to a second address.
    pub(super) async fn run(
        &self,
        stream: &mut ClientStream,
        pending: &mut BytesMut,
        parts: Parts,
        origin: Origin,
        entry: &mut Entry,
        reopen: impl AsyncFn(&mut Entry, &[SocketAddr]) -> Result<Origin, Refused>,
    ) -> Ending {
        let shared = Shared::new(self.repeatable);
        let (feed, body) = match self.framing {
            Framing::None => (None, Outgoing::empty()),
            Framing::Length(length) => fed(Some(length)),
            Framing::Chunked => fed(None),
        };
        let ending = {
            let halves = Halves::new(stream);
            let up = pin!(self.upload(&halves, pending, feed, &shared));
            let write = halves.write();
            let down = self.download(write, parts, body, origin, entry, reopen, &shared);
            // What the client has sent is looked at first: a reply that comes with the request's last byte finds it read.
            tokio::select! {
                biased;
                ending = up => ending,
                ending = down => ending,
                () = self.grace_is_over() => {
                    let left = Ending::refused(Reason::Draining, "the proxy is ending");
                    if shared.begun.get() {
                        Ending::Cut {
                            reason: Reason::Draining,
                            by: Side::Proxy,
                            reset: true,
                        }
                    } else {
                        left
                    }
                }
            }
        };
        entry.bytes_up = shared.up.get();
        entry.bytes_down = shared.down.get();
        ending
    }
}

impl Exchange<'_> {
    /// Returns when a drain has left its tunnels their time: an event stream or a trickling body gets no more.
    async fn grace_is_over(&self) {
        let mut drain = self.watch.view();
        drain.begun().await;
        match drain.phase() {
            Phase::Draining {
                tunnels_until: Some(end),
            } => sleep_until(end).await,
            Phase::Draining {
                tunnels_until: None,
            }
            | Phase::Serving => std::future::pending().await,
        }
    }
}

impl Ending {
    pub(super) fn refused(reason: Reason, details: &'static str) -> Self {
        Self::Refused(Refused::new(reason, details))
    }

    /// The same ending where a reply can no longer be sent, since another has begun.
    pub(super) fn after_the_reply_began(self) -> Self {
        match self {
            Self::Refused(Refused { reason, .. }) | Self::Left(reason) => Self::Cut {
                reason,
                by: Side::Client,
                reset: true,
            },
            other => other,
        }
    }
}

fn fed(length: Option<u64>) -> (Option<Feed>, Outgoing) {
    let (feed, body) = Outgoing::fed(length);
    (Some(feed), body)
}
