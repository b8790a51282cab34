//! From what was seen of a host to the lines that are told: pure, every fact comes in.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::aim::{Aim, Unprobed};
use super::certificate::Certificate;
use super::clock;
use super::finding::{Finding, Severity};
use super::held::Held;
use super::names;

use super::verdict::{self, Expected, Verdict};
use super::visit::{self, Visit};
use super::words;
use crate::dial::connect::ConnectError;
use crate::dial::resolve::Family;
use crate::dial::survey::Survey;
use crate::exchange::Reason;
use crate::policy::{Cleared, Denial};

/// Peers that one line names.
const PEERS_MAX: usize = 3;

/// One host, looked at.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) aim: Aim,
    /// The policy's word, before anything was asked.
    pub(super) denied: Option<(String, Reason)>,
    pub(super) survey: Survey,
    /// Addresses outside of the ranges that the service publishes.
    pub(super) unpublished: Vec<IpAddr>,
    visits: Vec<(Visit, Held)>,
    budget: Duration,
}

impl Looked {
    pub(super) fn denied(aim: Aim, denial: &Denial) -> Self {
        Self {
            aim,
            denied: Some((denial.to_string(), denial.reason())),
            survey: Survey::default(),
            unpublished: Vec::new(),
            visits: Vec::new(),
            budget: Duration::ZERO,
        }
    }

    pub(super) fn at(
        aim: Aim,
        cleared: &Cleared,
        survey: Survey,
        visits: Vec<(Visit, Held)>,
        budget: Duration,
    ) -> Self {
        // Behind parents these are not the service's addresses.
        let is_named = cleared.destination().via.is_empty() && !survey.asked.is_empty();
        let places = survey.places.iter().map(|place| place.peer().ip());
        let unpublished = places.filter(|ip| is_named && cleared.is_unpublished(*ip));
        Self {
            unpublished: unpublished.collect(),
            aim,
            denied: None,
            survey,
            visits,
            budget,
        }
    }

    pub(super) fn number(&self) -> usize {
        self.aim.number
    }

    pub(super) fn finding(
        &self,
        severity: Severity,
        check: &'static str,
        what: impl Into<String>,
    ) -> Finding {
        Finding {
            severity,
            check,
            destination: self.aim.destination.name.to_string(),
            target: self.aim.target.to_string(),
            role: self.aim.role.word(),
            peer: None,
            reason: None,
            what: what.into(),
            remedy: None,
        }
    }

    fn peer(&self, visit: &Visit) -> String {
        let parent = visit.place.parent;
        match parent.and_then(|number| self.aim.destination.via.get(number)) {
            Some(parent) => format!("{} (parent {parent})", visit.peer()),
            None => visit.peer().to_string(),
        }
    }
}

pub(super) fn unprobed(unprobed: &Unprobed) -> Finding {
    Finding {
        severity: Severity::Note,
        check: "names",
        destination: unprobed.destination.to_string(),
        target: unprobed.pattern.clone(),
        role: unprobed.role.word(),
        peer: None,
        reason: None,
        what: String::from(
            "not probed: it stands for many names, and only clients know which they will ask for",
        ),
        remedy: None,
    }
}

/// Everything, in the order of the configuration; the clock and what holds for all comes last.
/// `name_servers`: what has to pass to them.
pub(super) fn all(looked: &[Looked], name_servers: &str, now: SystemTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut skews = Vec::new();
    // A machine without IPv6 is one fact, not one for each address.
    let mut lacks_v6 = false;
    for one in looked {
        let mut own = names::findings(one, name_servers);
        let works = one.visits.iter().any(|(visit, _)| is_good(one, visit, now));
        for (visit, held) in &one.visits {
            if let Some(Ok(reply)) = &visit.reply {
                skews.extend(reply.ahead);
            }
            let no_route = visit.connect == Err(ConnectError::Unreachable);
            if no_route && visit.peer().is_ipv6() && works {
                lacks_v6 = true;
                continue;
            }
            own.extend(of_visit(one, visit, works, now));
            own.extend(held.told().into_iter().map(|told| {
                let mut finding = one.finding(told.severity, told.check, told.what);
                finding.peer = Some(one.peer(visit));
                finding.remedy = told.remedy.map(str::to_owned);
                finding
            }));
        }
        if works {
            own.push(summary(one, now));
        }
        findings.extend(merged(own));
    }
    findings.extend(clock::judge(&skews));
    if lacks_v6 {
        findings.push(no_v6());
    }
    findings
}

/// Whether a push would get through here.
fn is_good(one: &Looked, visit: &Visit, now: SystemTime) -> bool {
    let host = visit::host(&one.aim.target);
    visit.connect.is_ok_and(|took| took <= one.budget)
        && match &visit.tls {
            None => true,
            Some(Err(_)) => false,
            Some(Ok(shaken)) => {
                let verdict = verdict::of_certificate(shaken, Expected::of(&one.aim, &host), now);
                verdict.is_none_or(|verdict| verdict.severity != Severity::Fail)
            }
        }
}

fn of_visit(one: &Looked, visit: &Visit, works: bool, now: SystemTime) -> Vec<Finding> {
    let bad = if works {
        Severity::Warn
    } else {
        Severity::Fail
    };
    let told = |severity, check, what: String, remedy: String, reason: Option<Reason>| {
        let mut finding = one.finding(severity, check, what);
        finding.peer = Some(one.peer(visit));
        finding.remedy = Some(remedy);
        finding.reason = reason.map(Reason::token);
        finding
    };
    let mut findings = Vec::new();
    match visit.connect {
        Err(error) => {
            let (what, remedy) = if visit.is_silent_parent {
                words::of_silent_parent()
            } else {
                words::of_connect(error, visit.peer().port())
            };
            findings.push(told(bad, "address", what, remedy, Some(error.reason())));
            return findings;
        }
        Ok(took) if took > one.budget => {
            let what = format!(
                "it takes {} ms to connect, more than the connect budget of {} ms",
                took.as_millis(),
                one.budget.as_millis()
            );
            let remedy = String::from(
                "a step at 1 s or 3 s is lost packets: look at the way; or raise connect_budget of the destination",
            );
            let reason = Some(Reason::ConnectTimeout);
            findings.push(told(bad, "address", what, remedy, reason));
        }
        Ok(_) => {}
    }
    let host = visit::host(&one.aim.target);
    match &visit.tls {
        None => {}
        Some(Err(failure)) => {
            let (what, remedy) = verdict::of_failure(*failure, &host);
            findings.push(told(bad, "tls", what, remedy, Some(failure.reason())));
        }
        Some(Ok(shaken)) => {
            if let Some(verdict) =
                verdict::of_certificate(shaken, Expected::of(&one.aim, &host), now)
            {
                let Verdict {
                    severity,
                    fault: _,
                    what,
                    remedy,
                } = verdict;
                // What call servers refuse, the proxy may take: then an exchange does not end with it.
                let is_refused = shaken.seen.verdict.is_err();
                let reason = is_refused.then_some(Reason::UpstreamTlsFailed);
                // One bad certificate of several: some pushes fail all the same, for nobody goes to another address then.
                findings.push(told(severity, "tls", what, remedy, reason));
            }
        }
    }
    if let Some(Err(error)) = &visit.reply {
        let what = format!("a HEAD / has no answer: {error}");
        let remedy = String::from(
            "the connection is good, and what is behind it is not: look at the service's status page",
        );
        findings.push(told(Severity::Warn, "reply", what, remedy, None));
    }
    findings
}

/// The line of a host through which pushes get.
fn summary(one: &Looked, now: SystemTime) -> Finding {
    let mut parts = Vec::new();
    let good = one
        .visits
        .iter()
        .filter(|(visit, _)| is_good(one, visit, now));
    let good: Vec<&Visit> = good.map(|(visit, _)| visit).collect();
    parts.push(match one.visits.len() {
        1 => String::from("its address is good"),
        all => format!("{} of {all} addresses are good", good.len()),
    });
    for asked in &one.survey.asked {
        if let Ok(heard) = &asked.answer {
            let kind = match asked.family {
                Family::V4 => "A",
                Family::V6 => "AAAA",
            };
            let ttl = heard
                .ttl
                .map_or_else(String::new, |ttl| format!(", TTL {} s", ttl.as_secs()));
            parts.push(format!("{} {kind}{ttl}", heard.addrs.len()));
        }
    }
    let times = good.iter().filter_map(|visit| visit.connect.ok());
    if let (Some(least), Some(most)) = (times.clone().min(), times.max()) {
        let (least, most) = (least.as_millis(), most.as_millis());
        parts.push(if least == most {
            format!("TCP {least} ms")
        } else {
            format!("TCP {least} to {most} ms")
        });
    }
    if let Some(shaken) = good
        .iter()
        .find_map(|visit| visit.tls.as_ref()?.as_ref().ok())
    {
        parts.push(format!(
            "{} in {} ms",
            shaken.version,
            shaken.took.as_millis()
        ));
        if let Some(leaf) = Certificate::parse(&shaken.seen.leaf) {
            parts.push(format!(
                "signed by {}, good for {} days",
                leaf.issuer,
                shaken.seen.ending(&leaf).certificate.days_left(now)
            ));
        }
    }
    one.finding(Severity::Ok, "target", parts.join("; "))
}

fn no_v6() -> Finding {
    Finding {
        severity: Severity::Note,
        check: "address",
        destination: String::new(),
        target: String::new(),
        role: "",
        peer: None,
        reason: None,
        what: String::from(
            "there is no route to IPv6 addresses, and the same names have IPv4 ones that are good",
        ),
        remedy: Some(String::from(
            "connect.families = \"ipv4\" spares the attempts",
        )),
    }
}

/// The same of several addresses is one line.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut lines: Vec<(Finding, usize)> = Vec::new();
    for finding in findings {
        let same = |known: &Finding| {
            (known.severity, known.check, &known.what, &known.remedy)
                == (
                    finding.severity,
                    finding.check,
                    &finding.what,
                    &finding.remedy,
                )
        };
        match lines.iter_mut().find(|(known, _)| same(known)) {
            Some((known, count)) => {
                *count += 1;
                if *count <= PEERS_MAX
                    && let (Some(peers), Some(peer)) = (&mut known.peer, finding.peer)
                {
                    peers.push_str(", ");
                    peers.push_str(&peer);
                }
            }
            None => lines.push((finding, 1)),
        }
    }
    let told = |(mut finding, count): (Finding, usize)| {
        if count > PEERS_MAX
            && let Some(peers) = &mut finding.peer
        {
            peers.push_str(&format!(" and {} more", count - PEERS_MAX));
        }
        finding
    };
    lines.into_iter().map(told).collect()
}
