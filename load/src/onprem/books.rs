//! The guide's counters and alarms as the servers of one fleet keep them, each as the component that it plays.

use std::error::Error;

use super::moves::{self, End, Move};
use super::{PushLabel, ServerError};
use crate::guide::{Alarms, Component, Counters, Moment, Way};

/// What the servers have counted, and what is wrong.
#[derive(Debug)]
pub struct Books {
    counters: Counters,
    alarms: Alarms,
}

/// Who keeps them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) component: Component,
    pub(super) server: &'a str,
}

/// One push on its way, once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending<'a> {
    pub(super) label: PushLabel,
    pub(super) tracking_id: &'a str,
    pub(super) way: Way,
    /// Why it could not be sent.
    pub(super) why: Option<&'a ServerError>,
}

impl Default for Books {
    fn default() -> Self {
        Self::new(Moment::now())
    }
}

impl Books {
    /// The first 60-second interval begins now.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self {
            counters: Counters::new(now.instant, moves::counters),
            alarms: Alarms::new(moves::rule),
        }
    }

    /// The counters, by the guide's names.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The alarms, by the guide's names.
    #[must_use]
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    pub(super) fn play(&self, component: Component) {
        self.counters.play(component);
    }

    /// It was sent, or could not be, and this became of it.
    pub(super) fn push(&self, who: Who<'_>, sending: &Sending<'_>, end: End, now: Moment) {
        let Sending {
            label,
            tracking_id,
            way,
            why,
        } = *sending;
        let way_taken = match way {
            Way::Tunnel => "through a tunnel",
            Way::Absolute => "in absolute form",
        };
        let seen = || {
            let PushLabel { service, kind } = label;
            let (words, why) = (end.words(), why.map(|why| format!(": {}", chain(why))));
            let why = why.unwrap_or_default();
            format!("push {tracking_id} ({service}, {kind}) {way_taken} {words}{why}")
        };
        for moved in moves::of_push(who.component, label, end) {
            match moved {
                Move::Count(name) => {
                    let Who { component, .. } = who;
                    self.counters
                        .add(component, name, label.service, way, now.instant);
                }
                Move::Raise(alarm) => self.alarms.raise(alarm, who.server, &seen(), now),
                Move::Clear(alarm) => self.alarms.clear(alarm, who.server, &seen(), now),
            }
        }
    }

    /// An access token was needed: it was fetched, or this came in between.
    pub(super) fn token(&self, who: Who<'_>, problem: Option<&ServerError>, now: Moment) {
        let seen = match problem {
            None => "an access token was fetched".to_owned(),
            Some(problem) => format!("no access token: {}", chain(problem)),
        };
        for moved in moves::of_token(who.component, problem.is_none()) {
            match moved {
                Move::Count(_) => {}
                Move::Raise(alarm) => self.alarms.raise(alarm, who.server, &seen, now),
                Move::Clear(alarm) => self.alarms.clear(alarm, who.server, &seen, now),
            }
        }
    }
}

/// `a: b: c`.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
