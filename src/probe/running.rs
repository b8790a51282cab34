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

const PATIENCE: Duration = Duration::from_secs(3);
/// More than all alarms with all their subjects.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The active alarms of the proxy whose admin endpoint is here.
pub(crate) async fn alarms(dialer: &OperatorDialer, admin: SocketAddr) -> Vec<Finding> {
    match timeout(PATIENCE, page(dialer, admin)).await {
        Ok(Some(page)) => read(&page),
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
fn read(page: &Value) -> Vec<Finding> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let is_active = |one: &Value| one["state"] == "active";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut findings = Vec::new();
    for alarm in list(&page["alarms"]).iter().filter(|one| is_active(one)) {
        let severity = match alarm["severity"].as_str() {
            Some("ALERT" | "CRITICAL") => Severity::Fail,
            _ => Severity::Warn,
        };
        for subject in list(&alarm["subjects"]).iter().filter(|one| is_active(one)) {
            let what = format!(
                "alarm {} of {} since {}: {} ({})",
                text(&alarm["alarm"]),
                text(&subject["subject"]),
                text(&subject["since"]),
                text(&alarm["summary"]).trim_end_matches('.'),
                text(&subject["evidence"]["text"]),
            );
            let evidence = text(&subject["evidence"]["text"]);
            let remedy = of_status(&evidence).map(str::to_owned);
            let remedy = remedy.unwrap_or_else(|| text(&alarm["action"]));
            findings.push(finding(severity, what, Some(remedy)));
        }
    }
    if findings.is_empty() {
        let what = String::from("the tidegate that runs here has no alarm");
        findings.push(finding(Severity::Ok, what, None));
    }
    findings
}

/// What a service's answer asks for, where the alarm's own words leave that to its status.
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
    fn each_active_subject_is_a_line_with_what_to_do() {
        let subject = |name: &str, state: &str| json!({"subject": name, "state": state, "since": "2026-01-01T00:00:00.000Z", "evidence": {"text": "400"}});
        let page = json!({"alarms": [
            {"alarm": "A", "severity": "CRITICAL", "state": "active", "summary": "Bad.", "action": "Mend it.",
             "subjects": [subject("one", "active"), subject("two", "cleared")]},
            {"alarm": "B", "severity": "ERROR", "state": "cleared", "subjects": [subject("one", "cleared")]},
        ]});
        let lines: Vec<String> = read(&page).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "FAIL  this machine: alarm A of one since 2026-01-01T00:00:00.000Z: Bad (400) -> Mend it."
            ]
        );
        for page in [json!({"alarms": []}), json!(null), json!([1])] {
            assert!(read(&page)[0].what.contains("has no alarm"), "{page}");
        }
    }
}
