//! The alarms of the status page: one entry for each kind, and what it is about.
//!
//! Pure. What an alarm says stands with the findings; here is what to do, and what was seen. Bounded by the board; of many
//! subjects the first are shown, and the others fold.

use super::glance::{Glance, severity};
use super::markup::{Text, counted, moment, number, put, span};
use super::page;
use crate::telemetry::alarms::{AlarmState, OTHERS, State, SubjectState};

/// Subjects that are shown unfolded.
const SHOWN: usize = 3;

pub(super) fn alarms(html: &mut String, glance: &Glance) {
    let count = |state: State| -> usize {
        let subjects = glance.alarms.iter().flat_map(|alarm| &alarm.subjects);
        subjects.filter(|subject| subject.state == state).count()
    };
    let silence = glance.silenced.map_or_else(String::new, |left| {
        format!("; silenced, not delivered for {}", span(left))
    });
    let mut subjects = glance.alarms.iter().flat_map(|alarm| &alarm.subjects);
    let is_uncounted = |one: &SubjectState| one.state == State::Active && &*one.name == OTHERS;
    let at_least = if subjects.any(is_uncounted) {
        "at least "
    } else {
        ""
    };
    let (active, cleared) = (count(State::Active), count(State::Cleared));
    put!(
        html,
        "<section id=\"alarms\" aria-labelledby=\"alarms-title\"><h2 id=\"alarms-title\">Alarms<small>{at_least}{} active{silence}</small></h2>",
        number(active as u64)
    );
    if active == 0 {
        html.push_str("<p class=\"soft\">No alarm is active.</p>");
    }
    for one in &glance.alarms {
        kind(html, glance, one, State::Active);
    }
    if cleared > 0 {
        put!(
            html,
            "<details id=\"alarms-over\"><summary>{} cleared</summary>",
            number(cleared as u64)
        );
        for one in &glance.alarms {
            kind(html, glance, one, State::Cleared);
        }
        html.push_str("</details>");
    }
    html.push_str("</section>");
}

/// Its subjects that are in this state.
fn kind(html: &mut String, glance: &Glance, alarm: &AlarmState, state: State) {
    let subjects = alarm.subjects.iter();
    let mut subjects: Vec<_> = subjects.filter(|one| one.state == state).collect();
    if subjects.is_empty() {
        return;
    }
    // They are nobody whom one could look for.
    subjects.sort_by_key(|one| &*one.name == OTHERS);
    let uncounted = subjects.last().is_some_and(|one| &*one.name == OTHERS);
    let definition = &alarm.definition;
    let (class, badge) = match state {
        State::Active => (
            page::class(severity(definition.severity)),
            definition.severity.name(),
        ),
        State::Cleared | State::NeverRaised => ("", "cleared"),
    };
    put!(
        html,
        "<article class=\"alarm\" data-alarm=\"{name}\"><h3>{name}<span class=\"badge {class}\">{badge}</span> <small>{}</small></h3>",
        definition.component.name(),
        name = alarm.alarm.name(),
    );
    match state {
        State::Active => put!(
            html,
            "<p class=\"do\"><b>What to do:</b> {}</p>",
            Text(&definition.action)
        ),
        State::Cleared | State::NeverRaised => put!(html, "<p>{}</p>", Text(&definition.summary)),
    }
    let (shown, folded) = subjects.split_at(subjects.len().min(SHOWN));
    list(html, glance, shown);
    if !folded.is_empty() {
        put!(
            html,
            "<details id=\"{}-{}\"><summary>{}{} more</summary>",
            alarm.alarm.name(),
            state.token(),
            if uncounted { "at least " } else { "" },
            number(folded.len() as u64)
        );
        list(html, glance, folded);
        html.push_str("</details>");
    }
    html.push_str("</article>");
}

fn list(html: &mut String, glance: &Glance, subjects: &[&SubjectState]) {
    html.push_str("<ul class=\"subjects\">");
    for one in subjects {
        let since = one.since.wall;
        let ago = glance.at.duration_since(since).unwrap_or_default();
        let word = match one.state {
            State::Active => "since",
            State::Cleared | State::NeverRaised => "at",
        };
        put!(
            html,
            "<li><b>{}</b> <span class=\"soft\">{word} {} ({} ago), {}, raised {}",
            Text(&one.name),
            moment(since),
            span(ago),
            one.origin.token(),
            counted(one.raised, "time", "times"),
        );
        if !one.evidence.text.is_empty() {
            put!(html, "; last seen: {}", Text(&one.evidence.text));
        }
        if let Some(exchange) = one.evidence.exchange {
            put!(html, " (exchange <code>{exchange}</code>)");
        }
        html.push_str("</span>");
        if let Some(remedy) = one.evidence.remedy {
            put!(html, " {}", Text(remedy));
        }
        html.push_str("</li>");
    }
    html.push_str("</ul>");
}
