//! The TLS that we speak to a receiver: the system's certificate authorities, and those that the operator adds.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::exchange::Host;

#[derive(Clone)]
pub(super) struct ClientTerms(TlsConnector);

impl std::fmt::Debug for ClientTerms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientTerms")
    }
}

impl ClientTerms {
    /// Reads the system's certificates: not for a thread that serves.
    pub(super) fn new(extra: Vec<CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        // Without any, every handshake fails and says why; a machine may well have none and need only the extra ones.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(extra);
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// The certificate must be for this host.
    pub(super) async fn handshake(
        &self,
        host: &Host,
        tcp: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = match host {
            Host::Addr(addr) => ServerName::from(*addr),
            Host::Name(name) => {
                ServerName::try_from(name.to_string()).map_err(std::io::Error::other)?
            }
        };
        self.0.connect(name, tcp).await
    }
}
