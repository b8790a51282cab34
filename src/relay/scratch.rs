//! The one read buffer of a core. Borrowed for the length of one poll, so that idle streams hold none.

use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Measured: 64 KiB keeps small exchanges at two reads and two writes, and bulk within reach of larger buffers.
const SIZE: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Scratch(Rc<RefCell<Box<[u8]>>>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; SIZE].into_boxed_slice())))
    }

    /// Reads what is there, and shows it; 0 is the end.
    pub(crate) async fn read(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        mut show: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut scratch = self.borrow();
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut buf))?;
            show(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
        .await
    }

    /// The buffer, until the guard goes; a core polls one task at a time, so nobody else has it.
    pub(crate) fn borrow(&self) -> RefMut<'_, Box<[u8]>> {
        self.0.borrow_mut()
    }
}
