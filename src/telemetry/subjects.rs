//! The subjects of one alarm: who has it now, what was seen of each, and when it is over.
//!
//! Pure: `now` is an argument. Bounded in subjects and in text.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Moment;
use super::alarm::{Alarm, Definition};
use super::alarms::{AlarmState, Evidence, State, SubjectState};
use super::guide::Origin;

/// Subjects that one alarm tells apart; what is raised for more is told as `OTHERS`.
pub(super) const SUBJECTS_MAX: usize = 64;
/// Of them as many may be addresses: whoever comes from many takes no place from those who have a name.
pub(super) const ADDRESSES_MAX: usize = SUBJECTS_MAX / 2;
pub(crate) const OTHERS: &str = "(others)";
/// Subjects that are remembered behind `OTHERS`, so that it clears with the last of them.
pub(super) const OTHERS_MAX: usize = 1_024;
/// Between a cause and what came after it.
pub(crate) const LATER: &str = "; later: ";
pub(super) const SUBJECT_BYTES: usize = 200;
pub(super) const TEXT_BYTES: usize = 400;
/// An alarm that comes back within so long flaps.
pub(super) const FLAPS: Duration = Duration::from_secs(600);
/// For how long what flaps must stay away before it clears: the first time, and at most.
const SETTLE_MIN: Duration = Duration::from_secs(30);
const SETTLE_MAX: Duration = Duration::from_secs(600);
/// Among more others than are remembered nobody can say whose trouble is over.
pub(super) const OTHERS_QUIET: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) raised: [u64; Origin::ALL.len()],
    pub(super) occurrences: u64,
    pub(super) subjects: Vec<Subject>,
    pub(super) others: Others,
}

/// Those behind `OTHERS` for whom it is active.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) names: HashSet<Arc<str>>,
    /// There were more.
    pub(super) overflowed: bool,
}

#[derive(Debug)]
pub(super) struct Subject {
    pub(super) told: SubjectState,
    pub(super) active_since: Moment,
    /// The evidence since it was raised that names a cause.
    pub(super) cause: Option<String>,
    /// Somebody said that it is over, and it has to stay so until it settles.
    pub(super) clearing: Option<(Moment, String)>,
    /// For how long it must be over before it clears.
    pub(super) settle: Duration,
}

impl Record {
    /// The subject's place; a new one takes that of the one which cleared longest ago where there is no other.
    pub(super) fn subject(
        &mut self,
        name: &str,
        origin: Origin,
        evidence: &Evidence,
        now: Moment,
    ) -> &mut Subject {
        let mut name = bounded(name.to_owned(), SUBJECT_BYTES);
        let place = |subjects: &[Subject], name: &str| {
            subjects.iter().position(|one| *one.told.name == *name)
        };
        if let Some(found) = place(&self.subjects, &name) {
            return &mut self.subjects[found];
        }
        if !self.has_room(&name) {
            self.others.add(&name);
            name = OTHERS.to_owned();
        } else {
            self.others.names.remove(&*name);
        }
        if let Some(found) = place(&self.subjects, &name) {
            return &mut self.subjects[found];
        }
        self.subjects.push(Subject {
            told: SubjectState {
                name: name.into(),
                state: State::NeverRaised,
                since: now,
                last_seen: now,
                origin,
                raised: 0,
                occurrences: 0,
                evidence: evidence.clone(),
                cleared: None,
            },
            active_since: now,
            cause: None,
            clearing: None,
            settle: Duration::ZERO,
        });
        self.subjects.last_mut().expect("one was pushed")
    }

    /// Whether there is a place for one more, or is one now that the one which cleared longest ago has left.
    pub(super) fn has_room(&mut self, name: &str) -> bool {
        let is_address = |name: &str| name.parse::<IpAddr>().is_ok();
        let own = self.subjects.iter().filter(|one| !one.is_others());
        let places = if is_address(name) {
            let addresses = own.filter(|one| is_address(&one.told.name)).count();
            addresses < ADDRESSES_MAX && self.subjects.len() < SUBJECTS_MAX
        } else {
            own.count() < SUBJECTS_MAX
        };
        if places {
            return true;
        }
        let cleared = self.subjects.iter().enumerate().filter(|(_, one)| {
            let is_kind = !is_address(name) || is_address(&one.told.name);
            one.told.state == State::Cleared && is_kind && !one.is_others()
        });
        let oldest = cleared.min_by_key(|(_, one)| one.told.since.instant);
        let oldest = oldest.map(|(oldest, _)| oldest);
        if let Some(oldest) = oldest {
            self.subjects.swap_remove(oldest);
        }
        oldest.is_some()
    }

    pub(super) fn told(&self, alarm: Alarm, definition: &Definition) -> AlarmState {
        let mut subjects: Vec<_> = self.subjects.iter().map(|one| one.told.clone()).collect();
        subjects.sort_by_key(|one| {
            std::cmp::Reverse((one.state == State::Active, one.last_seen.instant))
        });
        AlarmState {
            alarm,
            definition: definition.clone(),
            state: subjects.first().map_or(State::NeverRaised, |one| one.state),
            raised: self.raised,
            occurrences: self.occurrences,
            subjects,
        }
    }
}

impl Others {
    pub(super) fn add(&mut self, name: &str) {
        if self.names.len() < OTHERS_MAX {
            self.names.insert(name.into());
        } else {
            self.overflowed |= !self.names.contains(name);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.names.is_empty() && !self.overflowed
    }
}

impl Subject {
    pub(super) fn is_others(&self) -> bool {
        *self.told.name == *OTHERS
    }

    /// Something showed that it is over.
    pub(super) fn begin_to_clear(&mut self, text: &str, now: Moment) {
        if self.clearing.is_none() {
            self.clearing = Some((now, bounded(text.to_owned(), TEXT_BYTES)));
        }
    }

    /// What to tell, if it was not active.
    pub(super) fn raise(
        &mut self,
        origin: Origin,
        mut evidence: Evidence,
        now: Moment,
    ) -> Option<SubjectState> {
        let told = &mut self.told;
        if told.state != State::Active {
            self.cause = None;
        }
        match (&self.cause, evidence.remedy) {
            (_, None) => self.cause = Some(evidence.text.clone()),
            (Some(cause), Some(_)) => {
                evidence.text = bounded(format!("{cause}{LATER}{}", evidence.text), TEXT_BYTES);
            }
            (None, Some(_)) => {}
        }
        told.occurrences += 1;
        told.last_seen = now;
        told.origin = origin;
        told.evidence = evidence;
        self.clearing = None;
        match told.state {
            State::Active => return None,
            State::Cleared if now.since(told.since) < FLAPS => {
                self.settle = (self.settle * 2).clamp(SETTLE_MIN, SETTLE_MAX);
            }
            State::Cleared | State::NeverRaised => self.settle = Duration::ZERO,
        }
        told.state = State::Active;
        told.since = now;
        told.cleared = None;
        told.raised += 1;
        self.active_since = now;
        Some(told.clone())
    }

    /// Clears it if it has been over or quiet for long enough: what to tell, and since when it was active.
    pub(super) fn settled(&mut self, alarm: Alarm, now: Moment) -> Option<(SubjectState, Moment)> {
        if self.told.state != State::Active {
            return None;
        }
        let others = self.is_others().then_some(OTHERS_QUIET);
        let is_over = |(since, _): &mut (Moment, String)| now.since(*since) >= self.settle;
        let text = if let Some((_, text)) = self.clearing.take_if(is_over) {
            text
        } else {
            let quiet = alarm.quiet().or(others)?;
            if now.since(self.told.last_seen) < quiet {
                return None;
            }
            self.clearing = None;
            format!("not seen again for {} min", quiet.as_secs() / 60)
        };
        self.told.state = State::Cleared;
        self.told.since = now;
        self.told.cleared = Some(text);
        Some((self.told.clone(), self.active_since))
    }
}

/// The text without what could steer a terminal or end a line, cut to `bytes`.
pub(super) fn bounded(text: String, bytes: usize) -> String {
    let mut text = match text.contains(char::is_control) {
        true => text.replace(char::is_control, " "),
        false => text,
    };
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}
