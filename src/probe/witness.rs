//! A verifier that lets every certificate pass and remembers what a strict client would have said.
//!
//! Only for probes: whoever is behind such a connection gets a `HEAD /` at most. That the other end holds the
//! certificate's key is verified as ever.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::certificate::{Certificate, Ending};
use crate::dial::tls::{CertificateProblem, NativeRoots};

/// A shorter name of an organization says nothing: it may be a part of any other.
const ORGANIZATION_MIN: usize = 4;
/// Certificates of a chain that are looked at; each costs a verification or two.
const CHAIN_MAX: usize = 8;

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
    /// What ends first of what was shown; `None`: none of it can be read.
    pub(super) ends: Option<Ending>,
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

/// The first to end comes first.
fn endings(leaf: Option<&Certificate>, intermediates: &[CertificateDer<'_>]) -> Vec<Ending> {
    let leaf = leaf.map(Ending::of_leaf);
    let others = intermediates.iter().filter_map(Certificate::parse);
    let others = others.map(|certificate| Ending {
        of: Some(certificate.subject.clone()),
        certificate,
    });
    let mut all: Vec<Ending> = leaf.into_iter().chain(others).take(CHAIN_MAX).collect();
    all.sort_by_key(|one| one.certificate.not_after);
    all
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

impl Seen {
    /// What its chain ends with.
    pub(super) fn ending(&self, leaf: &Certificate) -> Ending {
        let ends = self.ends.clone();
        ends.unwrap_or_else(|| Ending::of_leaf(leaf))
    }
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
        let leads_at = |judge, at| match ask(judge, at) {
            Ok(()) => true,
            Err(error) => CertificateProblem::of(&error) == Some(CertificateProblem::OtherName),
        };
        let endings = endings(read.as_ref(), intermediates);
        let ends = |one: &Ending| one.certificate.end();
        // Up to the end of what ends first, a chain is good: the middle of the leaf's life may be beyond that.
        let leads_to = |judge| {
            let mut ends = endings.iter().filter_map(ends);
            leads_at(judge, in_its_life) || ends.any(|at| leads_at(judge, at))
        };
        // One that is sent along and not needed may end when it likes.
        let is_needed = |one: &&Ending| {
            ends(one).is_some_and(|end| {
                let beyond = UnixTime::since_unix_epoch(Duration::from_secs(end.as_secs() + 1));
                let mut judges = [&self.judges.ours, &self.judges.public].into_iter();
                judges.any(|judge| leads_at(judge, end) && !leads_at(judge, beyond))
            })
        };
        let first = endings
            .iter()
            .find(is_needed)
            .or_else(|| endings.first())
            .cloned();
        let seen = Seen {
            leaf: leaf.clone().into_owned(),
            verdict: ask(&self.judges.ours, now),
            ends: first,
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
