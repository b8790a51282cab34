//! The clock of a connection's requests, read where the bytes change hands with the system: below HTTP and TLS, so that
//! neither their work nor the waiting for a turn on a busy core is taken for the network's.
//!
//! A request is one write here, as pushes are: of a larger one, it is the first that counts.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection's stream has seen.
#[derive(Debug, Clone, Default)]
pub(super) struct WireClock(Arc<Mutex<Seen>>);

/// When a request went out.
#[derive(Debug, Clone, Default)]
pub(super) struct Departure(Arc<OnceLock<Instant>>);

#[derive(Debug, Default)]
struct Seen {
    /// Handed over, and not written yet.
    waiting: Vec<Departure>,
    /// When bytes came last.
    heard: Option<Instant>,
}

/// A stream with a clock.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    clock: WireClock,
}

impl WireClock {
    /// The last byte of a request is with HTTP, and goes out with the next write.
    pub(super) fn depart(&self, departure: &Departure) {
        self.seen().waiting.push(departure.clone());
    }

    /// From a request's departure to the bytes that came last, which brought the head of its answer just now. Nothing
    /// where it was answered before it was all sent.
    pub(super) fn since(&self, departure: &Departure) -> Duration {
        let now = Instant::now();
        let heard = self.seen().heard.unwrap_or(now);
        departure.0.get().map_or(Duration::ZERO, |sent| {
            heard.saturating_duration_since(*sent)
        })
    }

    fn wrote(&self, begun: Instant) {
        for departure in self.seen().waiting.drain(..) {
            departure.0.get_or_init(|| begun);
        }
    }

    fn heard(&self) {
        self.seen().heard = Some(Instant::now());
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Wire<S> {
    pub(super) fn over(stream: S) -> Self {
        Self {
            stream,
            clock: WireClock::default(),
        }
    }

    pub(super) fn clock(&self) -> WireClock {
        self.clock.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.clock.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Before, since the other side may answer before the call returns.
        let begun = Instant::now();
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.clock.wrote(begun);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    /// The work before the write and after the read is long, and is not counted.
    #[tokio::test]
    async fn only_what_happens_between_the_write_and_the_read_is_timed() {
        let (near, mut far) = duplex(1024);
        let mut wire = Wire::over(near);
        let (clock, departure) = (wire.clock(), Departure::default());
        clock.depart(&departure);
        assert_eq!(clock.since(&departure), Duration::ZERO, "not sent yet");
        let handed_over = Instant::now();
        while handed_over.elapsed() < Duration::from_millis(3) {}
        let before_write = Instant::now();
        wire.write_all(b"push").await.unwrap();
        far.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        wire.read_exact(&mut answer).await.unwrap();
        let after_read = Instant::now();
        while after_read.elapsed() < Duration::from_millis(3) {}
        let took = clock.since(&departure);
        assert!(
            took > Duration::ZERO && took <= after_read - before_write,
            "{took:?}"
        );
        // What is written later belongs to others.
        wire.write_all(b"more").await.unwrap();
        assert_eq!(clock.since(&departure), took);
    }
}
