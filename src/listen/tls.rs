//! The TLS that a listener speaks: made from its identity, and the handshake under a deadline.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate;
use crate::config::{Authorities, ClientUser, ListenerTls, TlsVersion};
use crate::exchange::UserName;

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// What a TLS listener offers. Shared by the cores.
#[derive(Clone)]
pub(crate) struct TlsTerms {
    acceptor: TlsAcceptor,
    /// Which name of its certificate is the user; `None`: clients are asked for no certificate.
    client_user: Option<ClientUser>,
}

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
        let provider = Arc::new(provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)?;
        let builder = match &tls.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => builder.with_client_cert_verifier(verifier(ca, provider)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(
            CertifiedKey::clone(&tls.identity.key),
        )));
        // AES-128 first costs a quarter less per handshake, so our order decides, not the client's.
        config.ignore_client_order = true;
        // A ticket stands for the certificate that its client showed. Each set of terms has keys of its own, so that one
        // given out under another `client_ca`, or none, is worth nothing here.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        // HTTP/1.1 alone, and no refusal for clients that name other protocols or none.
        config.alpn_protocols = Vec::new();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            client_user: tls.client_ca.as_ref().map(|_| tls.client_user),
        })
    }

    /// The stream, and the user that the client's certificate names.
    pub(crate) async fn handshake(
        &self,
        tcp: TcpStream,
        patience: Duration,
    ) -> Result<(TlsStream<TcpStream>, Option<UserName>), HandshakeError> {
        match tokio::time::timeout(patience, self.acceptor.accept(tcp)).await {
            Ok(Ok(tls)) => {
                let user = self.user(&tls, SystemTime::now())?;
                Ok((tls, user))
            }
            Ok(Err(error)) => Err(HandshakeError::Failed(error)),
            Err(_) => Err(HandshakeError::TimedOut),
        }
    }

    fn user(
        &self,
        tls: &TlsStream<TcpStream>,
        now: SystemTime,
    ) -> Result<Option<UserName>, HandshakeError> {
        let Some(client_user) = self.client_user else {
            return Ok(None);
        };
        // A resumed session has the certificate of the first one; without any, nobody has vouched for the client.
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        match chain.first() {
            Some(shown) if certificate::is_current(shown, now) => {
                Ok(certificate::user(shown, client_user))
            }
            Some(_) => Err(HandshakeError::CertificateExpired),
            None => Err(HandshakeError::NoCertificate),
        }
    }
}

/// Why no TLS came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("TLS handshake not finished in time")]
    TimedOut,
    #[error("the client's certificate has expired since its session began")]
    CertificateExpired,
    #[error("the client showed no certificate")]
    NoCertificate,
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

/// Whoever shows no certificate of these authorities, or one out of its time, gets no connection.
fn verifier(
    ca: &Authorities,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in ca.certificates.iter() {
        roots.add(certificate.clone())?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}
