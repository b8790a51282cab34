//! A forwarded request's body, from the client's connection to the origin's.

use std::io;
use std::pin::pin;

use bytes::{Buf, BytesMut};
use tokio::time::timeout;

use super::body::{BodyError, Decoder, Piece};
use super::forward::{Ending, Exchange, Shared};
use super::headers;
use crate::exchange::Reason;
use crate::relay::halves::{Halves, ReadHalf};
use crate::relay::outgoing::{Feed, Unwanted};

impl Exchange<'_> {
    /// Hands the body on. Returns only when the exchange cannot go on; else it stays, and watches for a client that
    /// goes away.
    pub(super) async fn upload(
        &self,
        halves: &Halves<'_>,
        pending: &mut BytesMut,
        feed: Option<Feed>,
        shared: &Shared,
    ) -> Ending {
        let mut read = halves.read();
        let uploaded = match feed {
            None => Ok(()),
            Some(feed) => self.hand_on(&mut read, pending, feed, shared).await,
        };
        match uploaded {
            Ok(()) => {
                shared.uploaded.ring();
                if let Some(watching) = self.watching {
                    watching.sent();
                }
            }
            // The reply says why; the client's bytes are not for us to judge any more.
            Err(Stop::Unwanted) => {
                shared.unwanted.ring();
                halves.broken().await;
                return gone(shared);
            }
            Err(Stop::Ending(ending)) if shared.begun.get() => {
                return ending.after_the_reply_began();
            }
            Err(Stop::Ending(ending)) => return ending,
        }
        // A client that is done may close its side and wait, or send its next request. Either is left for later; more
        // than the beginning of a next request is not read, or a fast sender would fill our memory.
        if pending.is_empty() && self.more(&mut read, pending).await.is_err() {
            return gone(shared);
        }
        halves.broken().await;
        gone(shared)
    }

    /// Reads the body to its end, and hands on what comes.
    async fn hand_on(
        &self,
        read: &mut ReadHalf<'_, '_>,
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
                    let length = bytes.len();
                    shared.keep(&bytes);
                    if let Some(watching) = self.watching {
                        watching.request(&bytes);
                    }
                    match timeout(patience, feed.data(bytes.freeze())).await {
                        Ok(sent) => sent?,
                        Err(_) => {
                            return Err(Stop::refused(
                                Reason::UpstreamTimeout,
                                "the origin does not take the request's body",
                            ));
                        }
                    }
                    self.pay(length).await;
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
                    shared.keep_trailers(trailers.as_ref());
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

    async fn more(&self, read: &mut ReadHalf<'_, '_>, pending: &mut BytesMut) -> io::Result<usize> {
        self.scratch
            .read(read, |bytes| pending.extend_from_slice(bytes))
            .await
    }
}

/// The client's connection has broken.
fn gone(shared: &Shared) -> Ending {
    let left = Ending::Left(Reason::ClientReset);
    if shared.begun.get() {
        left.after_the_reply_began()
    } else {
        left
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
        Self::Ending(Ending::refused(reason, details))
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
