//! Every alarm there is: the deployment guide's and our own, and what each of them says.
//!
//! A closed list. The guide's words come from `config/guide/alarms.toml`; ours stand here.

use std::sync::Arc;
use std::time::Duration;

use super::guide::{self, Component, Origin, Raiser, Severity};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// An alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Alarm {
    PushNotificationServiceUnavailable,
    PushNotificationInvalidDeviceTokenResponse,
    PushNotificationServiceAccessTokenUnavailable,
    StartFailed,
    AccessTokenInvalid,
    HttpClientPoolCreationError,
    PushNotificationFailed,
    PushNotificationFailedInvalidDeviceToken,
    PushNotificationFailedInvalidAccessToken,
    AccessTokenFetchFailed,
    XcpConfigMgrAccessTokenIsNull,
    Apns,
    UnreadMessages,
    AllAddressesDead,
    ClientNeverAuthenticates,
    CertificateExpiring,
    UpstreamCertificateInvalid,
    AddressesChanged,
    TunnelsOffDns,
    ReloadRefused,
    ProbeFailing,
}

/// What an alarm says.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) component: Component,
    pub(crate) severity: Severity,
    pub(crate) summary: Arc<str>,
    /// What to do.
    pub(crate) action: Arc<str>,
    pub(crate) raised_by: Arc<[Raiser]>,
}

impl Alarm {
    /// The guide's first, in its order.
    pub(crate) const ALL: [Self; 21] = [
        Self::PushNotificationServiceUnavailable,
        Self::PushNotificationInvalidDeviceTokenResponse,
        Self::PushNotificationServiceAccessTokenUnavailable,
        Self::StartFailed,
        Self::AccessTokenInvalid,
        Self::HttpClientPoolCreationError,
        Self::PushNotificationFailed,
        Self::PushNotificationFailedInvalidDeviceToken,
        Self::PushNotificationFailedInvalidAccessToken,
        Self::AccessTokenFetchFailed,
        Self::XcpConfigMgrAccessTokenIsNull,
        Self::Apns,
        Self::UnreadMessages,
        Self::AllAddressesDead,
        Self::ClientNeverAuthenticates,
        Self::CertificateExpiring,
        Self::UpstreamCertificateInvalid,
        Self::AddressesChanged,
        Self::TunnelsOffDns,
        Self::ReloadRefused,
        Self::ProbeFailing,
    ];

    /// The name in metrics, views, the journal and deliveries; the guide's own where it is the guide's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PushNotificationServiceUnavailable => "PushNotificationServiceUnavailable",
            Self::PushNotificationInvalidDeviceTokenResponse => {
                "PushNotificationInvalidDeviceTokenResponse"
            }
            Self::PushNotificationServiceAccessTokenUnavailable => {
                "PushNotificationServiceAccessTokenUnavailable"
            }
            Self::StartFailed => "StartFailed",
            Self::AccessTokenInvalid => "AccessTokenInvalid",
            Self::HttpClientPoolCreationError => "HttpClientPoolCreationError",
            Self::PushNotificationFailed => "PushNotificationFailed",
            Self::PushNotificationFailedInvalidDeviceToken => {
                "PushNotificationFailedInvalidDeviceToken"
            }
            Self::PushNotificationFailedInvalidAccessToken => {
                "PushNotificationFailedInvalidAccessToken"
            }
            Self::AccessTokenFetchFailed => "AccessTokenFetchFailed",
            Self::XcpConfigMgrAccessTokenIsNull => "XCPConfigMgrAccessTokenIsNull",
            Self::Apns => "APNSAlarm",
            Self::UnreadMessages => "UnreadMessages",
            Self::AllAddressesDead => "TidegateAllAddressesDead",
            Self::ClientNeverAuthenticates => "TidegateClientNeverAuthenticates",
            Self::CertificateExpiring => "TidegateCertificateExpiring",
            Self::UpstreamCertificateInvalid => "TidegateUpstreamCertificateInvalid",
            Self::AddressesChanged => "TidegateAddressesChanged",
            Self::TunnelsOffDns => "TidegateTunnelsOffDns",
            Self::ReloadRefused => "TidegateReloadRefused",
            Self::ProbeFailing => "TidegateProbeFailing",
        }
    }

    /// For how long it must not be raised again before it clears by itself. `None`: it stands for a state that holds
    /// until something shows that it is over.
    pub(crate) fn quiet(self) -> Option<Duration> {
        match self {
            Self::PushNotificationInvalidDeviceTokenResponse
            | Self::PushNotificationFailed
            | Self::PushNotificationFailedInvalidDeviceToken
            | Self::PushNotificationFailedInvalidAccessToken
            | Self::Apns
            | Self::UnreadMessages => Some(10 * MINUTE),
            // Whoever does not come any more can't get through either; nobody would ever clear it. A token is asked for
            // every 10 minutes when it failed.
            Self::ClientNeverAuthenticates
            | Self::AccessTokenInvalid
            | Self::AccessTokenFetchFailed
            | Self::AddressesChanged
            // A sender that turns to tunnels shows no success either.
            | Self::PushNotificationServiceUnavailable
            | Self::PushNotificationServiceAccessTokenUnavailable => Some(HOUR),
            Self::StartFailed
            | Self::HttpClientPoolCreationError
            | Self::XcpConfigMgrAccessTokenIsNull
            | Self::AllAddressesDead
            | Self::CertificateExpiring
            | Self::UpstreamCertificateInvalid
            | Self::TunnelsOffDns
            | Self::ReloadRefused
            | Self::ProbeFailing => None,
        }
    }

    /// How a proxy can come to know of it; empty: it never can.
    pub(crate) fn origins(self) -> &'static [Origin] {
        use Origin::{Derived, Observed};
        match self {
            Self::PushNotificationServiceUnavailable
            | Self::PushNotificationServiceAccessTokenUnavailable => &[Observed, Derived],
            Self::PushNotificationInvalidDeviceTokenResponse
            | Self::AccessTokenInvalid
            | Self::PushNotificationFailed
            | Self::PushNotificationFailedInvalidDeviceToken
            | Self::PushNotificationFailedInvalidAccessToken
            | Self::AccessTokenFetchFailed => &[Observed],
            Self::HttpClientPoolCreationError
            | Self::XcpConfigMgrAccessTokenIsNull
            | Self::Apns
            | Self::UnreadMessages => &[],
            Self::StartFailed
            | Self::AllAddressesDead
            | Self::ClientNeverAuthenticates
            | Self::CertificateExpiring
            | Self::UpstreamCertificateInvalid
            | Self::AddressesChanged
            | Self::TunnelsOffDns
            | Self::ReloadRefused
            | Self::ProbeFailing => &[Derived],
        }
    }

    /// When it is raised here, and when it clears: the rule in words. `derive.rs` has the derived ones.
    pub(crate) fn rule(self) -> (&'static str, &'static str) {
        match self {
            Self::PushNotificationServiceUnavailable => (
                "derived: an exchange to a host with role `push` failed at every address of it, or at every parent proxy, or a host that is listed by its full name did not resolve; observed: a visible push had no connection, or no TLS on it",
                "an exchange is connected to such a host; a visible push succeeds; or an hour without another",
            ),
            Self::PushNotificationInvalidDeviceTokenResponse => (
                "observed: a visible push was answered with 410",
                "10 minutes without another",
            ),
            Self::PushNotificationServiceAccessTokenUnavailable => (
                "derived: as the first one, for a host with role `token`; observed: a visible push was refused for its access token, or a visible token call failed",
                "an exchange is connected to such a host; a visible one succeeds; or an hour without another",
            ),
            Self::StartFailed => (
                "our own start failed; the journal, which is also the exit message, says it",
                "by a start that succeeds: nothing runs that could show it",
            ),
            Self::AccessTokenInvalid => (
                "observed: the access token of a visible push was refused, or a visible token call failed",
                "a visible one succeeds, or an hour without another",
            ),
            Self::HttpClientPoolCreationError => ("never here: only the server itself knows", ""),
            Self::PushNotificationFailed => (
                "observed: a visible push failed",
                "a visible push succeeds, or 10 minutes without another",
            ),
            Self::PushNotificationFailedInvalidDeviceToken => (
                "observed: a visible push failed for its device token",
                "10 minutes without another",
            ),
            Self::PushNotificationFailedInvalidAccessToken => (
                "observed: a visible push failed for its access token",
                "a visible push succeeds, or 10 minutes without another",
            ),
            Self::AccessTokenFetchFailed => (
                "observed: a visible token call failed",
                "a visible one succeeds, or an hour without another",
            ),
            Self::XcpConfigMgrAccessTokenIsNull => ("never here: only the server itself knows", ""),
            Self::Apns => ("never here: only the client itself knows", ""),
            Self::UnreadMessages => ("never here: only the server itself knows", ""),
            Self::AllAddressesDead => (
                "derived: an exchange, or a probe in the background, tried all addresses of a destination's host, none connected, and no other address of the destination is known to live; or several tunnels had no answer from the last of its addresses that is not quarantined, and in none of its tunnels an exchange was counted for a minute",
                "an address of it is connected to; where they connect and do not answer, an exchange is counted in one of its tunnels, or no tunnel has complained for 4 quarantines; an hour without another such; what only probes saw also when they are switched off",
            ),
            Self::ClientNeverAuthenticates => (
                "derived: a client (its `[[client]]` name, else its address) sent from one address wrong credentials 3 times, or met 407 there 20 times within at least a minute, and got through from there in between not once",
                "a request passes the login from the last such address, or an hour without another refusal",
            ),
            Self::CertificateExpiring => (
                "derived: the first certificate to expire of a listener's chain has less than 14 days left, or of what a probe was shown at a destination less than 14 days and less than a sixth of its life",
                "a reload brings one that has more; a probe sees one",
            ),
            Self::UpstreamCertificateInvalid => (
                "derived: what a probe was shown at a destination is of an authority that nobody knows, or for another name",
                "a probe sees a good one",
            ),
            Self::AddressesChanged => (
                "derived: a name of a destination has an address that it did not have before, or has lacked one for an hour and in 20 answers",
                "an hour without another change",
            ),
            Self::TunnelsOffDns => (
                "derived: at 3 looks in a row, 10 s apart, tunnels of a destination were on addresses that their name had in none of its last 20 answers, nor for an hour",
                "a look finds none",
            ),
            Self::ReloadRefused => (
                "derived: a reload was refused, but for one during a drain",
                "a reload is carried out",
            ),
            Self::ProbeFailing => (
                "derived: two probes in a row of a push or token host of a destination found no address for its name, no connection, or no TLS; after the first, the second follows within half a minute",
                "a probe of each such host gets through",
            ),
        }
    }

    /// Our own alarms' severity, summary and action.
    fn own(self) -> Option<(Severity, &'static str, &'static str)> {
        Some(match self {
            Self::AllAddressesDead => (
                Severity::Alert,
                "No address of a destination can be connected to, or none answers.",
                "Look at /destinations for how each address fails, and run `tidegate doctor`: a firewall, a route, or an outage of the service (its status page).",
            ),
            Self::ClientNeverAuthenticates => (
                Severity::Error,
                "A client is refused with 407 again and again and never gets through.",
                "Compare the user name and password that its server holds with the users file; the evidence names its address. Whether it is the user or the password that is wrong is told nowhere, on purpose.",
            ),
            Self::CertificateExpiring => (
                Severity::Error,
                "The certificate of a listener or of a destination expires soon, or has expired; whoever depends on it stops on that second.",
                "A listener's: renew it, put it in its place and reload. A destination's: whoever runs the service, or the gateway that decrypts on the way, has to renew it; `tidegate doctor` says whose it is.",
            ),
            Self::UpstreamCertificateInvalid => (
                Severity::Alert,
                "A destination shows a certificate that call servers will not take: of an authority that nobody knows, or for another name.",
                "Run `tidegate doctor`: it says whose the certificate is. If something on the way decrypts TLS, put the host on its list of hosts that are not decrypted.",
            ),
            Self::AddressesChanged => (
                Severity::Notice,
                "The name of a destination got or lost addresses.",
                "A firewall that lists addresses has to follow; the journal names them.",
            ),
            Self::TunnelsOffDns => (
                Severity::Warning,
                "Tunnels are open on addresses that their name does not resolve to any more.",
                "The service is moving: these tunnels end when the old address does. Nothing needs to be done unless it lasts; /tunnels lists them.",
            ),
            Self::ReloadRefused => (
                Severity::Error,
                "A reload was refused; the configuration in force is an older one than the file's.",
                "Run `tidegate check`, mend what it complains about and reload.",
            ),
            Self::ProbeFailing => (
                Severity::Error,
                "Probes do not get through to a host of a destination; pushes to that host will not either.",
                "The evidence says how they fail. Run `tidegate doctor`: it looks at the name servers, at each address and at TLS, and says what to do.",
            ),
            Self::PushNotificationServiceUnavailable
            | Self::PushNotificationInvalidDeviceTokenResponse
            | Self::PushNotificationServiceAccessTokenUnavailable
            | Self::StartFailed
            | Self::AccessTokenInvalid
            | Self::HttpClientPoolCreationError
            | Self::PushNotificationFailed
            | Self::PushNotificationFailedInvalidDeviceToken
            | Self::PushNotificationFailedInvalidAccessToken
            | Self::AccessTokenFetchFailed
            | Self::XcpConfigMgrAccessTokenIsNull
            | Self::Apns
            | Self::UnreadMessages => return None,
        })
    }

    /// What every alarm says, in the order of `ALL`.
    pub(crate) fn definitions() -> Vec<Definition> {
        let guide = guide::alarms();
        let define = |alarm: Self| {
            if let Some((severity, summary, action)) = alarm.own() {
                return Definition {
                    component: Component::Tidegate,
                    severity,
                    summary: summary.into(),
                    action: action.into(),
                    raised_by: [Raiser::Proxy].into(),
                };
            }
            let row = guide.iter().find(|row| *row.name == *alarm.name());
            let row = row.expect("the guide has every alarm that is not ours");
            Definition {
                component: row.component,
                severity: row.severity,
                summary: (*row.summary).into(),
                action: (*row.action).into(),
                raised_by: row.raised_by.as_slice().into(),
            }
        };
        Self::ALL.into_iter().map(define).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_alarm_of_the_guide_is_known_by_name_component_and_who_raises_it() {
        use Component::{CallManager, Jabber, PushNotificationService, XcpConfigManager};
        let both: &[Raiser] = &[Raiser::Proxy, Raiser::Simulator];
        let only: &[Raiser] = &[Raiser::Simulator];
        let expected = [
            (CallManager, Severity::Alert, both),
            (CallManager, Severity::Error, both),
            (CallManager, Severity::Alert, both),
            (PushNotificationService, Severity::Critical, both),
            (PushNotificationService, Severity::Alert, both),
            (PushNotificationService, Severity::Alert, only),
            (XcpConfigManager, Severity::Critical, both),
            (XcpConfigManager, Severity::Critical, both),
            (XcpConfigManager, Severity::Critical, both),
            (XcpConfigManager, Severity::Critical, both),
            (XcpConfigManager, Severity::Unspecified, only),
            (Jabber, Severity::Alert, only),
            (Jabber, Severity::Alert, only),
        ];
        let rows = guide::alarms();
        assert_eq!(rows.len(), expected.len());
        for ((row, alarm), (component, severity, raised_by)) in
            rows.iter().zip(Alarm::ALL).zip(expected)
        {
            assert_eq!(&*row.name, alarm.name());
            assert_eq!(row.component, component, "{}", row.name);
            assert_eq!(row.severity, severity, "{}", row.name);
            assert_eq!(row.raised_by, raised_by, "{}", row.name);
        }
    }

    #[test]
    fn the_readme_has_every_alarm_with_its_rule_and_what_to_do() {
        let readme = include_str!("../../README.md");
        for (alarm, definition) in Alarm::ALL.into_iter().zip(Alarm::definitions()) {
            let (raised, clears) = alarm.rule();
            let row = format!(
                "| `{}` | {} | {raised} | {clears} | {} |",
                alarm.name(),
                definition.severity.name(),
                definition.action
            );
            assert!(readme.lines().any(|line| line == row), "lacks: {row}");
        }
    }

    #[test]
    fn ours_are_named_after_us_and_stand_in_their_place() {
        let names: HashSet<_> = Alarm::ALL.iter().map(|alarm| alarm.name()).collect();
        assert_eq!(names.len(), Alarm::ALL.len());
        for (place, (alarm, definition)) in
            Alarm::ALL.into_iter().zip(Alarm::definitions()).enumerate()
        {
            assert_eq!(alarm as usize, place);
            let ours = definition.component == Component::Tidegate;
            let can = definition.raised_by.contains(&Raiser::Proxy);
            assert_eq!(!alarm.origins().is_empty(), can, "{}", alarm.name());
            assert_eq!(alarm.name().starts_with("Tidegate"), ours);
            assert_eq!(place >= 13, ours);
            for text in [&definition.summary, &definition.action] {
                assert!(text.ends_with('.'), "{text}");
            }
        }
    }
}
