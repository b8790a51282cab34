//! The alarms: the page `/alarms`, and the gauge and the counter that say it in short.
//!
//! As long as the board, which is bounded.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use crate::lifecycle::orders::ActiveAlarm;
use crate::telemetry::alarms::{AlarmState, State, SubjectState};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::{AlarmBoard, Moment, Timestamp, catalogue, json};

#[derive(Debug, Serialize)]
struct Page<'a> {
    /// Until when deliveries are held back.
    silenced_until: Option<Timestamp>,
    alarms: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    alarm: &'static str,
    component: &'static str,
    severity: &'static str,
    state: &'static str,
    /// Active or cleared since then.
    since: Option<Timestamp>,
    /// How its last occurrence came to be known.
    origin: Option<&'static str>,
    raised: u64,
    occurrences: u64,
    evidence: Option<Evidence<'a>>,
    summary: &'a str,
    action: &'a str,
    /// The rule: when it is raised here, and when it clears.
    raised_when: &'static str,
    cleared_when: &'static str,
    /// Who can truthfully raise it; without "proxy" it is never raised here.
    raised_by: Vec<&'static str>,
    subjects: Vec<Subject<'a>>,
}

#[derive(Debug, Serialize)]
struct Subject<'a> {
    subject: &'a str,
    state: &'static str,
    since: Timestamp,
    origin: &'static str,
    raised: u64,
    occurrences: u64,
    evidence: Evidence<'a>,
    /// What it cleared with.
    cleared: Option<&'a str>,
}

/// What was seen last.
#[derive(Debug, Serialize)]
struct Evidence<'a> {
    at: Timestamp,
    subject: &'a str,
    exchange: Option<String>,
    text: &'a str,
}

pub(super) fn shown(board: &AlarmBoard, now: Moment) -> Vec<u8> {
    let all = board.snapshot();
    let page = Page {
        silenced_until: board.silenced(now).map(|until| Timestamp(until.wall)),
        alarms: all.iter().map(row).collect(),
    };
    let mut text = Vec::new();
    json::append(&mut text, &page);
    text.push(b'\n');
    text
}

/// The families of alarms, made at every scrape.
pub(super) fn metrics(board: &AlarmBoard) -> String {
    let mut all = board.snapshot();
    all.sort_by_key(|one| one.alarm as usize);
    let mut text = Exposition::default();
    let active = &catalogue::ALARM_ACTIVE;
    text.family(active);
    for one in &all {
        let [alarm, component, severity] = words(one);
        let value = u8::from(one.state == State::Active);
        text.sample(active, &[alarm, component, severity], value);
    }
    let subject_active = &catalogue::ALARM_SUBJECT_ACTIVE;
    text.family(subject_active);
    for one in &all {
        let [alarm, component, severity] = words(one);
        let subjects = one.subjects.iter();
        let subjects = subjects.filter(|subject| subject.state == State::Active);
        let labels: BTreeSet<_> = subjects.map(|subject| label(&subject.name)).collect();
        for subject in labels {
            text.sample(subject_active, &[alarm, component, severity, subject], 1);
        }
    }
    let raised = &catalogue::ALARMS_RAISED;
    text.family(raised);
    for one in &all {
        for origin in one.alarm.origins() {
            let times = one.raised[*origin as usize];
            text.sample(raised, &[one.alarm.name(), origin.token()], times);
        }
    }
    text.text()
}

fn words(one: &AlarmState) -> [&'static str; 3] {
    let definition = &one.definition;
    let (component, severity) = (definition.component, definition.severity);
    [one.alarm.name(), component.name(), severity.name()]
}

/// A client without a name is known by its address, and that is nothing for a label.
fn label(subject: &str) -> &str {
    match subject.parse::<IpAddr>() {
        Ok(_) => "(unnamed)",
        Err(_) => subject,
    }
}

/// For `tidegate status`: those that are active, the worst first.
pub(super) fn active(board: &AlarmBoard) -> Vec<ActiveAlarm> {
    let all = board.snapshot();
    let active = all.iter().filter(|one| one.state == State::Active);
    let told = |one: &AlarmState| {
        let subjects = one.subjects.iter();
        let subjects = subjects.filter(|one| one.state == State::Active);
        Some(ActiveAlarm {
            alarm: one.alarm.name().to_owned(),
            severity: one.definition.severity.name().to_owned(),
            since: Timestamp(one.since()?.wall).to_string(),
            subjects: subjects.map(|one| one.name.to_string()).collect(),
        })
    };
    active.filter_map(told).collect()
}

pub(super) fn silenced_until(board: &AlarmBoard, now: Moment) -> Option<String> {
    let until = board.silenced(now)?;
    Some(Timestamp(until.wall).to_string())
}

fn row(one: &AlarmState) -> Row<'_> {
    let latest = one.latest();
    let definition = &one.definition;
    Row {
        alarm: one.alarm.name(),
        component: definition.component.name(),
        severity: definition.severity.name(),
        state: one.state.token(),
        since: one.since().map(|since| Timestamp(since.wall)),
        origin: latest.map(|one| one.origin.token()),
        raised: one.raised_total(),
        occurrences: one.occurrences,
        evidence: latest.map(evidence),
        summary: &definition.summary,
        action: &definition.action,
        raised_when: one.alarm.rule().0,
        cleared_when: one.alarm.rule().1,
        raised_by: definition.raised_by.iter().map(|one| one.token()).collect(),
        subjects: one.subjects.iter().map(subject).collect(),
    }
}

fn subject(one: &SubjectState) -> Subject<'_> {
    Subject {
        subject: &one.name,
        state: one.state.token(),
        since: Timestamp(one.since.wall),
        origin: one.origin.token(),
        raised: one.raised,
        occurrences: one.occurrences,
        evidence: evidence(one),
        cleared: one.cleared.as_deref(),
    }
}

fn evidence(one: &SubjectState) -> Evidence<'_> {
    Evidence {
        at: Timestamp(one.last_seen.wall),
        subject: &one.name,
        exchange: one.evidence.exchange.map(|id| id.to_string()),
        text: &one.evidence.text,
    }
}
