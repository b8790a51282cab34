//! Names that this machine knows by itself: `/etc/hosts`, as it is now.
//!
//! It only says what stands there; whether such an address may be dialled is the policy's to say.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::resolve::{Answer, Family, ResolveError};
use super::watched::Watched;

#[derive(Debug)]
pub(super) struct Hosts {
    file: Watched,
    table: Table,
}

type Table = HashMap<Arc<str>, Vec<IpAddr>>;

impl Hosts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            file: Watched::new(path),
            table: Table::new(),
        }
    }

    /// Reads the file again if it has changed; gives the names that have other addresses now.
    pub(super) fn look(&mut self) -> Vec<Arc<str>> {
        if !self.file.has_changed() {
            return Vec::new();
        }
        let table = match self.file.read() {
            Ok(text) => parse(&String::from_utf8_lossy(&text)),
            // Without the file nothing stands in it.
            Err(_) => Table::new(),
        };
        let old = std::mem::replace(&mut self.table, table);
        let names: HashSet<&Arc<str>> = old.keys().chain(self.table.keys()).collect();
        let other = names
            .into_iter()
            .filter(|name| old.get(*name) != self.table.get(*name));
        other.cloned().collect()
    }

    /// `None`: it says nothing of this name.
    pub(super) fn find(&self, name: &str, family: Family) -> Option<Answer> {
        let addrs: Arc<[IpAddr]> = self
            .table
            .get(name)?
            .iter()
            .filter(|addr| addr.is_ipv4() == (family == Family::V4))
            .copied()
            .collect();
        Some(if addrs.is_empty() {
            Err(ResolveError::NoAddress)
        } else {
            Ok(addrs)
        })
    }
}

/// `address name name… # comment`; lines that are none of this are left out, as the C library does.
fn parse(text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(addr) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        for name in words {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let addrs = table.entry(name.into()).or_default();
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, name: &str, expected: &[&str]) {
        let found = parse(text).remove(name).unwrap_or_default();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn lines_of_the_hosts_file() {
        check("10.0.0.1 push.test", "push.test", &["10.0.0.1"]);
        check("10.0.0.1\ta b.test  Push.TEST.", "push.test", &["10.0.0.1"]);
        check("10.0.0.1 a # push.test", "push.test", &[]);
        check("#10.0.0.1 push.test", "push.test", &[]);
        check("::1 x\n10.0.0.1 x\n10.0.0.1 x", "x", &["::1", "10.0.0.1"]);
        check("push.test 10.0.0.1", "push.test", &[]);
        check("fe80::1%lo0 x", "x", &[]);
        check("10.0.0.1", "10.0.0.1", &[]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in ".*") {
            parse(&text);
        }
    }
}
