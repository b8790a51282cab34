//! Who is it? One `Proxy-Authorization` value against the users, and the challenges for whoever failed.
//!
//! A verdict belongs to one request: what is remembered of it is which nonce counts were used, and how often somebody
//! was wrong.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::credentials::{self, Basic, Credentials, Digest, Qop};
use super::nonce::NonceState;
use super::throttle::{Held, Patience};
use super::users::Users;
use super::{Asked, Gate, GateError, Login, basic, digest};
use crate::config::{Authentication, Listener};
use crate::exchange::{Algorithm, Scheme, UserName};
use crate::telemetry::NonceUse;

/// Longer names are not repeated to the log. `passwd` takes none that is longer.
pub(crate) const LONGEST_USER: usize = 256;

/// How one may log in, of one configuration.
#[derive(Debug)]
pub(crate) struct Terms {
    required: bool,
    realm: String,
    schemes: Vec<Scheme>,
    basic_requires_tls: bool,
    /// What is accepted.
    algorithms: Vec<Algorithm>,
    /// What is offered: of those accepted, the ones that some user has a line for.
    offered: Vec<Algorithm>,
    userhash: bool,
    nonce_lifetime: Duration,
    /// How many nonces are remembered.
    nonces: usize,
    next_nonce: bool,
    patience: Patience,
    users: Users,
}

impl Terms {
    pub(crate) fn new(config: &Authentication) -> Self {
        let users = Users::new(&config.users);
        let algorithms = config.digest_algorithms.clone();
        let answered = |algorithm: &Algorithm| users.any_with(digest::kind(*algorithm));
        let mut offered: Vec<_> = algorithms.iter().copied().filter(answered).collect();
        if offered.is_empty() {
            // Nobody can log in; that is not for the challenge to tell.
            offered.clone_from(&algorithms);
        }
        Self {
            required: config.required,
            realm: config.realm.clone(),
            schemes: config.schemes.clone(),
            basic_requires_tls: config.basic_requires_tls,
            algorithms,
            offered,
            userhash: config.userhash,
            nonce_lifetime: config.nonce_lifetime,
            nonces: config.nonces as usize,
            next_nonce: config.next_nonce,
            patience: Patience::new(
                config.failure_rate.per_second,
                config.failure_burst,
                config.failure_keys as usize,
            ),
            users,
        }
    }

    /// Checks what came, required or not. `login` is filled as far as things are known, also where the answer is no.
    /// Gives back what the reply may say about it.
    pub(super) fn log_in(
        &self,
        gate: &Gate,
        asked: &Asked<'_>,
        login: &mut Login,
        now: SystemTime,
    ) -> Result<Option<String>, GateError> {
        let value = match asked.authorization {
            [] => return self.without_credentials(asked, login).map(|()| None),
            [value] => value,
            [_, _, ..] => return Err(GateError::SeveralCredentials),
        };
        let credentials = credentials::parse(value).map_err(GateError::Unreadable)?;
        let scheme = match &credentials {
            Credentials::Basic(_) => Scheme::Basic,
            Credentials::Digest(_) => Scheme::Digest,
        };
        login.scheme = Some(scheme);
        if !self.schemes.contains(&scheme) {
            return Err(GateError::SchemeNotOffered);
        }
        match &credentials {
            Credentials::Basic(basic) => self
                .check_basic(basic, gate, asked, login, now)
                .map(|()| None),
            Credentials::Digest(digest) => self.check_digest(digest, gate, asked, login, now),
        }
    }

    /// A certificate logs in as well as a password; without either one, nobody is anybody.
    fn without_credentials(&self, asked: &Asked<'_>, login: &mut Login) -> Result<(), GateError> {
        match asked.certificate_user {
            Some(user) => {
                login.user = Some(user.clone());
                login.scheme = Some(Scheme::Certificate);
                Ok(())
            }
            None if self.required => Err(GateError::NoCredentials),
            None => Ok(()),
        }
    }

    fn check_basic(
        &self,
        basic: &Basic,
        gate: &Gate,
        asked: &Asked<'_>,
        login: &mut Login,
        now: SystemTime,
    ) -> Result<(), GateError> {
        login.user = claimed(&basic.user);
        if !self.basic_is_safe(asked.listener) {
            return Err(GateError::BasicInClear);
        }
        let Some(user) = basic::verify(&self.users, basic, &self.realm) else {
            let meant = self.users.named(&basic.user).name();
            return Err(self.wrong(gate, asked, meant, now));
        };
        self.not_held(gate, asked, user, now)?;
        login.user = Some(user.clone());
        Ok(())
    }

    fn check_digest(
        &self,
        digest: &Digest<'_>,
        gate: &Gate,
        asked: &Asked<'_>,
        login: &mut Login,
        now: SystemTime,
    ) -> Result<Option<String>, GateError> {
        if !digest.userhash {
            login.user = claimed(&digest.user);
        }
        login.algorithm = digest.algorithm;
        login.nonce = Some(NonceUse {
            mark: mark(&digest.nonce),
            count: matches!(digest.qop, Qop::Auth { .. }).then(|| digest::count(digest)),
        });
        let algorithm =
            digest::algorithm_of(digest, &self.algorithms).ok_or(GateError::AlgorithmNotOffered)?;
        login.algorithm = Some(algorithm);
        login.mislabelled = digest.algorithm != Some(algorithm);
        if digest.qop == Qop::Other {
            return Err(GateError::QopNotOffered);
        }
        if *digest.realm != *self.realm.as_bytes() {
            return Err(GateError::OtherRealm);
        }
        if !digest::uri_matches(&digest.uri, asked.method, asked.request_target) {
            return Err(GateError::OtherUri);
        }
        let Some(proven) = digest::verify(&self.users, digest, algorithm, asked.method) else {
            let meant = digest::meant(&self.users, digest).name();
            return Err(self.wrong(gate, asked, meant, now));
        };
        let nonce = match gate.nonces.check(&digest.nonce, self.nonce_lifetime, now) {
            NonceState::Fresh(id) => Some(id),
            NonceState::Stale | NonceState::Foreign => None,
        };
        let client = asked.client.to_canonical();
        // Whoever came through with this nonce before, from here, is not the one who guesses.
        if !nonce.is_some_and(|nonce| gate.replays.knows(nonce, proven.user, client)) {
            self.not_held(gate, asked, proven.user, now)?;
        }
        login.user = Some(proven.user.clone());
        // Only who has the password is told that the nonce is the trouble, and may then try again without asking
        // anybody. So it is also with a nonce of another key, as after a restart.
        let nonce = nonce.ok_or(GateError::StaleNonce)?;
        if !gate.replays.spend(
            nonce,
            proven.user,
            client,
            digest::count(digest),
            self.nonces,
        ) {
            return Err(GateError::Replayed);
        }
        // What answers a CONNECT has no fields.
        if asked.method == "CONNECT" {
            return Ok(None);
        }
        let next = self.next_nonce.then(|| gate.nonces.mint(now));
        let next = next.map(|nonce| format!("nextnonce=\"{nonce}\""));
        let ours = digest::authentication_info(proven.ha1.reveal(), digest, algorithm);
        Ok(match (next, ours) {
            (Some(next), Some(ours)) => Some(format!("{next}, {ours}")),
            (next, ours) => next.or(ours),
        })
    }

    /// A failure is counted, and after too many of them answered with a pause.
    fn wrong(
        &self,
        gate: &Gate,
        asked: &Asked<'_>,
        meant: Option<&UserName>,
        now: SystemTime,
    ) -> GateError {
        let client = asked.client.to_canonical();
        match gate.throttle.wrong(client, meant, &self.patience, now) {
            Some(held) => throttled(client, &held),
            None => GateError::WrongCredentials,
        }
    }

    /// Right credentials wait only where this very user's are being guessed from this very address. They were looked at
    /// all the same, so that the time tells nobody who exists.
    fn not_held(
        &self,
        gate: &Gate,
        asked: &Asked<'_>,
        user: &UserName,
        now: SystemTime,
    ) -> Result<(), GateError> {
        let client = asked.client.to_canonical();
        match gate.throttle.holds(client, user, &self.patience, now) {
            Some(held) => Err(throttled(client, &held)),
            None => Ok(()),
        }
    }

    fn basic_is_safe(&self, listener: &Listener) -> bool {
        listener.tls.is_some() || !self.basic_requires_tls
    }

    /// One field value per challenge, in the order configured. The form is the one that all real clients read:
    /// `algorithm` and `stale` bare, `qop` quoted, one challenge a line.
    pub(super) fn challenges(
        &self,
        listener: &Listener,
        gate: &Gate,
        stale: bool,
        now: SystemTime,
    ) -> Vec<String> {
        let realm = &self.realm;
        let mut challenges = Vec::with_capacity(self.offered.len() + 1);
        for scheme in &self.schemes {
            match scheme {
                Scheme::Digest => {
                    // One nonce will do for all: it is not tied to the algorithm.
                    let nonce = gate.nonces.mint(now);
                    let stale = if stale { ", stale=true" } else { "" };
                    let userhash = if self.userhash { ", userhash=true" } else { "" };
                    challenges.extend(self.offered.iter().map(|algorithm| {
                        let algorithm = algorithm.token();
                        format!(
                            "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\", charset=UTF-8{userhash}{stale}"
                        )
                    }));
                }
                Scheme::Basic if self.basic_is_safe(listener) => {
                    challenges.push(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
                }
                // What came with the connection cannot be asked for in a reply.
                Scheme::Basic | Scheme::Certificate => {}
            }
        }
        challenges
    }
}

fn throttled(client: IpAddr, held: &Held) -> GateError {
    if let Some(count) = held.report {
        tracing::warn!(%client, count, "too many wrong credentials from one address: answered 429");
    }
    GateError::Throttled {
        after: held.retry_after,
    }
}

/// Tells one nonce from the next.
fn mark(nonce: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(nonce);
    hasher.finish()
}

fn claimed(user: &str) -> Option<UserName> {
    (!user.is_empty() && user.len() <= LONGEST_USER).then(|| UserName::new(user))
}
