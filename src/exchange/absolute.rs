//! The absolute-form of a forwarded request: which scheme, whose, and what is left for the origin.

use std::fmt;

use http::uri::PathAndQuery;

use super::target::{Host, Target, TargetError, port};

/// An `http`, `https` or `ws` URI (RFC 9112 §3.2.2), taken apart once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Absolute {
    /// Whether we speak TLS to the origin.
    pub(crate) tls: bool,
    pub(crate) target: Target,
    /// Path and query as the client wrote them, at least `/`; `None` where the URI has neither.
    pub(crate) path: Option<PathAndQuery>,
}

impl Absolute {
    /// Whether a request-target is meant as a URI with a scheme, well-formed or not.
    pub(crate) fn looks_like(request_target: &[u8]) -> bool {
        request_target.windows(3).any(|three| three == b"://") && !request_target.starts_with(b"/")
    }

    pub(crate) fn parse(request_target: &[u8]) -> Result<Self, TargetError> {
        let separator = request_target.windows(3).position(|three| three == b"://");
        let (scheme, rest) = request_target.split_at(separator.ok_or(TargetError::Scheme)?);
        let tls = if [b"http".as_slice(), b"ws"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            false
        } else if scheme.eq_ignore_ascii_case(b"https") {
            true
        } else {
            return Err(TargetError::Scheme);
        };
        let rest = &rest[b"://".len()..];
        let end = rest.iter().position(|byte| b"/?#\\".contains(byte));
        let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
        if path.starts_with(b"\\") {
            return Err(TargetError::Byte);
        }
        if path.contains(&b'#') {
            return Err(TargetError::Fragment);
        }
        let path = match path {
            [] => None,
            // No path is the path "/" (RFC 9112 §3.2.1).
            [b'?', ..] => Some(PathAndQuery::try_from([b"/", path].concat().as_slice())),
            _ => Some(PathAndQuery::try_from(path)),
        };
        Ok(Self {
            tls,
            target: target(authority, if tls { 443 } else { 80 })?,
            path: path.transpose().map_err(|_| TargetError::PathByte)?,
        })
    }

    /// The port that needs no mention in `Host`.
    fn default_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }

    /// What stands in `Host` at the origin: made of the target, never of what the client sent there.
    pub(crate) fn host_field(&self) -> String {
        let Target { host, port } = &self.target;
        if *port == self.default_port() {
            host.to_string()
        } else {
            self.target.to_string()
        }
    }
}

/// `[ userinfo "@" ] host [ ":" port ]`, where a userinfo is refused and a colon needs its port.
fn target(authority: &[u8], default_port: u16) -> Result<Target, TargetError> {
    if authority.contains(&b'@') {
        return Err(TargetError::Userinfo);
    }
    let host_end = if authority.starts_with(b"[") {
        let close = authority.iter().position(|&byte| byte == b']');
        close.ok_or(TargetError::Brackets)? + 1
    } else {
        let colon = authority.iter().position(|&byte| byte == b':');
        colon.unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(host_end);
    let host = Host::parse(host)?;
    let port = match rest {
        [] => default_port,
        [b':', digits @ ..] => port(digits)?,
        _ => return Err(TargetError::Brackets),
    };
    Ok(Target { host, port })
}

impl fmt::Debug for Absolute {
    /// No path: it may hold a device token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Absolute")
            .field("tls", &self.tls)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(uri: &str) -> String {
        match Absolute::parse(uri.as_bytes()) {
            Ok(absolute) => format!(
                "{}{} {} host={}",
                if absolute.tls { "tls " } else { "" },
                absolute.target,
                absolute.path.as_ref().map_or("-", |path| path.as_str()),
                absolute.host_field()
            ),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn uris() {
        for (uri, want) in [
            (
                "http://push.test/a?b=c",
                "push.test:80 /a?b=c host=push.test",
            ),
            ("HTTP://Push.Test", "push.test:80 - host=push.test"),
            ("http://push.test?x=1", "push.test:80 /?x=1 host=push.test"),
            (
                "http://push.test:8080/",
                "push.test:8080 / host=push.test:8080",
            ),
            (
                "http://push.test:443/",
                "push.test:443 / host=push.test:443",
            ),
            ("https://push.test/", "tls push.test:443 / host=push.test"),
            (
                "https://push.test:443/",
                "tls push.test:443 / host=push.test",
            ),
            (
                "https://push.test:80/",
                "tls push.test:80 / host=push.test:80",
            ),
            ("ws://push.test/chat", "push.test:80 /chat host=push.test"),
            ("http://[::1]:8080/x", "[::1]:8080 /x host=[::1]:8080"),
            ("http://[::1]", "[::1]:80 - host=[::1]"),
            (
                "http://127.0.0.1/a//b/../c",
                "127.0.0.1:80 /a//b/../c host=127.0.0.1",
            ),
            (
                "http://a.test/http://b.test/",
                "a.test:80 /http://b.test/ host=a.test",
            ),
            ("http://a.test/%zz", "a.test:80 /%zz host=a.test"),
            ("wss://push.test/", "Scheme"),
            ("ftp://push.test/", "Scheme"),
            ("gopher://push.test/", "Scheme"),
            ("push.test:80", "Scheme"),
            ("http:/push.test/", "Scheme"),
            ("http://", "HostMissing"),
            ("http:///x", "HostMissing"),
            ("http://:80/", "HostMissing"),
            ("http://u@push.test/", "Userinfo"),
            ("http://u:p@push.test/", "Userinfo"),
            ("http://a.test@b.test/", "Userinfo"),
            ("http://push.test/#top", "Fragment"),
            ("http://push.test#top", "Fragment"),
            ("http://push.test\\@evil.test/", "Byte"),
            ("http://push.test:/", "PortMissing"),
            ("http://push.test:0/", "Port"),
            ("http://push.test:65536/", "Port"),
            ("http://push.test:+80/", "Port"),
            ("http://push.test:80:80/", "Port"),
            ("http://push.test../", "EmptyLabel"),
            ("http://2130706433/", "Number"),
            ("http://[::1/", "Brackets"),
            ("http://[::1]x/", "Brackets"),
            ("http://push.test/<x>", "PathByte"),
        ] {
            assert_eq!(told(uri).trim_start(), want, "{uri}");
        }
    }

    #[test]
    fn a_path_is_no_scheme() {
        for (target, want) in [
            ("http://a.test/", true),
            ("x://", true),
            ("/http://a.test/", false),
            ("a.test:80", false),
            ("*", false),
        ] {
            assert_eq!(Absolute::looks_like(target.as_bytes()), want, "{target}");
        }
    }
}
