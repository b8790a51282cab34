//! One file under examination: its lines, and what was found wrong with it so far.
//!
//! Complaints come in any order and go out in the file's. A line that is not TOML has one complaint, never its echoes.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::complaint::{Complaint, Wrong};
use super::file::Section;

/// One file under examination: where its lines are, and what was found wrong so far.
#[derive(Debug)]
pub(super) struct Sheet {
    file: PathBuf,
    line_ends: Vec<usize>,
    /// Lines that are not TOML; what else seems wrong there is their echo.
    broken: Vec<usize>,
    complaints: RefCell<Vec<Complaint>>,
    /// Every key that was asked for, and every one that was there.
    #[cfg(test)]
    pub(super) asked: RefCell<std::collections::BTreeSet<(String, bool)>>,
}

/// Where something stands, for complaints that are found later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: usize,
    pub(super) key: String,
}

impl Sheet {
    /// Takes the text apart; errors of syntax are the first complaints.
    pub(super) fn new<'i>(text: &'i str, file: &Path) -> (Self, DeTable<'i>) {
        let mut sheet = Self {
            file: file.to_owned(),
            line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            broken: Vec::new(),
            complaints: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = sheet.line(error.span().map_or(text.len(), |span| span.start));
            // One slip often makes several errors on its line; the first one says it.
            if !sheet.broken.contains(&line) {
                let wrong = syntax(
                    error.message(),
                    text.lines().nth(line - 1).unwrap_or_default(),
                );
                sheet.complain(
                    &Spot {
                        line,
                        key: String::from("syntax"),
                    },
                    wrong,
                );
                sheet.broken.extend(echoes(text, line));
            }
        }
        (sheet, table.into_inner())
    }

    pub(super) fn root<'i>(&self, table: DeTable<'i>) -> Section<'_, 'i> {
        Section::new(self, String::new(), String::new(), 1, table)
    }

    pub(super) fn complain(&self, spot: &Spot, wrong: Wrong) {
        if self.broken.contains(&spot.line) {
            return;
        }
        self.complaints.borrow_mut().push(Complaint {
            file: self.file.clone(),
            line: spot.line,
            key: spot.key.clone(),
            problem: wrong.problem,
            hint: wrong.hint,
        });
    }

    /// About another file that this one names.
    pub(super) fn complain_of(&self, file: &Path, line: usize, key: &str, wrong: Wrong) {
        self.complaints.borrow_mut().push(Complaint {
            file: file.to_owned(),
            line,
            key: key.to_owned(),
            problem: wrong.problem,
            hint: wrong.hint,
        });
    }

    /// Whether the text is TOML. If not, a key that seems to be missing may stand in the broken part.
    pub(super) fn is_whole(&self) -> bool {
        self.broken.is_empty()
    }

    /// `path` as seen from the file's folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        match self.file.parent() {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        }
    }

    /// All complaints, this file's first, in the order of its lines.
    pub(super) fn into_complaints(self) -> Vec<Complaint> {
        let mut complaints = self.complaints.into_inner();
        complaints.sort_by_key(|complaint| {
            let elsewhere = complaint.file != self.file;
            let file = elsewhere.then(|| complaint.file.clone());
            (file, complaint.line)
        });
        complaints.dedup();
        complaints
    }

    /// The line, from 1, on which a byte of the text stands.
    pub(super) fn line(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }
}

/// The lines that a slip on `line` spoils: below a broken header, all of its section seem to be in another one.
fn echoes(text: &str, line: usize) -> Vec<usize> {
    let is_header = |line: &str| line.trim_start().starts_with('[');
    let mut below = (line..).zip(text.lines().skip(line - 1));
    match below.next() {
        Some((_, broken)) if is_header(broken) => {
            let rest = below.take_while(|(_, text)| !is_header(text));
            std::iter::once(line)
                .chain(rest.map(|(line, _)| line))
                .collect()
        }
        _ => vec![line],
    }
}

/// The parser's words, and a hint that fits what stands on the line.
fn syntax(message: &str, line: &str) -> Wrong {
    let hint = if message.contains("duplicate key") {
        "a key or a [section] stands once; a [[section]] may come again"
    } else if line.contains('=') {
        r#"text, durations, sizes and rates stand in double quotes: name = "plain", timeout = "1s""#
    } else {
        "each line is key = value, [section], [[section]] or a # comment"
    };
    Wrong::new(format!("is not TOML: {message}"), hint)
}
