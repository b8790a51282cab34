//! What is at the end of a way that somebody else has opened: TLS under its name, its certificate, and whether it answers.
//!
//! For those who go through a proxy as its clients do. Judges as the doctor does, by the same rules and in the same words.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::ask::{AskError, Reply, Talk};
use super::certificate::Certificate;
use super::finding::Severity;
use super::verdict::{self, Expected, Verdict};
use super::visit::{self, Terms, TlsFailure};
use crate::config::{self, Role};
use crate::dial::Way;
use crate::dial::tls::NativeRoots;
use crate::exchange::Target;

/// Whom a client trusts, and how long it waits for each step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outsider<'a> {
    pub(crate) native_roots: &'a NativeRoots,
    /// Trusted beside them.
    pub(crate) extra: &'a [CertificateDer<'static>],
    /// Where those are named.
    pub(crate) ca: &'static str,
    pub(crate) patience: Duration,
}

/// A handshake, and what came of it.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) version: &'static str,
    pub(crate) took: Duration,
    /// Who signed the certificate, and how many days its chain is good for.
    pub(crate) signed: Option<(String, u64)>,
    /// What is wrong with it.
    pub(crate) verdict: Option<Verdict>,
    /// `None`: one with such a certificate is asked nothing.
    pub(crate) reply: Option<(Result<Reply, AskError>, Duration)>,
}

impl Outsider<'_> {
    /// Shakes hands with the target, and asks `HEAD /`.
    pub(crate) async fn look(self, way: Way, target: &Target) -> Result<Sight, TlsFailure> {
        let terms = Terms::trusting(self.native_roots, self.extra);
        let (stream, shaken) = terms.shake(&target.host, way, self.patience).await?;
        let host = visit::host(target);
        let expected = Expected {
            host: &host,
            role: Role::Push,
            is_public: config::is_of_a_preset(&target.host),
            ca: self.ca,
        };
        let now = SystemTime::now();
        let verdict = verdict::of_certificate(&shaken, expected, now);
        let is_bad = |one: &Verdict| one.severity == Severity::Fail;
        let reply = if verdict.as_ref().is_some_and(is_bad) {
            None
        } else {
            let begun = Instant::now();
            let is_h2 = visit::speaks_h2(&stream);
            let asking = async {
                let mut talk = Talk::open(stream, is_h2, &target.to_string()).await?;
                talk.head(0, self.patience).await
            };
            let reply = asking.await;
            Some((reply, begun.elapsed()))
        };
        Ok(Sight {
            version: shaken.version,
            took: shaken.took,
            signed: Certificate::parse(&shaken.seen.leaf).map(|leaf| {
                let ends = shaken.seen.ending(&leaf).certificate;
                (leaf.issuer.to_string(), ends.days_left(now))
            }),
            verdict,
            reply,
        })
    }
}
