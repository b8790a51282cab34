//! Who are you, may you: every request passes here, and nothing but an `Admission` leads on.
//!
//! The gate opens no socket and writes no reply; it never learns how a request ends. `Gate` lives as long as the
//! program; `Rules` is what a reload swaps, and one request sees one `Rules`.

mod basic;
mod credentials;
mod digest;
mod error;
mod gcra;
pub(crate) mod hash;
mod hold_back;
mod keyed;
mod limit;
mod limited;
mod limits;
mod login;
mod network;
mod nonce;
mod params;
mod queue;
mod replay;
mod senders;
mod throttle;
mod users;
mod wait;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use error::GateError;
pub(crate) use limited::Limited;
pub(crate) use limits::{Asking, Limits, Pass, Shares, Waited};
pub(crate) use login::LONGEST_USER;

use crate::config::{Authentication, Client, Config, Listener, NonceKey, Priority, noncekey};
use crate::exchange::{Algorithm, ClientName, Component, Scheme, Target, UserName};
use crate::policy::{Cleared, Policy};
use crate::telemetry::NonceUse;
use login::Terms;
use nonce::NonceBook;
use replay::Replays;
use senders::{Sender, Senders};
use throttle::Throttle;

/// What one configuration says about who may do what.
#[derive(Debug)]
pub(crate) struct Rules {
    policy: Arc<Policy>,
    senders: Senders,
    terms: Terms,
    limits: Limits,
}

/// What outlives a reload.
#[derive(Debug)]
pub(crate) struct Gate {
    nonces: NonceBook,
    replays: Replays,
    throttle: Throttle,
    tunnels: Arc<Semaphore>,
}

/// One request, as far as the gate looks at it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) listener: &'a Listener,
    pub(crate) client: IpAddr,
    pub(crate) method: &'a str,
    /// As it stood in the request line.
    pub(crate) request_target: &'a [u8],
    pub(crate) target: &'a Target,
    /// Every `Proxy-Authorization` value, in order.
    pub(crate) authorization: &'a [&'a [u8]],
    /// Whom the certificate of this connection names.
    pub(crate) certificate_user: Option<&'a UserName>,
}

/// Proof of having passed.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) login: Login,
    /// What a forwarded reply says in `Proxy-Authentication-Info`.
    pub(crate) authentication_info: Option<String>,
    pub(crate) cleared: Cleared,
    /// What it has to pass yet, before a connection is made.
    pub(crate) limits: Limits,
    pub(crate) priority: Priority,
    /// Which part of its cluster the sender is.
    pub(crate) component: Option<Component>,
}

/// Who it is. In a refusal: who it said to be, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<UserName>,
    pub(crate) scheme: Option<Scheme>,
    /// The one that was really checked, whatever the client called it.
    pub(crate) algorithm: Option<Algorithm>,
    /// The client called it something else.
    pub(crate) mislabelled: bool,
    /// How its digest uses its nonce.
    pub(crate) nonce: Option<NonceUse>,
    pub(crate) sender: Option<ClientName>,
}

/// One place among the tunnels.
#[derive(Debug)]
pub(crate) struct TunnelPermit {
    _place: OwnedSemaphorePermit,
}

/// The way back: why, and what would help.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) login: Login,
    pub(crate) error: GateError,
    /// One `Proxy-Authenticate` value each; empty unless the answer is 407.
    pub(crate) challenges: Vec<String>,
}

/// The nonce key file is missing and can't be made.
#[derive(Debug, thiserror::Error)]
#[error("can't make the nonce key file {}", path.display())]
pub(crate) struct GateOpenError {
    path: PathBuf,
    source: io::Error,
}

/// The nonce keys of a configuration. A key file that is named and not there is made.
pub(crate) fn nonce_keys(authentication: &Authentication) -> Result<Vec<NonceKey>, GateOpenError> {
    match &authentication.nonce_key_file {
        Some(path) if authentication.nonce_keys.is_empty() => {
            noncekey::create(path).map_err(|source| GateOpenError {
                path: path.clone(),
                source,
            })
        }
        _ => Ok(authentication.nonce_keys.clone()),
    }
}

impl Rules {
    pub(crate) fn new(config: &Config, policy: Arc<Policy>, limits: Limits) -> Self {
        Self {
            limits,
            ..Self::of(&config.authentication, &config.clients, policy)
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    fn of(authentication: &Authentication, clients: &[Client], policy: Arc<Policy>) -> Self {
        Self {
            policy,
            senders: Senders::new(clients),
            terms: Terms::new(authentication),
            limits: Limits::default(),
        }
    }
}

impl Gate {
    /// Opens with room for so many tunnels. A nonce key file that is named and not there is made.
    pub(crate) fn open(config: &Config, tunnels: usize) -> Result<Self, GateOpenError> {
        Self::open_with(&config.authentication, tunnels)
    }

    fn open_with(authentication: &Authentication, tunnels: usize) -> Result<Self, GateOpenError> {
        let nonces = match &nonce_keys(authentication)?[..] {
            [] => NonceBook::alone(),
            keys => NonceBook::new(keys),
        };
        Ok(Self {
            nonces,
            replays: Replays::new(),
            throttle: Throttle::new(),
            tunnels: Arc::new(Semaphore::new(tunnels.min(Semaphore::MAX_PERMITS))),
        })
    }

    /// A gate that only looks on: it makes no key file, and has no place for a tunnel.
    pub(crate) fn looking_on() -> Self {
        Self {
            nonces: NonceBook::alone(),
            replays: Replays::new(),
            throttle: Throttle::new(),
            tunnels: Arc::new(Semaphore::new(0)),
        }
    }

    /// Takes the nonce keys of another configuration. Nonces that were given out stay good.
    pub(crate) fn rekey(&self, authentication: &Authentication, now: SystemTime) {
        if !authentication.nonce_keys.is_empty() {
            let lifetime = authentication.nonce_lifetime;
            self.nonces.rekey(&authentication.nonce_keys, lifetime, now);
        }
    }

    /// Asks everything that is asked before a connection is made: is the address served here, who is it, may they
    /// go there.
    pub(crate) fn admit(
        &self,
        rules: &Rules,
        asked: &Asked<'_>,
        now: SystemTime,
    ) -> Result<Admission, Refusal> {
        let mut login = Login::default();
        match self.judge(rules, asked, &mut login, now) {
            Ok((cleared, sender, authentication_info)) => Ok(Admission {
                login,
                authentication_info,
                cleared,
                limits: rules.limits.clone(),
                priority: sender.map_or(Priority::Messages, |sender| sender.priority),
                component: sender.and_then(|sender| sender.component),
            }),
            Err(error) => {
                let challenges = error
                    .challenge()
                    .map(|stale| rules.terms.challenges(asked.listener, self, stale, now));
                Err(Refusal {
                    login,
                    challenges: challenges.unwrap_or_default(),
                    error,
                })
            }
        }
    }

    fn judge<'r>(
        &self,
        rules: &'r Rules,
        asked: &Asked<'_>,
        login: &mut Login,
        now: SystemTime,
    ) -> Result<(Cleared, Option<&'r Sender>, Option<String>), GateError> {
        // On a dual-stack socket an IPv4 client comes as ::ffff:a.b.c.d, and is still that IPv4 client.
        let client = asked.client.to_canonical();
        if !is_served(asked.listener, client) {
            return Err(GateError::ClientDenied);
        }
        let mut sender = rules.senders.of_address(client);
        login.sender = sender.map(|sender| sender.name.clone());
        let mut info = None;
        // Some senders know no authentication, and what they may send along means nothing.
        if !sender.is_some_and(|sender| sender.exempt) {
            info = rules.terms.log_in(self, asked, login, now)?;
            let by_user = login.user.as_ref();
            sender = by_user
                .and_then(|user| rules.senders.of_user(user))
                .or(sender);
            login.sender = sender.map(|sender| sender.name.clone());
        }
        let allowed = sender.map_or(&[][..], |sender| &sender.destinations);
        let cleared = rules.policy.clear(allowed, asked.target);
        cleared
            .map(|cleared| (cleared, sender, info))
            .map_err(GateError::Denied)
    }

    /// A place for one more tunnel, free again when the permit is dropped.
    pub(crate) fn take_tunnel(&self) -> Option<TunnelPermit> {
        let place = Arc::clone(&self.tunnels).try_acquire_owned().ok()?;
        Some(TunnelPermit { _place: place })
    }
}

/// Reads a value as the gate does, and looks at it with everything that needs no user.
#[cfg(fuzzing)]
pub fn fuzz_credentials(value: &[u8]) {
    if let Ok(credentials::Credentials::Digest(sent)) = credentials::parse(value) {
        let accepted = [Algorithm::Md5, Algorithm::Sha256];
        let _ = digest::algorithm_of(&sent, &accepted);
        let _ = digest::uri_matches(&sent.uri, "GET", value);
        let _ = digest::count(&sent);
        for algorithm in accepted {
            let _ = digest::authentication_info(value, &sent, algorithm);
        }
        let lifetime = std::time::Duration::from_secs(60);
        let _ = NonceBook::alone().check(&sent.nonce, lifetime, SystemTime::UNIX_EPOCH);
    }
}

/// Whether a listener is for this address at all; asked at the door, and again for every request.
pub(crate) fn is_served(listener: &Listener, client: IpAddr) -> bool {
    let networks = &listener.allow_from;
    networks.is_empty() || networks.iter().any(|network| network.contains(&client))
}

#[cfg(test)]
mod tests;
