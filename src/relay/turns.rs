//! Turn-taking inside a tunnel, seen from outside: the client sends a burst that is large enough to be a question, and
//! the first bytes from upstream after it are the answer.
//!
//! Pure: no clock, no sockets. What it says of one tunnel proves nothing; `silence.rs` judges by several.

use std::time::Duration;

/// The least that opens a turn. Smaller writes are often no question: HTTP/2's SETTINGS ACK, WINDOW_UPDATE and
/// PING ACK are 31 to 39 bytes inside TLS, and the end of a TLS 1.3 handshake is 64 or 80.
const QUESTION: u32 = 128;
/// Small writes that are further apart are no burst.
const PAUSE: u64 = 1_000;
/// A sender that goes on with more than this is still asking: the clock begins anew.
const BULK: u32 = 64 * 1024;

/// How far the present turn has come. Times are milliseconds since the tunnel opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// Bytes of the client since the last from upstream.
    burst: u32,
    /// When the turn opened, or while it has not, when its last bytes came.
    at: u64,
    /// Whether its silence was noted.
    noted: bool,
}

impl Turn {
    /// The client has sent.
    pub(super) fn up(self, bytes: usize, now: u64) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(BULK).min(BULK);
        if !self.is_open() {
            let fresh = now.saturating_sub(self.at) <= PAUSE;
            let burst = if fresh { self.burst } else { 0 };
            return Self {
                burst: burst + bytes,
                at: now,
                noted: false,
            };
        }
        let burst = self.burst + bytes;
        if burst < BULK {
            Self { burst, ..self }
        } else {
            Self {
                burst: QUESTION,
                at: now,
                noted: false,
            }
        }
    }

    /// The upstream has sent: what was open is answered.
    pub(super) fn down(self) -> Self {
        Self::default()
    }

    /// When the turn opened that nobody has answered yet.
    pub(super) fn asked(self) -> Option<Duration> {
        self.is_open().then(|| Duration::from_millis(self.at))
    }

    pub(super) fn is_noted(self) -> bool {
        self.noted
    }

    pub(super) fn note(self) -> Self {
        Self {
            noted: true,
            ..self
        }
    }

    fn is_open(self) -> bool {
        self.burst >= QUESTION
    }

    /// In one word, so that others may read it while it is written: 40 bits of time are 34 years.
    pub(super) fn to_bits(self) -> u64 {
        self.at << 24 | u64::from(self.noted) << 23 | u64::from(self.burst)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self {
            burst: (bits & ((1 << 23) - 1)) as u32,
            noted: bits >> 23 & 1 == 1,
            at: bits >> 24,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What moves: bytes up, bytes down, and the seconds before it.
    #[derive(Debug, Clone, Copy)]
    enum Move {
        Up(usize),
        Down,
        After(u64),
    }
    use Move::{After, Down, Up};

    /// In seconds, when the turn opened that is open at the end.
    fn check(moves: &[Move], open_since: Option<u64>) {
        let (mut turn, mut now) = (Turn::default(), 0);
        for step in moves {
            match *step {
                Up(bytes) => turn = turn.up(bytes, now),
                Down => turn = turn.down(),
                After(seconds) => now += seconds * 1_000,
            }
            assert_eq!(Turn::from_bits(turn.to_bits()), turn);
        }
        let asked = turn.asked().map(|asked| asked.as_secs());
        assert_eq!(asked, open_since, "{moves:?}");
    }

    #[test]
    fn a_question_is_open_until_it_is_answered() {
        check(&[], None);
        check(&[After(7), Up(128)], Some(7));
        check(&[Up(127)], None);
        check(&[Up(300), Down], None);
        check(&[Up(300), Down, After(1), Up(300)], Some(1));
        // Head and body in two writes are one question; more questions do not make the first younger.
        check(&[Up(90), Up(90)], Some(0));
        check(&[Up(300), After(3), Up(300), After(3), Up(300)], Some(0));
        // What trickles is none.
        check(&[Up(90), After(2), Up(90), After(2), Up(90)], None);
        // A server that speaks first has asked nothing of us.
        check(&[Down, After(9)], None);
    }

    #[test]
    fn an_upload_that_goes_on_is_still_asking() {
        let piece = [Up(60_000), After(4)];
        check(&piece.repeat(10), Some(36));
        check(&[Up(usize::MAX)], Some(0));
    }

    /// Sizes on the wire inside TLS 1.3: 9 bytes of frame, 22 of record, and the payload.
    #[test]
    fn what_http2_says_by_itself_is_no_question() {
        const SETTINGS_ACK: usize = 31;
        const WINDOW_UPDATE: usize = 35;
        const PING: usize = 39;
        const GOAWAY: usize = 39;
        let mut hour = vec![
            Up(517), // hello
            Down,
            Up(80 + 24 + 22 + 27), // Finished, preface and SETTINGS
            Down,
            Up(SETTINGS_ACK),
            Up(400), // a push
            Down,
            Up(WINDOW_UPDATE),
            Up(WINDOW_UPDATE),
        ];
        for _ in 0..240 {
            // Its own PING, which is answered; the server's, which it answers.
            hour.extend([After(8), Up(PING), Down, After(7), Down, Up(PING)]);
        }
        check(&hour, None);
        // The same from a client whose PINGs nobody answers any more.
        hour.extend([
            After(15),
            Up(PING),
            After(15),
            Up(PING),
            After(15),
            Up(GOAWAY),
        ]);
        check(&hour, None);
    }

    #[test]
    fn a_silence_is_noted_once_for_each_turn() {
        let turn = Turn::default().up(300, 1_000).note();
        assert!(turn.is_noted() && turn.up(300, 2_000).is_noted());
        assert!(Turn::from_bits(turn.to_bits()).is_noted());
        assert!(!turn.down().up(300, 3_000).is_noted());
    }
}
