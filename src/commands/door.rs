//! As far as the proxy's door: its name, its addresses, and TLS with it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::as_server::{Mark, Step};
use super::chain::Chain;
use super::journey::{Journey, Stuck, Tell};
use super::trust::{certificate, no_tls};
use super::unreached::{no_connection, no_name};
use super::wire::PATIENCE;
use crate::dial::connect::{ConnectError, connect};
use crate::dial::resolve::{Family, ResolveError, Resolver};
use crate::dial::tls::NativeRoots;
use crate::dial::{Way, unheard};
use crate::exchange::Host;
use crate::policy::ClearedAddr;
use crate::telemetry::Meters;

/// After so long a server tries the proxy's second address.
const SECOND_ADDRESS: Duration = Duration::from_secs(2);
/// How long a server keeps the addresses of the proxy's name.
const KEPT: Duration = Duration::from_secs(3600);

impl Journey<'_> {
    /// The proxy's own name.
    pub(super) async fn names(
        &self,
        roots: &NativeRoots,
        tell: Tell<'_>,
    ) -> Result<Vec<SocketAddr>, Stuck> {
        let place = |ip: &IpAddr| SocketAddr::new(*ip, self.proxy.port);
        let name = match &self.proxy.host {
            Host::Addr(ip) => {
                let what =
                    "the proxy is named by its address: a server cannot follow when it moves";
                tell(Step::new(Mark::Note, "name", what));
                return Ok(vec![place(ip)]);
            }
            Host::Name(name) => name,
        };
        let dns = &self.config.dns;
        let (resolver, answerer) = Resolver::new(dns, Arc::new(Meters::new(&[], &[])));
        tokio::task::spawn_local(answerer.run(dns.clone(), roots.clone()));
        let begun = Instant::now();
        let (v4, v6) = tokio::join!(
            resolver.lookup(name, Family::V4, None),
            resolver.lookup(name, Family::V6, None)
        );
        let took = begun.elapsed();
        let found = [&v4, &v6]
            .into_iter()
            .filter_map(|answer| answer.as_ref().ok());
        let places: Vec<SocketAddr> = found
            .flat_map(|found| found.addrs.iter().map(place))
            .collect();
        if places.is_empty() {
            // That one family is not there says less than anything else.
            let errors = [v4.err(), v6.err()].into_iter().flatten();
            let mut errors = errors.filter(|error| *error != ResolveError::NoAddress);
            let error = errors.next().unwrap_or(ResolveError::NoAddress);
            let error = unheard::because(error, self.config, roots).await;
            let remedy = no_name(error, &dns.ways());
            tell(
                Step::new(Mark::Fail, "name", format!("{name}: {error}"))
                    .took(took)
                    .remedy(remedy),
            );
            return Err(Stuck);
        }
        let shown: Vec<String> = places.iter().map(|place| place.ip().to_string()).collect();
        // How long a family is missing says nothing of the addresses that there are.
        let there = [(Family::V4, v4.is_ok()), (Family::V6, v6.is_ok())];
        let there = there.into_iter().filter(|(_, is_there)| *is_there);
        let ttl = there
            .filter_map(|(family, _)| resolver.ttl(name, family))
            .max();
        // A server may ask just before its name server's answer ends, and keeps that for its hour.
        let seen = ttl.unwrap_or_default() + KEPT;
        let ttl = ttl.map_or_else(
            || "TTL unknown".to_owned(),
            |ttl| format!("TTL {} s", ttl.as_secs()),
        );
        let second = match places.len() {
            1 => "a server has no second address to try".to_owned(),
            _ => format!(
                "a server tries {} first, and after 2 s the second",
                shown[0]
            ),
        };
        tell(Step::new(
            Mark::Ok,
            "name",
            format!(
                "{name} is {}; {ttl}; servers keep it for an hour beyond that: a change is seen by all of them after {} min; {second}",
                shown.join(", "),
                seen.as_secs().div_ceil(60)
            ),
        ).took(took));
        Ok(places)
    }

    /// Every address is connected; the first that answers is the one to go on with.
    pub(super) async fn addresses(
        &self,
        places: &[SocketAddr],
        tell: Tell<'_>,
    ) -> Result<SocketAddr, Stuck> {
        let mut first = None;
        for place in places {
            let begun = Instant::now();
            match self.tcp(*place).await {
                Ok(_) => {
                    let took = begun.elapsed();
                    let step = Step::new(Mark::Ok, "connect", place.to_string()).took(took);
                    tell(if took >= SECOND_ADDRESS {
                        let remedy = "a server gives an address up after 2 s: look for loss or a full queue on the way";
                        Step {
                            mark: Mark::Warn,
                            ..step
                        }
                        .remedy(remedy)
                    } else {
                        step
                    });
                    first.get_or_insert(*place);
                }
                Err(error) => {
                    let (what, remedy) = no_connection(error);
                    tell(
                        Step::new(Mark::Fail, "connect", format!("{place}: {what}"))
                            .took(begun.elapsed())
                            .remedy(remedy),
                    );
                }
            }
        }
        first.ok_or(Stuck)
    }

    async fn tcp(&self, place: SocketAddr) -> Result<tokio::net::TcpStream, ConnectError> {
        let addr = ClearedAddr::operator(place);
        let connecting = connect(addr, self.config.tunnel.keepalive, &[]);
        timeout(PATIENCE, connecting)
            .await
            .unwrap_or(Err(ConnectError::TimedOut))
    }

    /// A connection to the proxy, with TLS where the URL says so.
    pub(super) async fn open(
        &self,
        place: SocketAddr,
        roots: &NativeRoots,
        tell: Tell<'_>,
        first: bool,
    ) -> Result<Way, Stuck> {
        let tcp = self.tcp(place).await.map_err(|error| {
            let (what, remedy) = no_connection(error);
            tell(Step::new(Mark::Fail, "connect", format!("{place}: {what}")).remedy(remedy));
            Stuck
        })?;
        if !self.proxy.tls {
            return Ok(Way::Plain(tcp));
        }
        let begun = Instant::now();
        let chain = Chain::default();
        let tls = self.shake(&self.proxy.host, tcp, roots, &chain).await;
        let tls = tls.map_err(|error| {
            let (what, remedy) = no_tls(&error, chain.issuer());
            tell(
                Step::new(Mark::Fail, "tls", what)
                    .took(begun.elapsed())
                    .remedy(remedy),
            );
            Stuck
        })?;
        if first {
            tell(certificate(&tls, begun.elapsed()));
        }
        Ok(Way::Tls(Box::new(tls)))
    }

    async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &Host,
        stream: S,
        roots: &NativeRoots,
        chain: &Chain,
    ) -> std::io::Result<TlsStream<S>> {
        use std::io::{Error, ErrorKind};
        let name = match host {
            Host::Addr(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.to_string()).map_err(Error::other)?,
        };
        let mut config = roots.client(&self.extra).map_err(Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        chain.watch(&mut config, roots.and(&self.extra));
        let connector = TlsConnector::from(Arc::new(config));
        match timeout(PATIENCE, connector.connect(name, stream)).await {
            Ok(shaken) => shaken,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }
}
