//! What a proxy answered, read for people: its status, what it says of itself, and the challenges of its 407. Pure.
//!
//! It came from the network: nothing of it reaches a terminal that is more than text.

use http_auth::{ChallengeRef, parse_challenges};

/// The longest head that is read.
pub(super) const HEAD_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 100;
/// The longest text of others that is shown.
const LONGEST: usize = 160;

/// A reply's head.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) status: u16,
    pub(super) phrase: String,
    pub(super) fields: Vec<(String, String)>,
    /// The connection is good for another request behind the body.
    pub(super) keeps: bool,
    /// The length of its body, where it is told.
    pub(super) body: Option<usize>,
    /// The body comes in chunks, whatever length is told.
    pub(super) chunked: bool,
    /// What a tidegate calls the exchange in its log.
    pub(super) exchange: Option<String>,
}

/// What a tidegate says of an ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) reason: String,
    /// Its sentence, if the word does not say it all.
    pub(super) details: Option<String>,
}

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) scheme: String,
    pub(super) algorithm: Option<String>,
    pub(super) qop: Option<String>,
    pub(super) realm: String,
    /// The response was right, and its nonce too old.
    pub(super) stale: bool,
    /// In which field line it came.
    pub(super) line: usize,
}

impl Heard {
    /// A whole head and its length; nothing yet; or no HTTP at all.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, httparse::Error> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = head.parse(bytes)? else {
            return Ok(None);
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let named = head.headers.iter();
        let mut heard = Self {
            status: head.code.unwrap_or_default(),
            phrase: plain(head.reason.unwrap_or_default()),
            fields: named
                .map(|field| (field.name.to_ascii_lowercase(), text(field.value)))
                .collect(),
            keeps: false,
            body: None,
            chunked: false,
            exchange: None,
        };
        let says = |name: &str, word: &str| {
            let mut values = heard.all(name);
            values.any(|value| value.to_ascii_lowercase().contains(word))
        };
        let closes = says("connection", "close") || says("proxy-connection", "close");
        let keep_alive = says("connection", "keep-alive") || says("proxy-connection", "keep-alive");
        let keeps = !closes && (head.version == Some(1) || keep_alive);
        let body = heard
            .first("content-length")
            .and_then(|length| length.parse().ok());
        let coded = heard.first("transfer-encoding");
        let chunked = coded.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"));
        // No HTTP/1.0 ends a chunk.
        let chunked = chunked && head.version == Some(1);
        heard.keeps = keeps && (chunked || coded.is_none());
        heard.chunked = chunked;
        heard.body = body;
        Ok(Some((heard, length)))
    }

    pub(super) fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        let fields = self.fields.iter();
        fields
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// `403 Forbidden`.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.status, self.phrase)
    }

    /// What it says of the ending, if it is one of ours.
    pub(super) fn ending(&self) -> Option<Ending> {
        let ours = |value: &&str| value.starts_with("tidegate");
        let status = self.all("proxy-status").find(ours)?;
        let (_, details) = status.split_once("details=\"")?;
        let (details, _) = details.split_once('"')?;
        let details = plain(details);
        Some(match details.split_once(": ") {
            Some((reason, details)) => Ending {
                reason: reason.to_owned(),
                details: Some(details.to_owned()),
            },
            None => Ending {
                reason: details,
                details: None,
            },
        })
    }

    /// A tidegate's body is its reason and the exchange's id.
    pub(super) fn read_body(&mut self, body: &[u8]) {
        if let Some(ending) = self.ending() {
            let text = String::from_utf8_lossy(body);
            let id = text.trim_end().strip_prefix(&ending.reason);
            self.exchange = id.map(|id| plain(id.trim()));
        }
    }

    /// A 407 that minds nothing but the age of the nonce.
    pub(super) fn is_stale(&self) -> bool {
        self.status == 407 && self.challenges().iter().flatten().any(|one| one.stale)
    }

    /// What kind of proxy it says it is.
    pub(super) fn proxy(&self) -> Option<String> {
        let known = [
            "proxy-status",
            "via",
            "proxy-agent",
            "server",
            "x-squid-error",
        ];
        let mut found = known.iter().filter_map(|name| self.first(name));
        found
            .next()
            .map(|value| plain(value.split(';').next().unwrap_or(value)))
    }

    /// Its challenges, in their order; `None` for a line that cannot be read.
    pub(super) fn challenges(&self) -> Vec<Option<Challenge>> {
        let mut challenges = Vec::new();
        for (line, value) in self.all("proxy-authenticate").enumerate() {
            match parse_challenges(value) {
                Ok(found) => {
                    challenges.extend(found.iter().map(|one| Some(Challenge::of(one, line))))
                }
                Err(_) => challenges.push(None),
            }
        }
        challenges
    }
}

impl Challenge {
    fn of(challenge: &ChallengeRef<'_>, line: usize) -> Self {
        let parameter = |name: &str| {
            let mut all = challenge.params.iter();
            let found = all.find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| plain(&value.to_unescaped()))
        };
        Self {
            scheme: plain(challenge.scheme),
            algorithm: parameter("algorithm"),
            qop: parameter("qop"),
            realm: parameter("realm").unwrap_or_default(),
            stale: parameter("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            line,
        }
    }

    pub(super) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// Of a digest; MD5 is meant where none is named (RFC 7616 §3.3).
    pub(super) fn algorithm(&self) -> &str {
        self.algorithm.as_deref().unwrap_or("MD5")
    }

    /// `Digest SHA-256`, `Basic`.
    pub(super) fn words(&self) -> String {
        if self.is("digest") {
            format!("Digest {}", self.algorithm())
        } else {
            self.scheme.clone()
        }
    }
}

/// Nothing that could steer a terminal, and not too much.
pub(super) fn plain(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    let mut plain: String = shown.take(LONGEST).collect();
    if text.chars().count() > LONGEST {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(head: &str) -> Heard {
        Heard::parse(head.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn endings_of_ours_are_read_and_others_are_not() {
        let check = |status: &str, expected: Option<(&str, Option<&str>)>| {
            let head = format!("HTTP/1.1 403 Forbidden\r\nProxy-Status: {status}\r\n\r\n");
            let ending = heard(&head).ending();
            let found = ending
                .as_ref()
                .map(|one| (&*one.reason, one.details.as_deref()));
            assert_eq!(found, expected, "{status}");
        };
        check(
            "tidegate; error=x; details=\"port_denied: not allowed\"",
            Some(("port_denied", Some("not allowed"))),
        );
        check("tidegate; details=\"draining\"", Some(("draining", None)));
        check("squid; details=\"draining\"", None);
        check("tidegate", None);
    }

    #[test]
    fn challenges_keep_their_order_and_their_lines() {
        let words = |head: &str| {
            let challenges = heard(head).challenges();
            let all = challenges.iter().flatten();
            all.map(|one| format!("{}:{}", one.line, one.words()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words(
                "HTTP/1.1 407 x\r\nProxy-Authenticate: Digest realm=\"a\", nonce=\"n\", algorithm=SHA-256\r\nproxy-authenticate: Digest realm=\"a\", nonce=\"n\", Basic realm=\"b\"\r\n\r\n"
            ),
            ["0:Digest SHA-256", "1:Digest MD5", "1:Basic"]
        );
        assert_eq!(
            heard("HTTP/1.1 407 x\r\nProxy-Authenticate: \"\r\n\r\n").challenges(),
            [None]
        );
    }

    #[test]
    fn a_reply_keeps_its_connection_or_not() {
        for (head, keeps, body) in [
            ("HTTP/1.1 407 x\r\nContent-Length: 5\r\n\r\n", true, Some(5)),
            ("HTTP/1.1 407 x\r\nConnection: Close\r\n\r\n", false, None),
            (
                "HTTP/1.0 407 x\r\nContent-Length: 5\r\n\r\n",
                false,
                Some(5),
            ),
            (
                "HTTP/1.0 407 x\r\nProxy-Connection: keep-alive\r\n\r\n",
                true,
                None,
            ),
            (
                "HTTP/1.1 407 x\r\nTransfer-Encoding: chunked\r\n\r\n",
                true,
                None,
            ),
            (
                "HTTP/1.1 407 x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                false,
                None,
            ),
            (
                "HTTP/1.0 407 x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
                None,
            ),
        ] {
            let heard = heard(head);
            assert_eq!((heard.keeps, heard.body), (keeps, body), "{head}");
        }
        assert!(Heard::parse(b"SSH-2.0-x\r\n").is_err());
        assert!(Heard::parse(b"HTTP/1.1 200 OK\r\n").unwrap().is_none());
    }

    #[test]
    fn what_others_say_does_not_steer_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n"), "a[2Jb");
        assert_eq!(plain(&"x".repeat(500)).chars().count(), LONGEST + 1);
    }
}
