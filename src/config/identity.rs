//! A TLS identity: a certificate chain and its private key, read from PEM files and known to match.
//!
//! Reads and compares; never serves, and never shows a key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::parse_x509_certificate;

use super::complaint::Wrong;
use super::disk::{self, Unreadable};

/// A certificate that ends sooner is pointed out wherever one is looked at anyway: in the journal of a start, by `check`,
/// and by `doctor --as-server`.
pub(crate) const RENEW_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);
/// One that ends sooner is a trouble of its own: an alarm, a finding of the page and of `doctor`.
pub(crate) const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Chain and key that belong together.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
    pub(crate) key: Arc<CertifiedKey>,
    /// The earliest `notAfter` of the chain.
    pub(crate) expires: SystemTime,
    /// The server certificate's own `notAfter`.
    pub(crate) own_expires: SystemTime,
}

/// Which of the two files is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Certificate,
    PrivateKey,
}

#[derive(Debug)]
pub(crate) enum IdentityError {
    Unreadable(Part, Unreadable),
    NotPem(Part),
    NoCertificate {
        has_key: bool,
    },
    NoKey {
        has_certificate: bool,
        encrypted: bool,
    },
    BadCertificate {
        place: usize,
    },
    BadKey,
    Mismatch {
        belongs_to: Option<usize>,
    },
}

impl Identity {
    pub(crate) fn read(certificate: &Path, private_key: &Path) -> Result<Self, IdentityError> {
        let chain_pem = disk::read(certificate, disk::LONGEST)
            .map_err(|err| unreadable(Part::Certificate, err))?;
        let key_pem = disk::read(private_key, disk::LONGEST)
            .map_err(|err| unreadable(Part::PrivateKey, err))?;
        let chain = chain(&chain_pem)?;
        let (own_expires, expires) = ends(&chain)?;
        let key = key(&key_pem)?;
        let signer = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_| IdentityError::BadKey)?;
        let key = CertifiedKey::new(chain, signer);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                let belongs_to = (1..key.cert.len()).find(|place| {
                    CertifiedKey::new(vec![key.cert[*place].clone()], Arc::clone(&key.key))
                        .keys_match()
                        .is_ok()
                });
                return Err(IdentityError::Mismatch { belongs_to });
            }
            Err(_) => return Err(IdentityError::BadCertificate { place: 0 }),
        }
        Ok(Self {
            certificate: certificate.to_owned(),
            private_key: private_key.to_owned(),
            key: Arc::new(key),
            expires,
            own_expires,
        })
    }

    /// Whether no client can accept it any more.
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        self.own_expires <= now
    }
}

/// Whether a private key can be read, whatever certificate it belongs to.
pub(crate) fn check_key(path: &Path) -> Result<(), IdentityError> {
    let pem = disk::read(path, disk::LONGEST).map_err(|err| unreadable(Part::PrivateKey, err))?;
    key(&pem).map(drop)
}

/// Certificates that are trusted, from a PEM file with at least one.
pub(crate) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = disk::read(path, disk::LONGEST).map_err(|err| unreadable(Part::Certificate, err))?;
    let chain = chain(&pem)?;
    ends(&chain)?;
    Ok(chain)
}

fn unreadable(part: Part, err: Unreadable) -> IdentityError {
    match err {
        // What is not text is most often the same thing in DER.
        Unreadable::NotText { .. } => IdentityError::NotPem(part),
        err => IdentityError::Unreadable(part, err),
    }
}

fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    if !pem.contains("-----BEGIN ") {
        return Err(IdentityError::NotPem(Part::Certificate));
    }
    let mut chain = Vec::new();
    for (place, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        chain.push(certificate.map_err(|_| IdentityError::BadCertificate { place })?);
    }
    if chain.is_empty() {
        let has_key = pem.contains("PRIVATE KEY-----");
        return Err(IdentityError::NoCertificate { has_key });
    }
    Ok(chain)
}

fn key(pem: &str) -> Result<PrivateKeyDer<'static>, IdentityError> {
    if !pem.contains("-----BEGIN ") {
        return Err(IdentityError::NotPem(Part::PrivateKey));
    }
    match PrivateKeyDer::pem_slice_iter(pem.as_bytes()).next() {
        // OpenSSL's older way of locking a key leaves the label as it is and says so in a header.
        Some(_) if pem.contains("Proc-Type: 4,ENCRYPTED") => Err(IdentityError::NoKey {
            has_certificate: false,
            encrypted: true,
        }),
        Some(Ok(key)) => Ok(key),
        Some(Err(_)) => Err(IdentityError::BadKey),
        None => Err(IdentityError::NoKey {
            has_certificate: pem.contains("BEGIN CERTIFICATE-----"),
            encrypted: pem.contains("BEGIN ENCRYPTED PRIVATE KEY-----"),
        }),
    }
}

/// The `notAfter` of the first certificate, and the earliest of all.
fn ends(chain: &[CertificateDer<'_>]) -> Result<(SystemTime, SystemTime), IdentityError> {
    let mut own = None;
    let mut earliest = None;
    for (place, certificate) in chain.iter().enumerate() {
        let (_, parsed) = parse_x509_certificate(certificate)
            .map_err(|_| IdentityError::BadCertificate { place })?;
        // Before 1970 is as expired as 1970.
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        own = own.or(Some(end));
        earliest = earliest.map_or(Some(end), |known: SystemTime| Some(known.min(end)));
    }
    own.zip(earliest)
        .ok_or(IdentityError::NoCertificate { has_key: false })
}

impl IdentityError {
    pub(super) fn part(&self) -> Part {
        match self {
            Self::Unreadable(part, _) | Self::NotPem(part) => *part,
            Self::NoCertificate { .. } | Self::BadCertificate { .. } => Part::Certificate,
            Self::NoKey { .. } | Self::BadKey | Self::Mismatch { .. } => Part::PrivateKey,
        }
    }

    pub(super) fn wrong(&self) -> Wrong {
        let hint = match self {
            Self::Unreadable(_, unreadable) => return unreadable.wrong(),
            Self::NotPem(Part::Certificate) => {
                "from DER: openssl x509 -inform der -in FILE -out FILE.pem"
            }
            Self::NotPem(Part::PrivateKey) => {
                "from DER: openssl pkey -inform der -in FILE -out FILE.pem"
            }
            Self::NoCertificate { has_key: true }
            | Self::NoKey {
                has_certificate: true,
                ..
            } => "are certificate and private_key swapped?",
            Self::NoCertificate { has_key: false } => {
                "the server's certificate first, then those that lead to the root, each BEGIN CERTIFICATE"
            }
            Self::NoKey {
                encrypted: true, ..
            } => {
                "nobody is there to type its passphrase: openssl pkey -in FILE -out FILE.open, readable by tidegate alone"
            }
            Self::NoKey { .. } => "PKCS#8, PKCS#1 or SEC1 in PEM, as openssl writes them",
            Self::BadCertificate { .. } => {
                "copy the file again; openssl x509 -in FILE -text shows whether it is whole"
            }
            Self::BadKey => {
                "an RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519 key; openssl pkey -in FILE -check"
            }
            Self::Mismatch {
                belongs_to: Some(_),
            } => "put the server's own certificate first",
            Self::Mismatch { belongs_to: None } => {
                "name the key that the certificate was asked for with"
            }
        };
        Wrong::new(self.to_string(), hint)
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(_, unreadable) => unreadable.fmt(f),
            Self::NotPem(_) => f.write_str("is not PEM"),
            Self::NoCertificate { has_key: true } => {
                f.write_str("holds a private key, not a certificate")
            }
            Self::NoCertificate { has_key: false } => f.write_str("holds no certificate"),
            Self::NoKey {
                encrypted: true, ..
            } => f.write_str("holds a locked private key"),
            Self::NoKey {
                has_certificate: true,
                ..
            } => f.write_str("holds a certificate, not a private key"),
            Self::NoKey { .. } => f.write_str("holds no private key"),
            Self::BadCertificate { place } => {
                write!(f, "certificate {} in it is damaged", place + 1)
            }
            Self::BadKey => f.write_str("is damaged, or of a kind that cannot be used"),
            Self::Mismatch {
                belongs_to: Some(place),
            } => {
                write!(
                    f,
                    "belongs to certificate {} of the chain, not to the first",
                    place + 1
                )
            }
            Self::Mismatch { belongs_to: None } => {
                f.write_str("does not belong to the certificate")
            }
        }
    }
}

impl std::error::Error for IdentityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(_, unreadable) => Some(unreadable),
            Self::NotPem(_)
            | Self::NoCertificate { .. }
            | Self::NoKey { .. }
            | Self::BadCertificate { .. }
            | Self::BadKey
            | Self::Mismatch { .. } => None,
        }
    }
}
