//! Alarms as the upload has them. Pure; its shape is in the README, and keys are only ever added.
//!
//! Personal data is what was seen, the exchange, and a subject that is no name of the configuration: it leaves the
//! proxy encrypted, or not at all.

use std::collections::BTreeSet;
use std::time::SystemTime;

use aws_lc_rs::error::Unspecified;
use serde::Serialize;

use super::notice::Notice;
use super::seal::seal;
use super::webhook::{Alarm, Evidence};
use crate::config::{LeastSeverity, Secret};
use crate::telemetry::guide::Severity;
use crate::telemetry::{Timestamp, json};

const VERSION: u8 = 1;

#[derive(Serialize)]
struct Body<'a> {
    version: u8,
    instance: &'a str,
    sent: Timestamp,
    minimum_severity: &'a str,
    alarms: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    alarm: Alarm<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    personal: Option<String>,
}

#[derive(Serialize)]
struct Personal<'a> {
    subject: &'a str,
    #[serde(flatten)]
    evidence: Evidence<'a>,
}

/// What an upload is made with.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) instance: &'a str,
    pub(super) least: LeastSeverity,
    pub(super) key: Option<&'a Secret>,
    /// Names of the configuration: no personal data.
    pub(super) names: &'a BTreeSet<String>,
}

pub(super) fn body(
    notices: &[Notice],
    terms: &Terms<'_>,
    now: SystemTime,
) -> Result<Vec<u8>, Unspecified> {
    let alarms = notices
        .iter()
        .map(|notice| entry(notice, terms))
        .collect::<Result<_, _>>()?;
    let mut body = Vec::new();
    json::append(
        &mut body,
        &Body {
            version: VERSION,
            instance: terms.instance,
            sent: Timestamp(now),
            minimum_severity: terms.least.word(),
            alarms,
        },
    );
    Ok(body)
}

fn entry<'a>(notice: &'a Notice, terms: &Terms<'_>) -> Result<Entry<'a>, Unspecified> {
    let alarm = Alarm::bare(notice);
    let alarm = if terms.names.contains(&notice.subject) {
        alarm
    } else {
        alarm.without_subject()
    };
    let personal = terms.key.map(|key| {
        let mut plain = Vec::new();
        let evidence = Evidence::of(notice);
        let subject = &notice.subject;
        json::append(&mut plain, &Personal { subject, evidence });
        seal(key, &plain)
    });
    Ok(Entry {
        alarm,
        personal: personal.transpose()?,
    })
}

/// Whether it is bad enough. The guide has one alarm without a severity; it counts as an error.
pub(super) fn is_wanted(severity: Severity, least: LeastSeverity) -> bool {
    let severity = match severity {
        Severity::Unspecified => Severity::Error,
        named => named,
    };
    let least = match least {
        LeastSeverity::Critical => Severity::Critical,
        LeastSeverity::Error => Severity::Error,
        LeastSeverity::Warning => Severity::Warning,
        LeastSeverity::Notice => Severity::Notice,
        LeastSeverity::Information => Severity::Information,
    };
    severity >= least
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::{active, at};
    use super::*;
    use serde_json::Value;

    fn upload(subject: &str, key: Option<&Secret>) -> Value {
        let terms = Terms {
            instance: "proxy-1",
            least: LeastSeverity::Error,
            key,
            names: &BTreeSet::from(["cisco".to_owned()]),
        };
        let body = body(&[active(subject, 1)], &terms, at(2)).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["version"], &body["minimum_severity"]),
            (&1.into(), &"ERROR".into())
        );
        body["alarms"][0].clone()
    }

    #[test]
    fn personal_data_is_left_out_or_encrypted() {
        let plain = upload("cisco", None);
        assert_eq!(plain["subject"], "cisco");
        assert_eq!(plain["summary"], "No push can be sent.");
        let key = Secret::new([7; 32]);
        for uploaded in [
            plain,
            upload("10.1.2.3", None),
            upload("10.1.2.3", Some(&key)),
        ] {
            let text = uploaded.to_string();
            for secret in ["refused", "01J", "10.1.2.3"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
        let sealed = upload("cisco", Some(&key));
        assert!(sealed["personal"].as_str().unwrap().starts_with("eyJ"));
        assert_eq!(upload("cisco", None).get("personal"), None);
    }

    #[test]
    fn severities() {
        let check = |severity, least, wanted| assert_eq!(is_wanted(severity, least), wanted);
        check(Severity::Alert, LeastSeverity::Critical, true);
        check(Severity::Error, LeastSeverity::Critical, false);
        check(Severity::Error, LeastSeverity::Error, true);
        check(Severity::Unspecified, LeastSeverity::Error, true);
        check(Severity::Unspecified, LeastSeverity::Critical, false);
        check(Severity::Notice, LeastSeverity::Warning, false);
        check(Severity::Information, LeastSeverity::Information, true);
    }
}
