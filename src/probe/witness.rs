//! A verifier that lets every certificate pass and remembers what a strict client would have said.
//!
//! Only for probes: whoever is behind such a connection gets a `HEAD /` at most. That the other end holds the
//! certificate's key is verified as ever.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::certificate::Certificate;
use crate::dial::tls::{CertificateProblem, NativeRoots};

/// A shorter name of an organization says nothing: it may be a part of any other.
const ORGANIZATION_MIN: usize = 4;

/// Whom a destination's clients would trust, and whom everybody does.
#[derive(Clone)]
pub(super) struct Judges {
    provider: Arc<CryptoProvider>,
    /// The system's roots and the destination's `ca`.
    ours: Option<Arc<WebPkiServerVerifier>>,
    /// The public authorities, as browsers know them.
    public: Option<Arc<WebPkiServerVerifier>>,
    /// The names of ours.
    subjects: Arc<[Vec<u8>]>,
}

/// One handshake's.
#[derive(Debug)]
pub(super) struct Witness {
    judges: Judges,
    seen: Mutex<Option<Seen>>,
}

/// What was shown, and what is to be said of it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) leaf: CertificateDer<'static>,
    pub(super) verdict: Result<(), Error>,
    /// Whether it leads to an authority that this machine and the destination trust, whatever else is wrong with it.
    pub(super) is_trusted: bool,
    /// Whether it leads to one that everybody trusts.
    pub(super) is_public: bool,
    /// Whether it came without any intermediate.
    pub(super) is_alone: bool,
    /// Whether one of our authorities has the very name of its issuer.
    pub(super) knows_issuer: bool,
    /// Whether its issuer belongs to an organization that has public authorities, by its word.
    pub(super) is_public_kin: bool,
}

impl fmt::Debug for Judges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judges")
    }
}

impl Judges {
    pub(super) fn new(native: &NativeRoots, extra: &[CertificateDer<'static>]) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let judge = |roots: RootCertStore| {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            // Without any root nobody is trusted.
            verifier.build().ok()
        };
        let public = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let ours = native.and(extra);
        let subjects = ours.roots.iter().map(|root| root.subject.to_vec());
        Self {
            subjects: subjects.collect(),
            ours: judge(ours),
            public: judge(public),
            provider,
        }
    }

    fn knows(&self, issuer: &Certificate) -> bool {
        let mut all = self.subjects.iter();
        // Without the header of the sequence.
        all.any(|subject| !subject.is_empty() && issuer.issuer_der.ends_with(subject))
    }

    /// A handshake of its own: nothing is resumed, so that the chain is always shown.
    pub(super) fn witness(&self) -> Result<(ClientConfig, Arc<Witness>), Error> {
        let witness = Arc::new(Witness {
            judges: self.clone(),
            seen: Mutex::new(None),
        });
        let verifier = Arc::clone(&witness) as Arc<dyn ServerCertVerifier>;
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        // Some push services speak nothing but HTTP/2.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((config, witness))
    }
}

fn is_public_kin(leaf: &Certificate) -> bool {
    let organization = leaf.issuer.organization().as_bytes();
    let has = |subject: &[u8]| {
        let mut parts = subject.windows(organization.len());
        parts.any(|part| part == organization)
    };
    let mut roots = webpki_roots::TLS_SERVER_ROOTS.iter();
    organization.len() >= ORGANIZATION_MIN && roots.any(|root| has(&root.subject))
}

impl Witness {
    pub(super) fn seen(&self) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ask = |judge: &Option<Arc<WebPkiServerVerifier>>, at| match judge {
            Some(judge) => judge
                .verify_server_cert(leaf, intermediates, name, stapled, at)
                .map(drop),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        // Whose it is shows at a time at which it is valid: of one that has expired nothing more is said. Its name is
        // looked at last.
        let read = Certificate::parse(leaf);
        let in_its_life = read.as_ref().and_then(|leaf| leaf.middle()).unwrap_or(now);
        let leads_to = |judge| match ask(judge, in_its_life) {
            Ok(()) => true,
            Err(error) => CertificateProblem::of(&error) == Some(CertificateProblem::OtherName),
        };
        let seen = Seen {
            leaf: leaf.clone().into_owned(),
            verdict: ask(&self.judges.ours, now),
            is_trusted: leads_to(&self.judges.ours),
            is_public: leads_to(&self.judges.public),
            is_alone: intermediates.is_empty(),
            knows_issuer: read.as_ref().is_some_and(|leaf| self.judges.knows(leaf)),
            is_public_kin: read.as_ref().is_some_and(is_public_kin),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.judges.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.judges.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judges
            .provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
