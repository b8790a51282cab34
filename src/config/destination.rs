//! `[[destination]]`: what may be reached, written out or from a preset.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::complaint::{Wrong, either, nearest, quoted};
use super::file::{Section, Written};
use super::item::Item;
use super::listener::{authorities, networks, path};
use super::sheet::Sheet;
use super::{
    Destination, HostPattern, HostRule, Network, PortRange, Repeat, Role, Sni, UNLISTED, host,
    parent, units,
};
use crate::exchange::{DestinationName, Host};

const PRESETS: &str = include_str!("../../config/presets.toml");

const ROLES: [(&str, Role); 4] = [
    ("push", Role::Push),
    ("token", Role::Token),
    ("onboarding", Role::Onboarding),
    ("other", Role::Other),
];

impl Role {
    /// The word in the configuration.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Token => "token",
            Self::Onboarding => "onboarding",
            Self::Other => "other",
        }
    }
}

/// The well-known hosts of one push service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Preset {
    name: String,
    hosts: Vec<HostRule>,
    ports: Vec<PortRange>,
    published: Vec<Network>,
    max_ttl: Option<Duration>,
}

/// The presets, in the order in which they serve where the file has no destination.
pub(super) fn presets() -> Vec<Preset> {
    let (presets, complaints) = read_presets(PRESETS);
    debug_assert!(complaints.is_empty(), "{complaints:?}");
    presets
}

/// Whether a preset has this host: whoever serves it has a certificate of a public authority.
pub(crate) fn is_of_a_preset(host: &Host) -> bool {
    let presets = presets();
    let mut rules = presets.iter().flat_map(|preset| &preset.hosts);
    rules.any(|rule| match (&rule.pattern, host) {
        (HostPattern::Name(known), Host::Name(name)) => known == name,
        (HostPattern::Suffix(suffix), Host::Name(name)) => name.ends_with(&**suffix),
        (HostPattern::Addr(known), Host::Addr(addr)) => known == addr,
        (HostPattern::Name(_) | HostPattern::Suffix(_), Host::Addr(_))
        | (HostPattern::Addr(_), Host::Name(_)) => false,
    })
}

fn read_presets(text: &str) -> (Vec<Preset>, Vec<super::Complaint>) {
    let (sheet, table) = Sheet::new(text, Path::new("presets.toml"));
    let presets = {
        let mut root = sheet.root(table);
        let sections = root.sections("preset", &["name"]).unwrap_or_default();
        sections.into_iter().map(read_preset).collect()
    };
    (presets, sheet.into_complaints())
}

fn read_preset(mut section: Section<'_, '_>) -> Preset {
    let name = section.optional("name", |item| item.name("cisco").map(str::to_owned));
    let mut hosts = Vec::new();
    for (key, role) in ROLES {
        let patterns = section.list(key, Vec::new(), |item| {
            host::pattern(item.text("push.test")?)
        });
        hosts.extend(
            patterns
                .into_iter()
                .map(|pattern| HostRule { pattern, role }),
        );
    }
    Preset {
        name: name.unwrap_or_default(),
        hosts,
        ports: section.list("ports", Vec::new(), ports),
        published: networks(&mut section, "published"),
        max_ttl: section.maybe_duration("max_ttl", "1s", "1h"),
    }
}

impl Preset {
    /// The destination that this preset is where nothing is set beside it.
    pub(super) fn destination(&self) -> Destination {
        Destination {
            name: DestinationName::new(&self.name),
            preset: Some(self.name.clone()),
            hosts: self.hosts.clone(),
            ports: self.ports.clone(),
            networks: Vec::new(),
            published: self.published.clone(),
            sni: Sni::Match,
            ca: None,
            max_ttl: self.max_ttl,
            addresses: Vec::new(),
            connect_budget: None,
            repeat: Repeat::Safe,
            via: Vec::new(),
            password: None,
            source: Vec::new(),
            report_only: false,
        }
    }

    fn role_of(&self, rule: &HostPattern) -> Option<Role> {
        self.hosts
            .iter()
            .find(|known| known.pattern == *rule)
            .map(|known| known.role)
    }
}

impl Destination {
    /// Every port, no host: what targets that stand nowhere are treated as, while they are let pass.
    pub(crate) fn unlisted() -> Self {
        Self {
            name: DestinationName::new(UNLISTED),
            preset: None,
            hosts: Vec::new(),
            ports: vec![PortRange {
                first: 1,
                last: u16::MAX,
            }],
            networks: Vec::new(),
            published: Vec::new(),
            sni: Sni::Off,
            ca: None,
            max_ttl: None,
            addresses: Vec::new(),
            connect_budget: None,
            repeat: Repeat::Safe,
            via: Vec::new(),
            password: None,
            source: Vec::new(),
            report_only: true,
        }
    }
}

pub(super) fn read(mut section: Section<'_, '_>, presets: &[Preset]) -> Written<Destination> {
    let preset = section.optional("preset", |item| {
        let text = item.text("cisco")?;
        presets
            .iter()
            .find(|preset| preset.name == text)
            .ok_or_else(|| unknown_preset(text, presets))
    });
    let named = section.optional("name", |item| item.name("lab").map(DestinationName::new));
    if !section.has("name") && !section.has("preset") {
        section.missing(
            "name",
            r#"what metrics and logs call it: name = "lab"; or preset = "cisco""#,
        );
    }
    let (hosts, ports) = reach(&mut section, preset);
    let networks = networks(&mut section, "networks");
    let sni = section.word(
        "sni",
        if preset.is_some() { "match" } else { "off" },
        &[
            ("off", Sni::Off),
            ("match", Sni::Match),
            ("require", Sni::Require),
        ],
    );
    let ca = path(&mut section, "ca", "lab-ca.pem");
    let ca = authorities(&section, "ca", ca.as_ref());
    let max_ttl = section.maybe_duration("max_ttl", "1s", "1h");
    let addresses = section.list("addresses", Vec::new(), address);
    let connect_budget = section.maybe_duration("connect_budget", "100ms", "60s");
    let repeat = section.word(
        "repeat",
        "safe",
        &[
            ("safe", Repeat::Safe),
            ("always", Repeat::Always),
            ("never", Repeat::Never),
        ],
    );
    let via = section.list("via", Vec::new(), |item| {
        parent::parse(item.text("http://parent:3128")?)
    });
    let password = path(&mut section, "password_file", "parent.password");
    let password = password.and_then(|path| match parent::password(&path) {
        Ok(password) => Some(password),
        Err(wrong) => {
            section.complain("password_file", wrong);
            None
        }
    });
    let source = section.list("source", Vec::new(), address);
    let report_only = section.flag("report_only", false);
    let name = named
        .unwrap_or_else(|| DestinationName::new(preset.map_or("", |preset| preset.name.as_str())));
    section.written(Destination {
        name,
        preset: preset.map(|preset| preset.name.clone()),
        hosts,
        ports,
        networks,
        // Hosts that stand beside a preset are taken for its service's own.
        published: preset
            .map(|preset| preset.published.clone())
            .unwrap_or_default(),
        sni,
        ca,
        max_ttl: max_ttl.or_else(|| preset?.max_ttl),
        addresses,
        connect_budget,
        repeat,
        via,
        password,
        source,
        report_only,
    })
}

/// Hosts with their roles, and ports: the preset's, as far as nothing is set beside it.
fn reach(
    section: &mut Section<'_, '_>,
    preset: Option<&Preset>,
) -> (Vec<HostRule>, Vec<PortRange>) {
    let nothing = "so nothing could be reached; leave the destination out instead";
    let patterns = section.full_list("hosts", Vec::new(), nothing, |item| {
        host::pattern(item.text("push.test")?)
    });
    let set_ports = section.full_list("ports", Vec::new(), nothing, ports);
    let role = section.optional("role", |item| item.word(&ROLES));
    let mut hosts = Vec::new();
    if section.has("hosts") {
        for pattern in patterns {
            let known = preset.and_then(|preset| preset.role_of(&pattern));
            let role = role.or(known).unwrap_or(Role::Push);
            let rule = HostRule { pattern, role };
            if !hosts.contains(&rule) {
                hosts.push(rule);
            }
        }
    } else if let Some(preset) = preset {
        hosts.clone_from(&preset.hosts);
        if let Some(role) = role {
            hosts.iter_mut().for_each(|rule| rule.role = role);
        }
    } else if !section.has("preset") {
        section.missing(
            "hosts",
            r#"what it is: hosts = ["push.test", "*.cloud.test"]"#,
        );
    }
    let ports = if section.has("ports") {
        set_ports
    } else {
        preset.map_or_else(
            || {
                vec![PortRange {
                    first: 443,
                    last: 443,
                }]
            },
            |preset| preset.ports.clone(),
        )
    };
    (hosts, ports)
}

fn unknown_preset(text: &str, presets: &[Preset]) -> Wrong {
    let names: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
    let all = either(&names);
    let hint = match nearest(text, names) {
        Some(meant) => format!("did you mean {meant:?}? there are {all}"),
        None => format!("there are {all}; write hosts and ports out for anything else"),
    };
    Wrong::new(format!("{} is no preset", quoted(text)), hint)
}

/// 443, or "8000-8099".
fn ports(item: &Item<'_, '_>) -> Result<PortRange, Wrong> {
    let Some(number) = item.integer() else {
        return units::ports(item.text("8000-8099")?);
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .map(|port| PortRange {
            first: port,
            last: port,
        })
        .ok_or_else(|| Wrong::new(format!("{number} is no port"), "from 1 to 65535"))
}

fn address(item: &Item<'_, '_>) -> Result<IpAddr, Wrong> {
    let text = item.text("10.9.0.1")?;
    match host::pattern(text) {
        Ok(HostPattern::Addr(addr)) => Ok(addr),
        Ok(HostPattern::Name(_) | HostPattern::Suffix(_)) => Err(Wrong::new(
            format!("{} is not an address", quoted(text)),
            r#"addresses only: "10.9.0.1", "2001:db8::1""#,
        )),
        Err(wrong) => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_have_no_complaints_and_stand_in_their_order() {
        let (presets, complaints) = read_presets(PRESETS);
        assert_eq!(complaints, []);
        let names: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
        assert_eq!(names, ["cisco", "apns", "fcm", "webpush"]);
        for preset in &presets {
            assert!(
                !preset.hosts.is_empty() && !preset.ports.is_empty(),
                "{preset:?}"
            );
        }
    }

    #[test]
    fn a_preset_is_all_its_facts() {
        let presets = presets();
        let apns = presets[1].destination();
        let ports: Vec<String> = apns.ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["443", "2197"]);
        assert_eq!(apns.max_ttl, Some(Duration::from_secs(60)));
        assert_eq!(apns.published[0], "17.0.0.0/8".parse().unwrap());
        let cisco = presets[0].destination();
        let role = |name: &str| presets[0].role_of(&host::pattern(name).unwrap());
        assert_eq!(cisco.hosts.len(), 3);
        assert_eq!(role("fos-a.wbx2.com"), Some(Role::Onboarding));
        assert_eq!(role("idbroker.webex.com"), Some(Role::Token));
        assert_eq!(role("push.webexconnect.com"), Some(Role::Push));
    }
}
