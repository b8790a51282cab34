//! Whether the sections agree with one another, and with the rules of push services.
//!
//! Everything here needs two keys to see. Complaints stand where the operator would change something.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::complaint::{Wrong, either, nearest, quoted};
use super::file::{Marks, Written};
use super::listener::Draft;
use super::sheet::Sheet;
use super::units::show_duration;
use super::{
    Admin, Authentication, Client, Connect, Destination, Dns, Families, Limit, Role, Tunnel,
    UNLISTED, exposure,
};
use crate::exchange::Scheme;

/// The whole file, section by section.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) listeners: Vec<Written<Draft>>,
    pub(super) admin: Written<Admin>,
    pub(super) authentication: Written<Authentication>,
    pub(super) clients: Vec<Written<Client>>,
    pub(super) destinations: Vec<Written<Destination>>,
    pub(super) dns: Written<Dns>,
    pub(super) connect: Written<Connect>,
    pub(super) tunnel: Written<Tunnel>,
    pub(super) limits: Vec<Written<Limit>>,
}

/// What is wrong whatever else the file says.
pub(super) fn check(sheet: &Sheet, all: &Sections) {
    names(sheet, all);
    addresses(sheet, all);
    idle_push(sheet, all);
    one_client_each(sheet, all);
    addresses_of_the_family(sheet, all);
    ways_out(sheet, all);
    unlisted_name(sheet, all);
    waits_within_a_budget(sheet, all);
    exposure::proxy_protocol(sheet, all);
}

/// What is wrong because a key is not there, or has its default: not to be said of a file that is broken somewhere.
pub(super) fn whole(sheet: &Sheet, all: &Sections) {
    exposure::open_proxy(sheet, all);
    basic_without_tls(sheet, all);
    client_destinations(sheet, all);
    pairs(sheet, all);
}

/// Two of a kind cannot have one name.
fn names(sheet: &Sheet, all: &Sections) {
    once(
        sheet,
        "listener",
        all.listeners
            .iter()
            .map(|one| (one.value.listener.name.as_str(), &one.marks)),
    );
    once(
        sheet,
        "client",
        all.clients
            .iter()
            .map(|one| (one.value.name.as_str(), &one.marks)),
    );
    once(
        sheet,
        "destination",
        all.destinations
            .iter()
            .map(|one| (one.value.name.as_str(), &one.marks)),
    );
    once(
        sheet,
        "limit",
        all.limits
            .iter()
            .map(|one| (one.value.name.as_str(), &one.marks)),
    );
}

fn once<'a>(sheet: &Sheet, kind: &str, names: impl Iterator<Item = (&'a str, &'a Marks)>) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (name, marks) in names {
        // Nameless ones have had their complaint.
        if name.is_empty() {
            continue;
        }
        // A destination may have its name from its preset.
        let spot = marks.spot(if marks.has("name") || !marks.has("preset") {
            "name"
        } else {
            "preset"
        });
        match seen.get(name) {
            Some(first) => sheet.complain(
                &spot,
                Wrong::new(
                    format!(
                        "{} is the name of another {kind} already (line {first})",
                        quoted(name)
                    ),
                    r#"each needs a name of its own: name = "…""#,
                ),
            ),
            None => {
                seen.insert(name, spot.line);
            }
        }
    }
}

/// A user or network that stands in two clients would belong to the first, and the second would silently do nothing.
fn one_client_each(sheet: &Sheet, all: &Sections) {
    let mut owners: HashMap<String, &str> = HashMap::new();
    for client in &all.clients {
        let name = client.value.name.as_str();
        let users = client
            .value
            .users
            .iter()
            .map(|user| ("users", user.to_string()));
        let networks = client
            .value
            .networks
            .iter()
            .map(|network| ("networks", network.to_string()));
        for (key, what) in users.chain(networks) {
            match owners.get(what.as_str()) {
                Some(owner) if *owner != name => sheet.complain(
                    &client.marks.spot(key),
                    Wrong::new(
                        format!(
                            "{} belongs to client {} already",
                            quoted(&what),
                            quoted(owner)
                        ),
                        "a user or network is of one client: take it out of one of them",
                    ),
                ),
                Some(_) => {}
                None => {
                    owners.insert(what, name);
                }
            }
        }
    }
}

/// A wait longer than every connect budget would be cut short, and the key would silently mean less than it says.
fn waits_within_a_budget(sheet: &Sheet, all: &Sections) {
    let own = all
        .destinations
        .iter()
        .filter_map(|one| one.value.connect_budget);
    let most = own.fold(all.connect.value.budget, Duration::max);
    for limit in &all.limits {
        if limit.value.max_wait > most {
            sheet.complain(
                &limit.marks.spot("max_wait"),
                Wrong::new(
                    format!(
                        "{} is more than the connect budget of {}",
                        show_duration(limit.value.max_wait),
                        show_duration(most)
                    ),
                    "waiting is part of that budget: make it shorter, or the budget longer",
                ),
            );
        }
    }
}

/// Fixed addresses, none of them of a family that is connected over, lead nowhere.
fn addresses_of_the_family(sheet: &Sheet, all: &Sections) {
    let (family, wanted): (_, fn(&IpAddr) -> bool) = match all.connect.value.families {
        Families::Both => return,
        Families::Ipv4 => ("ipv4", IpAddr::is_ipv4),
        Families::Ipv6 => ("ipv6", IpAddr::is_ipv6),
    };
    for destination in &all.destinations {
        let addresses = &destination.value.addresses;
        if !addresses.is_empty() && !addresses.iter().any(wanted) {
            sheet.complain(
                &destination.marks.spot("addresses"),
                Wrong::new(
                    format!("has no address that connect.families = \"{family}\" would use"),
                    "add one of that family, or set families = \"both\"",
                ),
            );
        }
    }
}

/// A user of a parent has a password, a password has a user, and parents look names up by themselves.
fn ways_out(sheet: &Sheet, all: &Sections) {
    for one in &all.destinations {
        let destination = &one.value;
        let has_user = destination.via.iter().any(|parent| parent.user.is_some());
        let complain = |key: &'static str, problem: &str, hint: &str| {
            sheet.complain(&one.marks.spot(key), Wrong::new(problem, hint));
        };
        if has_user && !one.marks.has("password_file") {
            complain(
                "via",
                "names a user, and there is no password for it",
                r#"password_file = "parent.password", a file with the password alone"#,
            );
        }
        if destination.password.is_some() && !has_user {
            complain(
                "password_file",
                "is for nobody: no parent in via has a user",
                r#"via = ["http://user@parent:3128"]"#,
            );
        }
        if !destination.via.is_empty() && !destination.addresses.is_empty() {
            complain(
                "addresses",
                "is never used: with via it is the parent that looks the names up",
                "leave one of the two out",
            );
        }
    }
}

/// Two sockets cannot have one address.
fn addresses(sheet: &Sheet, all: &Sections) {
    let mut taken: Vec<(SocketAddr, bool, String)> = Vec::new();
    let listeners = all
        .listeners
        .iter()
        .filter(|one| one.value.has_address)
        .map(|one| {
            let listener = &one.value.listener;
            let what = format!("listener {}", quoted(listener.name.as_str()));
            (
                listener.address,
                listener.dual_stack,
                what,
                one.marks.spot("address"),
            )
        });
    let admin = &all.admin;
    let admin = (
        admin.value.address,
        false,
        String::from("the admin endpoint"),
        admin.marks.spot("address"),
    );
    for (address, dual_stack, what, spot) in listeners.chain([admin]) {
        let clash = taken
            .iter()
            .find(|(other, other_dual, _)| clash((address, dual_stack), (*other, *other_dual)));
        if let Some((other, _, holder)) = clash {
            sheet.complain(
                &spot,
                Wrong::new(
                    format!("{address} is taken by {holder} ({other})"),
                    "give each an address or a port of its own",
                ),
            );
        }
        taken.push((address, dual_stack, what));
    }
}

/// Whether the kernel would refuse the second. Port 0 is another one each time.
fn clash((a, a_dual): (SocketAddr, bool), (b, b_dual): (SocketAddr, bool)) -> bool {
    if a.port() != b.port() || a.port() == 0 {
        return false;
    }
    let covers = |wide: IpAddr, dual: bool, other: IpAddr| {
        wide.is_unspecified() && (wide.is_ipv4() == other.is_ipv4() || dual)
    };
    a.ip() == b.ip() || covers(a.ip(), a_dual, b.ip()) || covers(b.ip(), b_dual, a.ip())
}

/// The destination that unlisted targets are counted under has its name to itself.
fn unlisted_name(sheet: &Sheet, all: &Sections) {
    for destination in &all.destinations {
        if destination.value.name.as_str() == UNLISTED {
            let key = if destination.marks.has("name") {
                "name"
            } else {
                "preset"
            };
            sheet.complain(
                &destination.marks.spot(key),
                Wrong::new(
                    format!("{UNLISTED:?} is what targets of no destination are counted under"),
                    "choose another name",
                ),
            );
        }
    }
}

/// A challenge needs a scheme to offer.
fn basic_without_tls(sheet: &Sheet, all: &Sections) {
    let authentication = &all.authentication.value;
    let basic_alone = !authentication.schemes.is_empty()
        && authentication
            .schemes
            .iter()
            .all(|scheme| *scheme == Scheme::Basic);
    if !(authentication.required && authentication.basic_requires_tls && basic_alone) {
        return;
    }
    let plain: Vec<String> = all
        .listeners
        .iter()
        .filter(|one| !one.value.has_tls)
        .map(|one| quoted(one.value.listener.name.as_str()))
        .collect();
    if !plain.is_empty() {
        sheet.complain(
            &all.authentication.marks.spot("schemes"),
            Wrong::new(
                format!("nobody could log in through {}: there is no TLS there, and basic needs it", plain.join(", ")),
                r#"add "digest", or give the listener [listener.tls]; basic_requires_tls = false sends passwords in clear"#,
            ),
        );
    }
}

fn client_destinations(sheet: &Sheet, all: &Sections) {
    let names: Vec<&str> = all
        .destinations
        .iter()
        .map(|one| one.value.name.as_str())
        // Nameless ones have had their complaint.
        .filter(|name| !name.is_empty())
        .collect();
    for client in &all.clients {
        for wanted in &client.value.destinations {
            if names.contains(&wanted.as_str()) {
                continue;
            }
            let hint = match nearest(wanted.as_str(), names.iter().copied()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None if names.is_empty() => String::from("none has a name"),
                None => format!("there are {}", either(&names)),
            };
            sheet.complain(
                &client.marks.spot("destinations"),
                Wrong::new(
                    format!("there is no destination {}", quoted(wanted.as_str())),
                    hint,
                ),
            );
        }
    }
}

/// Push services keep idle connections for half an hour and more, and count on it.
fn idle_push(sheet: &Sheet, all: &Sections) {
    const LEAST: Duration = Duration::from_secs(30 * 60);
    let idle = all.tunnel.value.idle_timeout;
    let push: Vec<&str> = all
        .destinations
        .iter()
        .filter(|one| one.value.hosts.iter().any(|rule| rule.role == Role::Push))
        .map(|one| one.value.name.as_str())
        .collect();
    if idle < LEAST && !push.is_empty() {
        sheet.complain(
            &all.tunnel.marks.spot("idle_timeout"),
            Wrong::new(
                format!(
                    "{} cuts idle tunnels too early for {}: the deployment guide wants idle connections to a push service kept open for 30 minutes at least, since a push that fails on a cut connection is not sent again on a new one",
                    show_duration(idle),
                    push.join(", ")
                ),
                r#"at least "30m", or no destination with role "push""#,
            ),
        );
    }
}

/// Values of one section that bound each other.
fn pairs(sheet: &Sheet, all: &Sections) {
    let Dns {
        min_ttl, max_ttl, ..
    } = all.dns.value;
    if min_ttl > max_ttl {
        let key = if all.dns.marks.has("min_ttl") {
            "min_ttl"
        } else {
            "max_ttl"
        };
        sheet.complain(
            &all.dns.marks.spot(key),
            Wrong::new(
                format!(
                    "min_ttl {} is more than max_ttl {}",
                    show_duration(min_ttl),
                    show_duration(max_ttl)
                ),
                "min_ttl is at most max_ttl",
            ),
        );
    }
    let connect = &all.connect.value;
    if connect.attempt_delay >= connect.budget {
        let key = if all.connect.marks.has("attempt_delay") {
            "attempt_delay"
        } else {
            "budget"
        };
        sheet.complain(
            &all.connect.marks.spot(key),
            Wrong::new(
                format!(
                    "attempt_delay {} leaves no room in the budget of {} for a second address",
                    show_duration(connect.attempt_delay),
                    show_duration(connect.budget)
                ),
                "attempt_delay is less than budget",
            ),
        );
    }
    if connect.quarantine > connect.quarantine_max {
        sheet.complain(
            &all.connect.marks.spot("quarantine"),
            Wrong::new(
                "is more than quarantine_max",
                "quarantine is at most quarantine_max",
            ),
        );
    }
}
