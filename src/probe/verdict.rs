//! What a handshake showed, in words: whose certificate it is, what is wrong with it, and who has to do what. Pure.

use std::time::SystemTime;

use super::aim::Aim;
use super::certificate::Certificate;
use super::finding::Severity;
use super::visit::{Shaken, TlsFailure};
use crate::config::Role;
use crate::config::identity::EXPIRES_SOON;
use crate::dial::tls::CertificateProblem;

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has ended, ends soon, or has not begun.
    Time,
    /// It is somebody else's.
    Identity,
}

/// A sentence, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) severity: Severity,
    pub(super) fault: Fault,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

/// Whose certificate it has to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) host: &'a str,
    pub(super) role: Role,
    /// A service that everybody knows: its authority is one that everybody trusts.
    pub(super) is_public: bool,
    /// Where another authority is named.
    pub(super) ca: &'static str,
}

impl<'a> Expected<'a> {
    pub(super) fn of(aim: &Aim, host: &'a str) -> Self {
        Self {
            host,
            role: aim.role,
            is_public: aim.is_public,
            ca: "ca",
        }
    }
}

/// `None`: nothing is wrong.
pub(super) fn of_certificate(
    shaken: &Shaken,
    expected: Expected<'_>,
    now: SystemTime,
) -> Option<Verdict> {
    let Expected {
        host,
        role,
        is_public,
        ca,
    } = expected;
    let seen = &shaken.seen;
    let Some(leaf) = Certificate::parse(&seen.leaf) else {
        return Some(Verdict {
            severity: Severity::Fail,
            fault: Fault::Identity,
            what: String::from("the certificate cannot be read"),
            remedy: String::from(
                "look at it: openssl s_client -connect HOST:PORT -servername HOST",
            ),
        });
    };
    let whose = if leaf.is_self_signed {
        String::from("it is signed by nobody but itself")
    } else {
        format!("it is signed by {}", leaf.issuer)
    };
    let undecrypted =
        format!("put {host} on the list of hosts that are not decrypted (firewall, web gateway)");
    let fail = |fault: Fault, what: String, remedy: String| {
        Some(Verdict {
            severity: Severity::Fail,
            fault,
            what,
            remedy,
        })
    };
    // An authority of somebody else explains everything else that may be wrong.
    if is_public && !seen.is_public {
        if seen.is_alone && seen.is_public_kin && !seen.is_trusted {
            return fail(
                Fault::Identity,
                format!(
                    "the certificate comes alone, without the intermediate that signed it; {whose}"
                ),
                format!(
                    "whoever runs the service has to send the intermediate with it; if it was your gateway, {undecrypted}"
                ),
            );
        }
        let trusted = if seen.is_trusted {
            ", which this machine trusts and call servers do not: they refuse it"
        } else {
            ""
        };
        return fail(
            Fault::Identity,
            format!(
                "something on the way decrypts TLS: the certificate is of no public authority, {whose}{trusted}"
            ),
            undecrypted,
        );
    }
    let ends = seen.ending(&leaf);
    let problem = match &seen.verdict {
        Ok(()) => {
            let days = ends.certificate.days_left(now);
            return ends.certificate.is_due(EXPIRES_SOON, now).then(|| Verdict {
                severity: Severity::Warn,
                fault: Fault::Time,
                what: format!("{ends} ends in {days} days; {whose}"),
                remedy: String::from(
                    "whoever runs the service has to renew it; if that is your gateway, renew its authority",
                ),
            });
        }
        Err(error) => CertificateProblem::of(error).unwrap_or(CertificateProblem::Other),
    };
    match problem {
        CertificateProblem::Expired => fail(
            Fault::Time,
            format!(
                "{ends} ended {} days ago; {whose}",
                ends.certificate.days_gone(now)
            ),
            String::from(
                "check this machine's clock first; then whoever runs the service, or the gateway on the way, has to renew it",
            ),
        ),
        CertificateProblem::NotYet => fail(
            Fault::Time,
            format!("the certificate is not valid yet; {whose}"),
            String::from("check this machine's clock: start NTP"),
        ),
        CertificateProblem::OtherName if leaf.names.is_empty() => fail(
            Fault::Identity,
            format!(
                "the certificate carries no names (SAN), and servers take none of its CN; {whose}"
            ),
            format!(
                "whoever runs the service has to have one made with {host} as subject alternative name"
            ),
        ),
        CertificateProblem::OtherName => fail(
            Fault::Identity,
            format!(
                "the certificate is for another name ({}); {whose}",
                leaf.names.join(", ")
            ),
            format!(
                "the address is not {host}'s: check what DNS (or addresses, or /etc/hosts) says; a portal or gateway may answer in its place"
            ),
        ),
        CertificateProblem::UnknownIssuer => {
            let severity = match role {
                Role::Push | Role::Token | Role::Onboarding => Severity::Fail,
                Role::Other => Severity::Warn,
            };
            // Whoever signed it may be known to somebody whom we trust.
            let may_lack_one = seen.is_alone && !seen.knows_issuer && !leaf.is_self_signed;
            let (alone, intermediate) = if may_lack_one {
                (
                    ", and comes without an intermediate",
                    "the server may not send its intermediate certificate: whoever runs it has to add it; ",
                )
            } else {
                ("", "")
            };
            Some(Verdict {
                severity,
                fault: Fault::Identity,
                what: format!(
                    "the certificate is of an authority that is not trusted here: {whose}{alone}"
                ),
                remedy: format!(
                    "{intermediate}if that authority is your gateway's, it decrypts TLS on the way: {undecrypted}; if it is the service's own, name its certificate in {ca}"
                ),
            })
        }
        CertificateProblem::Authority => fail(
            Fault::Identity,
            format!("the certificate is an authority's own and no server's; {whose}"),
            String::from("the service needs one signed by an authority, or made without CA:TRUE"),
        ),
        CertificateProblem::Other => fail(
            Fault::Identity,
            format!("the certificate is not valid; {whose}"),
            String::from("look at it: openssl s_client -connect HOST:PORT -servername HOST"),
        ),
    }
}

/// Why there was no handshake.
pub(super) fn of_failure(failure: TlsFailure, host: &str) -> (String, String) {
    let (what, remedy) = match failure {
        TlsFailure::TimedOut => (
            "the TLS handshake was not finished in time",
            "it accepts connections and is silent: the service is sick, or a middlebox swallows the hello or the certificates (see --mtu)",
        ),
        TlsFailure::NotTls => (
            "what answers speaks no TLS",
            "a portal, a proxy or another service answers there: check the address and the port",
        ),
        TlsFailure::Closed => (
            "the connection was closed in the middle of the TLS handshake",
            "a firewall that filters by SNI does so: allow this name there; else the service is sick",
        ),
        TlsFailure::Old => (
            "the other end speaks neither TLS 1.2 nor 1.3",
            "it is too old, or an old gateway answers in its place: check the address, and have TLS 1.2 switched on there",
        ),
        TlsFailure::Refused => (
            "the other end refused the TLS handshake",
            "it may want a client certificate or know no such name: check hosts and ports",
        ),
        TlsFailure::Unusable => (
            "the other end's certificate cannot be used: it is broken, or of an old kind (X.509 v1)",
            "whoever runs the service has to have one made as X.509 v3, with this name as subject alternative name",
        ),
        TlsFailure::Name => ("no certificate can be for this name", "correct it in hosts"),
    };
    (format!("{what} (SNI {host})"), remedy.to_owned())
}
