//! A TLS identity: a certificate chain and its private key, read from PEM files and known to match.

use std::path::PathBuf;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;

/// Chain and key that belong together.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
    pub(crate) key: std::sync::Arc<CertifiedKey>,
    /// The earliest `notAfter` of the chain.
    pub(crate) expires: SystemTime,
}
