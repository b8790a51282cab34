//! The hosts of a destination: names, `*.` suffixes and addresses, each in its one spelling.
//!
//! Strict on purpose: a name that some resolver would read as an address never becomes a rule.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::complaint::{Wrong, quoted};
use super::{HostPattern, HostRule};
use crate::exchange::Host;

impl fmt::Display for HostPattern {
    /// As it stands in the configuration: `push.test`, `*.cloud.test`, `::1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Addr(addr) => addr.fmt(f),
        }
    }
}

impl HostRule {
    /// The rule of a destination that decides what a host is there: its very name or address, else the longest suffix;
    /// among equals the first.
    pub(crate) fn closest<'a>(rules: &'a [Self], host: &Host) -> Option<&'a Self> {
        let mut closest: Option<(usize, &Self)> = None;
        for rule in rules {
            let Some(length) = rule.pattern.covers(host) else {
                continue;
            };
            if closest.is_none_or(|(before, _)| length > before) {
                closest = Some((length, rule));
            }
        }
        closest.map(|(_, rule)| rule)
    }
}

impl HostPattern {
    /// `None` where the host is not meant; else how much of it stands here.
    fn covers(&self, host: &Host) -> Option<usize> {
        match (self, host) {
            (Self::Name(name), Host::Name(host)) => (**name == **host).then_some(host.len()),
            (Self::Addr(addr), Host::Addr(host)) => {
                (addr.to_canonical() == host.to_canonical()).then_some(0)
            }
            (Self::Suffix(suffix), Host::Name(host)) => {
                let rest = host.strip_suffix(&**suffix)?;
                (!rest.is_empty()).then_some(suffix.len())
            }
            (Self::Name(_) | Self::Suffix(_), Host::Addr(_)) | (Self::Addr(_), Host::Name(_)) => {
                None
            }
        }
    }
}

/// `push.test`, `*.cloud.test`, `127.0.0.1`, `::1`, `[::1]`.
pub(super) fn pattern(text: &str) -> Result<HostPattern, Wrong> {
    if let Some(addr) = address(text)? {
        return Ok(HostPattern::Addr(addr));
    }
    match text.strip_prefix("*.") {
        Some(rest) if address(rest)?.is_some() => Err(Wrong::new(
            format!("{} puts a star before an address", quoted(text)),
            "stars stand before names; list addresses one by one",
        )),
        Some(rest) => Ok(HostPattern::Suffix(Arc::from(format!(
            ".{}",
            name(rest, text)?
        )))),
        None => Ok(HostPattern::Name(Arc::from(name(text, text)?))),
    }
}

/// The address, if `text` is one.
fn address(text: &str) -> Result<Option<IpAddr>, Wrong> {
    let inside = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let addr = match inside {
        Some(inside) => inside.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    match addr {
        Some(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            let v4 = v6.to_canonical();
            Err(Wrong::new(
                format!("{} is an IPv4 address in IPv6 spelling", quoted(text)),
                format!(r#"write "{v4}""#),
            ))
        }
        addr => Ok(addr),
    }
}

/// A name of letters, digits, hyphens and underscores (RFC 1035 §2.3.1, and what DNS carries besides).
fn name(text: &str, written: &str) -> Result<String, Wrong> {
    let wrong =
        |problem: &str, hint: &str| Err(Wrong::new(format!("{} {problem}", quoted(written)), hint));
    if !text.is_ascii() {
        return wrong(
            "is not ASCII",
            "write the name as DNS carries it, each such label beginning with xn--",
        );
    }
    if text.contains('*') {
        return wrong(
            "has a star inside",
            r#"a star stands alone in front: "*.cloud.test""#,
        );
    }
    if text.contains(':') || text.contains('/') {
        return wrong(
            "is not a host",
            "a name or an address alone, without scheme, port or path; ports have a key of their own",
        );
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() {
        return wrong("is empty", r#"as in "push.test""#);
    }
    if name.len() > 253 {
        return wrong("is too long for a name", "at most 253 characters");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return wrong(
                "has an empty label",
                "one dot between labels, none in front",
            );
        }
        if label.len() > 63 {
            return wrong(
                "has a label that is too long",
                "at most 63 characters between dots",
            );
        }
        if label.starts_with('-') || label.ends_with('-') {
            return wrong(
                "has a label with a hyphen at its edge",
                "hyphens stand inside a label",
            );
        }
        if !label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return wrong(
                "is not a host",
                "letters, digits, hyphens, underscores and dots",
            );
        }
    }
    if ends_in_a_number(&name) {
        return wrong(
            "looks like an address in another spelling",
            r#"write addresses in full, as "127.0.0.1" or "::1""#,
        );
    }
    Ok(name)
}

/// No top-level domain is a number; resolvers read `127.1`, `0x7f.1` and `2130706433` as addresses.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last
        .strip_prefix("0x")
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts() {
        let check = |text: &str, expected: Result<&str, &str>| match (pattern(text), expected) {
            (Ok(HostPattern::Name(name) | HostPattern::Suffix(name)), Ok(shown)) => {
                assert_eq!(&*name, shown, "{text}");
            }
            (Ok(HostPattern::Addr(addr)), Ok(shown)) => assert_eq!(addr.to_string(), shown),
            (Err(wrong), Err(part)) => assert!(
                wrong.problem.contains(part) || wrong.hint.contains(part),
                "{text}: {wrong:?}"
            ),
            (found, _) => panic!("{text}: {found:?}"),
        };
        check("push.test", Ok("push.test"));
        check("Push.TEST.", Ok("push.test"));
        check("_sip._tcp.push.test", Ok("_sip._tcp.push.test"));
        check("localhost", Ok("localhost"));
        check("1.push.test", Ok("1.push.test"));
        check("0x7f.push", Ok("0x7f.push"));
        check("xn--bcher-kva.test", Ok("xn--bcher-kva.test"));
        check("*.cloud.test", Ok(".cloud.test"));
        check("*.Test", Ok(".test"));
        check("127.0.0.1", Ok("127.0.0.1"));
        check("[::1]", Ok("::1"));
        check("0:0:0:0:0:0:0:1", Ok("::1"));
        check("127.1", Err("another spelling"));
        check("0x7f.1", Err("another spelling"));
        check("0x7f000001", Err("another spelling"));
        check("0x", Err("another spelling"));
        check("2130706433", Err("another spelling"));
        check("017700000001", Err("another spelling"));
        check("127.0.0.01", Err("another spelling"));
        check("1.2.3.4.5", Err("another spelling"));
        check("127.0.0.1.", Err("another spelling"));
        check("*.127.0.0.1", Err("star before an address"));
        check("::ffff:127.0.0.1", Err(r#"write "127.0.0.1""#));
        check("bücher.test", Err("xn--"));
        check("push\u{3002}test", Err("xn--"));
        check("*", Err("star"));
        check("*.", Err("is empty"));
        check("a.*.test", Err("star"));
        check("*.*.test", Err("star"));
        check("push*.test", Err("star"));
        check("", Err("is empty"));
        check(".", Err("is empty"));
        check("push.test..", Err("empty label"));
        check(".push.test", Err("empty label"));
        check("push test", Err("not a host"));
        check("push.test:443", Err("ports have a key"));
        check("https://push.test", Err("ports have a key"));
        check("[127.0.0.1]", Err("not a host"));
        check("fe80::1%eth0", Err("not a host"));
        check("-a.test", Err("hyphen"));
        check(&format!("{}.test", "a".repeat(64)), Err("63"));
        check(&"a.".repeat(128), Err("253"));
    }

    proptest! {
        #[test]
        fn a_pattern_is_lower_case_ascii_whatever_was_written(text in "[A-Za-z0-9*._:\\[\\]-]{0,40}|\\PC{0,12}") {
            if let Ok(HostPattern::Name(name) | HostPattern::Suffix(name)) = pattern(&text) {
                prop_assert!(name.is_ascii() && *name == *name.to_ascii_lowercase());
                prop_assert!(!name.ends_with('.') && name.parse::<IpAddr>().is_err());
            }
        }
    }
}
