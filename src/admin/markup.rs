//! Text that is safe inside HTML, and numbers as people read them, with their units.
//!
//! Pure. Whatever comes from outside (names, addresses, complaints) goes through `Text`.

use std::fmt::{self, Display, Write as _};
use std::time::{Duration, SystemTime};

use crate::telemetry::Timestamp;

/// Puts words behind others, as `write!` does; to a string that never fails.
macro_rules! put {
    ($html:expr, $($words:tt)*) => { std::fmt::Write::write_fmt($html, format_args!($($words)*)).unwrap_or_default() };
}

pub(super) use put;

/// Shown as it is, wherever it stands: between tags or in a quoted attribute.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.to_string().chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // What would turn the writing direction, or can't be seen, has no place in a name.
                char if char.is_control() && char != '\n' => f.write_char('\u{fffd}')?,
                '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' => f.write_char('\u{fffd}')?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_char('\u{fffd}')?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// "1 address", "3 addresses".
pub(super) fn counted(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// With a narrow space between thousands.
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// In its two largest units.
pub(super) fn span(duration: Duration) -> String {
    let s = duration.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Seconds that something took, with three digits.
pub(super) fn took(seconds: f64) -> String {
    if seconds < 0.01 {
        format!("{:.2} ms", seconds * 1e3)
    } else if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

pub(super) fn per_minute(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 {
        format!("{rate:.1}/min")
    } else {
        format!("{}/min", number(rate.round().max(0.0) as u64))
    }
}

pub(super) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B" && value < 100.0);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A moment, to the second; UTC.
pub(super) fn moment(at: SystemTime) -> String {
    let exact = Timestamp(at).to_string();
    let shown = exact.get(..19).unwrap_or(&exact).replace('T', " ");
    format!("<time datetime=\"{exact}\">{shown} UTC</time>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_words_are_only_shown() {
        check(
            "<script>alert(1)</script>",
            "&lt;script&gt;alert(1)&lt;/script&gt;",
        );
        check("\" onload=\"x", "&quot; onload=&quot;x");
        check("' onload='x", "&#39; onload=&#39;x");
        check("a&amp;b", "a&amp;amp;b");
        check("x\u{202e}y\u{0}\u{1b}[2J", "x\u{fffd}y\u{fffd}\u{fffd}[2J");
        check("Jürgen 推", "Jürgen 推");
    }

    fn check(text: &str, html: &str) {
        assert_eq!(Text(text).to_string(), html);
    }

    #[test]
    fn numbers() {
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(number(12), "12");
        assert_eq!(counted(1u64, "tunnel", "tunnels"), "1 tunnel");
        assert_eq!(span(Duration::from_secs(59)), "59 s");
        assert_eq!(span(Duration::from_secs(7_320)), "2 h 2 min");
        assert_eq!(span(Duration::from_secs(200_000)), "2 d 7 h");
        assert_eq!(took(0.0042), "4.20 ms");
        assert_eq!(took(0.25), "250 ms");
        assert_eq!(took(13.0), "13.0 s");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(900), "900 B");
        assert_eq!(per_minute(0.0), "0/min");
        assert_eq!(per_minute(2.5), "2.5/min");
    }

    proptest! {
        #[test]
        fn no_text_opens_a_tag_or_ends_a_quote(text in any::<String>()) {
            let html = Text(&text).to_string();
            let free = !html.contains(['<', '>', '"', '\'']);
            prop_assert!(free);
        }
    }
}
