//! The board of alarms as those see it who deliver from it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::notice::Notice;
use crate::telemetry::Moment;
use crate::telemetry::alarm::Alarm;
use crate::telemetry::alarms::{AlarmBoard, AlarmState, State, SubjectState};

#[derive(Debug, Clone)]
pub(super) struct Board(pub(super) Arc<AlarmBoard>);

/// When what has cleared was raised; the board shows only since when it is cleared.
type Raised = HashMap<(Alarm, Arc<str>), Moment>;

impl Board {
    /// Every alarm of every subject that was ever raised.
    pub(super) fn notices(&self) -> Vec<Notice> {
        let states = self.0.snapshot();
        let (changes, _) = self.0.changes_since(0);
        // Of several changes the last one counts.
        let raised: Raised = changes
            .into_iter()
            .map(|change| ((change.alarm, change.subject), change.active_since))
            .collect();
        let each = states.iter().flat_map(|state| {
            let subjects = state.subjects.iter();
            subjects.map(|subject| notice(state, subject, &raised))
        });
        each.collect()
    }

    pub(super) fn silenced(&self, now: Moment) -> Option<Moment> {
        self.0.silenced(now)
    }

    /// To wait for a change, or for a silence.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.0.watch()
    }
}

fn notice(state: &AlarmState, subject: &SubjectState, raised: &Raised) -> Notice {
    let is_active = subject.state == State::Active;
    let definition = &state.definition;
    let since = if is_active {
        subject.since
    } else {
        let key = (state.alarm, Arc::clone(&subject.name));
        raised.get(&key).copied().unwrap_or(subject.since)
    };
    let text = match &subject.cleared {
        Some(why) if !is_active => why.clone(),
        _ => subject.evidence.text.clone(),
    };
    Notice {
        alarm: state.alarm.name(),
        component: definition.component.name(),
        severity: definition.severity,
        subject: subject.name.to_string(),
        origin: subject.origin.token(),
        since: since.wall,
        // A clock that was set back must not make an end before a beginning: Alertmanager takes no such alert.
        cleared: (!is_active).then(|| subject.since.wall.max(since.wall)),
        times: subject.raised,
        summary: definition.summary.to_string(),
        action: definition.action.to_string(),
        text,
        exchange: subject.evidence.exchange.map(|id| id.to_string()),
    }
}
