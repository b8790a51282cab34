//! The shape of the file: every section takes its keys out by name, and what is left over is unknown.
//!
//! Knows TOML, lines and types, and no key by name: the keys are in `sections.rs` and beside it.
//! Stops at nothing: what cannot be read is complained of, and its default stands in until the end.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::complaint::{Wrong, nearest, quoted};
use super::item::{Item, is_name, ours};
use super::sheet::{Sheet, Spot};
use super::unbuilt::UNBUILT;
use super::units::{self, Bytes};

/// One table of the file. Dropping it complains of the keys that nobody took.
#[derive(Debug)]
pub(super) struct Section<'s, 'i> {
    sheet: &'s Sheet,
    /// As in `UNBUILT`: `listener.tls`.
    path: String,
    marks: Marks,
    table: DeTable<'i>,
    asked: Vec<&'static str>,
}

/// Where a section's keys stand.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    shown: String,
    line: usize,
    lines: BTreeMap<&'static str, usize>,
}

/// What a section means, and where it says so: for complaints that need two sections to see.
#[derive(Debug)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) marks: Marks,
}

impl Marks {
    /// Where `key` stands, or the section's header where it does not.
    pub(super) fn spot(&self, key: &str) -> Spot {
        Spot {
            line: self.lines.get(key).copied().unwrap_or(self.line),
            key: join(&self.shown, key),
        }
    }

    /// Whether `key` was in the file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }
}

impl Drop for Section<'_, '_> {
    fn drop(&mut self) {
        for (key, _) in std::mem::take(&mut self.table) {
            let written = key.get_ref().as_ref();
            let spot = Spot {
                line: self.sheet.line(key.span().start),
                key: self.shown_key(&bare(written)),
            };
            let hint = match nearest(written, self.asked.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None if self.path.is_empty() => {
                    format!("the sections are {}", self.asked.join(", "))
                }
                None => format!("the keys here are {}", self.asked.join(", ")),
            };
            self.sheet.complain(&spot, Wrong::new("unknown key", hint));
        }
    }
}

/// A key as it can stand in a complaint, whatever is in it.
fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if key.len() <= 60 && !key.is_empty() && key.chars().all(plain) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

impl<'s, 'i> Section<'s, 'i> {
    pub(super) fn new(
        sheet: &'s Sheet,
        path: String,
        shown: String,
        line: usize,
        table: DeTable<'i>,
    ) -> Self {
        Self {
            sheet,
            path,
            marks: Marks {
                shown,
                line,
                lines: BTreeMap::new(),
            },
            table,
            asked: Vec::new(),
        }
    }

    pub(super) fn sheet(&self) -> &'s Sheet {
        self.sheet
    }

    /// What was read, with the lines of its keys.
    pub(super) fn written<T>(&self, value: T) -> Written<T> {
        Written {
            value,
            marks: self.marks.clone(),
        }
    }

    /// Whether `key` was in the file. To be asked after it was read.
    pub(super) fn has(&self, key: &str) -> bool {
        self.marks.has(key)
    }

    pub(super) fn complain(&self, key: &str, wrong: Wrong) {
        self.sheet.complain(&self.marks.spot(key), wrong);
    }

    /// A key that has no default was not there.
    pub(super) fn missing(&self, key: &str, hint: &str) {
        if self.sheet.is_whole() {
            self.complain(key, Wrong::new("is missing", hint));
        }
    }

    /// The one way a value comes out: its bad form is a complaint, and so is what is not built yet.
    /// `default` shows, for the hint, what is allowed before it is built.
    pub(super) fn key<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: T,
        shown: &str,
        read: impl FnOnce(&Item<'_, 'i>) -> Result<T, Wrong>,
    ) -> T {
        let Some((value, _)) = self.take(key) else {
            return default;
        };
        let item = Item(&value);
        match read(&item) {
            Ok(value) => {
                self.refuse_unbuilt(key, value != default, shown);
                value
            }
            Err(wrong) => {
                self.complain(key, wrong);
                default
            }
        }
    }

    /// A key that is off until it is set.
    pub(super) fn optional<T: PartialEq>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Item<'_, 'i>) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.key(key, None, "", |item| read(item).map(Some))
    }

    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.key(key, default, &default.to_string(), |item| {
            item.0
                .as_bool()
                .ok_or_else(|| item.mistyped("true or false", "true or false, without quotes"))
        })
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u32,
        bounds: RangeInclusive<u32>,
    ) -> u32 {
        let hint = format!(
            "a whole number from {} to {}; the default is {default}",
            bounds.start(),
            bounds.end()
        );
        self.key(key, default, &default.to_string(), |item| {
            item.number(&bounds, &hint)
        })
    }

    /// `default`, `least` and `most` are durations as one would write them.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: &str,
        least: &str,
        most: &str,
    ) -> Duration {
        let hint = format!(r#"from "{least}" to "{most}"; the default is "{default}""#);
        self.key(
            key,
            ours(units::duration(default)),
            &format!("{default:?}"),
            |item| item.duration(least, most, &hint),
        )
    }

    /// A duration that is off until it is set.
    pub(super) fn maybe_duration(
        &mut self,
        key: &'static str,
        least: &str,
        most: &str,
    ) -> Option<Duration> {
        let hint = format!(r#"from "{least}" to "{most}""#);
        self.optional(key, |item| item.duration(least, most, &hint))
    }

    /// A size between `least` and `most`, all as one would write them.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: &str,
        least: &str,
        most: &str,
    ) -> Bytes {
        let hint = format!(r#"from "{least}" to "{most}"; the default is "{default}""#);
        let bounds = ours(units::bytes(least))..=ours(units::bytes(most));
        self.key(
            key,
            ours(units::bytes(default)),
            &format!("{default:?}"),
            |item| {
                let text = item.text(default)?;
                let size = units::bytes(text)?;
                if bounds.contains(&size) {
                    Ok(size)
                } else {
                    Err(Wrong::new(
                        format!("{} is out of bounds", quoted(text)),
                        &hint,
                    ))
                }
            },
        )
    }

    /// One word of a closed list.
    pub(super) fn word<T: PartialEq + Copy>(
        &mut self,
        key: &'static str,
        default: &str,
        words: &[(&'static str, T)],
    ) -> T {
        let value = words
            .iter()
            .find(|(word, _)| *word == default)
            .map(|(_, value)| *value)
            .expect("the default is one of the words");
        self.key(key, value, &format!("{default:?}"), |item| item.word(words))
    }

    /// A list whose items are read one by one, so that each bad one is a complaint of its own.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: Vec<T>,
        read: impl FnMut(&Item<'_, 'i>) -> Result<T, Wrong>,
    ) -> Vec<T> {
        self.items(key, default, None, read)
    }

    /// A list that may be left out, but says something where it stands.
    pub(super) fn full_list<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: Vec<T>,
        hint: &str,
        read: impl FnMut(&Item<'_, 'i>) -> Result<T, Wrong>,
    ) -> Vec<T> {
        self.items(key, default, Some(hint), read)
    }

    fn items<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: Vec<T>,
        if_empty: Option<&str>,
        mut read: impl FnMut(&Item<'_, 'i>) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let Some((value, _)) = self.take(key) else {
            return default;
        };
        let item = Item(&value);
        let Some(array) = value.as_array() else {
            let hint = match item.text("") {
                Ok(one) if one.len() <= 60 && !one.contains('@') => format!("write [{one:?}]"),
                _ => String::from(r#"in square brackets: ["one", "two"]"#),
            };
            self.complain(key, item.mistyped("a list", &hint));
            return default;
        };
        if let (true, Some(hint)) = (array.is_empty(), if_empty) {
            self.complain(key, Wrong::new("is an empty list", hint));
        }
        let mut list = Vec::new();
        let mut bad = false;
        for one in array.iter() {
            match read(&Item(one.get_ref())) {
                Ok(value) => list.push(value),
                Err(wrong) => {
                    bad = true;
                    let line = self.sheet.line(one.span().start);
                    let key = self.shown_key(key);
                    self.sheet.complain(&Spot { line, key }, wrong);
                }
            }
        }
        self.refuse_unbuilt(key, !bad && list != default, "");
        list
    }

    /// `[key]`. A section that is not there reads like an empty one.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        self.maybe_section(key).unwrap_or_else(|| {
            Section::new(
                self.sheet,
                join(&self.path, key),
                self.shown_key(key),
                self.marks.line,
                DeTable::new(),
            )
        })
    }

    /// `[key]`, where its presence means something.
    pub(super) fn maybe_section(&mut self, key: &'static str) -> Option<Self> {
        let (value, line) = self.take(key)?;
        self.refuse_unbuilt(key, true, "");
        let shown = self.shown_key(key);
        match value {
            DeValue::Table(table) => Some(Section::new(
                self.sheet,
                join(&self.path, key),
                shown,
                line,
                table,
            )),
            other => {
                let item = Item(&other);
                let header = join(&self.path, key);
                self.complain(
                    key,
                    item.mistyped("a section", &format!("write [{header}] and its keys below")),
                );
                None
            }
        }
    }

    /// `[[key]]`, each called by the first of `names` that it has; `None`: there is none.
    pub(super) fn sections(&mut self, key: &'static str, names: &[&str]) -> Option<Vec<Self>> {
        let (value, _) = self.take(key)?;
        self.refuse_unbuilt(key, true, "");
        let DeValue::Array(array) = value else {
            let item = Item(&value);
            self.complain(
                key,
                item.mistyped(
                    "a list of sections",
                    &format!("write [[{key}]], with two brackets"),
                ),
            );
            return Some(Vec::new());
        };
        if array.is_empty() {
            self.complain(
                key,
                Wrong::new(
                    "is an empty list",
                    "leave it out, or write its first one out",
                ),
            );
        }
        let mut sections = Vec::new();
        for (place, one) in array.into_iter().enumerate() {
            let line = self.sheet.line(one.span().start);
            match one.into_inner() {
                DeValue::Table(table) => {
                    let name = names
                        .iter()
                        .find_map(|name| table.get(*name)?.get_ref().as_str())
                        .filter(|name| is_name(name))
                        .map_or_else(|| format!("#{}", place + 1), str::to_owned);
                    sections.push(Section::new(
                        self.sheet,
                        join(&self.path, key),
                        format!("{}[{name}]", self.shown_key(key)),
                        line,
                        table,
                    ));
                }
                other => {
                    let item = Item(&other);
                    self.complain(
                        key,
                        item.mistyped("a section", &format!("write [[{key}]] and its keys below")),
                    );
                }
            }
        }
        Some(sections)
    }

    fn take(&mut self, key: &'static str) -> Option<(DeValue<'i>, usize)> {
        self.asked.push(key);
        let taken = self.table.remove_entry(key);
        #[cfg(test)]
        self.sheet
            .asked
            .borrow_mut()
            .insert((join(&self.path, key), taken.is_some()));
        let (name, value) = taken?;
        let line = self.sheet.line(name.span().start);
        self.marks.lines.insert(key, line);
        Some((value.into_inner(), line))
    }

    fn refuse_unbuilt(&self, key: &'static str, differs: bool, default: &str) {
        let path = join(&self.path, key);
        if !differs || !UNBUILT.contains(&&*path) {
            return;
        }
        let hint = if default.is_empty() {
            String::from("leave it out for now")
        } else {
            format!("leave it out, or at its default, {default}")
        };
        self.complain(key, Wrong::new("not available yet", hint));
    }

    fn shown_key(&self, key: &str) -> String {
        join(&self.marks.shown, key)
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
