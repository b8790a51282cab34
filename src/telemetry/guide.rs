//! The deployment guide's counters and alarms, as data: `config/guide/` read once.
//!
//! Facts only: nothing is counted or raised here, and nothing can change it while the program runs.

use serde::Deserialize;

pub(crate) use crate::exchange::{Component, SubscriberService};

const COUNTERS: &str = include_str!("../../config/guide/counters.toml");
const ALARMS: &str = include_str!("../../config/guide/alarms.toml");

/// How a value came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// In a message that the proxy forwarded and could read.
    Observed,
    /// By a written rule, from what a closed tunnel or its dial shows.
    Derived,
    /// By a simulated server or client; never in a proxy.
    Simulated,
}

impl Origin {
    pub(crate) const ALL: [Self; 3] = [Self::Observed, Self::Derived, Self::Simulated];

    /// The word in metrics, logs and views.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Derived => "derived",
            Self::Simulated => "simulated",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum CounterKind {
    #[serde(rename = "counter")]
    Counter,
    #[serde(rename = "gauge")]
    Gauge,
    /// Falls back to 0 every 60 s.
    #[serde(rename = "interval_60s")]
    Interval,
}

/// The services whose pushes move a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Services {
    AnyApns,
    Only(SubscriberService),
}

impl Services {
    /// Where the service is not known, a counter that stands for several of them moves all the same.
    pub(crate) fn include(self, service: Option<SubscriberService>) -> bool {
        match (self, service) {
            (Self::AnyApns, service) => service.is_none_or(SubscriberService::is_apns),
            (Self::Only(own), service) => service == Some(own),
        }
    }
}

/// One of the guide's counters.
#[derive(Debug, Deserialize)]
pub(crate) struct CounterRow {
    pub(crate) name: Box<str>,
    #[serde(deserialize_with = "component")]
    pub(crate) component: Component,
    pub(crate) kind: CounterKind,
    #[serde(rename = "subscriber_service", deserialize_with = "services")]
    pub(crate) services: Services,
    /// The Prometheus family.
    #[serde(rename = "prometheus")]
    pub(crate) family: Box<str>,
    pub(crate) summary: Box<str>,
    /// How a proxy can know; empty: it never can.
    pub(crate) origins: Vec<Origin>,
}

/// How bad an alarm is, the guide's words; the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Severity {
    /// The guide leaves it blank.
    Unspecified,
    Information,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
}

impl Severity {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::Information,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Information => "INFORMATION",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
            Self::Alert => "ALERT",
        }
    }
}

/// Who can truthfully raise an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Raiser {
    Proxy,
    Simulator,
}

impl Raiser {
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Simulator => "simulator",
        }
    }
}

/// One of the guide's alarms.
#[derive(Debug, Deserialize)]
pub(crate) struct AlarmRow {
    pub(crate) name: Box<str>,
    #[serde(deserialize_with = "component")]
    pub(crate) component: Component,
    pub(crate) severity: Severity,
    pub(crate) summary: Box<str>,
    /// What to do.
    pub(crate) action: Box<str>,
    pub(crate) raised_by: Vec<Raiser>,
}

/// The counters, in the guide's order.
pub(crate) fn counters() -> Vec<CounterRow> {
    #[derive(Deserialize)]
    struct File {
        counter: Vec<CounterRow>,
    }
    let file: File = toml::from_str(COUNTERS).expect("the embedded counters are good");
    file.counter
}

/// The alarms, in the guide's order.
pub(crate) fn alarms() -> Vec<AlarmRow> {
    #[derive(Deserialize)]
    struct File {
        alarm: Vec<AlarmRow>,
    }
    let file: File = toml::from_str(ALARMS).expect("the embedded alarms are good");
    file.alarm
}

fn component<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Component, D::Error> {
    let name = String::deserialize(from)?;
    Component::named(&name).ok_or_else(|| serde::de::Error::custom("no component of this name"))
}

fn services<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Services, D::Error> {
    let name = String::deserialize(from)?;
    if name == "any APNS service" {
        return Ok(Services::AnyApns);
    }
    let service = SubscriberService::named(&name).map(Services::Only);
    service.ok_or_else(|| serde::de::Error::custom("no subscriber service of this name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Component::*;

    const XCP: [(&str, CounterKind, &[Origin]); 5] = [
        ("PushEnabledSessions", CounterKind::Gauge, &[]),
        ("PushEnableReqRcvd", CounterKind::Interval, &[]),
        ("PushErrors", CounterKind::Interval, &[Origin::Observed]),
        ("PushSentSilent", CounterKind::Interval, &[]),
        ("PushSentDisconn", CounterKind::Interval, &[]),
    ];

    #[test]
    fn every_counter_is_known_by_name_component_and_origin() {
        use Origin::{Derived, Observed};
        let seen: &[Origin] = &[Observed];
        let plain: [(Component, &str, &[Origin]); 12] = [
            (CallManager, "NumberOfPushReqSent", seen),
            (CallManager, "NumberOfPushResReceived", seen),
            (
                CallManager,
                "NumberOfPushErrorResReceived",
                &[Observed, Derived],
            ),
            (CallManager, "CustomRegionNumofMsgPushReqSent", seen),
            (
                CallManager,
                "CustomRegionNumofMissedCallMsgPushReqSent",
                seen,
            ),
            (
                CallManager,
                "CustomRegionNumofSharedCancelMsgPushReqSent",
                seen,
            ),
            (
                MobilityManager,
                "MobilityPushNotificationCallsExtendedToMIDueToTimeout",
                &[],
            ),
            (
                MobilityManager,
                "MobilityPushNotificationCallsExtendedToJabber",
                &[],
            ),
            (XcpConfigManager, "NumberOfPushSuccess", seen),
            (XcpConfigManager, "NumberOfPushFailure", seen),
            (XcpConfigManager, "TargetInvalid", seen),
            (XcpConfigManager, "TargetExpired", seen),
        ];
        let rows = counters();
        assert_eq!(rows.len(), 47);
        for (row, (component, name, origins)) in rows.iter().zip(plain) {
            assert_eq!((row.component, &*row.name), (component, name));
            assert_eq!(row.origins, origins, "{name}");
            assert_eq!(row.kind, CounterKind::Counter, "{name}");
            assert_eq!(row.services, Services::AnyApns, "{name}");
        }
        let mut rows = rows.iter().skip(plain.len());
        let suffixes = [
            "Apns", "ApnsBeta", "ApnsDev", "ApnsLoad", "ApnsTest", "Fcm", "FcmDev",
        ];
        for (service, suffix) in SubscriberService::ALL.into_iter().zip(suffixes) {
            for (stem, kind, origins) in XCP {
                let row = rows.next().unwrap();
                // The guide spells this one without the s.
                let name = match format!("{stem}{suffix}").as_str() {
                    "PushErrorsFcmDev" => "PushErrorFcmDev".to_owned(),
                    name => name.to_owned(),
                };
                assert_eq!((row.component, &*row.name), (XcpPush, name.as_str()));
                assert_eq!(row.kind, kind, "{name}");
                assert_eq!(row.services, Services::Only(service), "{name}");
                assert_eq!(row.origins, origins, "{name}");
            }
        }
        assert!(rows.next().is_none());
    }

    #[test]
    fn a_family_is_of_one_component_one_kind_and_one_end() {
        let rows = counters();
        for row in &rows {
            let total = row.family.ends_with("_total");
            assert_eq!(total, row.kind != CounterKind::Gauge, "{}", row.family);
            for other in rows.iter().filter(|other| other.family == row.family) {
                assert_eq!(other.component, row.component, "{}", row.family);
                assert_eq!(other.kind, row.kind, "{}", row.family);
                assert_eq!(other.origins, row.origins, "{}", row.family);
            }
        }
    }

    #[test]
    fn severities_are_ordered_as_they_are_named() {
        assert!(Severity::ALL.is_sorted());
        for severity in Severity::ALL {
            let toml = format!("severity = \"{}\"", severity.name());
            #[derive(Deserialize)]
            struct Row {
                severity: Severity,
            }
            assert_eq!(toml::from_str::<Row>(&toml).unwrap().severity, severity);
        }
    }
}
