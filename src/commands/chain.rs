//! The certificates that a proxy shows, whether they are taken or not.
//!
//! Decides nothing: the verifier that is asked is the one that would be asked without it.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::parse_x509_certificate;

use super::heard::plain;

/// What was shown, leaf first; nothing where no handshake came so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain(Arc<Mutex<Vec<CertificateDer<'static>>>>);

#[derive(Debug)]
struct Witness {
    judge: Arc<WebPkiServerVerifier>,
    chain: Chain,
}

impl Chain {
    /// What a client with this configuration is shown.
    pub(super) fn watch(&self, config: &mut ClientConfig, roots: RootCertStore) {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        // Without any root there is nothing to ask, and the configuration refuses all by itself.
        if let Ok(judge) = judge.build() {
            let chain = self.clone();
            let witness = Arc::new(Witness { judge, chain });
            config.dangerous().set_certificate_verifier(witness);
        }
    }

    /// The name of who signed the first, and whether it came alone and was signed by another.
    pub(super) fn issuer(&self) -> Option<(String, bool)> {
        let chain = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, leaf) = parse_x509_certificate(chain.first()?).ok()?;
        let is_its_own = leaf.issuer().as_raw() == leaf.subject().as_raw();
        let name = leaf.issuer().iter_common_name().next();
        let name = name.and_then(|name| name.as_str().ok());
        let name = name.map_or_else(|| leaf.issuer().to_string(), str::to_owned);
        Some((plain(&name), chain.len() == 1 && !is_its_own))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let shown = all.map(|one| one.clone().into_owned()).collect();
        let mut chain = self.chain.0.lock().unwrap_or_else(PoisonError::into_inner);
        *chain = shown;
        self.judge
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
