//! One exchange's turn on its connection: how it is answered, and what becomes of the connection then.

use bytes::BytesMut;

use super::body::Framing;
use super::head::Head;
use super::headers;
use super::http1::{Wait, drained, read_over, refuse, send};
use super::reply::Refusal;
use super::{Arrival, Service};
use crate::exchange::{Reason, Side};
use crate::relay::ClientStream;
use crate::telemetry::Entry;

/// The largest body that is read over to keep a connection; a longer one costs more than a new connection.
const READ_OVER_MAX: u64 = 256 * 1024;

/// What becomes of the connection after an exchange.
#[derive(Debug)]
pub(crate) enum Next<Permit> {
    /// It became a tunnel, or the client is gone.
    Taken,
    /// It stays open for another request.
    Head {
        stream: ClientStream,
        arrival: Arrival<Permit>,
        /// What the client has sent of that request already.
        pending: BytesMut,
        challenged: bool,
    },
    /// Its last reply was sent.
    Close(ClientStream),
}

/// A connection whose request is being answered.
#[derive(Debug)]
pub(super) struct Turn<Permit> {
    pub(super) stream: ClientStream,
    pub(super) arrival: Arrival<Permit>,
    /// What came behind the head.
    pub(super) pending: BytesMut,
    pub(super) entry: Entry,
}

/// A refusal or failure on its way to the reply.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) details: String,
    pub(super) challenges: Vec<String>,
    /// Further fields of the reply.
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Refused {
    pub(super) fn new(reason: Reason, details: impl Into<String>) -> Self {
        Self {
            reason,
            details: details.into(),
            challenges: Vec::new(),
            fields: Vec::new(),
        }
    }
}

/// Whether the connection can go on after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Close,
    /// So many bytes of a body lie between here and the next request.
    Keep {
        read_over: u64,
    },
}

impl After {
    /// Bytes behind a refused CONNECT were meant for its target; they must not be read as a request.
    pub(super) fn connect(head: &Head, pending: &BytesMut) -> Self {
        if head.keep_alive() && pending.is_empty() {
            Self::Keep { read_over: 0 }
        } else {
            Self::Close
        }
    }

    /// While a CONNECT waited for its turn, too, bytes for its target may have been sent behind the head.
    pub(super) fn behind_a_wait(self, entry: &Entry) -> Self {
        if entry.limit_wait_us.is_some() {
            Self::Close
        } else {
            self
        }
    }

    /// A body of known, small size is read over. One in chunks may never come, as one that waits for a 100: of these
    /// nobody can tell where the next request begins.
    pub(super) fn forward(head: &Head, framing: Framing) -> Self {
        match framing {
            _ if !head.keep_alive() || headers::expects_continue(head) => Self::Close,
            Framing::None => Self::Keep { read_over: 0 },
            Framing::Length(read_over) if read_over <= READ_OVER_MAX => Self::Keep { read_over },
            Framing::Length(_) | Framing::Chunked => Self::Close,
        }
    }
}

impl<Permit> Turn<Permit> {
    /// Sends a refusal.
    pub(super) async fn refuse(
        mut self,
        service: &Service,
        refused: &Refused,
        after: After,
    ) -> Next<Permit> {
        let challenged = matches!(
            refused.reason,
            Reason::NoCredentials | Reason::BadCredentials | Reason::StaleNonce
        );
        // In a drain only the client that was asked for credentials may come back on this connection.
        let after = match after {
            After::Keep { .. } if !challenged && self.arrival.watch.is_draining() => After::Close,
            after => after,
        };
        let refusal = Refusal {
            reason: refused.reason,
            details: &refused.details,
            challenges: &refused.challenges,
            fields: &refused.fields,
            keep: after != After::Close,
        };
        if refuse(&mut self.stream, &mut self.entry, &refusal)
            .await
            .is_err()
        {
            return Next::Taken;
        }
        self.go_on(service, after, challenged).await
    }

    /// Sends an answer of our own.
    pub(super) async fn reply(
        mut self,
        service: &Service,
        (status, bytes): (u16, Vec<u8>),
        after: After,
    ) -> Next<Permit> {
        self.entry.status = Some(status);
        self.entry.setup = Some(self.entry.opened.elapsed());
        if send(&mut self.stream, &bytes).await.is_err() {
            return self.left(Reason::ClientGone);
        }
        self.entry.end(Reason::Finished);
        self.go_on(service, after, false).await
    }

    /// The origin's reply has gone out.
    pub(super) fn replied(mut self, keep: bool) -> Next<Permit> {
        self.entry.end(Reason::Finished);
        if keep {
            Next::Head {
                stream: self.stream,
                arrival: self.arrival,
                pending: self.pending,
                challenged: false,
            }
        } else {
            Next::Close(self.stream)
        }
    }

    /// A reply that was begun and will not be whole: it must not look so.
    pub(super) fn cut(mut self, reason: Reason, by: Side, reset: bool) -> Next<Permit> {
        self.entry.closed_by = Some(by);
        self.entry.end(reason);
        if reset {
            self.stream.reset_on_close();
        }
        Next::Taken
    }

    /// The client is gone.
    pub(super) fn left(mut self, reason: Reason) -> Next<Permit> {
        self.entry.closed_by = Some(Side::Client);
        self.entry.end(reason);
        Next::Taken
    }

    async fn go_on(self, service: &Service, after: After, challenged: bool) -> Next<Permit> {
        let Self {
            mut stream,
            mut arrival,
            mut pending,
            entry,
        } = self;
        // The line does not wait for a body that nobody wants.
        drop(entry);
        let After::Keep { read_over: length } = after else {
            return Next::Close(stream);
        };
        let patience = service.forward.body_timeout;
        let wait = if challenged {
            Wait::Challenged
        } else {
            Wait::Next
        };
        let read = tokio::select! {
            biased;
            read = read_over(&mut stream, &service.scratch, &mut pending, length, patience) => read,
            () = drained(&mut arrival.watch, wait, service.intake.head_timeout) => return Next::Taken,
        };
        match read {
            Ok(()) => Next::Head {
                stream,
                arrival,
                pending,
                challenged,
            },
            Err(_) => Next::Taken,
        }
    }
}
