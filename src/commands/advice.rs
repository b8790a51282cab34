//! What a proxy's answer means for a call server, and what an administrator can do about it. Pure.

use super::heard::{Challenge, Heard};
use crate::dial::DialError;
use crate::dial::connect::ConnectError;
use crate::dial::resolve::ResolveError;
use crate::exchange::Reason;

/// What a status means, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) meaning: String,
    pub(super) remedy: &'static str,
}

/// What an answer means; `logged_in`: it came to a request with credentials.
pub(super) fn of(heard: &Heard, logged_in: bool) -> Advice {
    let ending = heard.ending();
    let known = ending.as_ref().and_then(|ending| {
        let mut reasons = Reason::ALL.iter();
        reasons.find(|reason| reason.token() == ending.reason)
    });
    let details = ending.as_ref().and_then(|ending| ending.details.as_deref());
    let remedy = details
        .and_then(of_sentence)
        .or_else(|| known.and_then(|reason| of_reason(*reason)));
    let (usual, general) = if logged_in && heard.is_stale() {
        (
            "the proxy calls stale a nonce that it has just given, twice",
            "behind a load balancer its replicas need the same nonce key; else its clock jumps, or it forgets nonces at once",
        )
    } else {
        of_status(heard.status, logged_in)
    };
    let meaning = match (&ending, details) {
        (Some(ending), Some(details)) => format!("{}: {details}", ending.reason),
        (Some(ending), None) => format!("{}: {usual}", ending.reason),
        (None, _) => usual.to_owned(),
    };
    Advice {
        meaning,
        remedy: remedy.unwrap_or(general),
    }
}

/// Of a tidegate, its sentence may say who it is that fails where its reason does not.
fn of_sentence(sentence: &str) -> Option<&'static str> {
    if sentence.contains("does not take our login") {
        return Some(
            "on the proxy, correct the user in via of the destination, or its password_file: the parent proxy must know them",
        );
    }
    if sentence.contains("parent") {
        return Some(
            "look at the parent proxy that via names on the proxy, at its log and its rules, and at the way to it: tidegate doctor on the proxy shows each of its addresses",
        );
    }
    let causes = [
        (
            DialError::Resolve(ResolveError::Failed),
            "ask those who run the proxy's name servers: they are there, and cannot tell; or name others in [dns] servers",
        ),
        (
            DialError::Resolve(ResolveError::Nowhere),
            "a DNS filter answers the proxy 0.0.0.0 or ::: have it let this name pass, or name other servers in [dns] servers",
        ),
        (
            DialError::OtherFamily,
            "the target has addresses of one IP family alone: see connect.families on the proxy",
        ),
        (
            DialError::Connect(ConnectError::NoSource),
            "on the proxy, correct source of the destination, or bring one of its addresses up there",
        ),
        (
            DialError::Connect(ConnectError::OutOfResources),
            "raise LimitNOFILE of the proxy, or name several addresses in source",
        ),
    ];
    let mut causes = causes.into_iter();
    let found = causes.find(|(error, _)| error.to_string() == sentence);
    found.map(|(_, remedy)| remedy)
}

/// Of a tidegate, its reason says more than the status.
fn of_reason(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::BadTarget => {
            "the server must ask for HOST:PORT: look at the host and port of its push settings"
        }
        Reason::NoCredentials => {
            "enter user and password in the server's push settings (here: --user)"
        }
        Reason::BadCredentials => {
            "enter the password again on the server, or set it anew in the proxy: tidegate passwd, then tidegate reload"
        }
        Reason::StaleNonce => {
            "try again with the new nonce; if it goes on, see whether replicas share one nonce_key_file"
        }
        Reason::Throttled => {
            "somebody there has sent wrong passwords again and again: correct the password on the server, then wait for Retry-After"
        }
        Reason::ClientDenied => {
            "the proxy does not let this server in, or not to this destination: see allow_from of the listener, and destinations of its [[client]]"
        }
        Reason::TargetDenied => {
            "the proxy has no [[destination]] with this host: add it, or a preset"
        }
        Reason::PortDenied => {
            "the proxy's [[destination]] lacks this port: add it to its ports, or ask for 443"
        }
        Reason::AddressDenied => {
            "the name leads to a private or special-purpose address: see who answers DNS for the proxy; if it is meant, list it in networks"
        }
        Reason::SniMismatch => {
            "the server asks the target for another name than it asked the proxy for"
        }
        Reason::LoopDetected => "two proxies send this to each other: see via on both",
        Reason::SelfTarget => {
            "the target is the proxy itself: the server's push settings name the proxy in place of the service"
        }
        Reason::RateLimited | Reason::TunnelLimited => {
            "a [[limit]] of the proxy is used up: tidegate explain shows which ones count, /metrics how often they refuse"
        }
        Reason::NameNotFound => {
            "the proxy's name servers do not know the target: see [dns] servers there, and tidegate doctor"
        }
        Reason::DnsTimeout | Reason::DnsFailed => {
            "no name server answers the proxy: see [dns] servers, and UDP and TCP 53 in the firewall"
        }
        Reason::ConnectRefused | Reason::ConnectTimeout | Reason::Unreachable => {
            "the firewall between the proxy and the internet: it must let the proxy out to the target's port; tidegate doctor there shows each address"
        }
        Reason::UpstreamTimeout | Reason::UpstreamReset => {
            "the target hangs or breaks off: tidegate doctor on the proxy shows each address"
        }
        Reason::UpstreamTlsFailed => {
            "no TLS between the proxy and the target: is there an intercepting firewall?"
        }
        Reason::Draining => "the proxy is being stopped: use the other one until it is back",
        Reason::ConnectionsFull | Reason::TunnelsFull => {
            "the proxy is full: raise LimitNOFILE, and intake.connections or intake.tunnels if they are set"
        }
        Reason::HeadTimeout => {
            "the request came too slowly: look for loss between server and proxy"
        }
        Reason::BadProxyHeader => {
            "this listener takes connections from a load balancer alone (proxy_protocol): go to the balancer, or to a listener without it"
        }
        Reason::Internal => "a fault of the proxy: its journal has the exchange's id",
        _ => return None,
    })
}

/// What a status means from any proxy.
fn of_status(status: u16, logged_in: bool) -> (&'static str, &'static str) {
    match status {
        200..=299 => ("the tunnel is there", ""),
        400 => (
            "the proxy does not understand the request",
            "is it an HTTP proxy, and is http or https right for this port?",
        ),
        401 => (
            "it asks for a login as a web server, not as a proxy",
            "this is no proxy: look at host and port",
        ),
        403 => (
            "the proxy understands, and does not let this server go there",
            "allow CONNECT to the target's host and port in the proxy's rules",
        ),
        404 | 405 | 501 => (
            "it knows no CONNECT",
            "this is a web server or has CONNECT switched off: look at host and port",
        ),
        407 if logged_in => (
            "the proxy does not take this user and password",
            "enter both again on the server; in the proxy, see whether the user exists in this realm",
        ),
        407 => (
            "the proxy asks for a login",
            "enter user and password in the server's push settings (here: --user)",
        ),
        408 => (
            "the proxy waited too long for the request",
            "look for loss between server and proxy",
        ),
        429 => (
            "too many requests, or too many wrong passwords",
            "wait for Retry-After; then see the proxy's limits and the server's password",
        ),
        431 => (
            "the request's head is too large for the proxy",
            "a proxy before this one adds fields: raise the limit (intake.head_bytes)",
        ),
        502 => (
            "the proxy could not reach the target",
            "see the proxy's DNS and the firewall between it and the internet",
        ),
        503 => (
            "the proxy is full or being stopped",
            "see its load and its log; use the other proxy meanwhile",
        ),
        504 => (
            "the target, or a name server, did not answer the proxy in time",
            "see the firewall between the proxy and the internet: dropped packets look like this; a server gives up by itself after 5 s",
        ),
        508 => (
            "the request came back to the proxy",
            "two proxies are each other's parent, or the target is the proxy itself",
        ),
        511 => (
            "a network that wants a login of its own (captive portal) answers in the proxy's place",
            "log in to that network, or have it let this machine through to the proxy",
        ),
        300..=399 => (
            "it sends elsewhere, as a portal or a web server does and no proxy",
            "something else answers in the proxy's place: look at host and port, and for a captive portal",
        ),
        500..=599 => ("a fault of the proxy", "see its log"),
        _ => (
            "no answer to a CONNECT that a server knows",
            "see the proxy's log",
        ),
    }
}

/// What clients make of a 407's challenges: whether it is a warning, and the sentence.
pub(super) fn of_challenges(
    challenges: &[Option<Challenge>],
    keeps: bool,
    tls: bool,
) -> Vec<(bool, String)> {
    let known: Vec<&Challenge> = challenges.iter().flatten().collect();
    let digests: Vec<&Challenge> = known
        .iter()
        .copied()
        .filter(|one| one.is("digest"))
        .collect();
    let mut says = Vec::new();
    let mut warn = |condition: bool, words: &str| {
        if condition {
            says.push((true, words.to_owned()));
        }
    };
    warn(known.is_empty(), "no challenge that a client could answer");
    warn(
        known.len() < challenges.len(),
        "a challenge that cannot be read: clients give up at it",
    );
    let joined = known.windows(2).any(|two| two[0].line == two[1].line);
    warn(
        joined,
        "several challenges in one line: some Java clients miss the second or fall back to Basic",
    );
    let place = |scheme: &str| known.iter().position(|one| one.is(scheme));
    let basic_first = place("basic")
        .zip(place("digest"))
        .is_some_and(|(basic, digest)| basic < digest);
    warn(
        basic_first,
        "Basic stands before Digest: some clients then send the password in clear",
    );
    warn(
        place("basic").is_some() && !tls,
        "Basic without TLS: anybody on the way can read the password",
    );
    let odd = digests
        .iter()
        .any(|one| one.algorithm().eq_ignore_ascii_case("SHA-512-256"));
    warn(
        odd,
        "SHA-512-256 is offered: many clients give up when they see it",
    );
    let has = |name: &str| {
        digests
            .iter()
            .any(|one| one.algorithm().eq_ignore_ascii_case(name))
    };
    warn(
        has("SHA-256") && !has("MD5"),
        "no MD5: Commons HttpClient 3.1, ncat and LWP cannot log in",
    );
    warn(
        has("MD5") && !has("SHA-256"),
        "MD5 alone: Java 19 and later refuse it by default",
    );
    let auth = |one: &&&Challenge| {
        one.qop
            .as_deref()
            .is_none_or(|qop| qop.split(',').any(|word| word.trim() == "auth"))
    };
    warn(
        digests.iter().filter(auth).count() < digests.len(),
        "a digest without qop=auth: most clients cannot answer it",
    );
    warn(
        !keeps,
        "the connection is closed after the 407: where that is not announced, some clients fail",
    );
    if let ([first, .., last], true) = (&digests[..], digests.len() > 1) {
        says.push((
            false,
            format!(
                "curl, HttpClient 5, Jetty and Chromium take the first ({}); Java's own client and HttpClient 4 the last ({})",
                first.algorithm(),
                last.algorithm()
            ),
        ));
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(head: &str) -> Heard {
        Heard::parse(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes())
            .unwrap()
            .unwrap()
            .0
    }

    #[test]
    fn every_status_that_a_server_meets_has_a_remedy() {
        for status in [400, 403, 407, 408, 429, 431, 502, 503, 504, 508] {
            let advice = of(&heard(&format!("{status} x")), true);
            assert!(
                !advice.meaning.is_empty() && !advice.remedy.is_empty(),
                "{status}"
            );
        }
        let ours = of(
            &heard("403 x\r\nProxy-Status: tidegate; details=\"port_denied: not allowed\""),
            true,
        );
        assert_eq!(ours.meaning, "port_denied: not allowed");
        assert!(ours.remedy.contains("lacks this port"));
    }

    #[test]
    fn challenges_that_some_clients_cannot_take() {
        let check = |fields: &str, tls: bool, expected: &[&str]| {
            let heard = heard(&format!("407 x\r\n{fields}"));
            let says = of_challenges(&heard.challenges(), heard.keeps, tls);
            let warnings: Vec<&String> = says
                .iter()
                .filter(|(warn, _)| *warn)
                .map(|(_, words)| words)
                .collect();
            assert_eq!(warnings.len(), expected.len(), "{fields}: {warnings:?}");
            for (warning, part) in warnings.iter().zip(expected) {
                assert!(warning.contains(part), "{fields}: {warnings:?}");
            }
        };
        let digest = |algorithm: &str| {
            format!(
                "Proxy-Authenticate: Digest realm=\"a\", nonce=\"n\", algorithm={algorithm}, qop=\"auth\""
            )
        };
        let (md5, sha) = (digest("MD5"), digest("SHA-256"));
        let basic = "Proxy-Authenticate: Basic realm=\"a\"";
        check(&format!("{md5}\r\n{sha}"), false, &[]);
        check(&format!("{md5}\r\n{sha}\r\n{basic}"), true, &[]);
        check(&md5, false, &["MD5 alone"]);
        check(&sha, false, &["no MD5"]);
        check(basic, false, &["Basic without TLS"]);
        check(
            &format!("{basic}\r\n{md5}\r\n{sha}"),
            true,
            &["Basic stands before"],
        );
        check(
            &format!("{md5}\r\n{sha}, Basic realm=\"b\""),
            true,
            &["one line"],
        );
        check(
            &format!("{md5}\r\n{sha}\r\n{}", digest("SHA-512-256")),
            true,
            &["SHA-512-256"],
        );
        check(
            "Proxy-Authenticate: \"",
            true,
            &["no challenge", "cannot be read"],
        );
        check(
            &format!("{md5}\r\n{sha}\r\nConnection: close"),
            true,
            &["closed after"],
        );
    }
}
