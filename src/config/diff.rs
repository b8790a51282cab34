//! What changes between two configurations: what a reload applies at once, and what waits for a restart.
//!
//! `in_force` decides it, key by key: what it takes from the new one applies at once, and what it keeps of the old one
//! needs a restart. The plan is read off its result, so it can never say anything else than what was done.
//! Pure: what stood in certificates and keys was read with each configuration.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fingerprint::Contents;
use super::{Config, Drain, Listener, Log, Source, exposure, shown};

/// Values longer than this are cut: a list of a thousand hosts helps nobody.
const LONGEST: usize = 160;

/// One difference: the key as the file has it, and what becomes of it. No secret is in either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// `destination "lab".hosts`.
    pub(crate) key: String,
    /// `["a.test"] → ["b.test"]`, `added`, `content changed`.
    pub(crate) what: String,
}

/// What a reload does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) apply: Vec<Change>,
    pub(crate) needs_restart: Vec<Change>,
}

pub(crate) fn diff(old: &Config, new: &Config) -> Plan {
    let in_force = in_force(old, new);
    Plan {
        apply: changes(old, &in_force),
        needs_restart: changes(&in_force, new),
    }
}

/// Why a reload from one to the other must not be: what it would put in force lets anybody in.
pub(crate) fn hazard(old: &Config, new: &Config) -> Option<String> {
    exposure::of_mixture(&in_force(old, new))
}

/// What is in force after a reload: the new configuration, but for what cannot change while the program runs.
pub(crate) fn in_force(old: &Config, new: &Config) -> Config {
    // Every section by its name: a new one has to decide.
    let Config {
        source,
        listeners,
        admin: _,
        authentication,
        clients,
        destinations,
        policy,
        // What names were asked, and how, is the resolver's memory.
        dns: _,
        connect: _,
        // A shorter idle limit would end tunnels that live now.
        tunnel: _,
        forward: _,
        intake: _,
        limits,
        log,
        drain,
        runtime: _,
        alarms,
        probe,
    } = new;
    let again = |bound: &Listener| {
        listeners
            .iter()
            .find(|listener| is_bound_as(bound, listener))
    };
    let kept = old.listeners.iter();
    let listeners = kept.map(|bound| again(bound).unwrap_or(bound).clone());
    let mut config = Config {
        source: Source::default(),
        listeners: listeners.collect(),
        admin: old.admin.clone(),
        authentication: authentication.clone(),
        clients: clients.clone(),
        destinations: destinations.clone(),
        policy: policy.clone(),
        dns: old.dns.clone(),
        connect: old.connect.clone(),
        tunnel: old.tunnel.clone(),
        forward: old.forward.clone(),
        intake: old.intake.clone(),
        limits: limits.clone(),
        log: Log {
            level: log.level,
            ..old.log.clone()
        },
        drain: Drain {
            tunnel_grace: drain.tunnel_grace,
            ..old.drain.clone()
        },
        runtime: old.runtime.clone(),
        alarms: alarms.clone(),
        probe: probe.clone(),
    };
    config.source = Source {
        path: source.path.clone(),
        hash: source.hash.clone(),
        shown: shown::config(&config),
        contents: contents(old, source, |name| {
            let bound = old.listeners.iter().find(|one| one.name.as_str() == name);
            bound.is_some_and(|bound| again(bound).is_some())
        }),
    };
    config
}

/// Each content from where its section was taken.
fn contents(old: &Config, new: &Source, is_renewed: impl Fn(&str) -> bool) -> Contents {
    let from_new = |key: &str| match key.split_once(" \"") {
        Some(("listener", rest)) => rest
            .split_once('"')
            .is_some_and(|(name, _)| is_renewed(name)),
        Some(_) => true,
        None => key.starts_with("alarms."),
    };
    let keep = |(key, content): (&String, &Vec<u8>)| (key.clone(), content.clone());
    let kept = old.source.contents.iter().filter(|(key, _)| !from_new(key));
    let taken = new.contents.iter().filter(|(key, _)| from_new(key));
    kept.chain(taken).map(keep).collect()
}

/// Whether both are served by the same sockets.
fn is_bound_as(bound: &Listener, listener: &Listener) -> bool {
    (&bound.name, bound.address, bound.dual_stack)
        == (&listener.name, listener.address, listener.dual_stack)
}

/// What differs, in the order of the sections.
fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("", &old.source.shown, &new.source.shown, &mut changes);
    let (before, after) = (&old.source.contents, &new.source.contents);
    for (key, content) in after {
        // Where the key names another file, or none before, that is the change.
        let same_file = value_at(&old.source.shown, key) == value_at(&new.source.shown, key);
        if same_file && before.get(key).is_some_and(|before| before != content) {
            changes.push(Change {
                key: key.clone(),
                what: String::from("content changed"),
            });
        }
    }
    users(old, new, &mut changes);
    nonce_keys(old, new, &mut changes);
    changes
}

/// Goes down two JSON values together; tables of an array are told apart by their names.
fn compare(key: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    let below = |name: &str| match key {
        "" => name.to_owned(),
        key => format!("{key}.{name}"),
    };
    match (old, new) {
        _ if old == new => {}
        (Value::Object(old), Value::Object(new)) => {
            let only_new = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(only_new) {
                let at =
                    |object: &Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                compare(&below(name), &at(old), &at(new), changes);
            }
        }
        (Value::Array(old), Value::Array(new)) if is_tables(old) && is_tables(new) => {
            tables(key, old, new, changes);
        }
        (old, new) => changes.push(Change {
            key: key.to_owned(),
            what: format!("{} → {}", short(old), short(new)),
        }),
    }
}

fn tables(key: &str, old: &[Value], new: &[Value], changes: &mut Vec<Change>) {
    let find = |list: &[Value], name: &str| list.iter().find(|one| name_of(one) == name).cloned();
    let named = |name: &str| format!("{key} {name:?}");
    for before in old {
        let name = name_of(before);
        match find(new, name) {
            Some(after) => compare(&named(name), before, &after, changes),
            None => changes.push(Change {
                key: named(name),
                what: String::from("removed"),
            }),
        }
    }
    for after in new {
        if find(old, name_of(after)).is_none() {
            changes.push(Change {
                key: named(name_of(after)),
                what: String::from("added"),
            });
        }
    }
    let order = |list: &[Value], other: &[Value]| -> Vec<String> {
        let both = list.iter().map(name_of);
        both.filter(|name| find(other, name).is_some())
            .map(str::to_owned)
            .collect()
    };
    if order(old, new) != order(new, old) {
        changes.push(Change {
            key: key.to_owned(),
            what: String::from("in another order"),
        });
    }
}

fn is_tables(list: &[Value]) -> bool {
    list.iter().all(|one| one.get("name").is_some())
}

fn name_of(table: &Value) -> &str {
    table["name"].as_str().unwrap_or_default()
}

/// The value of a key as `Change` writes it: `listener "tls".tls.certificate`.
fn value_at<'a>(shown: &'a Value, key: &str) -> Option<&'a Value> {
    let Some((section, rest)) = key.split_once(" \"") else {
        return key
            .split('.')
            .try_fold(shown, |value, name| value.get(name));
    };
    let (name, rest) = rest.split_once("\".")?;
    let tables = shown.get(section)?.as_array()?;
    let table = tables.iter().find(|table| name_of(table) == name)?;
    rest.split('.')
        .try_fold(table, |value, name| value.get(name))
}

fn short(value: &Value) -> String {
    if value.is_null() {
        return String::from("not set");
    }
    let mut text = value.to_string();
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

/// Counted, not named: who may log in is nobody's business who may read a plan.
fn users(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    let lines = |config: &Config| {
        let mut by_user: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for line in &config.authentication.users {
            let of_user = by_user.entry(line.user.to_string()).or_default();
            of_user.push((line.kind, line.ha1.clone()));
        }
        by_user
    };
    let (before, after) = (lines(old), lines(new));
    let count = |one: &BTreeMap<_, _>, other: &BTreeMap<String, _>| {
        one.keys().filter(|user| !other.contains_key(*user)).count()
    };
    let changed = before
        .iter()
        .filter(|(user, lines)| after.get(*user).is_some_and(|after| after != *lines));
    let counts = [
        (count(&after, &before), "added"),
        (count(&before, &after), "removed"),
        (changed.count(), "with another password"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if !told.is_empty() {
        changes.push(Change {
            key: String::from("authentication.users"),
            what: told.join(", "),
        });
    }
}

fn nonce_keys(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    let (old, new) = (&old.authentication, &new.authentication);
    // A file that is still to be made, at start, has no keys yet.
    let known = !old.nonce_keys.is_empty() && !new.nonce_keys.is_empty();
    if known && old.nonce_key_file == new.nonce_key_file && old.nonce_keys != new.nonce_keys {
        changes.push(Change {
            key: String::from("authentication.nonce_key_file"),
            what: String::from("content changed"),
        });
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

#[cfg(test)]
mod tests;
