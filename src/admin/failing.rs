//! What fails now and may have no alarm: what ended in the last five minutes, judged.
//!
//! Pure. The words and the measure are those of the rules for Prometheus.

use std::collections::BTreeMap;

use super::findings::{Finding, fault};
use super::glance::Severity;
use super::history::Counts;
use super::markup::{counted, number};
use crate::exchange::{Fault, Reason};

/// Fewer say nothing.
const FAILED_MIN: u64 = 10;
const REFUSED_MIN: u64 = 3;
/// Reasons, statuses and limits that are named.
const NAMED: usize = 4;

pub(super) fn findings(lately: &Counts) -> Vec<Finding> {
    let checks = [
        most_fail(lately),
        full(lately),
        limited(lately),
        pushes_refused(lately),
    ];
    checks.into_iter().flatten().collect()
}

/// Whose fault it was decides: a login that begins with a 407 is no exchange that works, nor one that fails.
fn most_fail(lately: &Counts) -> Option<Finding> {
    let of = |wanted: &[Fault]| -> BTreeMap<&str, u64> {
        let endings = lately.endings.iter();
        endings
            .filter(|(reason, count)| {
                **count > 0 && fault(reason).is_some_and(|fault| wanted.contains(&fault))
            })
            .map(|(reason, count)| (reason.as_str(), *count))
            .collect()
    };
    let failures = of(&[Fault::Upstream]);
    let failed: u64 = failures.values().sum();
    let ended = failed + of(&[Fault::Nobody, Fault::Proxy]).values().sum::<u64>();
    if failed < FAILED_MIN || failed * 2 < ended {
        return None;
    }
    let counts = format!(
        "{} of the {} that ended in the last 5 minutes failed ({})",
        number(failed),
        counted(ended, "exchange", "exchanges"),
        most(failures)
    );
    // A tunnel that works lives for days, with thousands of pushes in it.
    let (severity, what) = if lately.tunnel_exchanges > failed {
        let inside = number(lately.tunnel_exchanges);
        let what = format!("{counts}, while {inside} inside of tunnels were answered.");
        (Severity::Warning, what)
    } else {
        (Severity::Error, format!("{counts}: most pushes are lost."))
    };
    Some(Finding {
        severity,
        what,
        action: "Run `tidegate doctor`; the reason in the access log says whether it is names, addresses, TLS or what the target answers.".to_owned(),
    })
}

fn full(lately: &Counts) -> Option<Finding> {
    let reasons = [Reason::ConnectionsFull, Reason::TunnelsFull].map(Reason::token);
    let refused = lately.endings.iter();
    let refused =
        refused.filter(|(reason, count)| **count > 0 && reasons.contains(&reason.as_str()));
    let refused: BTreeMap<_, _> = refused
        .map(|(reason, count)| (reason.as_str(), *count))
        .collect();
    (!refused.is_empty()).then(|| Finding {
        severity: Severity::Warning,
        what: format!("Senders were turned away in the last 5 minutes: {}.", most(refused)),
        action: "Raise LimitNOFILE, or intake.connections and intake.tunnels where they are set (`tidegate capacity` suggests how much); or find out who opens a tunnel for each push.".to_owned(),
    })
}

fn limited(lately: &Counts) -> Option<Finding> {
    let refused = lately.limit_refusals.iter();
    let refused = refused.filter(|(_, count)| **count > 0);
    let refused: BTreeMap<_, _> = refused
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    (!refused.is_empty()).then(|| Finding {
        severity: Severity::Warning,
        what: format!("Limits refused exchanges in the last 5 minutes: {}.", most(refused)),
        action: "Each is a push that its sender may not repeat. Find who storms (`tidegate status --clients`), or raise the limit: `tidegate capacity` suggests how far.".to_owned(),
    })
}

fn pushes_refused(lately: &Counts) -> Option<Finding> {
    let all: u64 = lately.pushes.values().sum();
    let refused = lately.pushes.iter();
    let refused = refused.filter(|(status, count)| {
        **count > 0 && !status.starts_with('2') && status.as_str() != "410"
    });
    let refused: BTreeMap<_, _> = refused
        .map(|(status, count)| (status.as_str(), *count))
        .collect();
    let count: u64 = refused.values().sum();
    (count >= REFUSED_MIN && count * 20 > all).then(|| Finding {
        severity: Severity::Warning,
        what: format!(
            "{} of {} in the last 5 minutes got no good answer ({}).",
            number(count),
            counted(all, "visible push", "visible pushes"),
            most(refused)
        ),
        action: "400 and 413 are the payload, 401 and 403 the access token or certificate, 429 too many, 5xx the service, none no answer at all. The sender's log has the body of the answer; the proxy keeps none.".to_owned(),
    })
}

/// "upstream_reset: 12, bad_reply: 3 and 2 more kinds", the most frequent first.
fn most(counts: BTreeMap<&str, u64>) -> String {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let named = counts.iter().take(NAMED);
    let named: Vec<_> = named
        .map(|(name, count)| format!("{name}: {}", number(*count)))
        .collect();
    let named = named.join(", ");
    match counts.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {}", counted(more, "more kind", "more kinds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rows<'a> = &'a [(&'a str, u64)];

    fn check(
        endings: Rows<'_>,
        inside: u64,
        pushes: Rows<'_>,
        limits: Rows<'_>,
    ) -> Vec<(Severity, String)> {
        let owned = |rows: Rows<'_>| {
            rows.iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        let lately = Counts {
            endings: owned(endings),
            tunnel_exchanges: inside,
            pushes: owned(pushes),
            limit_refusals: owned(limits),
        };
        let found = findings(&lately).into_iter();
        found.map(|one| (one.severity, one.what)).collect()
    }

    #[test]
    fn a_cloud_that_resets_most_tunnels_is_an_error() {
        let endings = [
            ("upstream_reset", 12),
            ("finished", 8),
            ("no_credentials", 900),
        ];
        let words = "12 of the 20 exchanges that ended in the last 5 minutes failed (upstream_reset: 12): most pushes are lost.";
        assert_eq!(
            check(&endings, 12, &[], &[]),
            [(Severity::Error, words.to_owned())]
        );
        let beside = check(&endings, 13, &[], &[]);
        assert_eq!(
            beside[0].0,
            Severity::Warning,
            "tunnels that live have more pushes in them"
        );
        assert_eq!(check(&[("upstream_reset", 9)], 0, &[], &[]), []);
        assert_eq!(
            check(&[("upstream_reset", 10), ("finished", 11)], 0, &[], &[]),
            []
        );
        assert_eq!(check(&[("client_reset", 90)], 0, &[], &[]), []);
    }

    #[test]
    fn what_is_turned_away_limited_or_refused_is_a_warning() {
        let warns = |found: Vec<(Severity, String)>, words: &str| {
            assert_eq!(found, [(Severity::Warning, words.to_owned())]);
        };
        warns(
            check(&[("connections_full", 450), ("finished", 9)], 0, &[], &[]),
            "Senders were turned away in the last 5 minutes: connections_full: 450.",
        );
        warns(
            check(
                &[("rate_limited", 449)],
                0,
                &[],
                &[("quiet", 0), ("per client", 449)],
            ),
            "Limits refused exchanges in the last 5 minutes: per client: 449.",
        );
        warns(
            check(
                &[],
                0,
                &[("403", 63), ("5xx", 63), ("429", 64), ("410", 5)],
                &[],
            ),
            "190 of 195 visible pushes in the last 5 minutes got no good answer (429: 64, 403: 63, 5xx: 63).",
        );
        assert_eq!(check(&[], 0, &[("200", 100), ("403", 5)], &[]), []);
    }
}
