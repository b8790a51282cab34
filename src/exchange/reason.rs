//! The closed list of endings. Each has one word, and one party whose fault it is.
//!
//! Which status a client sees for it stands in `serve/reply.rs` alone.

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    // client
    BadRequest,
    BadTarget,
    UriTooLong,
    HeadTooLarge,
    HeadTimeout,
    BodyTooLarge,
    BodyTimeout,
    BadProxyHeader,
    HandshakeFailed,
    NoCredentials,
    BadCredentials,
    StaleNonce,
    Throttled,
    ClientReset,
    ClientGone,
    // policy
    ClientDenied,
    TargetDenied,
    PortDenied,
    AddressDenied,
    SniMismatch,
    LoopDetected,
    SelfTarget,
    RateLimited,
    TunnelLimited,
    // upstream
    NameNotFound,
    DnsTimeout,
    DnsFailed,
    ConnectRefused,
    ConnectTimeout,
    Unreachable,
    UpstreamReset,
    UpstreamTimeout,
    UpstreamTlsFailed,
    BadReply,
    // proxy
    Draining,
    ConnectionsFull,
    TunnelsFull,
    Internal,
    Dropped,
    // nobody
    Finished,
    Idle,
}

/// Whose fault an ending is. Alarms look only at this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    Client,
    Policy,
    Upstream,
    Proxy,
    Nobody,
}

impl Fault {
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Policy => "policy",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
            Self::Nobody => "nobody",
        }
    }
}

impl Reason {
    pub(crate) const ALL: [Self; 41] = [
        Self::BadRequest,
        Self::BadTarget,
        Self::UriTooLong,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::BadProxyHeader,
        Self::HandshakeFailed,
        Self::NoCredentials,
        Self::BadCredentials,
        Self::StaleNonce,
        Self::Throttled,
        Self::ClientReset,
        Self::ClientGone,
        Self::ClientDenied,
        Self::TargetDenied,
        Self::PortDenied,
        Self::AddressDenied,
        Self::SniMismatch,
        Self::LoopDetected,
        Self::SelfTarget,
        Self::RateLimited,
        Self::TunnelLimited,
        Self::NameNotFound,
        Self::DnsTimeout,
        Self::DnsFailed,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::Unreachable,
        Self::UpstreamReset,
        Self::UpstreamTimeout,
        Self::UpstreamTlsFailed,
        Self::BadReply,
        Self::Draining,
        Self::ConnectionsFull,
        Self::TunnelsFull,
        Self::Internal,
        Self::Dropped,
        Self::Finished,
        Self::Idle,
    ];

    /// The label in metrics, the word in the log and in the reply body.
    pub(crate) fn token(self) -> &'static str {
        self.row().0
    }

    pub(crate) fn fault(self) -> Fault {
        self.row().1
    }

    fn row(self) -> (&'static str, Fault) {
        use Fault::{Client, Nobody, Policy, Proxy, Upstream};
        match self {
            Self::BadRequest => ("bad_request", Client),
            Self::BadTarget => ("bad_target", Client),
            Self::UriTooLong => ("uri_too_long", Client),
            Self::HeadTooLarge => ("head_too_large", Client),
            Self::HeadTimeout => ("head_timeout", Client),
            Self::BodyTooLarge => ("body_too_large", Client),
            Self::BodyTimeout => ("body_timeout", Client),
            Self::BadProxyHeader => ("bad_proxy_header", Client),
            Self::HandshakeFailed => ("handshake_failed", Client),
            Self::NoCredentials => ("no_credentials", Client),
            Self::BadCredentials => ("bad_credentials", Client),
            Self::StaleNonce => ("stale_nonce", Client),
            Self::Throttled => ("throttled", Client),
            Self::ClientReset => ("client_reset", Client),
            Self::ClientGone => ("client_gone", Client),
            Self::ClientDenied => ("client_denied", Policy),
            Self::TargetDenied => ("target_denied", Policy),
            Self::PortDenied => ("port_denied", Policy),
            Self::AddressDenied => ("address_denied", Policy),
            Self::SniMismatch => ("sni_mismatch", Policy),
            Self::LoopDetected => ("loop_detected", Policy),
            Self::SelfTarget => ("self_target", Policy),
            Self::RateLimited => ("rate_limited", Policy),
            Self::TunnelLimited => ("tunnel_limited", Policy),
            Self::NameNotFound => ("name_not_found", Upstream),
            Self::DnsTimeout => ("dns_timeout", Upstream),
            Self::DnsFailed => ("dns_failed", Upstream),
            Self::ConnectRefused => ("connect_refused", Upstream),
            Self::ConnectTimeout => ("connect_timeout", Upstream),
            Self::Unreachable => ("unreachable", Upstream),
            Self::UpstreamReset => ("upstream_reset", Upstream),
            Self::UpstreamTimeout => ("upstream_timeout", Upstream),
            Self::UpstreamTlsFailed => ("upstream_tls_failed", Upstream),
            Self::BadReply => ("bad_reply", Upstream),
            Self::Draining => ("draining", Proxy),
            Self::ConnectionsFull => ("connections_full", Proxy),
            Self::TunnelsFull => ("tunnels_full", Proxy),
            Self::Internal => ("internal", Proxy),
            Self::Dropped => ("dropped", Proxy),
            Self::Finished => ("finished", Nobody),
            Self::Idle => ("idle", Nobody),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_is_listed_once_with_a_word_of_its_own() {
        let words: HashSet<_> = Reason::ALL.iter().map(|reason| reason.token()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        assert_eq!(
            Reason::Idle as usize + 1,
            Reason::ALL.len(),
            "a reason is missing from ALL"
        );
    }
}
