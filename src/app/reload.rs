//! The reload: a new configuration takes the old one's place, whole or not at all, and no tunnel notices.
//!
//! Everything that can fail is built first, off the control thread; what follows are sends that cannot. One reload at a
//! time: others wait their turn.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::bound::TermsSetter;
use crate::admin::Loaded;
use crate::config::diff::{self, Plan};
use crate::config::{self, Config, Grace, check};
use crate::deliver::Wants;
use crate::dial::health::HealthBook;
use crate::exchange::{DestinationName, ListenerName};
use crate::gate::{self, Gate, Limits, Rules};
use crate::lifecycle::orders::{Answer, Asked, By, Refused, Reloaded};
use crate::lifecycle::{PhaseView, notify};
use crate::listen::Terms;
use crate::policy::{OwnAddresses, Policy};
use crate::telemetry::{Chain, Derivation, LevelSwitch, Meters, Moment, Reached};

/// Complaints in the journal, `/config` and an answer; `tidegate check` shows all.
const COMPLAINTS_MAX: usize = 50;

/// How long the files may take to be read, and the service manager to hear of it.
const READING: Duration = Duration::from_secs(30);
const TELLING: Duration = Duration::from_secs(2);

/// What a reload replaces, and what it needs to do so.
pub(super) struct Reloader {
    pub(super) in_force: Arc<Config>,
    pub(super) own: OwnAddresses,
    pub(super) gate: Arc<Gate>,
    pub(super) rules: watch::Sender<Arc<Rules>>,
    pub(super) terms: Vec<TermsSetter>,
    pub(super) grace: watch::Sender<Grace>,
    pub(super) wants: watch::Sender<Arc<Wants>>,
    pub(super) probe: watch::Sender<config::Probe>,
    pub(super) level: LevelSwitch,
    pub(super) loaded: watch::Sender<Loaded>,
    pub(super) meters: Arc<Meters>,
    pub(super) reached: Arc<Reached>,
    pub(super) health: Arc<HealthBook>,
    pub(super) phase: PhaseView,
    pub(super) derivation: Arc<Derivation>,
}

/// All that a good configuration has become before any of it is in force.
struct Prepared {
    in_force: Config,
    plan: Plan,
    rules: Rules,
    /// In the order of the listeners.
    terms: Vec<Arc<Terms>>,
}

impl Reloader {
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Asked>) {
        while let Some(Asked { by, answer, .. }) = orders.recv().await {
            let old = Arc::clone(&self.in_force);
            let done = self.reload().await;
            self.meters.reloaded(done.is_ok());
            self.note(done.as_ref().err());
            let done = match done {
                Ok(plan) => {
                    // Of a level that changes, the one that says more hears of it.
                    let level = self.in_force.log.level;
                    self.level.set(level.max(old.log.level));
                    let told = self.tell(by, &old, plan);
                    self.level.set(level);
                    told
                }
                Err(refused) => self.complain(by, refused),
            };
            // Whoever asked may have gone.
            let _ = answer.send(done);
        }
    }

    async fn reload(&mut self) -> Result<Plan, Refused> {
        let Some(path) = self.in_force.source.path.clone() else {
            return Err(Refused::because(
                "there is no file to read again: the embedded default serves (start with --config)",
            ));
        };
        self.refuse_in_drain()?;
        let (old, own) = (Arc::clone(&self.in_force), self.own.clone());
        let terms = self.terms.iter().map(|terms| Arc::clone(&terms.borrow()));
        let terms: Vec<_> = terms.collect();
        let limits = self.rules.borrow().limits().clone();
        let meters = Arc::clone(&self.meters);
        let limits = move |all: &[config::Limit]| limits.renewed(all, &meters);
        let told = spawn_blocking(notify::reloading);
        let _ = timeout(TELLING, told).await;
        let prepared = spawn_blocking(move || prepare(path, &old, own, &terms, limits));
        let prepared = match timeout(READING, prepared).await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(_)) => Err(Refused::because("internal")),
            Err(_) => Err(Refused::because(
                "a file that the configuration names could not be read in time (a network folder that hangs?)",
            )),
        };
        self.refuse_in_drain()?;
        // It has gone on serving all the while, whatever came of it.
        let status = match &prepared {
            Ok(prepared) => format!("serving; configuration {}", prepared.in_force.source.hash),
            Err(_) => String::from("serving; the last reload was refused"),
        };
        let applied = match prepared {
            Ok(prepared) => Ok(self.apply(prepared)),
            Err(refused) => {
                let complaint = match &refused.complaints[..] {
                    [] => refused.why.clone(),
                    complaints => complaints.join("\n"),
                };
                self.loaded
                    .send_modify(|loaded| loaded.last_complaint = Some(complaint));
                Err(refused)
            }
        };
        // A service manager that does not read is no reason to stop.
        let told = spawn_blocking(move || notify::ready(&status));
        let _ = timeout(TELLING, told).await;
        applied
    }

    /// A drain refuses every reload; that says nothing of the file.
    fn note(&self, refused: Option<&Refused>) {
        if refused.is_some() && self.phase.is_draining() {
            return;
        }
        let why = refused.map(
            |Refused {
                 why, complaints, ..
             }| match &complaints[..] {
                [] => why.clone(),
                [first, ..] => format!("{why}: {first}"),
            },
        );
        self.derivation.reloaded(why, Moment::now());
    }

    fn refuse_in_drain(&self) -> Result<(), Refused> {
        if self.phase.is_draining() {
            return Err(Refused::because(
                "the proxy is draining, and takes no new work",
            ));
        }
        Ok(())
    }

    /// Nothing here can fail.
    fn apply(&mut self, prepared: Prepared) -> Plan {
        let Prepared {
            in_force,
            plan,
            rules,
            terms,
        } = prepared;
        let now = SystemTime::now();
        // New keys first: the new rules' challenges have to be known. The old ones stay known for a while.
        self.gate.rekey(&in_force.authentication, now);
        rules.limits().come_into_force(Instant::now());
        self.rules.send_replace(Arc::new(rules));
        for (current, terms) in self.terms.iter().zip(terms) {
            current.send_if_modified(|current| {
                let changed = !Arc::ptr_eq(current, &terms);
                *current = terms;
                changed
            });
        }
        self.grace.send_replace(in_force.drain.tunnel_grace);
        self.wants.send_replace(Arc::new(Wants::of(&in_force)));
        self.reached.configure(&in_force);
        self.probe.send_if_modified(|probe| {
            let changed = *probe != in_force.probe;
            probe.clone_from(&in_force.probe);
            changed
        });
        let (listeners, destinations) = names(&in_force);
        self.meters.start_at_zero(&listeners, &destinations);
        self.health.configure(&destinations);
        if in_force.probe.interval.is_none() {
            self.health.forget_probes();
        }
        super::note_certificates(&in_force, &self.meters);
        self.derivation.configure(&in_force, Moment::now());
        self.loaded.send_modify(|loaded| {
            loaded.hash.clone_from(&in_force.source.hash);
            loaded.shown.clone_from(&in_force.source.shown);
            loaded.loaded_at = now;
            loaded.last_complaint = None;
            loaded.needs_restart.clone_from(&plan.needs_restart);
        });
        self.in_force = Arc::new(in_force);
        plan
    }

    fn tell(&self, by: By, old: &Config, plan: Plan) -> Answer {
        let old = old.source.hash.clone();
        let new = self.in_force.source.hash.clone();
        tracing::info!(
            action = "reload", %by, uid = by.uid(), pid = by.pid(), %old, %new,
            applied = plan.apply.len(),
            needs_restart = plan.needs_restart.len(),
            "configuration reloaded"
        );
        for change in &plan.apply {
            tracing::info!(key = %change.key, what = %change.what, "applied");
        }
        for change in &plan.needs_restart {
            tracing::warn!(key = %change.key, what = %change.what, "needs a restart: the old value stays until then");
        }
        Answer::Reloaded(Reloaded {
            old,
            new,
            applied: plan.apply,
            needs_restart: plan.needs_restart,
        })
    }

    fn complain(&self, by: By, refused: Refused) -> Answer {
        let old = &self.in_force.source.hash;
        tracing::warn!(
            action = "reload", %by, uid = by.uid(), pid = by.pid(), %old, new = refused.hash.as_deref(),
            why = %refused.why,
            "reload refused: nothing has changed"
        );
        for complaint in &refused.complaints {
            tracing::warn!("{complaint}");
        }
        Answer::Refused(refused)
    }
}

/// Reads, checks and builds; changes nothing but that a nonce key file which is missing is made.
fn prepare(
    path: PathBuf,
    old: &Config,
    own: OwnAddresses,
    terms: &[Arc<Terms>],
    limits: impl FnOnce(&[config::Limit]) -> Limits,
) -> Result<Prepared, Refused> {
    let mut new = config::load(Some(&path)).map_err(|complaints| {
        let all = complaints.0.iter().map(ToString::to_string);
        Refused {
            why: format!("{} is not a good configuration", path.display()),
            complaints: all.take(COMPLAINTS_MAX).collect(),
            hash: check::hash_of(&path),
        }
    })?;
    new.authentication.nonce_keys = gate::nonce_keys(&new.authentication)
        .map_err(|error| Refused::because(Chain(&error).to_string()))?;
    if let Some(hazard) = diff::hazard(old, &new) {
        return Err(Refused {
            why: String::from("the reload would open the proxy to anybody"),
            complaints: vec![hazard],
            hash: Some(new.source.hash),
        });
    }
    let plan = diff::diff(old, &new);
    let in_force = diff::in_force(old, &new);
    let unlisted = in_force.policy.unlisted;
    let policy = Arc::new(Policy::new(&in_force.destinations, unlisted, own));
    let rules = Rules::new(&in_force, policy, limits(&in_force.limits));
    let terms = terms.iter().map(|current| renew(current, &in_force, &plan));
    Ok(Prepared {
        terms: terms.collect::<Result<_, _>>()?,
        in_force,
        plan,
        rules,
    })
}

/// The listener's terms as they are to be; the same ones, tickets included, where nothing of theirs changes.
fn renew(current: &Arc<Terms>, config: &Config, plan: &Plan) -> Result<Arc<Terms>, Refused> {
    let name = &current.listener.name;
    let own_keys = format!("listener {:?}.", name.as_str());
    let changes = plan.apply.iter();
    let is_changed = changes
        .map(|change| &change.key)
        .any(|key| key.starts_with(&own_keys));
    let listener = config.listeners.iter().find(|one| one.name == *name);
    let Some(listener) = listener.filter(|_| is_changed) else {
        return Ok(Arc::clone(current));
    };
    let mut listener = listener.clone();
    // As it was bound: port 0 has become a port.
    listener.address = current.listener.address;
    let tls_changes = plan.apply.iter().any(|change| {
        let key = change.key.strip_prefix(&own_keys);
        key.is_some_and(|key| key.starts_with("tls"))
    });
    let listener = Arc::new(listener);
    if !tls_changes {
        let tls = current.tls.clone();
        return Ok(Arc::new(Terms { listener, tls }));
    }
    let terms = Terms::new(listener).map_err(|error| {
        Refused::because(format!("cannot set up TLS for listener {name}: {error}"))
    })?;
    Ok(Arc::new(terms))
}

/// Those that metrics are told apart by.
pub(super) fn names(config: &Config) -> (Vec<ListenerName>, Vec<DestinationName>) {
    let listeners = config.listeners.iter().map(|one| one.name.clone());
    let destinations = config.destinations.iter().map(|one| one.name.clone());
    (listeners.collect(), destinations.collect())
}
