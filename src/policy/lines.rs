//! The lines of configuration that would allow what was only let pass.
//!
//! Pure text, made of the configuration and of targets that were parsed: nothing in it needs to be escaped. All that is
//! missing in one section is one block, so that the blocks can stand in one file.

use std::collections::{HashMap, HashSet};
use std::fmt::{Display, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Cleared;
use crate::config::{Network, PortRange};
use crate::exchange::{ClientName, DestinationName, Host};

/// As much of a host as a destination's name may take, with a number behind it.
const NAME_MAX: usize = 58;

/// What one request lacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    place: Place,
    port: Option<u16>,
    network: Option<Network>,
    any_opening: bool,
    /// The `[[client]]` that asked and the destinations that it may use, if this one is not among them.
    client: Option<(ClientName, Box<[DestinationName]>)>,
}

/// The section that lacks it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// As it was when it was asked for.
    Existing {
        name: DestinationName,
        ports: Box<[PortRange]>,
        networks: Box<[Network]>,
    },
    /// No destination has the host; these names are taken.
    New {
        host: Host,
        taken: Arc<[DestinationName]>,
    },
}

impl Cleared {
    /// What is missing. `sender` is the `[[client]]` that asked, `peer` the address that was connected to.
    pub(crate) fn lacking(&self, sender: Option<&ClientName>, peer: Option<SocketAddr>) -> Lacking {
        let is_new = self.is_unlisted();
        let reported = self.reported.as_deref();
        let name = &self.destination().name;
        let may_not_use = reported
            .filter(|one| !one.allowed.is_empty() && (is_new || !one.allowed.contains(name)));
        // An address that is listed as a host needs no network.
        let needs_network = !is_new || matches!(self.target.host, Host::Name(_));
        Lacking {
            place: self.place(),
            port: (is_new || reported.is_some_and(|one| one.lacks_port))
                .then_some(self.target.port),
            network: peer
                .filter(|peer| needs_network && self.is_unlisted_special(peer.ip()))
                .map(|peer| Network::from(peer.ip().to_canonical())),
            any_opening: false,
            client: sender
                .cloned()
                .zip(may_not_use.map(|one| one.allowed.clone())),
        }
    }

    /// A tunnel that may open with anything.
    pub(crate) fn lacks_any_opening(&self) -> Lacking {
        Lacking {
            place: self.place(),
            port: None,
            network: None,
            any_opening: true,
            client: None,
        }
    }

    fn place(&self) -> Place {
        if self.is_unlisted() {
            return Place::New {
                host: self.target.host.clone(),
                taken: Arc::clone(&self.policy.names),
            };
        }
        let destination = self.destination();
        Place::Existing {
            name: destination.name.clone(),
            ports: destination.ports.clone().into(),
            networks: destination.networks.clone().into(),
        }
    }
}

/// The lines of each, together all that is missing: a block stands with the first that needs it. `all` is in the order
/// in which it is shown, each with when it was asked for last.
pub(super) fn of<T: Ord>(all: &[(&Lacking, T)]) -> Vec<String> {
    // What a section has already is what the last one saw.
    let mut latest: Vec<_> = all.iter().collect();
    latest.sort_by(|(_, one), (_, other)| other.cmp(one));
    let mut blocks: HashMap<Key<'_>, Block<'_>> = HashMap::new();
    for (lacking, _) in &latest {
        blocks
            .entry(Key::of(&lacking.place))
            .or_insert_with(|| Block::of(&lacking.place))
            .add(lacking);
    }
    let names = names(&blocks);
    let mut clients: HashMap<&ClientName, Vec<String>> = HashMap::new();
    for (lacking, _) in &latest {
        let Some((client, allowed)) = &lacking.client else {
            continue;
        };
        let may_use = clients
            .entry(client)
            .or_insert_with(|| allowed.iter().map(ToString::to_string).collect());
        let name = &names[&Key::of(&lacking.place)];
        if !may_use.contains(name) {
            may_use.push(name.clone());
        }
    }
    all.iter()
        .map(|(lacking, _)| {
            let key = Key::of(&lacking.place);
            let block = blocks.remove(&key);
            let mut text = block.map_or_else(String::new, |block| block.text(&names[&key]));
            if let Some((client, _)) = &lacking.client
                && let Some(may_use) = clients.remove(client)
            {
                let may_use = list(may_use.iter().map(|name| quoted(name)));
                let _ = writeln!(
                    text,
                    "# in [[client]] {client}:\ndestinations = [{may_use}]"
                );
            }
            text
        })
        .collect()
}

/// What makes it one section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key<'a> {
    Existing(&'a str),
    Name(&'a str),
    Addr(IpAddr),
}

impl<'a> Key<'a> {
    fn of(place: &'a Place) -> Self {
        match place {
            Place::Existing { name, .. } => Self::Existing(name.as_str()),
            Place::New { host, .. } => match host {
                Host::Name(name) => Self::Name(name),
                Host::Addr(addr) => Self::Addr(*addr),
            },
        }
    }
}

/// All that is missing in one section, with what it has already.
#[derive(Debug)]
struct Block<'a> {
    place: &'a Place,
    ports: Vec<PortRange>,
    lacks_port: bool,
    networks: Vec<Network>,
    lacks_network: bool,
    any_opening: bool,
}

impl<'a> Block<'a> {
    fn of(place: &'a Place) -> Self {
        let (ports, networks) = match place {
            Place::Existing {
                ports, networks, ..
            } => (ports.to_vec(), networks.to_vec()),
            Place::New { .. } => Default::default(),
        };
        Self {
            place,
            ports,
            lacks_port: false,
            networks,
            lacks_network: false,
            any_opening: false,
        }
    }

    fn add(&mut self, lacking: &Lacking) {
        if let Some(port) = lacking.port {
            self.lacks_port = true;
            if !self.ports.iter().any(|range| range.contains(port)) {
                self.ports.push(PortRange {
                    first: port,
                    last: port,
                });
            }
        }
        if let Some(network) = lacking.network {
            self.lacks_network = true;
            if !self.networks.contains(&network) {
                self.networks.push(network);
            }
        }
        self.any_opening |= lacking.any_opening;
    }

    fn text(&self, name: &str) -> String {
        let mut text = match self.place {
            // Only its client may not use it.
            Place::Existing { .. }
                if !(self.lacks_port || self.lacks_network || self.any_opening) =>
            {
                return String::new();
            }
            Place::Existing { .. } => format!("# in [[destination]] {name}:\n"),
            Place::New { host, .. } => format!(
                "[[destination]]\nname = \"{name}\"\nhosts = [\"{}\"]\nrole = \"other\"\n",
                bare(host)
            ),
        };
        if self.lacks_port {
            let ports = self.ports.iter().map(|ports| {
                if ports.first == ports.last {
                    ports.first.to_string()
                } else {
                    quoted(&ports.to_string())
                }
            });
            let _ = writeln!(text, "ports = [{}]", list(ports));
        }
        if self.lacks_network {
            let networks = self.networks.iter().map(|one| quoted(&one.to_string()));
            let _ = writeln!(text, "networks = [{}]", list(networks));
        }
        if self.any_opening {
            text.push_str("sni = \"off\"\n");
        }
        text
    }
}

/// What each section is called; a new one as no other is.
fn names<'a>(blocks: &HashMap<Key<'a>, Block<'a>>) -> HashMap<Key<'a>, String> {
    let mut names = HashMap::new();
    let mut new = Vec::new();
    for (key, block) in blocks {
        match block.place {
            Place::Existing { name, .. } => drop(names.insert(*key, name.to_string())),
            Place::New { host, taken } => new.push((*key, host, taken)),
        }
    }
    // Not by who asked last: the same names each time.
    new.sort_by_key(|(key, ..)| *key);
    let mut used: HashSet<String> = HashSet::new();
    for (key, host, taken) in new {
        let mut short = bare(host).replace(':', "-");
        short.truncate(NAME_MAX);
        let is_free = |name: &String| {
            !used.contains(name) && !taken.iter().any(|taken| taken.as_str() == name)
        };
        let name = (1..)
            .map(|number: u32| match number {
                1 => short.clone(),
                _ => format!("{short}-{number}"),
            })
            .find(is_free)
            .expect("there are fewer destinations than numbers");
        used.insert(name.clone());
        names.insert(key, name);
    }
    names
}

/// Without the brackets that an IPv6 address has in a target.
fn bare(host: &Host) -> String {
    match host {
        Host::Name(name) => name.to_string(),
        Host::Addr(addr) => addr.to_string(),
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
