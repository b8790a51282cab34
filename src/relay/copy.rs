//! Both ways at once through the core's scratch buffer: counted, with half-close kept.
//!
//! A direction holds bytes of its own only while its receiver takes them slower than they come.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Scratch;
use super::brake::Brake;
use super::exchanges::Exchanges;
use super::inspection::{Inspection, Ruling};
use super::live::Listing;
use crate::exchange::{Exchange, Side};

/// How the copying ended when both sides were left to themselves.
#[derive(Debug)]
pub(crate) enum CopyEnd {
    /// Both sides have closed; `first` did so first.
    Finished { first: Side },
    /// One side broke.
    Broken { side: Side, error: io::Error },
    /// One side no longer acknowledges what it is sent.
    Unacknowledged { side: Side },
    /// The client's opening is not for this target, and not one byte of it went upstream.
    Refused { tls: bool },
}

impl CopyEnd {
    /// The side that left; the proxy where neither did.
    fn by(&self) -> Side {
        match *self {
            Self::Finished { first: side } | Self::Broken { side, .. } => side,
            Self::Unacknowledged { .. } | Self::Refused { .. } => Side::Proxy,
        }
    }
}

/// What the client has sent already, and what is to be looked at before it goes on.
#[derive(Debug)]
pub(crate) struct Opening<'a, Book> {
    pub(crate) early: Box<[u8]>,
    pub(crate) inspection: Option<Box<Inspection>>,
    /// Where what the inspection learns is written down.
    pub(crate) exchange: &'a RefCell<Book>,
    /// Where the bytes are limited.
    pub(crate) brake: Option<Box<Brake>>,
}

/// Copies until both directions have ended or one side breaks. The opening goes upstream before anything else, once
/// it has passed its inspection; what comes from upstream does not wait for that. `dead` says which side, if any, has
/// to be given up although it neither closed nor broke.
// Not an `async fn`: that would keep its arguments twice for as long as the tunnel lives.
pub(crate) fn both_ways<C, U, Book>(
    client: &mut C,
    upstream: &mut U,
    opening: Opening<'_, Book>,
    scratch: &Scratch,
    live: &Listing,
    dead: impl Fn(&C, &U, &Listing) -> Option<Side>,
) -> impl Future<Output = CopyEnd>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
    Book: DerefMut<Target = Exchange>,
{
    let Opening {
        mut early,
        mut inspection,
        exchange,
        mut brake,
    } = opening;
    let mut up = Direction::new();
    let mut down = Direction::new();
    let mut first = None;
    let mut exchanges = Exchanges::default();
    poll_fn(move |cx| {
        let end = 'end: {
            if exchanges.is_waiting() {
                let told = exchanges.rest(micros(live.opened.elapsed()));
                live.told(told, &exchanges);
            }
            let mut note_up = |bytes: &[u8]| {
                let since_opened = live.opened.elapsed();
                live.traffic.note_up(bytes.len(), since_opened);
                if !bytes.is_empty() {
                    let told = exchanges.up(bytes, micros(since_opened));
                    live.told(told, &exchanges);
                }
            };
            if let Some(held) = &mut inspection {
                let early = std::mem::take(&mut early);
                let exchange = &mut *exchange.borrow_mut();
                match inspect(cx, held, &early, client, scratch, exchange, || note_up(&[])) {
                    Poll::Ready(Ok(Ruling::Pass)) => {
                        if let Some(held) = inspection.take() {
                            up.pass(held.into_held(), &mut note_up);
                        }
                    }
                    Poll::Ready(Ok(Ruling::Refuse { tls })) => {
                        break 'end CopyEnd::Refused { tls };
                    }
                    Poll::Ready(Err(error)) => {
                        let side = Side::Client;
                        break 'end CopyEnd::Broken { side, error };
                    }
                    Poll::Ready(Ok(Ruling::Hold)) | Poll::Pending => {}
                }
            } else if !early.is_empty() {
                if let Some(brake) = &mut brake {
                    brake.moved(early.len());
                }
                up.pass(std::mem::take(&mut early), &mut note_up);
            }
            let up_done = match &inspection {
                Some(_) => false,
                None => match up.advance(cx, client, upstream, scratch, &mut brake, note_up) {
                    Poll::Ready(Ok(())) => true,
                    Poll::Ready(Err(broken)) => {
                        break 'end broken.end(Side::Client, Side::Upstream);
                    }
                    Poll::Pending => false,
                },
            };
            if up.has_ended() {
                first.get_or_insert(Side::Client);
            }
            let note_down = |bytes: &[u8]| {
                let since_opened = live.opened.elapsed();
                live.traffic.note_down(bytes.len(), since_opened);
                if !bytes.is_empty() {
                    let told = exchanges.down(bytes, micros(since_opened));
                    live.told(told, &exchanges);
                }
            };
            let down_done = match down.advance(cx, upstream, client, scratch, &mut brake, note_down)
            {
                Poll::Ready(Ok(())) => true,
                // A client that has closed, and is then sent more, answers with a reset: it has ended all the same.
                Poll::Ready(Err(Broken::Writer(_))) if up_done => {
                    break 'end CopyEnd::Finished {
                        first: first.unwrap_or(Side::Client),
                    };
                }
                Poll::Ready(Err(broken)) => {
                    break 'end broken.end(Side::Upstream, Side::Client);
                }
                Poll::Pending => false,
            };
            if down.has_ended() {
                first.get_or_insert(Side::Upstream);
            }
            let inspecting = inspection.as_ref().is_some_and(|held| held.is_holding());
            live.traffic
                .set_holding(inspecting || up.holds() || down.holds());
            if up_done && down_done {
                CopyEnd::Finished {
                    first: first.unwrap_or(Side::Client),
                }
            } else if let Some(side) = dead(client, upstream, live) {
                CopyEnd::Unacknowledged { side }
            } else {
                return Poll::Pending;
            }
        };
        let told = exchanges.end(end.by(), micros(live.opened.elapsed()));
        live.told(told, &exchanges);
        Poll::Ready(end)
    })
}

fn micros(since_opened: Duration) -> u64 {
    u64::try_from(since_opened.as_micros()).unwrap_or(u64::MAX)
}

/// Reads what the client opens with until it is clear what becomes of it.
fn inspect<C: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    inspection: &mut Inspection,
    early: &[u8],
    client: &mut C,
    scratch: &Scratch,
    exchange: &mut Exchange,
    mut note: impl FnMut(),
) -> Poll<io::Result<Ruling>> {
    let mut ruling = inspection.read(early, exchange);
    while ruling == Ruling::Hold {
        let mut scratch = scratch.borrow();
        let room = inspection.room().min(scratch.len());
        let mut buf = ReadBuf::new(&mut scratch[..room]);
        ready!(Pin::new(&mut *client).poll_read(cx, &mut buf))?;
        ruling = match buf.filled() {
            [] => inspection.end(exchange),
            bytes => {
                // A client that is still sending its hello is not silent.
                note();
                inspection.read(bytes, exchange)
            }
        };
    }
    Poll::Ready(Ok(ruling))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Read,
    Write,
    /// A TLS receiver has taken the bytes, but not sent all of them.
    Flush,
    Shutdown,
    Done,
}

#[derive(Debug)]
struct Direction {
    /// Bytes that the receiver would not take yet, and how many of them it has taken since: never as many as 4 GiB.
    rest: Box<[u8]>,
    taken: u32,
    step: Step,
}

/// Which end of a direction broke.
enum Broken {
    Reader(io::Error),
    Writer(io::Error),
}

impl Broken {
    fn end(self, reader: Side, writer: Side) -> CopyEnd {
        match self {
            Self::Reader(error) => CopyEnd::Broken {
                side: reader,
                error,
            },
            Self::Writer(error) => CopyEnd::Broken {
                side: writer,
                error,
            },
        }
    }
}

impl Direction {
    fn new() -> Self {
        Self {
            rest: Box::default(),
            taken: 0,
            step: Step::Read,
        }
    }

    fn hold(&mut self, rest: Box<[u8]>) {
        (self.rest, self.taken) = (rest, 0);
    }

    /// Writes these bytes before any that are read.
    fn pass(&mut self, bytes: Box<[u8]>, mut note: impl FnMut(&[u8])) {
        note(&bytes);
        self.hold(bytes);
        self.step = Step::Write;
    }

    /// Whether its sender has closed.
    fn has_ended(&self) -> bool {
        matches!(self.step, Step::Shutdown | Step::Done)
    }

    /// Whether bytes were read that the writer has not taken yet.
    fn holds(&self) -> bool {
        matches!(self.step, Step::Write | Step::Flush)
    }

    /// Goes on until the reader is dry or the writer is full. `Ready` once the end has been passed on.
    fn advance<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        scratch: &Scratch,
        brake: &mut Option<Box<Brake>>,
        mut note: impl FnMut(&[u8]),
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match self.step {
                Step::Read => {
                    let piece = match brake {
                        Some(brake) => ready!(brake.poll_free(cx)),
                        None => usize::MAX,
                    };
                    let mut scratch = scratch.borrow();
                    let room = piece.min(scratch.len());
                    let mut buf = ReadBuf::new(&mut scratch[..room]);
                    ready!(Pin::new(&mut *reader).poll_read(cx, &mut buf))
                        .map_err(Broken::Reader)?;
                    let bytes = buf.filled();
                    if bytes.is_empty() {
                        self.step = Step::Shutdown;
                        continue;
                    }
                    note(bytes);
                    if let Some(brake) = brake {
                        brake.moved(bytes.len());
                    }
                    let taken = write_some(cx, writer, bytes).map_err(Broken::Writer)?;
                    self.hold(bytes[taken..].into());
                    self.step = Step::Write;
                }
                Step::Write => {
                    while let left @ [_, ..] = &self.rest[self.taken as usize..] {
                        let taken = ready!(Pin::new(&mut *writer).poll_write(cx, left))
                            .map_err(Broken::Writer)?;
                        if taken == 0 {
                            return Poll::Ready(Err(Broken::Writer(
                                io::ErrorKind::WriteZero.into(),
                            )));
                        }
                        self.taken += taken as u32;
                        // A slow receiver that takes what is held is not silent.
                        note(&[]);
                    }
                    self.hold(Box::default());
                    self.step = Step::Flush;
                }
                Step::Flush => {
                    ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Broken::Writer)?;
                    self.step = Step::Read;
                }
                Step::Shutdown => {
                    match ready!(Pin::new(&mut *writer).poll_shutdown(cx)) {
                        Ok(()) => {}
                        // The receiver has closed both of its sides by itself: nobody is left to be told.
                        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                        Err(error) => return Poll::Ready(Err(Broken::Writer(error))),
                    }
                    self.step = Step::Done;
                }
                Step::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Writes what the writer takes now. The caller polls again for the rest, which registers its waker.
fn write_some<W: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    writer: &mut W,
    bytes: &[u8],
) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match Pin::new(&mut *writer).poll_write(cx, &bytes[taken..]) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(more)) => taken += more,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests;
