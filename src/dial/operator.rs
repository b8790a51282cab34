//! The way to what the operator configured: log collectors and the like.
//!
//! Names go through our resolver, and every address is tried in turn. Never used for a client's target: no policy
//! stands between.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::connect::{ConnectError, connect, datagrams};
use super::resolve::{Family, ResolveError, Resolver};
use crate::config::{Families, Keepalive};
use crate::exchange::Host;
use crate::policy::ClearedAddr;

/// Dials endpoints of the configuration, on the runtime it is asked on.
#[derive(Debug, Clone)]
pub(crate) struct OperatorDialer {
    resolver: Resolver,
    families: Families,
    keepalive: Keepalive,
}

/// Why an endpoint cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    #[error("{0}")]
    Resolve(ResolveError),
    #[error("{peer}: {}", error.token())]
    Connect {
        peer: SocketAddr,
        error: ConnectError,
    },
    #[error("{peer}: {source}")]
    Socket { peer: SocketAddr, source: io::Error },
    #[error("it has no address that connect.families allows")]
    OtherFamily,
}

impl OperatorDialer {
    pub(crate) fn new(resolver: Resolver, families: Families, keepalive: Keepalive) -> Self {
        Self {
            resolver,
            families,
            keepalive,
        }
    }

    /// A connection to the first address that answers, each given `patience`.
    pub(crate) async fn tcp(
        &self,
        host: &Host,
        port: u16,
        patience: Duration,
    ) -> Result<TcpStream, OperatorError> {
        let mut failure = OperatorError::OtherFamily;
        for addr in self.addresses(host, port).await? {
            let error = match timeout(patience, connect(addr, self.keepalive)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => error,
                Err(_) => ConnectError::TimedOut,
            };
            let peer = addr.socket_addr();
            failure = OperatorError::Connect { peer, error };
        }
        Err(failure)
    }

    /// A socket towards the first address that has a route; nobody can know whether anybody listens.
    pub(crate) async fn udp(&self, host: &Host, port: u16) -> Result<UdpSocket, OperatorError> {
        let mut failure = OperatorError::OtherFamily;
        for addr in self.addresses(host, port).await? {
            match datagrams(addr).await {
                Ok(socket) => return Ok(socket),
                Err(source) => {
                    let peer = addr.socket_addr();
                    failure = OperatorError::Socket { peer, source };
                }
            }
        }
        Err(failure)
    }

    async fn addresses(&self, host: &Host, port: u16) -> Result<Vec<ClearedAddr>, OperatorError> {
        let cleared = |ip: &IpAddr| ClearedAddr::operator(SocketAddr::new(*ip, port));
        let name = match host {
            Host::Addr(ip) => return Ok(vec![cleared(ip)]),
            Host::Name(name) => name,
        };
        let ask = async |family, wanted: bool| {
            if wanted {
                self.resolver.lookup(name, family, None).await
            } else {
                Err(ResolveError::NoAddress)
            }
        };
        let (v6, v4) = tokio::join!(
            ask(Family::V6, self.families != Families::Ipv4),
            ask(Family::V4, self.families != Families::Ipv6)
        );
        match (v6, v4) {
            (Err(one), Err(other)) => {
                // Which families the name lacks says less than that nobody answered.
                let error = if one == ResolveError::NoAddress {
                    other
                } else {
                    one
                };
                Err(OperatorError::Resolve(error))
            }
            (v6, v4) => {
                let found = [v6, v4].into_iter().flatten();
                Ok(found
                    .flat_map(|found| found.addrs.iter().map(cleared).collect::<Vec<_>>())
                    .collect())
            }
        }
    }
}
