//! A dialled stream becomes an origin's connection, with TLS of our own where the request is for `https`.
//!
//! Through a parent proxy that is TLS inside of its tunnel: the parent sees as little of it as of a CONNECT.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::Service;
use super::head::HeadLimits;
use super::turn::Refused;
use crate::config;
use crate::dial::{Dialed, Story, Way};
use crate::exchange::{Absolute, PeerAddr, Reason};
use crate::policy::Cleared;
use crate::relay::{Origin, UpstreamStream};
use crate::telemetry::{Chain, Entry};

/// What was dialled, as the relay takes it.
pub(super) fn upstream(way: Way) -> UpstreamStream {
    match way {
        Way::Plain(tcp) => UpstreamStream::Plain(tcp),
        Way::Tls(tls) => UpstreamStream::Tls(tls),
    }
}

/// Addresses that do no TLS, and are passed over for it, at most.
const DEAF_MAX: usize = 3;

/// An origin's connection: over what was dialled already, if that is given, else over one that is dialled now, to none
/// of the addresses to `avoid`. Where one connects and does no TLS, nothing was sent yet, and the next address is tried,
/// whatever the method.
#[allow(clippy::too_many_arguments)]
pub(super) async fn reach(
    service: &Service,
    cleared: &Cleared,
    absolute: &Absolute,
    mut dialed: Option<Dialed>,
    avoid: &[SocketAddr],
    trail: &str,
    entry: &mut Entry,
) -> Result<Origin, Refused> {
    let mut avoid = avoid.to_vec();
    let mut deaf: Vec<Refused> = Vec::new();
    loop {
        let next = match dialed.take() {
            Some(dialed) => dialed,
            None => {
                let mut story = Story::default();
                let begun = Instant::now();
                let dial = service
                    .dialer
                    .dial(cleared, begun, &avoid, trail, &mut story);
                let next = dial.await;
                note_further(entry, story);
                match (next, deaf.pop()) {
                    (Ok(next), _) => next,
                    (Err(_), Some(refused)) => return Err(refused),
                    (Err(error), None) => {
                        return Err(Refused::new(error.reason(), error.to_string()));
                    }
                }
            }
        };
        let (peer, others) = (next.peer, next.others);
        match open(service, next, cleared, absolute).await {
            Err(Unopened::Deaf(refused)) => {
                service.dialer.suspect(&cleared.destination().name, peer);
                if !others || deaf.len() == DEAF_MAX {
                    return Err(refused);
                }
                avoid.push(peer.0);
                deaf.push(refused);
            }
            Err(Unopened::Other(refused)) => return Err(refused),
            Ok(origin) => return Ok(origin),
        }
    }
}

/// A further dial of the same exchange.
fn note_further(entry: &mut Entry, story: Story) {
    let before = std::mem::take(&mut entry.attempts).into_vec();
    let attempts = before.into_iter().chain(story.attempts);
    entry.attempts = attempts.collect();
    if entry.resolved.is_empty() {
        entry.resolved = story.resolved.into();
    }
}

/// Why a connection is no origin's.
enum Unopened {
    /// It does no TLS.
    Deaf(Refused),
    Other(Refused),
}

/// Makes a connected socket an origin's: TLS first, where it is asked for.
async fn open(
    service: &Service,
    dialed: Dialed,
    cleared: &Cleared,
    absolute: &Absolute,
) -> Result<Origin, Unopened> {
    let Dialed {
        stream,
        early,
        peer,
        others,
    } = dialed;
    // No origin speaks before it was asked.
    if !early.is_empty() {
        return Err(Unopened::Other(Refused::new(
            Reason::BadReply,
            "what came through the parent proxy is not the origin's",
        )));
    }
    let stream = match (absolute.tls, stream) {
        (false, stream) => upstream(stream),
        (true, Way::Plain(tcp)) => shake(service, tcp, peer, others, cleared)
            .await
            .map(|tls| UpstreamStream::Tls(Box::new(tls)))
            .map_err(Unopened::Deaf)?,
        (true, Way::Tls(outer)) => shake(service, *outer, peer, others, cleared)
            .await
            .map(|tls| UpstreamStream::Twice(Box::new(tls)))
            .map_err(Unopened::Deaf)?,
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
    .map_err(|error| Unopened::Other(Refused::new(error.reason(), error.details())))
}

async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    service: &Service,
    stream: S,
    peer: PeerAddr,
    others: bool,
    cleared: &Cleared,
) -> Result<TlsStream<S>, Refused> {
    let destination = cleared.destination();
    let trust = destination
        .ca
        .as_ref()
        .map(|ca| Arc::clone(&ca.certificates));
    let config::Forward {
        handshake_timeout,
        second_address_after,
        ..
    } = service.forward;
    // Where there is another address, it need not take longer than an answer may.
    let patience = if others {
        handshake_timeout.min(second_address_after)
    } else {
        handshake_timeout
    };
    let host = &cleared.target().host;
    let tls = &service.origin_tls;
    let shaken = tls.handshake(stream, host, &destination.name, &trust, patience);
    shaken.await.map_err(|error| {
        tracing::debug!(%peer, error = %Chain(&error), "no TLS with an origin");
        Refused::new(error.reason(), error.details())
    })
}
