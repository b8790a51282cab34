//! The exchanges inside a closed tunnel, as far as they can be told from outside: a question of the client, the first
//! bytes of its answer, and the time between its last byte and those.
//!
//! Pure: no clock, no sockets; it sees the sizes of TLS records and decrypts nothing. Where a time might be another
//! exchange's, or that of an interim answer (RFC 9110 §15.2), it says none: a time is told when what follows bears it
//! out, and of HTTP/2 only questions that stand alone are trusted.

use super::handshake::Step;
use super::offer::{Offer, offer};
use super::records::{APPLICATION_DATA, Record, Records};
use crate::exchange::{Handshake, Side};

/// The least that is a question of HTTP/2; the records that count for it are larger than `SMALL`.
const QUESTION: usize = 128;
/// Records up to this size, header included, are no part of a question or an answer of HTTP/2: SETTINGS ACK, PING,
/// WINDOW_UPDATE (two of them in one record), GOAWAY.
const SMALL: usize = 55;
/// The same of HTTP/1.1: the end of a chunked body. A request or a status line does not go into so little.
const SMALL_IN_TURNS: usize = 37;
/// The same of streams that are not encrypted.
const SMALL_IN_CLEAR: usize = 31;
const SMALL_IN_TURNS_IN_CLEAR: usize = 15;
/// An answer of HTTP/1.1 that is no longer may be an interim one, such as "100 Continue" with a date.
const TERSE: u8 = 160;
/// A client that goes on so soon after such an answer may have waited for it to send the rest of its question: its time is
/// not believed.
const SOON: u32 = 100_000;
/// "100 Continue" without any field, in clear and in a record of TLS 1.3 and 1.2: it is taken for that, if a client goes on
/// after it.
const CONTINUE: [u8; 4] = [25, 47, 46, 54];
/// What HTTP/2 sends by itself in records of TLS 1.3 and 1.2: SETTINGS ACK, WINDOW_UPDATE, PING and GOAWAY, and two
/// WINDOW_UPDATEs. Another small record may be the head of an answer.
const ASIDES: [usize; 11] = [30, 31, 34, 35, 38, 39, 42, 46, 47, 48, 55];
/// What a HTTP/1.1 server sends so soon after an answer's first bytes belongs to it; what comes later may be the answer
/// itself, and those an interim one, or nobody has asked for it.
const GOES_ON: u32 = 5_000;
/// Pieces of a question that are further apart are none. Microseconds, as all times here.
const PAUSE: u32 = 1_000_000;
/// The pieces of a question, and those of an answer, may be so far apart, measured by what was between them: 4 %. It is the
/// error that a time may have where one of the pieces was another's.
const SLACK: u32 = 25;
/// How long a tunnel that may carry several exchanges at once, or one where something came unasked, must be quiet before a
/// question, and after its answer: four times what the longest took, within these bounds, and the upper one after exchanges
/// were seen to cross.
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

/// Whether the present question may be answered by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum First {
    #[default]
    No,
    /// The first, while session tickets come.
    Yes,
    /// The first, and they came before it.
    Settled,
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
    /// Something short came, in HTTP/1.1.
    Terse { alone: bool },
}

/// What is remembered of a tunnel, in 36 bytes. Times are microseconds since it opened, and begin anew after 71 minutes:
/// only differences count.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    up: Records,
    down: Records,
    talk: Talk,
    step: Step,
    stage: Stage,
    first: First,
    /// Whether the record at hand is large enough to be part of a question.
    is_large: bool,
    /// Whether exchanges have crossed, or something came unasked.
    crossed: bool,
    /// Bytes of a question that is none yet, or of an answer that is short so far.
    burst: u8,
    /// What the longest took, as far as it matters.
    longest: u8,
    /// The first byte of the question.
    asked: u32,
    /// From that to its last.
    span: u32,
    /// The first byte of the last answer, or of what came after it; the client's Finished before that.
    moved: u32,
    /// What the last exchange took, until it is sure that nothing else follows; 0 where nothing waits.
    waiting: u32,
}

impl Exchanges {
    /// Whether anything can be told of this tunnel.
    pub(super) fn are_understood(&self) -> bool {
        matches!(self.talk, Talk::InTurns { .. } | Talk::AtOnce { .. })
    }

    /// How far the TLS handshake came, where there was one.
    pub(super) fn handshake(&self) -> Option<Handshake> {
        match (self.talk, self.step) {
            (Talk::Unheard, _) => None,
            (Talk::InTurns { tls } | Talk::AtOnce { tls }, _) if !tls => None,
            (_, Step::Dead) => Some(Handshake::Died),
            (Talk::Alien, _) => None,
            (_, step) if step.is_over() => Some(Handshake::Through),
            _ => Some(Handshake::Begun),
        }
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
                let is_large = bytes.len() > self.small() || self.is_at_once();
                if is_large || matches!(self.stage, Stage::Asked { .. }) {
                    self.ask(bytes.len(), now, &mut told);
                }
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
            self.step = self.step.garbled();
        } else if matches!(self.stage, Stage::Asked { .. }) && (goes_on || !self.is_at_once()) {
            self.stretch(now);
        }
        told
    }

    /// The upstream has sent these bytes.
    pub(super) fn down(&mut self, bytes: &[u8], now: u64) -> Told {
        let (now, mut told) = (now as u32, Told::default());
        match self.talk {
            // A server that speaks first, as none does in HTTP or TLS.
            Talk::Unheard => self.talk = Talk::Alien,
            Talk::Alien => {}
            Talk::InTurns { tls } | Talk::AtOnce { tls } if !tls => {
                if bytes.len() > self.small() {
                    self.answer(bytes.len(), now, &mut told);
                }
            }
            Talk::InTurns { .. } | Talk::AtOnce { .. } => {
                let mut records = self.down;
                let read = records.read(bytes, |record| self.received(record, now, &mut told));
                self.down = records;
                if read.is_err() {
                    self.talk = Talk::Alien;
                    self.step = self.step.garbled();
                }
            }
        }
        told
    }

    /// Time has passed.
    pub(super) fn rest(&mut self, now: u64) -> Told {
        let mut told = Told::default();
        let quiet = (now as u32).wrapping_sub(self.moved);
        match self.stage {
            // What follows an interim answer may take as long as an answer takes.
            _ if !self.is_at_once() && quiet < REST_MAX => {}
            Stage::Terse { alone } => self.terse_was_all(alone, &mut told),
            _ if self.waiting > 0 && quiet >= self.patience() => self.confirm(&mut told),
            _ => {}
        }
        told
    }

    /// The tunnel has ended, or this side of it first.
    pub(super) fn end(&mut self, by: Side, now: u64) -> Told {
        let quiet = (now as u32).wrapping_sub(self.moved);
        self.step = self.step.ended(by, quiet);
        let mut told = Told::default();
        match (self.stage, self.first) {
            (Stage::Terse { alone }, _) => self.terse_was_all(alone, &mut told),
            // Whoever leaves so soon has what it wanted.
            (Stage::Opened, First::Yes) if by == Side::Client && quiet <= PAUSE => {
                self.first_was_answered(&mut told);
            }
            _ if self.waiting > 0 && !self.is_at_once() => self.confirm(&mut told),
            _ => return self.rest(now),
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
        let (before, is_finished) = (self.step, self.step.is_finished(record));
        self.step = before.sent(record);
        self.is_large = record.kind == APPLICATION_DATA && record.wire() > self.small();
        if record.kind != APPLICATION_DATA {
            return;
        }
        match before {
            // Early data: questions and the handshake cannot be told apart.
            Step::Hello => self.talk = Talk::Alien,
            Step::Encrypted => {
                self.moved = now;
                self.is_large &= !is_finished && self.step != Step::Dead;
                self.first = match (is_finished, self.first) {
                    // The upstream sends its session tickets about now.
                    (true, First::No) => First::Yes,
                    (true, first) => first,
                    // A client's certificate: its end cannot be seen.
                    (false, _) => First::Doubtful,
                };
            }
            _ => {}
        }
        if self.is_large {
            self.ask(record.wire(), now, told);
        }
    }

    /// A record of the upstream.
    fn received(&mut self, record: Record, now: u32, told: &mut Told) {
        let before = self.step;
        self.step = before.received(record, now.wrapping_sub(self.moved));
        if record.kind != APPLICATION_DATA || !before.is_over() {
            return;
        }
        if record.wire() > self.small() {
            self.answer(record.wire(), now, told);
        } else if let Stage::Asked { alone } = &mut self.stage
            && matches!(self.talk, Talk::AtOnce { .. })
        {
            // Where it is the head of an answer, what follows is not its first byte.
            *alone &= ASIDES.contains(&record.wire());
        }
    }

    /// A piece of a question.
    fn ask(&mut self, bytes: usize, now: u32, told: &mut Told) {
        let since_last = now.wrapping_sub(self.last());
        let since_moved = now.wrapping_sub(self.moved);
        match self.stage {
            Stage::Asked { .. } => return self.stretch(now),
            // Session tickets may come while the first question is still being asked.
            Stage::Opened if since_last < self.moved.wrapping_sub(self.asked) => {
                self.stage = Stage::Asked { alone: false };
                (self.asked, self.span) = (now, 0);
                return;
            }
            Stage::Opened => self.first_was_answered(told),
            // It may have waited for "100 Continue": the question goes on.
            Stage::Terse { alone } if since_moved <= PAUSE && CONTINUE.contains(&self.burst) => {
                self.stage = Stage::Asked { alone };
                self.waiting = 0;
                return self.stretch(now);
            }
            Stage::Terse { alone } => self.terse_was_all(alone && since_moved > SOON, told),
            Stage::Quiet => {}
        }
        if self.is_at_once() {
            if self.burst == 0 || since_last > PAUSE {
                (self.burst, self.asked) = (0, now);
            }
            let burst = usize::from(self.burst).saturating_add(bytes);
            self.burst = saturated(burst);
            self.stretch(now);
            if burst < QUESTION {
                return;
            }
        } else {
            (self.asked, self.span) = (now, 0);
        }
        let quiet = self.asked.wrapping_sub(self.moved);
        let stands_alone = quiet >= self.patience();
        // Where nothing came unasked, an exchange in its turn needs no room around it.
        let alone = stands_alone || !self.is_at_once() && !self.crossed;
        if alone {
            self.confirm(told);
        }
        self.waiting = 0;
        self.crossed &= !stands_alone;
        self.stage = Stage::Asked { alone };
    }

    /// Bytes of an answer, or of whatever it is that comes unasked.
    fn answer(&mut self, bytes: usize, now: u32, told: &mut Told) {
        let since_moved = now.wrapping_sub(self.moved);
        let goes_on = if self.is_at_once() { TOGETHER } else { GOES_ON };
        match (self.stage, self.first) {
            // Session tickets, or what an HTTP/2 server begins with.
            (Stage::Quiet, First::Yes | First::Settled) => self.first = First::Settled,
            (Stage::Quiet, First::Doubtful) => {}
            // More tickets, perhaps.
            (Stage::Asked { .. }, First::Settled) if since_moved <= TOGETHER => {
                self.first = First::Yes;
                self.stage = Stage::Opened;
            }
            (Stage::Asked { .. }, First::Yes | First::Doubtful) => {
                self.stage = Stage::Opened;
                self.burst = 0;
            }
            (Stage::Asked { alone }, First::No | First::Settled) => {
                self.first = First::No;
                self.answered(alone, bytes, now, told);
            }
            // What comes until the next question is the first one's affair.
            (Stage::Opened, _) if self.is_at_once() => {
                self.note_longest(now.wrapping_sub(self.asked))
            }
            (Stage::Opened, _) if since_moved > TOGETHER => {
                self.note_longest(now.wrapping_sub(self.asked));
                self.first_was_answered(told);
            }
            (Stage::Opened, _) => return,
            (Stage::Terse { .. }, _) if since_moved > goes_on => {
                // Those were an interim answer, or the head of a slow one: the time is not known.
                self.note_longest(now.wrapping_sub(self.asked));
                self.terse_was_all(false, told);
            }
            (Stage::Terse { alone }, _) => {
                self.burst = saturated(usize::from(self.burst).saturating_add(bytes));
                if self.burst > TERSE {
                    let waiting = self.waiting;
                    self.terse_was_all(false, told);
                    self.waiting = if alone { waiting } else { 0 };
                }
            }
            // What comes later than an answer goes on is another's, and the last may have been, too.
            (Stage::Quiet, _) if since_moved > goes_on.max(self.waiting / SLACK) => {
                self.crossed = true;
                self.note_longest(now.wrapping_sub(self.asked));
                self.waiting = 0;
            }
            (Stage::Quiet, _) if self.is_at_once() => return,
            (Stage::Quiet, _) => {}
        }
        self.moved = now;
    }

    /// The first bytes of an answer.
    fn answered(&mut self, alone: bool, bytes: usize, now: u32, told: &mut Told) {
        let took = now.wrapping_sub(self.last()).max(1);
        self.note_longest(took.saturating_add(self.span));
        self.burst = 0;
        if !self.is_at_once() && bytes <= TERSE.into() {
            self.stage = Stage::Terse { alone };
            self.burst = saturated(bytes);
            self.waiting = took;
            return;
        }
        told.exchanges += 1;
        self.stage = Stage::Quiet;
        // Of several questions at once: whose answer is it, and what of the others?
        let is_sharp = !self.is_at_once() || self.span <= took / SLACK;
        self.crossed |= !is_sharp && self.span > TOGETHER;
        if is_sharp && alone {
            self.waiting = took;
        }
    }

    /// What was short was the whole answer; its time is told if it can be relied on.
    fn terse_was_all(&mut self, is_sure: bool, told: &mut Told) {
        told.exchanges += 1;
        self.stage = Stage::Quiet;
        self.burst = 0;
        if is_sure {
            self.confirm(told);
        }
        self.waiting = 0;
    }

    /// The first question is over; what it took cannot be known, since session tickets look like an answer.
    fn first_was_answered(&mut self, told: &mut Told) {
        told.exchanges += u32::from(self.first == First::Yes);
        self.stage = Stage::Quiet;
        self.first = First::No;
        self.burst = 0;
    }

    /// The time that waits, if any, has proved right.
    fn confirm(&mut self, told: &mut Told) {
        if self.waiting > 0 {
            told.confirmation = Some(self.waiting);
            self.waiting = 0;
        }
    }

    fn is_at_once(&self) -> bool {
        matches!(self.talk, Talk::AtOnce { .. })
    }

    /// Up to what size a piece is not looked at.
    fn small(&self) -> usize {
        match self.talk {
            Talk::InTurns { tls: true } => SMALL_IN_TURNS,
            Talk::InTurns { tls: false } => SMALL_IN_TURNS_IN_CLEAR,
            Talk::AtOnce { tls: false } => SMALL_IN_CLEAR,
            Talk::AtOnce { tls: true } | Talk::Unheard | Talk::Alien => SMALL,
        }
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
        if self.crossed && self.is_at_once() {
            REST_MAX
        } else {
            (u32::from(self.longest) * LONG * 4).clamp(REST_MIN, REST_MAX)
        }
    }
}

fn saturated(bytes: usize) -> u8 {
    u8::try_from(bytes).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
