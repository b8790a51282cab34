//! The records of TLS in a stream, by their headers: what kind each is, and how long (RFC 8446 §5.1, RFC 5246 §6.2).
//!
//! Pure: no I/O, no clock. It holds no byte of what is inside, decrypts nothing, and gives up for good on what is no TLS.

/// A record as its header tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: u8,
    /// Of what follows the header.
    pub(super) len: u16,
}

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

const HEADER: usize = 5;
/// The longest ciphertext of TLS 1.2; 1.3 allows less.
const LEN_MAX: u16 = (1 << 14) + 2048;

/// How far into the present record one direction has come. Small: every tunnel holds two.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Records {
    /// What is still to come of the record at hand; in a header, its kind and the first byte of its length.
    left: u16,
    /// How much of a header is there.
    seen: u8,
}

/// What is read is no TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoTls;

impl Records {
    /// Takes the bytes behind those of the last call, and tells of every record whose header is complete with them.
    pub(super) fn read(
        &mut self,
        mut bytes: &[u8],
        mut tell: impl FnMut(Record),
    ) -> Result<(), NoTls> {
        while let [first, rest @ ..] = bytes {
            if self.is_inside() {
                let taken = bytes.len().min(self.left.into());
                self.left -= taken as u16;
                bytes = &bytes[taken..];
                continue;
            }
            if let (0, [kind, 3, _, high, low, rest @ ..]) = (self.seen, bytes) {
                tell(self.begin([*kind, *high], *low)?);
                bytes = rest;
                continue;
            }
            let [kind, _] = self.left.to_be_bytes();
            match self.seen {
                0 => self.left = u16::from_be_bytes([*first, 0]),
                1 if *first != 3 => return Err(NoTls),
                3 => self.left = u16::from_be_bytes([kind, *first]),
                _ => {}
            }
            if self.seen == 4 {
                tell(self.begin(self.left.to_be_bytes(), *first)?);
            } else {
                self.seen += 1;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Whether the rest of a record is still to come.
    pub(super) fn is_inside(self) -> bool {
        self.seen == 0 && self.left > 0
    }

    /// The last byte of a header is there.
    fn begin(&mut self, [kind, high]: [u8; 2], low: u8) -> Result<Record, NoTls> {
        let len = u16::from_be_bytes([high, low]);
        if !(CHANGE_CIPHER_SPEC..=24).contains(&kind) || len > LEN_MAX {
            return Err(NoTls);
        }
        *self = Self { left: len, seen: 0 };
        Ok(Record { kind, len })
    }
}

impl Record {
    /// With its header: what it takes on the wire.
    pub(super) fn wire(self) -> usize {
        usize::from(self.len) + HEADER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, len: u16) -> Vec<u8> {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend(len.to_be_bytes());
        bytes.resize(HEADER + usize::from(len), 0);
        bytes
    }

    fn told(pieces: &[&[u8]]) -> Result<Vec<(u8, u16)>, NoTls> {
        let (mut records, mut told) = (Records::default(), Vec::new());
        for piece in pieces {
            records.read(piece, |record| told.push((record.kind, record.len)))?;
        }
        Ok(told)
    }

    #[test]
    fn what_is_no_tls_is_given_up() {
        let check = |bytes: &[u8]| assert_eq!(told(&[bytes]), Err(NoTls), "{bytes:?}");
        check(b"GET / HTTP/1.1\r\n");
        check(&[22, 2, 0, 0, 1]);
        check(&[25, 3, 3, 0, 1]);
        check(&[23, 3, 3, 0x48, 1]);
        assert_eq!(told(&[&[23, 3, 3, 0x48, 0]]), Ok(vec![(23, 18_432)]));
    }

    proptest! {
        #[test]
        fn records_are_the_same_however_they_were_cut(
            all in prop::collection::vec((20_u8..=24, 0_u16..300), 1..8),
            cuts in prop::collection::vec(1_usize..40, 1..200),
        ) {
            let bytes: Vec<u8> = all.iter().flat_map(|(kind, len)| record(*kind, *len)).collect();
            let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            pieces.push(rest);
            prop_assert_eq!(told(&pieces), Ok(all));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = told(&[&bytes]);
        }
    }
}
