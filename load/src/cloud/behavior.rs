//! What one address of the cloud does, and the words for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What one address of the cloud does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behavior {
    /// Accepts and answers.
    #[default]
    Ok,
    /// Answers every request so much later; open connections too.
    Slow(Duration),
    /// Accepts, and never answers: no TLS hello to new connections, no reply on open ones.
    Silent,
    /// Nobody listens: open connections are reset, connects are refused.
    Refuse,
    /// Open connections are reset, new ones are accepted and reset at once.
    Reset,
    /// Open connections are reset, new ones when their TLS handshake is done; those in clear at once.
    ResetTls,
    /// Open connections are reset, and a connect gets no answer at all, as from a dead machine.
    Hang,
}

const WORDS: [(Behavior, &str); 6] = [
    (Behavior::Ok, "ok"),
    (Behavior::Silent, "silent"),
    (Behavior::Refuse, "refuse"),
    (Behavior::Reset, "reset"),
    (Behavior::ResetTls, "reset-tls"),
    (Behavior::Hang, "hang"),
];

impl fmt::Display for Behavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(delay) => write!(f, "slow:{}", delay.as_millis()),
            other => {
                let word = WORDS.iter().find(|(behavior, _)| behavior == other);
                f.write_str(word.map_or("", |(_, word)| word))
            }
        }
    }
}

impl FromStr for Behavior {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(ms) = text.strip_prefix("slow:") {
            let ms: u32 = ms
                .parse()
                .map_err(|_| format!("{ms:?} is no number of milliseconds"))?;
            return Ok(Self::Slow(Duration::from_millis(ms.into())));
        }
        let behavior = WORDS.iter().find(|(_, word)| *word == text);
        behavior.map(|(behavior, _)| *behavior).ok_or_else(|| {
            format!("{text:?} is none of ok, silent, refuse, reset, reset-tls, hang, slow:MS")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviors_have_words() {
        let slow = (Behavior::Slow(Duration::from_millis(150)), "slow:150");
        for (behavior, word) in WORDS.into_iter().chain([slow]) {
            assert_eq!(behavior.to_string(), word);
            assert_eq!(word.parse(), Ok(behavior));
        }
        for wrong in ["", "slow", "slow:", "slow:1s", "hang:3", "dead"] {
            assert!(wrong.parse::<Behavior>().is_err(), "{wrong}");
        }
    }
}
