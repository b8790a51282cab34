//! An open way to a receiver, until it breaks.
//!
//! Keeps little of its own: what waits should wait in our queue, where it is counted, not in a socket that may break.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::batch::Batch;
use super::tls::ClientTerms;
use crate::config::{Collector, Transport};
use crate::dial::connect::ConnectError;
use crate::dial::operator::{OperatorDialer, OperatorError};
use crate::dial::tls::{CertificateProblem, certificate_problem};
use crate::exchange::Host;

/// For each address, and for the TLS handshake.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// A receiver that takes nothing for so long is no receiver.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// What the kernel may hold of ours: lost, and not known to be, when the receiver dies.
const SEND_BUFFER: usize = 32 * 1024;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

pub(super) enum Link {
    Datagrams(UdpSocket),
    Stream(Box<dyn Stream>),
}

/// Why there is no way to a receiver.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Dial(#[from] OperatorError),
    #[error("TLS: {source}{}", hint(source))]
    Tls { source: io::Error },
    #[error("the TLS handshake was not finished in time")]
    TlsTimedOut,
    #[error("it has closed the connection")]
    Closed,
    #[error("it takes nothing any more")]
    Stuck,
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// What two failures have in common that are the same news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Resolve,
    Connect(ConnectError),
    Io(io::ErrorKind),
    Certificate(CertificateProblem),
    Tls,
    /// It answered with this status.
    Status(u16),
    TimedOut,
    Other,
}

impl LinkError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Dial(OperatorError::Resolve(_) | OperatorError::OtherFamily) => Kind::Resolve,
            Self::Dial(OperatorError::Connect { error, .. }) => Kind::Connect(*error),
            Self::Dial(OperatorError::Socket { source, .. }) | Self::Broken(source) => {
                Kind::Io(source.kind())
            }
            Self::Tls { source } => {
                certificate_problem(source).map_or(Kind::Tls, Kind::Certificate)
            }
            Self::TlsTimedOut => Kind::Tls,
            Self::Closed | Self::Stuck => Kind::Other,
        }
    }
}

/// What the operator may not guess from the verifier's words.
fn hint(error: &io::Error) -> &'static str {
    match certificate_problem(error) {
        Some(CertificateProblem::Authority) => {
            ": its certificate is an authority's own (CA:TRUE). If the certificate itself stands in log.syslog_ca or alarms.ca, name the authority that signed it, or make one without CA:TRUE"
        }
        _ => "",
    }
}

impl Link {
    pub(super) async fn open(
        collector: &Collector,
        dialer: &OperatorDialer,
        terms: Option<&ClientTerms>,
    ) -> Result<Self, LinkError> {
        let Collector {
            transport,
            host,
            port,
        } = collector;
        if *transport == Transport::Udp {
            return Ok(Self::Datagrams(dialer.udp(host, *port).await?));
        }
        Ok(Self::Stream(stream(host, *port, dialer, terms).await?))
    }

    /// Returns when the receiver has gone. What it says is not read: syslog has no answers.
    pub(super) async fn broken(&mut self) -> LinkError {
        let mut ignored = [0; 256];
        loop {
            let read = match self {
                Self::Datagrams(socket) => socket.recv(&mut ignored).await.map(|_| 1),
                Self::Stream(stream) => stream.read(&mut ignored).await,
            };
            match read {
                Ok(0) => return LinkError::Closed,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
    }

    /// Sends all of the batch; after an error it holds what is to be sent again. `lost` hears of a message that is too
    /// long to be sent.
    pub(super) async fn send(
        &mut self,
        batch: &mut Batch,
        lost: impl Fn(&io::Error),
    ) -> Result<(), LinkError> {
        match self {
            Self::Datagrams(socket) => send_each(socket, batch, lost).await,
            Self::Stream(stream) => send_all(stream, batch).await,
        }
    }

    /// What was sent should arrive, although the program ends.
    pub(super) async fn close(self) {
        if let Self::Stream(mut stream) = self {
            let _ = timeout(WRITE_PATIENCE, stream.shutdown()).await;
        }
    }
}

/// A connection, with TLS where there are terms for it.
pub(super) async fn stream(
    host: &Host,
    port: u16,
    dialer: &OperatorDialer,
    terms: Option<&ClientTerms>,
) -> Result<Box<dyn Stream>, LinkError> {
    let tcp = dialer.tcp(host, port, CONNECT_PATIENCE).await?;
    SockRef::from(&tcp).set_send_buffer_size(SEND_BUFFER)?;
    let Some(terms) = terms else {
        return Ok(Box::new(tcp));
    };
    match timeout(CONNECT_PATIENCE, terms.handshake(host, tcp)).await {
        Ok(Ok(tls)) => Ok(Box::new(tls)),
        Ok(Err(source)) => Err(LinkError::Tls { source }),
        Err(_) => Err(LinkError::TlsTimedOut),
    }
}

async fn send_each(
    socket: &UdpSocket,
    batch: &mut Batch,
    lost: impl Fn(&io::Error),
) -> Result<(), LinkError> {
    while !batch.is_empty() {
        let length = batch.next().len();
        match socket.send(batch.next()).await {
            Ok(_) => {}
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) =>
            {
                lost(&error);
            }
            Err(error) => return Err(error.into()),
        }
        batch.take(length);
    }
    Ok(())
}

async fn send_all(stream: &mut (impl Stream + ?Sized), batch: &mut Batch) -> Result<(), LinkError> {
    while !batch.is_empty() {
        match timeout(WRITE_PATIENCE, stream.write(batch.next())).await {
            Ok(Ok(0)) => return Err(LinkError::Closed),
            Ok(Ok(written)) => batch.take(written),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(LinkError::Stuck),
        }
    }
    match timeout(WRITE_PATIENCE, stream.flush()).await {
        Ok(flushed) => Ok(flushed?),
        Err(_) => Err(LinkError::Stuck),
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Framing;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_that_a_dead_connection_took_in_part_goes_whole_over_the_next() {
        let mut batch = Batch::new(Framing::Counted);
        batch.push(b"first");
        batch.push(b"second");
        // It takes ten bytes, and never reads.
        let (mut ours, _theirs) = tokio::io::duplex(10);
        let error = send_all(&mut ours, &mut batch).await.unwrap_err();
        assert!(matches!(error, LinkError::Stuck), "{error}");
        batch.rewind();
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        send_all(&mut ours, &mut batch).await.unwrap();
        drop(ours);
        let mut arrived = String::new();
        theirs.read_to_string(&mut arrived).await.unwrap();
        assert_eq!(arrived, "6 second");
    }
}
