//! A simulated push cloud: onboarding, tokens and Push REST over TLS (HTTP/2 or HTTP/1.1, as the client likes), and in
//! clear if wanted, on several addresses.
//!
//! Each address can be made slow, silent, refusing, resetting or hanging while it runs, from here or over [`control`].
//! It passes nothing on and keeps nothing but counts: which push was confirmed, and how often.
//!
//! ```no_run
//! # async fn story() -> std::io::Result<()> {
//! use tidegate_load::cloud::{Behavior, Cloud, CloudPlan};
//!
//! let cloud = Cloud::start(CloudPlan::new().addresses(4)).await?;
//! println!("push.test is at {} and three more, trust {}", cloud.addr(0), cloud.ca_pem());
//! cloud.set(0, Behavior::Hang).await?; // its tunnels are reset, new connects get no answer
//! assert_eq!(cloud.confirmed(), 0);
//! # Ok(()) }
//! ```

mod behavior;
pub mod ca;
mod connection;
mod control;
mod desk;
mod door;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;
use tokio_rustls::TlsAcceptor;

use self::ca::ThrowAwayCa;
use self::desk::Desk;
use self::door::Door;

pub use self::behavior::Behavior;
pub use self::control::control;
pub use self::desk::{ONBOARD_PATH, PUSH_PATH, TOKEN_PATH};

/// HTTP/2 in ALPN.
const HTTP2: &[u8] = b"h2";
/// How often a free port is looked for that is free on every address.
const PORT_TRIES: usize = 20;

/// The three names under which the cloud is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// Push REST.
    pub push: String,
    /// Access tokens.
    pub token: String,
    /// Machine accounts.
    pub onboard: String,
}

impl Default for Hosts {
    fn default() -> Self {
        Self {
            push: "push.test".into(),
            token: "token.test".into(),
            onboard: "onboard.test".into(),
        }
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct CloudPlan {
    addresses: Vec<IpAddr>,
    port: u16,
    plain_port: Option<u16>,
    hosts: Hosts,
    answer_after: Duration,
    token_lifetime: Duration,
}

impl CloudPlan {
    /// One address (127.0.0.11), any free port, answers at once.
    #[must_use]
    pub fn new() -> Self {
        Self {
            addresses: loopback(1),
            port: 0,
            plain_port: None,
            hosts: Hosts::default(),
            answer_after: Duration::ZERO,
            token_lifetime: Duration::from_secs(3600),
        }
    }

    /// So many loopback addresses, from 127.0.0.11 on; at most 200.
    #[must_use]
    pub fn addresses(mut self, count: u8) -> Self {
        self.addresses = loopback(count);
        self
    }

    /// These addresses, all on one port.
    #[must_use]
    pub fn listen_on(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = addresses.into_iter().collect();
        self
    }

    /// This port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The same without TLS, on a port of its own at every address; 0 for a free one.
    #[must_use]
    pub fn plain_port(mut self, port: u16) -> Self {
        self.plain_port = Some(port);
        self
    }

    /// Other names than `push.test`, `token.test` and `onboard.test`.
    #[must_use]
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// How long a healthy cloud thinks before it answers.
    #[must_use]
    pub fn answer_after(mut self, delay: Duration) -> Self {
        self.answer_after = delay;
        self
    }

    /// How long an access token is good for.
    #[must_use]
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }
}

impl Default for CloudPlan {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts clouds.
#[derive(Debug)]
pub enum Cloud {}

impl Cloud {
    /// Binds every address and serves until the handle is dropped.
    pub async fn start(plan: CloudPlan) -> io::Result<Running> {
        let ca = ThrowAwayCa::new("tidegate-load throw-away CA").map_err(io::Error::other)?;
        let mut names = vec![
            plan.hosts.push.clone(),
            plan.hosts.token.clone(),
            plan.hosts.onboard.clone(),
        ];
        names.extend(plan.addresses.iter().map(IpAddr::to_string));
        let identity = ca.issue(&names).map_err(io::Error::other)?;
        let mut terms = identity.server_config()?;
        terms.alpn_protocols = [HTTP2, b"http/1.1"].map(<[u8]>::to_vec).into();
        let tls = TlsAcceptor::from(Arc::new(terms));

        let desk = Arc::new(Desk::new(plan.hosts.clone(), plan.token_lifetime));
        let open = |port, tls: Option<&TlsAcceptor>| {
            let sockets = bind_all(&plan.addresses, port)?;
            let doors = sockets.into_iter().map(|socket| {
                let (tls, desk) = (tls.cloned(), desk.clone());
                Door::open(socket, tls, desk, plan.answer_after)
            });
            doors.collect::<io::Result<Vec<_>>>()
        };
        let doors = open(plan.port, Some(&tls))?;
        let plain_doors = match plan.plain_port {
            Some(port) => open(port, None)?,
            None => Vec::new(),
        };
        Ok(Running {
            ca_pem: ca.pem(),
            hosts: plan.hosts,
            desk,
            doors,
            plain_doors,
        })
    }
}

/// A cloud that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    ca_pem: String,
    hosts: Hosts,
    desk: Arc<Desk>,
    doors: Vec<Door>,
    /// Those without TLS, at the same addresses; empty where none were asked for.
    plain_doors: Vec<Door>,
}

impl Running {
    /// The address with this index; panics where there is none.
    #[must_use]
    pub fn addr(&self, index: usize) -> SocketAddr {
        self.doors[index].addr()
    }

    /// All addresses.
    #[must_use]
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.doors.iter().map(Door::addr).collect()
    }

    /// All addresses without the port, as a name server wants them.
    #[must_use]
    pub fn ips(&self) -> Vec<IpAddr> {
        self.doors.iter().map(|door| door.addr().ip()).collect()
    }

    /// The port all addresses share.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr(0).port()
    }

    /// The port without TLS that all addresses share, if there is one.
    #[must_use]
    pub fn plain_port(&self) -> Option<u16> {
        self.plain_doors.first().map(|door| door.addr().port())
    }

    /// The names it answers to.
    #[must_use]
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The certificate to trust, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Changes what an address does, on all its ports, and says how many of its connections that reset.
    /// When it returns, the change has happened.
    pub async fn set(&self, index: usize, behavior: Behavior) -> io::Result<usize> {
        let mut reset = 0;
        for door in self.at(index) {
            reset += door.set(behavior).await?;
        }
        Ok(reset)
    }

    /// Resets the open connections of an address, and goes on as before; says how many there were.
    pub async fn drop_connections(&self, index: usize) -> io::Result<usize> {
        let mut reset = 0;
        for door in self.at(index) {
            reset += door.drop_connections().await?;
        }
        Ok(reset)
    }

    /// What an address does at the moment.
    #[must_use]
    pub fn behavior(&self, index: usize) -> Behavior {
        self.doors[index].behavior()
    }

    /// How many connections are open at an address.
    #[must_use]
    pub fn open(&self, index: usize) -> usize {
        self.at(index).map(Door::connections).sum()
    }

    /// How many connections an address has accepted so far.
    #[must_use]
    pub fn accepted(&self, index: usize) -> u64 {
        self.at(index).map(Door::accepted).sum()
    }

    /// The doors of an address: with TLS, and without where there is one.
    fn at(&self, index: usize) -> impl Iterator<Item = &Door> {
        std::iter::once(&self.doors[index]).chain(self.plain_doors.get(index))
    }

    /// How many pushes were confirmed, duplicates included.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.desk.confirmed().values().map(|n| u64::from(*n)).sum()
    }

    /// How often the push with this tracking id was confirmed.
    #[must_use]
    pub fn confirmed_of(&self, tracking_id: &str) -> u32 {
        self.desk.confirmed().get(tracking_id).copied().unwrap_or(0)
    }

    /// Tracking id → how often confirmed.
    #[must_use]
    pub fn confirmations(&self) -> HashMap<String, u32> {
        self.desk.confirmed()
    }

    /// The next push that arrives is read, and neither confirmed nor counted.
    pub fn swallow_next_push(&self) {
        self.desk.swallow_next_push();
    }

    /// Pushes to this target are answered 410 from now on, as when the push target has rotated.
    pub fn forget_target(&self, target: &str) {
        self.desk.forget_target(target);
    }

    /// Whatever is asked for, at any name and path, is answered with this status and this JSON, and not counted; `None`: as usual.
    pub fn answer_everything(&self, answer: Option<(http::StatusCode, serde_json::Value)>) {
        self.desk.answer_everything(answer);
    }

    /// An access token, without asking for it over the network.
    #[must_use]
    pub fn access_token(&self) -> Option<String> {
        self.desk.access_token(Instant::now())
    }

    /// Every access token given out so far is answered 401 from now on.
    pub fn expire_tokens(&self) {
        self.desk.expire_tokens();
    }
}

fn loopback(count: u8) -> Vec<IpAddr> {
    (0..count.min(200))
        .map(|n| IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11 + n)))
        .collect()
}

/// One port on every address: picked on the first, tried on the others, and picked anew on a clash.
fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<Vec<Socket>> {
    let Some((first, others)) = addresses.split_first() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a cloud needs an address",
        ));
    };
    let mut clash = None;
    for _ in 0..if port == 0 { PORT_TRIES } else { 1 } {
        let socket = door::bind(SocketAddr::new(*first, port))?;
        let chosen = door::local_addr(&socket)?.port();
        let rest: io::Result<Vec<_>> = others
            .iter()
            .map(|ip| door::bind(SocketAddr::new(*ip, chosen)))
            .collect();
        match rest {
            Ok(rest) => return Ok(std::iter::once(socket).chain(rest).collect()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => clash = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(clash.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

#[cfg(test)]
mod tests;
