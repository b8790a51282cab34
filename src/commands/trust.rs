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
use crate::probe::SKEW_MAX;

/// Who showed the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Proxy,
    Target,
}

/// What a handshake brought.
pub(super) fn certificate<S>(
    step: &'static str,
    with: &str,
    tls: &TlsStream<S>,
    took: Duration,
) -> Step {
    let (_, session) = tls.get_ref();
    let version = session
        .protocol_version()
        .map_or_else(String::new, |version| format!("{version:?}"));
    let chain = session.peer_certificates().unwrap_or_default();
    let parsed = chain
        .first()
        .and_then(|one| parse_x509_certificate(one).ok());
    let Some((_, parsed)) = parsed else {
        return Step::new(Mark::Ok, step, format!("{version} {with}")).took(took);
    };
    let issuer = parsed.issuer().to_string();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let left =
        parsed.validity().not_after.timestamp() - i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let days = left / (24 * 60 * 60);
    let what = format!(
        "{version} {with}; its certificate is of {}, and good for {days} more days",
        plain(&issuer)
    );
    let told = Step::new(Mark::Ok, step, what).took(took);
    if left < i64::try_from(RENEW_WITHIN.as_secs()).unwrap_or(i64::MAX) {
        Step {
            mark: Mark::Warn,
            ..told
        }
        .remedy("have it renewed now")
    } else {
        told
    }
}

/// Why there is no TLS, and what helps.
pub(super) fn no_tls(error: &io::Error, side: Side) -> (String, &'static str) {
    let whose = match side {
        Side::Proxy => "the proxy's certificate",
        Side::Target => "what the target showed through the tunnel",
    };
    let Some(problem) = certificate_problem(error) else {
        return no_handshake(error, side);
    };
    let (what, proxy, target) = match problem {
        CertificateProblem::Expired => (
            "has expired",
            "renew it, and reload the proxy",
            "look at this machine's clock first; then it is the service's to renew",
        ),
        CertificateProblem::NotYet => (
            "is not valid yet",
            "look at the clocks of both machines",
            "look at this machine's clock",
        ),
        CertificateProblem::OtherName => (
            "is for another name",
            "use the name that stands in it, or have one made that names the host of the URL",
            "somebody answers in the target's place: see DNS at the proxy, and firewalls that intercept TLS",
        ),
        CertificateProblem::UnknownIssuer => (
            "is of an authority that is not trusted here",
            "import its CA into the servers' trust store (here: --ca FILE)",
            "a firewall intercepts TLS: exempt the target from it, or have the servers trust its CA (here: --ca FILE)",
        ),
        CertificateProblem::Authority => (
            "is an authority's own (CA:TRUE) and no server's",
            "have one signed by an authority, or made without CA:TRUE",
            "a firewall intercepts TLS with a wrong certificate: exempt the target from it",
        ),
        CertificateProblem::Other => (
            "is not valid",
            "openssl s_client -connect shows what is wrong with it",
            "a firewall may intercept TLS: openssl s_client -proxy shows who signed it",
        ),
    };
    let remedy = match side {
        Side::Proxy => proxy,
        Side::Target => target,
    };
    (format!("{whose} {what}"), remedy)
}

fn no_handshake(error: &io::Error, side: Side) -> (String, &'static str) {
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
    let why = plain(&error.to_string());
    match (side, is_no_tls, error.kind()) {
        (Side::Proxy, true, _) => (
            "this port speaks no TLS".to_owned(),
            "reach it with http://, or name the TLS listener's port",
        ),
        (Side::Proxy, _, io::ErrorKind::TimedOut) => (
            "no TLS handshake with the proxy in time".to_owned(),
            "is this a TLS listener? if so, see the proxy's load",
        ),
        (Side::Proxy, ..) => (
            format!("no TLS with the proxy: {why}"),
            "is this a TLS listener? does it ask for a client's certificate?",
        ),
        (Side::Target, true, _) => (
            "what answers in the tunnel speaks no TLS".to_owned(),
            "look at the target's port",
        ),
        (Side::Target, _, io::ErrorKind::TimedOut) => (
            "the target does not answer in the tunnel".to_owned(),
            "the proxy's way to it lets connects through and no data: see its firewall, and the path MTU",
        ),
        (Side::Target, ..) => (
            format!("no TLS with the target through the tunnel: {why}"),
            "see the proxy's access log: sni_mismatch, upstream_reset or a firewall that breaks TLS",
        ),
    }
}

/// What a target's Date says of our clock.
pub(super) fn clock(theirs: SystemTime, ours: SystemTime) -> Step {
    let (skew, side) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if skew.as_secs() > SKEW_MAX.unsigned_abs() {
        let what = format!(
            "this machine's clock is {} s {side} the target's (HTTP Date)",
            skew.as_secs()
        );
        Step::new(Mark::Warn, "clock", what)
            .remedy("set it, and start NTP: certificates and tokens depend on it")
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
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |theirs: SystemTime, mark: Mark, words: &str| {
            let step = clock(theirs, now);
            assert_eq!(step.mark, mark, "{step:?}");
            assert!(step.what.contains(words), "{step:?}");
        };
        let minute = Duration::from_secs(60);
        check(now, Mark::Ok, "within 60 s");
        check(now - minute, Mark::Ok, "within 60 s");
        check(now - 2 * minute, Mark::Warn, "120 s ahead of");
        check(now + 2 * minute, Mark::Warn, "120 s behind");
    }

    #[test]
    fn every_problem_of_a_certificate_has_its_remedy() {
        use rustls::{CertificateError, Error};
        let told = |error: CertificateError, side| {
            no_tls(&io::Error::other(Error::InvalidCertificate(error)), side)
        };
        let (what, remedy) = told(CertificateError::UnknownIssuer, Side::Target);
        assert!(
            what.contains("not trusted") && remedy.contains("intercepts"),
            "{what} {remedy}"
        );
        let (what, remedy) = told(CertificateError::UnknownIssuer, Side::Proxy);
        assert!(
            what.contains("the proxy's") && remedy.contains("trust store"),
            "{what} {remedy}"
        );
        let (what, _) = told(CertificateError::Expired, Side::Proxy);
        assert_eq!(what, "the proxy's certificate has expired");
    }
}
