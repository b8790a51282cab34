//! Alarms as the JSON object that a webhook is sent. Pure; its shape is in the README, and keys are only ever added.

use std::time::SystemTime;

use serde::Serialize;

use super::desk::News;
use super::notice::Notice;
use crate::telemetry::{Timestamp, json};

const VERSION: u8 = 1;

#[derive(Serialize)]
struct Body<'a> {
    version: u8,
    instance: &'a str,
    sent: Timestamp,
    changes: Vec<Alarm<'a>>,
    active: Vec<Alarm<'a>>,
}

/// One alarm, as webhook and upload have it.
#[derive(Serialize)]
pub(super) struct Alarm<'a> {
    alarm: &'a str,
    component: &'a str,
    severity: &'a str,
    subject: Option<&'a str>,
    origin: &'a str,
    state: &'static str,
    since: Timestamp,
    cleared: Option<Timestamp>,
    times: u64,
    summary: &'a str,
    action: &'a str,
    #[serde(flatten)]
    evidence: Option<Evidence<'a>>,
}

/// What was seen, and where: an address or a user's name may be in it.
#[derive(Serialize)]
pub(super) struct Evidence<'a> {
    text: &'a str,
    exchange: Option<&'a str>,
}

impl<'a> Alarm<'a> {
    pub(super) fn whole(notice: &'a Notice) -> Self {
        Self {
            evidence: Some(Evidence::of(notice)),
            ..Self::bare(notice)
        }
    }

    /// Without what was seen.
    pub(super) fn bare(notice: &'a Notice) -> Self {
        Self {
            alarm: notice.alarm,
            component: notice.component,
            severity: notice.severity.name(),
            subject: Some(&*notice.subject).filter(|subject| !subject.is_empty()),
            origin: notice.origin,
            state: if notice.is_active() {
                "active"
            } else {
                "cleared"
            },
            since: Timestamp(notice.since),
            cleared: notice.cleared.map(Timestamp),
            times: notice.times,
            summary: &notice.summary,
            action: &notice.action,
            evidence: None,
        }
    }

    pub(super) fn without_subject(self) -> Self {
        Self {
            subject: None,
            ..self
        }
    }
}

impl<'a> Evidence<'a> {
    pub(super) fn of(notice: &'a Notice) -> Self {
        Self {
            text: &notice.text,
            exchange: notice.exchange.as_deref(),
        }
    }
}

pub(super) fn body(news: &News, instance: &str, now: SystemTime) -> Vec<u8> {
    let mut body = Vec::new();
    json::append(
        &mut body,
        &Body {
            version: VERSION,
            instance,
            sent: Timestamp(now),
            changes: news.changes.iter().map(Alarm::whole).collect(),
            active: news.active.iter().map(Alarm::whole).collect(),
        },
    );
    body
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::{active, at, cleared};
    use super::*;

    #[test]
    fn the_body_has_what_changed_and_what_is_active() {
        let news = News {
            changes: vec![cleared("cisco", 0, 60)],
            active: vec![active("", 1)],
            again: false,
        };
        let body = String::from_utf8(body(&news, "proxy-1", at(61))).unwrap();
        let expected = concat!(
            r#"{"version":1,"instance":"proxy-1","sent":"2026-03-01T09:31:01.000Z","changes":[{"#,
            r#""alarm":"PushNotificationServiceUnavailable","component":"Cisco CallManager","severity":"ALERT","subject":"cisco","origin":"derived","#,
            r#""state":"cleared","since":"2026-03-01T09:30:00.000Z","cleared":"2026-03-01T09:31:00.000Z","times":3,"#,
            r#""summary":"No push can be sent.","action":"Look at \"DNS\" [and TLS].","text":"push.test:443: refused","exchange":"01J"}],"#,
            r#""active":[{"#,
            r#""alarm":"PushNotificationServiceUnavailable","component":"Cisco CallManager","severity":"ALERT","subject":null,"origin":"derived","#,
            r#""state":"active","since":"2026-03-01T09:30:01.000Z","cleared":null,"times":3,"#,
            r#""summary":"No push can be sent.","action":"Look at \"DNS\" [and TLS].","text":"push.test:443: refused","exchange":"01J"}]}"#,
        );
        assert_eq!(body, expected);
    }
}
