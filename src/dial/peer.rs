//! What is remembered of one address: how fast it connects, how long it rests, and when it deserves another look.
//!
//! Pure; `now` is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::health::Standing;

/// An address that no name has any more is remembered for so long: some servers hand out a few of many in turns.
const DELISTED: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
pub(super) struct Peer {
    /// Smoothed time to connect.
    pub(super) connect: Option<Duration>,
    pub(super) measured: Option<Instant>,
    /// Quarantines in a row that failures were the cause of.
    pub(super) failures: u32,
    /// `Some`: bad. Until then nobody tries it beside the exchanges; after that one trial at a time does.
    pub(super) until: Option<Instant>,
    /// Live tunnels were the cause, so many times, the last time until then.
    pub(super) suspicions: u32,
    pub(super) suspected_until: Option<Instant>,
    pub(super) trial: bool,
    /// When a trial began that has taught nothing yet, be it that it was our own fault: the next one waits its time.
    pub(super) tried: Option<Instant>,
    pub(super) seen: Instant,
    /// Since when no name has it that had it once.
    pub(super) delisted: Option<Instant>,
}

impl Peer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            connect: None,
            measured: None,
            failures: 0,
            until: None,
            suspicions: 0,
            suspected_until: None,
            trial: false,
            tried: None,
            seen: now,
            delisted: None,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match (self.until, self.connect) {
            (Some(_), _) => Standing::Quarantined,
            (None, Some(connect)) => Standing::Healthy(connect),
            (None, None) => Standing::Unknown,
        }
    }

    /// Whether it is in use and connects. One that no name has any more gets no new work.
    pub(super) fn lives(&self, window: Duration, now: Instant) -> bool {
        let is_in_use =
            self.delisted.is_none() && now.saturating_duration_since(self.seen) < window;
        is_in_use && self.until.is_none() && self.connect.is_some()
    }

    /// Whether it is not worth to be remembered any more.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        let forgotten = |since| now.saturating_duration_since(since) >= DELISTED;
        self.delisted.is_some_and(forgotten)
    }

    /// Whether a trial would teach something: an address that nobody knows, one whose quarantine is over, one that was
    /// slow so long ago that it deserves another measurement.
    pub(super) fn is_due(&self, first: Duration, most: Duration, now: Instant) -> bool {
        let rests = |tried| now.saturating_duration_since(tried) < first;
        if self.trial || self.tried.is_some_and(rests) {
            return false;
        }
        match (self.until, self.measured) {
            (Some(until), _) => now >= until,
            (None, None) => true,
            (None, Some(measured)) => now.saturating_duration_since(measured) >= most,
        }
    }

    pub(super) fn connected(&mut self, took: Duration, now: Instant) {
        let fresh = self.until.is_none() && self.connect.is_some();
        self.connect = Some(match self.connect {
            // An average over what was before a death would say little.
            Some(before) if fresh => (before * 3 + took) / 4,
            _ => took,
        });
        self.measured = Some(now);
        self.failures = 0;
        self.until = self.suspected_until.filter(|until| now < *until);
    }

    /// It is no suspect now.
    pub(super) fn suspect(&mut self, first: Duration, most: Duration, now: Instant) {
        self.suspicions = match self.suspected_until {
            // A long time without: a new story.
            Some(until) if now.saturating_duration_since(until) >= most => 1,
            _ => self.suspicions.saturating_add(1),
        };
        let until = now + doubled(first, most, self.suspicions);
        self.suspected_until = Some(until);
        self.until = Some(self.until.map_or(until, |before| before.max(until)));
    }
}

/// The quarantine that follows so many failures.
pub(super) fn doubled(first: Duration, most: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    first.saturating_mul(1 << doublings).min(most)
}
