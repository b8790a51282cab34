//! What is configured now: the hosts of each destination with their roles, the parts that clients are, certificates; and
//! so which subjects an alarm may have.
//!
//! Names only. No secret comes in.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::SystemTime;

use super::alarms::Alarm;
use super::guide::Component;
use crate::config::{self, Config, HostRule, Role};
use crate::exchange::{ClientName, DestinationName, Host, ListenerName};

#[derive(Debug, Default)]
pub(super) struct Configured {
    /// The hosts of each destination, with their roles.
    pub(super) hosts: HashMap<DestinationName, Vec<HostRule>>,
    /// Destinations whose addresses are those of parent proxies.
    pub(super) with_parents: HashSet<DestinationName>,
    /// The hosts as subjects of alarms.
    pub(super) subjects: HashMap<String, Role>,
    /// Clients, each with its component where that is known.
    pub(super) clients: HashMap<ClientName, Option<Component>>,
    pub(super) listeners: HashSet<ListenerName>,
    pub(super) certificates: Vec<(ListenerName, SystemTime)>,
}

impl Configured {
    pub(super) fn of(config: &Config) -> Self {
        let expiry = |one: &config::Listener| {
            let tls = one.tls.as_ref()?;
            Some((one.name.clone(), tls.identity.expires))
        };
        let component = |one: &config::Client| {
            let component = one.component.as_ref()?;
            Component::named(AsRef::<str>::as_ref(component))
        };
        let rules = config
            .destinations
            .iter()
            .flat_map(|one| one.hosts.iter().map(|rule| (&one.name, rule)));
        Self {
            subjects: rules
                .map(|(destination, rule)| (subject(destination, rule), rule.role))
                .collect(),
            hosts: config
                .destinations
                .iter()
                .map(|one| (one.name.clone(), one.hosts.clone()))
                .collect(),
            with_parents: config
                .destinations
                .iter()
                .filter(|one| !one.via.is_empty())
                .map(|one| one.name.clone())
                .collect(),
            clients: config
                .clients
                .iter()
                .map(|one| (one.name.clone(), component(one)))
                .collect(),
            listeners: config
                .listeners
                .iter()
                .map(|one| one.name.clone())
                .collect(),
            certificates: config.listeners.iter().filter_map(expiry).collect(),
        }
    }

    /// The rule that a host is known by.
    pub(super) fn rule(&self, destination: &DestinationName, host: &Host) -> Option<&HostRule> {
        HostRule::closest(self.hosts.get(destination)?, host)
    }

    pub(super) fn component(&self, client: &ClientName) -> Option<Component> {
        self.clients.get(client).copied().flatten()
    }

    /// Whether what an alarm is about is configured; each has its kind of subject. What was seen in visible pushes stands
    /// under their sender's name, and is of its `component`.
    pub(super) fn has(&self, alarm: Alarm, component: Component, name: &str) -> bool {
        let is_destination = |name: &str| self.hosts.contains_key(&DestinationName::new(name));
        let client = || self.clients.get(&ClientName::new(name));
        let is_sender = || client().is_some_and(|one| *one == Some(component));
        let is_host = |role| self.subjects.get(name) == Some(&role);
        match alarm {
            Alarm::PushNotificationServiceUnavailable => is_host(Role::Push) || is_sender(),
            Alarm::PushNotificationServiceAccessTokenUnavailable => {
                is_host(Role::Token) || is_sender()
            }
            Alarm::PushNotificationInvalidDeviceTokenResponse
            | Alarm::AccessTokenInvalid
            | Alarm::PushNotificationFailed
            | Alarm::PushNotificationFailedInvalidDeviceToken
            | Alarm::PushNotificationFailedInvalidAccessToken
            | Alarm::AccessTokenFetchFailed => is_sender(),
            Alarm::ClientNeverAuthenticates => name.parse::<IpAddr>().is_ok() || client().is_some(),
            Alarm::AllAddressesDead
            | Alarm::UpstreamCertificateInvalid
            | Alarm::ProbeFailing
            | Alarm::AddressesChanged
            | Alarm::TunnelsOffDns => is_destination(name),
            Alarm::CertificateExpiring => {
                let destination = name.strip_prefix("destination ");
                self.listeners.contains(&ListenerName::new(name))
                    || destination.is_some_and(is_destination)
            }
            Alarm::StartFailed
            | Alarm::HttpClientPoolCreationError
            | Alarm::XcpConfigMgrAccessTokenIsNull
            | Alarm::Apns
            | Alarm::UnreadMessages
            | Alarm::ReloadRefused => true,
        }
    }
}

/// Names of the configuration both.
pub(super) fn subject(destination: &DestinationName, rule: &HostRule) -> String {
    format!("{destination}/{}", rule.pattern)
}
