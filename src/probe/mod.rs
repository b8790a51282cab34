//! What the way to each destination is like, from this machine: names, addresses, TLS, the clock.
//!
//! Asked by `tidegate doctor`, and in the background (`rounds.rs`). Nothing is ever sent that could be a push: a TLS
//! handshake, and at most a `HEAD /`. Everything has a deadline, and only so many addresses are visited at a time.

mod aim;
mod ask;
mod certificate;
mod clock;
mod finding;
mod held;
mod judge;
mod names;
mod rounds;
pub(crate) mod running;
mod verdict;
mod visit;
mod witness;
mod words;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use aim::aims;
pub(crate) use clock::SKEW_MAX;
pub(crate) use finding::{Finding, Severity};
pub(crate) use held::Extras;
pub(crate) use rounds::Rounds;

use crate::config::Config;
use crate::dial::Dialer;
use crate::dial::tls::NativeRoots;
use crate::policy::Policy;
use visit::Terms;

/// Addresses that are visited at a time.
const AT_A_TIME: usize = 16;
/// A shorter connect budget does not make us less patient: how late an address answers is worth knowing.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// For the answer to a `HEAD /`.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// What every probe needs.
#[derive(Debug, Clone)]
pub(crate) struct Prober {
    pub(crate) dialer: Dialer,
    pub(crate) policy: Arc<Policy>,
    pub(crate) native_roots: NativeRoots,
    /// What parent proxies are told in `Via`.
    pub(crate) trail: String,
    /// For a TLS handshake.
    pub(crate) handshake_timeout: Duration,
}

/// Everything that can be found out about every destination, in their order.
pub(crate) async fn examine(prober: Prober, config: &Config, extras: Extras) -> Vec<Finding> {
    let (aims, unprobed) = aims(&config.destinations);
    let mut findings: Vec<Finding> = unprobed.iter().map(judge::unprobed).collect();
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let prober = Rc::new(prober);
    let mut looking = JoinSet::new();
    for aim in aims {
        let terms = Terms::new(&prober.native_roots, &aim.destination);
        let (prober, places) = (Rc::clone(&prober), Arc::clone(&places));
        let budget = aim.destination.connect_budget;
        let budget = budget.unwrap_or(config.connect.budget);
        looking.spawn_local(async move {
            let allowed = [aim.destination.name.clone()];
            let cleared = match prober.policy.clear(&allowed, &aim.target) {
                Ok(cleared) => cleared,
                Err(denial) => return judge::Looked::denied(aim, &denial),
            };
            let survey = prober.dialer.survey(&cleared).await;
            let mut visits = JoinSet::new();
            for place in survey.places.iter().copied() {
                let (prober, places) = (Rc::clone(&prober), Arc::clone(&places));
                let (cleared, terms) = (cleared.clone(), terms.clone());
                visits.spawn_local(async move {
                    // Never closed.
                    let busy = places.acquire().await;
                    let visit = visit::visit(&prober, &cleared, place, &terms).await;
                    // All are silent at the same time.
                    drop(busy);
                    let holding = held::hold(&prober, &cleared, &visit, &terms, extras);
                    let held = Box::pin(holding).await;
                    (visit, held)
                });
            }
            let mut visits = visits.join_all().await;
            visits.sort_by_key(|(visit, _)| visit.peer());
            judge::Looked::at(aim, &cleared, survey, visits, budget)
        });
    }
    let mut looked = looking.join_all().await;
    looked.sort_by_key(judge::Looked::number);
    findings.extend(judge::all(&looked, SystemTime::now()));
    findings
}
