//! Addresses that the operator writes: of our listeners, of name servers, and URLs of other programs.
//!
//! Only their form is looked at; nothing here resolves a name or opens a socket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::complaint::{Wrong, either, quoted};
use super::host;
use super::{Collector, DnsServer, HostPattern, Transport};
use crate::exchange::Host;

/// What a syslog URL begins with.
pub(super) const SYSLOG: [&str; 3] = ["syslog", "syslog+tcp", "syslog+tls"];

/// Where we listen: `127.0.0.1:3128`, `[::]:3129`.
pub(super) fn listening(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        if let SocketAddr::V6(v6) = address
            && let Some(v4) = v6.ip().to_ipv4_mapped()
        {
            return Err(Wrong::new(
                format!("{} is an IPv4 address in IPv6 spelling", quoted(text)),
                format!(r#"write "{v4}:{}""#, v6.port()),
            ));
        }
        return Ok(address);
    }
    let hint = match (text.parse::<IpAddr>(), text.strip_prefix(':')) {
        (Ok(IpAddr::V4(v4)), _) => format!(r#"add the port: "{v4}:3128""#),
        (Ok(IpAddr::V6(v6)), _) => format!(r#"brackets and a port: "[{v6}]:3128""#),
        (_, Some(port)) => {
            format!(r#"say which addresses: "127.0.0.1:{port}", or "0.0.0.0:{port}" for all"#)
        }
        _ => String::from(r#"an address, not a name, and a port: "127.0.0.1:3128", "[::1]:3128""#),
    };
    Err(Wrong::new(
        format!("{} is not an address with a port", quoted(text)),
        hint,
    ))
}

/// `127.0.0.1:5353`, `[::1]:53`, an address alone (port 53), `tls://address[:853][#name]`,
/// `https://address[:443]/path[#name]`; the name is that of the certificate, where it is not for the address.
pub(super) fn name_server(text: &str) -> Result<DnsServer, Wrong> {
    if let Some(rest) = text.strip_prefix("tls://") {
        let (address, name, path) = encrypted(text, rest, 853)?;
        return match path {
            None => Ok(DnsServer::Tls { address, name }),
            Some(_) => Err(Wrong::new(
                format!("{} has a path in it", quoted(text)),
                r#"DNS over TLS has none: "tls://10.0.0.53#dns.example""#,
            )),
        };
    }
    if let Some(rest) = text.strip_prefix("https://") {
        let (address, name, path) = encrypted(text, rest, 443)?;
        if name.contains(':') {
            return Err(Wrong::new(
                format!("{} does not say its certificate's name", quoted(text)),
                r#"over HTTPS, an IPv6 address needs one: "https://[2001:db8::53]/dns-query#dns.example""#,
            ));
        }
        let path = path.unwrap_or("/dns-query").into();
        return Ok(DnsServer::Https {
            address,
            name,
            path,
        });
    }
    let plain = text
        .parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|addr| SocketAddr::new(addr, 53)));
    match plain {
        Ok(address) if address.port() == 0 => Err(Wrong::new(
            format!("{} has port 0", quoted(text)),
            "name servers listen on port 53, as a rule",
        )),
        Ok(address) => Ok(DnsServer::Plain(address)),
        Err(_) => Err(Wrong::new(
            format!("{} is not a name server", quoted(text)),
            r#"an address, not a name: "10.0.0.53", "127.0.0.1:5353", "[::1]:53""#,
        )),
    }
}

/// Address, name and path of `address[:port][/path][#name]`.
fn encrypted<'a>(
    text: &str,
    rest: &'a str,
    usual: u16,
) -> Result<(SocketAddr, Arc<str>, Option<&'a str>), Wrong> {
    let (place, name) = match rest.split_once('#') {
        Some((place, name)) => (place, Some(name)),
        None => (rest, None),
    };
    let (place, path) = match place.find('/') {
        Some(slash) => (&place[..slash], Some(&place[slash..])),
        None => (place, None),
    };
    let bare = place.trim_start_matches('[').trim_end_matches(']');
    let address = place.parse::<SocketAddr>().ok().or_else(|| {
        let ip = bare.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(ip, usual))
    });
    let Some(address) = address.filter(|address| address.port() != 0) else {
        return Err(Wrong::new(
            format!("{} does not say the server's address", quoted(text)),
            r#"an address, and its certificate's name behind it: "tls://10.0.0.53#dns.example", "https://10.0.0.53/dns-query#dns.example""#,
        ));
    };
    let name = match name {
        None => address.ip().to_string().into(),
        Some(name) => match host::pattern(name) {
            Ok(HostPattern::Name(name)) => name,
            Ok(_) | Err(_) => {
                return Err(Wrong::new(
                    format!("{} has no good name behind the #", quoted(text)),
                    "the name that stands in the server's certificate",
                ));
            }
        },
    };
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '"' | '<' | '>' | '\\');
    if path.is_some_and(|path| !path.chars().all(is_plain) || path.len() > 256) {
        return Err(Wrong::new(
            format!("{} has no good path", quoted(text)),
            r#"most servers use "/dns-query""#,
        ));
    }
    Ok((address, name, path))
}

impl std::fmt::Display for DnsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (address, name) = match self {
            Self::Plain(address) => return address.fmt(f),
            Self::Tls { address, name } => {
                write!(f, "tls://{address}")?;
                (address, name)
            }
            Self::Https {
                address,
                name,
                path,
            } => {
                write!(f, "https://{address}{path}")?;
                (address, name)
            }
        };
        if **name != *address.ip().to_string() {
            write!(f, "#{name}")?;
        }
        Ok(())
    }
}

/// `syslog://host[:514]` (UDP), `syslog+tcp://host[:601]`, `syslog+tls://host[:6514]`, and nothing behind.
pub(super) fn collector(text: &str) -> Result<Collector, Wrong> {
    let text = url(text, &SYSLOG)?;
    let (scheme, place) = text.split_once("://").unwrap_or_default();
    if place.contains(['/', '?', '#', '@']) {
        return Err(Wrong::new(
            format!(
                "{} has more in it than a host and a port",
                quoted(&hide(&text))
            ),
            r#""syslog+tcp://10.0.0.9:601""#,
        ));
    }
    // The ports of RFC 5426, RFC 6587 and RFC 5425.
    let (transport, usual) = match scheme {
        "syslog+tls" => (Transport::Tls, 6514),
        "syslog+tcp" => (Transport::Tcp, 601),
        _ => (Transport::Udp, 514),
    };
    let (name, port) = name_and_port(place);
    let host = match host::pattern(name)? {
        HostPattern::Addr(addr) => Host::Addr(addr),
        HostPattern::Name(name) | HostPattern::Suffix(name) => Host::Name(name),
    };
    Ok(Collector {
        transport,
        host,
        port: port.and_then(|port| port.parse().ok()).unwrap_or(usual),
    })
}

impl std::fmt::Display for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.transport {
            Transport::Udp => "syslog",
            Transport::Tcp => "syslog+tcp",
            Transport::Tls => "syslog+tls",
        };
        match &self.host {
            Host::Addr(addr) => write!(f, "{scheme}://{}", SocketAddr::new(*addr, self.port)),
            Host::Name(name) => write!(f, "{scheme}://{name}:{}", self.port),
        }
    }
}

/// `[::1]` without a port has its colons inside.
fn name_and_port(place: &str) -> (&str, Option<&str>) {
    match place.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (place, None),
    }
}

/// `scheme://host[:port][/path]`. A password inside would be shown wherever the URL is, so there may be none.
pub(super) fn url(text: &str, schemes: &[&str]) -> Result<String, Wrong> {
    let beginnings: Vec<String> = schemes
        .iter()
        .map(|scheme| format!("{scheme}://"))
        .collect();
    let Some(rest) = beginnings
        .iter()
        .find_map(|beginning| text.strip_prefix(beginning.as_str()))
    else {
        return Err(Wrong::new(
            format!("{} is no URL that goes here", quoted(&hide(text))),
            format!("it begins with {}", either(&beginnings)),
        ));
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) || text.len() > 2_048 {
        return Err(Wrong::new(
            "is no URL: it has spaces in it, or is very long",
            "spell odd characters as %20",
        ));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(Wrong::new(
            "has a password in it, and URLs are shown",
            "put the password into a file of its own",
        ));
    }
    let (name, port) = name_and_port(place);
    if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        return Err(Wrong::new(
            format!("{} has no good port", quoted(&hide(text))),
            "a number from 1 to 65535 behind the host",
        ));
    }
    match host::pattern(name) {
        Ok(HostPattern::Name(_) | HostPattern::Addr(_)) => Ok(text.to_owned()),
        Ok(HostPattern::Suffix(_)) | Err(_) => Err(Wrong::new(
            format!("{} has no good host", quoted(&hide(text))),
            "a name or an address behind the ://",
        )),
    }
}

/// A URL as it may be shown: without password and query.
pub(super) fn hide(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.contains('@') {
            String::from("***")
        } else {
            url.to_owned()
        };
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, place)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{user}:***@{place}")
        }
        None => authority.to_owned(),
    };
    match path.split_once('?') {
        Some((path, _)) => format!("{scheme}://{authority}{path}?***"),
        None => format!("{scheme}://{authority}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: std::fmt::Debug>(found: Result<T, Wrong>, expected: Result<&str, &str>) {
        match (found, expected) {
            (Ok(value), Ok(shown)) => assert_eq!(format!("{value:?}"), shown),
            (Err(wrong), Err(part)) => assert!(
                wrong.problem.contains(part) || wrong.hint.contains(part),
                "{wrong:?} lacks {part}"
            ),
            (found, _) => panic!("{expected:?}: {found:?}"),
        }
    }

    #[test]
    fn listening_addresses() {
        check(listening("127.0.0.1:3128"), Ok("127.0.0.1:3128"));
        check(listening("[::]:0"), Ok("[::]:0"));
        check(listening("127.0.0.1"), Err(r#""127.0.0.1:3128""#));
        check(listening("::1"), Err(r#""[::1]:3128""#));
        check(listening(":3128"), Err(r#""0.0.0.0:3128" for all"#));
        check(listening("localhost:3128"), Err("not a name"));
        check(listening("*:3128"), Err("not a name"));
        check(listening("127.0.0.1:65536"), Err("not an address"));
        check(listening("[::ffff:10.0.0.1]:80"), Err(r#""10.0.0.1:80""#));
    }

    #[test]
    fn name_servers() {
        check(name_server("10.0.0.53"), Ok("Plain(10.0.0.53:53)"));
        check(name_server("::1"), Ok("Plain([::1]:53)"));
        check(name_server("127.0.0.1:5353"), Ok("Plain(127.0.0.1:5353)"));
        check(name_server("dns.test"), Err("not a name"));
        check(name_server("127.0.0.1:0"), Err("port 0"));
    }

    #[test]
    fn encrypted_name_servers() {
        let shown = |text| name_server(text).map(|server| server.to_string());
        check(shown("tls://10.0.0.53"), Ok(r#""tls://10.0.0.53:853""#));
        check(shown("tls://::1"), Ok(r#""tls://[::1]:853""#));
        check(
            shown("tls://[::1]:1#DNS.test"),
            Ok(r#""tls://[::1]:1#dns.test""#),
        );
        check(
            shown("https://10.0.0.53#dns.test"),
            Ok(r#""https://10.0.0.53:443/dns-query#dns.test""#),
        );
        check(
            shown("https://10.0.0.53:1/q"),
            Ok(r#""https://10.0.0.53:1/q""#),
        );
        check(shown("https://[::1]/q"), Err("certificate's name"));
        check(shown("tls://dns.test"), Err("the server's address"));
        check(shown("https://dns.test/q"), Err("the server's address"));
        check(shown("tls://"), Err("the server's address"));
        check(shown("tls://10.0.0.53:0"), Err("the server's address"));
        check(shown("tls://10.0.0.53/q"), Err("has a path"));
        check(shown("tls://10.0.0.53#*.test"), Err("behind the #"));
        check(shown("tls://10.0.0.53#"), Err("behind the #"));
        check(shown("https://10.0.0.53/a b"), Err("no good path"));
    }

    #[test]
    fn urls() {
        let http = |text| url(text, &["http", "https"]);
        check(
            http("http://user@parent:3128"),
            Ok(r#""http://user@parent:3128""#),
        );
        check(http("https://[::1]/x"), Ok(r#""https://[::1]/x""#));
        check(http("parent:3128"), Err("begins with http:// or https://"));
        check(
            http("ftp://user:sesame@parent"),
            Err(r#""ftp://user:***@parent""#),
        );
        check(http("http://user:sesame@parent"), Err("has a password"));
        check(http("http://parent:0"), Err("no good port"));
        check(http("http://:80"), Err("no good host"));
        check(http("http://a b/"), Err("spaces"));
    }

    #[test]
    fn collectors() {
        let shown = |text| collector(text).map(|collector| collector.to_string());
        check(shown("syslog://10.0.0.9"), Ok(r#""syslog://10.0.0.9:514""#));
        check(
            shown("syslog+tcp://Logs.test"),
            Ok(r#""syslog+tcp://logs.test:601""#),
        );
        check(
            shown("syslog+tls://[::1]"),
            Ok(r#""syslog+tls://[::1]:6514""#),
        );
        check(
            shown("syslog+tls://[::1]:1"),
            Ok(r#""syslog+tls://[::1]:1""#),
        );
        check(shown("syslog://10.0.0.9/"), Err("more in it than a host"));
        check(shown("syslog://u@10.0.0.9"), Err("more in it than a host"));
        check(shown("syslog://"), Err("no good host"));
        check(shown("syslog://a:0"), Err("no good port"));
        check(shown("tcp://a"), Err("begins with syslog://"));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let check = |url, shown| assert_eq!(hide(url), shown);
        check("https://u:pw@h:1/p?token=x", "https://u:***@h:1/p?***");
        check("https://h/p", "https://h/p");
        check("u:pw@h", "***");
    }
}
