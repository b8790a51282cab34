//! Why the gate said no.
//!
//! What it prints goes to the client in `Proxy-Status`, so it tells no secret, and not whether a user exists.

use std::fmt;
use std::time::Duration;

use super::credentials::CredentialsError;
use crate::exchange::{DestinationName, Reason};
use crate::policy;

#[derive(Debug)]
pub(crate) enum GateError {
    /// The listener's `allow_from` does not have this address.
    ClientDenied,
    NoCredentials,
    /// Two `Proxy-Authorization` fields or more.
    SeveralCredentials,
    Unreadable(CredentialsError),
    /// Basic or Digest, and not in `schemes`.
    SchemeNotOffered,
    /// Basic on a listener without TLS.
    BasicInClear,
    AlgorithmNotOffered,
    QopNotOffered,
    /// A digest made for another realm.
    OtherRealm,
    /// A digest made for another request.
    OtherUri,
    /// Unknown user or wrong password: which of them, nobody is told.
    WrongCredentials,
    /// The right answer to a nonce that is too old, or not ours.
    StaleNonce,
    /// The right answer, and its nonce count was used before, or is too far behind.
    Replayed,
    /// Too many wrong ones came before.
    Throttled {
        after: Duration,
    },
    Denied(policy::Denial),
}

impl GateError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::ClientDenied => Reason::ClientDenied,
            Self::NoCredentials | Self::Unreadable(CredentialsError::UnknownScheme) => {
                Reason::NoCredentials
            }
            // RFC 7616 §3.4 and §3.4.6: what is malformed, or meant for another request, is no failed login.
            Self::SeveralCredentials | Self::Unreadable(_) | Self::OtherUri => Reason::BadRequest,
            Self::SchemeNotOffered
            | Self::BasicInClear
            | Self::AlgorithmNotOffered
            | Self::QopNotOffered
            | Self::OtherRealm
            | Self::WrongCredentials => Reason::BadCredentials,
            Self::StaleNonce | Self::Replayed => Reason::StaleNonce,
            Self::Throttled { .. } => Reason::Throttled,
            Self::Denied(denial) => denial.reason(),
        }
    }

    /// The destination whose rules said no.
    pub(crate) fn destination(&self) -> Option<&DestinationName> {
        match self {
            Self::Denied(denial) => denial.destination(),
            _ => None,
        }
    }

    /// When it is worth trying again, where that is known.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { after } => Some(*after),
            _ => None,
        }
    }

    /// Whether the client is to try again, and with what: `Some(stale)` of the challenge, `None` without one.
    pub(super) fn challenge(&self) -> Option<bool> {
        match self.reason() {
            Reason::NoCredentials | Reason::BadCredentials => Some(false),
            Reason::StaleNonce => Some(true),
            _ => None,
        }
    }
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientDenied => f.write_str("this client address is not served here"),
            Self::NoCredentials => f.write_str("credentials are required"),
            Self::SeveralCredentials => f.write_str("several Proxy-Authorization fields"),
            Self::Unreadable(error) => error.fmt(f),
            Self::SchemeNotOffered => f.write_str("this authentication scheme is not offered"),
            Self::BasicInClear => f.write_str("basic is accepted on TLS listeners only"),
            Self::AlgorithmNotOffered => f.write_str("this digest algorithm is not offered"),
            Self::QopNotOffered => f.write_str("this digest qop is not offered"),
            Self::OtherRealm => f.write_str("credentials for another realm"),
            Self::OtherUri => f.write_str("digest for another uri"),
            Self::WrongCredentials => f.write_str("wrong user or password"),
            Self::StaleNonce => f.write_str("the nonce has run out"),
            Self::Replayed => f.write_str("this nonce count was used before"),
            Self::Throttled { .. } => f.write_str("too many wrong credentials"),
            // What stands in the rules is for the operator; it speaks through source().
            Self::Denied(_) => f.write_str("not allowed"),
        }
    }
}

impl std::error::Error for GateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Denied(denial) => Some(denial),
            Self::ClientDenied
            | Self::NoCredentials
            | Self::SeveralCredentials
            | Self::Unreadable(_)
            | Self::SchemeNotOffered
            | Self::BasicInClear
            | Self::AlgorithmNotOffered
            | Self::QopNotOffered
            | Self::OtherRealm
            | Self::OtherUri
            | Self::WrongCredentials
            | Self::StaleNonce
            | Self::Replayed
            | Self::Throttled { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_challenged_and_a_malformed_one_is_not() {
        let unknown = GateError::Unreadable(CredentialsError::UnknownScheme);
        assert_eq!(
            (unknown.reason(), unknown.challenge()),
            (Reason::NoCredentials, Some(false))
        );
        let malformed = GateError::Unreadable(CredentialsError::BadBase64);
        assert_eq!(
            (malformed.reason(), malformed.challenge()),
            (Reason::BadRequest, None)
        );
        assert_eq!(GateError::StaleNonce.challenge(), Some(true));
    }
}
