//! One client connection: head after head, each answered in its turn, until a CONNECT takes the socket.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::dispatch;
use super::head::{self, Head, HeadError, HeadLimits, Parsed};
use super::reply::Refusal;
use super::scan::Scan;
use super::turn::Next;
use super::{Arrival, Service};
use crate::exchange::Reason;
use crate::lifecycle::DrainWatch;
use crate::relay::{ClientStream, Scratch};
use crate::telemetry::{Before, Entry};

/// How long a reply may take to leave.
const REPLY: Duration = Duration::from_secs(2);

/// What came of waiting for a head.
#[derive(Debug)]
enum Opening {
    Head {
        head: Head,
        rest: BytesMut,
        complete: Instant,
    },
    /// The client left, or the wait ended, before a byte of a request had come: nothing to say, nothing to log.
    Nothing,
    Bad(HeadError),
    TimedOut,
    /// The client closed or broke in the middle of a head.
    Left(Reason),
}

/// Serves the connection to its end. `Permit` is handed on to the tunnel if there will be one.
pub(crate) async fn serve<Permit: 'static>(
    mut stream: ClientStream,
    mut arrival: Arrival<Permit>,
    service: Rc<Service>,
) {
    let first_deadline = Instant::from_std(arrival.accepted) + service.intake.head_timeout;
    let mut wait = Wait::First(first_deadline);
    let mut pending = BytesMut::new();
    loop {
        let opening = read_head(
            &mut stream,
            &service,
            &mut arrival.watch,
            wait,
            std::mem::take(&mut pending),
        )
        .await;
        let (mut entry, reason, details) = match opening {
            Opening::Nothing => return,
            Opening::Head {
                head,
                rest,
                complete,
            } => {
                let entry = service.open(&arrival.listener, arrival.client, complete.into_std());
                if let Some((reason, details)) = arrival.turned_away {
                    (entry, reason, details)
                } else {
                    match dispatch::dispatch(stream, arrival, &service, head, rest, entry).await {
                        Next::Taken => return,
                        Next::Head {
                            stream: ours,
                            arrival: back,
                            challenged,
                            pending: behind,
                        } => {
                            (stream, arrival, pending) = (ours, back, behind);
                            arrival.before = if challenged {
                                Before::Challenged
                            } else {
                                Before::Answered
                            };
                            wait = if challenged {
                                Wait::Challenged
                            } else {
                                Wait::Next
                            };
                            continue;
                        }
                        Next::Close(stream) => return stream.farewell(b"", &service.scratch).await,
                    }
                }
            }
            Opening::Bad(error) => (
                open_now(&service, &arrival),
                error.reason(),
                error.details(),
            ),
            Opening::TimedOut => (
                open_now(&service, &arrival),
                Reason::HeadTimeout,
                "the request head did not arrive in time",
            ),
            Opening::Left(reason) => (open_now(&service, &arrival), reason, ""),
        };
        let refusal = Refusal {
            reason,
            details,
            challenges: &[],
            fields: &[],
            keep: false,
        };
        if refuse(&mut stream, &mut entry, &refusal).await.is_ok() {
            drop(entry);
            stream.farewell(b"", &service.scratch).await;
        }
        return;
    }
}

fn open_now<Permit>(service: &Service, arrival: &Arrival<Permit>) -> Entry {
    service.open(&arrival.listener, arrival.client, std::time::Instant::now())
}

/// Refuses a connection whose first request was not even looked at.
pub(crate) async fn turn_away<Permit>(
    mut stream: ClientStream,
    arrival: Arrival<Permit>,
    service: &Service,
    reason: Reason,
    details: &str,
) {
    let mut entry = service.open(&arrival.listener, arrival.client, arrival.accepted);
    let refusal = Refusal {
        reason,
        details,
        challenges: &[],
        fields: &[],
        keep: false,
    };
    if refuse(&mut stream, &mut entry, &refusal).await.is_ok() {
        drop(entry);
        stream.farewell(b"", &service.scratch).await;
    }
}

/// Ends the exchange with the refusal's reason and sends its reply, if there is one.
pub(super) async fn refuse(
    stream: &mut ClientStream,
    entry: &mut Entry,
    refusal: &Refusal<'_>,
) -> io::Result<()> {
    entry.end(refusal.reason);
    let Some((status, bytes)) = refusal.render(entry.id) else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    entry.status = Some(status);
    entry.setup = Some(entry.opened.elapsed());
    send(stream, &bytes).await
}

/// Sends a reply; a client that does not take it within the farewell's time has lost it.
pub(super) async fn send(stream: &mut ClientStream, bytes: &[u8]) -> io::Result<()> {
    timeout(REPLY, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    })
    .await?
}

/// Reads a refused request's body over, so that the next request can be read behind it.
pub(super) async fn read_over(
    stream: &mut ClientStream,
    scratch: &Scratch,
    pending: &mut BytesMut,
    length: u64,
    patience: Duration,
) -> io::Result<()> {
    let mut left = usize::try_from(length).unwrap_or(usize::MAX);
    loop {
        let here = left.min(pending.len());
        pending.advance(here);
        left -= here;
        if left == 0 {
            return Ok(());
        }
        let more = scratch.read(stream, |bytes| pending.extend_from_slice(bytes));
        if timeout(patience, more).await?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How long, and through what, a head is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    /// A connection's first request has its deadline from the accept, also while a drain goes on.
    First(Instant),
    /// Between requests a client may be silent for long; a drain ends the wait.
    Next,
    /// The client was just asked for credentials; a drain leaves it time to answer.
    Challenged,
}

async fn read_head(
    stream: &mut ClientStream,
    service: &Service,
    watch: &mut DrainWatch,
    wait: Wait,
    pending: BytesMut,
) -> Opening {
    let intake = &service.intake;
    let limits = HeadLimits::new(intake);
    let mut reader = HeadReader {
        stream,
        scratch: &service.scratch,
        bytes: pending,
        limits,
        scan: Scan::default(),
    };
    let mut deadline = match wait {
        Wait::First(deadline) => deadline,
        // Its first bytes came with the request before.
        Wait::Next | Wait::Challenged if !reader.bytes.is_empty() => {
            Instant::now() + intake.head_timeout
        }
        Wait::Next | Wait::Challenged => {
            let idle_until = Instant::now() + intake.client_idle_timeout;
            let first = tokio::select! {
                first = timeout_at(idle_until, reader.more()) => first,
                () = drained(watch, wait, intake.head_timeout) => return Opening::Nothing,
            };
            match first {
                Ok(Ok(0) | Err(_)) | Err(_) => return Opening::Nothing,
                Ok(Ok(_)) => {}
            }
            Instant::now() + intake.head_timeout
        }
    };
    // A deadline that has passed while the handshake took its time still leaves a moment for bytes that are there.
    deadline = deadline.max(Instant::now() + Duration::from_millis(10));
    loop {
        match reader.parse() {
            Ok(Some(head)) => {
                // Most heads come alone, and then nothing needs to be shared out.
                let rest = if reader.bytes.len() > head.len() {
                    reader.bytes.split_off(head.len())
                } else {
                    BytesMut::new()
                };
                return Opening::Head {
                    head,
                    rest,
                    complete: Instant::now(),
                };
            }
            Ok(None) => {}
            Err(error) => return Opening::Bad(error),
        }
        match timeout_at(deadline, reader.more()).await {
            Ok(Ok(0)) if reader.bytes.is_empty() => return Opening::Nothing,
            Ok(Ok(0)) => return Opening::Left(Reason::ClientGone),
            Ok(Ok(_)) => {}
            Ok(Err(_)) if reader.bytes.is_empty() => return Opening::Nothing,
            Ok(Err(_)) => return Opening::Left(Reason::ClientReset),
            Err(_) if reader.bytes.is_empty() => return Opening::Nothing,
            Err(_) => return Opening::TimedOut,
        }
    }
}

/// Returns when a drain has to end the wait for the next request.
pub(super) async fn drained(watch: &mut DrainWatch, wait: Wait, patience: Duration) {
    watch.begun().await;
    if matches!(wait, Wait::Challenged) {
        tokio::time::sleep(patience).await;
    }
}

/// Collects a head. Holds bytes only while one is incomplete.
struct HeadReader<'a> {
    stream: &'a mut ClientStream,
    scratch: &'a Scratch,
    bytes: BytesMut,
    limits: HeadLimits,
    scan: Scan,
}

impl HeadReader<'_> {
    async fn more(&mut self) -> io::Result<usize> {
        self.scratch
            .read(self.stream, |bytes| self.bytes.extend_from_slice(bytes))
            .await
    }

    fn parse(&mut self) -> Result<Option<Head>, HeadError> {
        match head::parse(&self.bytes, &mut self.scan, &self.limits)? {
            Parsed::Complete(head) => Ok(Some(head)),
            Parsed::Partial => Ok(None),
        }
    }
}
