//! Where a request's body ends: by length or in chunks, byte by byte.
//!
//! Pure: bytes in, pieces out. Two readings of one body are how requests are smuggled, so there is one reading here,
//! and whatever leaves room for a second is refused (RFC 9112 §6, §7.1).

use std::fmt;
use std::ops::Range;

use http::HeaderMap;

use super::head::{self, Head, HeadError, HeadLimits, Version};
use super::scan::Scan;
use crate::exchange::Reason;

/// Hexadecimal digits of a chunk's size: more cannot be counted.
const SIZE_DIGITS: usize = 16;

/// Chunk extensions in one body, all together. They are read over, and nobody is known to send them.
const EXTENSION_BYTES: usize = 16 * 1024;

/// How a request says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// `Content-Length` beside `Transfer-Encoding`.
    TwoFramings,
    LengthDoubled,
    LengthInvalid,
    /// Anything but one `chunked`.
    TransferEncoding,
    /// Chunks came after HTTP/1.0.
    ChunkedTooEarly,
    ChunkSize,
    ChunkEnd,
    BareLf,
    BareCr,
    Extension,
    Trailer(HeadError),
}

impl Framing {
    /// RFC 9112 §6.3, less everything that it leaves to the recipient's mercy.
    pub(crate) fn of(head: &Head) -> Result<Self, BodyError> {
        let mut lengths = head.field_values("content-length");
        let length = lengths.next();
        let mut encodings = head.field_values("transfer-encoding");
        let Some(encoding) = encodings.next() else {
            return match (length, lengths.next()) {
                (None, _) => Ok(Self::None),
                (Some(_), Some(_)) => Err(BodyError::LengthDoubled),
                (Some(digits), None) => self::length(digits).map(Self::Length),
            };
        };
        if length.is_some() {
            return Err(BodyError::TwoFramings);
        }
        if encodings.next().is_some() || !encoding.eq_ignore_ascii_case(b"chunked") {
            return Err(BodyError::TransferEncoding);
        }
        if head.version() == Version::Http10 {
            return Err(BodyError::ChunkedTooEarly);
        }
        Ok(Self::Chunked)
    }
}

pub(super) fn length(digits: &[u8]) -> Result<u64, BodyError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BodyError::LengthInvalid);
    }
    let text = std::str::from_utf8(digits).map_err(|_| BodyError::LengthInvalid)?;
    text.parse().map_err(|_| BodyError::LengthInvalid)
}

/// What the next bytes of a body are.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// These bytes of the input belong to the body.
    Data(Range<usize>),
    /// All of the input was looked at, and the body goes on.
    More,
    /// The body is over; what follows is the next request.
    End(Option<HeaderMap>),
}

/// Takes one body out of the bytes of its connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    limits: HeadLimits,
    extension: usize,
}

#[derive(Debug)]
enum State {
    /// So many bytes are left.
    Length(u64),
    Size {
        digits: usize,
        size: u64,
    },
    /// Behind a semicolon, up to the end of the line.
    Extension {
        size: u64,
    },
    /// A CR ended the size's line.
    SizeLf {
        size: u64,
    },
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    Trailer {
        bytes: Vec<u8>,
        scan: Box<Scan>,
    },
    Over,
}

impl Decoder {
    /// `limits` bound the trailer section like a head.
    pub(crate) fn new(framing: Framing, limits: HeadLimits) -> Self {
        let state = match framing {
            Framing::None => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { digits: 0, size: 0 },
        };
        Self {
            state,
            limits,
            extension: 0,
        }
    }

    /// Reads on, and says how many bytes of the input are done with.
    pub(crate) fn read(&mut self, input: &[u8]) -> Result<(usize, Piece), BodyError> {
        let mut at = 0;
        loop {
            match &mut self.state {
                State::Length(0) => self.state = State::Over,
                State::Over => return Ok((at, Piece::End(None))),
                State::Length(left) | State::Chunk(left) => {
                    let here = &input[at..];
                    if here.is_empty() {
                        return Ok((at, Piece::More));
                    }
                    let taken =
                        usize::try_from(*left).map_or(here.len(), |left| left.min(here.len()));
                    *left -= taken as u64;
                    if matches!(self.state, State::Chunk(0)) {
                        self.state = State::ChunkCr;
                    }
                    return Ok((at + taken, Piece::Data(at..at + taken)));
                }
                State::Trailer { bytes, scan } => {
                    let before = bytes.len();
                    bytes.extend_from_slice(&input[at..]);
                    let Some(end) = scan
                        .advance(bytes, &self.limits)
                        .map_err(BodyError::Trailer)?
                    else {
                        return Ok((input.len(), Piece::More));
                    };
                    let fields = trailers(&bytes[..end])?;
                    self.state = State::Over;
                    return Ok((at + end - before, Piece::End(fields)));
                }
                State::Size { .. }
                | State::Extension { .. }
                | State::SizeLf { .. }
                | State::ChunkCr
                | State::ChunkLf => {
                    let Some(&byte) = input.get(at) else {
                        return Ok((at, Piece::More));
                    };
                    at += 1;
                    self.step(byte)?;
                }
            }
        }
    }

    /// One byte around a chunk.
    fn step(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match (&self.state, byte) {
            (&State::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                if digits == SIZE_DIGITS {
                    return Err(BodyError::ChunkSize);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                }
            }
            (State::Size { digits: 0, .. }, _) => return Err(BodyError::ChunkSize),
            (&State::Size { size, .. } | &State::Extension { size }, b'\r') => {
                State::SizeLf { size }
            }
            (State::Size { .. } | State::Extension { .. }, b'\n') => {
                return Err(BodyError::BareLf);
            }
            (&State::Size { size, .. }, b';') => State::Extension { size },
            (State::Size { .. }, _) => return Err(BodyError::ChunkSize),
            (&State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension += 1;
                if self.extension > EXTENSION_BYTES {
                    return Err(BodyError::Extension);
                }
                State::Extension { size }
            }
            (State::Extension { .. }, _) => return Err(BodyError::Extension),
            (State::SizeLf { size: 0 }, b'\n') => State::Trailer {
                bytes: Vec::new(),
                scan: Box::new(Scan::fields()),
            },
            (&State::SizeLf { size }, b'\n') => State::Chunk(size),
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::Size { digits: 0, size: 0 },
            (State::SizeLf { .. } | State::ChunkLf, _) => return Err(BodyError::BareCr),
            (State::ChunkCr, b'\n') => return Err(BodyError::BareLf),
            (State::ChunkCr, _) => return Err(BodyError::ChunkEnd),
            (State::Length(_) | State::Chunk(_) | State::Trailer { .. } | State::Over, _) => {
                unreachable!("read on without a step")
            }
        };
        Ok(())
    }
}

fn trailers(section: &[u8]) -> Result<Option<HeaderMap>, BodyError> {
    if section == b"\r\n" {
        return Ok(None);
    }
    head::fields(section).map(Some).map_err(BodyError::Trailer)
}

impl BodyError {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Trailer(error) => error.reason(),
            Self::TwoFramings
            | Self::LengthDoubled
            | Self::LengthInvalid
            | Self::TransferEncoding
            | Self::ChunkedTooEarly
            | Self::ChunkSize
            | Self::ChunkEnd
            | Self::BareLf
            | Self::BareCr
            | Self::Extension => Reason::BadRequest,
        }
    }

    /// The same words for everybody: nothing of what the client wrote is in them.
    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::TwoFramings => "Content-Length beside Transfer-Encoding",
            Self::LengthDoubled => "more than one Content-Length",
            Self::LengthInvalid => "Content-Length is not a number",
            Self::TransferEncoding => "Transfer-Encoding is not one chunked",
            Self::ChunkedTooEarly => "Transfer-Encoding in HTTP/1.0",
            Self::ChunkSize => "chunk size is not hexadecimal",
            Self::ChunkEnd => "chunk longer than its size",
            Self::BareLf => "LF without CR in a chunked body",
            Self::BareCr => "CR without LF in a chunked body",
            Self::Extension => "chunk extension too long or with a control character",
            Self::Trailer(error) => error.details(),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.details())
    }
}

impl std::error::Error for BodyError {}

#[cfg(test)]
mod tests;
