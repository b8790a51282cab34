//! Probes in the background: each push and token host is reached for now and then, as an exchange would be.
//!
//! Gentle: one dial and one TLS handshake for each host and round, spread over it, and nothing is asked. It runs on the
//! control thread; what it finds goes to the metrics, to the journal when it changes, and to `/readyz?deep`.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Prober;
use super::aim::{Aim, aims};
use super::finding::Severity;
use super::verdict::{self, Expected, Fault};
use super::visit::{self, Terms};
use super::words;
use crate::config::{Probe, Role};
use crate::dial::Story;
use crate::exchange::{DestinationName, Target};
use crate::gate::Rules;
use crate::telemetry::alarm::Alarm;
use crate::telemetry::alarms::Evidence;
use crate::telemetry::guide::Origin;
use crate::telemetry::probed::Found;
use crate::telemetry::reached::By;
use crate::telemetry::{AlarmBoard, Meters, Moment, Reached};

/// Hosts that are probed at a time.
const AT_A_TIME: usize = 4;
/// The first round comes soon: until then nobody knows whether we are any good.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// One failure may be bad luck: it is looked at again after this, and two of them are an alarm.
const AGAIN: Duration = Duration::from_secs(15);
const BAD_LUCK: u32 = 1;

/// What the rounds need.
pub(crate) struct Rounds {
    pub(crate) prober: Prober,
    pub(crate) rules: watch::Receiver<Arc<Rules>>,
    pub(crate) probe: watch::Receiver<Probe>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) reached: Arc<Reached>,
    pub(crate) alarms: Arc<AlarmBoard>,
}

/// One host of one destination.
type Key = (DestinationName, Target);

/// What is remembered of it.
struct Track {
    aim: Aim,
    terms: Terms,
    due: Instant,
    under_way: bool,
    last: Option<SystemTime>,
    expires: Option<SystemTime>,
    /// What was wrong with its certificate.
    bad: Option<(Fault, String)>,
    /// What the journal said last; `None` while all is well.
    told: Option<String>,
    /// Probes in a row that did not get through.
    failures: u32,
}

/// How one probe ended.
struct Seen {
    /// `None`: none was shown.
    certificate: Option<Shown>,
    outcome: Result<(), String>,
}

struct Shown {
    expires: Option<SystemTime>,
    bad: Option<(Fault, String)>,
}

impl Rounds {
    /// Until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut tracks: HashMap<Key, Track> = HashMap::new();
        let mut probing: JoinSet<(Key, Seen)> = JoinSet::new();
        self.follow(&mut tracks);
        loop {
            let interval = self.probe.borrow().interval;
            self.meters.probe_interval(interval);
            let now = Instant::now();
            let idle = tracks.values().filter(|track| !track.under_way);
            let next = idle.map(|track| track.due).min();
            let next = next.filter(|_| interval.is_some() && probing.len() < AT_A_TIME);
            let due = async {
                match next {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.rules.changed() => match changed {
                    Ok(()) => self.follow(&mut tracks),
                    // Nobody can change them any more: the program ends.
                    Err(_) => return,
                },
                Ok(()) = self.probe.changed() => {
                    let is_off = self.probe.borrow_and_update().interval.is_none();
                    for track in tracks.values_mut() {
                        track.due = now + spread(FIRST_WITHIN);
                        if is_off {
                            // Nobody would ever see that it is over.
                            track.forget();
                        }
                    }
                    if is_off {
                        for (destination, _) in tracks.keys() {
                            self.alarm(destination, &[]);
                            self.tell_failures(destination, &tracks);
                        }
                    }
                    self.show(&tracks);
                }
                Some(Ok((key, seen))) = probing.join_next() => {
                    if let Some(track) = tracks.get_mut(&key) {
                        track.under_way = false;
                        let pause = interval.unwrap_or(FIRST_WITHIN);
                        // One that was under way when probes were switched off.
                        if interval.is_some() {
                            track.note(seen);
                        }
                        let pause = if track.failures == BAD_LUCK { pause.min(AGAIN) } else { pause };
                        track.due = Instant::now() + pause.mul_f64(0.9) + spread(pause.mul_f64(0.2));
                        if interval.is_some() {
                            self.tell(&key.0, &tracks);
                            self.tell_failures(&key.0, &tracks);
                            self.show(&tracks);
                        }
                    }
                }
                () = due => {
                    let now = Instant::now();
                    let due = tracks.iter_mut().filter(|(_, track)| !track.under_way && track.due <= now);
                    for (key, track) in due.take(AT_A_TIME - probing.len()) {
                        track.under_way = true;
                        let (prober, key) = (self.prober.clone(), key.clone());
                        let (aim, terms) = (track.aim.clone(), track.terms.clone());
                        let reached = Arc::clone(&self.reached);
                        probing.spawn_local(async move {
                            let seen = look(&prober, &aim, &terms).await;
                            if seen.outcome.is_ok() && aim.role == Role::Push {
                                let now = std::time::Instant::now();
                                reached.note(&aim.destination.name, now, By::Probe);
                            }
                            (key, seen)
                        });
                    }
                }
            }
        }
    }

    /// The hosts that there are now; what is known of those that stay is kept.
    fn follow(&mut self, tracks: &mut HashMap<Key, Track>) {
        let policy = Arc::clone(self.rules.borrow_and_update().policy());
        let (aims, _) = aims(policy.destinations());
        self.prober.policy = policy;
        let mut old = std::mem::take(tracks);
        let gone: Vec<DestinationName> = old.keys().map(|(name, _)| name.clone()).collect();
        for aim in aims {
            if !matches!(aim.role, Role::Push | Role::Token) {
                continue;
            }
            let key = (aim.destination.name.clone(), aim.target.clone());
            let known = old.remove(&key);
            let terms = Terms::new(&self.prober.native_roots, &aim.destination);
            let track = match known {
                Some(known) => Track {
                    aim,
                    terms,
                    ..known
                },
                None => Track {
                    aim,
                    terms,
                    due: Instant::now() + spread(FIRST_WITHIN),
                    under_way: false,
                    last: None,
                    expires: None,
                    bad: None,
                    told: None,
                    failures: 0,
                },
            };
            tracks.insert(key, track);
        }
        self.show(tracks);
        for name in gone {
            if !tracks.keys().any(|(there, _)| *there == name) {
                self.alarm(&name, &[]);
            }
            self.tell_failures(&name, tracks);
        }
        self.show(tracks);
    }

    /// The metrics of a destination speak of the worst of its hosts.
    fn show(&self, tracks: &HashMap<Key, Track>) {
        let mut all: BTreeMap<DestinationName, Found> = BTreeMap::new();
        if self.probe.borrow().interval.is_some() {
            for ((destination, _), track) in tracks {
                let own = Found {
                    succeeded: track.last,
                    expires: track.expires,
                };
                let worst = all.entry(destination.clone()).or_insert(own);
                // What never was is less than any time.
                worst.succeeded = worst.succeeded.min(own.succeeded);
                worst.expires = worst.expires.into_iter().chain(own.expires).min();
            }
        }
        self.meters.probed.replace(all);
    }

    fn tell(&self, destination: &DestinationName, tracks: &HashMap<Key, Track>) {
        let own = tracks.iter().filter(|((name, _), _)| name == destination);
        let bad: Vec<_> = own
            .map(|(_, track)| track)
            .filter_map(|track| Some((&track.aim.target, track.bad.as_ref()?)))
            .map(|(target, (fault, what))| (*fault, format!("{target}: {what}")))
            .collect();
        self.alarm(destination, &bad);
    }

    /// Hosts that are not got through to. What is wrong with a certificate has alarms of its own.
    fn tell_failures(&self, destination: &DestinationName, tracks: &HashMap<Key, Track>) {
        let own = tracks.iter().filter(|((name, _), _)| name == destination);
        let own = own.map(|(_, track)| track);
        let failing = own
            .filter(|track| track.failures > 0 && track.bad.is_none())
            .max_by_key(|track| track.failures);
        let (alarm, now) = (Alarm::ProbeFailing, Moment::now());
        match failing {
            None => {
                let text = "a probe of each of its hosts gets through, or it is probed no more";
                self.alarms.clear(alarm, destination.as_str(), text, now);
            }
            Some(track) if track.failures > BAD_LUCK => {
                let why = track.told.as_deref().unwrap_or_default();
                let evidence = Evidence {
                    exchange: None,
                    text: format!("{}: {why}", track.aim.target),
                    remedy: None,
                };
                let subject = destination.as_str();
                self.alarms
                    .raise(alarm, subject, Origin::Derived, evidence, now);
            }
            Some(_) => {}
        }
    }

    fn alarm(&self, destination: &DestinationName, bad: &[(Fault, String)]) {
        let now = Moment::now();
        for (alarm, fault) in [
            (Alarm::CertificateExpiring, Fault::Time),
            (Alarm::UpstreamCertificateInvalid, Fault::Identity),
        ] {
            // A listener of the same name has its own.
            let subject = match alarm {
                Alarm::CertificateExpiring => format!("destination {destination}"),
                _ => destination.to_string(),
            };
            let subject = subject.as_str();
            match bad.iter().find(|(found, _)| *found == fault) {
                Some((_, what)) => {
                    let evidence = Evidence {
                        exchange: None,
                        text: what.clone(),
                        remedy: None,
                    };
                    self.alarms
                        .raise(alarm, subject, Origin::Derived, evidence, now);
                }
                None => {
                    let text = "no probe sees such a certificate any more";
                    self.alarms.clear(alarm, subject, text, now);
                }
            }
        }
    }
}

impl Track {
    fn forget(&mut self) {
        self.last = None;
        self.expires = None;
        self.bad = None;
        self.told = None;
        self.failures = 0;
    }

    /// The journal hears of changes alone.
    fn note(&mut self, seen: Seen) {
        let destination = &self.aim.destination.name;
        let target = &self.aim.target;
        // Of one that was not seen nothing is known that was not known before.
        if let Some(Shown { expires, bad }) = seen.certificate {
            self.expires = expires;
            self.bad = bad;
        }
        match seen.outcome {
            Ok(()) => {
                self.failures = 0;
                self.last = Some(SystemTime::now());
                if self.told.take().is_some() {
                    tracing::info!(event = "probe", %destination, %target, "a probe gets through again");
                }
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                if self.told.as_ref() != Some(&why) {
                    tracing::warn!(event = "probe", %destination, %target, "a probe does not get through: {why} (tidegate doctor says more)");
                    self.told = Some(why);
                }
            }
        }
    }
}

/// Dials as an exchange would, and shakes hands.
async fn look(prober: &Prober, aim: &Aim, terms: &Terms) -> Seen {
    let failed = |why: String| Seen {
        certificate: None,
        outcome: Err(why),
    };
    let allowed = [aim.destination.name.clone()];
    let cleared = match prober.policy.clear(&allowed, &aim.target) {
        Ok(cleared) => cleared,
        Err(denial) => return failed(denial.to_string()),
    };
    let mut story = Story::default();
    let dialing = prober
        .dialer
        .dial(&cleared, Instant::now(), &[], &prober.trail, &mut story);
    let way = match dialing.await {
        Ok(dialed) => dialed.stream,
        Err(error) if !aim.destination.via.is_empty() => return failed(words::of_parents(&error)),
        Err(error) => return failed(error.to_string()),
    };
    if aim.target.port == visit::HTTP {
        return Seen {
            certificate: None,
            outcome: Ok(()),
        };
    }
    let host = visit::host(&aim.target);
    let shaken = match visit::shake(prober, &cleared, way, terms).await {
        Ok((_, shaken)) => shaken,
        Err(failure) => return failed(verdict::of_failure(failure, &host).0),
    };
    let expected = Expected::of(aim, &host);
    let verdict = verdict::of_certificate(&shaken, expected, SystemTime::now());
    let fails = verdict
        .as_ref()
        .filter(|one| one.severity == Severity::Fail);
    Seen {
        outcome: fails.map_or(Ok(()), |verdict| Err(verdict.what.clone())),
        certificate: Some(Shown {
            expires: shaken.seen.ends.map(|ends| ends.certificate.not_after),
            bad: verdict.map(|verdict| (verdict.fault, verdict.what)),
        }),
    }
}

/// Some time within this: many proxies start at the same moment.
fn spread(within: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1_000;
    within.mul_f64(random as f64 / 1_000.0)
}
