//! All parent proxies: their addresses, and what is remembered of them, for all cores.
//!
//! Of a login only the challenge is remembered; bounded by the parents that the configuration names.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_auth::digest::Algorithm;
use http_auth::{DigestClient, PasswordParams, basic, parse_challenges};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Dialer;
use super::addresses::{Resolution, worst};
use super::connect::{ConnectError, connect};
use super::parent::{Errand, ParentError, Way, tunnel};
use super::resolve::{Family, ResolveError};
use super::tls::{NativeRoots, OriginTls};
use crate::config::Parent;
use crate::exchange::Host;
use crate::policy::{Cleared, ClearedAddr};
use crate::telemetry::Chain;

/// Parents that are remembered; reloads may bring new ones without end.
const REMEMBERED_MAX: usize = 256;
/// How often the journal hears of the same parent.
const AGAIN: Duration = Duration::from_secs(60);

/// What the cores share.
pub(super) struct Parents {
    /// One core's at a time, and only to make a configuration or take it.
    tls: Mutex<OriginTls>,
    known: Mutex<HashMap<Parent, Known>>,
}

#[derive(Default)]
struct Known {
    login: Option<Login>,
    told: Option<Instant>,
}

/// How a parent wants to be answered.
enum Login {
    /// With its nonce, and how often that was used.
    Digest(Box<DigestClient>),
    Basic,
}

/// Which parent an address belongs to.
pub(super) type Owners = RefCell<HashMap<SocketAddr, usize>>;

impl fmt::Debug for Parents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parents")
    }
}

impl Parents {
    pub(super) fn new(roots: NativeRoots) -> Self {
        Self {
            tls: Mutex::new(OriginTls::new(roots)),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Parent, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `Proxy-Authorization` for what the parent asked last; nothing, where it never did.
    pub(super) fn answer(&self, errand: Errand<'_>, authority: &str) -> Option<String> {
        let (user, password) = credentials(errand)?;
        let mut known = self.known();
        match known.get_mut(errand.parent)?.login.as_mut()? {
            Login::Digest(challenge) => {
                let params = PasswordParams {
                    username: user,
                    password,
                    uri: authority,
                    method: "CONNECT",
                    body: None,
                };
                challenge.respond(&params).ok()
            }
            Login::Basic => is_private(errand).then(|| basic::encode_credentials(user, password)),
        }
    }

    /// Remembers how a parent wants to be answered; whether it only found our nonce too old.
    pub(super) fn learn(
        &self,
        errand: Errand<'_>,
        challenges: &[String],
    ) -> Result<bool, ConnectError> {
        if credentials(errand).is_none() {
            return Err(self.refused(errand, ParentError::Login, 407));
        }
        let offers = challenges
            .iter()
            .flat_map(|field| parse_challenges(field).unwrap_or_default());
        let (mut digest, mut basic): (Option<DigestClient>, bool) = (None, false);
        for offer in offers {
            basic |= offer.scheme.eq_ignore_ascii_case("basic");
            if let Ok(offer) = DigestClient::try_from(&offer)
                && digest.as_ref().is_none_or(|best| rank(&offer) > rank(best))
            {
                digest = Some(offer);
            }
        }
        let (login, stale) = match digest {
            Some(digest) => {
                let stale = digest.stale();
                (Login::Digest(Box::new(digest)), stale)
            }
            None if basic && is_private(errand) => (Login::Basic, false),
            None => {
                let error = if basic {
                    ParentError::Basic
                } else {
                    ParentError::Login
                };
                return Err(self.refused(errand, error, 407));
            }
        };
        let mut known = self.known();
        if known.len() >= REMEMBERED_MAX && !known.contains_key(errand.parent) {
            known.clear();
        }
        known.entry(errand.parent.clone()).or_default().login = Some(login);
        Ok(stale)
    }

    /// Tells the journal of a parent that does not serve us, now and then.
    pub(super) fn refused(
        &self,
        errand: Errand<'_>,
        error: ParentError,
        status: u16,
    ) -> ConnectError {
        let now = Instant::now();
        let mut known = self.known();
        if known.len() >= REMEMBERED_MAX && !known.contains_key(errand.parent) {
            known.clear();
        }
        let known = known.entry(errand.parent.clone()).or_default();
        let is_news = known
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= AGAIN);
        if is_news {
            known.told = Some(now);
            tracing::warn!(
                parent = %errand.parent, address = %errand.peer, target = %errand.target, status,
                "{}", error.details()
            );
        }
        error.into()
    }
}

fn credentials(errand: Errand<'_>) -> Option<(&str, &str)> {
    let password = std::str::from_utf8(errand.password?.secret.reveal()).ok()?;
    Some((errand.parent.user.as_deref()?, password))
}

/// Whether nobody else can read what we tell the parent.
fn is_private(errand: Errand<'_>) -> bool {
    errand.parent.tls || errand.peer.ip().is_loopback()
}

fn rank(challenge: &DigestClient) -> u8 {
    match challenge.algorithm() {
        Algorithm::Md5 => 0,
        Algorithm::Sha256 => 1,
        // Newer ones are better.
        _ => 2,
    }
}

impl Dialer {
    /// One attempt: straight to the address, or through the parent whose address it is.
    pub(super) async fn attempt(
        &self,
        cleared: &Cleared,
        addr: ClearedAddr,
        owners: &Owners,
        trail: &str,
    ) -> Result<(Way, Bytes), ConnectError> {
        let destination = cleared.destination();
        let peer = addr.socket_addr();
        let tcp = async || {
            let sources = self.turns.next(&destination.source, peer);
            connect(addr, self.keepalive, &sources).await
        };
        let owner = owners.borrow().get(&peer).copied();
        let Some(parent) = owner.and_then(|place| destination.via.get(place)) else {
            return Ok((Way::Plain(tcp().await?), Bytes::new()));
        };
        let errand = Errand {
            parent,
            password: destination.password.as_ref(),
            target: cleared.target(),
            peer,
            trail,
        };
        let open = async || {
            let tcp = tcp().await?;
            if parent.tls {
                self.shake(errand, cleared, tcp).await
            } else {
                Ok(Way::Plain(tcp))
            }
        };
        Box::pin(tunnel(errand, &self.parents, open)).await
    }

    async fn shake(
        &self,
        errand: Errand<'_>,
        cleared: &Cleared,
        tcp: TcpStream,
    ) -> Result<Way, ConnectError> {
        let destination = cleared.destination();
        let trust = destination
            .ca
            .as_ref()
            .map(|ca| Arc::clone(&ca.certificates));
        let connector = {
            let tls = self.parents.tls.lock();
            let tls = tls.unwrap_or_else(PoisonError::into_inner);
            tls.connector(&destination.name, &trust)
        };
        let shaken = async {
            let connector = connector.ok()?;
            let name = super::tls::server_name(&errand.parent.host).ok()?;
            Some(connector.connect(name, tcp).await)
        };
        match shaken.await {
            Some(Ok(tls)) => Ok(Way::Tls(Box::new(tls))),
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::debug!(parent = %errand.parent, error = %Chain(&error), "no TLS with a parent");
                }
                Err(self.parents.refused(errand, ParentError::Tls, 0))
            }
        }
    }

    /// Hands on the addresses of all parents, as they come. The target's own are theirs to find; one that is an address
    /// has to pass the policy here.
    pub(super) async fn resolve_parents(
        &self,
        cleared: &Cleared,
        avoid: &[SocketAddr],
        found: mpsc::Sender<Vec<ClearedAddr>>,
        resolution: &RefCell<Resolution>,
        owners: &Owners,
    ) {
        let (target, destination) = (cleared.target(), cleared.destination());
        if let Host::Addr(ip) = target.host
            && let Err(denial) = cleared.addr(SocketAddr::new(ip, target.port))
        {
            resolution.borrow_mut().denial = Some(denial);
            return;
        }
        let offer = |place: usize, ips: &[IpAddr]| {
            // Two names of one place are one.
            let clear = |addr| {
                let is_new = !owners.borrow().contains_key(&addr);
                is_new.then(|| cleared.parent(addr))
            };
            let port = destination.via[place].port;
            let mut resolution = resolution.borrow_mut();
            let batch = self.take(ips, port, destination, avoid, clear, &mut resolution);
            let mut owners = owners.borrow_mut();
            owners.extend(batch.iter().map(|addr| (addr.socket_addr(), place)));
            // Two families of each parent have their places.
            let _ = found.try_send(batch);
        };
        let begun = Instant::now();
        let ask = async |place: usize, family: Family| {
            let answer = match &destination.via[place].host {
                Host::Addr(ip) if ip.is_ipv6() == (family == Family::V6) => {
                    return offer(place, &[*ip]);
                }
                Host::Addr(_) => return,
                Host::Name(_) if !self.wants(family) => return,
                Host::Name(name) => {
                    self.resolver
                        .lookup(name, family, destination.max_ttl)
                        .await
                }
            };
            match answer {
                Ok(found) => {
                    offer(place, &found.addrs);
                    let mut resolution = resolution.borrow_mut();
                    resolution.stale = resolution.stale.max(found.stale);
                }
                Err(error) => {
                    let mut resolution = resolution.borrow_mut();
                    resolution.error = worst(resolution.error, Some(error));
                }
            }
            resolution
                .borrow_mut()
                .took
                .get_or_insert_with(|| begun.elapsed());
        };
        let mut asked: Vec<Pin<Box<_>>> = (0..destination.via.len())
            .flat_map(|place| [(place, Family::V6), (place, Family::V4)])
            .map(|(place, family)| Box::pin(ask(place, family)))
            .collect();
        poll_fn(|cx| {
            asked.retain_mut(|one| one.as_mut().poll(cx).is_pending());
            if asked.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        let mut resolution = resolution.borrow_mut();
        if resolution.resolved.is_empty() && resolution.error.is_none() {
            resolution.error = Some(ResolveError::NoAddress);
        }
    }
}
