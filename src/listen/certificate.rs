//! Who a client's certificate says it is.
//!
//! Pure. Whether the certificate can be believed was settled in the handshake; here it is only read.

use std::time::SystemTime;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::config::ClientUser;
use crate::exchange::UserName;
use crate::gate::LONGEST_USER;

/// The certificate of a session that was resumed may have expired since the session began.
pub(super) fn is_current(certificate: &[u8], now: SystemTime) -> bool {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
        return false;
    };
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let ends = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    seconds <= ends
}

/// The user, if the certificate has such a name, and one that can stand in a log.
pub(super) fn user(certificate: &[u8], whose: ClientUser) -> Option<UserName> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let name = match whose {
        ClientUser::Subject => common_name(&parsed)?,
        ClientUser::San => alternative_name(&parsed)?,
    };
    let fits = !name.is_empty() && name.len() <= LONGEST_USER && !name.contains(char::is_control);
    fits.then(|| UserName::new(name))
}

/// Of two common names neither can be trusted to be the one that is meant.
fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let mut names = certificate.subject().iter_common_name();
    match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().ok(),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// The first DNS name, else the first e-mail address, else the first URI.
fn alternative_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let names = &certificate
        .subject_alternative_name()
        .ok()??
        .value
        .general_names;
    let first = |read: fn(&GeneralName<'a>) -> Option<&'a str>| names.iter().find_map(read);
    first(|name| match name {
        GeneralName::DNSName(name) => Some(name),
        _ => None,
    })
    .or_else(|| {
        first(|name| match name {
            GeneralName::RFC822Name(name) => Some(name),
            _ => None,
        })
    })
    .or_else(|| {
        first(|name| match name {
            GeneralName::URI(name) => Some(name),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};
    use std::time::Duration;

    /// Common names, and alternative names with their kind in front.
    fn certificate(common: &[&str], alternative: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = alternative
            .iter()
            .map(|name| match name.split_once('=').unwrap() {
                ("dns", name) => SanType::DnsName(name.try_into().unwrap()),
                ("email", name) => SanType::Rfc822Name(name.try_into().unwrap()),
                ("uri", name) => SanType::URI(name.try_into().unwrap()),
                (_, ip) => SanType::IpAddress(ip.parse().unwrap()),
            })
            .collect();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_user_is_the_name_that_was_asked_for() {
        let check = |common: &[&str], alternative: &[&str], subject: &str, san: &str| {
            let certificate = certificate(common, alternative);
            let word = |whose| {
                user(&certificate, whose).map_or_else(|| "-".into(), |user| user.to_string())
            };
            let known = (word(ClientUser::Subject), word(ClientUser::San));
            assert_eq!((known.0.as_str(), known.1.as_str()), (subject, san));
        };
        check(&["cucm1"], &[], "cucm1", "-");
        check(
            &["Grüße & Co"],
            &["dns=a.test", "dns=b.test"],
            "Grüße & Co",
            "a.test",
        );
        check(
            &[],
            &["uri=spiffe://x/y", "email=a@b.test", "dns=a.test"],
            "-",
            "a.test",
        );
        check(
            &[],
            &["uri=spiffe://x/y", "email=a@b.test"],
            "-",
            "a@b.test",
        );
        check(
            &[],
            &["ip=127.0.0.1", "uri=spiffe://x/y"],
            "-",
            "spiffe://x/y",
        );
        check(&[], &["ip=127.0.0.1"], "-", "-");
        check(&[""], &[], "-", "-");
        check(&["two\nlines"], &[], "-", "-");
        check(&["nul\0byte"], &[], "-", "-");
        check(&[&"x".repeat(257)], &[], "-", "-");
        assert_eq!(user(b"nonsense", ClientUser::Subject), None);
    }

    #[test]
    fn a_certificate_is_current_to_its_last_second() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        assert!(is_current(&certificate, end));
        assert!(!is_current(&certificate, end + Duration::from_secs(1)));
        assert!(!is_current(b"nonsense", end));
    }
}
