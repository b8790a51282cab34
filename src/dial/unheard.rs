//! Why a name server over TLS gives no answer: the resolver only says that there is no connection.
//!
//! For those who tell an administrator; an exchange never waits for it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connect::connect;
use super::resolve::ResolveError;
use super::tls::{NativeRoots, TlsError, certificate_problem, server_name};
use crate::config::{Config, DnsServer};
use crate::exchange::Host;
use crate::policy::ClearedAddr;

/// The same error, or what is behind it.
pub(crate) async fn because(
    error: ResolveError,
    config: &Config,
    roots: &NativeRoots,
) -> ResolveError {
    if error != ResolveError::Unreachable {
        return error;
    }
    for server in &config.dns.servers {
        let (DnsServer::Tls { address, name } | DnsServer::Https { address, name, .. }) = server
        else {
            continue;
        };
        let host = match name.parse() {
            Ok(ip) => Host::Addr(ip),
            Err(_) => Host::Name(name.clone()),
        };
        let shaking = shake(*address, &host, config, roots);
        let shaken = timeout(config.dns.timeout, shaking).await;
        if let Ok(Err(TlsError::Failed(error))) = shaken
            && certificate_problem(&error).is_some()
        {
            return ResolveError::Untrusted;
        }
    }
    error
}

async fn shake(
    address: SocketAddr,
    host: &Host,
    config: &Config,
    roots: &NativeRoots,
) -> Result<(), TlsError> {
    let extra = config
        .dns
        .ca
        .as_ref()
        .map_or(&[][..], |ca| &ca.certificates);
    let client = roots.client(extra).map_err(TlsError::Configuration)?;
    let addr = ClearedAddr::operator(address);
    let tcp = connect(addr, config.tunnel.keepalive, &[]).await;
    // Without a connection there is no certificate to look at.
    let Ok(tcp) = tcp else { return Ok(()) };
    let connector = TlsConnector::from(Arc::new(client));
    let shaken = connector.connect(server_name(host)?, tcp).await;
    shaken.map(drop).map_err(TlsError::Failed)
}
