//! One JSON object a line for every exchange that has ended.
//!
//! Never a password, a digest response, a nonce, a body, a path or a query: an `Exchange` holds none of them.
//! Whatever a client can make long is cut here, and whatever could steer a terminal is escaped.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::json;
use super::lines::{self, LineWriter, Lines};
use super::sink::Sink;
use super::timestamp::{Timestamp, milliseconds};
use crate::config::AccessSink;
use crate::exchange::{Algorithm, Attempt, Exchange, Reason, Scheme, Side};

const METHOD_CHARS: usize = 32;
const USER_CHARS: usize = 256;
const ADDRESSES: usize = 64;

/// Where exchanges are written; a clone of it is a handle.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    /// `None`: off.
    lines: Option<Lines>,
}

/// Why the access log can't be started.
#[derive(Debug)]
pub(crate) enum AccessLogError {
    Open { path: PathBuf, source: io::Error },
    Stdout(io::Error),
    Thread(io::Error),
    Syslog,
}

impl fmt::Display for AccessLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, .. } => write!(f, "can't open the access log {}", path.display()),
            Self::Stdout(_) => f.write_str("can't write the access log to standard output"),
            Self::Thread(_) => f.write_str("can't start the access log's thread"),
            Self::Syslog => f.write_str("an access log to syslog is not available yet"),
        }
    }
}

impl std::error::Error for AccessLogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Stdout(source) | Self::Thread(source) => Some(source),
            Self::Syslog => None,
        }
    }
}

impl AccessLog {
    /// Opens the log and starts its thread, if it has one. `on_drop` hears how many lines were lost.
    pub(crate) fn start(
        sink: &AccessSink,
        queue_lines: u32,
        on_drop: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(Self, Option<LineWriter>), AccessLogError> {
        let sink = match sink {
            AccessSink::Off => return Ok((Self::off(), None)),
            AccessSink::Stdout => Sink::stdout().map_err(AccessLogError::Stdout)?,
            AccessSink::File(path) => Sink::file(path).map_err(|source| AccessLogError::Open {
                path: path.clone(),
                source,
            })?,
            AccessSink::Syslog(_) => return Err(AccessLogError::Syslog),
        };
        let (lines, writer) = lines::start("access-log", sink, queue_lines as usize, on_drop)
            .map_err(AccessLogError::Thread)?;
        Ok((Self { lines: Some(lines) }, Some(writer)))
    }

    /// A log that keeps nothing.
    pub(crate) fn off() -> Self {
        Self { lines: None }
    }

    /// Hands in the line of an exchange that ended at `at`, `total` after its head was there. Never waits.
    pub(crate) fn record(&self, exchange: &Exchange, at: SystemTime, total: Duration) {
        if let Some(lines) = &self.lines {
            lines.push(line(exchange, at, total));
        }
    }

    /// After a rotation: opens the file anew.
    pub(crate) fn reopen(&self) {
        if let Some(lines) = &self.lines {
            lines.reopen();
        }
    }
}

fn line(exchange: &Exchange, at: SystemTime, total: Duration) -> Vec<u8> {
    let mut line = Vec::with_capacity(1_024);
    json::append(&mut line, &Line::of(exchange, at, total));
    line.push(b'\n');
    line
}

/// The fields in the order of the contract; what is not known is `null`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    event: &'static str,
    ts: Timestamp,
    id: Text<'a>,
    listener: &'a str,
    client: SocketAddr,
    client_name: Option<&'a str>,
    user: Option<&'a str>,
    scheme: Option<&'static str>,
    algorithm: Option<&'static str>,
    method: Option<&'a str>,
    kind: &'static str,
    target: Option<Text<'a>>,
    destination: Option<&'a str>,
    sni: Option<&'a str>,
    resolved: &'a [IpAddr],
    attempts: Vec<Try>,
    peer: Option<SocketAddr>,
    dns_ms: Option<f64>,
    dns_stale_ms: Option<f64>,
    connect_ms: Option<f64>,
    setup_ms: Option<f64>,
    total_ms: f64,
    bytes_up: u64,
    bytes_down: u64,
    exchanges: Option<u64>,
    idle_max_ms: Option<f64>,
    limit_wait_ms: Option<f64>,
    tracking_id: Option<&'a str>,
    status: Option<u16>,
    reason: &'static str,
    fault: &'static str,
    closed_by: Option<&'static str>,
    would_refuse: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Try {
    peer: SocketAddr,
    ms: f64,
    error: Option<&'static str>,
}

impl<'a> Line<'a> {
    fn of(exchange: &'a Exchange, at: SystemTime, total: Duration) -> Self {
        let resolved = &exchange.resolved;
        let attempts = exchange.attempts.iter().take(ADDRESSES).map(Try::of);
        Self {
            event: "close",
            ts: Timestamp(at),
            id: Text(&exchange.id),
            listener: exchange.listener.as_str(),
            client: exchange.client.0,
            client_name: exchange.sender.as_ref().map(|name| name.as_str()),
            user: exchange
                .user
                .as_ref()
                .map(|user| cut(user.as_str(), USER_CHARS)),
            scheme: exchange.scheme.map(Scheme::token),
            algorithm: exchange.algorithm.map(Algorithm::token),
            method: exchange
                .method
                .as_deref()
                .map(|method| cut(method, METHOD_CHARS)),
            kind: exchange.kind.token(),
            target: exchange.target.as_ref().map(|target| Text(target)),
            destination: exchange.destination.as_ref().map(|name| name.as_str()),
            sni: exchange.sni.as_deref(),
            resolved: &resolved[..resolved.len().min(ADDRESSES)],
            attempts: attempts.collect(),
            peer: exchange.peer.map(|peer| peer.0),
            dns_ms: exchange.dns.map(milliseconds),
            dns_stale_ms: None,
            connect_ms: exchange.connect.map(milliseconds),
            setup_ms: exchange.setup.map(milliseconds),
            total_ms: milliseconds(total),
            bytes_up: exchange.bytes_up,
            bytes_down: exchange.bytes_down,
            exchanges: None,
            idle_max_ms: exchange.idle_max.map(milliseconds),
            limit_wait_ms: None,
            tracking_id: None,
            status: exchange.status,
            reason: exchange.reason.token(),
            fault: exchange.reason.fault().token(),
            closed_by: exchange.closed_by.map(Side::token),
            would_refuse: exchange.would_refuse.map(Reason::token),
        }
    }
}

impl Try {
    fn of(attempt: &Attempt) -> Self {
        Self {
            peer: attempt.peer,
            ms: milliseconds(attempt.took),
            error: attempt.error,
        }
    }
}

/// Anything that prints, as a string.
struct Text<'a>(&'a dyn fmt::Display);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// The first `chars` characters.
fn cut(text: &str, chars: usize) -> &str {
    text.char_indices()
        .nth(chars)
        .map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests;
