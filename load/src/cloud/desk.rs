//! What the cloud answers, and what it remembers: accounts, tokens, targets, confirmations.
//!
//! No sockets and no waiting here; `now` comes in as an argument.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Hosts;

/// Where a machine account is asked for.
pub const ONBOARD_PATH: &str = "/onboarding/v1/machine-accounts";
/// Where a refresh token becomes an access token.
pub const TOKEN_PATH: &str = "/token/v1/access-tokens";
/// Where pushes go.
pub const PUSH_PATH: &str = "/push/v1/messages";

/// A bound on everything that is remembered by key.
const ENTRIES_MAX: usize = 1_000_000;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// One request, as far as it matters here.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    /// The Host field, as it came.
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) authorization: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What is said to it.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Reply(StatusCode, Value),
    /// Nothing, ever.
    Never,
}

#[derive(Debug)]
pub(super) struct Desk {
    hosts: Hosts,
    token_lifetime: Duration,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    refresh_tokens: HashSet<String>,
    access_tokens: HashMap<String, Instant>,
    confirmed: HashMap<String, u32>,
    gone: HashSet<String>,
    ordered: Option<(StatusCode, Value)>,
    to_swallow: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnboardBody {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenBody {
    refresh_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PushBody {
    target: String,
    tracking_id: String,
    payload: String,
}

impl Desk {
    pub(super) fn new(hosts: Hosts, token_lifetime: Duration) -> Self {
        Self {
            hosts,
            token_lifetime,
            book: Mutex::default(),
        }
    }

    pub(super) fn confirmed(&self) -> HashMap<String, u32> {
        self.book().confirmed.clone()
    }

    pub(super) fn swallow_next_push(&self) {
        self.book().to_swallow += 1;
    }

    pub(super) fn forget_target(&self, target: &str) {
        self.book().gone.insert(target.to_owned());
    }

    pub(super) fn answer_everything(&self, answer: Option<(StatusCode, Value)>) {
        self.book().ordered = answer;
    }

    pub(super) fn expire_tokens(&self) {
        self.book().access_tokens.clear();
    }

    /// A token for one who need not ask; `None` where there are too many.
    pub(super) fn access_token(&self, now: Instant) -> Option<String> {
        self.book().access(now + self.token_lifetime)
    }

    /// Answers a request. A push that is answered 200 is counted here.
    pub(super) fn answer(&self, asked: &Asked<'_>, now: Instant) -> Answer {
        if let Some((status, body)) = &self.book().ordered {
            return Answer::Reply(*status, body.clone());
        }
        let served_at = match asked.path {
            ONBOARD_PATH => &self.hosts.onboard,
            TOKEN_PATH => &self.hosts.token,
            PUSH_PATH => &self.hosts.push,
            _ => return refusal(StatusCode::NOT_FOUND, "no such resource"),
        };
        if self.is_other_host(asked.host, served_at) {
            return refusal(StatusCode::MISDIRECTED_REQUEST, "not served at this name");
        }
        if asked.method != Method::POST {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "POST only");
        }
        match asked.path {
            ONBOARD_PATH => self.onboard(asked.body),
            TOKEN_PATH => self.token(asked.body, now),
            _ => self.push(asked, now),
        }
    }

    /// Each of our names serves one thing; a bare address serves everything.
    fn is_other_host(&self, host: &str, wanted: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let ours = [&self.hosts.push, &self.hosts.token, &self.hosts.onboard];
        !name.eq_ignore_ascii_case(wanted) && ours.iter().any(|our| name.eq_ignore_ascii_case(our))
    }

    fn onboard(&self, body: &[u8]) -> Answer {
        let Ok(OnboardBody { name }) = serde_json::from_slice(body) else {
            return refusal(StatusCode::BAD_REQUEST, "name missing");
        };
        let refresh = random_token();
        let mut book = self.book();
        if book.refresh_tokens.len() >= ENTRIES_MAX {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "full");
        }
        book.refresh_tokens.insert(refresh.clone());
        let account = format!("machine-{}-{name}", book.refresh_tokens.len());
        Answer::Reply(
            StatusCode::CREATED,
            json!({ "machineAccount": account, "refreshToken": refresh }),
        )
    }

    fn token(&self, body: &[u8], now: Instant) -> Answer {
        let mut book = self.book();
        let known = serde_json::from_slice(body)
            .is_ok_and(|TokenBody { refresh_token }| book.refresh_tokens.contains(&refresh_token));
        if !known {
            return refusal(
                StatusCode::BAD_REQUEST,
                "refresh token expired or not valid",
            );
        }
        let Some(access) = book.access(now + self.token_lifetime) else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "full");
        };
        let lifetime = self.token_lifetime.as_secs_f64();
        Answer::Reply(
            StatusCode::OK,
            json!({ "accessToken": access, "expiresIn": lifetime }),
        )
    }

    fn push(&self, asked: &Asked<'_>, now: Instant) -> Answer {
        let mut book = self.book();
        let valid = asked
            .authorization
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(|token| book.access_tokens.get(token))
            .is_some_and(|expiry| now < *expiry);
        if !valid {
            return refusal(StatusCode::UNAUTHORIZED, "access token not valid");
        }
        let Ok(push) = serde_json::from_slice::<PushBody>(asked.body) else {
            return refusal(
                StatusCode::BAD_REQUEST,
                "target, trackingId or payload missing",
            );
        };
        if !is_encrypted(&push.payload) {
            return refusal(StatusCode::BAD_REQUEST, "payload is not encrypted");
        }
        if book.gone.contains(&push.target) {
            return refusal(StatusCode::GONE, "unknown target");
        }
        if book.to_swallow > 0 {
            book.to_swallow -= 1;
            return Answer::Never;
        }
        if book.confirmed.len() >= ENTRIES_MAX && !book.confirmed.contains_key(&push.tracking_id) {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "full");
        }
        *book.confirmed.entry(push.tracking_id.clone()).or_default() += 1;
        Answer::Reply(
            StatusCode::OK,
            json!({ "status": "confirmed", "trackingId": push.tracking_id }),
        )
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn access(&mut self, good_until: Instant) -> Option<String> {
        if self.access_tokens.len() >= ENTRIES_MAX {
            return None;
        }
        let access = random_token();
        self.access_tokens.insert(access.clone(), good_until);
        Some(access)
    }
}

fn refusal(status: StatusCode, why: &str) -> Answer {
    Answer::Reply(status, json!({ "error": why }))
}

/// `A256GCM.<nonce>.<ciphertext and tag>`, base64url: what it hides is nobody's business here.
fn is_encrypted(payload: &str) -> bool {
    let mut parts = payload.split('.');
    let algorithm = parts.next();
    let bytes = |part: Option<&str>| {
        part.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok())
            .map_or(0, |bytes| bytes.len())
    };
    let (nonce, sealed) = (bytes(parts.next()), bytes(parts.next()));
    algorithm == Some("A256GCM")
        && nonce == NONCE_BYTES
        && sealed > TAG_BYTES
        && parts.next().is_none()
}

fn random_token() -> String {
    let mut bytes = [0_u8; 24];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
