//! Whether this machine's clock is right, by what the servers say: all of them together, since one may be wrong. Pure.

use super::ask::Skew;
use super::finding::{Finding, Severity};

/// Beyond it certificates and tokens begin to be taken for old, or for not valid yet.
pub(crate) const SKEW_MAX: Skew = 60;

/// What the middle one of all servers says.
pub(super) fn median(skews: &[Skew]) -> Option<Skew> {
    let mut sorted = skews.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

pub(super) fn judge(skews: &[Skew]) -> Option<Finding> {
    let skew = median(skews)?;
    let side = if skew < 0 { "ahead of" } else { "behind" };
    let servers = skews.len();
    let of = if servers == 1 {
        "1 server's"
    } else {
        "the servers'"
    };
    let is_off = skew.abs() > SKEW_MAX;
    Some(Finding {
        severity: if is_off { Severity::Warn } else { Severity::Ok },
        check: "clock",
        destination: String::new(),
        target: String::new(),
        role: "",
        peer: None,
        reason: None,
        what: if is_off {
            format!("the clock is {} s {side} {of} (HTTP Date)", skew.abs())
        } else {
            format!("the clock is within {SKEW_MAX} s of {of} (HTTP Date)")
        },
        remedy: is_off.then(|| {
            String::from(
                "set it, and start NTP (chronyd, systemd-timesyncd): with a wrong clock good certificates look expired and fresh tokens old",
            )
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_that_is_wrong_does_not_make_our_clock_wrong() {
        let check = |skews: &[Skew], severity, words: &str| {
            let found = judge(skews).unwrap();
            assert_eq!(found.severity, severity, "{skews:?}");
            assert!(found.what.contains(words), "{}", found.what);
        };
        assert_eq!(judge(&[]), None);
        check(&[0], Severity::Ok, "within 60 s");
        check(&[60, -60, 0], Severity::Ok, "within 60 s");
        check(&[0, 3600, 1], Severity::Ok, "within 60 s");
        check(&[3600], Severity::Warn, "3600 s behind 1 server's");
        check(&[-90, -91, 0], Severity::Warn, "90 s ahead of the servers'");
    }
}
