//! Names and addresses with a role, so that one can't be taken for another.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) struct $name(Arc<str>);

        impl $name {
            pub(crate) fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// A `[[listener]]`.
    ListenerName
);
name!(
    /// A `[[client]]`: a group of senders.
    ClientName
);
name!(
    /// A `[[destination]]`: a group of targets.
    DestinationName
);
name!(
    /// A user of the users file.
    UserName
);

/// What a push is called by those who send it, forward it and receive it: a short word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrackingId(Box<str>);

impl TrackingId {
    pub(crate) fn new(id: &str) -> Self {
        Self(id.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a client connected from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddr(pub(crate) SocketAddr);

/// The address we connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PeerAddr(pub(crate) SocketAddr);

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One exchange, in the access log and in the reply body: 120 bits, time first, so that ids sort by start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ExchangeId(u128);

impl ExchangeId {
    /// 48 bits of Unix milliseconds, 32 bits that differ between processes and cores, 40 bits of counter.
    pub(crate) fn new(unix_ms: u64, seed: u32, count: u64) -> Self {
        let time = u128::from(unix_ms & 0xFFFF_FFFF_FFFF) << 72;
        Self(time | u128::from(seed) << 40 | u128::from(count & 0xFF_FFFF_FFFF))
    }
}

impl fmt::Display for ExchangeId {
    /// 24 digits of Crockford's base 32.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let mut text = [0u8; 24];
        for (place, digit) in text.iter_mut().enumerate() {
            *digit = DIGITS[(self.0 >> (5 * (23 - place)) & 31) as usize];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_have_24_digits() {
        let early = ExchangeId::new(1_000, u32::MAX, 7).to_string();
        let late = ExchangeId::new(1_001, 0, 0).to_string();
        assert!(early < late, "{early} {late}");
        assert_eq!((early.len(), late.len()), (24, 24));
    }
}
