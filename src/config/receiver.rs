//! Receivers of alarms that are spoken to over HTTP, as the operator writes them, and the secret that lets us in.
//!
//! What stands behind the host may be a secret by itself, as in many a chat's webhook: it is never shown where logs are.

use std::fmt;
use std::path::Path;

use super::complaint::{Wrong, quoted};
use super::{Parent, Password, Receiver, disk, parent};

/// A key's file holds 64 digits and a line end.
const LONGEST_KEY: u64 = 256;

/// `http://[user@]host[:80][/path][?query]` or `https://…`.
pub(super) fn parse(text: &str) -> Result<Receiver, Wrong> {
    // Complaints show what stands before it alone.
    let behind = text.find("://").map_or(0, |at| at + 3);
    let end = text[behind..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |at| behind + at);
    let (place, path) = text.split_at(end);
    let Parent {
        tls,
        user,
        host,
        port,
    } = parent::parse(place)?;
    let path = match path {
        "" => String::from("/"),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    let is_good = path.is_ascii()
        && path.len() <= 2_048
        && !path.contains('#')
        && path.parse::<http::uri::PathAndQuery>().is_ok();
    if !is_good {
        return Err(Wrong::new(
            format!("{} has no good path", quoted(place)),
            "without a #, at most 2048 characters, and odd ones as %20 or %C3%A9",
        ));
    }
    Ok(Receiver {
        tls,
        user,
        host,
        port,
        path,
        secret: None,
    })
}

/// A key of 256 bits, as hex digits on one line.
pub(super) fn key(path: &Path) -> Result<Password, Wrong> {
    let text = disk::read(path, LONGEST_KEY).map_err(|err| err.wrong())?;
    let key = text.trim();
    let is_key = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes: Option<Vec<u8>> = (0..if is_key { 32 } else { 0 })
        .map(|place| u8::from_str_radix(&key[2 * place..2 * place + 2], 16).ok())
        .collect();
    let Some(bytes) = bytes.filter(|bytes| bytes.len() == 32) else {
        return Err(Wrong::new(
            "is not one line with a key of 64 hex digits",
            "openssl rand -hex 32 makes one",
        ));
    };
    Password::private(path, &bytes)
}

impl Receiver {
    /// As the configuration is shown: with the path only where that is no secret.
    pub(super) fn shown(&self, is_path_public: bool) -> String {
        match &*self.path {
            "/" => self.to_string(),
            path if is_path_public => format!("{self}{path}"),
            _ => format!("{self}/***"),
        }
    }
}

/// Without what stands behind the host.
impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tls,
            user,
            host,
            port,
            ..
        } = self;
        Parent {
            tls: *tls,
            user: user.clone(),
            host: host.clone(),
            port: *port,
        }
        .fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, &str), &str>) {
        match (parse(text), expected) {
            (Ok(receiver), Ok((shown, path))) => {
                assert_eq!(receiver.to_string(), shown);
                assert_eq!(receiver.path, path);
            }
            (Err(wrong), Err(part)) => assert!(
                wrong.problem.contains(part) || wrong.hint.contains(part),
                "{wrong:?} lacks {part}"
            ),
            (found, _) => panic!("{expected:?}: {found:?}"),
        }
    }

    #[test]
    fn receivers() {
        check("http://am:9093", Ok(("http://am:9093", "/")));
        check(
            "https://Ops.test/hook?k=v",
            Ok(("https://ops.test:443", "/hook?k=v")),
        );
        check("http://a@[::1]?k", Ok(("http://a@[::1]:80", "/?k")));
        check("http://a:b@h/x", Err("has a password"));
        check("http://h/x#y", Err("without a #"));
        check("http://h#y", Err("without a #"));
        check("http://h/é", Err("%C3%A9"));
        check("http://h/a<b", Err("%20"));
        check("syslog://h", Err("begins with http://"));
    }

    #[test]
    fn a_path_is_shown_where_it_is_no_secret() {
        let shown = |text, public| parse(text).unwrap().shown(public);
        assert_eq!(shown("http://h/am", true), "http://h:80/am");
        assert_eq!(shown("https://h/T0/B0/sesame", false), "https://h:443/***");
        assert_eq!(shown("https://h/", false), "https://h:443");
    }
}
