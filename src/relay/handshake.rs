//! How far the TLS handshake inside a tunnel has come, and whether it died, by the headers of its records.
//!
//! Pure: no clock, no sockets; it decrypts nothing. TLS 1.3 is known by a server whose encrypted records come first.

use super::records::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Record};
use crate::exchange::Side;

/// What is inside the record of a client's Finished, and nothing else (TLS 1.3, SHA-256 and SHA-384).
const FINISHED: [u16; 2] = [53, 69];
/// The same of an alert that is encrypted (TLS 1.3).
const SEALED_ALERT: u16 = 19;
/// A Finished of TLS 1.2 is no longer than this, whatever the cipher suite; a hello is longer.
const FINISHED12_MAX: u16 = 80;
/// A server that does not accept a client's Finished says so within 5 s; one that hangs up later has lost its patience.
/// Microseconds.
const VERDICT: u32 = 5_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Step {
    /// The upstream has said nothing.
    #[default]
    Hello,
    Heard,
    /// It has changed to its keys, as in TLS 1.2, or for the looks of it in 1.3.
    Changed,
    /// It sends encrypted records first: TLS 1.3.
    Encrypted,
    /// The client accepts the server, which has not said what it makes of that: TLS 1.3.
    Accepted,
    /// Both sides are through.
    Through,
    /// One of them ended it before.
    Dead,
}

impl Step {
    /// A record of the client.
    pub(super) fn sent(self, record: Record) -> Self {
        match (self, record.kind) {
            // Whoever leaves before the server has said anything refuses nothing.
            (Self::Heard | Self::Changed | Self::Encrypted, ALERT) => Self::Dead,
            (Self::Encrypted, APPLICATION_DATA) if record.len == SEALED_ALERT => Self::Dead,
            (Self::Encrypted, APPLICATION_DATA) => Self::Accepted,
            (Self::Heard | Self::Changed, APPLICATION_DATA) => Self::Through,
            _ => self,
        }
    }

    /// A record of the upstream, so many microseconds after the client's Finished where that was the last.
    pub(super) fn received(self, record: Record, since: u32) -> Self {
        match (self, record.kind) {
            (Self::Through | Self::Dead, _) => self,
            (_, ALERT) => Self::Dead,
            (Self::Accepted, APPLICATION_DATA)
                if record.len == SEALED_ALERT && since <= VERDICT =>
            {
                Self::Dead
            }
            (Self::Accepted, APPLICATION_DATA) => Self::Through,
            (_, APPLICATION_DATA) => Self::Encrypted,
            (Self::Hello | Self::Heard, CHANGE_CIPHER_SPEC) => Self::Changed,
            (Self::Changed, HANDSHAKE) if record.len <= FINISHED12_MAX => Self::Through,
            // Another hello, after one that asked for another try.
            (Self::Hello | Self::Changed, HANDSHAKE) => Self::Heard,
            _ => self,
        }
    }

    /// What comes is no TLS.
    pub(super) fn garbled(self) -> Self {
        match self {
            Self::Through => self,
            _ => Self::Dead,
        }
    }

    /// A side has closed or reset the tunnel. A client that leaves may have lost no more than its patience.
    pub(super) fn ended(self, by: Side, since: u32) -> Self {
        match (by, self) {
            (Side::Client | Side::Proxy, _) | (_, Self::Through) => self,
            (Side::Upstream, Self::Accepted) if since > VERDICT => self,
            (Side::Upstream, _) => Self::Dead,
        }
    }

    /// Whether this record of the client is its Finished, and no more.
    pub(super) fn is_finished(self, record: Record) -> bool {
        self == Self::Encrypted && FINISHED.contains(&record.len)
    }

    /// Whether encrypted records are no part of the handshake any more.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Accepted | Self::Through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Told::{Down, Up};

    #[derive(Debug, Clone, Copy)]
    enum Told {
        Up(u8, u16),
        Down(u8, u16),
    }

    fn after(records: &[Told]) -> Step {
        let record = |kind, len| Record { kind, len };
        records.iter().fold(Step::Hello, |step, told| match told {
            Up(kind, len) => step.sent(record(*kind, *len)),
            Down(kind, len) => step.received(record(*kind, *len), 9),
        })
    }

    const FLIGHT13: [Told; 5] = [
        Down(22, 122),
        Down(20, 1),
        Down(23, 42),
        Down(23, 900),
        Down(23, 69),
    ];
    const FLIGHT12: [Told; 2] = [Down(22, 69), Down(22, 900)];
    const KEYS12: [Told; 3] = [Up(22, 37), Up(20, 1), Up(22, 40)];
    const END12: [Told; 3] = [Down(22, 186), Down(20, 1), Down(22, 40)];

    #[test]
    fn handshakes_that_come_through_and_those_that_die() {
        let check = |records: &[&[Told]], expected| {
            assert_eq!(after(&records.concat()), expected, "{records:?}");
        };
        check(&[], Step::Hello);
        check(&[&FLIGHT13[..2]], Step::Changed);
        check(&[&FLIGHT13], Step::Encrypted);
        check(&[&FLIGHT13, &[Up(20, 1), Up(23, 69)]], Step::Accepted);
        let accepted = [&FLIGHT13[..], &[Up(20, 1), Up(23, 53)]].concat();
        check(&[&accepted, &[Down(23, 250)]], Step::Through);
        // With a client's certificate.
        check(&[&FLIGHT13, &[Up(23, 1_300)]], Step::Accepted);
        // A hello that was tried twice.
        let again = [Down(22, 88), Down(20, 1), Up(20, 1), Up(22, 512)];
        check(&[&again, &FLIGHT13[..1]], Step::Heard);
        check(&[&again, &FLIGHT13, &[Up(23, 69)]], Step::Accepted);

        check(&[&FLIGHT12, &KEYS12], Step::Heard);
        check(&[&FLIGHT12, &KEYS12, &END12], Step::Through);
        check(&[&FLIGHT12, &KEYS12, &END12[1..]], Step::Through);
        // A session that is taken up again, and a client that does not wait for the end.
        check(&[&[Down(22, 96), Down(20, 1), Down(22, 40)]], Step::Through);
        check(&[&FLIGHT12, &KEYS12, &[Up(23, 300)]], Step::Through);

        // The server refuses the hello; the client the certificate; the server the client's, or that it has none.
        check(&[&[Down(21, 2)]], Step::Dead);
        check(&[&FLIGHT12, &[Up(21, 2)]], Step::Dead);
        check(&[&FLIGHT13, &[Up(21, 2)]], Step::Dead);
        check(&[&FLIGHT13, &[Up(20, 1), Up(23, 19)]], Step::Dead);
        check(&[&FLIGHT12, &KEYS12, &[Down(21, 2)]], Step::Dead);
        check(&[&accepted, &[Down(23, 19)]], Step::Dead);
        // No end of a handshake: sessions end so.
        check(&[&[Up(21, 2)]], Step::Hello);
        check(&[&accepted, &[Down(23, 250), Down(23, 19)]], Step::Through);
        check(
            &[&FLIGHT12, &KEYS12, &END12, &[Down(21, 26)]],
            Step::Through,
        );
    }

    #[test]
    fn whoever_ends_the_tunnel_may_end_the_handshake() {
        let check = |step: Step, by, since, expected| {
            assert_eq!(step.ended(by, since), expected, "{step:?} {by:?}");
        };
        for step in [Step::Hello, Step::Heard, Step::Changed, Step::Encrypted] {
            check(step, Side::Upstream, 0, Step::Dead);
            check(step, Side::Client, 0, step);
            check(step, Side::Proxy, 0, step);
            assert_eq!(step.garbled(), Step::Dead);
        }
        check(Step::Accepted, Side::Upstream, VERDICT, Step::Dead);
        // It has waited for a request in vain.
        check(Step::Accepted, Side::Upstream, VERDICT + 1, Step::Accepted);
        check(Step::Through, Side::Upstream, 0, Step::Through);
        assert_eq!(Step::Through.garbled(), Step::Through);
        let late = Record {
            kind: APPLICATION_DATA,
            len: SEALED_ALERT,
        };
        assert_eq!(Step::Accepted.received(late, VERDICT + 1), Step::Through);
    }
}
