//! Parent proxies, as the operator writes them, and the password for them.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::complaint::{Wrong, quoted};
use super::{HostPattern, Parent, Password, Secret, disk, endpoint, host};
use crate::exchange::Host;

/// No password is longer.
const LONGEST: u64 = 4_096;

/// `http://[user@]host[:3128]` or `https://…`, and nothing behind.
pub(super) fn parse(text: &str) -> Result<Parent, Wrong> {
    let text = endpoint::url(text, &["http", "https"])?;
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(Wrong::new(
            format!(
                "{} has more in it than a user, a host and a port",
                quoted(&endpoint::hide(&text))
            ),
            r#""http://user@parent:3128""#,
        ));
    }
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let user = match user.map(percent_decoded) {
        None => None,
        // RFC 7617: the first colon ends the user, and what is shown in logs must be text.
        Some(Some(user))
            if !user.is_empty() && !user.contains(|c: char| c == ':' || c.is_control()) =>
        {
            Some(Arc::from(user))
        }
        Some(_) => {
            return Err(Wrong::new(
                format!("{} has no good user", quoted(&endpoint::hide(&text))),
                "letters and digits before the @; others as %40",
            ));
        }
    };
    let (name, port) = endpoint::name_and_port(place);
    let host = match host::pattern(name)? {
        HostPattern::Addr(addr) => Host::Addr(addr),
        HostPattern::Name(name) | HostPattern::Suffix(name) => Host::Name(name),
    };
    let tls = scheme == "https";
    // What the scheme means without a port is rarely where a proxy listens, but it is what the URL says.
    let usual = if tls { 443 } else { 80 };
    Ok(Parent {
        tls,
        user,
        host,
        port: port.and_then(|port| port.parse().ok()).unwrap_or(usual),
    })
}

/// The first line of a file.
pub(super) fn password(path: &Path) -> Result<Password, Wrong> {
    let text = disk::read(path, LONGEST).map_err(|err| err.wrong())?;
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default();
    if line.is_empty() || lines.any(|line| !line.is_empty()) || line.chars().any(char::is_control) {
        return Err(Wrong::new(
            "is not one line with a password",
            "the password alone, on the first line",
        ));
    }
    Password::private(path, line.as_bytes())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

impl Password {
    /// What was read from a file, which must not be open to all.
    pub(super) fn private(path: &Path, secret: &[u8]) -> Result<Self, Wrong> {
        if disk::is_open_to_all(path) {
            return Err(Wrong::new(
                "may be read or written by everybody on this machine",
                "chmod 600, or 640 with a group of its own",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            secret: Secret::new(secret),
        })
    }

    /// From a file, as a destination's.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        password(path).map_err(|wrong| format!("{} ({})", wrong.problem, wrong.hint))
    }
}

impl Parent {
    /// From the command line.
    pub(crate) fn of_url(text: &str) -> Result<Self, String> {
        parse(text).map_err(|wrong| format!("{} ({})", wrong.problem, wrong.hint))
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "https://" } else { "http://" })?;
        if let Some(user) = &self.user {
            for byte in user.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    write!(f, "{}", char::from(byte))?;
                } else {
                    write!(f, "%{byte:02X}")?;
                }
            }
            f.write_str("@")?;
        }
        match &self.host {
            Host::Addr(IpAddr::V6(addr)) => write!(f, "[{addr}]:{}", self.port),
            Host::Addr(addr) => write!(f, "{addr}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        match (parse(text), expected) {
            (Ok(parent), Ok(shown)) => assert_eq!(parent.to_string(), shown),
            (Err(wrong), Err(part)) => assert!(
                wrong.problem.contains(part) || wrong.hint.contains(part),
                "{wrong:?} lacks {part}"
            ),
            (found, _) => panic!("{expected:?}: {found:?}"),
        }
    }

    #[test]
    fn parents() {
        check("http://parent:3128", Ok("http://parent:3128"));
        check(
            "https://ann@Parent.test/",
            Ok("https://ann@parent.test:443"),
        );
        check("http://a%40b@[::1]:1", Ok("http://a%40b@[::1]:1"));
        check("http://10.0.0.1", Ok("http://10.0.0.1:80"));
        check("http://a%3Ab@p:1", Err("no good user"));
        check("http://a%4@p:1", Err("no good user"));
        check("http://@p:1", Err("no good user"));
        check("http://a:b@p:1", Err("has a password"));
        check("http://p:1/x", Err("more in it"));
        check("socks5://p:1", Err("begins with http://"));
    }
}
