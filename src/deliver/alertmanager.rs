//! Alarms as Alertmanager's API takes them (`POST /api/v2/alerts`). Pure.
//!
//! What is active has no end: Alertmanager takes it for resolved when it has not heard of it for its `resolve_timeout`,
//! and so it is told again and again.

use std::collections::BTreeMap;

use serde::Serialize;

use super::desk::News;
use super::notice::Notice;
use crate::telemetry::{Timestamp, json};

/// Behind the configured path.
pub(super) const PATH: &str = "/api/v2/alerts";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    labels: BTreeMap<&'static str, &'a str>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<Timestamp>,
}

/// All that is active, and what has been cleared.
pub(super) fn body(news: &News, instance: &str) -> Vec<u8> {
    let cleared = news.changes.iter().filter(|notice| !notice.is_active());
    let alerts: Vec<_> = cleared
        .chain(&news.active)
        .map(|notice| alert(notice, instance))
        .collect();
    let mut body = Vec::new();
    json::append(&mut body, &alerts);
    body
}

fn alert<'a>(notice: &'a Notice, instance: &'a str) -> Alert<'a> {
    // An empty label is no label there.
    let labels = [
        ("alertname", notice.alarm),
        ("severity", notice.severity.name()),
        ("component", notice.component),
        ("subject", &notice.subject),
        ("instance", instance),
    ];
    let mut description = notice.text.clone();
    if let Some(exchange) = &notice.exchange {
        if !description.is_empty() {
            description.push(' ');
        }
        description += &format!("(exchange {exchange})");
    }
    let annotations = [
        ("summary", notice.summary.clone()),
        ("description", description),
        ("action", notice.action.clone()),
        ("origin", notice.origin.to_owned()),
    ];
    Alert {
        labels: labels
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        annotations: annotations
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        starts_at: Timestamp(notice.since),
        ends_at: notice.cleared.map(Timestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::{active, cleared};
    use super::*;

    #[test]
    fn alerts() {
        let mut nameless = active("", 5);
        (nameless.exchange, nameless.text) = (None, String::new());
        let news = News {
            changes: vec![cleared("gone", 0, 60), active("cisco", 1)],
            active: vec![active("cisco", 1), nameless],
            again: false,
        };
        let expected = concat!(
            r#"[{"labels":{"alertname":"PushNotificationServiceUnavailable","component":"Cisco CallManager","instance":"proxy-1","severity":"ALERT","subject":"gone"},"#,
            r#""annotations":{"action":"Look at \"DNS\" [and TLS].","description":"push.test:443: refused (exchange 01J)","origin":"derived","summary":"No push can be sent."},"#,
            r#""startsAt":"2026-03-01T09:30:00.000Z","endsAt":"2026-03-01T09:31:00.000Z"},"#,
            r#"{"labels":{"alertname":"PushNotificationServiceUnavailable","component":"Cisco CallManager","instance":"proxy-1","severity":"ALERT","subject":"cisco"},"#,
            r#""annotations":{"action":"Look at \"DNS\" [and TLS].","description":"push.test:443: refused (exchange 01J)","origin":"derived","summary":"No push can be sent."},"#,
            r#""startsAt":"2026-03-01T09:30:01.000Z"},"#,
            r#"{"labels":{"alertname":"PushNotificationServiceUnavailable","component":"Cisco CallManager","instance":"proxy-1","severity":"ALERT"},"#,
            r#""annotations":{"action":"Look at \"DNS\" [and TLS].","origin":"derived","summary":"No push can be sent."},"#,
            r#""startsAt":"2026-03-01T09:30:05.000Z"}]"#,
        );
        let body = String::from_utf8(body(&news, "proxy-1")).unwrap();
        assert_eq!(body, expected);
    }
}
