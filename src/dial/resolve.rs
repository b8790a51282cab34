//! Names to addresses: A and AAAA asked separately, each used as it comes, kept within the TTL caps.
//!
//! The cores look into the shared cache, which is a short lock and no more. What is not there, or no longer good, is
//! asked on the control thread (`answerer.rs`); nobody waits long for that while there is an old answer.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::answerer::Answerer;
use super::cache::{Cache, Seen, Stale};
use super::lifetime::patience;
use crate::config;
use crate::exchange::Reason;
use crate::telemetry::Meters;

/// Questions that may wait for the control thread at most.
const QUESTIONS_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Why a name gave no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResolveError {
    /// The name does not exist, in no family.
    NotFound,
    /// The name exists and has no address of this family.
    NoAddress,
    TimedOut,
    /// No server can be reached.
    Unreachable,
    /// A server's own certificate is not taken; who asks for more than an answer learns it (`unheard.rs`).
    Untrusted,
    /// The servers are there, and say that they cannot tell.
    Failed,
    /// A server says addresses that nobody has, as `0.0.0.0`: so do filters.
    Nowhere,
}

impl ResolveError {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::NotFound | Self::NoAddress => Reason::NameNotFound,
            Self::TimedOut => Reason::DnsTimeout,
            Self::Unreachable | Self::Untrusted | Self::Failed | Self::Nowhere => Reason::DnsFailed,
        }
    }

    /// Whether it comes from somebody who knows, and replaces what was known.
    pub(super) fn is_answer(self) -> bool {
        match self {
            Self::NotFound | Self::NoAddress => true,
            Self::TimedOut | Self::Unreachable | Self::Untrusted | Self::Failed | Self::Nowhere => {
                false
            }
        }
    }

    /// Whether a server said it: it is there, at least.
    pub(super) fn is_heard(self) -> bool {
        match self {
            Self::NotFound | Self::NoAddress | Self::Failed | Self::Nowhere => true,
            Self::TimedOut | Self::Unreachable | Self::Untrusted => false,
        }
    }

    /// The word in metrics.
    pub(super) fn token(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NoAddress => "no_address",
            Self::TimedOut => "timeout",
            Self::Unreachable | Self::Untrusted | Self::Failed | Self::Nowhere => "failed",
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "the name does not exist",
            Self::NoAddress => "the name has no address of this family",
            Self::TimedOut => "no DNS server answered in time",
            Self::Unreachable => "no DNS server can be reached",
            Self::Untrusted => "the DNS server's certificate is not trusted",
            Self::Failed => "the DNS servers failed",
            Self::Nowhere => "the DNS servers answer an address that nobody has",
        })
    }
}

impl std::error::Error for ResolveError {}

/// What the name servers say.
pub(super) type Answer = Result<Arc<[IpAddr]>, ResolveError>;

/// What whoever asks is told.
pub(crate) type Lookup = Result<Found, ResolveError>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) addrs: Arc<[IpAddr]>,
    /// How far beyond its time it is; `None`: it is good.
    pub(crate) stale: Option<Duration>,
}

/// The cores' end: the cache, and the way to ask.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    cache: Arc<Mutex<Cache>>,
    questions: mpsc::Sender<Question>,
    patience: Duration,
    meters: Arc<Meters>,
}

#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: Arc<str>,
    pub(super) family: Family,
    pub(super) max_ttl: Option<Duration>,
    /// `None`: the cache is to be renewed, and nobody waits.
    pub(super) reply: Option<oneshot::Sender<Answer>>,
}

impl Resolver {
    /// The handle, and what answers it on the control thread.
    pub(crate) fn new(dns: &config::Dns, meters: Arc<Meters>) -> (Self, Answerer) {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let cache = Arc::new(Mutex::new(Cache::new(dns)));
        let answerer = Answerer::new(Arc::clone(&cache), asked, Arc::clone(&meters));
        let resolver = Self {
            cache,
            questions,
            patience: patience(dns),
            meters,
        };
        (resolver, answerer)
    }

    /// One family of a name. `max_ttl` is the destination's own cap.
    pub(crate) async fn lookup(
        &self,
        name: &Arc<str>,
        family: Family,
        max_ttl: Option<Duration>,
    ) -> Lookup {
        let seen = lock(&self.cache).find(name, family, max_ttl, Instant::now());
        let answer = match seen {
            Seen::Good { answer, ask } => {
                if ask {
                    self.renew(name, family, max_ttl);
                }
                answer
            }
            Seen::Stale { stale, ask } => {
                if ask {
                    self.renew(name, family, max_ttl);
                }
                return self.use_stale(name, stale);
            }
            Seen::Expired => {
                let asked = timeout(self.patience, self.ask(name, family, max_ttl)).await;
                let error = match asked {
                    Ok(Err(error)) if !error.is_answer() => error,
                    Err(_) => ResolveError::TimedOut,
                    Ok(answer) => return answer.map(Found::good),
                };
                let stale = lock(&self.cache).stale(name, family, max_ttl, Instant::now());
                return match stale {
                    Some(stale) => self.use_stale(name, stale),
                    None => Err(error),
                };
            }
            Seen::Unknown => self.ask(name, family, max_ttl).await,
        };
        answer.map(Found::good)
    }

    /// What DNS lists for a name, if an answer is held that is still good. Asks nobody, and keeps no name in use.
    pub(crate) fn listed(&self, name: &str, family: Family) -> Option<Arc<[IpAddr]>> {
        lock(&self.cache).listed(name, family, Instant::now())
    }

    /// The same with all that it was answered lately: some names list a part of their addresses each time.
    pub(crate) fn listed_lately(&self, name: &str, family: Family) -> Option<Arc<[IpAddr]>> {
        lock(&self.cache).listed_lately(name, family, Instant::now())
    }

    /// How long a name's answer lives as its owner has it. Asks nobody.
    pub(crate) fn ttl(&self, name: &str, family: Family) -> Option<Duration> {
        lock(&self.cache).ttl(name, family)
    }

    async fn ask(&self, name: &Arc<str>, family: Family, max_ttl: Option<Duration>) -> Answer {
        let (reply, answer) = oneshot::channel();
        let question = Question {
            name: Arc::clone(name),
            family,
            max_ttl,
            reply: Some(reply),
        };
        if self.questions.send(question).await.is_err() {
            return Err(ResolveError::Unreachable);
        }
        answer.await.unwrap_or(Err(ResolveError::Unreachable))
    }

    /// Has it asked for, and does not wait. Where too many questions wait, one of the next look-ups tries again.
    fn renew(&self, name: &Arc<str>, family: Family, max_ttl: Option<Duration>) {
        let _ = self.questions.try_send(Question {
            name: Arc::clone(name),
            family,
            max_ttl,
            reply: None,
        });
    }

    fn use_stale(&self, name: &Arc<str>, stale: Stale) -> Lookup {
        if stale.is_news {
            tracing::warn!(
                %name, age = ?stale.age,
                "serving stale: no name server answers for this name, its last known addresses are used"
            );
        }
        let addrs = stale.answer?;
        self.meters.dns_served_stale();
        Ok(Found {
            addrs,
            stale: Some(stale.age),
        })
    }
}

impl Found {
    fn good(addrs: Arc<[IpAddr]>) -> Self {
        Self { addrs, stale: None }
    }
}

pub(super) fn lock(cache: &Mutex<Cache>) -> std::sync::MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
