//! TLS as a call server sees it: whose certificate, how long still, and why it is not taken; and what a clock is off by.
//!
//! Pure but for what a finished handshake knows.

use std::io;
use std::time::{Duration, SystemTime};

use tokio_rustls::client::TlsStream;
use x509_parser::parse_x509_certificate;

use super::as_server::{Mark, Step};
use super::heard::plain;
use crate::config::identity::RENEW_WITHIN;
use crate::dial::tls::{CertificateProblem, certificate_problem};
use crate::probe::{Reply, SKEW_MAX, Severity, Sight, Skew, TlsFailure};

/// What is to be done about an authority that nobody here knows.
const IMPORT: &str = "import its CA into the servers' trust store (here: --ca FILE)";

/// What a handshake with the proxy brought.
pub(super) fn certificate<S>(tls: &TlsStream<S>, took: Duration) -> Step {
    let (_, session) = tls.get_ref();
    let version = session
        .protocol_version()
        .map_or_else(String::new, |version| format!("{version:?}"));
    let chain = session.peer_certificates().unwrap_or_default();
    let parsed = chain
        .first()
        .and_then(|one| parse_x509_certificate(one).ok());
    let Some((_, parsed)) = parsed else {
        return Step::new(Mark::Ok, "tls", format!("{version} with the proxy")).took(took);
    };
    let issuer = parsed.issuer().to_string();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let left =
        parsed.validity().not_after.timestamp() - i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let days = left / (24 * 60 * 60);
    let what = format!(
        "{version} with the proxy; its certificate is of {}, and good for {days} more days",
        plain(&issuer)
    );
    let told = Step::new(Mark::Ok, "tls", what).took(took);
    if left < i64::try_from(RENEW_WITHIN.as_secs()).unwrap_or(i64::MAX) {
        told.warn("have it renewed now")
    } else {
        told
    }
}

/// Why there is no TLS with the proxy, and what helps. `issuer`: who signed its certificate, and whether that came without
/// the signer's own.
pub(super) fn no_tls(error: &io::Error, issuer: Option<(String, bool)>) -> (String, String) {
    let Some(problem) = certificate_problem(error) else {
        let (what, remedy) = no_handshake(error);
        return (what, remedy.to_owned());
    };
    if let (CertificateProblem::UnknownIssuer, Some((issuer, alone))) = (problem, issuer) {
        let (also, intermediate) = if alone {
            let words = format!(
                "the listener may not send its intermediate: the certificate of \"{issuer}\" belongs behind its own in the listener's file; else "
            );
            (", and comes without an intermediate", words)
        } else {
            ("", String::new())
        };
        return (
            format!(
                "the proxy's certificate is of an authority that is not trusted here: it is signed by \"{issuer}\"{also}"
            ),
            format!("{intermediate}{IMPORT}"),
        );
    }
    let (what, remedy) = match problem {
        CertificateProblem::Expired => ("has expired", "renew it, and reload the proxy"),
        CertificateProblem::NotYet => ("is not valid yet", "look at the clocks of both machines"),
        CertificateProblem::OtherName => (
            "is for another name",
            "use the name that stands in it, or have one made that names the host of the URL",
        ),
        CertificateProblem::UnknownIssuer => {
            ("is of an authority that is not trusted here", IMPORT)
        }
        CertificateProblem::Authority => (
            "is an authority's own (CA:TRUE) and no server's",
            "have one signed by an authority, or made without CA:TRUE",
        ),
        CertificateProblem::Other => (
            "is not valid",
            "openssl s_client -connect shows what is wrong with it",
        ),
    };
    (format!("the proxy's certificate {what}"), remedy.to_owned())
}

fn no_handshake(error: &io::Error) -> (String, &'static str) {
    let is_no_tls = matches!(
        error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        Some(
            rustls::Error::InvalidMessage(_)
                | rustls::Error::InappropriateMessage { .. }
                | rustls::Error::InappropriateHandshakeMessage { .. }
        )
    );
    if is_no_tls {
        return (
            "this port speaks no TLS".to_owned(),
            "reach it with http://, or name the TLS listener's port",
        );
    }
    if error.kind() == io::ErrorKind::TimedOut {
        return (
            "no TLS handshake with the proxy in time".to_owned(),
            "is this a TLS listener? if so, see the proxy's load",
        );
    }
    (
        format!("no TLS with the proxy: {}", plain(&error.to_string())),
        "is this a TLS listener? does it ask for a client's certificate?",
    )
}

/// Why there is no TLS with the target, through a tunnel that is there.
pub(super) fn nothing_behind(failure: TlsFailure) -> (&'static str, &'static str) {
    match failure {
        TlsFailure::NotTls => (
            "what answers in the tunnel speaks no TLS",
            "look at the target's port",
        ),
        TlsFailure::TimedOut => (
            "the target does not answer in the tunnel",
            "the proxy's way to it lets connects through and no data: see its firewall, and the path MTU",
        ),
        TlsFailure::Closed => (
            "the tunnel was closed in the middle of the TLS handshake",
            "see the proxy's access log: sni_mismatch, upstream_reset or a firewall that breaks TLS",
        ),
        TlsFailure::Old => (
            "the target speaks neither TLS 1.2 nor 1.3",
            "it is too old, or an old gateway answers in its place: look at host and port",
        ),
        TlsFailure::Refused => (
            "the target refused the TLS handshake through the tunnel",
            "it may want a client certificate or know no such name: look at host and port",
        ),
        TlsFailure::Unusable => (
            "the target's certificate cannot be used: it is broken, or of an old kind (X.509 v1)",
            "whoever runs the service has to have one made as X.509 v3, with its name as subject alternative name",
        ),
        TlsFailure::Name => (
            "no certificate can be for the target's name",
            "look at its spelling",
        ),
    }
}

/// What is at the end of the tunnel.
pub(super) fn behind(sight: &Sight) -> Vec<Step> {
    let with = format!("{} with the target, through the tunnel", sight.version);
    let certificate = match &sight.verdict {
        Some(bad) if bad.severity == Severity::Fail => {
            let what = format!("{with}: {}", bad.what);
            Step::new(Mark::Fail, "target", what).remedy(bad.remedy.as_str())
        }
        Some(doubtful) => {
            let what = format!("{with}: {}", doubtful.what);
            Step::new(Mark::Ok, "target", what).warn(doubtful.remedy.as_str())
        }
        None => {
            let signed = sight.signed.as_ref().map(|(signer, days)| {
                format!("; its certificate is signed by {signer}, and good for {days} more days")
            });
            Step::new(Mark::Ok, "target", with + &signed.unwrap_or_default())
        }
    };
    let mut steps = vec![certificate.took(sight.took)];
    steps.extend(sight.reply.as_ref().map(|(reply, took)| {
        let step = match reply {
            Ok(Reply {
                ahead: Some(skew), ..
            }) => clock(*skew),
            Ok(Reply { status, .. }) => {
                let what = format!("{status} without a Date: this machine's clock is not compared");
                Step::new(Mark::Note, "clock", what)
            }
            Err(error) => {
                let what = format!("a HEAD / has no answer: {error}");
                Step::new(Mark::Ok, "target", what).warn(
                    "the connection is good, and what is behind it is not: look at the service's status page",
                )
            }
        };
        step.took(*took)
    }));
    steps
}

/// What a target's Date says of our clock: by how many seconds it is ahead.
fn clock(ahead: Skew) -> Step {
    let side = if ahead < 0 { "ahead of" } else { "behind" };
    if ahead.unsigned_abs() > SKEW_MAX.unsigned_abs() {
        let what = format!(
            "this machine's clock is {} s {side} the target's (HTTP Date)",
            ahead.unsigned_abs()
        );
        Step::new(Mark::Ok, "clock", what)
            .warn("set it, and start NTP: certificates and tokens depend on it")
    } else {
        Step::new(
            Mark::Ok,
            "clock",
            format!("within {SKEW_MAX} s of the target's (HTTP Date)"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks() {
        let check = |ahead: Skew, mark: Mark, words: &str| {
            let step = clock(ahead);
            assert_eq!(step.mark, mark, "{step:?}");
            assert!(step.what.contains(words), "{step:?}");
        };
        check(0, Mark::Ok, "within 60 s");
        check(-60, Mark::Ok, "within 60 s");
        check(-120, Mark::Warn, "120 s ahead of");
        check(120, Mark::Warn, "120 s behind");
    }

    #[test]
    fn what_is_wrong_with_the_proxy_s_certificate_has_its_remedy() {
        use rustls::{CertificateError, Error};
        let told = |error: CertificateError| {
            no_tls(&io::Error::other(Error::InvalidCertificate(error)), None)
        };
        let (what, remedy) = told(CertificateError::UnknownIssuer);
        assert!(
            what.contains("the proxy's") && remedy.contains("trust store"),
            "{what} {remedy}"
        );
        let (what, _) = told(CertificateError::Expired);
        assert_eq!(what, "the proxy's certificate has expired");
    }
}
