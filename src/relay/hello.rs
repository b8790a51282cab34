//! The server name in the TLS hello that opens a tunnel, read as its bytes come (RFC 8446 §4.1.2, RFC 6066 §3).
//!
//! Pure: no I/O, no clock. It looks at what a client says in the clear, and never changes, answers or decrypts any of it.

use crate::exchange::Host;

/// The longest hello, its four bytes of type and length included. Post-quantum keys make them 2 KiB; 16 KiB is ample.
const MESSAGE_MAX: usize = 16 * 1024;
/// Records that a hello may be cut into; more than a byte each would need in any real hello.
const RECORDS_MAX: usize = 1024;
const RECORD_HEADER: usize = 5;
/// A record's longest plaintext (RFC 8446 §5.1).
const FRAGMENT_MAX: usize = 1 << 14;
/// All that can have been read before there is a verdict, less one byte.
pub(super) const WIRE_MAX: usize = MESSAGE_MAX + RECORDS_MAX * RECORD_HEADER;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What the bytes so far are. It hangs on the bytes alone, not on how they were cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    NeedMore,
    /// The first bytes are no TLS record.
    NotTls,
    /// A whole hello, and the name in it.
    Hello(Option<Host>),
    /// A hello beyond what is held for it.
    TooLong,
    /// TLS, but no hello whose name could be relied on.
    Malformed,
}

/// A hello as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Hello {
    /// Complete record headers so far.
    records: usize,
    header: [u8; RECORD_HEADER],
    /// How much of the next record's header is there.
    header_len: usize,
    /// What is still to come of the record at hand.
    record_left: usize,
    /// The handshake message, without record headers.
    message: Vec<u8>,
}

impl Hello {
    /// Takes the bytes behind those of the last call. To be asked until the verdict is another than `NeedMore`.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Verdict {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.record_left == 0 {
                bytes = rest;
                if let Some(verdict) = self.header(first) {
                    return verdict;
                }
                continue;
            }
            let wanted = match self.wanted() {
                Ok(wanted) => wanted,
                Err(verdict) => return verdict,
            };
            let taken = wanted.min(self.record_left).min(bytes.len());
            let (fragment, rest) = bytes.split_at(taken);
            self.message.extend_from_slice(fragment);
            self.record_left -= taken;
            bytes = rest;
            match self.wanted() {
                Ok(0) => return body(&self.message[4..]).unwrap_or(Verdict::Malformed),
                Ok(_) => {}
                Err(verdict) => return verdict,
            }
        }
        Verdict::NeedMore
    }

    /// One more byte of a record's header.
    fn header(&mut self, byte: u8) -> Option<Verdict> {
        self.header[self.header_len] = byte;
        self.header_len += 1;
        // A server cannot take for TLS what does not begin so; within a hello, nothing else may come between.
        let alien = if self.records == 0 {
            Verdict::NotTls
        } else {
            Verdict::Malformed
        };
        match (self.header_len, byte) {
            (1, _) if self.records == RECORDS_MAX => Some(Verdict::TooLong),
            (1, HANDSHAKE) => None,
            // Alerts and the like: TLS if the version says so, and then no hello.
            (1, 20..=24) if self.records == 0 => None,
            (1, _) => Some(alien),
            // The minor version is one of 1.0 to 1.3, and servers do not look at it (RFC 8446 §5.1).
            (2, 3) if self.header[0] == HANDSHAKE => None,
            (2, 3) => Some(Verdict::Malformed),
            (2, _) => Some(alien),
            (RECORD_HEADER, _) => {
                let len = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                self.header_len = 0;
                self.records += 1;
                self.record_left = len;
                (len == 0 || len > FRAGMENT_MAX).then_some(Verdict::Malformed)
            }
            _ => None,
        }
    }

    /// How much of the message is missing: of its four bytes of type and length first, then of all.
    fn wanted(&self) -> Result<usize, Verdict> {
        if self
            .message
            .first()
            .is_some_and(|kind| *kind != CLIENT_HELLO)
        {
            return Err(Verdict::Malformed);
        }
        let Some(&[_, high, middle, low]) = self.message.first_chunk() else {
            return Ok(4 - self.message.len());
        };
        let whole = 4 + u32::from_be_bytes([0, high, middle, low]) as usize;
        if whole > MESSAGE_MAX {
            return Err(Verdict::TooLong);
        }
        Ok(whole - self.message.len())
    }
}

/// The verdict on a whole ClientHello; `None` where a length in it does not fit.
fn body(body: &[u8]) -> Option<Verdict> {
    let mut body = Fields(body);
    let (_version, _random) = (body.take(2)?, body.take(32)?);
    let _session_id = body.vector8()?;
    let _cipher_suites = body.vector16()?;
    let _compression = body.vector8()?;
    if body.0.is_empty() {
        return Some(Verdict::Hello(None));
    }
    let mut extensions = Fields(body.vector16()?);
    let mut name = None;
    let mut seen = false;
    while !extensions.0.is_empty() {
        let (kind, data) = (extensions.u16()?, extensions.vector16()?);
        if kind == SERVER_NAME {
            // Of two, the server may read the one and we the other.
            if seen {
                return None;
            }
            seen = true;
            name = host_name(data)?;
        }
    }
    body.0.is_empty().then_some(Verdict::Hello(name))
}

/// The one host name of a `server_name` extension.
fn host_name(data: &[u8]) -> Option<Option<Host>> {
    let mut data = Fields(data);
    let mut names = Fields(data.vector16()?);
    let mut host = None;
    while !names.0.is_empty() {
        let (kind, name) = (names.u8()?, names.vector16()?);
        if kind == HOST_NAME {
            if host.is_some() {
                return None;
            }
            host = Some(Host::parse(name).ok()?);
        }
    }
    data.0.is_empty().then_some(host)
}

/// What is left of a structure to be read from the front.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Bytes behind one byte of length.
    pub(super) fn vector8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// Bytes behind three bytes of length.
    pub(super) fn vector24(&mut self) -> Option<&'a [u8]> {
        let (high, low) = (self.u8()?, self.u16()?);
        self.take(usize::from(high) << 16 | usize::from(low))
    }

    /// Bytes behind two bytes of length.
    pub(super) fn vector16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

#[cfg(test)]
pub(super) mod tests;
