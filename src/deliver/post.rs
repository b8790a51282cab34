//! One HTTP request to a receiver of alarms, over a connection of its own.
//!
//! What the receiver says beside the status is not read: it may repeat our secret, and nobody would act on it.

use std::io::ErrorKind;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::link::{self, Kind, LinkError};
use super::tls::ClientTerms;
use crate::config::{Authorities, Receiver};
use crate::dial::operator::OperatorDialer;
use crate::dial::tls::NativeRoots;

/// The way to one receiver.
#[derive(Debug)]
pub(super) struct Post {
    to: Receiver,
    dialer: OperatorDialer,
    terms: Option<ClientTerms>,
}

/// Why a receiver has not taken what it was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {status}")]
    Refused { status: u16 },
    #[error("no answer in time")]
    TimedOut,
    #[error("what is to be sent cannot be made")]
    Internal,
}

impl PostError {
    /// What two failures have in common that are the same news.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Refused { status } => Kind::Status(*status),
            Self::TimedOut => Kind::TimedOut,
            Self::Http(_) | Self::Internal => Kind::Other,
        }
    }

    /// Whether nobody is there who could take anything. Who has only ended a connection is there.
    pub(super) fn is_away(&self) -> bool {
        match self {
            Self::Link(LinkError::Closed | LinkError::Stuck) => false,
            // Of a datagram: nobody listens.
            Self::Link(LinkError::Broken(error)) => error.kind() == ErrorKind::ConnectionRefused,
            Self::Link(LinkError::Dial(_) | LinkError::Tls { .. } | LinkError::TlsTimedOut)
            | Self::Http(_)
            | Self::Refused { .. }
            | Self::TimedOut
            | Self::Internal => true,
        }
    }

    /// Whether the other side has not been heard of for long: what was sent meanwhile is lost, however long ago.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Link(LinkError::Stuck) => true,
            Self::Link(LinkError::Broken(error)) => matches!(
                error.kind(),
                ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            ),
            Self::Link(
                LinkError::Dial(_)
                | LinkError::Tls { .. }
                | LinkError::TlsTimedOut
                | LinkError::Closed,
            )
            | Self::Http(_)
            | Self::Refused { .. }
            | Self::TimedOut
            | Self::Internal => false,
        }
    }

    /// The word in metrics.
    pub(super) fn token(&self) -> &'static str {
        match self {
            Self::Link(LinkError::TlsTimedOut | LinkError::Stuck) | Self::TimedOut => "timeout",
            Self::Link(_) | Self::Http(_) => "unreachable",
            Self::Refused { .. } => "refused",
            Self::Internal => "internal",
        }
    }
}

impl Post {
    pub(super) fn new(
        to: Receiver,
        native_roots: &NativeRoots,
        ca: Option<&Authorities>,
        dialer: OperatorDialer,
    ) -> Result<Self, rustls::Error> {
        let terms = to.tls.then(|| ClientTerms::new(native_roots, trusted(ca)));
        Ok(Self {
            to,
            dialer,
            terms: terms.transpose()?,
        })
    }

    pub(super) fn to(&self) -> &Receiver {
        &self.to
    }

    /// Sends JSON to the receiver's path, or to `below` behind it; gives the good status.
    pub(super) async fn send(&self, below: &str, body: Vec<u8>) -> Result<u16, PostError> {
        let request = self.request(below, body)?;
        let Receiver { host, port, .. } = &self.to;
        let stream = link::stream(host, *port, &self.dialer, self.terms.as_ref()).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this function, whatever the receiver does.
        let mut tasks = JoinSet::new();
        tasks.spawn_local(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        if status.is_success() {
            Ok(status.as_u16())
        } else {
            Err(PostError::Refused {
                status: status.as_u16(),
            })
        }
    }

    fn request(&self, below: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, PostError> {
        let path = match below {
            "" => self.to.path.clone(),
            below => format!("{}{below}", self.to.path.trim_end_matches('/')),
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, authority(&self.to))
            .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close");
        if let Some(login) = login(&self.to) {
            request = request.header(AUTHORIZATION, login.ok_or(PostError::Internal)?);
        }
        let body = Full::new(Bytes::from(body));
        request.body(body).map_err(|_| PostError::Internal)
    }
}

/// Those that the operator adds to the system's.
pub(super) fn trusted(ca: Option<&Authorities>) -> &[rustls::pki_types::CertificateDer<'static>] {
    ca.map_or(&[], |ca| &ca.certificates)
}

/// `Host` has the port where it is not the scheme's own.
fn authority(to: &Receiver) -> String {
    let place = match &to.host {
        crate::exchange::Host::Addr(std::net::IpAddr::V6(addr)) => format!("[{addr}]"),
        crate::exchange::Host::Addr(addr) => addr.to_string(),
        crate::exchange::Host::Name(name) => name.to_string(),
    };
    match (to.tls, to.port) {
        (true, 443) | (false, 80) => place,
        (_, port) => format!("{place}:{port}"),
    }
}

/// The outer `None`: nothing lets us in. The inner one: it fits in no header.
fn login(to: &Receiver) -> Option<Option<HeaderValue>> {
    let secret = to.secret.as_ref()?.secret.reveal();
    let value = match &to.user {
        Some(user) => {
            let pair = [user.as_bytes(), b":", secret].concat();
            format!("Basic {}", STANDARD.encode(pair)).into_bytes()
        }
        None => [b"Bearer ", secret].concat(),
    };
    let value = HeaderValue::from_bytes(&value).ok();
    Some(value.map(|mut value| {
        value.set_sensitive(true);
        value
    }))
}
