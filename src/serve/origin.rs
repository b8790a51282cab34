//! A dialled stream becomes an origin's connection, with TLS of our own where the request is for `https`.
//!
//! Through a parent proxy that is TLS inside of its tunnel: the parent sees as little of it as of a CONNECT.

use std::net::SocketAddr;
use std::num::NonZeroU32;
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

/// Addresses that are passed over because they do no TLS, at most.
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
    let mut deaf = 0;
    let mut last = None;
    loop {
        let next = match dialed.take() {
            Some(dialed) => dialed,
            None => match further(service, cleared, &avoid, trail, entry).await {
                Ok(next) => next,
                Err(refused) => return Err(last.unwrap_or(refused)),
            },
        };
        let (peer, others) = (next.peer, next.others);
        match open(service, next, cleared, absolute).await {
            Err(Unopened::Deaf(refused)) => {
                service.dialer.suspect(cleared, peer);
                deaf += 1;
                if !others || deaf > DEAF_MAX {
                    return Err(refused);
                }
                avoid.push(peer.0);
                last = Some(refused);
            }
            Err(Unopened::Other(refused)) => return Err(refused),
            Ok(origin) => return Ok(origin),
        }
    }
}

/// Adds to an exchange's line what its dial told, also where that is given up.
struct Noting<'a> {
    entry: &'a mut Entry,
    story: Story,
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        note_story(self.entry, std::mem::take(&mut self.story));
    }
}

/// One more dial of an exchange.
async fn further(
    service: &Service,
    cleared: &Cleared,
    avoid: &[SocketAddr],
    trail: &str,
    entry: &mut Entry,
) -> Result<Dialed, Refused> {
    let mut noting = Noting {
        entry,
        story: Story::default(),
    };
    let begun = Instant::now();
    let dialer = &service.dialer;
    let dialed = dialer.dial(cleared, begun, avoid, trail, &mut noting.story);
    let dialed = Box::pin(dialed).await;
    dialed.map_err(|error| Refused::new(error.reason(), error.to_string()))
}

/// What a dial told stands behind what earlier ones of the same exchange did; times are the first one's.
pub(super) fn note_story(entry: &mut Entry, story: Story) {
    // They are kept as long as the tunnel lives, and grow no more.
    let before = std::mem::take(&mut entry.attempts).into_vec();
    entry.attempts = before.into_iter().chain(story.attempts).collect();
    if entry.resolved.is_empty() {
        entry.resolved = story.resolved.into();
    }
    entry.tried_all = story.tried_all;
    let dns = story.dns.map(|took| small(took.as_micros()));
    entry.dns_us = entry.dns_us.or(dns);
    let stale = story.dns_stale.map(|age| small(age.as_millis()));
    entry.dns_stale_ms = entry.dns_stale_ms.or(stale);
    let connect = story.connect.map(|took| small(took.as_micros()));
    entry.connect_us = entry.connect_us.or(connect);
}

/// A time that takes little room in a line that lives as long as its tunnel.
pub(super) fn small(number: u128) -> NonZeroU32 {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
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
            .map(|tls| UpstreamStream::Tls(Box::new(tls)))?,
        (true, Way::Tls(outer)) => shake(service, *outer, peer, others, cleared)
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
    .map_err(|error| Unopened::Other(Refused::new(error.reason(), error.details())))
}

async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    service: &Service,
    stream: S,
    peer: PeerAddr,
    others: bool,
    cleared: &Cleared,
) -> Result<TlsStream<S>, Unopened> {
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
        let refused = Refused::new(error.reason(), error.details());
        if error.is_deaf() {
            Unopened::Deaf(refused)
        } else {
            Unopened::Other(refused)
        }
    })
}
