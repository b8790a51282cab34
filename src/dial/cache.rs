//! What names were answered: good for a while, and kept for longer, for times when nobody answers (RFC 8767).
//!
//! Pure: no sockets, no clock; `now` comes in as an argument. Bounded. Which answers are asked for again, and when, is
//! said here and done elsewhere.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lifetime::{Age, Slot, Terms, pause, smaller};
use super::resolve::{Answer, Family, ResolveError};
use crate::config;

/// Names that are remembered at most; `*.` rules let clients choose names.
pub(super) const NAMES_MAX: usize = 4096;
/// A name that was asked for within this, or within its answer's lifetime, is in use: its answer is renewed ahead.
const IN_USE: Duration = Duration::from_secs(60);
/// A failure says so long that the next question would fail too. More than the longest pause between two of them.
const FAILURE_COUNTS: Duration = Duration::from_secs(60);
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

#[derive(Debug, Default)]
struct Entry {
    slots: [Option<Slot>; 2],
    /// When the journal last said that it is stale, and whether that still stands.
    told: Option<Instant>,
    is_told: bool,
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
            terms: Terms::new(dns),
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

    /// The addresses of a name in all answers that have come lately, while the last is good. `None` as well where too few
    /// have come to say what is gone.
    pub(super) fn listed_lately(
        &self,
        name: &str,
        family: Family,
        now: Instant,
    ) -> Option<Arc<[IpAddr]>> {
        self.listed(name, family, now)?;
        let slot = self.names.get(name)?.slots[family as usize].as_ref()?;
        slot.turns.lately(now).map(Arc::from)
    }

    /// How long a name's answer lives as its owner has it, before any cap of ours.
    pub(super) fn ttl(&self, name: &str, family: Family) -> Option<Duration> {
        self.names.get(name)?.slots[family as usize].as_ref()?.ttl
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
        let answer = slot.answer.clone();
        let age = match self.terms.stale(slot, max_ttl, now) {
            // It came just now.
            Age::Good => {
                return Some(Stale {
                    answer,
                    age: Duration::ZERO,
                    is_news: false,
                });
            }
            Age::Stale(age) => age,
            Age::Over => return None,
        };
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
        let slot = Slot::new(answer.clone(), ttl, max_ttl, now);
        let due = entry.replace(family, slot, self.terms);
        let ends_stale = entry.is_told && !entry.is_stale();
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
        if error.is_heard() {
            // A server that says so is there, at least.
            self.silence = None;
        }
        let terms = self.terms;
        let entry = self.names.get_mut(name)?;
        if !entry.slots[family as usize]
            .as_ref()
            .is_some_and(Slot::is_answer)
        {
            // A family that is never answered, beside one that is, may not be waited for by everybody.
            let is_known = entry.slots.iter().flatten().any(Slot::is_answer);
            let slot = Slot::new(Err(error), None, None, now);
            return is_known.then(|| entry.replace(family, slot, terms))?;
        }
        let slot = entry.slots[family as usize].as_mut()?;
        slot.asking = None;
        slot.failures = slot.failures.saturating_add(1);
        slot.failed = Some(now);
        let due = now + pause(slot.failures);
        // Of what was never answered, silence says nothing: some servers never answer for IPv6.
        if !error.is_heard() {
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
        for entry in self.names.values_mut() {
            for slot in entry.slots.iter_mut().flatten() {
                let is_in_use = |used| now.saturating_duration_since(used) < IN_USE;
                slot.stale = slot.stale.filter(|used| is_in_use(*used));
                if slot.stale.is_some()
                    && let Age::Stale(age) = terms.stale(slot, slot.cap, now)
                {
                    self.any_stale = true;
                    stalest = stalest.max(age);
                }
            }
            // Of a name that nobody uses any more, nobody has to hear that it is well again.
            entry.is_told &= entry.is_stale();
        }
        self.count_told();
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

impl Entry {
    /// Whether any answer of it is used beyond its time.
    fn is_stale(&self) -> bool {
        self.slots.iter().flatten().any(|slot| slot.stale.is_some())
    }

    /// Puts it in the place of what was known, and says when it is to be renewed.
    fn replace(&mut self, family: Family, mut slot: Slot, terms: Terms) -> Option<Instant> {
        let place = &mut self.slots[family as usize];
        if let Some(old) = place {
            slot.used = old.used;
            slot.cap = smaller(old.cap, slot.cap);
            slot.turns = std::mem::take(&mut old.turns);
        }
        if slot.is_answer() {
            let listed = slot.answer.as_deref().unwrap_or_default();
            slot.turns.note(listed, slot.at);
        }
        let due = terms.due(&slot);
        *place = Some(slot);
        due
    }
}

#[cfg(test)]
mod tests;
