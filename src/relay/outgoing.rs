//! A request body on its way to the origin: fed from the client's connection, read by the origin's.
//!
//! A body whose feed goes away before its end is an error, never an end: half a request must not look whole.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces between the two connections: one is being sent while the next is read.
const PIECES: usize = 1;

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    End(Option<HeaderMap>),
}

/// Where the body's bytes are handed in.
#[derive(Debug)]
pub(crate) struct Feed(mpsc::Sender<Piece>);

/// The body as the origin's connection reads it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// `None`: it has ended.
    pieces: Option<mpsc::Receiver<Piece>>,
    /// Bytes still to come, where they were counted beforehand.
    left: Option<u64>,
}

/// The origin does not want the rest of the body.
#[derive(Debug)]
pub(crate) struct Unwanted;

/// The feed went away before the body's end.
#[derive(Debug)]
pub(crate) struct BrokeOff;

impl fmt::Display for BrokeOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request body broke off")
    }
}

impl std::error::Error for BrokeOff {}

impl Outgoing {
    /// No body at all.
    pub(crate) fn empty() -> Self {
        Self {
            pieces: None,
            left: Some(0),
        }
    }

    /// A body that is there already: of its own length, or in chunks.
    pub(crate) fn whole(bytes: Bytes, counted: bool, trailers: Option<HeaderMap>) -> Self {
        let left = counted.then_some(bytes.len() as u64);
        // Room for all there will be.
        let (feed, pieces) = mpsc::channel(2);
        if !bytes.is_empty() {
            let _ = feed.try_send(Piece::Data(bytes));
        }
        let _ = feed.try_send(Piece::End(trailers));
        Self {
            pieces: Some(pieces),
            left,
        }
    }

    /// A body of `length` bytes, or in chunks.
    pub(crate) fn fed(length: Option<u64>) -> (Feed, Self) {
        let (feed, pieces) = mpsc::channel(PIECES);
        let body = Self {
            pieces: Some(pieces),
            left: length,
        };
        (Feed(feed), body)
    }
}

impl Feed {
    /// Returns when there is room for the next piece.
    pub(crate) async fn data(&self, bytes: Bytes) -> Result<(), Unwanted> {
        self.0.send(Piece::Data(bytes)).await.map_err(|_| Unwanted)
    }

    pub(crate) async fn end(self, trailers: Option<HeaderMap>) -> Result<(), Unwanted> {
        self.0
            .send(Piece::End(trailers))
            .await
            .map_err(|_| Unwanted)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let Some(pieces) = &mut self.pieces else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(pieces.poll_recv(cx)) {
            Some(Piece::Data(bytes)) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Some(Ok(Frame::data(bytes)))
            }
            Some(Piece::End(trailers)) => {
                self.pieces = None;
                trailers.map(|fields| Ok(Frame::trailers(fields)))
            }
            None => {
                self.pieces = None;
                Some(Err(BrokeOff))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn an_ended_body_is_whole() {
        let (feed, body) = Outgoing::fed(None);
        let feeding = async {
            feed.data(Bytes::from_static(b"ab")).await.expect("wanted");
            feed.data(Bytes::from_static(b"c")).await.expect("wanted");
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", 3.into());
            feed.end(Some(trailers)).await.expect("wanted");
        };
        let (_, whole) = tokio::join!(feeding, body.collect());
        let whole = whole.expect("whole");
        assert_eq!(whole.trailers().expect("trailers")["x-sum"], "3");
        assert_eq!(whole.to_bytes(), "abc");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let (feed, body) = Outgoing::fed(Some(3));
        feed.data(Bytes::from_static(b"ab")).await.expect("wanted");
        drop(feed);
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn whoever_feeds_learns_that_nobody_reads() {
        let (feed, body) = Outgoing::fed(Some(3));
        drop(body);
        assert!(feed.data(Bytes::from_static(b"ab")).await.is_err());
    }

    #[test]
    fn an_empty_body_has_ended_before_it_began() {
        assert!(Outgoing::empty().is_end_stream());
        assert_eq!(Outgoing::empty().size_hint().exact(), Some(0));
    }
}
