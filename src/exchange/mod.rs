//! The nouns of one request: who asked, for what, how far it came, how it ended.
//!
//! Plain data. No I/O, no async, and nothing of ours is imported here.

pub(crate) mod absolute;
pub(crate) mod component;
pub(crate) mod names;
pub(crate) mod reason;
pub(crate) mod service;
pub(crate) mod target;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use absolute::Absolute;
pub(crate) use component::Component;
pub(crate) use names::{
    ClientAddr, ClientName, DestinationName, ExchangeId, ListenerName, PeerAddr, TrackingId,
    UserName,
};
pub(crate) use reason::{Fault, Reason};
pub(crate) use service::SubscriberService;
pub(crate) use target::{Host, Target};

/// What an exchange is: a tunnel (CONNECT), a forward (absolute-form), or nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Tunnel,
    Forward,
    /// No request line could be read, or it asked for neither.
    Unknown,
}

impl Kind {
    /// The word in metrics and logs.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Forward => "forward",
            Self::Unknown => "unknown",
        }
    }
}

/// How a client really logged in: a scheme of RFC 7235, or the certificate of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Basic,
    Digest,
    Certificate,
}

impl Scheme {
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Digest => "digest",
            Self::Certificate => "certificate",
        }
    }
}

/// A digest algorithm (RFC 7616 §3.2), `-sess` variants included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Algorithm {
    Md5,
    Sha256,
    Md5Sess,
    Sha256Sess,
}

impl Algorithm {
    /// The name on the wire, in the configuration, in metrics and in logs.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256Sess => "SHA-256-sess",
        }
    }
}

/// Which side ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Upstream,
    Proxy,
}

impl Side {
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

/// One attempt to connect to one address. `error` is a word of ours, never the system's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) peer: SocketAddr,
    pub(crate) took: Duration,
    /// `None`: it connected, or lost the race to one that did (`"lost"`).
    pub(crate) error: Option<&'static str>,
}

/// How far the TLS handshake inside a tunnel has come, as the headers of its records show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// A hello was sent.
    Begun,
    /// The client accepts the server.
    Through,
    /// One side refused the other, or the server left.
    Died,
}

/// What is known of one request so far. Starts with who came; every station adds what it learnt.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: ExchangeId,
    pub(crate) opened_at: SystemTime,
    /// When the head's last byte was there (the budgets count from it).
    pub(crate) opened: Instant,
    pub(crate) listener: ListenerName,
    pub(crate) client: ClientAddr,
    /// The `[[client]]` it was recognised as.
    pub(crate) sender: Option<ClientName>,
    pub(crate) user: Option<UserName>,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) kind: Kind,
    pub(crate) method: Option<Box<str>>,
    pub(crate) target: Option<Target>,
    pub(crate) destination: Option<DestinationName>,
    /// The server name of the TLS hello inside a tunnel, where it was looked for.
    pub(crate) sni: Option<Box<str>>,
    pub(crate) resolved: Box<[IpAddr]>,
    pub(crate) attempts: Box<[Attempt]>,
    /// Every address that could be dialled was, and each showed that it is dead, or is a parent's that got us no further.
    pub(crate) tried_all: bool,
    pub(crate) peer: Option<PeerAddr>,
    /// How long its name took, in microseconds: small, as tunnels keep it.
    pub(crate) dns_us: Option<NonZeroU32>,
    /// How far the name's answer was beyond its time, where no name server answered.
    pub(crate) dns_stale_ms: Option<NonZeroU32>,
    /// How long it took to connect, in microseconds.
    pub(crate) connect_us: Option<NonZeroU32>,
    /// From the head's last byte to our answer.
    pub(crate) setup: Option<Duration>,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    /// Inside a tunnel, as far as they can be told from outside.
    pub(crate) exchanges: Option<u32>,
    /// How far the TLS handshake inside a tunnel came; `None` where there was none.
    pub(crate) handshake: Option<Handshake>,
    pub(crate) idle_max: Option<Duration>,
    pub(crate) status: Option<u16>,
    /// Microseconds that it waited for its turn, where a limit made it wait. A tunnel lives long, and pays for a whole
    /// `Duration` with 64 bytes: it is kept on the heap with this.
    pub(crate) limit_wait_us: Option<NonZeroU32>,
    /// The `[[limit]]` that made it wait, refused it, or would have.
    pub(crate) limit: Option<Arc<str>>,
    /// What it would have been refused for, had the rules not only been tried out.
    pub(crate) would_refuse: Option<Reason>,
    /// A forwarded request that was sent to a second connection although the first may have carried it.
    pub(crate) repeated: bool,
    /// The id that a visible push has for those who follow it. A tunnel has none, and pays for no more than a pointer.
    pub(crate) tracking_id: Option<Box<TrackingId>>,
    pub(crate) reason: Reason,
    pub(crate) closed_by: Option<Side>,
}

impl Exchange {
    pub(crate) fn new(
        id: ExchangeId,
        opened_at: SystemTime,
        opened: Instant,
        listener: ListenerName,
        client: ClientAddr,
    ) -> Self {
        Self {
            id,
            opened_at,
            opened,
            listener,
            client,
            sender: None,
            user: None,
            scheme: None,
            algorithm: None,
            kind: Kind::Unknown,
            method: None,
            target: None,
            destination: None,
            sni: None,
            resolved: Box::default(),
            tried_all: false,
            attempts: Box::default(),
            peer: None,
            dns_us: None,
            dns_stale_ms: None,
            connect_us: None,
            setup: None,
            bytes_up: 0,
            bytes_down: 0,
            exchanges: None,
            handshake: None,
            idle_max: None,
            status: None,
            limit_wait_us: None,
            limit: None,
            would_refuse: None,
            repeated: false,
            tracking_id: None,
            reason: Reason::Dropped,
            closed_by: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tunnel holds one for as long as it lives; the allocator's next size up costs each of them 64 bytes.
    #[test]
    fn an_exchange_fills_its_allocation_and_no_more() {
        assert!(size_of::<Exchange>() <= 384, "{}", size_of::<Exchange>());
    }
}
