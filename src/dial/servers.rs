//! The DNS servers: whom to ask, and when to ask the next one.
//!
//! hickory alone would give up when the first server says SERVFAIL or REFUSED; here an answer counts, whichever server it
//! comes from, and neither a failure nor slowness does more than call the next one.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::system_conf::parse_resolv_conf;
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answerer::Settled;
use super::race::{self, Pace};
use super::resolve::{Family, ResolveError};
use super::server::Server;
use super::tls::NativeRoots;
use super::watched::Watched;
use crate::config::{self, DnsServer};

/// When the next server is asked beside those that are silent, as a part of the patience.
const NEXT: f32 = 0.3;

/// The servers in their order, and which of them answered last: it is asked first.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Server>,
    first: Cell<usize>,
    patience: Duration,
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.all, f)
    }
}

/// Why there are no servers.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServersError {
    #[error("it cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("{0}")]
    Unusable(NetError),
}

impl Servers {
    /// Those of `dns.servers`.
    pub(super) fn configured(
        dns: &config::Dns,
        native_roots: &NativeRoots,
    ) -> Result<Self, ServersError> {
        let is_plain = |server| matches!(server, &DnsServer::Plain(_));
        let tls = if dns.servers.iter().all(is_plain) {
            None
        } else {
            let extra = dns.ca.as_ref().map_or(&[][..], |ca| &ca.certificates);
            Some(native_roots.client(extra).map_err(ServersError::Tls)?)
        };
        let servers = dns.servers.iter().map(name_server).collect();
        Self::new(servers, ResolverOpts::default(), tls.as_ref(), dns.timeout)
    }

    /// Those that the file names.
    pub(super) fn of_resolv_conf(file: &Watched, dns: &config::Dns) -> Result<Self, ServersError> {
        let text = file.read().map_err(ServersError::Unreadable)?;
        let (config, options) = parse_resolv_conf(text).map_err(ServersError::Unusable)?;
        Self::new(config.into_parts().2, options, None, dns.timeout)
    }

    fn new(
        servers: Vec<NameServerConfig>,
        options: ResolverOpts,
        tls: Option<&ClientConfig>,
        patience: Duration,
    ) -> Result<Self, ServersError> {
        let one = |config| Server::new(config, options.clone(), tls.cloned(), patience);
        let all: Result<_, _> = servers.into_iter().map(one).collect();
        Ok(Self {
            all: all.map_err(ServersError::Unusable)?,
            first: Cell::new(0),
            patience,
        })
    }

    /// Asks one server after the other: the next one at once after a failure, or beside one that is slow.
    pub(super) async fn ask(&self, name: &str, family: Family) -> Settled {
        let count = self.all.len();
        let order: Vec<usize> = (0..count)
            .map(|place| (self.first.get() + place) % count)
            .collect();
        let (found, incoming) = mpsc::channel(1);
        // One place, one batch: never full.
        let _ = found.try_send(order);
        drop(found);
        let pace = Pace {
            deadline: Instant::now() + self.patience,
            attempt_delay: self.patience.mul_f32(NEXT),
        };
        let in_order = |waiting: VecDeque<usize>, _: Option<&usize>| waiting;
        let mut attempts = Vec::new();
        let asked = race::race(
            incoming,
            in_order,
            |place| self.all[*place].ask(name, family),
            pace,
            &mut attempts,
        );
        match asked.await {
            Ok((place, settled)) => {
                self.first.set(place);
                settled
            }
            Err(_) => {
                for attempt in &attempts {
                    if attempt.outcome == race::Outcome::TimedOut {
                        self.all[attempt.addr].renew();
                    }
                }
                let any = |error| {
                    let failed = race::Outcome::Failed(error);
                    attempts.iter().any(|attempt| attempt.outcome == failed)
                };
                // What an administrator learns most from.
                let told = [
                    ResolveError::Nowhere,
                    ResolveError::Failed,
                    ResolveError::Unreachable,
                ];
                let error = match told.into_iter().find(|error| any(*error)) {
                    Some(error) => error,
                    None if attempts.is_empty() => ResolveError::Unreachable,
                    None => ResolveError::TimedOut,
                };
                (Err(error), None)
            }
        }
    }
}

fn name_server(server: &DnsServer) -> NameServerConfig {
    let (address, connections) = match server {
        DnsServer::Plain(address) => (
            address,
            vec![ConnectionConfig::udp(), ConnectionConfig::tcp()],
        ),
        DnsServer::Tls { address, name } => {
            (address, vec![ConnectionConfig::tls(Arc::clone(name))])
        }
        DnsServer::Https {
            address,
            name,
            path,
        } => {
            let (name, path) = (Arc::clone(name), Arc::clone(path));
            (address, vec![ConnectionConfig::https(name, Some(path))])
        }
    };
    let on_its_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = connections.into_iter().map(on_its_port).collect();
    NameServerConfig::new(address.ip(), true, connections)
}
