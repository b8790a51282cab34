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
    let priority = LOCAL0 + if notice.is_active() { level(notice.severity) } else { NOTICE };
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
        ("state", if notice.is_active() { "active" } else { "cleared" }),
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
