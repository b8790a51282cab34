//! The exchanges inside a closed tunnel, as far as they can be told from outside: a question of the client, the first
//! bytes of its answer, and the time between its last byte and those.
//!
//! Pure: no clock, no sockets; it sees the sizes of TLS records and decrypts nothing. Where a time might be another
//! exchange's it says none: of HTTP/2 it trusts only questions that stand alone.

use super::offer::{Offer, offer};
use super::records::{APPLICATION_DATA, Record, Records};

/// The least that is a question; the records that count for it are larger than `SMALL`.
const QUESTION: usize = 128;
/// Records up to this size, header included, are no part of a question or an answer: HTTP/2's SETTINGS ACK, PING,
/// WINDOW_UPDATE (two of them in one record) and GOAWAY, or the end of a chunked body. A "100 Continue" is so small, too.
const SMALL: usize = 55;
/// The same of a stream that is not encrypted.
const SMALL_IN_CLEAR: usize = 31;
/// What is inside the record of a client's Finished, and nothing else (TLS 1.3, SHA-256 and SHA-384).
const FINISHED: [u16; 2] = [53, 69];
/// Pieces of a question that are further apart are none. Microseconds, as all times here.
const PAUSE: u32 = 1_000_000;
/// The pieces of a question, and those of an answer, may be so far apart, measured by what was between them: 4 %. It is the
/// error that a time may have where one of the pieces was another's.
const SLACK: u32 = 25;
/// How long a tunnel that may carry several exchanges at once must be quiet before a question, and after its answer: four
/// times what the longest took, within these bounds, and the upper one after exchanges were seen to cross.
const REST_MIN: u32 = 250_000;
const REST_MAX: u32 = 5_000_000;
/// The unit in which the longest is remembered.
const LONG: u32 = 8_000;
/// What is sent at once comes no further apart than this: the tickets of a session, the head and the body of an HTTP/2
/// message.
const TOGETHER: u32 = 1_000;

/// What one step has shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Exchanges that are sure to have happened.
    pub(super) exchanges: u32,
    /// What one of them took, in microseconds.
    pub(super) confirmation: Option<u32>,
}

/// How the two sides talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Talk {
    /// Nothing was said yet.
    #[default]
    Unheard,
    /// HTTP/1.1: one exchange after the other.
    InTurns { tls: bool },
    /// It may be HTTP/2.
    AtOnce { tls: bool },
    /// Nothing that is understood.
    Alien,
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shake {
    /// The upstream has said nothing.
    #[default]
    Hello,
    Heard,
    /// It sends encrypted records first: TLS 1.3.
    Encrypted,
    /// The client has sent an encrypted record.
    Done,
}

/// Whether the present question may be answered by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum First {
    #[default]
    No,
    /// The first, while session tickets come.
    Yes,
    /// The first, and it may be none.
    Doubtful,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Quiet,
    /// `alone`: the tunnel was quiet for long enough before it.
    Asked { alone: bool },
    /// The first question, and something came after it: its answer, or session tickets.
    Opened,
}

/// What is remembered of a tunnel, in 36 bytes. Times are microseconds since it opened, and begin anew after 71 minutes:
/// only differences count.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    up: Records,
    down: Records,
    talk: Talk,
    shake: Shake,
    stage: Stage,
    first: First,
    /// Whether the record at hand is large enough to be part of a question.
    is_large: bool,
    /// Whether exchanges have crossed.
    crossed: bool,
    /// Bytes of a question that is none yet.
    burst: u8,
    /// What the longest took, as far as it matters.
    longest: u8,
    /// The first byte of the question.
    asked: u32,
    /// From that to its last.
    span: u32,
    /// The first byte of the last answer, or of what came after it unasked.
    moved: u32,
    /// What the last exchange took, until it is sure that nothing else follows; 0 where nothing waits.
    waiting: u32,
}

impl Exchanges {
    /// Whether anything can be told of this tunnel.
    pub(super) fn are_understood(&self) -> bool {
        matches!(self.talk, Talk::InTurns { .. } | Talk::AtOnce { .. })
    }

    /// Whether a time waits for the tunnel to stay quiet.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// The client has sent these bytes.
    pub(super) fn up(&mut self, bytes: &[u8], now: u64) -> Told {
        let (now, mut told) = (now as u32, Told::default());
        if self.talk == Talk::Unheard {
            self.hear(bytes);
        }
        match self.talk {
            Talk::Alien | Talk::Unheard => return told,
            Talk::InTurns { tls } | Talk::AtOnce { tls } if !tls => {
                self.ask(bytes.len(), now, &mut told);
                return told;
            }
            Talk::InTurns { .. } | Talk::AtOnce { .. } => {}
        }
        let goes_on = self.is_large && self.up.is_inside();
        let mut records = self.up;
        let read = records.read(bytes, |record| self.sent(record, now, &mut told));
        self.up = records;
        if read.is_err() {
            self.talk = Talk::Alien;
        } else if matches!(self.stage, Stage::Asked { .. }) && (goes_on || !self.is_at_once()) {
            self.stretch(now);
        }
        told
    }

    /// The upstream has sent these bytes.
    pub(super) fn down(&mut self, bytes: &[u8], now: u64) -> Told {
        let (now, mut told) = (now as u32, Told::default());
        if self.shake == Shake::Hello {
            self.shake = Shake::Heard;
        }
        match self.talk {
            // A server that speaks first, as none does in HTTP or TLS.
            Talk::Unheard => self.talk = Talk::Alien,
            Talk::Alien => {}
            Talk::InTurns { tls } | Talk::AtOnce { tls } if !tls => {
                if bytes.len() > SMALL_IN_CLEAR {
                    self.answer(now, &mut told);
                }
            }
            Talk::InTurns { .. } | Talk::AtOnce { .. } => {
                let mut records = self.down;
                let read = records.read(bytes, |record| self.received(record, now, &mut told));
                self.down = records;
                if read.is_err() {
                    self.talk = Talk::Alien;
                }
            }
        }
        told
    }

    /// Time has passed.
    pub(super) fn rest(&mut self, now: u64) -> Told {
        let mut told = Told::default();
        if self.waiting > 0 && (now as u32).wrapping_sub(self.moved) >= self.patience() {
            told.confirmation = Some(self.waiting);
            self.waiting = 0;
        }
        told
    }

    /// Finds out how the two sides talk, from the first bytes of the client.
    fn hear(&mut self, bytes: &[u8]) {
        self.talk = match offer(bytes) {
            Offer::Http1 => Talk::InTurns { tls: false },
            Offer::Http2 => Talk::AtOnce { tls: false },
            Offer::TlsForHttp1 => Talk::InTurns { tls: true },
            Offer::Tls => Talk::AtOnce { tls: true },
            Offer::Other => Talk::Alien,
        };
        if self.is_at_once() {
            // An HTTP/2 client's first bytes may be no question.
            self.first = First::Doubtful;
        }
    }

    /// A record of the client.
    fn sent(&mut self, record: Record, now: u32, told: &mut Told) {
        self.is_large = record.kind == APPLICATION_DATA && record.wire() > SMALL;
        if record.kind != APPLICATION_DATA {
            return;
        }
        match self.shake {
            // Early data: questions and the handshake cannot be told apart.
            Shake::Hello => self.talk = Talk::Alien,
            // The upstream sends its session tickets about now.
            Shake::Encrypted => match (FINISHED.contains(&record.len), self.first) {
                (true, first) => {
                    self.is_large = false;
                    self.first = match first {
                        First::No | First::Yes => First::Yes,
                        First::Doubtful => First::Doubtful,
                    };
                }
                // A client's certificate: its end cannot be seen.
                (false, _) => self.first = First::Doubtful,
            },
            Shake::Heard | Shake::Done => {}
        }
        self.shake = Shake::Done;
        if self.is_large {
            self.ask(record.wire(), now, told);
        }
    }

    /// A record of the upstream.
    fn received(&mut self, record: Record, now: u32, told: &mut Told) {
        if record.kind != APPLICATION_DATA {
            return;
        }
        if self.shake != Shake::Done {
            self.shake = Shake::Encrypted;
        } else if record.wire() > SMALL {
            self.answer(now, told);
        }
    }

    /// A piece of a question.
    fn ask(&mut self, bytes: usize, now: u32, told: &mut Told) {
        let since_last = now.wrapping_sub(self.last());
        match self.stage {
            Stage::Asked { .. } => return self.stretch(now),
            // Session tickets may come while the first question is still being asked.
            Stage::Opened if since_last < self.moved.wrapping_sub(self.asked) => {
                self.stage = Stage::Asked { alone: false };
                (self.asked, self.span) = (now, 0);
                return;
            }
            Stage::Opened => self.first_was_answered(told),
            Stage::Quiet => {}
        }
        if self.burst == 0 || since_last > PAUSE {
            (self.burst, self.asked) = (0, now);
        }
        let burst = usize::from(self.burst).saturating_add(bytes);
        self.burst = u8::try_from(burst).unwrap_or(u8::MAX);
        self.stretch(now);
        if burst < QUESTION {
            return;
        }
        let quiet = self.asked.wrapping_sub(self.moved);
        let alone = quiet >= self.patience();
        if self.waiting > 0 && alone {
            told.confirmation = Some(self.waiting);
        }
        self.waiting = 0;
        self.crossed &= !alone;
        self.stage = Stage::Asked { alone };
    }

    /// Bytes of an answer, or of whatever it is that comes unasked.
    fn answer(&mut self, now: u32, told: &mut Told) {
        let since_moved = now.wrapping_sub(self.moved);
        match self.stage {
            Stage::Asked { .. } if self.first != First::No => {
                self.stage = Stage::Opened;
                self.burst = 0;
                self.moved = now;
            }
            Stage::Asked { alone } => {
                self.answered(alone, now, told);
                self.moved = now;
            }
            Stage::Opened if since_moved > TOGETHER => {
                self.note_longest(now.wrapping_sub(self.asked));
                self.first_was_answered(told);
                self.moved = now;
            }
            Stage::Opened => {}
            // The rest of an answer follows at once. What comes later is another's, and the last may have been, too.
            Stage::Quiet if since_moved > TOGETHER.max(self.waiting / SLACK) => {
                self.crossed = self.is_at_once();
                self.waiting = 0;
                self.moved = now;
            }
            Stage::Quiet => {}
        }
    }

    /// The first bytes of an answer.
    fn answered(&mut self, alone: bool, now: u32, told: &mut Told) {
        told.exchanges += 1;
        self.stage = Stage::Quiet;
        self.burst = 0;
        let took = now.wrapping_sub(self.last()).max(1);
        if !self.is_at_once() {
            told.confirmation = Some(took);
            return;
        }
        // Of several questions: whose answer is it, and what of the others?
        let is_sharp = self.span <= took / SLACK;
        self.crossed |= !is_sharp && self.span > TOGETHER;
        self.note_longest(took.saturating_add(self.span));
        if is_sharp && alone {
            self.waiting = took;
        }
    }

    /// The first question is over; what it took cannot be known, since session tickets look like an answer.
    fn first_was_answered(&mut self, told: &mut Told) {
        told.exchanges += u32::from(self.first == First::Yes);
        self.stage = Stage::Quiet;
        self.first = First::No;
        self.burst = 0;
    }

    fn is_at_once(&self) -> bool {
        matches!(self.talk, Talk::AtOnce { .. })
    }

    /// The last byte of the question.
    fn last(&self) -> u32 {
        self.asked.wrapping_add(self.span)
    }

    fn stretch(&mut self, now: u32) {
        self.span = now.wrapping_sub(self.asked);
    }

    fn note_longest(&mut self, took: u32) {
        let took = u8::try_from(took.div_ceil(LONG)).unwrap_or(u8::MAX);
        self.longest = self.longest.max(took);
    }

    fn patience(&self) -> u32 {
        if self.crossed {
            REST_MAX
        } else {
            (u32::from(self.longest) * LONG * 4).clamp(REST_MIN, REST_MAX)
        }
    }
}

#[cfg(test)]
mod tests;
