//! What names were answered: good for a while, and kept for longer, for times when nobody answers (RFC 8767).
//!
//! Pure: no sockets, no clock; `now` comes in as an argument. Bounded. Which answers are asked for again, and when, is
//! said here and done elsewhere.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::resolve::{Answer, Family, ResolveError};
use crate::config;

/// Names that are remembered at most; `*.` rules let clients choose names.
const NAMES_MAX: usize = 4096;
/// A name that was asked for within this, or within its answer's lifetime, is in use: its answer is renewed ahead.
const IN_USE: Duration = Duration::from_secs(60);
/// A failure says so long that the next question would fail too. More than the longest pause between two of them.
const FAILURE_COUNTS: Duration = Duration::from_secs(60);
/// RFC 8767 §5 wants no more than one try in 30 seconds; the first ones come sooner, since most outages are short.
const PAUSE_MAX: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Names at most of which the journal says at one time that they are stale.
const TOLD_MAX: usize = 64;
/// And how long nothing more is said of the same name.
const TOLD_AGAIN: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Cache {
    names: HashMap<Arc<str>, Entry>,
    terms: Terms,
    /// When a question last found all name servers silent, and none has spoken since.
    silence: Option<Instant>,
    /// Whether any answer is used beyond its time, or was a short time ago.
    any_stale: bool,
    /// Names of which the journal says that they are stale.
    told: usize,
}

/// How long answers may be used.
#[derive(Debug, Clone, Copy)]
struct Terms {
    min_ttl: Duration,
    max_ttl: Duration,
    negative_ttl: Duration,
    serve_stale: Duration,
    patience: Duration,
    /// What a question takes at most.
    timeout: Duration,
}

#[derive(Debug, Default)]
struct Entry {
    slots: [Option<Slot>; 2],
    /// When the journal last said that it is stale, and whether that still stands.
    told: Option<Instant>,
    is_told: bool,
}

#[derive(Debug)]
struct Slot {
    answer: Answer,
    /// As the servers gave it, before any cap.
    ttl: Option<Duration>,
    at: Instant,
    /// The smallest cap of those who ask.
    cap: Option<Duration>,
    used: Instant,
    /// Since when a question for it is under way.
    asking: Option<Instant>,
    failures: u32,
    failed: Option<Instant>,
    /// When it was last used beyond its time.
    stale: Option<Instant>,
    /// Nobody used it when it was to be renewed.
    is_asleep: bool,
}

/// What a look into the cache brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// `ask`: it is in use again, and to be renewed meanwhile.
    Good {
        answer: Answer,
        ask: bool,
    },
    /// Beyond its time, and nobody answers: it is used at once. `ask`: somebody has to try again meanwhile.
    Stale {
        stale: Stale,
        ask: bool,
    },
    /// Beyond its time: it is asked for anew, and used if that fails or takes longer than `patience`.
    Expired,
    Unknown,
}

/// An answer that is used beyond its time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stale {
    pub(super) answer: Answer,
    /// How far beyond.
    pub(super) age: Duration,
    /// Whether the journal has to hear of it.
    pub(super) is_news: bool,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// When it is to be renewed, should the name be in use then.
    pub(super) due: Option<Instant>,
    /// Whether the journal has to hear that the name is stale no longer.
    pub(super) ends_stale: bool,
}

impl Cache {
    pub(super) fn new(dns: &config::Dns) -> Self {
        Self {
            names: HashMap::new(),
            terms: Terms {
                min_ttl: dns.min_ttl,
                max_ttl: dns.max_ttl,
                negative_ttl: dns.negative_ttl,
                serve_stale: dns.serve_stale,
                patience: patience(dns),
                timeout: dns.timeout,
            },
            silence: None,
            any_stale: false,
            told: 0,
        }
    }

    /// Looks, and notes that the name is in use. `max_ttl` is the asker's own cap.
    pub(super) fn find(
        &mut self,
        name: &str,
        family: Family,
        max_ttl: Option<Duration>,
        now: Instant,
    ) -> Seen {
        let terms = self.terms;
        let silence = self.silence;
        let Some(slot) = self.slot(name, family) else {
            return Seen::Unknown;
        };
        slot.used = now;
        slot.cap = smaller(slot.cap, max_ttl);
        match terms.stale(slot, max_ttl, now) {
            Age::Good => {
                let ask = std::mem::take(&mut slot.is_asleep);
                if ask {
                    slot.asking = Some(now);
                }
                let answer = slot.answer.clone();
                return Seen::Good { answer, ask };
            }
            Age::Over => return Seen::Unknown,
            Age::Stale(_) => {}
        }
        let lately = |then: Option<Instant>, within| {
            then.is_some_and(|then| now.saturating_duration_since(then) < within)
        };
        let is_stuck = terms.is_stuck(slot, now);
        if !is_stuck && !lately(slot.failed, FAILURE_COUNTS) && !lately(silence, FAILURE_COUNTS) {
            return Seen::Expired;
        }
        let ask = !terms.is_asking(slot, now) && !lately(slot.failed, pause(slot.failures));
        if ask {
            slot.asking = Some(now);
        }
        match self.stale(name, family, max_ttl, now) {
            Some(stale) => Seen::Stale { stale, ask },
            None => Seen::Unknown,
        }
    }

    /// The addresses of a name while their answer is good, for those who only want to compare.
    pub(super) fn listed(&self, name: &str, family: Family, now: Instant) -> Option<Arc<[IpAddr]>> {
        let slot = self.names.get(name)?.slots[family as usize].as_ref()?;
        match self.terms.stale(slot, slot.cap, now) {
            Age::Good => slot.answer.clone().ok(),
            Age::Stale(_) | Age::Over => None,
        }
    }

    /// The answer that is beyond its time, to be used all the same.
    pub(super) fn stale(
        &mut self,
        name: &str,
        family: Family,
        max_ttl: Option<Duration>,
        now: Instant,
    ) -> Option<Stale> {
        let entry = self.names.get_mut(name)?;
        let slot = entry.slots[family as usize].as_mut()?;
        let age = match self.terms.stale(slot, max_ttl, now) {
            Age::Good => Duration::ZERO,
            Age::Stale(age) => age,
            Age::Over => return None,
        };
        let answer = slot.answer.clone();
        // That a family has no address was, and is, no news.
        let mut is_news = false;
        if answer.is_ok() {
            slot.stale = Some(now);
            self.any_stale = true;
            let was_told = |then| now.saturating_duration_since(then) < TOLD_AGAIN;
            if !entry.is_told && !entry.told.is_some_and(was_told) {
                entry.told = Some(now);
                is_news = self.told < TOLD_MAX;
                entry.is_told = is_news;
                self.told += usize::from(is_news);
            }
        }
        Some(Stale {
            answer,
            age,
            is_news,
        })
    }

    /// A question for it is under way.
    pub(super) fn asking(&mut self, name: &str, family: Family, now: Instant) {
        if let Some(slot) = self.slot(name, family) {
            slot.asking = Some(now);
        }
    }

    /// An answer has come: that there is no such name, or no address, is one too.
    pub(super) fn keep(
        &mut self,
        name: &Arc<str>,
        family: Family,
        answer: &Answer,
        ttl: Option<Duration>,
        max_ttl: Option<Duration>,
        now: Instant,
    ) -> Kept {
        self.silence = None;
        if !self.names.contains_key(name) && self.names.len() >= NAMES_MAX {
            self.forget_oldest();
        }
        let entry = self.names.entry(Arc::clone(name)).or_default();
        let old = entry.slots[family as usize].take();
        let (used, cap) = match &old {
            Some(old) => (old.used, smaller(old.cap, max_ttl)),
            None => (now, max_ttl),
        };
        let slot = Slot {
            answer: answer.clone(),
            ttl,
            at: now,
            cap,
            used,
            asking: None,
            failures: 0,
            failed: None,
            stale: None,
            is_asleep: false,
        };
        let due = self.terms.due(&slot);
        entry.slots[family as usize] = Some(slot);
        let is_stale = entry
            .slots
            .iter()
            .flatten()
            .any(|slot| slot.stale.is_some());
        let ends_stale = entry.is_told && !is_stale;
        if ends_stale {
            entry.is_told = false;
            self.told -= 1;
        }
        Kept { due, ends_stale }
    }

    /// No answer has come: what is known stays. Says when to try again, should the name be in use then.
    pub(super) fn failed(
        &mut self,
        name: &str,
        family: Family,
        error: ResolveError,
        now: Instant,
    ) -> Option<Instant> {
        if error == ResolveError::Failed {
            // A server that says so is there, at least.
            self.silence = None;
        }
        let slot = self.slot(name, family)?;
        slot.asking = None;
        slot.failures = slot.failures.saturating_add(1);
        slot.failed = Some(now);
        let due = now + pause(slot.failures);
        // Of what was never answered, silence says nothing: some servers never answer for IPv6.
        if error != ResolveError::Failed {
            self.silence = Some(now);
        }
        Some(due)
    }

    /// Whether an answer is to be renewed: somebody uses it, and nobody asks for it already.
    pub(super) fn is_wanted(&mut self, name: &str, family: Family, now: Instant) -> bool {
        let terms = self.terms;
        let Some(slot) = self.slot(name, family) else {
            return false;
        };
        let window = terms.lifetime(slot, slot.cap).max(IN_USE);
        slot.is_asleep = now.saturating_duration_since(slot.used) > window;
        !slot.is_asleep
            && !terms.is_asking(slot, now)
            && !matches!(terms.stale(slot, slot.cap, now), Age::Over)
    }

    /// How far the oldest answer in use is beyond its time.
    pub(super) fn stalest(&mut self, now: Instant) -> Duration {
        if !self.any_stale {
            return Duration::ZERO;
        }
        let terms = self.terms;
        let mut stalest = Duration::ZERO;
        self.any_stale = false;
        for slot in self.names.values_mut().flat_map(|entry| &mut entry.slots) {
            let Some(slot) = slot else { continue };
            let is_in_use = |used| now.saturating_duration_since(used) < IN_USE;
            if slot.stale.is_some_and(is_in_use)
                && let Age::Stale(age) = terms.stale(slot, slot.cap, now)
            {
                self.any_stale = true;
                stalest = stalest.max(age);
            }
        }
        stalest
    }

    /// What is known of these names counts no longer.
    pub(super) fn forget<'a>(&mut self, names: impl IntoIterator<Item = &'a Arc<str>>) {
        for name in names {
            self.names.remove(name);
        }
        self.count_told();
    }

    fn slot(&mut self, name: &str, family: Family) -> Option<&mut Slot> {
        self.names.get_mut(name)?.slots[family as usize].as_mut()
    }

    /// Frees an eighth of the places at once, so that a flood of names does not pay a search each.
    fn forget_oldest(&mut self) {
        let newest = |entry: &Entry| entry.slots.iter().flatten().map(|slot| slot.used).max();
        let mut ages: Vec<_> = self.names.values().map(newest).collect();
        let (_, border, _) = ages.select_nth_unstable(NAMES_MAX / 8);
        let border = *border;
        self.names.retain(|_, entry| newest(entry) > border);
        self.count_told();
    }

    fn count_told(&mut self) {
        self.told = self.names.values().filter(|entry| entry.is_told).count();
    }
}

/// How long a question for an answer that has just expired may keep its asker from the old one.
pub(super) fn patience(dns: &config::Dns) -> Duration {
    (dns.timeout / 3).min(Duration::from_millis(400))
}

enum Age {
    Good,
    Stale(Duration),
    /// Older than anybody may use it.
    Over,
}

impl Terms {
    fn lifetime(self, slot: &Slot, max_ttl: Option<Duration>) -> Duration {
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

    fn stale(self, slot: &Slot, max_ttl: Option<Duration>, now: Instant) -> Age {
        let age = now.saturating_duration_since(slot.at);
        match age.checked_sub(self.lifetime(slot, max_ttl)) {
            None => Age::Good,
            // There may be such a name by now: that it was missing is no reason to refuse a push.
            Some(_) if slot.answer == Err(ResolveError::NotFound) => Age::Over,
            Some(stale) if stale < self.serve_stale => Age::Stale(stale),
            Some(_) => Age::Over,
        }
    }

    /// Early enough that a failure is known before the answer expires.
    fn due(self, slot: &Slot) -> Option<Instant> {
        let lifetime = self.lifetime(slot, slot.cap);
        let is_renewed = slot.answer != Err(ResolveError::NotFound) && !lifetime.is_zero();
        let ahead = (lifetime / 5).max(self.patience * 5 / 4).min(lifetime / 2);
        is_renewed.then(|| slot.at + lifetime - ahead)
    }

    /// A question that could not be put is forgotten after a while.
    fn is_asking(self, slot: &Slot, now: Instant) -> bool {
        slot.asking
            .is_some_and(|since| now.saturating_duration_since(since) < self.timeout * 2)
    }

    /// Whether its question is under way for longer than a good one takes.
    fn is_stuck(self, slot: &Slot, now: Instant) -> bool {
        slot.asking
            .is_some_and(|since| now.saturating_duration_since(since) >= self.patience)
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = PAUSE_MIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(8));
    doubled.min(PAUSE_MAX)
}

fn smaller(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
