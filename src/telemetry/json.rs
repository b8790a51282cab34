//! JSON that is safe to look at: whatever could steer a terminal is escaped, not only what JSON itself forbids.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Appends `value` as JSON on one line, without a line end.
pub(crate) fn append(out: &mut Vec<u8>, value: &impl Serialize) {
    let before = out.len();
    let mut serializer = Serializer::with_formatter(&mut *out, Escaping);
    if value.serialize(&mut serializer).is_err() {
        // Only a map with keys that are no strings could fail, and we have none; half a value would be worse than none.
        debug_assert!(false, "a value that is no JSON");
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, char) in fragment.char_indices().filter(|(_, char)| steers(*char)) {
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            // All of them are below U+10000, so one escape will do.
            write!(writer, "\\u{:04x}", u32::from(char))?;
            plain = at + char.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }
}

/// DEL and the C1 controls, which serde_json leaves alone, line separators, and marks that turn the writing direction.
fn steers(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings() {
        check("ann", r#""ann""#);
        check("Jürgen 推", r#""Jürgen 推""#);
        check("a\"b\\c\n\u{1b}[2J", r#""a\"b\\c\n\u001b[2J""#);
        check("\u{7f}\u{9b}2J", r#""\u007f\u009b2J""#);
        check("x\u{202e}y\u{2028}", r#""x\u202ey\u2028""#);
    }

    fn check(text: &str, json: &str) {
        let mut out = Vec::new();
        append(&mut out, &text);
        assert_eq!(String::from_utf8(out).unwrap(), json);
    }

    proptest! {
        #[test]
        fn any_string_comes_back_and_stays_on_its_line(text in any::<String>()) {
            let mut out = Vec::new();
            append(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            prop_assert!(!String::from_utf8(out).unwrap().chars().any(steers));
        }
    }
}
