//! What is wrong with a configuration, where, and what to do about it.
//!
//! A complaint never repeats a secret: no hash, no key, no password out of a URL.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub(crate) file: PathBuf,
    /// From 1; 0 where the file could not be read at all.
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) problem: String,
    pub(crate) hint: String,
}

/// All of them, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaints(pub(crate) Vec<Complaint>);

/// What is wrong with one value; whoever asked for the value knows the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) hint: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Complaint {
    /// `FILE:LINE: key: problem (hint)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {} ({})",
            self.file.display(),
            self.line,
            self.key,
            self.problem,
            self.hint
        )
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, complaint) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            complaint.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Complaints {}

/// What somebody wrote, in quotes, on one line, and not longer than a complaint can bear.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start:?}…")
}

/// `a, b or c`.
pub(super) fn either<S: AsRef<str>>(words: &[S]) -> String {
    match words {
        [] => String::from("nothing"),
        [only] => only.as_ref().to_owned(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} or {}", most.join(", "), last.as_ref())
        }
    }
}

/// The word that was probably meant: at most a third of its letters differ.
pub(crate) fn nearest<'w>(
    written: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    let written = written.to_ascii_lowercase();
    if written.len() > 64 {
        return None;
    }
    words
        .into_iter()
        .map(|word| (distance(&written, &word.to_ascii_lowercase()), word))
        .filter(|(distance, word)| *distance <= word.len().max(written.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be added, dropped, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = usize::from(from[i - 1] != to[j - 1]);
                let mut least = (rows[i - 1][j] + 1)
                    .min(rows[i][j - 1] + 1)
                    .min(rows[i - 1][j - 1] + changed);
                if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_word_and_another_word_does_not() {
        let words = ["idle_timeout", "keepalive", "address", "name"];
        let check = |written, word| assert_eq!(nearest(written, words), word, "{written}");
        check("idle_timeuot", Some("idle_timeout"));
        check("idletimeout", Some("idle_timeout"));
        check("Adress", Some("address"));
        check("nmae", Some("name"));
        check("certificate", None);
        check("x", None);
    }

    #[test]
    fn a_complaint_stays_on_one_line() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert!(quoted(&"x".repeat(5_000)).len() < 80);
        assert_eq!(either(&["a", "b", "c"]), "a, b or c");
    }
}
