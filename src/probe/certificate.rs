//! What a certificate says of itself: whose it is, who signed it, for which names and for how long. Pure.
//!
//! It came from the network: nothing of it reaches a terminal that could be more than text.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

/// Names of a certificate that are told.
const NAMES_MAX: usize = 4;
/// The longest name that is told whole.
const LONGEST: usize = 80;
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) subject: Party,
    pub(crate) issuer: Party,
    pub(crate) is_self_signed: bool,
    /// The issuer's name as it is written in the certificate.
    pub(super) issuer_der: Vec<u8>,
    /// The DNS names and addresses that it is for, the first few.
    pub(crate) names: Vec<String>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// The certificate of a chain that ends first: with it, the chain does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(super) certificate: Certificate,
    /// Whose it is, where it is not the server's own.
    pub(super) of: Option<Party>,
}

/// A common name and an organization.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Party {
    name: String,
    organization: String,
}

impl Certificate {
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(der).ok()?;
        let validity = parsed.validity();
        Some(Self {
            subject: Party::of(parsed.subject()),
            issuer: Party::of(parsed.issuer()),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            is_self_signed: parsed.issuer().as_raw() == parsed.subject().as_raw(),
            names: names(&parsed),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }

    /// The last second in which it is valid.
    pub(super) fn end(&self) -> Option<UnixTime> {
        let end = self.not_after.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(end))
    }

    /// From which moment on its end is worth a warning: so long before it, or a sixth of its life where that is less,
    /// since certificates of a few weeks are renewed late by design.
    pub(crate) fn is_due(&self, before: Duration, now: SystemTime) -> bool {
        let life = self.not_after.duration_since(self.not_before);
        let early = (life.unwrap_or_default() / 6).min(before);
        now + early >= self.not_after
    }

    /// A time at which it is valid.
    pub(super) fn middle(&self) -> Option<UnixTime> {
        let life = self.not_after.duration_since(self.not_before).ok()?;
        let begin = self
            .not_before
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?;
        Some(UnixTime::since_unix_epoch(begin + life / 2))
    }

    /// Whole days; 0 once it has expired.
    pub(crate) fn days_left(&self, now: SystemTime) -> u64 {
        whole_days(self.not_after.duration_since(now).ok())
    }

    /// Whole days since it expired; 0 before.
    pub(crate) fn days_gone(&self, now: SystemTime) -> u64 {
        whole_days(now.duration_since(self.not_after).ok())
    }
}

impl Ending {
    pub(super) fn of_leaf(leaf: &Certificate) -> Self {
        Self {
            certificate: leaf.clone(),
            of: None,
        }
    }
}

/// As it is told: which of the chain it is.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            None => f.write_str("the certificate"),
            Some(whose) => write!(f, "the intermediate certificate {whose}"),
        }
    }
}

impl Party {
    pub(super) fn organization(&self) -> &str {
        &self.organization
    }

    fn of(name: &X509Name<'_>) -> Self {
        let text = |mut values: Vec<&str>| {
            let first = if values.is_empty() {
                ""
            } else {
                values.remove(0)
            };
            plain(first)
        };
        Self {
            name: text(
                name.iter_common_name()
                    .filter_map(|one| one.as_str().ok())
                    .collect(),
            ),
            organization: text(
                name.iter_organization()
                    .filter_map(|one| one.as_str().ok())
                    .collect(),
            ),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.organization.as_str()) {
            ("", "") => f.write_str("nobody by name"),
            (name, "") | ("", name) => write!(f, "\"{name}\""),
            (name, organization) => write!(f, "\"{name}\" of {organization}"),
        }
    }
}

fn names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(found)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let names = found
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(plain(name)),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes)
                    .ok()
                    .map(|ip| std::net::IpAddr::from(ip).to_string()),
                16 => <[u8; 16]>::try_from(*bytes)
                    .ok()
                    .map(|ip| std::net::IpAddr::from(ip).to_string()),
                _ => None,
            },
            _ => None,
        });
    names.take(NAMES_MAX).collect()
}

fn whole_days(time: Option<Duration>) -> u64 {
    time.unwrap_or_default().as_secs() / DAY.as_secs()
}

/// Printable, and no longer than a line bears.
fn plain(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control() && *c != '"');
    printable.take(LONGEST).collect()
}

/// Before 1970 is as expired as 1970.
fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(days: u64) -> Certificate {
        let start = SystemTime::UNIX_EPOCH + 1000 * DAY;
        Certificate {
            subject: Party::default(),
            issuer: Party::default(),
            issuer_der: Vec::new(),
            is_self_signed: false,
            names: Vec::new(),
            not_before: start,
            not_after: start + DAY * u32::try_from(days).unwrap(),
        }
    }

    #[test]
    fn a_certificate_of_a_year_is_due_a_month_before_and_one_of_weeks_later() {
        let check = |life: u64, left: u64, due: bool| {
            let certificate = made(life);
            let now = certificate.not_after - DAY * u32::try_from(left).unwrap();
            assert_eq!(certificate.is_due(30 * DAY, now), due, "{life} {left}");
        };
        check(398, 31, false);
        check(398, 30, true);
        check(84, 15, false);
        check(84, 14, true);
        check(6, 2, false);
        check(6, 1, true);
    }

    #[test]
    fn days_are_counted_up_to_the_end_and_from_it_on() {
        let certificate = made(90);
        let check = |now, left, gone| {
            assert_eq!(certificate.days_left(now), left);
            assert_eq!(certificate.days_gone(now), gone);
        };
        check(certificate.not_before, 90, 0);
        check(certificate.not_after + 3 * DAY, 0, 3);
    }

    #[test]
    fn what_a_certificate_says_is_text_and_no_more() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["push.test".into()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "evil\u{1b}[2J\n\"name\"");
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "Corp");
        let made = params.self_signed(&key).unwrap();
        let certificate = Certificate::parse(made.der()).unwrap();
        assert_eq!(certificate.issuer.to_string(), "\"evil[2Jname\" of Corp");
        assert_eq!(certificate.names, ["push.test"]);
        assert!(certificate.is_self_signed);
    }
}
