//! Both ways at once through the worker's scratch buffer; a half-closed connection stays one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

/// One buffer for all tunnels of a worker: it holds nothing while none of them runs.
pub(super) type Scratch = Rc<RefCell<Box<[u8]>>>;

/// Copies until both sides have closed, or one breaks.
pub(super) async fn both_ways(
    a: &mut TcpStream,
    b: &mut TcpStream,
    scratch: &Scratch,
) -> io::Result<()> {
    let (mut there, mut back) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let scratch = &mut *scratch.borrow_mut();
        if !there.done && there.advance(cx, a, b, scratch)?.is_ready() && !back.done {
            ready!(Pin::new(&mut *b).poll_shutdown(cx))?;
        }
        if !back.done && back.advance(cx, b, a, scratch)?.is_ready() && !there.done {
            ready!(Pin::new(&mut *a).poll_shutdown(cx))?;
        }
        // The second end needs no shutdown: closing says the same.
        if there.done && back.done {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

#[derive(Debug, Default)]
struct Direction {
    /// What the writer would not take yet, from `start` on. Empty, and without memory, nearly always.
    rest: Box<[u8]>,
    start: usize,
    done: bool,
}

impl Direction {
    /// Ready when the reader has closed and everything was written. tokio's budget bounds the loop.
    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut TcpStream,
        writer: &mut TcpStream,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        loop {
            while self.start < self.rest.len() {
                let rest = &self.rest[self.start..];
                self.start += ready!(Pin::new(&mut *writer).poll_write(cx, rest))?;
            }
            if !self.rest.is_empty() {
                (self.rest, self.start) = (Box::default(), 0);
            }
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            if read.is_empty() {
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut *writer).poll_write(cx, read)? {
                Poll::Ready(taken) if taken == read.len() => {}
                Poll::Ready(taken) => self.rest = read[taken..].into(),
                Poll::Pending => {
                    self.rest = read.into();
                    return Poll::Pending;
                }
            }
        }
    }
}
