//! One forwarded exchange: the request's body goes up while the reply comes down, piece by piece.
//!
//! Nothing of either body is kept. Decides nothing about who may ask for what; it is given an open origin, and says
//! at the end what became of the reply.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::body::{BodyError, Decoder, Framing, Piece};
use super::forwarded::{self, ReplyFraming, Shape};
use super::head::{Head, HeadLimits, Version};
use super::headers::{self, Pseudonym};
use super::turn::Refused;

use crate::config;
use crate::exchange::{Reason, Side};
use crate::lifecycle::DrainWatch;
use crate::relay::forward::INTERIM_MAX;
use crate::relay::outgoing::{Feed, Outgoing, Unwanted};
use crate::relay::{ClientStream, ForwardError, Idle, Origin, Scratch};
use crate::telemetry::Entry;

/// As much of a reply as is gathered before it is written.
const GATHERED: usize = 32 * 1024;

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
    pub(super) scratch: &'a Scratch,
    pub(super) idle: &'a Idle,
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
struct Bell {
    rung: Cell<bool>,
    waiting: Notify,
}

impl Bell {
    fn ring(&self) {
        self.rung.set(true);
        self.waiting.notify_waiters();
    }

    fn has_rung(&self) -> bool {
        self.rung.get()
    }

    async fn heard(&self) {
        // One task does both: nothing can ring between the look and the wait.
        while !self.rung.get() {
            self.waiting.notified().await;
        }
    }
}

/// What the two directions tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// The request has been read, and handed on, to its end.
    uploaded: Bell,
    /// The origin wants the body that the client holds back.
    continued: Bell,
    /// A byte of the reply has gone out.
    begun: Cell<bool>,
    up: Cell<u64>,
    down: Cell<u64>,
}

impl Exchange<'_> {
    /// Sends the request to the origin and its reply to the client. `pending` has what the client sent behind its
    /// head, and in the end what it sent behind its request. `reopen` makes a new connection where a kept one turned
    /// out to be closed before it had carried the request.
    pub(super) async fn run(
        &self,
        stream: &mut ClientStream,
        pending: &mut BytesMut,
        parts: Parts,
        origin: Origin,
        entry: &mut Entry,
        reopen: impl AsyncFnOnce(&mut Entry) -> Result<Origin, Refused>,
    ) -> Ending {
        let shared = Shared::default();
        let (feed, body) = match self.framing {
            Framing::None => (None, Outgoing::empty()),
            Framing::Length(length) => fed(Some(length)),
            Framing::Chunked => fed(None),
        };
        let ending = {
            let (read, write) = tokio::io::split(stream);
            let up = pin!(self.upload(read, pending, feed, &shared));
            let down = self.download(write, parts, body, origin, entry, reopen, &shared);
            // What the client has sent is looked at first: a reply that comes with the request's last byte finds it read.
            tokio::select! {
                biased;
                ending = up => ending,
                ending = down => ending,
            }
        };
        entry.bytes_up = shared.up.get();
        entry.bytes_down = shared.down.get();
        ending
    }

    /// Hands the body on. Returns only when the exchange cannot go on; else it stays, and watches for a client that
    /// goes away.
    async fn upload(
        &self,
        mut read: ReadHalf<&mut ClientStream>,
        pending: &mut BytesMut,
        feed: Option<Feed>,
        shared: &Shared,
    ) -> Ending {
        let uploaded = match feed {
            None => Ok(()),
            Some(feed) => self.hand_on(&mut read, pending, feed, shared).await,
        };
        match uploaded {
            Ok(()) => shared.uploaded.ring(),
            // The reply says why; the client's bytes are not for us to judge any more.
            Err(Stop::Unwanted) => return std::future::pending().await,
            Err(Stop::Ending(ending)) if shared.begun.get() => {
                return ending.after_the_reply_began();
            }
            Err(Stop::Ending(ending)) => return ending,
        }
        // A client that is done may close its side and wait, or send its next request. Either is left for later.
        match self.more(&mut read, pending).await {
            Ok(_) => std::future::pending().await,
            Err(_) if shared.begun.get() => Ending::Cut {
                reason: Reason::ClientReset,
                by: Side::Client,
                reset: true,
            },
            Err(_) => Ending::Left(Reason::ClientReset),
        }
    }

    async fn hand_on(
        &self,
        read: &mut ReadHalf<&mut ClientStream>,
        pending: &mut BytesMut,
        feed: Feed,
        shared: &Shared,
    ) -> Result<(), Stop> {
        let mut decoder = Decoder::new(self.framing, self.head_limits);
        let patience = self.limits.body_timeout;
        let max = self.limits.body_max.0;
        // A client that waits for a 100 is silent by right until it has come.
        let mut held_back = headers::expects_continue(self.head);
        loop {
            let (done, piece) = decoder.read(pending).map_err(Stop::malformed)?;
            match piece {
                Piece::Data(range) => {
                    held_back = false;
                    let mut bytes = pending.split_to(done);
                    bytes.advance(range.start);
                    let up = shared.up.get() + bytes.len() as u64;
                    if max > 0 && up > max {
                        return Err(Stop::refused(
                            Reason::BodyTooLarge,
                            "request body too large",
                        ));
                    }
                    shared.up.set(up);
                    match timeout(patience, feed.data(bytes.freeze())).await {
                        Ok(sent) => sent?,
                        Err(_) => {
                            return Err(Stop::refused(
                                Reason::UpstreamTimeout,
                                "the origin does not take the request's body",
                            ));
                        }
                    }
                }
                Piece::More => {
                    pending.advance(done);
                    let more = self.more(read, pending);
                    let more = if held_back {
                        let mut more = pin!(more);
                        tokio::select! {
                            biased;
                            more = &mut more => Ok(more),
                            () = shared.continued.heard() => timeout(patience, more).await,
                        }
                    } else {
                        timeout(patience, more).await
                    };
                    match more {
                        Ok(Ok(0)) => return Err(Stop::Ending(Ending::Left(Reason::ClientGone))),
                        Ok(Ok(_)) => {}
                        Ok(Err(_)) => return Err(Stop::Ending(Ending::Left(Reason::ClientReset))),
                        Err(_) => {
                            return Err(Stop::refused(
                                Reason::BodyTimeout,
                                "the request's body stands still",
                            ));
                        }
                    }
                }
                Piece::End(trailers) => {
                    pending.advance(done);
                    let trailers = trailers.map(|fields| headers::trailers(&fields));
                    return match timeout(patience, feed.end(trailers)).await {
                        // An origin's connection that counted the bytes needs no end: it has all of them.
                        Ok(Ok(()) | Err(Unwanted)) => Ok(()),
                        Err(_) => Err(Stop::refused(
                            Reason::UpstreamTimeout,
                            "the origin does not take the request's body",
                        )),
                    };
                }
            }
        }
    }

    async fn more(
        &self,
        read: &mut ReadHalf<&mut ClientStream>,
        pending: &mut BytesMut,
    ) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut scratch = self.scratch.borrow();
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *read).poll_read(cx, &mut buf))?;
            pending.extend_from_slice(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
        .await
    }

    #[allow(clippy::too_many_arguments)]
    async fn download(
        &self,
        mut write: WriteHalf<&mut ClientStream>,
        parts: Parts,
        body: Outgoing,
        mut origin: Origin,
        entry: &mut Entry,
        reopen: impl AsyncFnOnce(&mut Entry) -> Result<Origin, Refused>,
        shared: &Shared,
    ) -> Ending {
        let (interim, informed) = mpsc::channel(INTERIM_MAX);
        let mut interims = (interim, informed);
        // What cannot have been acted on twice, and has no body that is gone, may be sent again.
        let again =
            (origin.reused && self.framing == Framing::None && parts.method.is_idempotent())
                .then(|| parts.clone());
        let request = Request::from_parts(parts, body);
        let first = self
            .answered(&mut origin, request, &mut interims, &mut write, shared)
            .await;
        let unanswered = match (first, again) {
            (Err(NoReply::Failed(ForwardError::Unsent(request))), _) => Err(*request),
            (Err(NoReply::Failed(ForwardError::Closed | ForwardError::Reset)), Some(parts)) => {
                Err(Request::from_parts(parts, Outgoing::empty()))
            }
            (answered, _) => Ok(answered),
        };
        let answered = match unanswered {
            Ok(answered) => answered,
            Err(request) => {
                origin = match reopen(entry).await {
                    Ok(origin) => origin,
                    Err(refused) => return Ending::Refused(refused),
                };
                entry.peer = Some(origin.peer);
                self.answered(&mut origin, request, &mut interims, &mut write, shared)
                    .await
            }
        };
        let response = match answered {
            Ok(response) => response,
            Err(NoReply::ClientGone) => return Ending::Left(Reason::ClientGone),
            Err(NoReply::TimedOut) => {
                return refused(Reason::UpstreamTimeout, "the origin did not answer in time");
            }
            Err(NoReply::Failed(error)) => return refused(error.reason(), error.details()),
        };
        if forwarded::is_switching(response.status()) {
            return self.switch(response, write, entry, shared).await;
        }
        let ending = self.pass_on(response, write, entry, shared).await;
        if matches!(ending, Ending::Replied { .. }) && shared.uploaded.has_rung() {
            tokio::task::spawn_local(self.idle.clone().keep(origin));
        }
        ending
    }

    /// Sends the request and waits for the head of its reply; interim replies go to the client as they come.
    async fn answered(
        &self,
        origin: &mut Origin,
        request: Request<Outgoing>,
        (interim, informed): &mut (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
        write: &mut WriteHalf<&mut ClientStream>,
        shared: &Shared,
    ) -> Result<Response<Incoming>, NoReply> {
        let late = async {
            if headers::expects_continue(self.head) {
                // The origin speaks first here: a 100, or its refusal.
                let spoke = async {
                    tokio::select! {
                        () = shared.continued.heard() => {}
                        () = shared.uploaded.heard() => {}
                    }
                };
                if timeout(self.limits.response_timeout, spoke).await.is_err()
                    && shared.up.get() == 0
                {
                    return;
                }
            }
            shared.uploaded.heard().await;
            sleep(self.limits.response_timeout).await;
        };
        let mut late = pin!(late);
        let told = {
            let interim = interim.clone();
            let pseudonym = self.pseudonym.clone();
            let http11 = self.head.version() == Version::Http11;
            // There is room for as many as an origin may send.
            move |status: u16, fields: &HeaderMap| {
                if http11 && let Some(bytes) = forwarded::interim(status, fields, &pseudonym) {
                    let _ = interim.try_send(bytes);
                }
            }
        };
        let mut answer = pin!(origin.send(request, told));
        loop {
            let interim = tokio::select! {
                biased;
                Some(interim) = informed.recv() => interim,
                answer = &mut answer => return answer.map_err(NoReply::Failed),
                () = &mut late => return Err(NoReply::TimedOut),
            };
            self.write(write, &interim)
                .await
                .map_err(|_| NoReply::ClientGone)?;
            if interim.starts_with(forwarded::CONTINUE) {
                shared.continued.ring();
            }
        }
    }

    async fn write(
        &self,
        write: &mut WriteHalf<&mut ClientStream>,
        bytes: &[u8],
    ) -> Result<(), NotTaken> {
        let written = async {
            write.write_all(bytes).await?;
            write.flush().await
        };
        match timeout(self.limits.body_timeout, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(NotTaken::Reset),
            Err(_) => Err(NotTaken::StandsStill),
        }
    }

    /// The reply, head and body.
    async fn pass_on(
        &self,
        response: Response<Incoming>,
        mut write: WriteHalf<&mut ClientStream>,
        entry: &mut Entry,
        shared: &Shared,
    ) -> Ending {
        let (parts, mut body) = response.into_parts();
        let framing = ReplyFraming::of(&parts, self.head, body.size_hint().exact());
        let trailers = framing == ReplyFraming::Chunked
            && headers::asks_for_trailers(self.head)
            && parts.headers.contains_key(http::header::TRAILER);
        // While the client still sends, nobody knows where its next request would begin.
        let keep = self.keep
            && !self.watch.is_draining()
            && shared.uploaded.has_rung()
            && framing != ReplyFraming::UntilClose;
        let shape = Shape {
            head: self.head,
            framing,
            trailers,
            keep,
            pseudonym: self.pseudonym,
        };
        let mut out = forwarded::head(&parts, &shape, SystemTime::now());
        entry.status = Some(parts.status.as_u16());
        entry.setup = Some(entry.opened.elapsed());
        shared.begun.set(true);
        let patience = if forwarded::is_event_stream(&parts.headers) {
            self.event_limit
        } else {
            self.limits.body_timeout
        };
        let reset = framing == ReplyFraming::UntilClose;
        if framing != ReplyFraming::Empty {
            loop {
                let frame = match poll_once(body.frame()).await {
                    Some(frame) if out.len() < GATHERED => frame,
                    waiting => {
                        if let Err(not_taken) = self.write(&mut write, &out).await {
                            return not_taken.ending();
                        }
                        out.clear();
                        match waiting {
                            Some(frame) => frame,
                            None => match timeout(patience, body.frame()).await {
                                Ok(frame) => frame,
                                Err(_) => {
                                    return Ending::Cut {
                                        reason: Reason::UpstreamTimeout,
                                        by: Side::Proxy,
                                        reset,
                                    };
                                }
                            },
                        }
                    }
                };
                match frame {
                    None => break framing.end(&mut out, None),
                    Some(Ok(frame)) => {
                        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                        shared.down.set(shared.down.get() + length);
                        match frame.into_data().map_err(Frame::into_trailers) {
                            Ok(data) => framing.data(&mut out, &data),
                            Err(Ok(fields)) if trailers => {
                                break framing.end(&mut out, Some(&headers::trailers(&fields)));
                            }
                            Err(_) => {}
                        }
                    }
                    Some(Err(error)) => {
                        // What came goes out, but no end: the client must see that there is none.
                        let _ = self.write(&mut write, &out).await;
                        let reason = match crate::relay::forward::told(&error) {
                            ForwardError::BadReply => Reason::BadReply,
                            _ => Reason::UpstreamReset,
                        };
                        return Ending::Cut {
                            reason,
                            by: Side::Upstream,
                            reset,
                        };
                    }
                }
            }
        }
        match self.write(&mut write, &out).await {
            Ok(()) => Ending::Replied { keep },
            Err(not_taken) => not_taken.ending(),
        }
    }

    async fn switch(
        &self,
        response: Response<Incoming>,
        mut write: WriteHalf<&mut ClientStream>,
        entry: &mut Entry,
        shared: &Shared,
    ) -> Ending {
        if !self.websocket || !headers::opens_websocket(response.headers()) {
            return refused(
                Reason::BadReply,
                "the origin switched to a protocol that nobody asked for",
            );
        }
        let (parts, body) = response.into_parts();
        let bytes = forwarded::switching(&parts, self.pseudonym, SystemTime::now());
        entry.status = Some(parts.status.as_u16());
        let response = Response::from_parts(parts, body);
        entry.setup = Some(entry.opened.elapsed());
        shared.begun.set(true);
        match self.write(&mut write, &bytes).await {
            Ok(()) => Ending::Upgraded(Box::new(response)),
            Err(not_taken) => not_taken.ending(),
        }
    }
}

impl Ending {
    /// The same ending where a reply can no longer be sent, since another has begun.
    fn after_the_reply_began(self) -> Self {
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

/// Why no head of a reply came.
#[derive(Debug)]
enum NoReply {
    Failed(ForwardError),
    TimedOut,
    ClientGone,
}

/// Why the client did not take what was written.
#[derive(Debug, Clone, Copy)]
enum NotTaken {
    Reset,
    StandsStill,
}

impl NotTaken {
    fn ending(self) -> Ending {
        let reason = match self {
            Self::Reset => Reason::ClientReset,
            Self::StandsStill => Reason::BodyTimeout,
        };
        Ending::Cut {
            reason,
            by: Side::Client,
            reset: true,
        }
    }
}

/// Why the body is handed on no further.
#[derive(Debug)]
enum Stop {
    /// The origin's connection takes no more of it.
    Unwanted,
    Ending(Ending),
}

impl Stop {
    fn refused(reason: Reason, details: &'static str) -> Self {
        Self::Ending(refused(reason, details))
    }

    fn malformed(error: BodyError) -> Self {
        Self::refused(error.reason(), error.details())
    }
}

impl From<Unwanted> for Stop {
    fn from(_: Unwanted) -> Self {
        Self::Unwanted
    }
}

fn refused(reason: Reason, details: &'static str) -> Ending {
    Ending::Refused(Refused::new(reason, details))
}

fn fed(length: Option<u64>) -> (Option<Feed>, Outgoing) {
    let (feed, body) = Outgoing::fed(length);
    (Some(feed), body)
}

/// What a future has to give at once.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
