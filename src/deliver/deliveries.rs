//! Who delivers alarms: a task for each receiver, started and stopped as the configuration wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::board::Board;
use super::end;
use super::herald::Herald;
use super::post::Post;
use super::sink::{Sink, Syslog};
use super::uploader::Uploader;
use crate::config::{Alarms, Authorities, Collector, Config, Receiver, Upload};
use crate::dial::operator::OperatorDialer;
use crate::dial::tls::NativeRoots;
use crate::lifecycle::orders::{Answer, Asked, Refused};
use crate::telemetry::derive::CONFIGURATION;
use crate::telemetry::{AlarmBoard, Meters};

/// Orders to upload that wait.
const ORDERS: usize = 4;

/// What a reload may change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    alarms: Alarms,
    /// Of listeners, clients and destinations, and of what is no more than a word of ours.
    pub(super) names: BTreeSet<String>,
}

impl Wants {
    pub(crate) fn of(config: &Config) -> Self {
        let listeners = config.listeners.iter().map(|one| one.name.to_string());
        let clients = config.clients.iter().map(|one| one.name.to_string());
        let destinations = config.destinations.iter();
        // The second is that of their certificates.
        let destinations = destinations.flat_map(|one| {
            let name = one.name.to_string();
            [format!("destination {name}"), name]
        });
        Self {
            alarms: config.alarms.clone(),
            names: listeners
                .chain(clients)
                .chain(destinations)
                .chain([CONFIGURATION.to_owned()])
                .collect(),
        }
    }
}

/// Everything that deliveries need.
#[derive(Debug)]
pub(crate) struct Deliveries {
    pub(crate) wants: watch::Receiver<Arc<Wants>>,
    pub(crate) board: Arc<AlarmBoard>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) dialer: OperatorDialer,
    pub(crate) native_roots: NativeRoots,
}

/// Deliveries at work.
#[derive(Debug)]
pub(crate) struct Delivering {
    end: watch::Sender<bool>,
    orders: mpsc::Sender<Asked>,
    task: JoinHandle<()>,
}

/// One receiver, and all that its task is made of: where nothing of it changes, the task goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spec {
    to: To,
    ca: Option<Authorities>,
    timeout: Duration,
    repeat: Duration,
    instance: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    Syslog(Collector),
    Alertmanager(Receiver),
    Webhook(Receiver),
    Upload(Upload),
}

/// A task at work.
struct Running {
    spec: Spec,
    end: watch::Sender<bool>,
    /// For an upload at once.
    orders: Option<mpsc::Sender<Asked>>,
    task: JoinHandle<()>,
}

impl Deliveries {
    /// Starts on this thread.
    pub(crate) fn start(self) -> Delivering {
        let (end, told) = watch::channel(false);
        let (orders, asked) = mpsc::channel(ORDERS);
        let task = tokio::task::spawn_local(self.run(told, asked));
        Delivering { end, orders, task }
    }

    async fn run(mut self, mut told: watch::Receiver<bool>, mut asked: mpsc::Receiver<Asked>) {
        let mut posts = BTreeMap::new();
        loop {
            let wants = Arc::clone(&self.wants.borrow_and_update());
            self.adjust(&mut posts, specs(&wants.alarms));
            tokio::select! {
                biased;
                () = end(&mut told) => break,
                Some(asked) = asked.recv() => order(&posts, asked),
                Ok(()) = self.wants.changed() => {}
            }
        }
        for post in posts.values() {
            post.end.send_replace(true);
        }
        for post in posts.into_values() {
            let _ = post.task.await;
        }
    }

    fn adjust(&self, posts: &mut BTreeMap<&'static str, Running>, wanted: Vec<Spec>) {
        posts.retain(|_, post| {
            let stays = wanted.contains(&post.spec);
            if !stays {
                post.task.abort();
            }
            stays
        });
        for spec in wanted {
            let name = spec.to.name();
            if posts.contains_key(name) {
                continue;
            }
            match self.post(spec) {
                Ok(post) => drop(posts.insert(name, post)),
                Err(error) => tracing::error!(
                    sink = name, %error,
                    "cannot set up TLS for a receiver of alarms: nothing is delivered to it"
                ),
            }
        }
    }

    fn post(&self, spec: Spec) -> Result<Running, rustls::Error> {
        let (end, told) = watch::channel(false);
        let ca = spec.ca.as_ref();
        let post =
            |to: &Receiver| Post::new(to.clone(), &self.native_roots, ca, self.dialer.clone());
        let sink = match &spec.to {
            To::Syslog(collector) => {
                let (collector, dialer) = (collector.clone(), self.dialer.clone());
                let syslog = Syslog::new(collector, &self.native_roots, ca, dialer)?;
                Sink::Syslog(Box::new(syslog))
            }
            To::Alertmanager(to) => Sink::Alertmanager(post(to)?),
            To::Webhook(to) => Sink::Webhook(post(to)?),
            To::Upload(upload) => {
                let (orders, asked) = mpsc::channel(ORDERS);
                let uploader = Uploader::new(
                    post(&upload.receiver)?,
                    upload.clone(),
                    spec.instance.clone(),
                    spec.timeout,
                    self.wants.clone(),
                    Board(Arc::clone(&self.board)),
                    Arc::clone(&self.meters),
                );
                return Ok(Running {
                    end,
                    orders: Some(orders),
                    task: tokio::task::spawn_local(uploader.run(told, asked)),
                    spec,
                });
            }
        };
        let herald = Herald::new(
            sink,
            spec.instance.clone(),
            spec.timeout,
            spec.repeat,
            Board(Arc::clone(&self.board)),
            Arc::clone(&self.meters),
        );
        Ok(Running {
            end,
            orders: None,
            task: tokio::task::spawn_local(herald.run(told)),
            spec,
        })
    }
}

/// To whom the configuration wants alarms to be delivered.
fn specs(alarms: &Alarms) -> Vec<Spec> {
    let machine = || {
        let name = rustix::system::uname();
        name.nodename().to_string_lossy().into_owned()
    };
    let instance = alarms.instance.clone().unwrap_or_else(machine);
    let all = [
        alarms.syslog.clone().map(To::Syslog),
        alarms.alertmanager.clone().map(To::Alertmanager),
        alarms.webhook.clone().map(To::Webhook),
        alarms.upload.clone().map(To::Upload),
    ];
    let each = all.into_iter().flatten().map(|to| Spec {
        repeat: match to {
            To::Alertmanager(_) => alarms.alertmanager_repeat,
            To::Syslog(_) | To::Webhook(_) | To::Upload(_) => alarms.repeat,
        },
        to,
        ca: alarms.ca.clone(),
        timeout: alarms.timeout,
        instance: instance.clone(),
    });
    each.collect()
}

/// Hands an order to upload on. Where it finds no room, the dropped order tells the one who waits.
fn order(posts: &BTreeMap<&'static str, Running>, asked: Asked) {
    let orders = posts.values().find_map(|post| post.orders.as_ref());
    match orders {
        Some(orders) => drop(orders.try_send(asked)),
        None => {
            let refused = Refused::because("alarms.upload is not configured");
            let _ = asked.answer.send(Answer::Refused(refused));
        }
    }
}

impl To {
    fn name(&self) -> &'static str {
        match self {
            Self::Syslog(_) => "syslog",
            Self::Alertmanager(_) => "alertmanager",
            Self::Webhook(_) => "webhook",
            Self::Upload(_) => "upload",
        }
    }
}

impl Delivering {
    /// Has alarms uploaded; whoever asked is answered when that is done.
    pub(crate) fn upload(&self, asked: Asked) {
        // Where it finds no room, the dropped order tells the one who waits.
        let _ = self.orders.try_send(asked);
    }

    /// Delivers what is to be told, once, and ends; gives up after `patience`.
    pub(crate) async fn finish(self, patience: Duration) {
        let Self { end, mut task, .. } = self;
        end.send_replace(true);
        let _ = timeout(patience, &mut task).await;
        task.abort();
    }
}
