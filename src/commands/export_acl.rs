//! `tidegate export-acl`: what the proxy has to reach, for whoever looks after the firewall before it.
//!
//! Says what the configuration says, in its order; asks no name server, so that the same file gives the same list.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::config::{
    self, AccessSink, Config, Destination, DnsServer, HostPattern, PortRange, Transport, Unlisted,
};
use crate::exchange::Host;

const DONE: u8 = 0;
const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 78;

/// Where the configuration names none.
const SYSTEM_SERVERS: &str = "the system's name servers (/etc/resolv.conf)";

/// `tidegate export-acl [--config FILE] [--format FORMAT]`
#[derive(Debug, Args)]
pub struct ExportAcl {
    /// The configuration file; without it, the embedded default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns and remarks, for a ticket
    Text,
    /// One line for each port of each name, address and range
    Csv,
    /// One object, for programs
    Json,
}

impl ExportAcl {
    /// The list goes to `out`, complaints to `err`; the result is the exit code.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
        let config = match config::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(complaints) => {
                // Where nobody reads what is wrong, the exit code still says it.
                let _ = writeln!(err, "{complaints}");
                return BAD_CONFIGURATION;
            }
        };
        let list = match self.format {
            Format::Text => text(&config),
            Format::Csv => csv(&config),
            Format::Json => json(&config),
        };
        match out.write_all(list.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => DONE,
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
            Err(_) => FAILED,
        }
    }
}

/// What a firewall rule may speak of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    kind: &'static str,
    /// What it is for; `-` where that is not known of one address.
    role: &'static str,
    value: String,
    /// Its own, where the destination's ports are not meant.
    port: Option<u16>,
}

impl Place {
    fn ports(&self, destination: &Destination) -> Vec<String> {
        match self.port {
            Some(port) => vec![port.to_string()],
            None => ports(destination),
        }
    }
}

/// Names and addresses that are dialled, then the ranges in which the service's addresses lie.
fn places(destination: &Destination) -> Vec<Place> {
    // Behind parents nothing else is dialled.
    if !destination.via.is_empty() {
        let parent = |parent: &config::Parent| Place {
            kind: match &parent.host {
                Host::Name(_) => "name",
                Host::Addr(_) => "address",
            },
            role: "parent",
            value: match &parent.host {
                Host::Name(name) => name.to_string(),
                Host::Addr(addr) => addr.to_string(),
            },
            port: Some(parent.port),
        };
        return destination.via.iter().map(parent).collect();
    }
    let host = |rule: &config::HostRule| Place {
        kind: match &rule.pattern {
            HostPattern::Name(_) => "name",
            HostPattern::Suffix(_) => "wildcard",
            HostPattern::Addr(_) => "address",
        },
        role: rule.role.word(),
        value: rule.pattern.to_string(),
        port: None,
    };
    let other = |kind, value: String| Place {
        kind,
        role: "-",
        value,
        port: None,
    };
    let hosts = destination.hosts.iter().map(host);
    // With these, no name server is asked: whatever the name, one of them is dialled.
    let fixed = destination.addresses.iter();
    let fixed = fixed.map(|addr| other("address", addr.to_string()));
    let published = destination.published.iter();
    let published = published.map(|range| other("range", range.to_string()));
    hosts.chain(fixed).chain(published).collect()
}

/// Whether its names are looked up, and its service does not say in which ranges the answers lie.
fn is_by_name_only(destination: &Destination) -> bool {
    if !destination.via.is_empty() {
        let named = |parent: &config::Parent| matches!(parent.host, Host::Name(_));
        return destination.via.iter().any(named);
    }
    let named = |rule: &config::HostRule| !matches!(rule.pattern, HostPattern::Addr(_));
    destination.addresses.is_empty()
        && destination.published.is_empty()
        && destination.hosts.iter().any(named)
}

/// What the proxy itself needs, whoever asks for what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    what: &'static str,
    /// `name` or `address`.
    kind: &'static str,
    value: String,
    protocol: &'static str,
    port: u16,
}

/// Name servers, the log's collector and the receivers of alarms. Name servers of the system are not known here.
fn services(config: &Config) -> Vec<Service> {
    let mut services = Vec::new();
    for server in &config.dns.servers {
        // Answers that are too long for a datagram come over TCP.
        let (server, protocols): (_, &[&str]) = match server {
            DnsServer::Plain(address) => (address, &["udp", "tcp"]),
            DnsServer::Tls { address, .. } | DnsServer::Https { address, .. } => {
                (address, &["tcp"])
            }
        };
        for protocol in protocols {
            services.push(Service {
                what: "dns",
                kind: "address",
                value: server.ip().to_string(),
                protocol,
                port: server.port(),
            });
        }
    }
    let tcp_or_udp = |transport| match transport {
        Transport::Udp => "udp",
        Transport::Tcp | Transport::Tls => "tcp",
    };
    if let AccessSink::Syslog(collector) = &config.log.access {
        let protocol = tcp_or_udp(collector.transport);
        services.push(service("syslog", &collector.host, protocol, collector.port));
    }
    let alarms = &config.alarms;
    if let Some(collector) = &alarms.syslog {
        let protocol = tcp_or_udp(collector.transport);
        services.push(service("alarms", &collector.host, protocol, collector.port));
    }
    let upload = alarms.upload.as_ref().map(|upload| &upload.receiver);
    let receivers = [
        alarms.alertmanager.as_ref(),
        alarms.webhook.as_ref(),
        upload,
    ];
    for to in receivers.into_iter().flatten() {
        services.push(service("alarms", &to.host, "tcp", to.port));
    }
    services
}

fn service(what: &'static str, host: &Host, protocol: &'static str, port: u16) -> Service {
    let (kind, value) = match host {
        Host::Name(name) => ("name", name.to_string()),
        Host::Addr(addr) => ("address", addr.to_string()),
    };
    Service {
        what,
        kind,
        value,
        protocol,
        port,
    }
}

fn is_unbounded(config: &Config) -> bool {
    config.policy.unlisted == Unlisted::Report
}

fn text(config: &Config) -> String {
    let source = match &config.source.path {
        Some(path) => path.display().to_string(),
        None => String::from("the built-in default"),
    };
    let mut names = vec![
        [
            "destination",
            "role",
            "kind",
            "name or address",
            "TCP ports",
        ]
        .map(String::from),
    ];
    let mut ranges = vec![["destination", "range", "TCP ports"].map(String::from)];
    let (mut by_name, mut wildcards) = (Vec::new(), Vec::new());
    for destination in &config.destinations {
        let name = destination.name.to_string();
        if is_by_name_only(destination) {
            by_name.push(name.clone());
        }
        for place in places(destination) {
            let ports = place.ports(destination).join(", ");
            let Place {
                kind, role, value, ..
            } = place;
            if kind == "wildcard" && !wildcards.contains(&value) {
                wildcards.push(value.clone());
            }
            if kind == "range" {
                ranges.push([name.clone(), value, ports]);
            } else {
                names.push([name.clone(), role.into(), kind.into(), value, ports]);
            }
        }
    }
    let mut text = format!(
        "What tidegate opens connections to, as {source} says it. Destinations are TCP, from the proxy outwards, and\n\
         long idle: no rule and no middlebox should end a silent connection within {}.\n\n",
        config::units::show_duration(config.tunnel.idle_timeout),
    );
    if is_unbounded(config) {
        text.push_str(
            "THIS LIST IS NOT COMPLETE: with policy.unlisted = \"report\", clients may reach any public or private host and port.\n\n",
        );
    }
    text.push_str(&aligned(&names));
    if ranges.len() > 1 {
        text.push_str("\nRanges that services publish for their addresses, where a firewall knows no names:\n\n");
        text.push_str(&aligned(&ranges));
    }
    let services = services(config);
    text.push_str("\nWhat the proxy itself needs:\n\n");
    let mut needs = vec![["for", "kind", "name or address", "protocol", "port"].map(String::from)];
    for one in services {
        let (value, port) = (one.value, one.port.to_string());
        needs.push([
            one.what.into(),
            one.kind.into(),
            value,
            one.protocol.into(),
            port,
        ]);
    }
    if config.dns.servers.is_empty() {
        needs.push(["dns", "-", SYSTEM_SERVERS, "udp, tcp", "53"].map(String::from));
    }
    text.push_str(&aligned(&needs));
    if !by_name.is_empty() {
        let _ = write!(
            text,
            "\nWithout published ranges: {}. Allow these by name; addresses that their names have today are not\n\
             those of next week.\n",
            by_name.join(", ")
        );
    }
    if !wildcards.is_empty() {
        let _ = write!(
            text,
            "\nWildcards: {}. No list of addresses can stand for one: they need a firewall that goes by names.\n",
            wildcards.join(", ")
        );
    }
    text
}

/// Columns as wide as their longest entry; nothing behind the last.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// No field can hold a comma or a quote: names, words, addresses and numbers do not have them.
fn csv(config: &Config) -> String {
    let mut text = String::from("destination,role,kind,value,protocol,ports\n");
    for destination in &config.destinations {
        for place in places(destination) {
            let all = place.ports(destination);
            let Place {
                kind, role, value, ..
            } = place;
            let role = if role == "-" { "" } else { role };
            for ports in all {
                let name = &destination.name;
                let _ = writeln!(text, "{name},{role},{kind},{value},tcp,{ports}");
            }
        }
    }
    for one in services(config) {
        let Service {
            what,
            kind,
            value,
            protocol,
            port,
        } = one;
        let _ = writeln!(text, "{what},,{kind},{value},{protocol},{port}");
    }
    if config.dns.servers.is_empty() {
        text.push_str("dns,,system,/etc/resolv.conf,udp,53\ndns,,system,/etc/resolv.conf,tcp,53\n");
    }
    if is_unbounded(config) {
        text.push_str("unlisted,,any,*,tcp,1-65535\n");
    }
    text
}

fn json(config: &Config) -> String {
    let ports = |ports: &PortRange| {
        if ports.first == ports.last {
            json!(ports.first)
        } else {
            json!(ports.to_string())
        }
    };
    let destination = |destination: &Destination| {
        let of = |kinds: &[&str]| -> Vec<Value> {
            let places = places(destination).into_iter();
            let places = places.filter(|place| {
                kinds.contains(&place.kind) && !["-", "parent"].contains(&place.role)
            });
            places
                .map(
                    |place| json!({ "value": place.value, "kind": place.kind, "role": place.role }),
                )
                .collect()
        };
        json!({
            "name": destination.name.as_str(),
            "preset": destination.preset,
            "protocol": "tcp",
            "ports": destination.ports.iter().map(ports).collect::<Vec<_>>(),
            "hosts": of(&["name", "wildcard", "address"]),
            "parents": destination.via.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "addresses": destination.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "ranges": destination.published.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "by_name_only": is_by_name_only(destination),
        })
    };
    let service = |one: Service| json!({ "for": one.what, "kind": one.kind, "value": one.value, "protocol": one.protocol, "port": one.port });
    let list = json!({
        "configuration": config.source.path.as_ref().map(|path| path.display().to_string()),
        "hash": config.source.hash,
        "destinations": config.destinations.iter().map(destination).collect::<Vec<_>>(),
        "services": services(config).into_iter().map(service).collect::<Vec<_>>(),
        "system_name_servers": config.dns.servers.is_empty(),
        "any_target": is_unbounded(config),
    });
    format!("{list:#}\n")
}

/// 443, 8000-8099
fn ports(destination: &Destination) -> Vec<String> {
    destination.ports.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
