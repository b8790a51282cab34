//! H(a:b:c), the one hash that both schemes are made of, and comparing it without telling time.
//!
//! Pure, and no heap: a digest is a few dozen bytes on the stack.

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use md5::{Digest as _, Md5};

use crate::config::userfile::HashKind;

/// A hash as lower-case hex digits, the form in which RFC 7616 hashes it again and sends it.
#[derive(Clone, Copy)]
pub(crate) struct Hex {
    digits: [u8; 64],
    len: usize,
}

/// The hash of the parts with a colon between each two.
pub(crate) fn hash(kind: HashKind, parts: &[&[u8]]) -> Hex {
    match kind {
        HashKind::Md5 => {
            let mut md5 = Md5::new();
            feed(parts, |bytes| md5.update(bytes));
            Hex::new(&md5.finalize())
        }
        HashKind::Sha256 => {
            let mut sha256 = digest::Context::new(&digest::SHA256);
            feed(parts, |bytes| sha256.update(bytes));
            Hex::new(sha256.finish().as_ref())
        }
    }
}

fn feed(parts: &[&[u8]], mut update: impl FnMut(&[u8])) {
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            update(b":");
        }
        update(part);
    }
}

impl Hex {
    fn new(hash: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self {
            digits,
            len: 2 * hash.len().min(32),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    /// Whether `other` is this hash; takes the same time wherever they differ.
    pub(crate) fn is(&self, other: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.as_bytes(), other).is_ok()
    }
}

impl fmt::Debug for Hex {
    /// Most hashes here open a door, so none is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_by_colons() {
        let joined = hash(HashKind::Md5, &[b"a:b:c"]);
        assert_eq!(joined.as_bytes(), b"02cc8f08398a4f3113b554e8105ebe4c");
        assert!(joined.is(hash(HashKind::Md5, &[b"a", b"b", b"c"]).as_bytes()));
        assert!(!joined.is(hash(HashKind::Md5, &[b"a", b"bc"]).as_bytes()));
        assert!(!joined.is(b"02cc"));
        assert_eq!(
            hash(HashKind::Sha256, &[b"abc"]).as_bytes(),
            b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
