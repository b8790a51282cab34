//! A dialled stream becomes an origin's connection, with TLS of our own where the request is for `https`.
//!
//! Through a parent proxy that is TLS inside of its tunnel: the parent sees as little of it as of a CONNECT.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::Service;
use super::head::HeadLimits;
use super::turn::Refused;
use crate::dial::{Dialed, Way};
use crate::exchange::{Absolute, PeerAddr, Reason};
use crate::policy::Cleared;
use crate::relay::{Origin, UpstreamStream};
use crate::telemetry::Chain;

/// What was dialled, as the relay takes it.
pub(super) fn upstream(way: Way) -> UpstreamStream {
    match way {
        Way::Plain(tcp) => UpstreamStream::Plain(tcp),
        Way::Tls(tls) => UpstreamStream::Tls(tls),
    }
}

/// Makes a connected socket an origin's: TLS first, where it is asked for.
pub(super) async fn open(
    service: &Service,
    dialed: Dialed,
    cleared: &Cleared,
    absolute: &Absolute,
) -> Result<Origin, Refused> {
    let Dialed {
        stream,
        early,
        peer,
    } = dialed;
    // No origin speaks before it was asked.
    if !early.is_empty() {
        return Err(Refused::new(
            Reason::BadReply,
            "what came through the parent proxy is not the origin's",
        ));
    }
    let stream = match (absolute.tls, stream) {
        (false, stream) => upstream(stream),
        (true, Way::Plain(tcp)) => shake(service, tcp, peer, cleared)
            .await
            .map(|tls| UpstreamStream::Tls(Box::new(tls)))?,
        (true, Way::Tls(outer)) => shake(service, *outer, peer, cleared)
            .await
            .map(|tls| UpstreamStream::Twice(Box::new(tls)))?,
    };
    let head_bytes = HeadLimits::new(&service.intake).head_bytes;
    Origin::open(
        stream,
        absolute.tls,
        peer,
        cleared.clone(),
        head_bytes,
        Instant::now(),
    )
    .await
    .map_err(|error| Refused::new(error.reason(), error.details()))
}

async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    service: &Service,
    stream: S,
    peer: PeerAddr,
    cleared: &Cleared,
) -> Result<TlsStream<S>, Refused> {
    let destination = cleared.destination();
    let trust = destination
        .ca
        .as_ref()
        .map(|ca| Arc::clone(&ca.certificates));
    let patience = service.forward.handshake_timeout;
    let host = &cleared.target().host;
    let tls = &service.origin_tls;
    let shaken = tls.handshake(stream, host, &destination.name, &trust, patience);
    shaken.await.map_err(|error| {
        tracing::debug!(%peer, error = %Chain(&error), "no TLS with an origin");
        Refused::new(error.reason(), error.details())
    })
}
