//! The line rules, byte by byte: where a head ends, and the first byte that no head may have.
//!
//! The verdict depends on the bytes alone, never on how they were cut into reads.

use super::head::{FIELDS_MAX, HeadError, HeadLimits};

const METHOD_MAX: usize = 64;

/// How far a head was looked at, and what the next byte belongs to.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Bytes looked at.
    seen: usize,
    /// The last of them was a CR, so an LF has to follow.
    cr: bool,
    place: Place,
    /// Where the place began.
    since: usize,
    /// Where the request line began: behind one empty line at most.
    request_line: usize,
    fields: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing of the request has come.
    #[default]
    Start,
    Method,
    Target,
    Version,
    /// The first byte of a field line, or of the empty line that ends the head.
    Line,
    Name,
    Value,
}

impl Scan {
    /// For lines of fields with no request line before them: a trailer section.
    pub(super) fn fields() -> Self {
        Self {
            place: Place::Line,
            ..Self::default()
        }
    }

    /// The head's length once it is whole.
    pub(super) fn advance(
        &mut self,
        buffer: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<usize>, HeadError> {
        let window = &buffer[..buffer.len().min(limits.head_bytes)];
        while self.seen < window.len() {
            let run = self.plain_run(&window[self.seen..]);
            self.seen += run;
            self.check_length(limits)?;
            let Some(&byte) = window.get(self.seen) else {
                break;
            };
            self.seen += 1;
            if self.step(byte, window)? {
                return Ok(Some(self.seen));
            }
        }
        if buffer.len() < limits.head_bytes {
            return Ok(None);
        }
        Err(match self.place {
            Place::Start | Place::Method | Place::Target | Place::Version => {
                HeadError::TargetTooLong
            }
            Place::Line | Place::Name | Place::Value => HeadError::TooLarge,
        })
    }

    /// How many of the next bytes just continue what they are in: the bulk of a head, passed over quickly.
    fn plain_run(&self, rest: &[u8]) -> usize {
        match self.place {
            // Whatever follows a CR has to be looked at.
            _ if self.cr => 0,
            Place::Target => run_of(rest, u8::is_ascii_graphic),
            Place::Name => run_of(rest, is_token_byte),
            Place::Value => run_of(rest, is_value_byte),
            Place::Start | Place::Method | Place::Version | Place::Line => 0,
        }
    }

    fn check_length(&self, limits: &HeadLimits) -> Result<(), HeadError> {
        if self.place == Place::Target && self.seen - self.since > limits.head_bytes / 2 {
            return Err(HeadError::TargetTooLong);
        }
        Ok(())
    }

    /// One byte that may change the place; true when it was the head's last.
    fn step(&mut self, byte: u8, window: &[u8]) -> Result<bool, HeadError> {
        match byte {
            b'\n' if self.cr => {
                self.cr = false;
                return self.end_line(window);
            }
            _ if self.cr => return Err(HeadError::BareCr),
            b'\n' => return Err(HeadError::BareLf),
            b'\r' => self.cr = true,
            0 => return Err(HeadError::Nul),
            _ => self.enter(byte, window)?,
        }
        Ok(false)
    }

    fn enter(&mut self, byte: u8, window: &[u8]) -> Result<(), HeadError> {
        let next = match (self.place, byte) {
            (Place::Start, 0x16) if self.seen == 1 => return Err(HeadError::TlsHello),
            (Place::Start, 0x04 | 0x05) if self.seen == 1 => return Err(HeadError::Socks),
            (Place::Start, _) if is_token_byte(&byte) => Place::Method,
            (Place::Method, b' ') => Place::Target,
            (Place::Method, _) if is_token_byte(&byte) && self.seen - self.since <= METHOD_MAX => {
                return Ok(());
            }
            (Place::Start | Place::Method, _) => return Err(HeadError::Method),
            // Two spaces in a row: an empty target.
            (Place::Target, b' ') if self.seen - self.since > 1 => Place::Version,
            (Place::Target, b' ') => return Err(HeadError::RequestLine),
            (Place::Target, _) => return Err(HeadError::RequestTarget),
            (Place::Version, _) => match (self.seen - 1 - self.since, byte) {
                (7, b'0' | b'1') => return Ok(()),
                (at, _) if b"HTTP/1.".get(at) == Some(&byte) => return Ok(()),
                _ => return Err(self.foreign(window).unwrap_or(HeadError::Version)),
            },
            (Place::Line, b' ' | b'\t') => return Err(HeadError::ObsFold),
            (Place::Line, _) if is_token_byte(&byte) => Place::Name,
            (Place::Name, b':') => Place::Value,
            (Place::Name, b' ' | b'\t') => return Err(HeadError::SpaceBeforeColon),
            (Place::Line | Place::Name, _) => return Err(HeadError::FieldName),
            (Place::Value, _) => return Err(HeadError::FieldValue),
        };
        self.since = match next {
            // The byte itself is the first of these; of the others it is what stands before.
            Place::Method | Place::Name => self.seen - 1,
            Place::Start | Place::Target | Place::Version | Place::Line | Place::Value => self.seen,
        };
        self.place = next;
        Ok(())
    }

    fn end_line(&mut self, window: &[u8]) -> Result<bool, HeadError> {
        match self.place {
            Place::Start if self.request_line > 0 => return Err(HeadError::EmptyLines),
            // Some old clients send an empty line behind a body (RFC 9112 §2.2).
            Place::Start => {
                self.request_line = self.seen;
                return Ok(false);
            }
            Place::Method | Place::Target => {
                return Err(self.foreign(window).unwrap_or(HeadError::RequestLine));
            }
            Place::Version if self.seen - 2 - self.since < "HTTP/1.1".len() => {
                return Err(HeadError::Version);
            }
            Place::Version => {}
            Place::Line => return Ok(true),
            Place::Name => return Err(HeadError::ColonMissing),
            Place::Value => {
                self.fields += 1;
                if self.fields > FIELDS_MAX {
                    return Err(HeadError::TooManyFields);
                }
            }
        }
        self.place = Place::Line;
        Ok(false)
    }

    /// Another protocol that begins like a request line: its own words help the administrator.
    fn foreign(&self, window: &[u8]) -> Option<HeadError> {
        let line = &window[self.request_line..self.seen];
        if line.starts_with(b"PRI * HTTP/2") {
            return Some(HeadError::Http2Preface);
        }
        line.starts_with(b"PROXY ")
            .then_some(HeadError::ProxyHeader)
    }
}

fn run_of(rest: &[u8], plain: impl Fn(&u8) -> bool) -> usize {
    rest.iter()
        .position(|byte| !plain(byte))
        .unwrap_or(rest.len())
}

/// RFC 9110 §5.6.2.
#[rustfmt::skip]
fn is_token_byte(byte: &u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-'
            | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    )
}

/// Bytes beyond ASCII are opaque (RFC 9110 §5.5): some clients send names in Latin-1 or UTF-8.
fn is_value_byte(byte: &u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}
