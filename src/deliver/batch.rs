//! Messages on their way: gathered into one piece, and taken off it as they are sent. Pure.

use std::collections::VecDeque;

/// As much as goes into one write, give or take a message.
const BATCH_BYTES: usize = 64 * 1024;

/// How messages are told apart on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Each in a datagram of its own (RFC 5426).
    Datagrams,
    /// Each with its length before it (RFC 6587 §3.4.1, RFC 5425 §4.3).
    Counted,
}

/// Keeps whole messages until the last byte of each was taken.
#[derive(Debug)]
pub(super) struct Batch {
    framing: Framing,
    bytes: Vec<u8>,
    /// Where each message ends, the next first.
    ends: VecDeque<usize>,
    /// Where the next message begins.
    start: usize,
    /// What was taken of the bytes.
    taken: usize,
}

impl Batch {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            bytes: Vec::new(),
            ends: VecDeque::new(),
            start: 0,
            taken: 0,
        }
    }

    pub(super) fn push(&mut self, message: &[u8]) {
        if self.framing == Framing::Counted {
            let length = format!("{} ", message.len());
            self.bytes.extend_from_slice(length.as_bytes());
        }
        self.bytes.extend_from_slice(message);
        self.ends.push_back(self.bytes.len());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    /// What is to be sent next: one message, or all there is.
    pub(super) fn next(&self) -> &[u8] {
        let end = match self.framing {
            Framing::Datagrams => self.ends.front().copied(),
            Framing::Counted => self.ends.back().copied(),
        };
        &self.bytes[self.taken..end.unwrap_or(self.taken)]
    }

    /// So many bytes of it were sent.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        while let Some(end) = self.ends.front().copied().filter(|end| *end <= self.taken) {
            self.start = end;
            self.ends.pop_front();
        }
        if self.ends.is_empty() {
            self.bytes.clear();
            (self.start, self.taken) = (0, 0);
        }
    }

    /// The connection broke: a message that it took in part is sent whole on the next.
    pub(super) fn rewind(&mut self) {
        self.taken = self.start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(framing: Framing) -> Batch {
        let mut batch = Batch::new(framing);
        for message in ["first", "second", "x"] {
            batch.push(message.as_bytes());
        }
        batch
    }

    #[test]
    fn counted_messages_go_together_and_a_half_sent_one_goes_again() {
        let mut batch = batch(Framing::Counted);
        assert_eq!(batch.next(), b"5 first6 second1 x");
        batch.take(7);
        assert_eq!(batch.next(), b"6 second1 x");
        batch.take(7);
        assert_eq!(batch.next(), b"d1 x");
        batch.rewind();
        assert_eq!(batch.next(), b"6 second1 x");
        batch.take(11);
        assert!(batch.is_empty());
        assert_eq!(batch.next(), b"");
        batch.push(b"again");
        assert_eq!(batch.next(), b"5 again");
    }

    #[test]
    fn datagrams_go_one_by_one() {
        let mut batch = batch(Framing::Datagrams);
        for message in ["first", "second", "x"] {
            batch.rewind();
            assert_eq!(batch.next(), message.as_bytes());
            batch.take(message.len());
        }
        assert!(batch.is_empty());
    }
}
