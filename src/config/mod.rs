//! What the operator wrote, checked: whoever holds a `Config` holds a valid one.
//!
//! `check.rs` makes a `Config` of a file's text, or a list of complaints; `sheet.rs`, `file.rs` and `item.rs` take the
//! TOML apart, `sections.rs` and its neighbours know the keys, `agree.rs` what they mean together.
//! One struct per section of the file, so that rooms import their section and config imports no room.

mod accounts;
mod agree;
mod alarms;
pub(crate) mod check;
mod client;
mod complaint;
mod destination;
pub(crate) mod diff;
mod disk;
mod endpoint;
mod exposure;
mod file;
mod fingerprint;
mod host;
pub(crate) mod identity;
mod item;
mod listener;
pub(crate) mod noncekey;
mod parent;
mod places;
mod receiver;
pub(crate) mod secret;
mod sections;
mod sheet;
mod shown;
mod unbuilt;
pub(crate) mod units;
pub(crate) mod userfile;
pub(crate) mod whereabouts;

#[cfg(test)]
pub(crate) mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::exchange::{
    Algorithm, ClientName, Component, DestinationName, Host, ListenerName, Scheme, UserName,
};

pub(crate) use destination::is_of_a_preset;
pub(crate) use identity::Identity;
pub(crate) use noncekey::NonceKey;
pub(crate) use places::folder_exists;
pub(crate) use secret::Secret;
pub(crate) use units::{Bytes, Network, PortRange, Rate};
pub(crate) use userfile::UserLine;

#[cfg(test)]
pub(crate) use check::parse;

pub(crate) use check::control_socket;
pub use check::load;
pub(crate) use complaint::nearest;
pub use complaint::{Complaint, Complaints};

/// A whole, valid configuration.
#[derive(Debug)]
pub struct Config {
    pub(crate) source: Source,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) admin: Admin,
    pub(crate) authentication: Authentication,
    pub(crate) clients: Vec<Client>,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) policy: Policy,
    pub(crate) dns: Dns,
    pub(crate) connect: Connect,
    pub(crate) tunnel: Tunnel,
    pub(crate) forward: Forward,
    pub(crate) intake: Intake,
    pub(crate) limits: Vec<Limit>,
    pub(crate) log: Log,
    pub(crate) drain: Drain,
    pub(crate) runtime: Runtime,
    pub(crate) alarms: Alarms,
    pub(crate) probe: Probe,
}

/// Where a configuration came from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// `None`: the embedded default.
    pub(crate) path: Option<PathBuf>,
    /// SHA-256 of the text, hex.
    pub(crate) hash: String,
    /// The whole configuration as JSON with secrets hidden, for `/config`.
    pub(crate) shown: serde_json::Value,
    /// What stood in the files it names, and in what is not shown: hashes by key, to see what a reload changes.
    pub(crate) contents: fingerprint::Contents,
}

#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) name: ListenerName,
    pub(crate) address: SocketAddr,
    pub(crate) dual_stack: bool,
    /// Empty: everybody.
    pub(crate) allow_from: Vec<Network>,
    /// Who must say in a PROXY protocol header whose connection it is.
    pub(crate) proxy_protocol_from: Vec<Network>,
    pub(crate) tls: Option<ListenerTls>,
}

#[derive(Debug, Clone)]
pub(crate) struct ListenerTls {
    pub(crate) identity: Arc<Identity>,
    /// Clients must show a certificate that one of these has signed.
    pub(crate) client_ca: Option<Authorities>,
    pub(crate) client_user: ClientUser,
    pub(crate) min_version: TlsVersion,
    pub(crate) ticket_key_file: Option<PathBuf>,
    pub(crate) http2: bool,
}

/// Which name in a client's certificate is the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientUser {
    /// The common name of the subject.
    Subject,
    /// The first DNS name, else the first e-mail address, else the first URI.
    San,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    V1_2,
    V1_3,
}

#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    pub(crate) control_socket: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub(crate) struct Authentication {
    pub(crate) required: bool,
    pub(crate) realm: String,
    /// In the order offered; never empty.
    pub(crate) schemes: Vec<Scheme>,
    pub(crate) basic_requires_tls: bool,
    pub(crate) users_file: PathBuf,
    /// The users file's lines of our realm; empty where nobody needs the file.
    pub(crate) users: Vec<UserLine>,
    /// In the order offered; never empty.
    pub(crate) digest_algorithms: Vec<Algorithm>,
    /// Whether clients are told that they may hash their name.
    pub(crate) userhash: bool,
    pub(crate) nonce_lifetime: Duration,
    /// How many are remembered.
    pub(crate) nonces: u32,
    /// Made at start when missing.
    pub(crate) nonce_key_file: Option<PathBuf>,
    /// The key file's keys, the one in use first; empty where there is no file (yet).
    pub(crate) nonce_keys: Vec<NonceKey>,
    pub(crate) failure_rate: Rate,
    pub(crate) failure_burst: u32,
    /// How many addresses, and users at addresses, are remembered.
    pub(crate) failure_keys: u32,
    pub(crate) next_nonce: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) name: ClientName,
    pub(crate) users: Vec<UserName>,
    pub(crate) networks: Vec<Network>,
    /// Empty: all.
    pub(crate) destinations: Vec<DestinationName>,
    /// Whose counters and alarms its visible pushes move.
    pub(crate) component: Option<Component>,
    pub(crate) priority: Priority,
    /// `authentication = "none"`: its networks need no credentials.
    pub(crate) exempt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    Calls,
    Messages,
}

#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) name: DestinationName,
    /// The preset it was made from.
    pub(crate) preset: Option<String>,
    pub(crate) hosts: Vec<HostRule>,
    pub(crate) ports: Vec<PortRange>,
    /// Special-purpose networks that may be dialled all the same.
    pub(crate) networks: Vec<Network>,
    /// Published ranges of the service (presets); an answer outside is worth a warning.
    pub(crate) published: Vec<Network>,
    pub(crate) sni: Sni,
    /// Trusted beside the system's roots, for TLS that we originate.
    pub(crate) ca: Option<Authorities>,
    pub(crate) max_ttl: Option<Duration>,
    /// Instead of DNS.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) connect_budget: Option<Duration>,
    pub(crate) repeat: Repeat,
    /// Parent proxies; the destination's hosts are then looked up by them.
    pub(crate) via: Vec<Parent>,
    /// For the parents that a user is named for.
    pub(crate) password: Option<Password>,
    /// Local addresses to connect from.
    pub(crate) source: Vec<IpAddr>,
    pub(crate) report_only: bool,
}

/// A parent proxy: `http://user@parent:3128`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Parent {
    pub(crate) tls: bool,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// A password, and the file that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Password {
    pub(crate) path: PathBuf,
    pub(crate) secret: Secret,
}

/// Certificates that are trusted, and the file that they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorities {
    pub(crate) path: PathBuf,
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
}

/// One host of a destination, with the role it has there (a preset has several roles).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostRule {
    pub(crate) pattern: HostPattern,
    pub(crate) role: Role,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostPattern {
    /// Lower case, no trailing dot.
    Name(Arc<str>),
    /// `*.cloud.test` as `.cloud.test`: any name with at least one label before it.
    Suffix(Arc<str>),
    Addr(IpAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Push,
    Token,
    Onboarding,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sni {
    Off,
    Match,
    Require,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Safe,
    Always,
    Never,
}

/// What targets of no destination are counted under while they are let pass.
pub(crate) const UNLISTED: &str = "unlisted";

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) unlisted: Unlisted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unlisted {
    Refuse,
    Report,
}

#[derive(Debug, Clone)]
pub(crate) struct Dns {
    /// Empty: the system's.
    pub(crate) servers: Vec<DnsServer>,
    pub(crate) min_ttl: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) negative_ttl: Duration,
    pub(crate) serve_stale: Duration,
    pub(crate) timeout: Duration,
    pub(crate) ca: Option<Authorities>,
}

impl Dns {
    /// What has to pass between here and the name servers.
    pub(crate) fn ways(&self) -> String {
        let ways = self.servers.iter().map(|server| match server {
            DnsServer::Plain(at) => format!("UDP and TCP {} to {}", at.port(), at.ip()),
            DnsServer::Tls { address: at, .. } => {
                format!("TCP {} (DNS over TLS) to {}", at.port(), at.ip())
            }
            DnsServer::Https { address: at, .. } => {
                format!("TCP {} (DNS over HTTPS) to {}", at.port(), at.ip())
            }
        });
        let ways: Vec<String> = ways.collect();
        if ways.is_empty() {
            return String::from("UDP and TCP 53 to the name servers of /etc/resolv.conf");
        }
        ways.join(", ")
    }
}

/// Always an address: no name has to be known before names can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DnsServer {
    Plain(SocketAddr),
    Tls {
        address: SocketAddr,
        /// Whom its certificate must name.
        name: Arc<str>,
    },
    Https {
        address: SocketAddr,
        name: Arc<str>,
        path: Arc<str>,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) budget: Duration,
    pub(crate) attempt_delay: Duration,
    pub(crate) families: Families,
    pub(crate) quarantine: Duration,
    pub(crate) quarantine_max: Duration,
    /// Addresses whose health is remembered.
    pub(crate) peers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    Both,
    Ipv4,
    Ipv6,
}

#[derive(Debug, Clone)]
pub(crate) struct Tunnel {
    pub(crate) idle_timeout: Duration,
    pub(crate) keepalive: Keepalive,
    pub(crate) unacknowledged_timeout: Duration,
    pub(crate) confirmation_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keepalive {
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
    pub(crate) probes: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Forward {
    pub(crate) second_address_after: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) body_max: Bytes,
    pub(crate) inspect_max: Bytes,
    /// For the TLS handshake with an origin.
    pub(crate) handshake_timeout: Duration,
    /// Origin connections that each core keeps between requests.
    pub(crate) idle_connections: u32,
    pub(crate) idle_timeout: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Intake {
    /// 0: what the descriptors allow, less a reserve.
    pub(crate) connections: u32,
    /// 0: what the descriptors allow, less a reserve.
    pub(crate) tunnels: u32,
    /// 0: a quarter of `connections`.
    pub(crate) held_refusals: u32,
    pub(crate) head_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) head_bytes: Bytes,
    pub(crate) client_idle_timeout: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) per: LimitPer,
    pub(crate) rate: Option<Rate>,
    pub(crate) burst: Option<u32>,
    pub(crate) tunnels: Option<u32>,
    pub(crate) bytes: Option<Rate>,
    pub(crate) max_wait: Duration,
    pub(crate) keys: u32,
    pub(crate) report_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitPer {
    Client,
    User,
    Address,
    Destination,
    All,
}

#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) level: Level,
    pub(crate) access: AccessSink,
    /// Beside the system's: whom a collector's certificate may be from.
    pub(crate) syslog_ca: Option<Authorities>,
    pub(crate) queue_lines: u32,
    pub(crate) tunnel_lines: TunnelLines,
}

/// A greater one says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccessSink {
    Stdout,
    Off,
    File(PathBuf),
    Syslog(Collector),
}

/// A syslog collector (RFC 5424), and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collector {
    pub(crate) transport: Transport,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TunnelLines {
    pub(crate) open: bool,
    pub(crate) hourly: bool,
    pub(crate) close: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Drain {
    pub(crate) tunnel_grace: Grace,
    pub(crate) upgrade_grace: Grace,
    pub(crate) release_idle_first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grace {
    For(Duration),
    Unlimited,
}

/// Probes in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// `None`: off.
    pub(crate) interval: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    /// 0: one per core.
    pub(crate) workers: u32,
}

/// Where alarms go; each of them off until it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alarms {
    /// Who we are in them; `None`: this machine's name.
    pub(crate) instance: Option<String>,
    pub(crate) syslog: Option<Collector>,
    pub(crate) alertmanager: Option<Receiver>,
    pub(crate) webhook: Option<Receiver>,
    /// Trusted beside the system's, for all of them.
    pub(crate) ca: Option<Authorities>,
    /// For each try, from name to answer.
    pub(crate) timeout: Duration,
    /// After so long what is active is told again: to syslog and the webhook.
    pub(crate) repeat: Duration,
    pub(crate) alertmanager_repeat: Duration,
    pub(crate) upload: Option<Upload>,
}

/// Where HTTP requests with alarms go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receiver {
    pub(crate) tls: bool,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// With the query; may be a secret.
    pub(crate) path: String,
    /// The user's password, or without a user a bearer token.
    pub(crate) secret: Option<Password>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) receiver: Receiver,
    pub(crate) period: Duration,
    pub(crate) minimum_severity: LeastSeverity,
    /// Personal data is encrypted with it; without it, left out.
    pub(crate) key: Option<Password>,
}

/// The least that is worth an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeastSeverity {
    Critical,
    Error,
    Warning,
    Notice,
    Information,
}
