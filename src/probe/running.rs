//! What the proxy that runs on this machine says is wrong: its active alarms, each a line with what to do.
//!
//! Exchanges show more than probes can: an expired refresh token, a device token that is not valid. Reads `/alarms` of
//! the admin endpoint, and takes it for what it is; where nobody answers there, that is said and no more.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use super::finding::{Finding, Severity};
use crate::dial::operator::OperatorDialer;
use crate::exchange::Host;
use crate::telemetry::alarms::LATER;

const PATIENCE: Duration = Duration::from_secs(3);
/// More than all alarms with all their subjects.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The active alarms of the proxy whose admin endpoint is here. `looked`: what was found out in the same run; it says
/// more than an alarm, and what to do is said there.
pub(crate) async fn alarms(
    dialer: &OperatorDialer,
    admin: SocketAddr,
    looked: &[Finding],
) -> Vec<Finding> {
    match timeout(PATIENCE, page(dialer, admin)).await {
        Ok(Some(page)) => read(&page, looked),
        Ok(None) | Err(_) => {
            let what =
                format!("no tidegate answers at {admin}: what its exchanges show is not known");
            vec![finding(Severity::Note, what, None)]
        }
    }
}

async fn page(dialer: &OperatorDialer, admin: SocketAddr) -> Option<Value> {
    let host = Host::Addr(admin.ip());
    let tcp = dialer.tcp(&host, admin.port(), PATIENCE).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.ok()?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/alarms").header("host", admin.to_string());
    let reply = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?);
    let body = Limited::new(reply.await.ok()?.into_body(), PAGE_BYTES);
    let page = body.collect().await.ok()?.to_bytes();
    connection.abort();
    serde_json::from_slice(&page).ok()
}

/// One line for each subject of each active alarm.
fn read(page: &Value, looked: &[Finding]) -> Vec<Finding> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let is_active = |one: &Value| one["state"] == "active";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut findings = Vec::new();
    for alarm in list(&page["alarms"]).iter().filter(|one| is_active(one)) {
        let name = text(&alarm["alarm"]);
        let severity = match alarm["severity"].as_str() {
            // One device's token: they rotate, and single ones are normal.
            _ if name.ends_with("InvalidDeviceToken") => Severity::Warn,
            Some("ALERT" | "CRITICAL") => Severity::Fail,
            _ => Severity::Warn,
        };
        for subject in list(&alarm["subjects"]).iter().filter(|one| is_active(one)) {
            let what = format!(
                "alarm {} of {} since {}: {} ({})",
                name,
                text(&subject["subject"]),
                text(&subject["since"]),
                text(&alarm["summary"]).trim_end_matches('.'),
                text(&subject["evidence"]["text"]),
            );
            let evidence = text(&subject["evidence"]["text"]);
            let subject_name = text(&subject["subject"]);
            let remedy = seen_here(&name, &subject_name, &evidence, severity, looked)
                .or_else(|| remedy(&name, &evidence))
                .unwrap_or_else(|| text(&subject["action"]));
            findings.push(finding(severity, what, Some(remedy)));
        }
    }
    if findings.is_empty() {
        let what = String::from("the tidegate that runs here has no alarm");
        findings.push(finding(Severity::Ok, what, None));
    }
    findings
}

/// Where this very run has looked at what an alarm is of: its line there.
fn seen_here(
    alarm: &str,
    subject: &str,
    evidence: &str,
    severity: Severity,
    looked: &[Finding],
) -> Option<String> {
    let (destination, is_of_a_host, checks): (_, _, &[_]) = match alarm {
        "TidegateAllAddressesDead" => (subject, false, &["names", "address"]),
        "TidegateProbeFailing" => (subject, true, &["names", "address", "tls"]),
        "TidegateUpstreamCertificateInvalid" => (subject, true, &["tls"]),
        "TidegateCertificateExpiring" => {
            (subject.strip_prefix("destination ")?, true, &["tls"][..])
        }
        _ => return None,
    };
    let is_of = |one: &&Finding| {
        let is_named = || evidence.starts_with(&format!("{}: ", one.target));
        one.destination == destination && (!is_of_a_host || is_named())
    };
    let own = || looked.iter().filter(is_of);
    let bad = own()
        .filter(|one| matches!(one.severity, Severity::Fail | Severity::Warn))
        .filter(|one| checks.contains(&one.check))
        .min_by_key(|one| one.severity);
    if let Some(bad) = bad {
        // All lines are told in the order of their severity, and alarms last.
        let place = if bad.severity <= severity {
            "above"
        } else {
            "below"
        };
        return Some(format!("see its line {place} ({})", bad.target));
    }
    let good = own().find(|one| one.severity == Severity::Ok && one.check == "target")?;
    Some(format!(
        "it is good now (its line below, {}): the alarm clears once an exchange or a probe finds so, too",
        good.target
    ))
}

/// What to do where the alarm's own words leave it to its evidence, or send its reader here.
fn remedy(alarm: &str, evidence: &str) -> Option<String> {
    if let Some(remedy) = of_alarm(alarm, evidence) {
        return Some(remedy.to_owned());
    }
    let (cause, way) = match evidence.split_once(LATER) {
        Some((cause, way)) => (cause, Some(way)),
        None => (evidence, None),
    };
    let both = [
        of_status(cause).or_else(|| of_way(cause)),
        way.and_then(of_way),
    ];
    let both: Vec<_> = both.into_iter().flatten().collect();
    (!both.is_empty()).then(|| both.join("; then "))
}

/// Those whose action is to run the doctor.
fn of_alarm(name: &str, evidence: &str) -> Option<&'static str> {
    Some(match name {
        "TidegateAllAddressesDead" | "TidegateProbeFailing" if evidence.contains("parent prox") => {
            "look at the parent proxies in via: whether they run, are reached from this machine (name, firewall), answer CONNECT, and let it through to this host"
        }
        "TidegateProbeFailing" => {
            "mend what it says: the name servers, a firewall or a route, or whatever breaks TLS on the way; else the service is down: see its status page"
        }
        "TidegateAllAddressesDead" => {
            "let this machine out to each of these addresses on the host's port (firewall, route); where the lines here say that all of it is open, the service is down: see its status page"
        }
        "TidegateUpstreamCertificateInvalid" => of_certificate(evidence),
        "TidegateCertificateExpiring" => {
            "a listener's: renew it, put it in its place and reload; a destination's: tell whoever runs the service, or the gateway that decrypts on the way, to renew it"
        }
        _ => return None,
    })
}

/// In the words of the verdict that is its evidence.
fn of_certificate(evidence: &str) -> &'static str {
    if evidence.contains("is for another name") {
        "the address is not this host's: check what DNS (or addresses, or /etc/hosts) says; a portal or gateway may answer in its place"
    } else if evidence.contains("no public authority") {
        // A `ca` changes nothing: the host is everybody's.
        "whatever decrypts TLS on the way has to leave this host alone: put it on the list of hosts that are not decrypted (firewall, web gateway)"
    } else if evidence.contains("comes without an intermediate") || evidence.contains("comes alone")
    {
        "whoever runs the service has to send the intermediate certificate with it; if a gateway decrypts TLS on the way, put this host on its list of hosts that are not decrypted"
    } else if evidence.contains("not trusted here") {
        "if the authority is your gateway's, it decrypts TLS on the way: put this host on the list of hosts that are not decrypted; if it is the service's own, name it as the destination's ca"
    } else {
        "whoever runs the service has to have another certificate made: openssl s_client -connect HOST:PORT -servername HOST shows this one"
    }
}

/// Where no answer came.
fn of_way(evidence: &str) -> Option<&'static str> {
    Some(match evidence {
        way if way.ends_with("no connection") => {
            "let this machine out to the host's port on each of its addresses (firewall, route), and see that its name servers know the name"
        }
        way if way.ends_with("no TLS with the service") => {
            "something on the way decrypts or blocks TLS, or the port does no TLS: put the host on the list of hosts that are not decrypted"
        }
        way if way.ends_with("had no answer") => {
            "the service took the request and was silent, or broke off: see its status page; where it is well, look for what drops connections on the way (tidegate doctor --idle 30m)"
        }
        _ => return None,
    })
}

/// What a service's answer asks for.
fn of_status(evidence: &str) -> Option<&'static str> {
    let (before, status) = evidence.rsplit_once(" answered ")?;
    let is_token = before.contains("access token");
    Some(match status {
        "400" if is_token => {
            "the refresh token has expired or is not valid: onboard the cluster again, which brings a new one; its servers ask again within 10 minutes"
        }
        "401" | "403" => {
            "the token is not accepted: see that its server's clock is right and that tokens are fetched (token host, refresh token); else onboard the cluster again"
        }
        "410" => {
            "the device's token is not valid any more: its user signs out of the client and signs in again"
        }
        "429" => {
            "the service wants fewer at a time: have senders honour Retry-After, and shape them with a [[limit]] of a lower rate"
        }
        status if status.starts_with('5') && status.len() == 3 => {
            "the service is sick: see its status page; nothing here can mend it"
        }
        _ => return None,
    })
}

fn finding(severity: Severity, what: String, remedy: Option<String>) -> Finding {
    Finding {
        severity,
        check: "alarms",
        destination: String::new(),
        target: String::new(),
        role: "",
        peer: None,
        reason: None,
        what,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_to_do_follows_from_what_was_seen() {
        let check = |alarm: &str, evidence: &str, wanted: &[&str]| {
            let found = remedy(alarm, evidence).unwrap_or_default();
            assert_eq!(found.is_empty(), wanted.is_empty(), "{evidence}: {found}");
            for words in wanted {
                assert!(found.contains(words), "{evidence}: {found}");
            }
        };
        let failed = "PushNotificationFailed";
        let push = |end: &str| format!("a push (APNS, message) to lab {end}");
        check(failed, &push("answered 429"), &["Retry-After"]);
        check(failed, &push("answered 413"), &[]);
        check(
            failed,
            &push("could not be sent: no connection"),
            &["firewall"],
        );
        check(
            failed,
            &push("could not be sent: no TLS with the service"),
            &["not decrypted"],
        );
        check(failed, &push("had no answer"), &["status page"]);
        let token = "a request for an access token to lab answered 400";
        check(
            "AccessTokenFetchFailed",
            &format!("{token}{LATER}{}", push("had no answer")),
            &["onboard the cluster again", "; then the service took"],
        );
        for alarm in [
            "TidegateAllAddressesDead",
            "TidegateUpstreamCertificateInvalid",
            "TidegateCertificateExpiring",
            "TidegateProbeFailing",
        ] {
            let found = remedy(alarm, "seen").unwrap();
            assert!(!found.contains("doctor"), "{found}");
        }
        let dead = "no way through its parent proxies (via): 127.0.0.1:1 (quarantined, 3 failures)";
        check("TidegateAllAddressesDead", dead, &["in via"]);
        let refused = "push.test:443: the parent proxy refused the connection";
        check("TidegateProbeFailing", refused, &["in via"]);
        let certificate = "TidegateUpstreamCertificateInvalid";
        let shown = |what: &str| format!("push.test:443: the certificate {what}");
        check(
            certificate,
            &shown("is for another name (other.test)"),
            &["DNS"],
        );
        check(
            certificate,
            &shown("is not valid"),
            &["another certificate"],
        );
        let own = shown("is of an authority that is not trusted here: it is signed by \"Lab\"");
        check(certificate, &own, &["not decrypted", "destination's ca"]);
        let decrypted = "cisco.test:443: something on the way decrypts TLS: the certificate is of no public authority";
        let found = remedy(certificate, decrypted).unwrap();
        assert!(found.contains("not decrypted"), "{found}");
        assert!(!found.contains("ca "), "it would have no effect: {found}");
        check("TidegateAddressesChanged", "seen", &[]);
    }

    #[test]
    fn an_alarm_points_at_what_this_run_has_found_out_itself() {
        let line = |severity, check, target: &str| Finding {
            destination: "lab".into(),
            target: target.into(),
            ..Finding {
                check,
                ..finding(severity, "seen".into(), None)
            }
        };
        let bad_tls = line(Severity::Fail, "tls", "push.test:443");
        let late = line(Severity::Warn, "reply", "push.test:443");
        let good = line(Severity::Ok, "target", "push.test:443");
        let other = line(Severity::Fail, "tls", "other.test:443");
        let check = |alarm: &str, subject: &str, looked: &[Finding], wanted: Option<&str>| {
            let evidence = "push.test:443: it is bad";
            let found = seen_here(alarm, subject, evidence, Severity::Warn, looked);
            match wanted {
                None => assert_eq!(found, None, "{alarm}"),
                Some(words) => assert!(found.as_ref().unwrap().contains(words), "{found:?}"),
            }
        };
        let above = Some("see its line above (push.test:443)");
        let all = [other.clone(), bad_tls, good.clone()];
        for alarm in ["TidegateProbeFailing", "TidegateUpstreamCertificateInvalid"] {
            check(alarm, "lab", &all, above);
            check(alarm, "another", &all, None);
            check(alarm, "lab", std::slice::from_ref(&other), None);
        }
        check(
            "TidegateCertificateExpiring",
            "destination lab",
            &all,
            above,
        );
        // A listener of that name.
        check("TidegateCertificateExpiring", "lab", &all, None);
        let all = [late, good];
        let good = Some("good now");
        check("TidegateProbeFailing", "lab", &all, good);
        check("TidegateAllAddressesDead", "lab", &all, good);
        check("TidegateAddressesChanged", "lab", &all, None);
    }

    #[test]
    fn each_active_subject_is_a_line_with_what_to_do() {
        let subject = |name: &str, state: &str| json!({"subject": name, "state": state, "since": "2026-01-01T00:00:00.000Z", "evidence": {"text": "400"}, "action": "Mend it."});
        let page = json!({"alarms": [
            {"alarm": "A", "severity": "CRITICAL", "state": "active", "summary": "Bad.", "action": "Mend all.",
             "subjects": [subject("one", "active"), subject("two", "cleared")]},
            {"alarm": "B", "severity": "ERROR", "state": "cleared", "subjects": [subject("one", "cleared")]},
        ]});
        let lines: Vec<String> = read(&page, &[]).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "FAIL  this machine: alarm A of one since 2026-01-01T00:00:00.000Z: Bad (400) -> Mend it."
            ]
        );
        let page = json!({"alarms": [
            {"alarm": "PushNotificationFailedInvalidDeviceToken", "severity": "CRITICAL", "state": "active",
             "subjects": [subject("one", "active")]},
        ]});
        assert_eq!(read(&page, &[])[0].severity, Severity::Warn, "one device's");
        for page in [json!({"alarms": []}), json!(null), json!([1])] {
            assert!(read(&page, &[])[0].what.contains("has no alarm"), "{page}");
        }
    }
}
