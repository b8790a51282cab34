//! What the names of a host say, and what of it may not be dialled, in words. Pure.

use std::net::IpAddr;

use super::finding::{Finding, Severity};
use super::judge::Looked;
use crate::dial::LeftOut;
use crate::dial::resolve::{Family, ResolveError};
use crate::dial::survey::Asked;
use crate::exchange::Reason;
use crate::policy::Denial;

/// What is to be told of them.
pub(super) fn findings(one: &Looked, name_servers: &str) -> Vec<Finding> {
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
        // What the other family says explains more.
        let says_more = |other: &Asked| match &other.answer {
            Ok(_) => true,
            Err(other) => *other != ResolveError::NoAddress,
        };
        if error == ResolveError::NoAddress && survey.asked.iter().any(says_more) {
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
            ResolveError::TimedOut => {
                format!("no name server answered for {} ({family})", asked.name)
            }
            ResolveError::Unreachable => String::from("no name server can be reached"),
            ResolveError::Untrusted => String::from("the name server's certificate is not trusted"),
            ResolveError::Nowhere => format!(
                "a name server answers for {} with an address that nobody has (0.0.0.0 or ::, {family})",
                asked.name
            ),
            ResolveError::Failed => {
                format!(
                    "the name servers cannot tell about {} ({family})",
                    asked.name
                )
            }
        };
        let mut finding = one.finding(severity, "names", what);
        finding.reason = Some(error.reason().token());
        finding.remedy = Some(match error {
            ResolveError::NotFound | ResolveError::NoAddress => {
                // Behind parents, theirs are the names that are asked for.
                let key = if one.aim.destination.via.is_empty() {
                    "hosts, and whether this machine's name servers know public names"
                } else {
                    "via, and whether this machine's name servers know it"
                };
                format!("check its spelling in {key} (or name others in dns.servers)")
            }
            ResolveError::TimedOut | ResolveError::Unreachable => {
                format!("let {name_servers} pass, or name others in dns.servers")
            }
            ResolveError::Untrusted => String::from(
                "name the authority that signed it in dns.ca, and the name that stands in it behind the # of dns.servers; if a gateway intercepts, exempt the name server",
            ),
            ResolveError::Nowhere => String::from(
                "a DNS filter does so: have it let this name pass, or name other servers in dns.servers",
            ),
            ResolveError::Failed => {
                String::from("ask those who run the name servers, or name others in dns.servers")
            }
        });
        findings.push(finding);
    }
    for asked in &survey.asked {
        if let Ok(heard) = &asked.answer
            && let Some(age) = heard.stale
        {
            let what = format!(
                "the answer for {} is {} s beyond its time: no name server answers now",
                asked.name,
                age.as_secs()
            );
            findings.push(one.finding(Severity::Warn, "names", what));
        }
    }
    findings.extend(
        survey
            .left_out
            .iter()
            .filter_map(|(ip, why)| left_out(one, *ip, why)),
    );
    let over = survey.left_out.iter();
    let over = over.filter(|(_, why)| *why == LeftOut::TooMany).count();
    if over > 0 {
        let what = format!("{over} more of its addresses are not looked at: it has too many");
        findings.push(one.finding(Severity::Note, "names", what));
    }
    if survey.places.is_empty() && findings.is_empty() {
        let mut finding = one.finding(
            Severity::Fail,
            "names",
            "it has no address of a family that is connected over",
        );
        finding.reason = Some(Reason::Unreachable.token());
        finding.remedy = Some(String::from(
            "see connect.families, and the families of source",
        ));
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
        Denial::Address { .. } => {
            let add = if one.aim.destination.networks.is_empty() {
                format!("add networks = [\"{ip}\"] to the destination")
            } else {
                format!("add \"{ip}\" to the networks of the destination")
            };
            format!("if the service really is there, {add}; else a filter answers in its name")
        }
        _ => String::from("the name leads back to this proxy: correct DNS or /etc/hosts"),
    });
    Some(finding)
}
