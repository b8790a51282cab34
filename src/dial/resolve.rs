//! Names to addresses: A and AAAA asked separately, each used as it comes, kept within the TTL caps.
//!
//! The cores look into the shared cache; what is not there is asked on the control thread, one flight per name
//! and family, since hickory's connections live on the runtime that asks.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::cache::Cache;
use super::servers::Servers;
use crate::config;
use crate::exchange::Reason;
use crate::telemetry::{Chain, Meters};

/// Questions that may wait for the control thread at most.
const QUESTIONS_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Why a name gave no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResolveError {
    /// The name does not exist, in no family.
    NotFound,
    /// The name exists and has no address of this family.
    NoAddress,
    TimedOut,
    Failed,
}

impl ResolveError {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::NotFound | Self::NoAddress => Reason::NameNotFound,
            Self::TimedOut => Reason::DnsTimeout,
            Self::Failed => Reason::DnsFailed,
        }
    }

    /// The word in metrics.
    fn token(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NoAddress => "no_address",
            Self::TimedOut => "timeout",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "the name does not exist",
            Self::NoAddress => "the name has no address of this family",
            Self::TimedOut => "no DNS server answered in time",
            Self::Failed => "the DNS servers failed",
        })
    }
}

impl std::error::Error for ResolveError {}

pub(crate) type Answer = Result<Arc<[IpAddr]>, ResolveError>;

/// The cores' end: the cache, and the way to ask.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    cache: Arc<Mutex<Cache>>,
    questions: mpsc::Sender<Question>,
}

#[derive(Debug)]
struct Question {
    name: Arc<str>,
    family: Family,
    reply: oneshot::Sender<Answer>,
}

impl Resolver {
    /// The handle, and what answers it on the control thread.
    pub(crate) fn new(dns: config::Dns, meters: Arc<Meters>) -> (Self, Answerer) {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let cache = Arc::new(Mutex::new(Cache::new(&dns)));
        let answerer = Answerer {
            dns,
            cache: Arc::clone(&cache),
            asked,
            meters,
        };
        (Self { cache, questions }, answerer)
    }

    /// One family of a name. `max_ttl` is the destination's own cap.
    pub(crate) async fn lookup(
        &self,
        name: &Arc<str>,
        family: Family,
        max_ttl: Option<Duration>,
    ) -> Answer {
        let known = self
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .find(name, family, max_ttl, Instant::now());
        if let Some(answer) = known {
            return answer;
        }
        let (reply, answer) = oneshot::channel();
        let question = Question {
            name: Arc::clone(name),
            family,
            reply,
        };
        if self.questions.send(question).await.is_err() {
            return Err(ResolveError::Failed);
        }
        answer.await.unwrap_or(Err(ResolveError::Failed))
    }
}

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct Answerer {
    dns: config::Dns,
    cache: Arc<Mutex<Cache>>,
    asked: mpsc::Receiver<Question>,
    meters: Arc<Meters>,
}

type Flights = HashMap<(Arc<str>, Family), Vec<oneshot::Sender<Answer>>>;

/// What a flight brings home.
#[derive(Debug)]
struct Landed {
    name: Arc<str>,
    family: Family,
    answer: Answer,
    ttl: Duration,
    took: Duration,
}

impl Answerer {
    /// Answers until nobody can ask any more.
    pub(crate) async fn run(mut self) {
        let mut flights = Flights::new();
        let (landing, mut landed) = mpsc::channel::<Landed>(QUESTIONS_MAX);
        let mut servers = None;
        loop {
            tokio::select! {
                question = self.asked.recv() => {
                    let Some(question) = question else { return };
                    self.take_off(question, &mut flights, &mut servers, &landing);
                }
                Some(flight) = landed.recv() => self.land(flight, &mut flights),
            }
        }
    }

    fn take_off(
        &self,
        question: Question,
        flights: &mut Flights,
        servers: &mut Option<Rc<Servers>>,
        landing: &mpsc::Sender<Landed>,
    ) {
        let Question {
            name,
            family,
            reply,
        } = question;
        let waiting = flights.entry((Arc::clone(&name), family)).or_default();
        waiting.push(reply);
        if waiting.len() > 1 {
            return;
        }
        // A machine without a usable resolv.conf may get one while we run: it is read again with every question until then.
        if servers.is_none() {
            match Servers::new(&self.dns) {
                Ok(found) => *servers = Some(Rc::new(found)),
                Err(error) => tracing::warn!(error = %Chain(&error), "no DNS servers can be asked"),
            }
        }
        let (servers, landing) = (servers.clone(), landing.clone());
        tokio::task::spawn_local(async move {
            let begun = Instant::now();
            let (answer, ttl) = match servers {
                Some(servers) => servers.ask(&name, family).await,
                None => (Err(ResolveError::Failed), Duration::ZERO),
            };
            let _ = landing
                .send(Landed {
                    name,
                    family,
                    answer,
                    ttl,
                    took: begun.elapsed(),
                })
                .await;
        });
    }

    fn land(&self, flight: Landed, flights: &mut Flights) {
        let Landed {
            name,
            family,
            answer,
            ttl,
            took,
        } = flight;
        self.meters.dns_lookup(
            answer.as_ref().map_or_else(|error| error.token(), |_| "ok"),
            took,
        );
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keep(&name, family, &answer, ttl, Instant::now());
        for reply in flights.remove(&(name, family)).unwrap_or_default() {
            let _ = reply.send(answer.clone());
        }
    }
}
