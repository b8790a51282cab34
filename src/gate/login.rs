//! Who is it? One `Proxy-Authorization` value against the users, and the challenges for whoever failed.
//!
//! Pure but for the chance in a new nonce. A verdict belongs to one request: nothing is remembered here.

use std::time::{Duration, SystemTime};

use super::credentials::{self, Basic, Credentials, Digest, Qop};
use super::nonce::{NonceBook, NonceState};
use super::users::Users;
use super::{Asked, GateError, Login, basic, digest};
use crate::config::{Authentication, Listener};
use crate::exchange::{Algorithm, Scheme, UserName};

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
    nonce_lifetime: Duration,
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
            nonce_lifetime: config.nonce_lifetime,
            users,
        }
    }

    /// Checks what came, required or not. `login` is filled as far as things are known, also where the answer is no.
    pub(super) fn log_in(
        &self,
        nonces: &NonceBook,
        asked: &Asked<'_>,
        login: &mut Login,
        now: SystemTime,
    ) -> Result<(), GateError> {
        let value = match asked.authorization {
            [] => return self.without_credentials(asked, login),
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
        let user = match &credentials {
            Credentials::Basic(basic) => self.check_basic(basic, asked, login)?,
            Credentials::Digest(digest) => self.check_digest(digest, nonces, asked, login, now)?,
        };
        login.user = Some(user);
        Ok(())
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
        asked: &Asked<'_>,
        login: &mut Login,
    ) -> Result<UserName, GateError> {
        login.user = claimed(&basic.user);
        if !self.basic_is_safe(asked.listener) {
            return Err(GateError::BasicInClear);
        }
        basic::verify(&self.users, basic, &self.realm).ok_or(GateError::WrongCredentials)
    }

    fn check_digest(
        &self,
        digest: &Digest<'_>,
        nonces: &NonceBook,
        asked: &Asked<'_>,
        login: &mut Login,
        now: SystemTime,
    ) -> Result<UserName, GateError> {
        if !digest.userhash {
            login.user = claimed(&digest.user);
        }
        login.algorithm = digest.algorithm;
        let algorithm =
            digest::algorithm_of(digest, &self.algorithms).ok_or(GateError::AlgorithmNotOffered)?;
        login.algorithm = Some(algorithm);
        if digest.qop == Qop::Other {
            return Err(GateError::QopNotOffered);
        }
        if *digest.realm != *self.realm.as_bytes() {
            return Err(GateError::OtherRealm);
        }
        if !digest::uri_matches(&digest.uri, asked.method, asked.request_target) {
            return Err(GateError::OtherUri);
        }
        let user = digest::verify(&self.users, digest, algorithm, asked.method)
            .ok_or(GateError::WrongCredentials)?;
        // Only who has the password is told that the nonce is the trouble, and may then try again without asking
        // anybody. So it is also with a nonce of another key, as after a restart.
        match nonces.check(&digest.nonce, self.nonce_lifetime, now) {
            NonceState::Fresh => Ok(user),
            NonceState::Stale | NonceState::Foreign => {
                login.user = Some(user);
                Err(GateError::StaleNonce)
            }
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
        nonces: &NonceBook,
        stale: bool,
        now: SystemTime,
    ) -> Vec<String> {
        let realm = &self.realm;
        let mut challenges = Vec::with_capacity(self.offered.len() + 1);
        for scheme in &self.schemes {
            match scheme {
                Scheme::Digest => {
                    // One nonce will do for all: it is not tied to the algorithm.
                    let nonce = nonces.mint(now);
                    let stale = if stale { ", stale=true" } else { "" };
                    challenges.extend(self.offered.iter().map(|algorithm| {
                        let algorithm = algorithm.token();
                        format!(
                            "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}"
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

fn claimed(user: &str) -> Option<UserName> {
    (!user.is_empty() && user.len() <= LONGEST_USER).then(|| UserName::new(user))
}
