//! The TLS that a listener speaks: made from its identity, and the handshake under a deadline.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{ListenerTls, TlsVersion};

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// What a TLS listener offers. Shared by the cores.
#[derive(Clone)]
pub(crate) struct TlsTerms(TlsAcceptor);

impl std::fmt::Debug for TlsTerms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsTerms")
    }
}

impl TlsTerms {
    pub(crate) fn new(tls: &ListenerTls) -> Result<Self, rustls::Error> {
        let versions = match tls.min_version {
            TlsVersion::V1_2 => BOTH,
            TlsVersion::V1_3 => ONLY_1_3,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(
                &tls.identity.key,
            ))));
        // AES-128 first costs a quarter less per handshake, so our order decides, not the client's.
        config.ignore_client_order = true;
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        // HTTP/1.1 alone, and no refusal for clients that name other protocols or none.
        config.alpn_protocols = Vec::new();
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(crate) async fn handshake(
        &self,
        tcp: TcpStream,
        patience: Duration,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        match tokio::time::timeout(patience, self.0.accept(tcp)).await {
            Ok(Ok(tls)) => Ok(tls),
            Ok(Err(error)) => Err(HandshakeError::Failed(error)),
            Err(_) => Err(HandshakeError::TimedOut),
        }
    }
}

/// Why no TLS came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("TLS handshake not finished in time")]
    TimedOut,
    #[error("TLS handshake failed")]
    Failed(#[source] std::io::Error),
}

fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(suite.suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256)
    });
    provider
}
