//! One DNS server: the connections to it, one question, and what its answer means.
//!
//! hickory alone gives a question up before it repeats it, and so hears no answer of a server that is slow; here nothing
//! is given up before the patience ends. Lives on the control thread, since hickory's connections live on the runtime
//! that asks.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::answerer::Settled;
use super::resolve::{Family, ResolveError};

/// Questions that may share one TCP or TLS connection; hickory's own bound is soon reached when many names expire.
const SHARED_MAX: usize = 256;
/// When it is asked again, as a part of the patience.
const AGAIN: f32 = 0.4;

pub(super) struct Server {
    config: NameServerConfig,
    options: ResolverOpts,
    tls: Option<ClientConfig>,
    patience: Duration,
    /// Holds the connections on which it answers.
    resolver: RefCell<Rc<TokioResolver>>,
    /// Others, while questions wait for those above.
    fresh: RefCell<Weak<TokioResolver>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.ip.fmt(f)
    }
}

impl Server {
    pub(super) fn new(
        config: NameServerConfig,
        mut options: ResolverOpts,
        tls: Option<ClientConfig>,
        patience: Duration,
    ) -> Result<Self, NetError> {
        set_options(&mut options, patience);
        let resolver = open(&config, &options, tls.as_ref())?;
        Ok(Self {
            config,
            options,
            tls,
            patience,
            resolver: RefCell::new(Rc::new(resolver)),
            fresh: RefCell::default(),
        })
    }

    /// Asks, and after a while again beside that, over new connections: datagrams may be lost, or a connection dead and
    /// nobody has said so. What comes first is the answer.
    pub(super) async fn ask(&self, name: &str, family: Family) -> Result<Settled, ResolveError> {
        let resolver = Rc::clone(&self.resolver.borrow());
        let mut first = pin!(one_answer(&resolver, name, family));
        let again = self.patience.mul_f32(AGAIN);
        if let Ok(said) = timeout(again, &mut first).await {
            return said;
        }
        let Some(fresh) = self.fresh() else {
            return first.await;
        };
        let mut second = pin!(one_answer(&fresh, name, family));
        let (said, is_fresh) = tokio::select! {
            biased;
            said = &mut first => match said {
                Ok(_) => (said, false),
                Err(_) => (second.await, true),
            },
            said = &mut second => match said {
                Ok(_) => (said, true),
                Err(_) => (first.await, false),
            },
        };
        if is_fresh && said.is_ok() {
            self.resolver.replace(Rc::clone(&fresh));
        }
        said
    }

    /// It has not answered: it is asked over new connections from now on.
    pub(super) fn renew(&self) {
        if let Ok(resolver) = open(&self.config, &self.options, self.tls.as_ref()) {
            self.resolver.replace(Rc::new(resolver));
        }
    }

    /// The same for all who wait beside each other.
    fn fresh(&self) -> Option<Rc<TokioResolver>> {
        if let Some(fresh) = self.fresh.borrow().upgrade() {
            return Some(fresh);
        }
        let fresh = open(&self.config, &self.options, self.tls.as_ref());
        let fresh = Rc::new(fresh.ok()?);
        self.fresh.replace(Rc::downgrade(&fresh));
        Some(fresh)
    }
}

/// Opens nothing yet: the first question does.
fn open(
    config: &NameServerConfig,
    options: &ResolverOpts,
    tls: Option<&ClientConfig>,
) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_name_servers(vec![config.clone()]);
    let provider = TokioRuntimeProvider::default();
    let mut builder = TokioResolver::builder_with_config(config, provider);
    *builder.options_mut() = options.clone();
    if let Some(tls) = tls {
        builder = builder.with_tls_config(tls.clone());
    }
    builder.build()
}

fn set_options(options: &mut ResolverOpts, patience: Duration) {
    // Our own cache stands above, with caps per destination, and our own look into the hosts file.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // What it asks again it does beside the first question for datagrams, and after it for all else: a time-out of its
    // own would end the waiting for an answer that is still good.
    options.timeout = patience;
    options.attempts = 1;
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
