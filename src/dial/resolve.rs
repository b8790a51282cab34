//! Names to addresses: A and AAAA asked separately, each used as it comes, kept within the TTL caps.
//!
//! The cores look into the shared cache; what is not there is asked on the control thread, one flight per name
//! and family, since hickory's connections live on the runtime that asks.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::config::{self, DnsServer};
use crate::exchange::Reason;
use crate::telemetry::{Chain, Meters};

/// Names that are remembered at most; `*.` rules let clients choose names.
const NAMES_MAX: usize = 4096;

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

/// Bounded; `now` is an argument.
#[derive(Debug)]
struct Cache {
    names: HashMap<Arc<str>, [Option<Cached>; 2]>,
    min_ttl: Duration,
    max_ttl: Duration,
    negative_ttl: Duration,
}

#[derive(Debug, Clone)]
struct Cached {
    answer: Answer,
    /// As the servers gave it, before any cap.
    ttl: Duration,
    at: Instant,
}

impl Cache {
    fn new(dns: &config::Dns) -> Self {
        Self {
            names: HashMap::new(),
            min_ttl: dns.min_ttl,
            max_ttl: dns.max_ttl,
            negative_ttl: dns.negative_ttl,
        }
    }

    fn find(
        &self,
        name: &str,
        family: Family,
        max_ttl: Option<Duration>,
        now: Instant,
    ) -> Option<Answer> {
        let cached = self.names.get(name)?[family as usize].as_ref()?;
        (now.saturating_duration_since(cached.at) < self.lifetime(cached, max_ttl))
            .then(|| cached.answer.clone())
    }

    fn lifetime(&self, cached: &Cached, max_ttl: Option<Duration>) -> Duration {
        match cached.answer {
            Ok(_) => cached
                .ttl
                .max(self.min_ttl)
                .min(max_ttl.unwrap_or(self.max_ttl))
                .min(self.max_ttl),
            Err(_) => self.negative_ttl,
        }
    }

    fn keep(
        &mut self,
        name: &Arc<str>,
        family: Family,
        answer: &Answer,
        ttl: Duration,
        now: Instant,
    ) {
        // A server that is silent or failing now may answer the next question.
        if matches!(answer, Err(ResolveError::TimedOut | ResolveError::Failed)) {
            return;
        }
        if !self.names.contains_key(name) && self.names.len() >= NAMES_MAX {
            self.forget_oldest();
        }
        let slots = self.names.entry(Arc::clone(name)).or_default();
        slots[family as usize] = Some(Cached {
            answer: answer.clone(),
            ttl,
            at: now,
        });
    }

    /// Frees an eighth of the places at once, so that a flood of names does not pay a search each.
    fn forget_oldest(&mut self) {
        let newest =
            |slots: &[Option<Cached>; 2]| slots.iter().flatten().map(|cached| cached.at).max();
        let mut ages: Vec<_> = self.names.values().map(newest).collect();
        let (_, border, _) = ages.select_nth_unstable(NAMES_MAX / 8);
        let border = *border;
        self.names.retain(|_, slots| newest(slots) > border);
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
        let mut hickory = None;
        loop {
            tokio::select! {
                question = self.asked.recv() => {
                    let Some(question) = question else { return };
                    self.take_off(question, &mut flights, &mut hickory, &landing);
                }
                Some(flight) = landed.recv() => self.land(flight, &mut flights),
            }
        }
    }

    fn take_off(
        &self,
        question: Question,
        flights: &mut Flights,
        hickory: &mut Option<TokioResolver>,
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
        if hickory.is_none() {
            *hickory = build(&self.dns)
                .inspect_err(
                    |error| tracing::warn!(error = %Chain(error), "no DNS servers can be asked"),
                )
                .ok();
        }
        let (resolver, landing, patience) = (hickory.clone(), landing.clone(), self.dns.timeout);
        tokio::task::spawn_local(async move {
            let begun = Instant::now();
            let (answer, ttl) = match resolver {
                Some(resolver) => ask(&resolver, &name, family, patience).await,
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

fn build(dns: &config::Dns) -> Result<TokioResolver, NetError> {
    let mut builder = if dns.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = dns.servers.iter().filter_map(name_server).collect();
        TokioResolver::builder_with_config(
            ResolverConfig::from_name_servers(servers),
            TokioRuntimeProvider::default(),
        )
    };
    set_options(builder.options_mut(), dns.timeout);
    builder.build()
}

fn name_server(server: &DnsServer) -> Option<NameServerConfig> {
    let DnsServer::Plain(address) = server else {
        return None;
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    Some(NameServerConfig::new(
        address.ip(),
        true,
        connections.into(),
    ))
}

fn set_options(options: &mut ResolverOpts, patience: Duration) {
    // Our own cache stands above, with caps per destination.
    options.cache_size = 0;
    // One lost datagram must not cost the whole deadline: a second try fits into it.
    options.timeout = patience.mul_f32(0.4);
    options.attempts = 2;
    options.try_tcp_on_error = true;
}

async fn ask(
    resolver: &TokioResolver,
    name: &str,
    family: Family,
    patience: Duration,
) -> (Answer, Duration) {
    let kind = match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    };
    // The final dot keeps search domains out.
    match timeout(patience, resolver.lookup(format!("{name}."), kind)).await {
        Err(_) => (Err(ResolveError::TimedOut), Duration::ZERO),
        Ok(Err(error)) => (Err(because(&error)), Duration::ZERO),
        Ok(Ok(lookup)) => {
            let addrs: Arc<[IpAddr]> = lookup
                .answers()
                .iter()
                .filter_map(|record| address(&record.data))
                .collect();
            let ttl = lookup
                .answers()
                .iter()
                .map(|record| record.ttl)
                .min()
                .unwrap_or(0);
            let answer = if addrs.is_empty() {
                Err(ResolveError::NoAddress)
            } else {
                Ok(addrs)
            };
            (answer, Duration::from_secs(ttl.into()))
        }
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(addr) => Some(addr.0.into()),
        RData::AAAA(addr) => Some(addr.0.into()),
        _ => None,
    }
}

fn because(error: &NetError) -> ResolveError {
    match error {
        NetError::Timeout => ResolveError::TimedOut,
        NetError::Dns(DnsError::NoRecordsFound(none))
            if none.response_code == ResponseCode::NXDomain =>
        {
            ResolveError::NotFound
        }
        NetError::Dns(DnsError::NoRecordsFound(none))
            if none.response_code == ResponseCode::NoError =>
        {
            ResolveError::NoAddress
        }
        _ => ResolveError::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cache {
        Cache {
            names: HashMap::new(),
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(3600),
            negative_ttl: Duration::from_secs(5),
        }
    }

    fn found() -> Answer {
        Ok([IpAddr::from([192, 0, 2, 1])].into())
    }

    /// Keeps an answer with `ttl` seconds, and says for how many seconds it is found.
    fn lives(answer: &Answer, ttl: u64, max_ttl: Option<u64>) -> u64 {
        let (mut cache, start) = (cache(), Instant::now());
        let name: Arc<str> = "push.test".into();
        cache.keep(&name, Family::V4, answer, Duration::from_secs(ttl), start);
        let is_found = |age| {
            cache
                .find(
                    "push.test",
                    Family::V4,
                    max_ttl.map(Duration::from_secs),
                    start + Duration::from_secs(age),
                )
                .is_some()
        };
        (0..=7200)
            .find(|age| !is_found(*age))
            .expect("forgotten at last")
    }

    #[tokio::test]
    async fn answers_live_within_the_caps() {
        assert_eq!(lives(&found(), 300, None), 300);
        assert_eq!(lives(&found(), 0, None), 5, "the floor");
        assert_eq!(lives(&found(), 86_400, None), 3600, "the cap");
        assert_eq!(lives(&found(), 300, Some(60)), 60, "the destination's cap");
        assert_eq!(
            lives(&found(), 300, Some(2)),
            2,
            "the destination's cap wins over the floor"
        );
        assert_eq!(
            lives(&Err(ResolveError::NotFound), 300, None),
            5,
            "a name that does not exist"
        );
        assert_eq!(
            lives(&Err(ResolveError::TimedOut), 300, None),
            0,
            "silence is not remembered"
        );
    }

    #[tokio::test]
    async fn families_are_kept_apart_and_names_are_bounded() {
        let (mut cache, start) = (cache(), Instant::now());
        for count in 0..NAMES_MAX + 100 {
            let name: Arc<str> = format!("host-{count}.test").into();
            cache.keep(
                &name,
                Family::V6,
                &found(),
                Duration::from_secs(60),
                start + Duration::from_millis(count as u64),
            );
        }
        assert!(
            cache.names.len() <= NAMES_MAX,
            "{} names",
            cache.names.len()
        );
        let newest = format!("host-{}.test", NAMES_MAX + 99);
        assert!(cache.find(&newest, Family::V6, None, start).is_some());
        assert!(cache.find(&newest, Family::V4, None, start).is_none());
        assert!(
            cache.find("host-0.test", Family::V6, None, start).is_none(),
            "the oldest went first"
        );
    }
}
