//! One JSON object a line for every exchange that has ended, and where wanted for tunnels that live.
//!
//! Never a password, a digest response, a nonce, a body, a path or a query: an `Exchange` holds none of them.
//! Whatever a client can make long is cut here, and whatever could steer a terminal is escaped.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::json;
use super::lines::{self, LineWriter, Lines};
use super::outbox::{self, Letter, Outbox, Waiting};
use super::sink::Sink;
use super::timestamp::{Timestamp, milliseconds};
use crate::config::{self, AccessSink, TunnelLines};
use crate::exchange::{Algorithm, Attempt, Exchange, Fault, Kind, Reason, Scheme, Side};

const METHOD_CHARS: usize = 32;
const USER_CHARS: usize = 256;
const ADDRESSES: usize = 64;
/// Of a line for a collector: keeps it under the 8 KiB that collectors take by default.
const ADDRESSES_SENT: usize = 16;

/// What a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A tunnel's 200 was sent.
    Open,
    /// A tunnel has lived another hour.
    Hourly,
    /// The exchange has ended.
    Close,
}

impl Event {
    fn token(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Hourly => "hourly",
            Self::Close => "close",
        }
    }
}

/// Where exchanges are written; a clone of it is a handle.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    way: Way,
    tunnel_lines: TunnelLines,
}

#[derive(Debug, Clone)]
enum Way {
    Off,
    Lines(Lines),
    Outbox(Outbox),
}

/// Who brings the lines to where they belong; there must be somebody until the program ends.
#[derive(Debug)]
pub(crate) enum LogEnd {
    /// The log is off.
    Nobody,
    Writer(LineWriter),
    /// Nobody yet: what waits must be delivered.
    Collector(Waiting),
}

/// Why the access log can't be started.
#[derive(Debug)]
pub(crate) enum AccessLogError {
    Open { path: PathBuf, source: io::Error },
    Stdout(io::Error),
    Thread(io::Error),
}

impl fmt::Display for AccessLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, .. } => write!(f, "can't open the access log {}", path.display()),
            Self::Stdout(_) => f.write_str("can't write the access log to standard output"),
            Self::Thread(_) => f.write_str("can't start the access log's thread"),
        }
    }
}

impl std::error::Error for AccessLogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Stdout(source) | Self::Thread(source) => Some(source),
        }
    }
}

impl AccessLog {
    /// Opens the log and starts its thread, if it has one. `on_drop` hears how many lines were lost.
    pub(crate) fn start(
        log: &config::Log,
        on_drop: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(Self, LogEnd), AccessLogError> {
        let queue_lines = log.queue_lines as usize;
        let write = |sink, on_drop| {
            let (lines, writer) = lines::start("access-log", sink, queue_lines, on_drop)
                .map_err(AccessLogError::Thread)?;
            Ok((Way::Lines(lines), LogEnd::Writer(writer)))
        };
        let (way, end) = match &log.access {
            AccessSink::Off => (Way::Off, LogEnd::Nobody),
            AccessSink::Stdout => write(Sink::stdout().map_err(AccessLogError::Stdout)?, on_drop)?,
            AccessSink::File(path) => {
                let sink = Sink::file(path).map_err(|source| AccessLogError::Open {
                    path: path.clone(),
                    source,
                })?;
                write(sink, on_drop)?
            }
            AccessSink::Syslog(_) => {
                let (outbox, waiting) = outbox::outbox(queue_lines, on_drop);
                (Way::Outbox(outbox), LogEnd::Collector(waiting))
            }
        };
        let tunnel_lines = log.tunnel_lines;
        Ok((Self { way, tunnel_lines }, end))
    }

    /// Hands in the line of an exchange, if it is to have one: what is known of it at `at`, `total` after its head was
    /// there. Never waits.
    pub(crate) fn record(
        &self,
        event: Event,
        exchange: &Exchange,
        at: SystemTime,
        total: Duration,
    ) {
        if !self.wants(event, exchange) {
            return;
        }
        match &self.way {
            Way::Off => {}
            Way::Lines(lines) => {
                let mut line = line(event, exchange, at, total, ADDRESSES);
                line.push(b'\n');
                lines.push(line);
            }
            Way::Outbox(outbox) => outbox.push(Letter {
                at,
                line: line(event, exchange, at, total, ADDRESSES_SENT),
            }),
        }
    }

    fn wants(&self, event: Event, exchange: &Exchange) -> bool {
        let lines = self.tunnel_lines;
        match event {
            Event::Open => lines.open,
            Event::Hourly => lines.hourly,
            // What went wrong, or would have, is worth its line whatever the operator wants to see of tunnels.
            Event::Close => {
                lines.close
                    || exchange.kind != Kind::Tunnel
                    || exchange.would_refuse.is_some()
                    || exchange.reason.fault() != Fault::Nobody
            }
        }
    }

    /// After a rotation: opens the file anew.
    pub(crate) fn reopen(&self) {
        match &self.way {
            Way::Lines(lines) => lines.reopen(),
            // A collector turns its files over by itself.
            Way::Off | Way::Outbox(_) => {
                tracing::info!("the access log is no file: nothing to open anew");
            }
        }
    }
}

/// Without its line end.
fn line(
    event: Event,
    exchange: &Exchange,
    at: SystemTime,
    total: Duration,
    addresses: usize,
) -> Vec<u8> {
    let mut line = Vec::with_capacity(1_024);
    json::append(&mut line, &Line::of(event, exchange, at, total, addresses));
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
    dns_stale_ms: Option<u32>,
    connect_ms: Option<f64>,
    setup_ms: Option<f64>,
    total_ms: f64,
    bytes_up: u64,
    bytes_down: u64,
    exchanges: Option<u32>,
    idle_max_ms: Option<f64>,
    limit_wait_ms: Option<f64>,
    tracking_id: Option<&'a str>,
    status: Option<u16>,
    /// `null` while it lives, and so are the next two.
    reason: Option<&'static str>,
    fault: Option<&'static str>,
    closed_by: Option<&'static str>,
    would_refuse: Option<&'static str>,
    limit: Option<&'a str>,
    /// Only there where it is so.
    #[serde(skip_serializing_if = "is_no")]
    repeated: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_no(flag: &bool) -> bool {
    !flag
}

#[derive(Debug, Serialize)]
struct Try {
    peer: SocketAddr,
    ms: f64,
    error: Option<&'static str>,
}

impl<'a> Line<'a> {
    fn of(
        event: Event,
        exchange: &'a Exchange,
        at: SystemTime,
        total: Duration,
        addresses: usize,
    ) -> Self {
        let resolved = &*exchange.resolved;
        let attempts = exchange.attempts.iter().take(addresses).map(Try::of);
        let reason = (event == Event::Close).then_some(exchange.reason);
        Self {
            event: event.token(),
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
            resolved: &resolved[..resolved.len().min(addresses)],
            attempts: attempts.collect(),
            peer: exchange.peer.map(|peer| peer.0),
            dns_ms: exchange.dns_us.map(|took| f64::from(took.get()) / 1_000.0),
            dns_stale_ms: exchange.dns_stale_ms.map(NonZeroU32::get),
            connect_ms: exchange
                .connect_us
                .map(|took| f64::from(took.get()) / 1_000.0),
            setup_ms: exchange.setup.map(milliseconds),
            total_ms: milliseconds(total),
            bytes_up: exchange.bytes_up,
            bytes_down: exchange.bytes_down,
            exchanges: exchange.exchanges,
            idle_max_ms: exchange.idle_max.map(milliseconds),
            limit_wait_ms: exchange
                .limit_wait_us
                .map(|wait| f64::from(wait.get()) / 1_000.0),
            tracking_id: exchange.tracking_id.as_ref().map(|id| id.as_str()),
            status: exchange.status,
            reason: reason.map(Reason::token),
            fault: reason.map(|reason| reason.fault().token()),
            closed_by: exchange.closed_by.map(Side::token),
            would_refuse: exchange.would_refuse.map(Reason::token),
            limit: exchange.limit.as_deref(),
            repeated: exchange.repeated,
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
pub(crate) mod tests;
