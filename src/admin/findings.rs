//! What is worth a look, the worst first: the answer to "is everything well?".
//!
//! Pure. Each finding says what is so and what to do about it.

use std::time::{Duration, SystemTime};

use super::figures::Figures;
use super::glance::{Glance, Severity};
use super::markup::{counted, span};
use crate::config::identity::EXPIRES_SOON;
use crate::dial::health::Standing;
use crate::exchange::{Fault, Reason};
use crate::telemetry::derive::CONFIGURATION;

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
    for alarm in glance.alarms.iter().filter(|alarm| alarm.active) {
        let about = match alarm.subject.as_str() {
            "" => String::new(),
            subject => format!(" ({subject})"),
        };
        note(
            alarm.severity,
            format!("Alarm {}{about}: {}", alarm.name, alarm.summary),
            "",
        );
    }
    // The board may tell of the same a little later, in its own words; once is enough.
    let told = |name: &str, subject: &str| {
        let mut active = glance.alarms.iter().filter(|alarm| alarm.active);
        active.any(|alarm| alarm.name == name && alarm.subject == subject)
    };
    for one in glance.destinations.iter().filter(|one| one.dead) {
        if told("TidegateAllAddressesDead", one.destination.as_str()) {
            continue;
        }
        note(
            Severity::Error,
            format!(
                "No address of destination {} can be connected to.",
                one.destination
            ),
            "Check the firewall and the way out from this machine; if they are well, the service itself is down.",
        );
    }
    let resting = |one: &&crate::dial::health::PeerHealth| one.standing == Standing::Quarantined;
    for one in glance.destinations.iter().filter(|one| !one.dead) {
        let sick = one.peers.iter().filter(resting).count();
        if sick > 0 {
            note(
                Severity::Warning,
                format!(
                    "{sick} of {} of destination {} can't be used now; the others carry its pushes.",
                    counted(one.peers.len(), "address", "addresses"),
                    one.destination
                ),
                "Nothing is lost. If it lasts for hours, ask whether a firewall lets these addresses pass.",
            );
        }
    }
    for (listener, expires) in &glance.figures.certificates {
        if told("TidegateCertificateExpiring", listener) {
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
    if glance.loaded.last_complaint.is_some() && !told("TidegateReloadRefused", CONFIGURATION) {
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
