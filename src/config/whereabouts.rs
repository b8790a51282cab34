//! Where in its file a rule stands, to be shown beside a decision.
//!
//! Reads the file once more: a `Config` does not carry lines. If it has changed meanwhile, so have its lines.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::check::EMBEDDED;
use super::sheet::Sheet;
use super::{HostPattern, disk, host};

/// A configuration's text.
#[derive(Debug)]
pub(crate) struct Whereabouts {
    file: PathBuf,
    text: String,
}

impl Whereabouts {
    /// Of this file; `None` is the embedded default.
    pub(crate) fn of(path: Option<&Path>) -> Self {
        match path {
            Some(path) => Self {
                file: path.to_owned(),
                text: disk::read(path, disk::LONGEST).unwrap_or_default(),
            },
            None => Self {
                file: PathBuf::from("tidegate.toml (built in)"),
                text: EMBEDDED.to_owned(),
            },
        }
    }

    /// `FILE:LINE` of a key of one of these sections, or of the section itself where it does not set the key.
    pub(crate) fn key(&self, section: &str, place: usize, key: &str) -> Option<String> {
        self.look(section, place, |one| {
            one.get(key).map(|value| value.span().start)
        })
    }

    /// `FILE:LINE` of a host of a destination, or of the destination where a preset names it.
    pub(crate) fn host(&self, destination: usize, pattern: &HostPattern) -> Option<String> {
        self.look("destination", destination, |one| {
            let hosts = one.get("hosts")?.get_ref().as_array()?;
            let is_it = |text: &str| host::pattern(text).is_ok_and(|found| found == *pattern);
            hosts
                .iter()
                .find(|host| host.get_ref().as_str().is_some_and(is_it))
                .map(|host| host.span().start)
        })
    }

    fn look(
        &self,
        section: &str,
        place: usize,
        within: impl FnOnce(&DeTable<'_>) -> Option<usize>,
    ) -> Option<String> {
        let (sheet, table) = Sheet::new(&self.text, &self.file);
        let DeValue::Array(sections) = table.get(section)?.get_ref() else {
            return None;
        };
        let one = sections.get(place)?;
        let start = one
            .get_ref()
            .as_table()
            .and_then(within)
            .unwrap_or_else(|| one.span().start);
        Some(format!("{}:{}", self.file.display(), sheet.line(start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_in_its_file() {
        let found = Whereabouts {
            file: "a.toml".into(),
            text: "[[listener]]\nname = \"plain\"\n\n[[destination]]\npreset = \"cisco\"\n[[destination]]\nname = \"lab\"\nhosts = [\n  \"A.test\",\n  \"*.b.test\",\n]\nports = [1]\n".into(),
        };
        let host = |text: &str| host::pattern(text).unwrap();
        let at = |line: u32| Some(format!("a.toml:{line}"));
        assert_eq!(found.key("listener", 0, "name"), at(2));
        assert_eq!(found.key("destination", 0, "ports"), at(4));
        assert_eq!(found.key("destination", 1, "ports"), at(12));
        assert_eq!(found.host(1, &host("a.test")), at(9));
        assert_eq!(found.host(1, &host("*.b.test")), at(10));
        assert_eq!(found.host(1, &host("c.test")), at(6));
        assert_eq!(found.host(0, &host("push.webexconnect.com")), at(4));
        assert_eq!(found.key("client", 0, "users"), None);
        assert_eq!(found.key("listener", 1, "name"), None);
    }
}
