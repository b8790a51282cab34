//! One address: connect, shake hands, ask once. Each step has its own deadline, and the next one comes only after it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, PeerIncompatible};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ask::{AskError, Reply, Talk};
use super::witness::{Judges, Seen};
use super::{ANSWER_PATIENCE, CONNECT_PATIENCE, Prober};
use crate::config::Destination;
use crate::dial::Way;
use crate::dial::connect::ConnectError;
use crate::dial::survey::Place;
use crate::dial::tls::{NativeRoots, server_name};
use crate::exchange::{Host, Reason, Target};
use crate::policy::Cleared;

/// The port of plain HTTP: nobody speaks TLS there.
pub(super) const HTTP: u16 = 80;

/// Whom a destination trusts, made once for all of its addresses.
#[derive(Debug, Clone)]
pub(super) struct Terms(Arc<Judges>);

/// What an address was like.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) place: Place,
    pub(super) connect: Result<Duration, ConnectError>,
    /// A parent proxy that accepts connections, and answers no CONNECT.
    pub(super) is_silent_parent: bool,
    /// `None`: it came not so far, or the port is that of plain HTTP.
    pub(super) tls: Option<Result<Shaken, TlsFailure>>,
    pub(super) reply: Option<Result<Reply, AskError>>,
}

#[derive(Debug)]
pub(super) struct Shaken {
    pub(super) took: Duration,
    pub(super) version: &'static str,
    pub(super) seen: Seen,
}

/// Why there was no TLS at all: a bad certificate is no reason here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    TimedOut,
    /// What came is no TLS.
    NotTls,
    Closed,
    /// It speaks versions that nobody should speak any more.
    Old,
    /// An alert, or no cipher or protocol in common.
    Refused,
    /// We refused: what was shown is no certificate of today.
    Unusable,
    /// No certificate can be for this host.
    Name,
}

impl Terms {
    pub(super) fn new(native: &NativeRoots, destination: &Destination) -> Self {
        let extra = destination.ca.as_ref();
        Self::trusting(native, extra.map_or(&[][..], |ca| &ca.certificates))
    }

    pub(super) fn trusting(native: &NativeRoots, extra: &[CertificateDer<'static>]) -> Self {
        Self(Arc::new(Judges::new(native, extra)))
    }

    /// A handshake, whatever the certificate: what is wrong with it is in what was seen.
    pub(super) async fn shake(
        &self,
        host: &Host,
        way: Way,
        patience: Duration,
    ) -> Result<(TlsStream<Way>, Shaken), TlsFailure> {
        let name = server_name(host).map_err(|_| TlsFailure::Name)?;
        let (config, witness) = self.0.witness().map_err(|_| TlsFailure::Refused)?;
        let connector = TlsConnector::from(Arc::new(config));
        let begun = Instant::now();
        let stream = match timeout(patience, connector.connect(name, way)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failure(&error)),
            Err(_) => return Err(TlsFailure::TimedOut),
        };
        let seen = witness.seen().ok_or(TlsFailure::Refused)?;
        let version = match stream.get_ref().1.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        };
        let shaken = Shaken {
            took: begun.elapsed(),
            version,
            seen,
        };
        Ok((stream, shaken))
    }
}

impl TlsFailure {
    /// With which an exchange would end.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::TimedOut => Reason::UpstreamTimeout,
            Self::NotTls
            | Self::Closed
            | Self::Old
            | Self::Refused
            | Self::Unusable
            | Self::Name => Reason::UpstreamTlsFailed,
        }
    }
}

impl Visit {
    pub(super) fn peer(&self) -> SocketAddr {
        self.place.peer()
    }
}

/// The name that a certificate has to have.
pub(super) fn host(target: &Target) -> String {
    match &target.host {
        Host::Name(name) => name.to_string(),
        Host::Addr(ip) => ip.to_string(),
    }
}

/// Visits one address.
pub(super) async fn visit(
    prober: &Prober,
    cleared: &Cleared,
    place: Place,
    terms: &Terms,
) -> Visit {
    let mut visit = Visit {
        place,
        connect: Err(ConnectError::TimedOut),
        is_silent_parent: false,
        tls: None,
        reply: None,
    };
    let (way, took) = match connect(prober, cleared, place).await {
        Ok(connected) => connected,
        Err(error) => {
            visit.connect = Err(error);
            if error == ConnectError::TimedOut && place.parent.is_some() {
                let knocking = prober.dialer.knock(cleared, place);
                let knocked = timeout(CONNECT_PATIENCE, knocking).await;
                visit.is_silent_parent = matches!(knocked, Ok(Ok(())));
            }
            return visit;
        }
    };
    visit.connect = Ok(took);
    visit.reply = if cleared.target().port == HTTP {
        Some(ask(way, false, cleared).await)
    } else {
        match shake(prober, cleared, way, terms).await {
            Ok((stream, shaken)) => {
                visit.tls = Some(Ok(shaken));
                let is_h2 = speaks_h2(&stream);
                Some(ask(stream, is_h2, cleared).await)
            }
            Err(failure) => {
                visit.tls = Some(Err(failure));
                None
            }
        }
    };
    visit
}

pub(super) async fn connect(
    prober: &Prober,
    cleared: &Cleared,
    place: Place,
) -> Result<(Way, Duration), ConnectError> {
    let patience = prober.dialer.budget(cleared).max(CONNECT_PATIENCE);
    let begun = Instant::now();
    let connecting = prober.dialer.visit(cleared, place, &prober.trail);
    match timeout(patience, connecting).await {
        Ok(Ok((way, _))) => Ok((way, begun.elapsed())),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ConnectError::TimedOut),
    }
}

/// With the patience of a forward.
pub(super) async fn shake(
    prober: &Prober,
    cleared: &Cleared,
    way: Way,
    terms: &Terms,
) -> Result<(TlsStream<Way>, Shaken), TlsFailure> {
    let host = &cleared.target().host;
    terms.shake(host, way, prober.handshake_timeout).await
}

pub(super) fn speaks_h2(stream: &TlsStream<Way>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

async fn ask<S>(stream: S, is_h2: bool, cleared: &Cleared) -> Result<Reply, AskError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let authority = cleared.target().to_string();
    let mut talk = Talk::open(stream, is_h2, &authority).await?;
    talk.head(0, ANSWER_PATIENCE).await
}

fn failure(error: &std::io::Error) -> TlsFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        // What is sent comes back, for one.
        Some(
            rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. },
        ) => TlsFailure::NotTls,
        Some(
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ),
        ) => TlsFailure::Old,
        Some(rustls::Error::InvalidCertificate(_)) => TlsFailure::Unusable,
        Some(_) => TlsFailure::Refused,
        None => TlsFailure::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{CertificateError, OtherError};

    #[test]
    fn who_refused_a_handshake_is_told_apart() {
        let check = |error: rustls::Error, wanted: TlsFailure| {
            let error = std::io::Error::other(error);
            assert_eq!(failure(&error), wanted, "{error}");
        };
        let old = std::io::Error::other("UnsupportedCertVersion");
        let old = CertificateError::Other(OtherError(Arc::new(old)));
        check(rustls::Error::InvalidCertificate(old), TlsFailure::Unusable);
        check(
            rustls::Error::InvalidCertificate(CertificateError::BadEncoding),
            TlsFailure::Unusable,
        );
        check(
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
            TlsFailure::Refused,
        );
    }
}
