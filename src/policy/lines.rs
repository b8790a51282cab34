//! The lines of configuration that would allow what was only let pass.
//!
//! Pure text, made of the configuration and of a target that was parsed: nothing in it needs to be escaped.

use std::collections::HashMap;
use std::fmt::{Display, Write as _};
use std::net::{IpAddr, SocketAddr};

use super::{Cleared, Reported, WouldRefuse};
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

/// Makes the suggestions of all rows ones that stand together: where two rows would set one key of a section that
/// stands already, both suggest all of it; where two new destinations would have one name, the later gets a number.
pub(super) fn agree(rows: &mut [WouldRefuse]) {
    // By age, so that what was suggested once stays.
    rows.sort_by_key(|row| (row.first_seen, row.passed.target.to_string()));
    let mut lists: HashMap<(String, String), Vec<String>> = HashMap::new();
    let mut names: HashMap<String, String> = HashMap::new();
    for row in rows.iter_mut() {
        let section_of_row = new_section(&row.latest.lines_to_add);
        if let Some((name, host)) = section_of_row {
            let free = (1..)
                .map(|number: u32| match number {
                    1 => name.clone(),
                    _ => format!("{name}-{number}"),
                })
                .find(|free| names.get(free).is_none_or(|taken| *taken == host))
                .expect("there are fewer rows than numbers");
            if free != name {
                let (old, new) = (format!("name = \"{name}\""), format!("name = \"{free}\""));
                row.latest.lines_to_add = row.latest.lines_to_add.replace(&old, &new);
            }
            names.insert(free, host);
        }
        for (section, key, items) in listed(&row.latest.lines_to_add) {
            let all = lists.entry((section, key)).or_default();
            for item in items {
                if !all.contains(&item) {
                    all.push(item);
                }
            }
        }
    }
    for row in rows {
        let mut section = String::new();
        let mut text = String::new();
        for line in row.latest.lines_to_add.lines() {
            if line.starts_with('#') || line.starts_with('[') {
                line.clone_into(&mut section);
            }
            let key = line.split(" = ").next().unwrap_or_default().to_owned();
            match lists.get(&(section.clone(), key.clone())) {
                Some(items) => drop(writeln!(text, "{key} = [{}]", items.join(", "))),
                None => drop(writeln!(text, "{line}")),
            }
        }
        row.latest.lines_to_add = text;
    }
}

/// Name and whole text of a destination that is to be added.
fn new_section(text: &str) -> Option<(String, String)> {
    let rest = text.strip_prefix("[[destination]]\nname = \"")?;
    let (name, rest) = rest.split_once('"')?;
    Some((name.to_owned(), rest.to_owned()))
}

/// The lists that a text sets in sections that stand already: the comment above, the key, the items.
fn listed(text: &str) -> Vec<(String, String, Vec<String>)> {
    let mut section = None;
    let mut lists = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            section = Some(line);
        } else if line.starts_with('[') {
            section = None;
        } else if let (Some(section), Some((key, list))) = (section, line.split_once(" = "))
            && let Some(items) = list
                .strip_prefix('[')
                .and_then(|list| list.strip_suffix(']'))
        {
            let items = items.split(", ").map(str::to_owned).collect();
            lists.push((section.to_owned(), key.to_owned(), items));
        }
    }
    lists
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::exchange::{DestinationName, Reason};
    use crate::policy::{Latest, Passed};

    fn row(target: &str, lines: &str, age: u64) -> WouldRefuse {
        let seen = SystemTime::UNIX_EPOCH + Duration::from_secs(age);
        WouldRefuse {
            passed: Passed {
                client: None,
                target: Target::from_connect(target.as_bytes()).unwrap(),
                destination: DestinationName::new("lab"),
                reason: Reason::PortDenied,
            },
            latest: Latest {
                user: None,
                address: IpAddr::from([127, 0, 0, 1]),
                lines_to_add: lines.to_owned(),
            },
            count: 1,
            first_seen: seen,
            last_seen: seen,
        }
    }

    fn agreed(rows: &[(&str, &str)]) -> Vec<String> {
        let rows = rows.iter().zip(1..);
        let mut rows: Vec<_> = rows
            .map(|((target, lines), age)| row(target, lines, age))
            .collect();
        agree(&mut rows);
        rows.into_iter()
            .map(|row| row.latest.lines_to_add)
            .collect()
    }

    #[test]
    fn suggestions_for_one_section_are_one_suggestion() {
        let all = "# in [[destination]] lab:\nports = [443, 1, 2]\n";
        let other = "# in [[destination]] other:\nports = [443, 7]\n";
        assert_eq!(
            agreed(&[
                ("a.test:1", "# in [[destination]] lab:\nports = [443, 1]\n"),
                ("b.test:7", other),
                ("a.test:2", "# in [[destination]] lab:\nports = [443, 2]\n"),
            ]),
            [all, other, all]
        );
    }

    #[test]
    fn new_destinations_have_names_of_their_own() {
        let one = "[[destination]]\nname = \"long\"\nhosts = [\"long.a.test\"]\n";
        let two = "[[destination]]\nname = \"long\"\nhosts = [\"long.b.test\"]\n";
        let renamed = two.replace("\"long\"", "\"long-2\"");
        assert_eq!(
            agreed(&[("a.test:1", one), ("b.test:1", two), ("a.test:1", one)]),
            [one, &renamed, one]
        );
    }
}
