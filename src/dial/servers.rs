//! The DNS servers: whom to ask, and when to ask the next one.
//!
//! hickory alone would give up when the first server says SERVFAIL or REFUSED; here an answer counts, and a failure only
//! calls the next server. Lives on the control thread, since hickory's connections live on the runtime that asks.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answerer::Settled;
use super::race::{self, Pace};
use super::resolve::{Family, ResolveError};
use super::tls::NativeRoots;
use super::watched::Watched;
use crate::config::{self, DnsServer};

/// Questions that may share one TCP or TLS connection; hickory's own bound is soon reached when many names expire.
const SHARED_MAX: usize = 256;

/// The servers in their order, and which of them answered last: it is asked first.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Server>,
    first: Cell<usize>,
    patience: Duration,
}

struct Server {
    ip: IpAddr,
    resolver: TokioResolver,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)
    }
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
        mut options: ResolverOpts,
        tls: Option<&ClientConfig>,
        patience: Duration,
    ) -> Result<Self, ServersError> {
        set_options(&mut options, patience);
        let one = |server: NameServerConfig| {
            let ip = server.ip;
            let config = ResolverConfig::from_name_servers(vec![server]);
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            *builder.options_mut() = options.clone();
            if let Some(tls) = tls {
                builder = builder.with_tls_config(tls.clone());
            }
            let resolver = builder.build().map_err(ServersError::Unusable)?;
            Ok(Server { ip, resolver })
        };
        Ok(Self {
            all: servers.into_iter().map(one).collect::<Result<_, _>>()?,
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
            attempt_delay: self.patience.mul_f32(0.3),
        };
        let in_order = |waiting: VecDeque<usize>, _: Option<&usize>| waiting;
        let mut attempts = Vec::new();
        let asked = race::race(
            incoming,
            in_order,
            |place| one_answer(&self.all[*place].resolver, name, family),
            pace,
            &mut attempts,
        );
        match asked.await {
            Ok((place, settled)) => {
                self.first.set(place);
                settled
            }
            Err(_) => {
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

fn set_options(options: &mut ResolverOpts, patience: Duration) {
    // Our own cache stands above, with caps per destination, and our own look into the hosts file.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // One lost datagram must not cost the whole deadline: a second try fits into it.
    options.timeout = patience.mul_f32(0.4);
    options.attempts = 2;
    options.try_tcp_on_error = true;
    options.max_active_requests = SHARED_MAX;
}

/// What one server says: that a name does not exist is an answer, that the server has failed is none.
async fn one_answer(
    server: &TokioResolver,
    name: &str,
    family: Family,
) -> Result<Settled, ResolveError> {
    let kind = match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    };
    // The final dot keeps search domains out.
    let lookup = match server.lookup(format!("{name}."), kind).await {
        Ok(lookup) => lookup,
        Err(error) => {
            return match because(&error) {
                none @ (ResolveError::NotFound | ResolveError::NoAddress) => {
                    Ok((Err(none), negative_ttl(&error)))
                }
                failed => Err(failed),
            };
        }
    };
    let records = lookup.answers();
    let said: Vec<IpAddr> = records
        .iter()
        .filter_map(|record| address(&record.data))
        .collect();
    if said.is_empty() {
        return Ok((Err(ResolveError::NoAddress), None));
    }
    let addrs: Arc<[IpAddr]> = said.iter().copied().filter(is_usable).collect();
    if addrs.is_empty() {
        // Some filters answer so in place of the name's owner. That must not replace what we know.
        return Err(ResolveError::Nowhere);
    }
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    Ok((Ok(addrs), Some(Duration::from_secs(ttl.into()))))
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(addr) => Some(addr.0.into()),
        RData::AAAA(addr) => Some(addr.0.into()),
        _ => None,
    }
}

/// Addresses that no server has, wherever it stands. Which of the others a destination may lead to, in whatever
/// spelling, is the policy's to say, address by address, before they are dialled.
fn is_usable(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.octets()[0] != 0 && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}

fn because(error: &NetError) -> ResolveError {
    match error {
        NetError::Timeout => ResolveError::TimedOut,
        NetError::Dns(DnsError::NoRecordsFound(none))
            if none.response_code == ResponseCode::NXDomain =>
        {
            ResolveError::NotFound
        }
        NetError::Dns(DnsError::NoRecordsFound(none))
            if none.response_code == ResponseCode::NoError =>
        {
            ResolveError::NoAddress
        }
        NetError::Io(_) | NetError::NoConnections => ResolveError::Unreachable,
        _ => ResolveError::Failed,
    }
}

/// How long the zone wants "no such name" to be believed (RFC 2308).
fn negative_ttl(error: &NetError) -> Option<Duration> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none
            .negative_ttl
            .map(|seconds| Duration::from_secs(seconds.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_server_has() {
        let check = |addr: &str, usable| {
            let addr: IpAddr = addr.parse().unwrap();
            assert_eq!(is_usable(&addr), usable, "{addr}");
        };
        check("192.0.2.1", true);
        check("10.0.0.1", true);
        check("127.0.0.1", true);
        check("2001:db8::1", true);
        check("::1", true);
        check("0.0.0.0", false);
        check("0.1.2.3", false);
        check("224.0.0.1", false);
        check("255.255.255.255", false);
        check("::", false);
        check("ff02::1", false);
    }
}
