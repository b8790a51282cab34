//! The board of alarms: what is wrong now, since when, how often, and what was seen last.
//!
//! Pure but for the journal, which gets one line per change: the clock is an argument, nobody waits, and the lock is held
//! for a look-up. What flaps is damped: an alarm that comes back soon after it cleared has to stay away for longer each
//! time before it clears again. Bounded in subjects, in text and in the changes that are remembered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Moment;
pub(crate) use super::alarm::{Alarm, Definition};
use super::guide::Origin;
pub(crate) use super::subjects::{LATER, OTHERS};
use super::subjects::{Others, Record, SUBJECT_BYTES, TEXT_BYTES, bounded};
use crate::exchange::ExchangeId;

/// Changes that are remembered for those who deliver them.
const CHANGES_MAX: usize = 1_024;

/// What was seen. No secret, no token, no more of a user than the access log shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) exchange: Option<ExchangeId>,
    pub(crate) text: String,
    /// What to do where no answer came that would say it: the way failed. A cause that an answer named before stands, and
    /// this is told behind it.
    pub(crate) remedy: Option<&'static str>,
}

/// How an alarm stands, or one of its subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Active,
    Cleared,
    NeverRaised,
}

impl State {
    /// The words in views and deliveries.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cleared => "cleared",
            Self::NeverRaised => "never raised",
        }
    }
}

/// An alarm was raised or has cleared.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Grows by one with each.
    pub(crate) seq: u64,
    pub(crate) at: Moment,
    pub(crate) alarm: Alarm,
    pub(crate) subject: Arc<str>,
    /// `Active` or `Cleared`.
    pub(crate) state: State,
    pub(crate) origin: Origin,
    /// Since when it was active.
    pub(crate) active_since: Moment,
    /// What raised it; of one that cleared what it cleared with.
    pub(crate) evidence: Evidence,
    pub(crate) definition: Definition,
}

/// One alarm, all of its subjects together.
#[derive(Debug, Clone)]
pub(crate) struct AlarmState {
    pub(crate) alarm: Alarm,
    pub(crate) definition: Definition,
    pub(crate) state: State,
    /// Times that it was raised, by origin in the order of `Origin::ALL`.
    pub(crate) raised: [u64; Origin::ALL.len()],
    /// Times that its cause was seen, while it was active already as well.
    pub(crate) occurrences: u64,
    /// The active first, then those seen last.
    pub(crate) subjects: Vec<SubjectState>,
}

/// What an alarm is about: a destination, a listener, a client.
#[derive(Debug, Clone)]
pub(crate) struct SubjectState {
    pub(crate) name: Arc<str>,
    pub(crate) state: State,
    /// Active or cleared since then.
    pub(crate) since: Moment,
    pub(crate) last_seen: Moment,
    pub(crate) origin: Origin,
    pub(crate) raised: u64,
    pub(crate) occurrences: u64,
    /// What was seen last.
    pub(crate) evidence: Evidence,
    /// What it cleared with.
    pub(crate) cleared: Option<String>,
}

impl SubjectState {
    /// What to do about this one.
    pub(crate) fn action(&self, definition: &Definition) -> Arc<str> {
        match self.evidence.remedy {
            Some(remedy) => format!("{} {remedy}", definition.action).into(),
            None => Arc::clone(&definition.action),
        }
    }
}

/// All alarms of one running tidegate.
#[derive(Debug)]
pub(crate) struct AlarmBoard {
    definitions: Vec<Definition>,
    inner: Mutex<Inner>,
    /// Subjects for which an alarm is active, to be looked at without the lock.
    active: AtomicUsize,
    /// Told of every change and of every silence; the value is the last change's number.
    wake: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    /// In the order of `Alarm::ALL`.
    records: Vec<Record>,
    changes: VecDeque<Change>,
    seq: u64,
    silenced_until: Option<Moment>,
}

impl Default for AlarmBoard {
    fn default() -> Self {
        let records = Alarm::ALL.iter().map(|_| Record::default()).collect();
        Self {
            definitions: Alarm::definitions(),
            inner: Mutex::new(Inner {
                records,
                changes: VecDeque::new(),
                seq: 0,
                silenced_until: None,
            }),
            active: AtomicUsize::new(0),
            wake: watch::Sender::new(0),
        }
    }
}

impl AlarmBoard {
    /// Its cause was seen. `subject` is a configured name, or "" where there is only one.
    pub(crate) fn raise(
        &self,
        alarm: Alarm,
        subject: &str,
        origin: Origin,
        evidence: Evidence,
        now: Moment,
    ) {
        let evidence = Evidence {
            text: bounded(evidence.text, TEXT_BYTES),
            ..evidence
        };
        let mut inner = self.inner();
        let record = &mut inner.records[alarm as usize];
        record.occurrences += 1;
        let subject = record.subject(subject, origin, &evidence, now);
        let raised = subject.raise(origin, evidence, now);
        let Some(told) = raised else { return };
        record.raised[origin as usize] += 1;
        self.changed(inner, alarm, told, now, now);
    }

    /// Something showed that it is over. It clears at once, unless it flaps.
    pub(crate) fn clear(&self, alarm: Alarm, subject: &str, text: &str, now: Moment) {
        if self.active() == 0 {
            return;
        }
        let subject = bounded(subject.to_owned(), SUBJECT_BYTES);
        let mut inner = self.inner();
        let Record {
            subjects, others, ..
        } = &mut inner.records[alarm as usize];
        let (name, text) = if others.names.remove(&*subject) {
            // Somebody else's trouble may go on.
            if !others.is_over() {
                return;
            }
            (OTHERS, "each of them is over")
        } else {
            (&*subject, text)
        };
        let mut found = subjects.iter_mut().filter(|one| *one.told.name == *name);
        let Some(subject) = found.next() else { return };
        if subject.told.state != State::Active {
            return;
        }
        subject.begin_to_clear(text, now);
        if let Some((told, since)) = subject.settled(alarm, now) {
            self.changed(inner, alarm, told, since, now);
        }
    }

    /// What stands for a state still holds: if it had begun to clear, it does not.
    pub(crate) fn holds(&self, alarm: Alarm, subject: &str) {
        let mut inner = self.inner();
        let mut subjects = inner.records[alarm as usize].subjects.iter_mut();
        if let Some(one) = subjects.find(|one| *one.told.name == *subject) {
            one.clearing = None;
        }
    }

    /// Like `clear`, for every subject that is not kept: those that a reload has taken away.
    pub(crate) fn clear_others(
        &self,
        alarm: Alarm,
        keep: impl Fn(&str) -> bool,
        text: &str,
        now: Moment,
    ) {
        for subject in self.active_subjects(alarm) {
            if !keep(&subject) {
                self.clear(alarm, &subject, text, now);
            }
        }
    }

    /// Alarms that are active now, each subject counted.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// The subjects for which it is active now, those behind `OTHERS` as well.
    pub(crate) fn active_subjects(&self, alarm: Alarm) -> Vec<Arc<str>> {
        let inner = self.inner();
        let record = &inner.records[alarm as usize];
        let active = record.subjects.iter();
        let active = active.filter(|one| one.told.state == State::Active && !one.is_others());
        let active = active.map(|one| Arc::clone(&one.told.name));
        active.chain(record.others.names.iter().cloned()).collect()
    }

    /// Clears what has been quiet or over for long enough; asked every few seconds.
    pub(crate) fn tick(&self, now: Moment) {
        for alarm in Alarm::ALL {
            loop {
                let mut inner = self.inner();
                let record = &mut inner.records[alarm as usize];
                // The last of them may have got a place of its own.
                if record.others.is_over()
                    && let Some(others) = record.subjects.iter_mut().find(|one| one.is_others())
                {
                    others.begin_to_clear("each of them is over", now);
                }
                let mut subjects = record.subjects.iter_mut();
                let Some((told, since)) = subjects.find_map(|one| one.settled(alarm, now)) else {
                    break;
                };
                if *told.name == *OTHERS {
                    record.others = Others::default();
                }
                self.changed(inner, alarm, told, since, now);
            }
        }
    }

    /// All of them: the active first, the worst of these first; then what cleared last; then what was never raised.
    pub(crate) fn snapshot(&self) -> Vec<AlarmState> {
        let inner = self.inner();
        let mut all: Vec<_> = Alarm::ALL
            .into_iter()
            .zip(&inner.records)
            .map(|(alarm, record)| record.told(alarm, &self.definitions[alarm as usize]))
            .collect();
        drop(inner);
        all.sort_by_key(|one| {
            let since = one.since().map(|since| since.instant);
            let severity = one.definition.severity;
            let rank = (one.state == State::Active).then_some(severity);
            std::cmp::Reverse((rank, since))
        });
        all
    }

    /// What changed after the change `seq`, and the last one's number. Whoever is far behind has lost the oldest: the
    /// first number then is not the next.
    pub(crate) fn changes_since(&self, seq: u64) -> (Vec<Change>, u64) {
        let inner = self.inner();
        let changes = inner.changes.iter().filter(|change| change.seq > seq);
        (changes.cloned().collect(), inner.seq)
    }

    /// To wait for a change, or for a silence that begins or is called off.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }

    /// Until then nothing is delivered; `None` calls it off. What is raised and clears is shown all the same.
    pub(crate) fn silence(&self, until: Option<Moment>) {
        self.inner().silenced_until = until;
        self.wake.send_modify(|_| {});
    }

    /// Until when deliveries are held back.
    pub(crate) fn silenced(&self, now: Moment) -> Option<Moment> {
        let until = self.inner().silenced_until;
        until.filter(|until| now.instant < until.instant)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a change and tells of it. The journal is written without the lock.
    fn changed(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        alarm: Alarm,
        told: SubjectState,
        active_since: Moment,
        now: Moment,
    ) {
        inner.seq += 1;
        // Never below zero: what clears was raised before, under the same lock.
        match told.state {
            State::Active => self.active.fetch_add(1, Ordering::Relaxed),
            State::Cleared | State::NeverRaised => self.active.fetch_sub(1, Ordering::Relaxed),
        };
        let mut definition = self.definitions[alarm as usize].clone();
        definition.action = told.action(&definition);
        let change = Change {
            seq: inner.seq,
            at: now,
            alarm,
            subject: told.name,
            state: told.state,
            origin: told.origin,
            active_since,
            evidence: Evidence {
                text: told.cleared.unwrap_or(told.evidence.text),
                ..told.evidence
            },
            definition,
        };
        if inner.changes.len() == CHANGES_MAX {
            inner.changes.pop_front();
        }
        inner.changes.push_back(change.clone());
        // Sent under the lock: numbers never go back.
        self.wake.send_replace(inner.seq);
        drop(inner);
        change.write();
    }
}

impl Change {
    fn write(&self) {
        let alarm = self.alarm.name();
        let Definition {
            component,
            severity,
            action,
            ..
        } = &self.definition;
        let (component, severity) = (component.name(), severity.name());
        let (subject, evidence) = (&*self.subject, self.evidence.text.as_str());
        let origin = self.origin.token();
        if self.state == State::Active {
            let exchange = self.evidence.exchange.map(tracing::field::display);
            tracing::warn!(alarm, component, severity, subject, origin, evidence, exchange, %action, "alarm raised");
        } else {
            let active_s = self.at.since(self.active_since).as_secs();
            tracing::info!(
                alarm,
                component,
                severity,
                subject,
                origin,
                evidence,
                active_s,
                "alarm cleared"
            );
        }
    }
}

impl AlarmState {
    /// Active since the first of its active subjects, or cleared since the last of them has.
    pub(crate) fn since(&self) -> Option<Moment> {
        let of_state = self.subjects.iter().filter(|one| one.state == self.state);
        let since = of_state.map(|one| one.since);
        match self.state {
            State::Active => since.min_by_key(|since| since.instant),
            State::Cleared => since.max_by_key(|since| since.instant),
            State::NeverRaised => None,
        }
    }

    /// The subject that was seen last.
    pub(crate) fn latest(&self) -> Option<&SubjectState> {
        let of_state = self.subjects.iter().filter(|one| one.state == self.state);
        of_state.max_by_key(|one| one.last_seen.instant)
    }

    pub(crate) fn raised_total(&self) -> u64 {
        self.raised.iter().sum()
    }
}

#[cfg(test)]
mod tests;
