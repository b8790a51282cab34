//! A line as a syslog message (RFC 5424). Pure.
//!
//! The message itself is ASCII: whatever is not is escaped as JSON allows, so that no byte-order mark has to stand
//! before the JSON (RFC 5424 §6.4), which its readers would stumble over.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::telemetry::Timestamp;

/// Facility local0 (16), which collectors route as their operators like; a severity is added to it.
pub(super) const LOCAL0: u8 = 16 * 8;
/// Of access lines.
const INFORMATIONAL: u8 = 6;
/// RFC 5424 §6.2.4.
const HOST_NAME_CHARS: usize = 255;

/// Who sends: what stands in every header alike.
#[derive(Debug)]
pub(super) struct Sender {
    host_name: String,
    process: u32,
}

impl Sender {
    /// A host name with a character that may not stand there is left out.
    pub(super) fn new(host_name: &str, process: u32) -> Self {
        let fits = (1..=HOST_NAME_CHARS).contains(&host_name.len())
            && host_name.bytes().all(|b| b.is_ascii_graphic());
        let host_name = if fits { host_name } else { "-" };
        Self {
            host_name: host_name.to_owned(),
            process,
        }
    }

    pub(super) fn of_this_process() -> Self {
        let machine = rustix::system::uname();
        Self::new(
            machine.nodename().to_str().unwrap_or_default(),
            std::process::id(),
        )
    }

    /// Everything before the structured data. `id` is 1 to 32 characters of printable ASCII.
    pub(super) fn header(&self, priority: u8, at: SystemTime, id: &str) -> String {
        let Self { host_name, process } = self;
        let at = Timestamp(at);
        let mut header = String::with_capacity(128);
        let _ = write!(
            header,
            "<{priority}>1 {at} {host_name} tidegate {process} {id} "
        );
        header
    }

    /// `json` is what `telemetry` writes: one object on one line, no control characters.
    pub(super) fn message(&self, at: SystemTime, json: &[u8]) -> Vec<u8> {
        let mut message = self.header(LOCAL0 + INFORMATIONAL, at, "access");
        message.reserve(json.len() + 2);
        message.push_str("- ");
        for char in String::from_utf8_lossy(json).chars() {
            if char.is_ascii() {
                message.push(char);
            } else {
                // Outside ASCII there are strings alone, where an escape means the same.
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(message, "\\u{unit:04x}");
                }
            }
        }
        message.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn message(host_name: &str, json: &str) -> String {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_007);
        String::from_utf8(Sender::new(host_name, 42).message(at, json.as_bytes())).unwrap()
    }

    #[test]
    fn messages() {
        let check = |host_name: &str, json: &str, expected: &str| {
            assert_eq!(message(host_name, json), expected)
        };
        check(
            "proxy-1.example",
            r#"{"event":"close"}"#,
            r#"<134>1 2024-02-29T12:34:56.007Z proxy-1.example tidegate 42 access - {"event":"close"}"#,
        );
        let spoilt = r#"<134>1 2024-02-29T12:34:56.007Z - tidegate 42 access - {}"#;
        check("", "{}", spoilt);
        check("two words", "{}", spoilt);
        check(&"a".repeat(256), "{}", spoilt);
        check(
            "h",
            r#"{"user":"Jürgen 推 😀"}"#,
            r#"<134>1 2024-02-29T12:34:56.007Z h tidegate 42 access - {"user":"J\u00fcrgen \u63a8 \ud83d\ude00"}"#,
        );
    }

    proptest! {
        #[test]
        fn any_text_arrives_in_ascii_and_means_the_same(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let said = message("h", &json);
            prop_assert!(said.is_ascii());
            let body = said.splitn(8, ' ').last().unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(body).unwrap(), text);
        }
    }
}
