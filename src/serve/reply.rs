//! What a client is answered: each ending has one status, one `Proxy-Status` error and one line of text.
//!
//! The only file on the data path that names a status code. No address of ours or of a peer and no internal error
//! text ever stands in a reply.
#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;

use super::head::Head;
use crate::exchange::{ExchangeId, Reason};

/// The whole answer to a CONNECT that got through. Some clients compare it byte by byte, whatever version they speak.
pub(crate) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// The status that goes with `ESTABLISHED`, for the log.
pub(crate) const ESTABLISHED_STATUS: u16 = 200;

/// When a client that we had no room for may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One refusal or failure, as it goes to the client.
#[derive(Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) reason: Reason,
    /// A sentence for whoever reads the reply; empty where the reason's word says it all.
    pub(crate) details: &'a str,
    /// One `Proxy-Authenticate` field each.
    pub(crate) challenges: &'a [String],
    /// Further fields.
    pub(crate) fields: &'a [(&'static str, String)],
    /// Whether the connection stays open for the next request.
    pub(crate) keep: bool,
}

impl Refusal<'_> {
    /// Status and bytes of the reply; `None` where nobody is left to read one.
    pub(crate) fn render(&self, id: ExchangeId) -> Option<(u16, Vec<u8>)> {
        let (status, error) = answer(self.reason)?;
        let body = format!("{} {id}\n", self.reason.token());
        let mut head = format!(
            "HTTP/1.1 {} {}\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default()
        );
        for challenge in self.challenges {
            field(&mut head, "Proxy-Authenticate", challenge);
        }
        let mut proxy_status = String::from("tidegate");
        if let Some(error) = error {
            let _ = write!(proxy_status, "; error={error}");
        }
        let word = self.reason.token();
        match self.details {
            "" => drop(write!(proxy_status, "; details=\"{word}\"")),
            details => drop(write!(
                proxy_status,
                "; details=\"{word}: {}\"",
                quotable(details)
            )),
        }
        field(&mut head, "Proxy-Status", &proxy_status);
        for (name, value) in self.fields {
            field(&mut head, name, value);
        }
        let says_when = self.fields.iter().any(|(name, _)| *name == "Retry-After");
        if !says_when
            && matches!(
                status,
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
            )
        {
            field(&mut head, "Retry-After", &RETRY_AFTER.as_secs().to_string());
        }
        if !self.keep {
            field(&mut head, "Connection", "close");
        }
        field(&mut head, "Content-Type", "text/plain");
        field(&mut head, "Content-Length", &body.len().to_string());
        head.push_str("\r\n");
        head.push_str(&body);
        Some((status.as_u16(), head.into_bytes()))
    }
}

/// Our own answer to OPTIONS: what a proxy can be asked.
pub(crate) fn options(keep: bool) -> (u16, Vec<u8>) {
    let mut head = String::from("HTTP/1.1 200 OK\r\n");
    field(
        &mut head,
        "Allow",
        "CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE",
    );
    if !keep {
        field(&mut head, "Connection", "close");
    }
    head.push_str("Content-Length: 0\r\n\r\n");
    (StatusCode::OK.as_u16(), head.into_bytes())
}

/// Our own answer to TRACE (RFC 9110 §9.3.8): the request as it came, less what is nobody else's business.
pub(crate) fn trace(request: &Head, keep: bool) -> (u16, Vec<u8>) {
    let mut body = Vec::from(request.line());
    for (name, value) in request.fields() {
        let secret = |secret: &str| name.eq_ignore_ascii_case(secret.as_bytes());
        let ours = name.len() > 6 && name[..6].eq_ignore_ascii_case(b"proxy-");
        if ours || secret("authorization") || secret("cookie") {
            continue;
        }
        for part in [name, b": ", value, b"\r\n"] {
            body.extend_from_slice(part);
        }
    }
    body.extend_from_slice(b"\r\n");
    let mut head = String::from("HTTP/1.1 200 OK\r\n");
    if !keep {
        field(&mut head, "Connection", "close");
    }
    field(&mut head, "Content-Type", "message/http");
    field(&mut head, "Content-Length", &body.len().to_string());
    head.push_str("\r\n");
    let mut reply = head.into_bytes();
    reply.append(&mut body);
    (StatusCode::OK.as_u16(), reply)
}

/// When it is worth trying again: in whole seconds, and never too early.
pub(crate) fn retry_after(after: Duration) -> (&'static str, String) {
    let seconds = after.as_millis().div_ceil(1000).max(1);
    ("Retry-After", seconds.to_string())
}

fn field(head: &mut String, name: &str, value: &str) {
    let _ = write!(head, "{name}: {value}\r\n");
}

/// The bytes that a quoted string may hold (RFC 8941 §3.3.3).
fn quotable(text: &str) -> String {
    text.chars()
        .filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\'))
        .collect()
}

/// Status and `Proxy-Status` error (RFC 9209 §2.3) of an ending; `None` for those that come when no reply can be sent.
fn answer(reason: Reason) -> Option<(StatusCode, Option<&'static str>)> {
    const AUTH: Option<&str> = Some("http_request_denied");
    Some(match reason {
        Reason::BadRequest | Reason::BadTarget | Reason::BadProxyHeader => {
            (StatusCode::BAD_REQUEST, Some("http_request_error"))
        }
        Reason::UriTooLong => (StatusCode::URI_TOO_LONG, Some("http_request_error")),
        Reason::HeadTooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Some("http_request_error"),
        ),
        Reason::HeadTimeout | Reason::BodyTimeout => {
            (StatusCode::REQUEST_TIMEOUT, Some("http_request_error"))
        }
        Reason::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Some("http_request_error")),
        Reason::NoCredentials | Reason::BadCredentials | Reason::StaleNonce => {
            (StatusCode::PROXY_AUTHENTICATION_REQUIRED, AUTH)
        }
        Reason::Throttled | Reason::RateLimited | Reason::TunnelLimited => {
            (StatusCode::TOO_MANY_REQUESTS, AUTH)
        }
        Reason::ClientDenied | Reason::TargetDenied | Reason::PortDenied | Reason::SniMismatch => {
            (StatusCode::FORBIDDEN, AUTH)
        }
        Reason::AddressDenied => (StatusCode::FORBIDDEN, Some("destination_ip_prohibited")),
        Reason::LoopDetected | Reason::SelfTarget => {
            (StatusCode::LOOP_DETECTED, Some("proxy_loop_detected"))
        }
        Reason::NameNotFound => (StatusCode::BAD_GATEWAY, Some("dns_error")),
        Reason::DnsFailed => (StatusCode::BAD_GATEWAY, Some("dns_error")),
        Reason::DnsTimeout => (StatusCode::GATEWAY_TIMEOUT, Some("dns_timeout")),
        Reason::ConnectRefused => (StatusCode::BAD_GATEWAY, Some("connection_refused")),
        Reason::ConnectTimeout => (StatusCode::GATEWAY_TIMEOUT, Some("connection_timeout")),
        Reason::Unreachable => (StatusCode::BAD_GATEWAY, Some("destination_ip_unroutable")),
        Reason::UpstreamReset => (StatusCode::BAD_GATEWAY, Some("connection_terminated")),
        Reason::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, Some("connection_read_timeout")),
        Reason::UpstreamTlsFailed => (StatusCode::BAD_GATEWAY, Some("tls_protocol_error")),
        Reason::BadReply => (StatusCode::BAD_GATEWAY, Some("http_protocol_error")),
        Reason::Draining => (StatusCode::SERVICE_UNAVAILABLE, None),
        Reason::ConnectionsFull | Reason::TunnelsFull => (
            StatusCode::SERVICE_UNAVAILABLE,
            Some("connection_limit_reached"),
        ),
        Reason::Internal => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Some("proxy_internal_error"),
        ),
        Reason::HandshakeFailed
        | Reason::ClientReset
        | Reason::ClientGone
        | Reason::Dropped
        | Reason::Finished
        | Reason::Idle => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(refusal: &Refusal<'_>) -> String {
        let (_, bytes) = refusal
            .render(ExchangeId::new(1, 2, 3))
            .expect("has an answer");
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_challenge_stands_on_a_line_of_its_own() {
        let challenges = [
            "Digest realm=\"a\"".to_owned(),
            "Basic realm=\"a\"".to_owned(),
        ];
        let reply = text(&Refusal {
            reason: Reason::NoCredentials,
            details: "",
            challenges: &challenges,
            fields: &[],
            keep: true,
        });
        assert!(reply.starts_with("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Digest realm=\"a\"\r\nProxy-Authenticate: Basic realm=\"a\"\r\n"), "{reply}");
        assert!(!reply.contains("Connection:"), "{reply}");
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{reply}"
        );
        assert!(
            body.starts_with("no_credentials 0") && body.ends_with('\n'),
            "{body}"
        );
    }

    #[test]
    fn a_full_house_says_when_to_come_again() {
        let reply = text(&Refusal {
            reason: Reason::ConnectionsFull,
            details: "",
            challenges: &[],
            fields: &[],
            keep: false,
        });
        assert!(
            reply.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{reply}"
        );
        assert!(
            reply.contains("\r\nRetry-After: 1\r\n") && reply.contains("\r\nConnection: close\r\n"),
            "{reply}"
        );
    }

    #[test]
    fn a_pause_is_told_in_whole_seconds() {
        for (pause, want) in [(0, 1), (1_000, 1), (1_001, 2), (90_000, 90)] {
            let reply = text(&Refusal {
                reason: Reason::Throttled,
                details: "",
                challenges: &[],
                fields: &[retry_after(Duration::from_millis(pause))],
                keep: true,
            });
            let want = format!("\r\nRetry-After: {want}\r\n");
            assert!(
                reply.starts_with("HTTP/1.1 429 ") && reply.contains(&want),
                "{reply}"
            );
        }
    }

    #[test]
    fn details_cannot_split_a_reply() {
        let reply = text(&Refusal {
            reason: Reason::BadRequest,
            details: "a\r\nSet-Cookie: b\"\\é",
            challenges: &[],
            fields: &[],
            keep: true,
        });
        assert!(reply.contains("Proxy-Status: tidegate; error=http_request_error; details=\"bad_request: aSet-Cookie: b\"\r\n"), "{reply}");
    }

    /// The table of the README. `UPDATE=1 cargo test` writes it anew.
    #[test]
    fn refusals_are_as_the_table_says() {
        let mut table = format!(
            "{:<20} {:<9} {:<6} {}\n",
            "reason", "fault", "status", "Proxy-Status error"
        );
        for reason in Reason::ALL {
            let (status, error) = match answer(reason) {
                Some((status, error)) => (status.as_str().to_owned(), error.unwrap_or("-")),
                None => ("-".to_owned(), "-"),
            };
            let _ = writeln!(
                table,
                "{:<20} {:<9} {:<6} {error}",
                reason.token(),
                reason.fault().token(),
                status
            );
        }
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/snapshots/refusals.txt"
        );
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &table).expect("the snapshot can be written");
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            table,
            "run UPDATE=1 cargo test, and look at the difference"
        );
    }
}
