//! Whether the two legs of a tunnel acknowledge what was sent on them.
//!
//! Judges by what the kernel says (TCP_INFO); it ends nothing. TCP_USER_TIMEOUT would do half of it, and would also end
//! an idle tunnel after one lost keepalive.

use std::time::Duration;

use crate::exchange::Side;
use crate::sys::TcpInfo;

/// Window probes without an answer that tell a dead receiver from a slow one.
const PROBES: u8 = 3;

/// What is known of a tunnel's legs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Acks {
    /// Nothing has moved since a look found nothing under way.
    #[default]
    Quiet,
    /// Something has.
    Moved,
    /// Something is under way on this leg, as far as we know since then, counted from the tunnel's opening.
    Waits { leg: Leg, since: Duration },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    Upstream,
    Client,
}

/// In tenths of a second, two of the 31 bits' values taken.
const SINCE_MAX: u32 = (1 << 31) - 2;

impl Acks {
    /// Bytes have moved.
    pub(super) fn moved(self) -> Self {
        match self {
            Self::Quiet => Self::Moved,
            Self::Moved | Self::Waits { .. } => self,
        }
    }

    /// Whether it is time to ask the kernel. `turn`: whether it is the turn of this tunnel to be looked at, if it has moved.
    pub(super) fn is_due(self, turn: bool, patience: Duration, now: Duration) -> bool {
        match self {
            Self::Quiet => false,
            Self::Moved => turn,
            Self::Waits { since, .. } => now >= since + patience,
        }
    }

    /// Takes what the kernel says now of both legs, and says which is dead. `last` is when bytes moved last.
    pub(super) fn look(
        self,
        upstream: TcpInfo,
        client: TcpInfo,
        last: Duration,
        patience: Duration,
        now: Duration,
    ) -> Result<Self, Side> {
        let since = |wanted| match self {
            Self::Waits { leg, since } if leg == wanted => Some(since),
            Self::Waits { .. } | Self::Quiet | Self::Moved => None,
        };
        let judged = |info, leg| judge(info, since(leg), last, patience, now);
        match (judged(upstream, Leg::Upstream), judged(client, Leg::Client)) {
            // Where both are, it is our own network that is dead, and no peer is to blame.
            (_, Found::Dead) => Err(Side::Client),
            (Found::Dead, _) => Err(Side::Upstream),
            (Found::Clear, Found::Clear) => Ok(Self::Quiet),
            (up, down) => {
                let waits = |found, leg| match found {
                    Found::Waits { since } => Some(Self::Waits { leg, since }),
                    Found::Clear | Found::Dead => None,
                };
                let (up, down) = (waits(up, Leg::Upstream), waits(down, Leg::Client));
                // One is remembered: the one that was, while it waits.
                let client_first = since(Leg::Client).is_some();
                let first = if client_first {
                    down.or(up)
                } else {
                    up.or(down)
                };
                Ok(first.unwrap_or_default())
            }
        }
    }

    /// In one word, for the record of a live tunnel, which is small.
    pub(super) fn to_bits(self) -> u32 {
        match self {
            Self::Quiet => 0,
            Self::Moved => 1,
            Self::Waits { leg, since } => {
                // Rounded up: nothing is older than it is.
                let tenths = u32::try_from(since.as_millis().div_ceil(100)).unwrap_or(SINCE_MAX);
                (tenths.min(SINCE_MAX) + 1) << 1 | u32::from(leg == Leg::Client)
            }
        }
    }

    pub(super) fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Quiet,
            1 => Self::Moved,
            waits => Self::Waits {
                leg: if waits & 1 == 1 {
                    Leg::Client
                } else {
                    Leg::Upstream
                },
                since: Duration::from_millis(u64::from((waits >> 1) - 1) * 100),
            },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Everything that was sent is acknowledged.
    Clear,
    /// Something is under way, for no longer than since then as far as we know.
    Waits { since: Duration },
    /// It has been for too long, and nothing that we sent was answered with anything.
    Dead,
}

/// `since`: when something was seen under way first. `last`: when bytes were last passed on.
fn judge(
    info: TcpInfo,
    since: Option<Duration>,
    last: Duration,
    patience: Duration,
    now: Duration,
) -> Found {
    if info.unacked == 0 && info.unsent == 0 {
        return Found::Clear;
    }
    // The oldest byte under way was passed on no later than the last one.
    let since = since.unwrap_or(last);
    let long = |age: Duration| age >= patience;
    if !long(now.saturating_sub(since)) {
        return Found::Waits { since };
    }
    let unanswered = if info.unacked > 0 {
        // An acknowledgement of nothing new is the answer of a receiver that is full.
        info.since_ack > info.since_sent
    } else {
        // It closed its window, and need not be dead to keep it closed.
        info.probes >= PROBES
    };
    if unanswered && long(info.since_ack) {
        Found::Dead
    } else {
        // It lives. What is under way now may be as young as the last answer.
        let answer = now.saturating_sub(info.since_ack);
        Found::Waits {
            since: since.max(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(15);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn idle() -> TcpInfo {
        TcpInfo {
            since_sent: s(900),
            since_ack: s(900),
            ..TcpInfo::default()
        }
    }

    /// Data under way that was sent (again) and acknowledged so many seconds ago.
    fn under_way(since_sent: u64, since_ack: u64) -> TcpInfo {
        TcpInfo {
            unacked: 1,
            since_sent: s(since_sent),
            since_ack: s(since_ack),
            ..TcpInfo::default()
        }
    }

    fn window_closed(probes: u8, since_ack: u64) -> TcpInfo {
        TcpInfo {
            unsent: 4_096,
            probes,
            since_sent: s(900),
            since_ack: s(since_ack),
            ..TcpInfo::default()
        }
    }

    /// At 1,000 s, when bytes moved at 980 s for the last time, and something was seen under way at `since`.
    fn check(info: TcpInfo, since: Option<u64>, expected: Found) {
        let leg = judge(info, since.map(s), s(980), PATIENCE, s(1_000));
        assert_eq!(leg, expected, "{info:?} {since:?}");
    }

    fn waits(since: u64) -> Found {
        Found::Waits { since: s(since) }
    }

    #[test]
    fn only_a_leg_that_answers_nothing_is_dead() {
        check(idle(), None, Found::Clear);
        check(idle(), Some(900), Found::Clear);
        check(under_way(2, 20), None, Found::Dead);
        check(under_way(2, 20), Some(984), Found::Dead);
        check(under_way(2, 20), Some(985), Found::Dead);
        check(under_way(2, 20), Some(986), waits(986));
        // An idle tunnel's last acknowledgement is an hour old when its next push is a second on its way.
        check(under_way(1, 3_600), Some(999), waits(999));
        // What was under way has been acknowledged, and newer bytes are.
        check(under_way(1, 3), Some(900), waits(997));
        // A receiver that is full answers every retransmission, and takes nothing.
        check(under_way(25, 25), Some(900), waits(975));
        check(under_way(25, 24), Some(900), waits(976));
        // A closed window: probes are answered, whatever the time between them.
        check(window_closed(0, 100), Some(800), waits(900));
        check(window_closed(2, 100), Some(800), waits(900));
        check(window_closed(3, 100), Some(800), Found::Dead);
        check(window_closed(9, 10), Some(800), waits(990));
    }

    fn wait(leg: Leg, since: u64) -> Acks {
        let since = s(since);
        Acks::Waits { leg, since }
    }

    #[test]
    fn a_client_that_acknowledges_nothing_is_not_the_peers_fault() {
        let dead = under_way(2, 20);
        let young = under_way(1, 1);
        let look = |before: Acks, upstream, client| {
            before.look(upstream, client, s(980), PATIENCE, s(1_000))
        };
        let moved = Acks::Moved;
        assert_eq!(look(moved, idle(), idle()), Ok(Acks::Quiet));
        assert_eq!(look(moved, dead, idle()), Err(Side::Upstream));
        assert_eq!(look(moved, idle(), dead), Err(Side::Client));
        assert_eq!(look(moved, dead, dead), Err(Side::Client));
        // What one leg waited for says nothing of the other.
        let (up, down) = (Leg::Upstream, Leg::Client);
        assert_eq!(look(wait(up, 980), idle(), young), Ok(wait(down, 999)));
        assert_eq!(look(wait(up, 990), young, young), Ok(wait(up, 990)));
        assert_eq!(look(wait(down, 990), young, young), Ok(wait(down, 990)));
        assert_eq!(look(wait(down, 990), young, idle()), Ok(wait(up, 999)));
    }

    #[test]
    fn looks_are_few() {
        let due = |acks: Acks, turn, now| acks.is_due(turn, PATIENCE, s(now));
        assert!(!due(Acks::Quiet, true, 3_600));
        assert!(!due(Acks::Moved, false, 3_600) && due(Acks::Moved, true, 1));
        // Something is under way: again when it has been for too long.
        let waits = wait(Leg::Client, 15);
        assert!(!due(waits, true, 29) && due(waits, false, 30));
        assert_eq!(Acks::Quiet.moved(), Acks::Moved);
        assert_eq!(waits.moved(), waits);
    }

    #[test]
    fn one_word_holds_it_and_nothing_becomes_older() {
        for acks in [Acks::Quiet, Acks::Moved] {
            assert_eq!(Acks::from_bits(acks.to_bits()), acks);
        }
        for leg in [Leg::Upstream, Leg::Client] {
            for ms in [0, 1, 99, 100, 101, 5_000_000_000] {
                let exact = Duration::from_millis(ms);
                let word = Acks::Waits { leg, since: exact }.to_bits();
                let Acks::Waits { leg: kept, since } = Acks::from_bits(word) else {
                    panic!("{word}");
                };
                assert_eq!(kept, leg);
                assert!(
                    since >= exact && since < exact + Duration::from_millis(100),
                    "{ms}"
                );
            }
            let forever = Acks::Waits {
                leg,
                since: Duration::MAX,
            };
            assert!(matches!(
                Acks::from_bits(forever.to_bits()),
                Acks::Waits { .. }
            ));
        }
    }
}
