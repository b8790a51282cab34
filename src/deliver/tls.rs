//! The TLS that we speak to a receiver: the system's certificate authorities, and those that the operator adds.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::dial::tls::NativeRoots;
use crate::exchange::Host;

#[derive(Clone)]
pub(super) struct ClientTerms(TlsConnector);

impl std::fmt::Debug for ClientTerms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientTerms")
    }
}

impl ClientTerms {
    pub(super) fn new(
        native: &NativeRoots,
        extra: &[CertificateDer<'static>],
    ) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(native.and(extra))
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
