//! An origin's reply, from its connection to the client's, interim replies and trailers included.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::body::Framing;
use super::forward::{Ending, Exchange, Shared};
use super::forwarded::{self, ReplyFraming, Shape};
use super::head::Version;
use super::headers;
use super::turn::Refused;
use crate::exchange::{Reason, Side};
use crate::relay::forward::INTERIM_MAX;
use crate::relay::halves::WriteHalf;
use crate::relay::outgoing::Outgoing;
use crate::relay::{ForwardError, Origin};
use crate::telemetry::Entry;

/// As much of a reply as is gathered before it is written.
const GATHERED: usize = 32 * 1024;

impl Exchange<'_> {
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn download(
        &self,
        mut write: WriteHalf<'_, '_>,
        parts: Parts,
        body: Outgoing,
        mut origin: Origin,
        entry: &mut Entry,
        reopen: impl AsyncFn(&mut Entry, &[SocketAddr]) -> Result<Origin, Refused>,
        shared: &Shared,
    ) -> Ending {
        let (interim, informed) = mpsc::channel(INTERIM_MAX);
        let mut interims = (interim, informed);
        // A kept connection may have been closed while the request was on its way: what may be done twice and has no
        // body that is gone is sent again, wherever that leads.
        let again = (origin.reused && self.framing == Framing::None && self.retryable)
            .then(|| parts.clone());
        let spare = self.repeatable.then(|| parts.clone());
        let request = Request::from_parts(parts, body);
        let first = self
            .answered(
                &mut origin,
                request,
                spare,
                &mut interims,
                &mut write,
                entry,
                &reopen,
                shared,
            )
            .await;
        let unanswered = match (first, again) {
            (Err(NoReply::Failed(ForwardError::Unsent(request))), _) => Err(*request),
            (Err(NoReply::Failed(ForwardError::Closed | ForwardError::Reset)), Some(parts))
                if !entry.repeated =>
            {
                entry.repeated = true;
                Err(Request::from_parts(parts, Outgoing::empty()))
            }
            (answered, _) => Ok(answered),
        };
        let answered = match unanswered {
            Ok(answered) => answered,
            Err(request) => {
                origin = match reopen(entry, &[]).await {
                    Ok(origin) => origin,
                    Err(refused) => return Ending::Refused(refused),
                };
                entry.peer = Some(origin.peer);
                entry.reached();
                // A body that is under way is not whole yet, and what was sent twice is not sent a third time.
                self.answered(
                    &mut origin,
                    request,
                    None,
                    &mut interims,
                    &mut write,
                    entry,
                    &reopen,
                    shared,
                )
                .await
            }
        };
        let response = match answered {
            Ok(response) => response,
            Err(NoReply::ClientGone) => return Ending::Left(Reason::ClientGone),
            Err(NoReply::TimedOut) => {
                (self.blame)(origin.peer);
                return Ending::refused(
                    Reason::UpstreamTimeout,
                    "the origin did not answer in time",
                );
            }
            Err(NoReply::Failed(error)) => {
                // A kept connection may be closed at any time.
                if matches!(error, ForwardError::Closed | ForwardError::Reset) && !origin.reused {
                    (self.blame)(origin.peer);
                }
                return Ending::refused(error.reason(), error.details());
            }
        };
        // What was dialled to begin with has been told of.
        if origin.reused || entry.repeated {
            entry.reached();
        }
        if forwarded::is_switching(response.status()) {
            return self.switch(response, write, entry, shared).await;
        }
        // A login that counts for the whole connection must not be inherited by whoever comes next.
        let may_be_kept = !headers::logs_the_connection_in(self.head, response.headers());
        let ending = self.pass_on(response, write, entry, shared).await;
        if matches!(ending, Ending::Replied { .. }) && shared.uploaded.has_rung() && may_be_kept {
            tokio::task::spawn_local(self.idle.clone().keep(origin));
        }
        ending
    }

    /// Sends the request and waits for the head of its reply; interim replies go to the client as they come. With a
    /// `spare` of its head, the request goes to a second address too where the first one is silent or breaks: then
    /// `origin` is that of the two which answered.
    #[allow(clippy::too_many_arguments)]
    async fn answered(
        &self,
        origin: &mut Origin,
        request: Request<Outgoing>,
        spare: Option<Parts>,
        (interim, informed): &mut (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
        write: &mut WriteHalf<'_, '_>,
        entry: &mut Entry,
        reopen: &impl AsyncFn(&mut Entry, &[SocketAddr]) -> Result<Origin, Refused>,
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
                // HTTP/1.0 knows none, but that the origin is at work counts all the same.
                let bytes = if http11 {
                    forwarded::interim(status, fields, &pseudonym)
                } else {
                    Some(Vec::new())
                };
                if let Some(bytes) = bytes {
                    let _ = interim.try_send(bytes);
                }
            }
        };
        let mut answer =
            Box::pin(self.first_answer(origin, request, spare, told, entry, reopen, shared));
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
            shared.informed.set(true);
            if interim.starts_with(forwarded::CONTINUE) {
                shared.continued.ring();
            }
        }
    }

    /// The first reply of one origin, or of two.
    #[allow(clippy::too_many_arguments)]
    async fn first_answer(
        &self,
        origin: &mut Origin,
        request: Request<Outgoing>,
        spare: Option<Parts>,
        told: impl Fn(u16, &HeaderMap) + Clone + Send + Sync + 'static,
        entry: &mut Entry,
        reopen: &impl AsyncFn(&mut Entry, &[SocketAddr]) -> Result<Origin, Refused>,
        shared: &Shared,
    ) -> Result<Response<Incoming>, ForwardError> {
        let (peer, reused) = (origin.peer, origin.reused);
        let (other, response) = {
            let mut first = pin!(origin.send(request, told.clone()));
            let Some(parts) = spare else {
                return first.await;
            };
            let silent = async {
                shared.uploaded.heard().await;
                sleep(self.limits.second_address_after).await;
            };
            // What a broken connection leaves is the failure to be told where there is nothing else.
            let mut failure = tokio::select! {
                biased;
                answer = &mut first => match answer {
                    Err(error @ (ForwardError::Closed | ForwardError::Reset)) => Some(error),
                    answer => return answer,
                },
                () = silent => None,
            };
            // An origin that has said something is at work, and a body of which a part is gone cannot be sent again.
            let body = if shared.informed.get() || !shared.uploaded.has_rung() {
                None
            } else {
                self.kept(shared)
            };
            let Some(body) = body else {
                return match failure {
                    Some(error) => Err(error),
                    None => first.await,
                };
            };
            // A kept connection that was closed says nothing of its address.
            let avoid = (failure.is_none() || !reused).then_some(peer.0);
            let second = async {
                let mut other = reopen(entry, avoid.as_slice()).await.ok()?;
                // From here on it may be done twice, and is said so.
                entry.repeated = true;
                let answer = other.send(Request::from_parts(parts, body), told).await;
                answer.ok().map(|response| (other, response))
            };
            let mut second = pin!(second);
            loop {
                let waits = failure.is_none();
                tokio::select! {
                    biased;
                    answer = &mut first, if waits => match answer {
                        Ok(response) => return Ok(response),
                        Err(error) => failure = Some(error),
                    },
                    won = &mut second => match (won, failure) {
                        (Some(won), failure) => {
                            if failure.is_none() || !reused {
                                (self.blame)(peer);
                            }
                            break won;
                        }
                        (None, Some(error)) => return Err(error),
                        (None, None) => return first.await,
                    },
                }
            }
        };
        entry.peer = Some(other.peer);
        *origin = other;
        Ok(response)
    }

    /// The whole body again, if it was kept.
    fn kept(&self, shared: &Shared) -> Option<Outgoing> {
        let kept = shared.kept.borrow_mut().take()?;
        Some(match self.framing {
            Framing::None => Outgoing::empty(),
            Framing::Length(_) => Outgoing::whole(kept.bytes.freeze(), true, None),
            Framing::Chunked => Outgoing::whole(kept.bytes.freeze(), false, kept.trailers),
        })
    }

    async fn write(&self, write: &mut WriteHalf<'_, '_>, bytes: &[u8]) -> Result<(), NotTaken> {
        let patience = self.limits.body_timeout;
        let mut left = bytes;
        // A slow reader is not one that stands still: the clock starts anew with every byte it takes.
        while !left.is_empty() {
            match timeout(patience, write.write(left)).await {
                Ok(Ok(0) | Err(_)) => return Err(NotTaken::Reset),
                Ok(Ok(taken)) => left = &left[taken..],
                Err(_) => return Err(NotTaken::StandsStill),
            }
        }
        match timeout(patience, write.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(NotTaken::Reset),
            Err(_) => Err(NotTaken::StandsStill),
        }
    }

    /// The reply, head and body.
    async fn pass_on(
        &self,
        response: Response<Incoming>,
        mut write: WriteHalf<'_, '_>,
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
            authentication_info: self.authentication_info,
        };
        let mut out = forwarded::head(&parts, &shape, SystemTime::now());
        entry.status = Some(parts.status.as_u16());
        entry.setup = Some(entry.opened.elapsed());
        shared.begun.set(true);
        if let Some(watching) = self.watching {
            watching.answered(entry);
        }
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
                            None => match self.frame(&mut body, patience, entry).await {
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
                        if let (Some(watching), Some(data)) = (self.watching, frame.data_ref()) {
                            watching.reply(entry, data);
                        }
                        match frame.into_data().map_err(Frame::into_trailers) {
                            Ok(data) if data.len() < GATHERED => framing.data(&mut out, &data),
                            // What is large goes out as it is.
                            Ok(data) => {
                                framing.before(&mut out, data.len());
                                for piece in [&out[..], &data] {
                                    if let Err(not_taken) = self.write(&mut write, piece).await {
                                        return not_taken.ending();
                                    }
                                }
                                out.clear();
                                framing.after(&mut out);
                            }
                            Err(Ok(fields)) if trailers => {
                                break framing.end(&mut out, Some(&headers::trailers(&fields)));
                            }
                            Err(_) => {}
                        }
                        if self.toll.is_some() && length > 0 {
                            // What has come is not held back, but what follows.
                            if let Err(not_taken) = self.write(&mut write, &out).await {
                                return not_taken.ending();
                            }
                            out.clear();
                            self.pay(usize::try_from(length).unwrap_or(usize::MAX))
                                .await;
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
        if let Some(watching) = self.watching {
            watching.whole(entry);
        }
        if let Err(not_taken) = self.write(&mut write, &out).await {
            return not_taken.ending();
        }
        let held_back = headers::expects_continue(self.head)
            && !shared.continued.has_rung()
            && shared.up.get() == 0;
        if parts.status.is_success() && !shared.uploaded.has_rung() && !held_back {
            // An origin may answer before it has read everything, and still want the rest.
            tokio::select! {
                () = shared.uploaded.heard() => {}
                () = shared.unwanted.heard() => {}
            }
        }
        Ending::Replied { keep }
    }

    /// The next piece of the reply, while it may be waited for. Whoever watches tells in between what it knows.
    async fn frame(
        &self,
        body: &mut Incoming,
        patience: Duration,
        entry: &mut Entry,
    ) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, Elapsed> {
        let end = Instant::now() + patience;
        if let Some(watching) = self.watching
            && let Some(due) = watching.due().filter(|due| *due < end)
        {
            match timeout_at(due, body.frame()).await {
                Ok(frame) => return Ok(frame),
                Err(_) => watching.look(entry),
            }
        }
        timeout_at(end, body.frame()).await
    }

    async fn switch(
        &self,
        response: Response<Incoming>,
        mut write: WriteHalf<'_, '_>,
        entry: &mut Entry,
        shared: &Shared,
    ) -> Ending {
        if !self.websocket || !headers::opens_websocket(response.headers()) {
            return Ending::refused(
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
