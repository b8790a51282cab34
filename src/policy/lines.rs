//! The lines of configuration that would allow what was only let pass.
//!
//! Pure text, made of the configuration and of a target that was parsed: nothing in it needs to be escaped.

use std::fmt::{Display, Write as _};
use std::net::{IpAddr, SocketAddr};

use super::{Cleared, Reported};
use crate::config::{self, Network};
use crate::exchange::{ClientName, Host, Target};

/// As much of a host as a destination's name may take, with a port behind it.
const NAME_MAX: usize = 58;

impl Cleared {
    /// What to add, with a comment line above what belongs into a section that stands already. `sender` is the
    /// `[[client]]` that asked, `peer` the address that was connected to.
    pub(crate) fn lines_to_add(
        &self,
        sender: Option<&ClientName>,
        peer: Option<SocketAddr>,
    ) -> String {
        let destination = self.destination();
        let network = peer
            .filter(|peer| self.is_unlisted_special(peer.ip()))
            .map(|peer| Network::from(peer.ip().to_canonical()));
        let mut text = String::new();
        let name = if self.is_unlisted() {
            let name = self.policy.free_name(&self.target);
            new_destination(&mut text, &name, &self.target, network);
            name
        } else {
            existing_destination(&mut text, self, destination, network);
            destination.name.to_string()
        };
        let allowed = self
            .reported
            .as_deref()
            .map_or(&[][..], |reported| &reported.allowed);
        if let Some(sender) = sender
            && !allowed.is_empty()
            && !allowed.iter().any(|allowed| allowed.as_str() == name)
        {
            let names = allowed
                .iter()
                .map(|name| name.as_str())
                .chain([name.as_str()]);
            let _ = writeln!(text, "# in [[client]] {sender}:");
            let _ = writeln!(text, "destinations = [{}]", list(names.map(quoted)));
        }
        text
    }

    /// What to add where a tunnel may open with anything.
    pub(crate) fn line_for_any_opening(&self) -> String {
        let name = &self.destination().name;
        format!("# in [[destination]] {name}:\nsni = \"off\"\n")
    }
}

impl super::Policy {
    /// A name that no destination has yet.
    fn free_name(&self, target: &Target) -> String {
        let mut name = bare(&target.host).replace(':', "-");
        name.truncate(NAME_MAX);
        if target.port != 443 {
            let _ = write!(name, "-{}", target.port);
        }
        let taken = |name: &String| {
            self.destinations
                .iter()
                .any(|one| one.name.as_str() == name)
        };
        if !taken(&name) {
            return name;
        }
        let short = &name[..name.len().min(NAME_MAX)];
        (2..)
            .map(|number: u32| format!("{short}-{number}"))
            .find(|name| !taken(name))
            .expect("there are fewer destinations than numbers")
    }
}

fn new_destination(text: &mut String, name: &str, target: &Target, network: Option<Network>) {
    let host = bare(&target.host);
    let _ = writeln!(
        text,
        "[[destination]]\nname = \"{name}\"\nhosts = [\"{host}\"]"
    );
    let _ = writeln!(text, "ports = [{}]\nrole = \"other\"", target.port);
    // An address that is listed as a host needs no network.
    if let (Some(network), Host::Name(_)) = (network, &target.host) {
        let _ = writeln!(text, "networks = [\"{network}\"]");
    }
}

fn existing_destination(
    text: &mut String,
    cleared: &Cleared,
    destination: &config::Destination,
    network: Option<Network>,
) {
    let lacks_port = cleared
        .reported
        .as_deref()
        .is_some_and(|reported: &Reported| reported.lacks_port);
    if !lacks_port && network.is_none() {
        return;
    }
    let _ = writeln!(text, "# in [[destination]] {}:", destination.name);
    if lacks_port {
        let ports = destination.ports.iter().map(|ports| {
            if ports.first == ports.last {
                ports.first.to_string()
            } else {
                quoted(&ports.to_string())
            }
        });
        let ports = ports.chain([cleared.target.port.to_string()]);
        let _ = writeln!(text, "ports = [{}]", list(ports));
    }
    if let Some(network) = network {
        let networks = destination.networks.iter().copied().chain([network]);
        let networks = networks.map(|network| quoted(&network.to_string()));
        let _ = writeln!(text, "networks = [{}]", list(networks));
    }
}

/// Without the brackets that an IPv6 address has in a target.
fn bare(host: &Host) -> String {
    match host {
        Host::Name(name) => name.to_string(),
        Host::Addr(IpAddr::V4(addr)) => addr.to_string(),
        Host::Addr(IpAddr::V6(addr)) => addr.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    let mut list = String::new();
    for item in items {
        let comma = if list.is_empty() { "" } else { ", " };
        let _ = write!(list, "{comma}{item}");
    }
    list
}
