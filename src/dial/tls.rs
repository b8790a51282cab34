//! TLS that we originate: `https` requests in absolute form. The system's roots, and the destination's `ca` beside them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::exchange::{DestinationName, Host, Reason};

/// The system's trust, read once.
#[derive(Debug, Clone)]
pub(crate) struct NativeRoots(Arc<RootCertStore>);

impl NativeRoots {
    /// Reads what the system trusts; certificates that cannot be read are left out, and said.
    pub(crate) fn load() -> Self {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "cannot read a part of the system's certificates");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!(
                "the system trusts no certificate authority: https requests in absolute form need ca in their destination (or the package ca-certificates)"
            );
        }
        Self(Arc::new(roots))
    }

    /// A client that trusts them, and these authorities beside them.
    pub(crate) fn client(
        &self,
        extra: &[CertificateDer<'static>],
    ) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.and(extra))
            .with_no_client_auth())
    }

    /// The system's trust, and these authorities beside it.
    pub(crate) fn and(&self, extra: &[CertificateDer<'static>]) -> RootCertStore {
        let mut roots = RootCertStore::clone(&self.0);
        roots.add_parsable_certificates(extra.iter().cloned());
        roots
    }
}

/// One core's way to speak TLS to origins.
pub(crate) struct OriginTls {
    native: NativeRoots,
    /// Made at a destination's first request, and again when a reload has brought another `ca`.
    made: RefCell<HashMap<DestinationName, (Trust, TlsConnector)>>,
}

/// What a destination trusts beside the system's roots.
pub(crate) type Trust = Option<Arc<[CertificateDer<'static>]>>;

impl fmt::Debug for OriginTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginTls")
    }
}

/// Why there is no TLS with an origin.
#[derive(Debug)]
pub(crate) enum TlsError {
    TimedOut,
    /// No certificate can have this name.
    Name,
    /// The destination's own certificates make no configuration.
    Configuration(rustls::Error),
    Failed(io::Error),
}

impl TlsError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::TimedOut => Reason::UpstreamTimeout,
            Self::Configuration(_) => Reason::Internal,
            Self::Name | Self::Failed(_) => Reason::UpstreamTlsFailed,
        }
    }

    /// Whether the other end seems to speak no TLS just now. A certificate that is not taken is another matter: it is
    /// the same at every address, or our own `ca` is wrong.
    pub(crate) fn is_deaf(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Failed(error) => certificate_problem(error).is_none(),
            Self::Name | Self::Configuration(_) => false,
        }
    }

    /// What a client may know of it.
    pub(crate) fn details(&self) -> &'static str {
        let error = match self {
            Self::TimedOut => return "the origin did not finish the TLS handshake in time",
            Self::Name => return "no certificate can be for this name",
            Self::Configuration(_) => return "TLS towards the origin cannot be set up",
            Self::Failed(error) => error,
        };
        match certificate_problem(error) {
            Some(problem) => problem.of_origin(),
            None => "the TLS handshake with the origin failed",
        }
    }
}

/// Why the other end's certificate is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CertificateProblem {
    Expired,
    NotYet,
    OtherName,
    UnknownIssuer,
    /// It says of itself that it is an authority, as self-signed ones often do.
    Authority,
    Other,
}

impl CertificateProblem {
    fn of_origin(self) -> &'static str {
        match self {
            Self::Expired => "the origin's certificate has expired",
            Self::NotYet => "the origin's certificate is not valid yet",
            Self::OtherName => "the origin's certificate is for another name",
            Self::UnknownIssuer => {
                "the origin's certificate is of an authority that is not trusted here"
            }
            Self::Authority => {
                "the origin's certificate is an authority's own (CA:TRUE) and no server's: it needs one signed by an authority, or made without CA:TRUE"
            }
            Self::Other => "the origin's certificate is not valid",
        }
    }
}

/// What is wrong with the certificate, if that is why a handshake failed.
pub(crate) fn certificate_problem(error: &io::Error) -> Option<CertificateProblem> {
    CertificateProblem::of(error.get_ref()?.downcast_ref::<rustls::Error>()?)
}

impl CertificateProblem {
    /// What is wrong with the certificate, if that is what the error says.
    pub(crate) fn of(error: &rustls::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(error) = error else {
            return None;
        };
        Some(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYet
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            // rustls has no word of its own for it, and passes the verifier's on.
            CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
                Self::Authority
            }
            _ => Self::Other,
        })
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.details())
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TimedOut | Self::Name => None,
            Self::Configuration(error) => Some(error),
            Self::Failed(error) => Some(error),
        }
    }
}

impl OriginTls {
    pub(crate) fn new(native: NativeRoots) -> Self {
        Self {
            native,
            made: RefCell::default(),
        }
    }

    /// Shakes hands as the client of `host`, whose certificate must be valid and name it.
    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &Host,
        destination: &DestinationName,
        extra: &Trust,
        patience: Duration,
    ) -> Result<TlsStream<S>, TlsError> {
        let connector = self.connector(destination, extra)?;
        match timeout(patience, connector.connect(server_name(host)?, stream)).await {
            Ok(Ok(tls)) => Ok(tls),
            Ok(Err(error)) => Err(TlsError::Failed(error)),
            Err(_) => Err(TlsError::TimedOut),
        }
    }

    pub(super) fn connector(
        &self,
        destination: &DestinationName,
        extra: &Trust,
    ) -> Result<TlsConnector, TlsError> {
        let same = |made: &Trust| match (made, extra) {
            (None, None) => true,
            (Some(made), Some(extra)) => Arc::ptr_eq(made, extra),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let mut made = self.made.borrow_mut();
        if let Some((trust, connector)) = made.get(destination)
            && same(trust)
        {
            return Ok(connector.clone());
        }
        let connector = self.make(extra).map_err(TlsError::Configuration)?;
        made.insert(destination.clone(), (extra.clone(), connector.clone()));
        Ok(connector)
    }

    fn make(&self, extra: &Trust) -> Result<TlsConnector, rustls::Error> {
        let mut roots = Arc::clone(&self.native.0);
        if let Some(extra) = extra {
            let mut more = RootCertStore::clone(&roots);
            for certificate in extra.iter() {
                more.add(certificate.clone())?;
            }
            roots = Arc::new(more);
        }
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

pub(crate) fn server_name(host: &Host) -> Result<ServerName<'static>, TlsError> {
    match host {
        Host::Addr(addr) => Ok(ServerName::from(*addr)),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| TlsError::Name),
    }
}
