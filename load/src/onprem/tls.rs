//! TLS as a client: which certificates are trusted, and which HTTP is offered.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// HTTP/2 in ALPN.
pub(super) const HTTP2: &[u8] = b"h2";

/// Trusts these certificates (PEM) and nothing else; offers HTTP/1.1.
pub fn trusting(pem: &str) -> io::Result<TlsConnector> {
    offering(pem, &[b"http/1.1"])
}

/// The same, and offers HTTP/2 before HTTP/1.1.
pub fn trusting_for_http2(pem: &str) -> io::Result<TlsConnector> {
    offering(pem, &[HTTP2, b"http/1.1"])
}

fn offering(pem: &str, protocols: &[&[u8]]) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots
            .add(certificate.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no certificate in the PEM text",
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name or address that a certificate is checked against.
pub fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("bad name {host:?}")))
}
