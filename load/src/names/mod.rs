//! A real DNS server on loopback with a small zone: names that have many addresses, change them, or fail.
//!
//! It knows nothing but its zone: other names do not exist. Every query is counted by name and type. All of it can be
//! changed while it runs, from here or over [`control`].
//!
//! ```no_run
//! # async fn story() -> std::io::Result<()> {
//! use tidegate_load::names::{Failure, Kind, Names};
//!
//! let names = Names::start().await?;
//! names.set("push.test", ["127.0.0.11", "127.0.0.12"].map(|ip| ip.parse().expect("an address")));
//! names.fail_only("push.test", Kind::Aaaa, Failure::Silent);
//! println!("[dns] servers = [\"{}\"]", names.addr());
//! # Ok(()) }
//! ```

mod control;
mod zone;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::SOA;
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use self::zone::{Said, Zone};

pub use self::control::control;
pub use self::zone::{Failure, Kind};

/// How often a port is looked for that is free for UDP and for TCP.
const PORT_TRIES: usize = 20;
const TCP_IDLE: Duration = Duration::from_secs(30);
const TCP_REPLIES: usize = 64;
const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// How long "there is no such thing" may be believed, in seconds.
const NEGATIVE_TTL: u32 = 5;

/// Starts name servers.
#[derive(Debug)]
pub enum Names {}

impl Names {
    /// An empty zone on 127.0.0.1, any free port, with a TTL of 30 s.
    pub async fn start() -> io::Result<Running> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), DEFAULT_TTL).await
    }

    /// An empty zone on this address (UDP and TCP), every record with this TTL.
    pub async fn start_at(addr: SocketAddr, ttl: Duration) -> io::Result<Running> {
        let (udp, tcp) = bind(addr).await?;
        let addr = udp.local_addr()?;
        let zone = Arc::new(Mutex::new(Zone::default()));
        let mut server = Server::new(Clerk {
            zone: zone.clone(),
            ttl: u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX),
        });
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_REPLIES);
        Ok(Running {
            addr,
            zone,
            _server: server,
        })
    }
}

/// A name server that runs. Dropping it ends it.
pub struct Running {
    addr: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    /// Owns the tasks.
    _server: Server<Clerk>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Names({})", self.addr)
    }
}

impl Running {
    /// Where it listens, UDP and TCP.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The name has these addresses from now on, in this order, and no longer fails.
    pub fn set(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        self.zone().set(name, addresses.into_iter().collect());
    }

    /// The name has another of these sets of addresses with each answer (A and AAAA go round alone), and no longer
    /// fails.
    pub fn take_turns(&self, name: &str, turns: impl IntoIterator<Item = Vec<IpAddr>>) {
        self.zone().take_turns(name, turns.into_iter().collect());
    }

    /// The name does not exist any more.
    pub fn remove(&self, name: &str) {
        self.zone().remove(name);
    }

    /// Both address queries for the name fail, until it is set again.
    pub fn fail(&self, name: &str, failure: Failure) {
        let mut zone = self.zone();
        zone.fail(name, Kind::A, Some(failure));
        zone.fail(name, Kind::Aaaa, Some(failure));
    }

    /// One kind of query for the name fails, until it is set again.
    pub fn fail_only(&self, name: &str, kind: Kind, failure: Failure) {
        self.zone().fail(name, kind, Some(failure));
    }

    /// The name is answered so much later.
    pub fn delay(&self, name: &str, delay: Duration) {
        self.zone().delay(name, delay);
    }

    /// Every name fails so, those that do not exist included; `None`: each is what it is again.
    pub fn fail_all(&self, failure: Option<Failure>) {
        self.zone().fail_all(failure);
    }

    /// Every name is answered so much later.
    pub fn delay_all(&self, delay: Duration) {
        self.zone().delay_all(delay);
    }

    /// How often the name was asked for this kind.
    #[must_use]
    pub fn queries(&self, name: &str, kind: Kind) -> u64 {
        self.zone().queries(name, kind)
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// UDP and TCP on one port.
async fn bind(addr: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = PORT_TRIES;
    loop {
        let udp = UdpSocket::bind(addr).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if addr.port() != 0 || tries == 0 => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

/// Reads queries and writes answers; what they say is the zone's.
struct Clerk {
    zone: Arc<Mutex<Zone>>,
    ttl: u32,
}

#[async_trait::async_trait]
impl RequestHandler for Clerk {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut reply: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        metadata.recursion_available = true;

        let mut records = Vec::new();
        // As real servers do, so that whoever asked knows how long to believe that there is nothing.
        let mut authority = None;
        match request.request_info() {
            Err(_) => metadata.response_code = ResponseCode::FormErr,
            Ok(info) => {
                let kind = match info.query.query_type() {
                    RecordType::A => Kind::A,
                    RecordType::AAAA => Kind::Aaaa,
                    _ => Kind::Other,
                };
                let name = info.query.original().name();
                let (said, delay) = self
                    .zone
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .ask(&name.to_ascii(), kind, request.protocol() == Protocol::Udp);
                tokio::time::sleep(delay).await;
                match said {
                    Said::Addresses(addresses) => {
                        let record =
                            |ip| Record::from_rdata(name.clone(), self.ttl, RData::from(ip));
                        records.extend(addresses.into_iter().map(record));
                        if records.is_empty() {
                            authority = Some(start_of_authority());
                        }
                    }
                    Said::Failed(Failure::Servfail) => {
                        metadata.response_code = ResponseCode::ServFail;
                    }
                    Said::Failed(Failure::NxDomain) => {
                        metadata.response_code = ResponseCode::NXDomain;
                        authority = Some(start_of_authority());
                    }
                    Said::Failed(Failure::Truncated) => metadata.truncation = true,
                    Said::Failed(Failure::Silent) => return unsent(metadata),
                }
            }
        }
        let response = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            records.iter(),
            [],
            authority.iter(),
            [],
        );
        // An error means that whoever asked has gone.
        match reply.send_response(response).await {
            Ok(info) => info,
            Err(_) => unsent(metadata),
        }
    }
}

/// Of everything: the zone knows no other server.
fn start_of_authority() -> Record {
    let (root, negative) = (Name::root(), NEGATIVE_TTL);
    let lifetime = i32::try_from(negative).unwrap_or(i32::MAX);
    let soa = SOA::new(
        root.clone(),
        root.clone(),
        1,
        lifetime,
        lifetime,
        lifetime,
        negative,
    );
    Record::from_rdata(root, negative, RData::SOA(soa))
}

fn unsent(metadata: Metadata) -> ResponseInfo {
    ResponseInfo::from(Header {
        metadata,
        counts: HeaderCounts::default(),
    })
}

#[cfg(test)]
mod tests;
