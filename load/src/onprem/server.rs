//! One call server: its account, its token, its kept tunnels, and what became of each push.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::absolute::{Turns, authority};
use super::ask::{AccessToken, fetch_token, onboard, open};
use super::books::Sending;
use super::connection::{Answered, Connection, Post, SendError};
use super::moves::End;
use super::seal::SealingKey;
use super::{Outcome, ProxyClient, PushLabel, ServerError, ServerPlan, tls};
use crate::guide::{self, Moment};
use crate::measure::Latencies;

const PUSH_PATH: &str = "/push/v1/messages";
/// A token this close to its end is not used any more.
const TOKEN_MARGIN: Duration = Duration::from_secs(1);
/// How often a push may find that the connection it got was closed before it began.
const FRESH_STARTS: usize = 3;

/// A call server that has a machine account and a token.
#[derive(Debug)]
pub struct Server {
    plan: ServerPlan,
    proxy: ProxyClient,
    tls: TlsTerms,
    refresh_token: String,
    access: tokio::sync::Mutex<AccessToken>,
    idle: Mutex<VecDeque<Connection>>,
    /// Connections to the proxy itself.
    idle_to_proxy: Mutex<VecDeque<Connection>>,
    turns: Turns,
    places: Semaphore,
    key: SealingKey,
    reopened: AtomicU64,
    /// One new tunnel at a time, where it is shared.
    opening: tokio::sync::Mutex<()>,
    answers: Mutex<Latencies>,
}

struct TlsTerms(TlsConnector);

impl std::fmt::Debug for TlsTerms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsTerms")
    }
}

impl Server {
    /// Onboards and fetches the first token, both through the proxy.
    pub async fn start(plan: ServerPlan, proxy: ProxyClient) -> Result<Self, ServerError> {
        let trusting = if plan.http2 {
            tls::trusting_for_http2
        } else {
            tls::trusting
        };
        let tls = trusting(&plan.roots_pem).map_err(|source| ServerError::Tls {
            target: plan.push.clone(),
            source,
        })?;
        plan.books.play(plan.component);
        let refresh_token = onboard(&proxy, &tls, &plan.onboard, &plan.name).await?;
        let access = fetch_token(&proxy, &tls, &plan.token, &refresh_token).await;
        plan.note_token(&access);
        let access = access?;
        Ok(Self {
            places: Semaphore::new(plan.tunnels.max(1)),
            turns: Turns::new(plan.absolute.clone()),
            plan,
            proxy,
            tls: TlsTerms(tls),
            refresh_token,
            access: tokio::sync::Mutex::new(access),
            idle: Mutex::default(),
            idle_to_proxy: Mutex::default(),
            key: SealingKey::random(),
            reopened: AtomicU64::new(0),
            opening: tokio::sync::Mutex::default(),
            answers: Mutex::default(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// How many connections of a kind it keeps at most.
    #[must_use]
    pub fn keeps(&self) -> usize {
        self.plan.tunnels.max(1)
    }

    /// The proxy as it sees it.
    #[must_use]
    pub fn proxy(&self) -> &ProxyClient {
        &self.proxy
    }

    /// How often a kept tunnel was found closed, and opened anew before the next push.
    #[must_use]
    pub fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }

    /// What its own clock says of the pushes that were answered in a tunnel: from the last byte that was sent of one to the
    /// head of its answer.
    #[must_use]
    pub fn answers(&self) -> Latencies {
        locked(&self.answers).clone()
    }

    /// Sends one push and waits for its confirmation. `text` is encrypted on the way.
    ///
    /// A push that has begun is not repeated when its connection breaks. After
    /// `confirmation_wait` it is sent once more through the next address of the proxy, if there is one.
    pub async fn push(&self, target: &str, tracking_id: &str, text: &str) -> Outcome {
        self.push_as(PushLabel::default(), target, tracking_id, text)
            .await
    }

    /// Sends one push that says which service brings it, and what it is for.
    pub async fn push_as(
        &self,
        label: PushLabel,
        target: &str,
        tracking_id: &str,
        text: &str,
    ) -> Outcome {
        let Ok(_place) = self.places.acquire().await else {
            unreachable!("the semaphore is never closed")
        };
        let push = Push {
            label,
            tracking_id,
            body: json!({
                "target": target,
                "trackingId": tracking_id,
                "service": label.service,
                "kind": label.kind,
                "payload": self.key.seal(text),
            }),
        };
        let way = match self.turns.next() {
            None => Way::Tunnel,
            Some(origin) => Way::Absolute {
                url: format!("{origin}{PUSH_PATH}"),
                host: authority(origin).to_owned(),
            },
        };
        let mut via = 0;
        for _ in 0..self.proxy.addresses() {
            let mut connection = match self.connection(&way, via).await {
                Ok(connection) => connection,
                Err(error) => {
                    self.note(&push, &way, End::unopened(&error), Some(&error));
                    return Outcome::Unsent(error);
                }
            };
            match self.send(&way, &mut connection, &push).await {
                Sent::Reply(reply) => {
                    if matches!(way, Way::Tunnel) {
                        locked(&self.answers).record(reply.took);
                    }
                    if !connection.is_shared() {
                        self.idle(&way).push_back(connection);
                    }
                    return match reply.status {
                        StatusCode::OK => Outcome::Confirmed,
                        status if reply.is_by_proxy() => Outcome::Undelivered(status),
                        status => Outcome::Rejected(status),
                    };
                }
                Sent::Cut => return Outcome::Cut,
                Sent::Failed(error) => return Outcome::Unsent(error),
                Sent::Silence => {
                    via = connection.via + 1;
                    connection.abandon();
                }
            }
        }
        Outcome::Unconfirmed
    }

    /// Closes every idle connection, each layer with its goodbye.
    pub async fn close(&self) {
        let mut all: Vec<_> = locked(&self.idle).drain(..).collect();
        all.extend(locked(&self.idle_to_proxy).drain(..));
        for connection in all {
            connection.close().await;
        }
    }

    /// Each sending is noted by itself, as whoever sees it pass does.
    async fn send(&self, way: &Way, connection: &mut Connection, push: &Push<'_>) -> Sent {
        let mut renewed = false;
        let mut fresh_starts = 0;
        loop {
            let token = match self.token(renewed).await {
                Ok(token) => token,
                Err(error) => {
                    self.note(push, way, End::NoToken, Some(&error));
                    return Sent::Failed(error);
                }
            };
            let post = self.post(way, connection, &token, &push.body);
            let posted = tokio::time::timeout(self.plan.confirmation_wait, post).await;
            match &posted {
                Ok(Ok(reply)) => self.note(push, way, End::of(reply), None),
                Err(_) | Ok(Err(SendError::Cut)) => self.note(push, way, End::Unanswered, None),
                Ok(Err(SendError::Unsent)) => {}
            }
            match posted {
                Err(_) => return Sent::Silence,
                // A token that is not accepted any more is renewed once; that push was not taken.
                Ok(Ok(reply)) if reply.status == StatusCode::UNAUTHORIZED && !renewed => {
                    renewed = true;
                }
                Ok(Ok(reply)) => return Sent::Reply(reply),
                Ok(Err(SendError::Cut)) => return Sent::Cut,
                // Not a byte of it went out: this is not a repetition.
                Ok(Err(SendError::Unsent)) if fresh_starts < FRESH_STARTS => {
                    fresh_starts += 1;
                    way.note_closed(&self.reopened, 1);
                    match self.open(way, connection.via).await {
                        Ok(fresh) => *connection = fresh,
                        Err(error) => {
                            self.note(push, way, End::unopened(&error), Some(&error));
                            return Sent::Failed(error);
                        }
                    }
                }
                Ok(Err(SendError::Unsent)) => {
                    self.note(push, way, End::Unreached, None);
                    return Sent::Cut;
                }
            }
        }
    }

    async fn post(
        &self,
        way: &Way,
        connection: &mut Connection,
        token: &str,
        body: &Value,
    ) -> Result<Answered, SendError> {
        let post = |uri, host| Post {
            uri,
            host,
            bearer: Some(token),
            credentials: None,
            body,
        };
        match way {
            Way::Tunnel => connection.post(&post(PUSH_PATH, &self.plan.push)).await,
            Way::Absolute { url, host } => self.proxy.post(connection, &post(url, host)).await,
        }
    }

    /// An idle connection that is still open, or a new one; of HTTP/2, the one that is kept, shared with others.
    async fn connection(&self, way: &Way, via: usize) -> Result<Connection, ServerError> {
        if !self.plan.http2 || via > 0 || matches!(way, Way::Absolute { .. }) {
            return self.own_connection(way, via).await;
        }
        let _turn = self.opening.lock().await;
        let kept = self.own_connection(way, via).await?;
        let Some(shared) = kept.share() else {
            return Ok(kept);
        };
        self.idle(way).push_front(kept);
        Ok(shared)
    }

    async fn own_connection(&self, way: &Way, via: usize) -> Result<Connection, ServerError> {
        let kept = {
            let mut idle = self.idle(way);
            let before = idle.len();
            idle.retain(|connection| !connection.is_closed());
            way.note_closed(&self.reopened, before - idle.len());
            if via == 0 { idle.pop_front() } else { None }
        };
        match kept {
            Some(connection) => Ok(connection),
            None => self.open(way, via).await,
        }
    }

    async fn open(&self, way: &Way, via: usize) -> Result<Connection, ServerError> {
        match way {
            Way::Tunnel => open(&self.proxy, via, &self.tls.0, &self.plan.push).await,
            Way::Absolute { .. } => {
                let reached = self.proxy.reach(via).await;
                let stream = reached.map_err(ServerError::Proxy)?;
                let opened = Connection::to_proxy(stream, via).await;
                opened.map_err(ServerError::Proxy)
            }
        }
    }

    fn idle(&self, way: &Way) -> MutexGuard<'_, VecDeque<Connection>> {
        locked(match way {
            Way::Tunnel => &self.idle,
            Way::Absolute { .. } => &self.idle_to_proxy,
        })
    }

    fn note(&self, push: &Push<'_>, way: &Way, end: End, why: Option<&ServerError>) {
        let sending = Sending {
            label: push.label,
            tracking_id: push.tracking_id,
            way: match way {
                Way::Tunnel => guide::Way::Tunnel,
                Way::Absolute { .. } => guide::Way::Absolute,
            },
            why,
        };
        let plan = &self.plan;
        plan.books.push(plan.who(), &sending, end, Moment::now());
    }

    async fn token(&self, renew: bool) -> Result<String, ServerError> {
        let mut access = self.access.lock().await;
        if renew || access.good_until <= Instant::now() + TOKEN_MARGIN {
            let token = &self.plan.token;
            let fetched = fetch_token(&self.proxy, &self.tls.0, token, &self.refresh_token).await;
            self.plan.note_token(&fetched);
            *access = fetched?;
        }
        Ok(access.text.clone())
    }
}

/// One push, as far as all its sendings have it in common.
struct Push<'a> {
    label: PushLabel,
    tracking_id: &'a str,
    body: Value,
}

/// How a push gets to the cloud.
enum Way {
    Tunnel,
    /// The proxy is asked for this URL.
    Absolute {
        url: String,
        host: String,
    },
}

impl Way {
    /// Tunnels that were found closed are counted; how many connections the proxy needed is counted as they open.
    fn note_closed(&self, reopened: &AtomicU64, closed: usize) {
        if matches!(self, Self::Tunnel) {
            reopened.fetch_add(closed as u64, Ordering::Relaxed);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How one sending went.
enum Sent {
    Reply(Answered),
    Cut,
    Silence,
    Failed(ServerError),
}
