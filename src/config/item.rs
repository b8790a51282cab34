//! One value of the file, read as what its key is: a text, a number, a duration, a word.
//!
//! Says what was expected and what was found; where it stands, the section knows.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::complaint::{Wrong, either, nearest, quoted};
use super::units;

/// One value.
#[derive(Debug)]
pub(super) struct Item<'v, 'i>(pub(super) &'v DeValue<'i>);

impl<'v> Item<'v, '_> {
    /// The value is of another type.
    pub(super) fn mistyped(&self, expected: &str, hint: &str) -> Wrong {
        let found = match self.0 {
            // A URL may carry a password.
            DeValue::String(text) if text.contains('@') => String::from("a text"),
            DeValue::String(text) => format!("the text {}", quoted(text)),
            DeValue::Integer(number) => format!("the number {}", number.as_str()),
            DeValue::Float(number) => format!("the number {}", number.as_str()),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(_) => String::from("a date"),
            DeValue::Array(_) => String::from("a list"),
            DeValue::Table(_) => String::from("a section"),
        };
        Wrong::new(format!("must be {expected}, and is {found}"), hint)
    }

    /// A text of any kind; `example` shows one.
    pub(super) fn text(&self, example: &str) -> Result<&'v str, Wrong> {
        match self.0 {
            DeValue::String(text) => Ok(text.as_ref()),
            _ => Err(self.mistyped("a text", &format!("in double quotes, as in {example:?}"))),
        }
    }

    /// A text without which the key would mean nothing: not empty, one line.
    pub(super) fn words(&self, example: &str) -> Result<&'v str, Wrong> {
        let text = self.text(example)?;
        if text.is_empty() {
            Err(Wrong::new(
                "is empty",
                format!("as in {example:?}; or leave the key out"),
            ))
        } else if text.len() > 4_096 || text.chars().any(char::is_control) {
            Err(Wrong::new(
                "has control characters, or is very long",
                format!("as in {example:?}"),
            ))
        } else {
            Ok(text)
        }
    }

    /// A name: ours to choose, a label in metrics and logs.
    pub(super) fn name(&self, example: &str) -> Result<&'v str, Wrong> {
        let text = self.text(example)?;
        if is_name(text) {
            return Ok(text);
        }
        Err(Wrong::new(
            format!("{} cannot be a name", quoted(text)),
            "1 to 64 letters, digits, '-', '_' and '.'",
        ))
    }

    pub(super) fn number(&self, bounds: &RangeInclusive<u32>, hint: &str) -> Result<u32, Wrong> {
        let DeValue::Integer(number) = self.0 else {
            return Err(self.mistyped("a whole number", hint));
        };
        u32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| Wrong::new(format!("{number} is out of bounds"), hint))
    }

    /// A whole number of any size that TOML has.
    pub(super) fn integer(&self) -> Option<i64> {
        let number = self.0.as_integer()?;
        i64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    pub(super) fn duration(&self, least: &str, most: &str, hint: &str) -> Result<Duration, Wrong> {
        let DeValue::String(text) = self.0 else {
            return Err(self.mistyped(
                "a duration",
                &format!("in double quotes, with its unit, {hint}"),
            ));
        };
        let duration = units::duration(text)
            .map_err(|wrong| Wrong::new(wrong.problem, format!("{}; {hint}", wrong.hint)))?;
        if duration < ours(units::duration(least)) {
            Err(Wrong::new(format!("{} is too short", quoted(text)), hint))
        } else if duration > ours(units::duration(most)) {
            Err(Wrong::new(format!("{} is too long", quoted(text)), hint))
        } else {
            Ok(duration)
        }
    }

    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Result<T, Wrong> {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let quoted_words: Vec<String> = all.iter().map(|word| format!("{word:?}")).collect();
        let hint = format!("it is {}", either(&quoted_words));
        let DeValue::String(text) = self.0 else {
            return Err(self.mistyped("a word", &format!("in double quotes; {hint}")));
        };
        match words.iter().find(|(word, _)| word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let hint = match nearest(text, all) {
                    Some(meant) => format!("did you mean {meant:?}? {hint}"),
                    None => hint,
                };
                Err(Wrong::new(format!("cannot be {}", quoted(text)), hint))
            }
        }
    }
}

/// What can stand as a label in metrics, in a complaint and in a log line.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

/// A default or a bound of our own.
pub(super) fn ours<T>(read: Result<T, Wrong>) -> T {
    read.unwrap_or_else(|wrong| panic!("a default that cannot be read: {}", wrong.problem))
}
