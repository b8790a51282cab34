//! What is worth a look, the worst first: the answer to "is everything well?".
//!
//! Pure. Each finding says what is so and what to do about it.

use std::time::{Duration, SystemTime};

use super::failing;
use super::figures::Figures;
use super::glance::{Glance, Severity, severity};
use super::markup::{counted, span};
use crate::config::identity::EXPIRES_SOON;
use crate::dial::health::Standing;
use crate::exchange::{Fault, Reason};
use crate::telemetry::alarms::{Alarm, AlarmState, OTHERS, State};
use crate::telemetry::derive::CONFIGURATION;

/// Names that are spelt out; more are counted.
const NAMED: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) what: String,
    pub(super) action: String,
}

/// Exchanges that ended by a fault of the target's side or our own.
pub(super) fn failed(figures: &Figures) -> u64 {
    let faults = figures.endings.iter();
    faults
        .filter(|(reason, _)| matches!(fault(reason), Some(Fault::Upstream | Fault::Proxy)))
        .map(|(_, count)| count)
        .sum()
}

pub(super) fn fault(reason: &str) -> Option<Fault> {
    let mut all = Reason::ALL.into_iter();
    all.find(|one| one.token() == reason).map(Reason::fault)
}

pub(super) fn findings(glance: &Glance) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut note = |severity, what: String, action: &str| {
        found.push(Finding {
            severity,
            what,
            action: action.to_owned(),
        });
    };
    for alarm in &glance.alarms {
        let subjects = active_subjects(alarm);
        if !subjects.is_empty() {
            let about = match named_alarmed(&subjects) {
                about if about.is_empty() => about,
                about => format!(" ({about})"),
            };
            let summary = &alarm.definition.summary;
            note(
                severity(alarm.definition.severity),
                format!("Alarm {}{about}: {summary}", alarm.alarm.name()),
                "",
            );
        }
    }
    // The board may tell of the same a little later, in its own words; once is enough.
    let told = |wanted: Alarm, subject: &str| {
        let mut alarms = glance.alarms.iter().filter(|one| one.alarm == wanted);
        alarms.any(|one| active_subjects(one).contains(&subject))
    };
    let told_of_a_host = |destination: &str| {
        let alarms = glance.alarms.iter().filter(|one| {
            matches!(
                one.alarm,
                Alarm::PushNotificationServiceUnavailable
                    | Alarm::PushNotificationServiceAccessTokenUnavailable
            )
        });
        let mut subjects = alarms.flat_map(active_subjects);
        subjects.any(|one| {
            let host = one.strip_prefix(destination);
            host.is_some_and(|host| host.starts_with('/'))
        })
    };
    let [mut dead, mut silent, mut hopeless] = [Vec::new(), Vec::new(), Vec::new()];
    let mut unresolved: Vec<(String, Vec<&str>)> = Vec::new();
    let mut sick = Vec::new();
    for one in &glance.destinations {
        let name = one.destination.as_str();
        let listed = one.listed().count();
        let resting = one
            .listed()
            .filter(|one| one.standing == Standing::Quarantined);
        let resting = resting.count();
        if one.dead {
            if !told(Alarm::AllAddressesDead, name) {
                dead.push(name);
            }
        } else if one.silent {
            if !told(Alarm::AllAddressesDead, name) {
                silent.push(name);
            }
        } else if let Some(error) = one.unresolved
            && !one.has_a_good_one()
        {
            if told(Alarm::ProbeFailing, name) || told_of_a_host(name) {
                continue;
            }
            let error = error.to_string();
            match unresolved.iter_mut().find(|(known, _)| *known == error) {
                Some((_, names)) => names.push(name),
                None => unresolved.push((error, vec![name])),
            }
        } else if resting > 0 && resting == listed {
            hopeless.push(name);
        } else if resting > 0 {
            sick.push((name, resting, listed, one.has_a_good_one() && !one.accused));
        }
    }
    if !dead.is_empty() {
        note(
            Severity::Error,
            format!(
                "No address of {} can be connected to.",
                named_destinations(&dead)
            ),
            "Check the firewall and the way out from this machine; if they are well, the service itself is down.",
        );
    }
    if !silent.is_empty() {
        note(
            Severity::Error,
            format!(
                "No address of {} answers, though they accept connections: every push to it is probably lost.",
                named_destinations(&silent)
            ),
            "Ask the firewall team whether something on the way keeps the answers, and look at the service's status page.",
        );
    }
    for (error, names) in unresolved {
        note(
            Severity::Error,
            format!("No way to {}: {error}.", named_destinations(&names)),
            "Check the name in the configuration and the name servers ([dns], or the system's); `tidegate doctor` says how each name fails.",
        );
    }
    if !hopeless.is_empty() {
        note(
            Severity::Warning,
            format!(
                "No address of {} is known to work; each exchange tries them all.",
                named_destinations(&hopeless)
            ),
            "`tidegate doctor` says how each of them fails.",
        );
    }
    let (first, others) = sick.split_at(sick.len().min(NAMED));
    for (name, resting, listed, is_carried) in first {
        let carried = if *is_carried {
            "the others carry its pushes"
        } else {
            "none of the others is known to answer"
        };
        note(
            Severity::Warning,
            format!(
                "{resting} of {} of destination {name} can't be used now; {carried}.",
                counted(*listed, "address", "addresses"),
            ),
            "If it lasts for hours, ask whether a firewall lets these addresses pass.",
        );
    }
    if !others.is_empty() {
        let names: Vec<_> = others.iter().map(|(name, ..)| *name).collect();
        note(
            Severity::Warning,
            format!(
                "Some addresses of {} can't be used now, either.",
                named_destinations(&names)
            ),
            "",
        );
    }
    found.extend(failing::findings(&glance.lately));
    let mut note = |severity, what: String, action: &str| {
        found.push(Finding {
            severity,
            what,
            action: action.to_owned(),
        });
    };
    for (listener, expires) in &glance.figures.certificates {
        if told(Alarm::CertificateExpiring, listener) {
            continue;
        }
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(expires.clamp(0.0, 1e11));
        let action = "Put a new certificate in its place and reload.";
        match expires.duration_since(glance.at) {
            Err(_) => note(
                Severity::Error,
                format!("The certificate of listener {listener} has expired."),
                action,
            ),
            Ok(left) if left < EXPIRES_SOON => note(
                Severity::Warning,
                format!(
                    "The certificate of listener {listener} expires in {}.",
                    span(left)
                ),
                action,
            ),
            Ok(_) => {}
        }
    }
    if glance.loaded.last_complaint.is_some() && !told(Alarm::ReloadRefused, CONFIGURATION) {
        note(
            Severity::Warning,
            "The configuration file on the disk was refused; the one before is in force."
                .to_owned(),
            "Mend what the complaint below names, and reload.",
        );
    }
    if glance.figures.dns_stale_s > 0.0 {
        let age = span(Duration::from_secs_f64(glance.figures.dns_stale_s.min(1e9)));
        note(
            Severity::Warning,
            format!("No name server answers; names are used {age} beyond their time."),
            "Mend DNS before dns.serve_stale is over: until then pushes go on.",
        );
    }
    if glance.figures.log_lines_dropped > 0 {
        note(
            Severity::Notice,
            format!(
                "The access log has lost {}.",
                counted(glance.figures.log_lines_dropped, "line", "lines")
            ),
            "Its disk, pipe or collector did not keep up. The counters are complete.",
        );
    }
    if !glance.loaded.needs_restart.is_empty() {
        note(
            Severity::Notice,
            format!(
                "{} of the configuration file will apply after a restart only.",
                counted(glance.loaded.needs_restart.len(), "change", "changes")
            ),
            "Restart when tunnels may end; /config lists the changes.",
        );
    }
    found.sort_by_key(|one| std::cmp::Reverse(one.severity));
    found
}

fn active_subjects(alarm: &AlarmState) -> Vec<&str> {
    let subjects = alarm.subjects.iter();
    let subjects = subjects.filter(|one| one.state == State::Active);
    subjects.map(|one| &*one.name).collect()
}

/// Behind `OTHERS` there is one at least, and nobody knows how many.
fn named_alarmed(subjects: &[&str]) -> String {
    let own = subjects.iter().filter(|one| **one != OTHERS);
    let own: Vec<_> = own.copied().collect();
    if own.len() == subjects.len() || own.is_empty() {
        return named(subjects);
    }
    let first = own[..own.len().min(NAMED)].join(", ");
    let more = own.len().saturating_sub(NAMED) + 1;
    format!("{first} and at least {more} more")
}

fn named_destinations(names: &[&str]) -> String {
    let word = if names.len() == 1 {
        "destination"
    } else {
        "destinations"
    };
    format!("{word} {}", named(names))
}

/// "a, b, c and 7 more"
fn named(names: &[&str]) -> String {
    let first = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
