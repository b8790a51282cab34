//! The DNS servers: whom to ask, and when to ask the next one.
//!
//! hickory alone would give up when the first server says SERVFAIL or REFUSED; here an answer counts, and a failure only
//! calls the next server. Lives on the control thread, since hickory's connections live on the runtime that asks.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::race::{self, Pace};
use super::resolve::{Answer, Family, ResolveError};
use crate::config::{self, DnsServer};

/// The servers in their order, and which of them answered last: it is asked first.
pub(super) struct Servers {
    all: Vec<TokioResolver>,
    first: Cell<usize>,
    patience: Duration,
}

/// An answer that settles the question, and how long it is good for.
type Settled = (Answer, Duration);

impl Servers {
    /// The configured servers, else the system's.
    pub(super) fn new(dns: &config::Dns) -> Result<Self, NetError> {
        let (servers, mut options) = if dns.servers.is_empty() {
            let (config, options) = read_system_conf()?;
            (config.into_parts().2, options)
        } else {
            let servers = dns.servers.iter().filter_map(name_server).collect();
            (servers, ResolverOpts::default())
        };
        set_options(&mut options, dns.timeout);
        let one = |server| {
            let config = ResolverConfig::from_name_servers(vec![server]);
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            *builder.options_mut() = options.clone();
            builder.build()
        };
        Ok(Self {
            all: servers.into_iter().map(one).collect::<Result<_, _>>()?,
            first: Cell::new(0),
            patience: dns.timeout,
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
            |place| one_answer(&self.all[*place], name, family),
            pace,
            &mut attempts,
        );
        match asked.await {
            Ok((place, settled)) => {
                self.first.set(place);
                settled
            }
            Err(_) => {
                let failed = attempts
                    .iter()
                    .any(|attempt| attempt.outcome == race::Outcome::Failed(ResolveError::Failed));
                let error = if failed || attempts.is_empty() {
                    ResolveError::Failed
                } else {
                    ResolveError::TimedOut
                };
                (Err(error), Duration::ZERO)
            }
        }
    }
}

fn name_server(server: &DnsServer) -> Option<NameServerConfig> {
    let DnsServer::Plain(address) = server else {
        return None;
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    Some(NameServerConfig::new(
        address.ip(),
        true,
        connections.into(),
    ))
}

fn set_options(options: &mut ResolverOpts, patience: Duration) {
    // Our own cache stands above, with caps per destination.
    options.cache_size = 0;
    // One lost datagram must not cost the whole deadline: a second try fits into it.
    options.timeout = patience.mul_f32(0.4);
    options.attempts = 2;
    options.try_tcp_on_error = true;
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
                    Ok((Err(none), Duration::ZERO))
                }
                failed @ (ResolveError::TimedOut | ResolveError::Failed) => Err(failed),
            };
        }
    };
    let records = lookup.answers();
    let addrs: Arc<[IpAddr]> = records
        .iter()
        .filter_map(|record| address(&record.data))
        .collect();
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    let answer = if addrs.is_empty() {
        Err(ResolveError::NoAddress)
    } else {
        Ok(addrs)
    };
    Ok((answer, Duration::from_secs(ttl.into())))
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(addr) => Some(addr.0.into()),
        RData::AAAA(addr) => Some(addr.0.into()),
        _ => None,
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
        _ => ResolveError::Failed,
    }
}
