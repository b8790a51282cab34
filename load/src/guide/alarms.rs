//! The guide's alarms as simulated servers raise them: as they meet what stands in an alarm's rule, nothing damped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::rows::{AlarmRow, Severity, alarms};
use super::{Moment, ORIGIN};

/// Servers that one alarm tells apart; what others meet is told as `OTHERS`.
const SUBJECTS_MAX: usize = 64;
const OTHERS: &str = "(others)";
const TEXT_BYTES: usize = 400;

/// When a simulated server raises an alarm, and when it clears.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// In words.
    pub raised_when: &'static str,
    /// In words.
    pub cleared_when: &'static str,
    /// It clears by itself when it was not met for so long: of a server that pushes no more, nobody else could say.
    pub quiet: Duration,
}

/// All of them.
#[derive(Debug)]
pub struct Alarms {
    rows: Vec<(AlarmRow, Option<Rule>)>,
    records: Mutex<Vec<Record>>,
}

#[derive(Debug, Default, Clone)]
struct Record {
    raised: u64,
    occurrences: u64,
    subjects: Vec<Subject>,
}

/// A server that has met it.
#[derive(Debug, Clone)]
struct Subject {
    name: String,
    is_active: bool,
    /// Active or cleared since then.
    since: Moment,
    last_seen: Moment,
    raised: u64,
    occurrences: u64,
    text: String,
    /// What it cleared with.
    cleared: Option<String>,
}

impl Alarms {
    /// None raised. `rule` is told an alarm's name; `None`: it is not simulated.
    #[must_use]
    pub fn new(rule: fn(&str) -> Option<Rule>) -> Self {
        let rows: Vec<_> = alarms()
            .into_iter()
            .map(|row| {
                let rule = rule(&row.name);
                (row, rule)
            })
            .collect();
        let records = vec![Record::default(); rows.len()];
        Self {
            rows,
            records: Mutex::new(records),
        }
    }

    /// This server met it.
    pub fn raise(&self, alarm: &str, server: &str, text: &str, now: Moment) {
        self.change(alarm, |rule, record| {
            record.settle(rule, now);
            record.raise(server, bounded(text), now);
        });
    }

    /// What it stood for works again, for this server.
    pub fn clear(&self, alarm: &str, server: &str, text: &str, now: Moment) {
        self.change(alarm, |_, record| {
            let mut subjects = record.subjects.iter_mut();
            if let Some(one) = subjects.find(|one| one.name == server && one.is_active) {
                one.clear(bounded(text), now);
            }
        });
    }

    /// All of them, in the shape of the proxy's page of that name: the active first, the worst of these first.
    #[must_use]
    pub fn page(&self, now: Moment) -> Value {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        for ((row, rule), record) in self.rows.iter().zip(records.iter_mut()) {
            record.settle(*rule, now);
            rows.push(Shown::of(row, *rule, record));
        }
        rows.sort_by_key(|one| {
            let rank = (one.state == "active").then_some(one.severity);
            std::cmp::Reverse((rank, one.since.map(|since| since.instant)))
        });
        json!({ "silenced_until": null, "alarms": rows })
    }

    fn change(&self, alarm: &str, change: impl FnOnce(Option<Rule>, &mut Record)) {
        let place = self.rows.iter().position(|(row, _)| row.name == alarm);
        debug_assert!(
            place.is_some_and(|place| self.rows[place].1.is_some()),
            "{alarm} is not said to be raised"
        );
        let Some(place) = place else { return };
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        change(self.rows[place].1, &mut records[place]);
    }
}

impl Record {
    fn raise(&mut self, server: &str, text: String, now: Moment) {
        self.occurrences += 1;
        let known = |name: &str| self.subjects.iter().position(|one| one.name == name);
        let place = known(server).or_else(|| {
            let is_full = self.subjects.len() >= SUBJECTS_MAX;
            is_full.then(|| known(OTHERS)).flatten()
        });
        let Some(place) = place else {
            let name = match self.subjects.len() {
                SUBJECTS_MAX.. => OTHERS,
                _ => server,
            };
            self.raised += 1;
            self.subjects.push(Subject {
                name: name.to_owned(),
                is_active: true,
                since: now,
                last_seen: now,
                raised: 1,
                occurrences: 1,
                text,
                cleared: None,
            });
            return;
        };
        let one = &mut self.subjects[place];
        one.occurrences += 1;
        one.last_seen = now;
        one.text = text;
        if !one.is_active {
            self.raised += 1;
            one.raised += 1;
            one.is_active = true;
            one.since = now;
            one.cleared = None;
        }
    }

    /// Clears what was not met for long enough.
    fn settle(&mut self, rule: Option<Rule>, now: Moment) {
        let Some(Rule { quiet, .. }) = rule else {
            return;
        };
        for one in self.subjects.iter_mut().filter(|one| one.is_active) {
            if now.since(one.last_seen) >= quiet {
                let minutes = quiet.as_secs() / 60;
                one.clear(
                    format!("not seen again for {minutes} min"),
                    one.last_seen + quiet,
                );
            }
        }
    }
}

impl Subject {
    fn clear(&mut self, text: String, now: Moment) {
        self.is_active = false;
        self.since = now;
        self.cleared = Some(text);
    }

    fn state(&self) -> &'static str {
        if self.is_active { "active" } else { "cleared" }
    }
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    alarm: &'a str,
    component: &'static str,
    severity: Severity,
    state: &'static str,
    since: Option<Moment>,
    origin: Option<&'static str>,
    raised: u64,
    occurrences: u64,
    evidence: Option<Evidence>,
    summary: &'a str,
    action: &'a str,
    raised_when: &'static str,
    cleared_when: &'static str,
    raised_by: &'a [String],
    subjects: Vec<ShownSubject>,
}

#[derive(Debug, Serialize)]
struct ShownSubject {
    subject: String,
    state: &'static str,
    since: Moment,
    origin: &'static str,
    raised: u64,
    occurrences: u64,
    evidence: Evidence,
    cleared: Option<String>,
}

#[derive(Debug, Serialize)]
struct Evidence {
    at: Moment,
    subject: String,
    /// The proxy's number of it, which a server can't know.
    exchange: Option<()>,
    text: String,
}

impl<'a> Shown<'a> {
    fn of(row: &'a AlarmRow, rule: Option<Rule>, record: &Record) -> Self {
        let mut subjects = record.subjects.clone();
        subjects.sort_by_key(|one| std::cmp::Reverse((one.is_active, one.last_seen.instant)));
        let latest = subjects.first();
        // Of several that are active it is so since the first of them; once all have cleared, since the last.
        let active = subjects.iter().filter(|one| one.is_active);
        let active = active
            .map(|one| one.since)
            .min_by_key(|since| since.instant);
        let cleared = subjects.iter().map(|one| one.since);
        let since = active.or_else(|| cleared.max_by_key(|since| since.instant));
        Self {
            alarm: &row.name,
            component: row.component.name(),
            severity: row.severity,
            state: latest.map_or("never raised", Subject::state),
            since,
            origin: latest.map(|_| ORIGIN),
            raised: record.raised,
            occurrences: record.occurrences,
            evidence: latest.map(evidence),
            summary: &row.summary,
            action: &row.action,
            raised_when: rule.map_or("never here: it is not simulated", |rule| rule.raised_when),
            cleared_when: rule.map_or("", |rule| rule.cleared_when),
            raised_by: &row.raised_by,
            subjects: subjects.iter().map(shown).collect(),
        }
    }
}

fn shown(one: &Subject) -> ShownSubject {
    ShownSubject {
        subject: one.name.clone(),
        state: one.state(),
        since: one.since,
        origin: ORIGIN,
        raised: one.raised,
        occurrences: one.occurrences,
        evidence: evidence(one),
        cleared: one.cleared.clone(),
    }
}

fn evidence(one: &Subject) -> Evidence {
    Evidence {
        at: one.last_seen,
        subject: one.name.clone(),
        exchange: None,
        text: one.text.clone(),
    }
}

fn bounded(text: &str) -> String {
    let mut text = text.replace(char::is_control, " ");
    if text.len() > TEXT_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
