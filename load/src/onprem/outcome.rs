//! What became of a push, and why a server could not do its work.

use std::io;

use http::StatusCode;
use thiserror::Error;

use super::ConnectError;

/// What became of a push, as its server saw it.
#[derive(Debug)]
pub enum Outcome {
    /// The cloud said so.
    Confirmed,
    /// The cloud answered something else.
    Rejected(StatusCode),
    /// The proxy answered instead of the cloud: nobody knows whether the push arrived, so it was not sent again.
    Undelivered(StatusCode),
    /// The connection broke after the push had begun; it was not sent again.
    Cut,
    /// No confirmation in time, at any address of the proxy.
    Unconfirmed,
    /// No tunnel to send it through.
    Unsent(ServerError),
}

impl Outcome {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Rejected(_) => "rejected",
            Self::Undelivered(_) => "undelivered",
            Self::Cut => "cut",
            Self::Unconfirmed => "unconfirmed",
            Self::Unsent(_) => "unsent",
        }
    }
}

/// Why a server could not do its work.
#[derive(Debug, Error)]
pub enum ServerError {
    /// No tunnel.
    #[error("no tunnel to {target}")]
    Connect {
        /// Where it should have led.
        target: String,
        /// Why not.
        source: ConnectError,
    },
    /// The tunnel stands, but not the TLS in it.
    #[error("TLS with {target} failed")]
    Tls {
        /// Where the tunnel led.
        target: String,
        /// What failed.
        source: io::Error,
    },
    /// No connection to the proxy itself.
    #[error("no connection to the proxy")]
    Proxy(#[source] io::Error),
    /// A request other than a push broke.
    #[error("connection to {target} broke")]
    Broke {
        /// Where the connection led.
        target: String,
    },
    /// A request other than a push got no answer.
    #[error("{target} did not answer")]
    Silence {
        /// Who did not.
        target: String,
    },
    /// An answer other than what was asked for.
    #[error("{target} answered {status}")]
    Answer {
        /// Who answered.
        target: String,
        /// What it answered.
        status: StatusCode,
    },
}
