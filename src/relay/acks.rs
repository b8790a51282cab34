//! Whether the two legs of a tunnel acknowledge what was sent on them.
//!
//! Judges by what the kernel says (TCP_INFO); it ends nothing. TCP_USER_TIMEOUT would do half of it, and would also end
//! an idle tunnel after one lost keepalive.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::exchange::Side;
use crate::sys::TcpInfo;

/// Window probes without an answer that tell a dead receiver from a slow one.
const PROBES: u8 = 3;

/// What was seen of one tunnel at its last look. Written by the tunnel's own core, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Milliseconds from the opening to the last look.
    looked_ms: AtomicU64,
    upstream: Since,
    client: Since,
    /// Microseconds to the upstream and back; 0 before the first look.
    rtt_us: AtomicU32,
    asked: AtomicBool,
}

/// Since when something is under way, in tenths of a second from the opening, and one more; 0: nothing is.
#[derive(Debug, Default)]
struct Since(AtomicU32);

impl Since {
    fn load(&self) -> Option<Duration> {
        let tenths = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(u64::from(tenths) * 100))
    }

    fn store(&self, since: Option<Duration>) {
        let tenths = since.map_or(0, |since| {
            // Rounded up: nothing is older than it is.
            let tenths = since.as_millis().div_ceil(100) + 1;
            u32::try_from(tenths).unwrap_or(u32::MAX)
        });
        self.0.store(tenths, Ordering::Relaxed);
    }
}

impl Acks {
    /// Whether it is time to ask the kernel about a tunnel whose last bytes moved at `last`. Nobody asks about one that
    /// was silent since it was seen clean.
    pub(super) fn is_due(&self, last: Duration, timeout: Duration, now: Duration) -> bool {
        match (self.upstream.load(), self.client.load()) {
            (None, None) => {
                let looked = Duration::from_millis(self.looked_ms.load(Ordering::Relaxed));
                last >= looked && now >= looked + timeout / 2
            }
            (one, other) => one
                .into_iter()
                .chain(other)
                .any(|since| now >= since + timeout),
        }
    }

    /// Has the tunnel's task look when it runs next.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Takes what the kernel says now of both legs, and says which is dead.
    pub(super) fn look(
        &self,
        upstream: TcpInfo,
        client: TcpInfo,
        last: Duration,
        timeout: Duration,
        now: Duration,
    ) -> Option<Side> {
        self.asked.store(false, Ordering::Relaxed);
        let ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.looked_ms.store(ms, Ordering::Relaxed);
        let rtt = u32::try_from(upstream.rtt.as_micros()).unwrap_or(u32::MAX);
        self.rtt_us.store(rtt, Ordering::Relaxed);
        let is_dead = |leg: &Since, info| match judge(info, leg.load(), last, timeout, now) {
            Leg::Clear => {
                leg.store(None);
                false
            }
            Leg::Waits { since } => {
                leg.store(Some(since));
                false
            }
            Leg::Dead => true,
        };
        // Where both are, it is our own network that is dead, and no peer is to blame.
        let client = is_dead(&self.client, client);
        let upstream = is_dead(&self.upstream, upstream);
        match (client, upstream) {
            (true, _) => Some(Side::Client),
            (false, true) => Some(Side::Upstream),
            (false, false) => None,
        }
    }

    /// The round trip to the upstream, as of the last look.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        match self.rtt_us.load(Ordering::Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us.into())),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Leg {
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
    timeout: Duration,
    now: Duration,
) -> Leg {
    if info.unacked == 0 && info.unsent == 0 {
        return Leg::Clear;
    }
    // The oldest byte under way was passed on no later than the last one.
    let since = since.unwrap_or(last);
    let long = |age: Duration| age >= timeout;
    if !long(now.saturating_sub(since)) {
        return Leg::Waits { since };
    }
    let unanswered = if info.unacked > 0 {
        // An acknowledgement of nothing new is the answer of a receiver that is full.
        info.since_ack > info.since_sent
    } else {
        // It closed its window, and need not be dead to keep it closed.
        info.probes >= PROBES
    };
    if unanswered && long(info.since_ack) {
        Leg::Dead
    } else {
        // It lives. What is under way now may be as young as the last answer.
        let answer = now.saturating_sub(info.since_ack);
        Leg::Waits {
            since: since.max(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(15);

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
    fn check(info: TcpInfo, since: Option<u64>, expected: Leg) {
        let leg = judge(info, since.map(s), s(980), TIMEOUT, s(1_000));
        assert_eq!(leg, expected, "{info:?} {since:?}");
    }

    fn waits(since: u64) -> Leg {
        Leg::Waits { since: s(since) }
    }

    #[test]
    fn only_a_leg_that_answers_nothing_is_dead() {
        check(idle(), None, Leg::Clear);
        check(idle(), Some(900), Leg::Clear);
        check(under_way(2, 20), None, Leg::Dead);
        check(under_way(2, 20), Some(984), Leg::Dead);
        check(under_way(2, 20), Some(985), Leg::Dead);
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
        check(window_closed(3, 100), Some(800), Leg::Dead);
        check(window_closed(9, 10), Some(800), waits(990));
    }

    #[test]
    fn a_client_that_acknowledges_nothing_is_not_the_peers_fault() {
        let dead = under_way(2, 20);
        let look = |upstream, client| {
            let acks = Acks::default();
            acks.look(upstream, client, s(980), TIMEOUT, s(1_000))
        };
        assert_eq!(look(idle(), idle()), None);
        assert_eq!(look(dead, idle()), Some(Side::Upstream));
        assert_eq!(look(idle(), dead), Some(Side::Client));
        assert_eq!(look(dead, dead), Some(Side::Client));
    }

    #[test]
    fn looks_are_few() {
        let acks = Acks::default();
        let due = |last, now| acks.is_due(s(last), TIMEOUT, s(now));
        assert!(!due(1, 7) && due(1, 8));
        acks.look(idle(), idle(), s(1), TIMEOUT, s(8));
        // Silent since.
        assert!(!due(1, 3_600));
        // Busy: every half of the timeout.
        assert!(!due(15, 15) && due(15, 16));
        // Something is under way: again when it has been for too long.
        acks.look(under_way(1, 9), idle(), s(15), TIMEOUT, s(16));
        assert!(!due(16, 29) && due(16, 30));
        acks.look(idle(), under_way(1, 1), s(30), TIMEOUT, s(30));
        assert!(!due(40, 44) && due(40, 45));
    }

    #[test]
    fn since_is_never_older_than_it_was() {
        let since = Since::default();
        assert_eq!(since.load(), None);
        for ms in [0, 1, 99, 100, 101, 5_000_000_000] {
            let exact = Duration::from_millis(ms);
            since.store(Some(exact));
            let kept = since.load().unwrap();
            assert!(
                kept >= exact && kept < exact + Duration::from_millis(100),
                "{ms}"
            );
        }
        since.store(None);
        assert_eq!(since.load(), None);
    }
}
