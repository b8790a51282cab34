//! How long one answer may be used: while it is good, and beyond that while nobody answers; and when it is asked for again.
//!
//! Pure: `now` comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::resolve::{Answer, ResolveError};
use super::turns::Turns;
use crate::config;

/// RFC 8767 §5 wants no more than one try in 30 seconds; the first ones come sooner, since most outages are short.
const PAUSE_MAX: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// How long answers may be used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    min_ttl: Duration,
    max_ttl: Duration,
    negative_ttl: Duration,
    serve_stale: Duration,
    patience: Duration,
    /// What a question takes at most.
    timeout: Duration,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) answer: Answer,
    /// As the servers gave it, before any cap.
    pub(super) ttl: Option<Duration>,
    pub(super) at: Instant,
    /// The smallest cap of those who ask.
    pub(super) cap: Option<Duration>,
    pub(super) used: Instant,
    /// Since when a question for it is under way.
    pub(super) asking: Option<Instant>,
    pub(super) failures: u32,
    pub(super) failed: Option<Instant>,
    /// When it was last used beyond its time.
    pub(super) stale: Option<Instant>,
    /// Nobody used it when it was to be renewed.
    pub(super) is_asleep: bool,
    /// This answer and those before.
    pub(super) turns: Turns,
}

impl Slot {
    pub(super) fn new(
        answer: Answer,
        ttl: Option<Duration>,
        cap: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            answer,
            ttl,
            at: now,
            cap,
            used: now,
            asking: None,
            failures: 0,
            failed: None,
            stale: None,
            is_asleep: false,
            turns: Turns::default(),
        }
    }

    pub(super) fn is_answer(&self) -> bool {
        self.answer
            .as_ref()
            .err()
            .is_none_or(|error| error.is_answer())
    }
}

/// How long a question for an answer that has just expired may keep its asker from the old one.
pub(super) fn patience(dns: &config::Dns) -> Duration {
    (dns.timeout / 3).min(Duration::from_millis(400))
}

pub(super) enum Age {
    Good,
    Stale(Duration),
    /// Older than anybody may use it.
    Over,
}

impl Terms {
    pub(super) fn new(dns: &config::Dns) -> Self {
        Self {
            min_ttl: dns.min_ttl,
            max_ttl: dns.max_ttl,
            negative_ttl: dns.negative_ttl,
            serve_stale: dns.serve_stale,
            patience: patience(dns),
            timeout: dns.timeout,
        }
    }

    pub(super) fn lifetime(self, slot: &Slot, max_ttl: Option<Duration>) -> Duration {
        match slot.answer {
            Ok(_) => slot
                .ttl
                .unwrap_or_default()
                .max(self.min_ttl)
                .min(max_ttl.unwrap_or(self.max_ttl))
                .min(self.max_ttl),
            // Its zone may want less (RFC 2308), never more.
            Err(_) => slot.ttl.unwrap_or(self.negative_ttl).min(self.negative_ttl),
        }
    }

    pub(super) fn stale(self, slot: &Slot, max_ttl: Option<Duration>, now: Instant) -> Age {
        let age = now.saturating_duration_since(slot.at);
        match age.checked_sub(self.lifetime(slot, max_ttl)) {
            None => Age::Good,
            // There may be such a name by now: that it was missing is no reason to refuse a push.
            Some(_) if slot.answer == Err(ResolveError::NotFound) => Age::Over,
            Some(_) if !slot.is_answer() => Age::Over,
            Some(stale) if stale < self.serve_stale => Age::Stale(stale),
            Some(_) => Age::Over,
        }
    }

    /// Early enough that a failure is known before the answer expires.
    pub(super) fn due(self, slot: &Slot) -> Option<Instant> {
        let lifetime = self.lifetime(slot, slot.cap);
        let is_renewed = slot.answer != Err(ResolveError::NotFound) && !lifetime.is_zero();
        let ahead = (lifetime / 5).max(self.patience * 5 / 4).min(lifetime / 2);
        is_renewed.then(|| slot.at + lifetime - ahead)
    }

    /// A question that could not be put is forgotten after a while.
    pub(super) fn is_asking(self, slot: &Slot, now: Instant) -> bool {
        slot.asking
            .is_some_and(|since| now.saturating_duration_since(since) < self.timeout * 2)
    }

    /// Whether its question is under way for longer than a good one takes.
    pub(super) fn is_stuck(self, slot: &Slot, now: Instant) -> bool {
        slot.asking
            .is_some_and(|since| now.saturating_duration_since(since) >= self.patience)
    }
}

pub(super) fn pause(failures: u32) -> Duration {
    let doubled = PAUSE_MIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(8));
    doubled.min(PAUSE_MAX)
}

pub(super) fn smaller(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
