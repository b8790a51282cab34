//! What the data files say, row by row.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const COUNTERS: &str = include_str!("../../../config/guide/counters.toml");
const ALARMS: &str = include_str!("../../../config/guide/alarms.toml");
/// In place of a subscriber service: each of Apple's.
const ANY_APNS: &str = "any APNS service";

/// The part of a call or chat system that a counter or an alarm belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Component {
    #[serde(rename = "Cisco CallManager")]
    CallManager,
    #[serde(rename = "Cisco Mobility Manager")]
    MobilityManager,
    #[serde(rename = "Cisco Push Notification Service")]
    PushNotificationService,
    #[serde(rename = "Cisco XCP Config Manager")]
    XcpConfigManager,
    #[serde(rename = "Cisco XCP Push")]
    XcpPush,
    #[serde(rename = "Cisco Jabber")]
    Jabber,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CallManager,
        Self::MobilityManager,
        Self::PushNotificationService,
        Self::XcpConfigManager,
        Self::XcpPush,
        Self::Jabber,
    ];

    /// The guide's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CallManager => "Cisco CallManager",
            Self::MobilityManager => "Cisco Mobility Manager",
            Self::PushNotificationService => "Cisco Push Notification Service",
            Self::XcpConfigManager => "Cisco XCP Config Manager",
            Self::XcpPush => "Cisco XCP Push",
            Self::Jabber => "Cisco Jabber",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Component {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            format!("{name:?} is none of {all}")
        })
    }
}

/// How a counter moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// Up and down.
    Gauge,
    /// It falls to 0 every 60 s.
    #[serde(rename = "interval_60s")]
    Interval,
}

/// One of the guide's counters.
#[derive(Debug, Deserialize)]
pub(super) struct CounterRow {
    pub(super) name: String,
    pub(super) component: Component,
    pub(super) kind: Kind,
    subscriber_service: String,
}

impl CounterRow {
    /// Whether pushes of this service move it.
    pub(super) fn is_of(&self, service: &str) -> bool {
        match self.subscriber_service.as_str() {
            ANY_APNS => service.split(':').next() == Some("APNS"),
            own => own == service,
        }
    }
}

/// How bad an alarm is; the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the guide's words")]
pub enum Severity {
    Unspecified,
    Information,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
}

/// One of the guide's alarms.
#[derive(Debug, Deserialize)]
pub(super) struct AlarmRow {
    pub(super) name: String,
    pub(super) component: Component,
    pub(super) severity: Severity,
    pub(super) summary: String,
    pub(super) action: String,
    pub(super) raised_by: Vec<String>,
}

/// The counters, in the guide's order.
pub(super) fn counters() -> Vec<CounterRow> {
    #[derive(Deserialize)]
    struct File {
        counter: Vec<CounterRow>,
    }
    let file: File = toml::from_str(COUNTERS).expect("the embedded counters are good");
    file.counter
}

/// The alarms, in the guide's order.
pub(super) fn alarms() -> Vec<AlarmRow> {
    #[derive(Deserialize)]
    struct File {
        alarm: Vec<AlarmRow>,
    }
    let file: File = toml::from_str(ALARMS).expect("the embedded alarms are good");
    file.alarm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_guides_counters_and_alarms_are_read() {
        assert_eq!((counters().len(), alarms().len()), (47, 13));
        let of_kind = |kind| counters().iter().filter(|row| row.kind == kind).count();
        let kinds = [Kind::Counter, Kind::Gauge, Kind::Interval].map(of_kind);
        assert_eq!(kinds, [12, 7, 28]);
    }

    #[test]
    fn a_component_is_called_as_the_guide_calls_it() {
        for one in Component::ALL {
            assert_eq!(one.name().parse(), Ok(one));
        }
        assert!("CallManager".parse::<Component>().is_err());
    }

    #[test]
    fn a_counter_is_of_its_services() {
        let check = |counter: &str, services: &[&str], others: &[&str]| {
            let rows = counters();
            let row = rows.iter().find(|row| row.name == counter).unwrap();
            assert!(services.iter().all(|one| row.is_of(one)), "{counter}");
            assert!(!others.iter().any(|one| row.is_of(one)), "{counter}");
        };
        check(
            "NumberOfPushReqSent",
            &["APNS", "APNS:beta", "APNS:test"],
            &["FCM", "FCM:dev"],
        );
        check("PushErrorsApns", &["APNS"], &["APNS:beta", "FCM"]);
        check("PushErrorFcmDev", &["FCM:dev"], &["FCM"]);
    }
}
