//! From what was seen of a host to the lines that are told: pure, every fact comes in.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::aim::{Aim, Unprobed};
use super::certificate::Certificate;
use super::clock;
use super::finding::{Finding, Severity};
use super::held::{Held, Idle, Outcome, Packets};
use super::verdict::{self, Expected, Verdict};
use super::visit::{self, Visit};
use crate::dial::connect::ConnectError;
use crate::dial::resolve::{Family, ResolveError};
use crate::dial::survey::{LeftOut, Survey};
use crate::exchange::Reason;
use crate::policy::{Cleared, Denial};

/// Peers that one line names.
const PEERS_MAX: usize = 3;

/// One host, looked at.
#[derive(Debug)]
pub(super) struct Looked {
    aim: Aim,
    /// The policy's word, before anything was asked.
    denied: Option<(String, Reason)>,
    survey: Survey,
    /// Addresses outside of the ranges that the service publishes.
    unpublished: Vec<IpAddr>,
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

    fn finding(&self, severity: Severity, check: &'static str, what: impl Into<String>) -> Finding {
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
pub(super) fn all(looked: &[Looked], now: SystemTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut skews = Vec::new();
    // A machine without IPv6 is one fact, not one for each address.
    let mut lacks_v6 = false;
    for one in looked {
        let mut own = of_names(one);
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
            own.extend(of_held(one, visit, held));
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

fn of_names(one: &Looked) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((what, reason)) = &one.denied {
        let mut finding = one.finding(Severity::Fail, "policy", what.as_str());
        finding.reason = Some(reason.token());
        finding.remedy = Some(String::from("correct hosts and ports of the destination"));
        return vec![finding];
    }
    let survey = &one.survey;
    let failed = survey.asked.iter().filter_map(|asked| {
        let error = *asked.answer.as_ref().err()?;
        Some((asked, error))
    });
    let mut told = None;
    for (asked, error) in failed {
        let is_nothing = matches!(error, ResolveError::NotFound | ResolveError::NoAddress);
        // That a name has one family alone is no news; nor is it that both are missing twice.
        if (is_nothing && !survey.places.is_empty()) || told == Some(error) {
            continue;
        }
        if error == ResolveError::NoAddress && survey.asked.iter().any(|asked| asked.answer.is_ok()) {
            continue;
        }
        told = Some(error);
        let family = match asked.family {
            Family::V4 => "A",
            Family::V6 => "AAAA",
        };
        let severity = if survey.places.is_empty() {
            Severity::Fail
        } else {
            Severity::Warn
        };
        let what = match error {
            ResolveError::NotFound => format!("the name {} does not exist", asked.name),
            ResolveError::NoAddress => format!("the name {} has no address", asked.name),
            ResolveError::TimedOut => format!("no name server answered for {} ({family})", asked.name),
            ResolveError::Unreachable => String::from("no name server can be reached"),
            ResolveError::Failed => {
                format!("the name servers cannot tell about {} ({family})", asked.name)
            }
        };
        let mut finding = one.finding(severity, "names", what);
        finding.reason = Some(error.reason().token());
        finding.remedy = Some(String::from(match error {
            ResolveError::NotFound | ResolveError::NoAddress => {
                "check its spelling in hosts, and whether this machine's name servers know public names (or name others in dns.servers)"
            }
            ResolveError::TimedOut | ResolveError::Unreachable => {
                "let UDP and TCP 53 pass to the name servers (dns.servers, /etc/resolv.conf), or name others in dns.servers"
            }
            ResolveError::Failed => "ask those who run the name servers, or name others in dns.servers",
        }));
        findings.push(finding);
    }
    for asked in &survey.asked {
        if let Ok(heard) = &asked.answer
            && let Some(age) = heard.stale
        {
            let what = format!("the answer for {} is {} s beyond its time: no name server answers now", asked.name, age.as_secs());
            findings.push(one.finding(Severity::Warn, "names", what));
        }
    }
    findings.extend(survey.left_out.iter().filter_map(|(ip, why)| left_out(one, *ip, why)));
    if survey.places.is_empty() && findings.is_empty() {
        let mut finding = one.finding(Severity::Fail, "names", "it has no address of a family that is connected over");
        finding.reason = Some(Reason::Unreachable.token());
        finding.remedy = Some(String::from("see connect.families, and the families of source"));
        findings.push(finding);
    }
    for ip in &one.unpublished {
        let what = format!("{ip} is outside of the ranges that the service publishes");
        let mut finding = one.finding(Severity::Warn, "names", what);
        finding.remedy = Some(String::from(
            "the service has moved, or a filter answers in its name: compare with another name server",
        ));
        findings.push(finding);
    }
    findings
}

fn left_out(one: &Looked, ip: IpAddr, why: &LeftOut) -> Option<Finding> {
    let LeftOut::Denied(denial) = why else {
        return None;
    };
    let severity = if one.survey.places.is_empty() {
        Severity::Fail
    } else {
        Severity::Warn
    };
    let mut finding = one.finding(severity, "names", format!("{ip} is not dialled: {denial}"));
    finding.reason = Some(denial.reason().token());
    finding.remedy = Some(match denial {
        Denial::Address { .. } => format!(
            "if the service really is there, add networks = [\"{ip}\"] to the destination; else a filter answers in its name"
        ),
        _ => String::from("the name leads back to this proxy: correct DNS or /etc/hosts"),
    });
    Some(finding)
}

/// Whether a push would get through here.
fn is_good(one: &Looked, visit: &Visit, now: SystemTime) -> bool {
    let host = visit::host(&one.aim.target);
    visit.connect.is_ok()
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
    let bad = if works { Severity::Warn } else { Severity::Fail };
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
            let (what, remedy) = of_connect(error, visit.peer().port());
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
            findings.push(told(bad.max(Severity::Warn), "address", what, remedy, reason));
        }
        Ok(_) => {}
    }
    let host = visit::host(&one.aim.target);
    match &visit.tls {
        None => {}
        Some(Err(failure)) => {
            let (what, remedy) = verdict::of_failure(*failure, &host);
            let reason = Some(Reason::UpstreamTlsFailed);
            findings.push(told(bad, "tls", what, remedy, reason));
        }
        Some(Ok(shaken)) => {
            if let Some(verdict) = verdict::of_certificate(shaken, Expected::of(&one.aim, &host), now) {
                let Verdict {
                    severity,
                    what,
                    remedy,
                } = verdict;
                let reason = (severity == Severity::Fail).then_some(Reason::UpstreamTlsFailed);
                // One bad certificate of several: some pushes fail all the same, for nobody goes to another address then.
                findings.push(told(severity, "tls", what, remedy, reason));
            }
        }
    }
    if let Some(Err(error)) = &visit.reply {
        let what = format!("a HEAD / has no answer: {error}");
        let remedy = String::from("the connection is good, and what is behind it is not: look at the service's status page");
        findings.push(told(Severity::Warn, "reply", what, remedy, None));
    }
    findings
}

fn of_connect(error: ConnectError, port: u16) -> (String, String) {
    let (what, remedy) = match error {
        ConnectError::Refused => (
            "the connection is refused",
            format!("nothing listens there, or a firewall rejects it: allow TCP {port} from this machine (tidegate export-acl lists all)"),
        ),
        ConnectError::TimedOut => (
            "there is no answer to the connection",
            format!("the address is dead, or a firewall drops it: allow TCP {port} from this machine (tidegate export-acl lists all)"),
        ),
        ConnectError::Reset => (
            "the connection is reset",
            String::from("a firewall does so, or the service is sick"),
        ),
        ConnectError::Unreachable => (
            "there is no route to it",
            String::from("check routes and the firewall; connect.families leaves a family out that this machine does not have"),
        ),
        ConnectError::Ourselves => (
            "it is this proxy itself",
            String::from("correct DNS, /etc/hosts or addresses"),
        ),
        ConnectError::Parent(error) => ("through the parent proxy there is no way", error.details().to_owned()),
        ConnectError::NoSource => (
            "none of the source addresses is on this machine",
            String::from("correct source, or bring one of them up"),
        ),
        ConnectError::OutOfResources => (
            "this machine is out of descriptors or ports",
            String::from("raise LimitNOFILE, or name several addresses in source"),
        ),
        ConnectError::Other => ("it cannot be connected to", String::from("try it by hand: curl -v")),
    };
    (what.to_owned(), remedy)
}

fn of_held(one: &Looked, visit: &Visit, held: &Held) -> Vec<Finding> {
    let mut findings = Vec::new();
    let told = |severity, check, what: String, remedy: Option<&str>| {
        let mut finding = one.finding(severity, check, what);
        finding.peer = Some(one.peer(visit));
        finding.remedy = remedy.map(str::to_owned);
        finding
    };
    let of = |mss: Option<u32>| mss.map_or_else(String::new, |mss| format!(" (segments of {mss} bytes)"));
    match held.mtu {
        None => {}
        Some(Packets::Pass { mss }) => {
            let what = format!("a request of several full packets is answered{}", of(mss));
            findings.push(told(Severity::Ok, "mtu", what, None));
        }
        Some(Packets::Lost { mss, error }) => {
            let what = format!("a small request is answered, one of several full packets is not{}: {error}", of(mss));
            let remedy = "something on the way drops full packets and does not say so: let ICMP \"fragmentation needed\" (type 3 code 4; IPv6: packet too big) pass, clamp the MSS on the firewall, or lower the interface's MTU";
            findings.push(told(Severity::Fail, "mtu", what, Some(remedy)));
        }
    }
    if let Some(idle) = held.idle {
        let (severity, what, remedy) = of_idle(idle);
        findings.push(told(severity, "idle", what, remedy));
    }
    findings
}

fn of_idle(idle: Idle) -> (Severity, String, Option<&'static str>) {
    const REMEDY: &str = "raise the session timeout of the firewall or NAT for these hosts: push services need idle connections kept for 30 minutes at least; until then, make tunnel.keepalive shorter";
    let silent = idle.time.as_secs();
    match (idle.kept_alive, idle.bare) {
        (Outcome::Answered, Outcome::Answered) => (
            Severity::Ok,
            format!("a connection that was silent for {silent} s is still good"),
            None,
        ),
        (Outcome::Closed(after), _) | (Outcome::Answered, Outcome::Closed(after)) => (
            Severity::Note,
            format!("the other end closed a silent connection after {} s: that is its own limit for HTTP, and says nothing of the way", after.as_secs()),
            None,
        ),
        (Outcome::Unopened, _) | (_, Outcome::Unopened) => (
            Severity::Note,
            String::from("no connection could be opened to leave it silent"),
            None,
        ),
        (Outcome::Answered, Outcome::Silent | Outcome::Broken(_)) => (
            Severity::Warn,
            format!("something on the way forgets a connection that is silent for {silent} s; only TCP keepalive (tunnel.keepalive) kept another one open"),
            Some(REMEDY),
        ),
        (Outcome::Silent | Outcome::Broken(_), _) => (
            Severity::Fail,
            format!("something on the way drops connections that are silent for {silent} s, TCP keepalive or not: pushes on idle tunnels are lost"),
            Some(REMEDY),
        ),
    }
}

/// The line of a host through which pushes get.
fn summary(one: &Looked, now: SystemTime) -> Finding {
    let mut parts = Vec::new();
    let good = one.visits.iter().filter(|(visit, _)| is_good(one, visit, now));
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
            let ttl = heard.ttl.map_or_else(String::new, |ttl| format!(", TTL {} s", ttl.as_secs()));
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
    if let Some(shaken) = good.iter().find_map(|visit| visit.tls.as_ref()?.as_ref().ok()) {
        parts.push(format!("{} in {} ms", shaken.version, shaken.took.as_millis()));
        if let Some(leaf) = Certificate::parse(&shaken.seen.leaf) {
            parts.push(format!("signed by {}, good for {} days", leaf.issuer, leaf.days_left(now)));
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
        what: String::from("there is no route to IPv6 addresses, and the same names have IPv4 ones that are good"),
        remedy: Some(String::from("connect.families = \"ipv4\" spares the attempts")),
    }
}

/// The same of several addresses is one line.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut lines: Vec<(Finding, usize)> = Vec::new();
    for finding in findings {
        let same = |known: &Finding| {
            (known.severity, known.check, &known.what, &known.remedy)
                == (finding.severity, finding.check, &finding.what, &finding.remedy)
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
