//! A change of an alarm as a syslog message (RFC 5424). Pure.

use std::fmt::Write as _;

use super::notice::Notice;
use super::syslog::{LOCAL0, Sender};
use crate::telemetry::Timestamp;
use crate::telemetry::guide::Severity;

/// The private enterprise number that RFC 5612 sets aside for examples: we have none of our own.
const STRUCTURE: &str = "tidegate@32473";
/// RFC 5424 §6.2.7.
const MESSAGE_ID_CHARS: usize = 32;
/// RFC 5424 §6.4: before a text that is not ASCII.
const BYTE_ORDER_MARK: char = '\u{feff}';

pub(super) fn message(notice: &Notice, instance: &str, sender: &Sender) -> Vec<u8> {
    // Alarm names are ASCII; the longest are longer than an id may be, and stand whole in the structured data.
    let id = &notice.alarm[..notice.alarm.len().min(MESSAGE_ID_CHARS)];
    let at = notice.cleared.unwrap_or(notice.since);
    let priority = LOCAL0
        + if notice.is_active() {
            level(notice.severity)
        } else {
            NOTICE
        };
    let mut message = sender.header(priority, at, id);
    let _ = write!(message, "[{STRUCTURE}");
    let since = Timestamp(notice.since).to_string();
    let times = notice.times.to_string();
    for (name, value) in [
        ("alarm", notice.alarm),
        ("component", notice.component),
        ("severity", notice.severity.name()),
        ("subject", &notice.subject),
        ("origin", notice.origin),
        (
            "state",
            if notice.is_active() {
                "active"
            } else {
                "cleared"
            },
        ),
        ("since", &since),
        ("times", &times),
        ("exchange", notice.exchange.as_deref().unwrap_or_default()),
        ("action", &notice.action),
        ("instance", instance),
    ] {
        if !value.is_empty() {
            parameter(&mut message, name, value);
        }
    }
    message.push_str("] ");
    let mut text = notice.summary.clone();
    if !notice.text.is_empty() {
        text = format!("{text} {}", notice.text);
    }
    if !text.is_ascii() {
        message.push(BYTE_ORDER_MARK);
    }
    message.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    message.into_bytes()
}

/// RFC 5424 §6.3.3.
fn parameter(message: &mut String, name: &str, value: &str) {
    let _ = write!(message, " {name}=\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | ']') {
            message.push('\\');
        }
        message.push(if c.is_control() { ' ' } else { c });
    }
    message.push('"');
}

/// What a cleared alarm has (as in RFC 5674).
const NOTICE: u8 = 5;

fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Alert => 1,
        Severity::Critical => 2,
        // The guide has one alarm without a severity: nobody should miss it.
        Severity::Error | Severity::Unspecified => 3,
        Severity::Warning => 4,
        Severity::Notice => NOTICE,
        Severity::Information => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::{active, cleared};
    use super::*;
    use crate::telemetry::alarm::Alarm;
    use std::collections::HashSet;

    fn check(notice: &Notice, expected: &str) {
        let message = message(notice, "proxy-1", &Sender::new("h", 42));
        assert_eq!(String::from_utf8(message).unwrap(), expected);
    }

    #[test]
    fn messages() {
        check(
            &active("cisco", 1),
            concat!(
                r#"<129>1 2026-03-01T09:30:01.000Z h tidegate 42 PushNotificationServiceUnavailab "#,
                r#"[tidegate@32473 alarm="PushNotificationServiceUnavailable" component="Cisco CallManager" severity="ALERT" subject="cisco" origin="derived" state="active" "#,
                r#"since="2026-03-01T09:30:01.000Z" times="3" exchange="01J" action="Look at \"DNS\" [and TLS\]." instance="proxy-1"] "#,
                "No push can be sent. push.test:443: refused"
            ),
        );
        let mut odd = cleared("", 1, 62);
        (odd.alarm, odd.exchange, odd.action) = ("APNSAlarm", None, String::new());
        (odd.severity, odd.text) = (Severity::Critical, "J\u{fc}rgen\n".into());
        check(
            &odd,
            concat!(
                r#"<133>1 2026-03-01T09:31:02.000Z h tidegate 42 APNSAlarm "#,
                r#"[tidegate@32473 alarm="APNSAlarm" component="Cisco CallManager" severity="CRITICAL" origin="derived" state="cleared" "#,
                r#"since="2026-03-01T09:30:01.000Z" times="3" instance="proxy-1"] "#,
                "\u{feff}No push can be sent. J\u{fc}rgen "
            ),
        );
    }

    #[test]
    fn every_alarm_has_an_id_of_its_own() {
        let ids: HashSet<_> = Alarm::ALL
            .iter()
            .map(|alarm| &alarm.name()[..alarm.name().len().min(MESSAGE_ID_CHARS)])
            .collect();
        assert_eq!(ids.len(), Alarm::ALL.len());
    }

    #[test]
    fn severities() {
        let levels = Severity::ALL.map(|severity| (severity.name(), level(severity)));
        let expected = [
            ("UNSPECIFIED", 3),
            ("INFORMATION", 6),
            ("NOTICE", 5),
            ("WARNING", 4),
            ("ERROR", 3),
            ("CRITICAL", 2),
            ("ALERT", 1),
        ];
        assert_eq!(levels, expected);
    }
}
