//! Durations "250ms", sizes "64KiB", rates "50/s", networks "10.0.0.0/8", ports 443 and "8000-8099".
//!
//! Pure, and without bounds: what is too long for a key is known where the key is read.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::complaint::{Wrong, quoted};

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

/// Events (or bytes) per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
}

/// An address range.
pub(crate) type Network = ipnet::IpNet;

/// First and last port, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl PortRange {
    pub(crate) fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that divides it: `64KiB`, `1500B`, `0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let (unit, size) = SIZES
            .iter()
            .rfind(|(_, size)| self.0.is_multiple_of(*size))
            .expect("one byte divides everything");
        write!(f, "{}{unit}", self.0 / size)
    }
}

const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZES: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A duration that came another way than in a file.
pub(crate) fn duration_of(text: &str) -> Option<Duration> {
    duration(text).ok()
}

/// `250ms`, `30s`, `5m`, `2h`, `1d`: a whole number and its unit.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || {
        Wrong::new(
            format!("{} is not a duration", quoted(text)),
            r#"a whole number and its unit: "250ms", "30s", "5m", "2h" or "1d""#,
        )
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let (_, each) = DURATIONS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(wrong)?;
    number
        .checked_mul(*each)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// How `duration` would be written, in the largest unit that divides it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return String::from("0s");
    }
    let (unit, each) = DURATIONS
        .iter()
        // A day is shown as "24h": that is how people say it here.
        .take(4)
        .rfind(|(_, each)| ms.is_multiple_of(*each))
        .expect("one millisecond divides everything");
    format!("{}{unit}", ms / each)
}

/// "30m", on a command line.
pub(crate) fn duration_of_an_argument(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(time) if time.is_zero() => Err(String::from("at least 1ms")),
        Ok(time) => Ok(time),
        Err(wrong) => Err(wrong.hint),
    }
}

/// `64KiB`, `10MiB`, `512B`, `0`.
pub(super) fn bytes(text: &str) -> Result<Bytes, Wrong> {
    let wrong = || {
        Wrong::new(
            format!("{} is not a size", quoted(text)),
            r#"a whole number and its unit: "512B", "64KiB", "10MiB", "1GiB", or "0""#,
        )
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    if number == 0 && unit.is_empty() {
        return Ok(Bytes(0));
    }
    let (_, each) = SIZES
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(wrong)?;
    number.checked_mul(*each).map(Bytes).ok_or_else(wrong)
}

/// `50/s`, `0.5/s`.
pub(super) fn rate(text: &str) -> Result<Rate, Wrong> {
    let number = text.strip_suffix("/s").filter(|number| {
        !number.is_empty()
            && number.len() <= 12
            && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && !number.starts_with('.')
            && !number.ends_with('.')
    });
    number
        .and_then(|number| number.parse().ok())
        .map(|per_second| Rate { per_second })
        .ok_or_else(|| {
            Wrong::new(
                format!("{} is not a rate", quoted(text)),
                r#"a number per second: "50/s"; "0.5/s" is thirty a minute"#,
            )
        })
}

/// `10MiB/s`.
pub(super) fn byte_rate(text: &str) -> Result<Rate, Wrong> {
    text.strip_suffix("/s")
        .and_then(|size| bytes(size).ok())
        .map(|size| Rate {
            per_second: size.0 as f64,
        })
        .ok_or_else(|| {
            Wrong::new(
                format!("{} is not a byte rate", quoted(text)),
                r#"a size per second: "512KiB/s", "10MiB/s""#,
            )
        })
}

/// `10.0.0.0/8`, `2001:db8::/32`; an address alone is a network of one.
pub(super) fn network(text: &str) -> Result<Network, Wrong> {
    let wrong = || {
        Wrong::new(
            format!("{} is not a network", quoted(text)),
            r#"an address and the length of its prefix: "10.0.0.0/8", "2001:db8::/32"; an address alone is a network of one"#,
        )
    };
    // The address is read by the standard library, which takes no leading zeros: 010 is 8 to some readers.
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr, Some(small(prefix).ok_or_else(wrong)?)),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
    let network = match prefix {
        Some(prefix) => Network::new(addr, prefix).map_err(|_| wrong())?,
        None => Network::from(addr),
    };
    if network.trunc() != network {
        return Err(Wrong::new(
            format!("{} has bits behind its prefix", quoted(text)),
            format!(
                r#"write "{}" for the network, or "{}" for the one address"#,
                network.trunc(),
                network.addr()
            ),
        ));
    }
    if let Network::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && v6.prefix_len() >= 96
    {
        return Err(Wrong::new(
            format!("{} is an IPv4 network in IPv6 spelling", quoted(text)),
            format!(r#"write "{v4}/{}""#, v6.prefix_len() - 96),
        ));
    }
    Ok(network)
}

/// `8000-8099`, `443`.
pub(super) fn ports(text: &str) -> Result<PortRange, Wrong> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(PortRange { first, last }),
        (Some(first), Some(last)) => Err(Wrong::new(
            format!("{} runs backwards", quoted(text)),
            format!(r#"write "{last}-{first}""#),
        )),
        _ => Err(Wrong::new(
            format!("{} is not a range of ports", quoted(text)),
            r#"numbers from 1 to 65535 and ranges of them: 443, "8000-8099""#,
        )),
    }
}

fn port(text: &str) -> Option<u16> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|port| *port > 0)
}

fn small(text: &str) -> Option<u8> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The number in front and the unit behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let check = |text, ms: Option<u64>| {
            assert_eq!(duration(text).ok(), ms.map(Duration::from_millis), "{text}");
        };
        check("250ms", Some(250));
        check("0s", Some(0));
        check("30s", Some(30_000));
        check("5m", Some(300_000));
        check("2h", Some(7_200_000));
        check("1d", Some(86_400_000));
        for bad in [
            "",
            "5",
            "s",
            "1.5s",
            "-5s",
            "+5s",
            "5 s",
            "5S",
            "5sec",
            "1h30m",
            "٥s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn sizes() {
        let check =
            |text, size: Option<u64>| assert_eq!(bytes(text).ok(), size.map(Bytes), "{text}");
        check("0", Some(0));
        check("1500B", Some(1500));
        check("64KiB", Some(65_536));
        check("10MiB", Some(10 << 20));
        check("1TiB", Some(1 << 40));
        for bad in [
            "",
            "64",
            "64KB",
            "64kib",
            "KiB",
            "1.5MiB",
            "99999999999999TiB",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn rates() {
        let check = |text, expected: Option<f64>| {
            assert_eq!(
                rate(text).ok().map(|rate| rate.per_second),
                expected,
                "{text}"
            );
        };
        check("50/s", Some(50.0));
        check("0.5/s", Some(0.5));
        for bad in [
            "50", "50/m", "/s", ".5/s", "5./s", "1.2.3/s", "-1/s", "1e9/s", "inf/s", "NaN/s",
        ] {
            check(bad, None);
        }
        assert_eq!(
            byte_rate("10MiB/s").map(|rate| rate.per_second),
            Ok(10_485_760.0)
        );
        assert!(byte_rate("10/s").is_err());
    }

    #[test]
    fn networks() {
        let check = |text, shown: Result<&str, &str>| match (network(text), shown) {
            (Ok(network), Ok(shown)) => assert_eq!(network.to_string(), shown, "{text}"),
            (Err(wrong), Err(part)) => assert!(
                wrong.problem.contains(part) || wrong.hint.contains(part),
                "{wrong:?}"
            ),
            (found, _) => panic!("{text}: {found:?}"),
        };
        check("10.0.0.0/8", Ok("10.0.0.0/8"));
        check("10.1.2.3", Ok("10.1.2.3/32"));
        check("::1", Ok("::1/128"));
        check("0.0.0.0/0", Ok("0.0.0.0/0"));
        check("10.1.2.3/8", Err(r#""10.0.0.0/8""#));
        check("10.0.0.0/33", Err("not a network"));
        check("10.0.0.0/", Err("not a network"));
        check("10.0.0.0/+8", Err("not a network"));
        check("10.0/8", Err("not a network"));
        check("010.0.0.0/8", Err("not a network"));
        check("push.test", Err("not a network"));
        check("::ffff:10.0.0.0/104", Err(r#"write "10.0.0.0/8""#));
    }

    #[test]
    fn port_ranges() {
        let check = |text, shown: Option<&str>| {
            assert_eq!(
                ports(text).ok().map(|p| p.to_string()).as_deref(),
                shown,
                "{text}"
            );
        };
        check("443", Some("443"));
        check("8000-8099", Some("8000-8099"));
        for bad in [
            "",
            "0",
            "65536",
            "8099-8000",
            "a-b",
            "1-",
            "-1",
            "+1",
            "1-2-3",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,20}") {
            let _ = (duration(&text), bytes(&text), rate(&text), network(&text), ports(&text));
        }

        #[test]
        fn what_is_shown_can_be_read_again(ms in 0..u64::MAX / 2, size: u64) {
            let duration_ = Duration::from_millis(ms);
            prop_assert_eq!(duration(&show_duration(duration_)), Ok(duration_));
            prop_assert_eq!(bytes(&Bytes(size).to_string()), Ok(Bytes(size)));
        }
    }
}
