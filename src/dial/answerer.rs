//! Answers the cores' questions on the control thread, one flight per name and family, and renews what is in use.
//!
//! It lives there since hickory's connections live on the runtime that asks. Whom it asks is passed in.

use std::collections::HashMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::cache::Cache;
use super::lifetime::smaller;
use super::refresh::Agenda;
use super::resolve::{Answer, Family, Question, ResolveError, lock};
use crate::telemetry::Meters;

/// Questions that may be under way at one time; others wait in their queue.
const FLIGHTS_MAX: usize = 1024;
/// And up to how many of them answers are renewed ahead: those who wait for an answer come first.
const RENEWALS_MAX: usize = 64;
/// How often it is looked whether the system's own files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// An answer, and how long it is good for, if that was said.
pub(super) type Settled = (Answer, Option<Duration>);

/// Whoever knows names.
pub(super) trait Ask {
    /// One question, to its end, within its own deadline.
    fn ask(&mut self, name: &Arc<str>, family: Family) -> Pin<Box<dyn Future<Output = Settled>>>;

    /// Looks whether anything has changed by itself; gives the names of which other things hold now.
    fn look_around(&mut self) -> Vec<Arc<str>>;
}

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct Answerer {
    cache: Arc<Mutex<Cache>>,
    asked: mpsc::Receiver<Question>,
    meters: Arc<Meters>,
    flights: HashMap<(Arc<str>, Family), Flight>,
    agenda: Agenda,
}

#[derive(Debug, Default)]
struct Flight {
    waiting: Vec<oneshot::Sender<Answer>>,
    max_ttl: Option<Duration>,
}

/// What a flight brings home.
#[derive(Debug)]
struct Landed {
    name: Arc<str>,
    family: Family,
    settled: Settled,
    took: Duration,
}

impl Answerer {
    pub(super) fn new(
        cache: Arc<Mutex<Cache>>,
        asked: mpsc::Receiver<Question>,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            cache,
            asked,
            meters,
            flights: HashMap::new(),
            agenda: Agenda::default(),
        }
    }

    /// Answers until nobody can ask any more.
    pub(super) async fn answer(mut self, mut whom: impl Ask) {
        let (landing, mut landed) = mpsc::channel::<Landed>(FLIGHTS_MAX);
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self
                .agenda
                .next()
                .filter(|_| self.flights.len() < RENEWALS_MAX);
            let due = async {
                match next {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                Some(flight) = landed.recv() => self.land(flight),
                question = self.asked.recv(), if self.flights.len() < FLIGHTS_MAX => {
                    let Some(question) = question else { return };
                    self.take_off(question, &mut whom, &landing);
                }
                () = due => self.renew(&mut whom, &landing),
                _ = ticks.tick() => {
                    let other = whom.look_around();
                    let mut cache = lock(&self.cache);
                    cache.forget(&other);
                    self.meters.dns_stale_age(cache.stalest(Instant::now()));
                }
            }
        }
    }

    /// Asks again for what is in use.
    fn renew(&mut self, whom: &mut impl Ask, landing: &mpsc::Sender<Landed>) {
        let now = Instant::now();
        while self.flights.len() < RENEWALS_MAX {
            let Some((name, family)) = self.agenda.take(now) else {
                return;
            };
            if lock(&self.cache).is_wanted(&name, family, now) {
                let question = Question {
                    name,
                    family,
                    max_ttl: None,
                    reply: None,
                };
                self.take_off(question, whom, landing);
            }
        }
    }

    fn take_off(
        &mut self,
        question: Question,
        whom: &mut impl Ask,
        landing: &mpsc::Sender<Landed>,
    ) {
        let Question {
            name,
            family,
            max_ttl,
            reply,
        } = question;
        let key = (Arc::clone(&name), family);
        let is_under_way = self.flights.contains_key(&key);
        let flight = self.flights.entry(key).or_default();
        flight.waiting.extend(reply);
        flight.max_ttl = smaller(flight.max_ttl, max_ttl);
        if is_under_way {
            return;
        }
        let begun = Instant::now();
        lock(&self.cache).asking(&name, family, begun);
        // In a task of its own: whatever becomes of it, the flight lands.
        let asked = tokio::task::spawn_local(whom.ask(&name, family));
        let landing = landing.clone();
        tokio::task::spawn_local(async move {
            let settled = asked.await.unwrap_or((Err(ResolveError::Failed), None));
            let took = begun.elapsed();
            let _ = landing
                .send(Landed {
                    name,
                    family,
                    settled,
                    took,
                })
                .await;
        });
    }

    fn land(&mut self, landed: Landed) {
        let Landed {
            name,
            family,
            settled: (answer, ttl),
            took,
        } = landed;
        let result = match &answer {
            Ok(_) => "ok",
            Err(error) => error.token(),
        };
        self.meters.dns_lookup(result, took);
        let flight = self
            .flights
            .remove(&(Arc::clone(&name), family))
            .unwrap_or_default();
        let now = Instant::now();
        let due = match answer {
            Err(error) if !error.is_answer() => lock(&self.cache).failed(&name, family, error, now),
            Ok(_) | Err(_) => {
                let kept = lock(&self.cache).keep(&name, family, &answer, ttl, flight.max_ttl, now);
                if kept.ends_stale {
                    tracing::info!(%name, "the name servers answer again for this name");
                }
                kept.due
            }
        };
        self.agenda.set(&name, family, due);
        for reply in flight.waiting {
            let _ = reply.send(answer.clone());
        }
    }
}
