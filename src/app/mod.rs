//! Composition root: builds everything once and starts the threads; imported by nobody but `main`.

mod bound;
mod control;
mod core;
mod logkeeper;
mod reload;
mod room;
mod verdicts;
mod watchman;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::bound::{Bound, bind_all, share_out};
use self::control::Control;
use self::core::{Core, TellsWhenLost, seed};
use self::logkeeper::LogKeeper;
use self::reload::Reloader;
use self::room::{Room, descriptors};
use self::verdicts::Court;
use self::watchman::Watchman;
use crate::admin::control::{ControlError, ControlSocket};
use crate::admin::{Loaded, Window};
use crate::config::identity::RENEW_WITHIN;
use crate::config::{self, Config, Unlisted};
use crate::deliver::{CourierError, Deliveries, Wants};
use crate::dial::Dialer;
use crate::dial::health::HealthBook;
use crate::dial::operator::OperatorDialer;
use crate::dial::resolve::Resolver;
use crate::dial::tls::NativeRoots;
use crate::gate::{self, Gate, GateOpenError, Limits, Rules};
use crate::lifecycle::{Drain, notify};
use crate::listen::permits::Permits;
use crate::policy::{OwnAddresses, Policy, Reports};
use crate::probe::{Prober, Rounds};
use crate::relay::{Confirmations, Patience, Peers, Tunnels};
use crate::serve::headers::Pseudonym;
use crate::telemetry::alarms::Alarm;
use crate::telemetry::{
    AccessLog, AccessLogError, AlarmBoard, Chain, Derivation, GuideCounters, Habits, Journal,
    Ledger, LevelSwitch, Meters, Moment, Reached,
};

const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 78;

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} ({what}){hint}")]
    Bind {
        what: String,
        address: SocketAddr,
        hint: &'static str,
        source: io::Error,
    },
    #[error("cannot set up TLS for listener \"{listener}\"")]
    Tls {
        listener: String,
        source: rustls::Error,
    },
    #[error("cannot open the access log")]
    AccessLog {
        is_misconfigured: bool,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot deliver the access log")]
    Delivery {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot set up authentication")]
    Gate {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot use the control socket {}", path.display())]
    ControlSocket {
        path: PathBuf,
        is_misconfigured: bool,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot start a thread")]
    Thread { source: io::Error },
    #[error("the control thread ended before it was ready")]
    Control,
}

impl From<AccessLogError> for StartError {
    fn from(source: AccessLogError) -> Self {
        let is_misconfigured = match &source {
            AccessLogError::Open { source, .. } => is_of_the_path(source),
            AccessLogError::Stdout(_) | AccessLogError::Thread(_) => false,
        };
        Self::AccessLog {
            is_misconfigured,
            source: source.into(),
        }
    }
}

impl From<CourierError> for StartError {
    fn from(source: CourierError) -> Self {
        Self::Delivery {
            source: source.into(),
        }
    }
}

impl From<GateOpenError> for StartError {
    fn from(source: GateOpenError) -> Self {
        Self::Gate {
            source: source.into(),
        }
    }
}

impl StartError {
    /// A supervisor does not try again where only another configuration helps.
    fn code(&self) -> u8 {
        match self {
            Self::AccessLog {
                is_misconfigured: true,
                ..
            }
            | Self::ControlSocket {
                is_misconfigured: true,
                ..
            } => BAD_CONFIGURATION,
            _ => FAILED,
        }
    }
}

/// Whether it fails because of what stands at the path, not for want of room or descriptors.
fn is_of_the_path(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    // A named pipe that nobody reads.
    let no_reader = Some(rustix::io::Errno::NXIO.raw_os_error());
    error.raw_os_error() == no_reader
        || matches!(
            error.kind(),
            Kind::NotFound
                | Kind::PermissionDenied
                | Kind::ReadOnlyFilesystem
                | Kind::IsADirectory
                | Kind::NotADirectory
                | Kind::InvalidInput
                | Kind::InvalidFilename
        )
}

/// What `tidegate run` does, to the exit code: 0 done, 1 failed, 78 bad configuration.
pub fn run(path: Option<&Path>, out: &mut dyn io::Write) -> u8 {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(complaints) => {
            // Where nobody reads what is wrong, the exit code still says it.
            let _ = writeln!(out, "{complaints}");
            return BAD_CONFIGURATION;
        }
    };
    let journal = match Journal::start(config.log.level) {
        Ok(journal) => journal,
        Err(error) => {
            let _ = writeln!(out, "{}", Chain(&error));
            return FAILED;
        }
    };
    match App::start(config, journal.level()) {
        Ok(app) => app.run(),
        Err(error) => {
            tell_failure(&error);
            error.code()
        }
    }
}

/// No page shows it, since nothing runs: the journal, which is also the exit message, says it under the guide's name.
fn tell_failure(error: &StartError) {
    let alarm = Alarm::StartFailed;
    let definition = &Alarm::definitions()[alarm as usize];
    tracing::error!(
        alarm = alarm.name(),
        component = definition.component.name(),
        severity = definition.severity.name(),
        "cannot start: {}",
        Chain(error)
    );
}

/// A running proxy.
#[derive(Debug)]
pub struct App {
    control: JoinHandle<u8>,
}

impl App {
    /// Binds every address and starts the threads; when it returns, clients are served.
    pub(crate) fn start(mut config: Config, level: LevelSwitch) -> Result<Self, StartError> {
        let descriptors = descriptors();
        let workers = match config.runtime.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers as usize,
        };
        let idle = u64::from(config.forward.idle_connections) * workers as u64;
        let room = Room::new(&config.intake, idle, descriptors);
        let (names, destinations) = reload::names(&config);
        let meters = Arc::new(Meters::new(&names, &destinations));
        let alarms = Arc::new(AlarmBoard::default());
        let counters = Arc::new(GuideCounters::new(std::time::Instant::now()));
        let derivation = Derivation::new(Arc::clone(&alarms), Arc::clone(&counters));
        let derivation = Arc::new(derivation);
        derivation.configure(&config, Moment::now());
        let counted = Arc::clone(&meters);
        // Before the listeners say that they listen: without its log nothing is served.
        let (log, log_end) =
            AccessLog::start(&config.log, move |lines| counted.log_lines_dropped(lines))?;
        let bound = bind_all(&config, workers)?;
        let own = OwnAddresses {
            bound: bound
                .iter()
                .map(|listener| listener.config.address)
                .chain([bound.admin_address()])
                .collect(),
        };
        let control_socket = config.admin.control_socket.as_deref();
        let control_socket = control_socket.map(bind_control).transpose()?;
        // Kept with the configuration: a reload compares them.
        config.authentication.nonce_keys = gate::nonce_keys(&config.authentication)?;
        let gate = Arc::new(Gate::open(&config, room.tunnels)?);
        let rules = watch::Sender::new(Arc::new(Rules::new(
            &config,
            Arc::new(Policy::new(
                &config.destinations,
                config.policy.unlisted,
                own.clone(),
            )),
            Limits::new(&config.limits, room.held_refusals, &meters),
        )));
        let (resolver, answerer) = Resolver::new(&config.dns, Arc::clone(&meters));
        let native_roots = NativeRoots::load();
        let log_end = LogKeeper::new(log_end, &config, &resolver, &native_roots)?;
        let wants = watch::Sender::new(Arc::new(Wants::of(&config)));
        let deliveries = Deliveries {
            wants: wants.subscribe(),
            board: Arc::clone(&alarms),
            meters: Arc::clone(&meters),
            dialer: OperatorDialer::new(
                resolver.clone(),
                config.connect.families,
                config.tunnel.keepalive,
            ),
            native_roots: native_roots.clone(),
        };
        let health = Arc::new(HealthBook::new(&config.connect));
        health.configure(&destinations);
        for (destination, source) in crate::dial::missing_sources(&config.destinations) {
            tracing::warn!(%destination, %source, "this machine does not have a source address: nothing is connected from it until it has");
        }
        let dialer = Dialer::new(
            config.connect.clone(),
            config.tunnel.keepalive,
            resolver.clone(),
            Arc::clone(&meters),
            Arc::clone(&health),
            native_roots.clone(),
            Arc::clone(&derivation),
        );
        let permits = Permits::new(room.connections);
        let drain = Drain::new();
        let exit = watch::Sender::new(false);
        let (lost, cores_lost) = mpsc::channel(workers);
        let loaded = watch::Sender::new(Loaded {
            path: config.source.path.clone(),
            hash: config.source.hash.clone(),
            loaded_at: SystemTime::now(),
            shown: config.source.shown.clone(),
            last_complaint: None,
            needs_restart: Vec::new(),
            listeners: bound
                .iter()
                .map(|listener| (listener.config.name.clone(), listener.config.address))
                .collect(),
        });
        note_certificates(&config, &meters);
        note_reporting(&config);
        let reports = Arc::new(Reports::default());

        let pseudonym = Pseudonym::new(seed());
        let Bound { listeners, admin } = bound;
        let (shares, terms) = share_out(listeners, workers)?;
        let mut cores = Vec::new();
        let patience = Patience {
            acknowledge: config.tunnel.unacknowledged_timeout,
            answer: config.tunnel.confirmation_timeout,
        };
        let court = Court {
            meters: Arc::clone(&meters),
            health: Arc::clone(&health),
        };
        let peers = Arc::new(Peers::new(patience, court));
        let confirmations = Arc::new(Confirmations::default());
        let tunnels: Vec<_> = (0..workers)
            .map(|_| Tunnels::new(Arc::clone(&peers), Arc::clone(&confirmations)))
            .collect();
        let reached = Arc::new(Reached::default());
        reached.configure(&config);
        let habits: Vec<Arc<Habits>> = (0..workers).map(|_| Arc::default()).collect();
        for (number, doors) in shares.into_iter().enumerate() {
            let core = Core {
                doors,
                gate: Arc::clone(&gate),
                rules: rules.subscribe(),
                dialer: dialer.clone(),
                ledger: Ledger::deriving(
                    Arc::clone(&meters),
                    log.clone(),
                    Arc::clone(&derivation),
                    Arc::clone(&reached),
                    Arc::clone(&habits[number]),
                ),
                meters: Arc::clone(&meters),
                alarms: Arc::clone(&alarms),
                counters: Arc::clone(&counters),
                intake: config.intake.clone(),
                forward: config.forward.clone(),
                native_roots: native_roots.clone(),
                pseudonym: pseudonym.clone(),
                idle_timeout: config.tunnel.idle_timeout,
                hourly: config.log.tunnel_lines.hourly,
                tunnels: tunnels[number].clone(),
                peers: Arc::clone(&peers),
                all_tunnels: tunnels.clone(),
                reports: Arc::clone(&reports),
                permits: permits.clone(),
                watch: drain.watch(),
                exit: exit.subscribe(),
            };
            let lost = lost.clone();
            let thread = thread::Builder::new()
                .name(format!("core-{number}"))
                .spawn(move || {
                    let _tells = TellsWhenLost { number, lost };
                    core.run();
                });
            cores.push(thread.map_err(|source| StartError::Thread { source })?);
        }
        let grace = watch::Sender::new(config.drain.tunnel_grace);
        let (intake, hash) = (config.intake.clone(), config.source.hash.clone());
        let dns = config.dns.clone();
        let watchman = Watchman {
            alarms: Arc::clone(&alarms),
            derivation: Arc::clone(&derivation),
            health: Arc::clone(&health),
            tunnels: tunnels.clone(),
            resolver: resolver.clone(),
        };
        let probe = watch::Sender::new(config.probe.clone());
        let rounds = Rounds {
            prober: Prober {
                dialer: dialer.probing(),
                policy: Arc::clone(rules.borrow().policy()),
                native_roots: native_roots.clone(),
                trail: pseudonym.own(),
                handshake_timeout: config.forward.handshake_timeout,
            },
            rules: rules.subscribe(),
            probe: probe.subscribe(),
            meters: Arc::clone(&meters),
            reached: Arc::clone(&reached),
            alarms: Arc::clone(&alarms),
        };
        let control = Control {
            admin,
            rounds,
            window: Window {
                meters: Arc::clone(&meters),
                tunnels: tunnels.clone(),
                resolver: resolver.clone(),
                phase: drain.view(),
                reports,
                health: Arc::clone(&health),
                alarms,
                counters,
                reached: Arc::clone(&reached),
                habits,
                loaded: loaded.subscribe(),
                started: Instant::now(),
            },
            answerer,
            dns,
            native_roots,
            tunnels,
            grace: grace.subscribe(),
            control_socket,
            reloader: Reloader {
                in_force: Arc::new(config),
                own,
                gate,
                rules,
                terms,
                grace,
                wants,
                probe,
                level,
                loaded,
                meters: Arc::clone(&meters),
                reached,
                health,
                phase: drain.view(),
                derivation,
            },
            meters,
            watchman,
            drain,
            exit,
            cores,
            cores_lost,
            log,
            log_end,
            deliveries,
        };
        let (ready, is_ready) = std::sync::mpsc::channel();
        let control = thread::Builder::new()
            .name("control".into())
            .spawn(move || control.run(&ready))
            .map_err(|source| StartError::Thread { source })?;
        match is_ready.recv() {
            Ok(Ok(())) => {}
            Ok(Err(source)) => return Err(StartError::Thread { source }),
            Err(_) => return Err(StartError::Control),
        }
        room.tell(&intake, descriptors);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), workers, connections = room.connections, tunnels = room.tunnels, config = %hash, "ready");
        notify::ready(&format!("serving; configuration {hash}"));
        Ok(Self { control })
    }

    /// Serves until it is drained; gives the exit code.
    pub fn run(self) -> u8 {
        self.control.join().unwrap_or(1)
    }
}

fn bind_control(path: &Path) -> Result<ControlSocket, StartError> {
    let socket =
        ControlSocket::bind(path).map_err(|source: ControlError| StartError::ControlSocket {
            path: path.to_owned(),
            is_misconfigured: match &source {
                ControlError::NoSocket | ControlError::NoFolder => true,
                ControlError::Io(error) => is_of_the_path(error),
                ControlError::Taken => false,
            },
            source: source.into(),
        })?;
    tracing::info!(socket = %path.display(), "control socket listening");
    Ok(socket)
}

fn note_certificates(config: &Config, meters: &Meters) {
    let days = RENEW_WITHIN.as_secs() / (24 * 3600);
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        meters.certificate_expiry(&listener.name, tls.identity.expires);
        if tls.identity.expires < SystemTime::now() + RENEW_WITHIN {
            tracing::warn!(listener = %listener.name, certificate = %tls.identity.certificate.display(), "the certificate expires within {days} days: renew it");
        }
    }
}

/// A rule that is only tried out refuses nothing: nobody may forget that.
fn note_reporting(config: &Config) {
    if config.policy.unlisted == Unlisted::Report {
        tracing::warn!(
            "policy.unlisted = \"report\": targets of no destination are let pass and counted; this is for migration, set it to \"refuse\" when /would-refuse shows nothing new"
        );
    }
    for destination in config.destinations.iter().filter(|one| one.report_only) {
        tracing::warn!(destination = %destination.name, "report_only: what the rules of this destination would refuse is let pass and counted");
    }
    for limit in config.limits.iter().filter(|one| one.report_only) {
        tracing::warn!(limit = %limit.name, "report_only: what this limit would refuse is let pass and counted");
    }
}
