//! Both directions of a client's connection in the hands of one task: one reads while the other writes.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::ClientStream;

/// A client's stream, borrowed for as long as both directions are in use.
#[derive(Debug)]
pub(crate) struct Halves<'a>(RefCell<&'a mut ClientStream>);

#[derive(Debug)]
pub(crate) struct ReadHalf<'h, 'a>(&'h Halves<'a>);

#[derive(Debug)]
pub(crate) struct WriteHalf<'h, 'a>(&'h Halves<'a>);

impl<'a> Halves<'a> {
    pub(crate) fn new(stream: &'a mut ClientStream) -> Self {
        Self(RefCell::new(stream))
    }

    pub(crate) fn read(&self) -> ReadHalf<'_, 'a> {
        ReadHalf(self)
    }

    pub(crate) fn write(&self) -> WriteHalf<'_, 'a> {
        WriteHalf(self)
    }

    /// Returns when the connection has broken: a reset, or a keepalive that nobody answered. For the few that nobody
    /// reads from any more; it costs a descriptor.
    pub(crate) async fn broken(&self) {
        let watch = self.0.borrow().error_watch();
        match watch {
            Ok(watch) => loop {
                match watch.ready(Interest::ERROR).await {
                    Ok(ready) if !ready.is_error() => {}
                    Ok(_) | Err(_) => return,
                }
            },
            // No descriptor is left for it: the write that fails will tell.
            Err(_) => std::future::pending().await,
        }
    }
}

impl AsyncRead for ReadHalf<'_, '_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for WriteHalf<'_, '_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self.0.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.0.borrow_mut()).poll_shutdown(cx)
    }
}
