//! An alarm as receivers are told of it. Pure.

use std::time::SystemTime;

use crate::telemetry::guide::Severity;

/// One alarm of one subject, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) alarm: &'static str,
    pub(super) component: &'static str,
    pub(super) severity: Severity,
    /// A configured name; may be empty.
    pub(super) subject: String,
    /// The word of how it is known.
    pub(super) origin: &'static str,
    /// When it was last raised.
    pub(super) since: SystemTime,
    /// When that was over; `None`: it is active.
    pub(super) cleared: Option<SystemTime>,
    /// How often it was raised since the program started.
    pub(super) times: u64,
    pub(super) summary: String,
    /// What to do.
    pub(super) action: String,
    /// What was seen last.
    pub(super) text: String,
    /// In which exchange.
    pub(super) exchange: Option<String>,
}

impl Notice {
    pub(super) fn is_active(&self) -> bool {
        self.cleared.is_none()
    }

    /// Whether a receiver that knows the other one knows this one.
    pub(super) fn is_known_from(&self, other: &Self) -> bool {
        (self.since, self.cleared) == (other.since, other.cleared)
    }

    pub(super) fn key(&self) -> Key {
        (self.alarm, self.subject.clone())
    }
}

/// What tells alarms apart.
pub(super) type Key = (&'static str, String);

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::Duration;

    /// So many seconds after 2026-03-01T09:30:00Z.
    pub(in crate::deliver) fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_357_400 + seconds)
    }

    /// One of this subject that is active since then.
    pub(in crate::deliver) fn active(subject: &str, since: u64) -> Notice {
        Notice {
            alarm: "PushNotificationServiceUnavailable",
            component: "Cisco CallManager",
            severity: Severity::Alert,
            subject: subject.into(),
            origin: "derived",
            since: at(since),
            cleared: None,
            times: 3,
            summary: "No push can be sent.".into(),
            action: "Look at \"DNS\" [and TLS].".into(),
            text: "push.test:443: refused".into(),
            exchange: Some("01J".into()),
        }
    }

    /// The same, over since then.
    pub(in crate::deliver) fn cleared(subject: &str, since: u64, cleared: u64) -> Notice {
        Notice {
            cleared: Some(at(cleared)),
            ..active(subject, since)
        }
    }
}
