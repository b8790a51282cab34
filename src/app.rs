//! Composition root: builds everything once, starts the threads, then one loop over everything that can happen.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep_until, timeout};

use crate::admin::{self, Loaded, Window};
use crate::config::{self, Config, Grace};
use crate::dial::Dialer;
use crate::dial::resolve::{Answerer, Resolver};
use crate::gate::{Gate, GateOpenError, Rules};
use crate::lifecycle::signals::{Signal, Signals};
use crate::lifecycle::{Drain, DrainWatch, Phase, PhaseView};
use crate::listen::permits::{self, Permits};
use crate::listen::tls::TlsTerms;
use crate::listen::{Door, bind};
use crate::policy::{OwnAddresses, Policy};
use crate::relay::{Scratch, Tunnels};
use crate::serve::{Ids, Service};
use crate::telemetry::{AccessLog, AccessLogError, Chain, Journal, Ledger, LineWriter, Meters};

const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 78;

/// How long tunnels have to write their last line once they were told to end at once.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the access log may take to write what it holds when the program ends.
const LOG_FLUSH: Duration = Duration::from_secs(2);

const UPKEEP: Duration = Duration::from_secs(5);

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
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot set up authentication")]
    Gate {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot start a thread")]
    Thread { source: io::Error },
    #[error("the control thread ended before it was ready")]
    Control,
}

impl From<AccessLogError> for StartError {
    fn from(source: AccessLogError) -> Self {
        Self::AccessLog {
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
    let _journal = match Journal::start(config.log.level) {
        Ok(journal) => journal,
        Err(error) => {
            let _ = writeln!(out, "{}", Chain(&error));
            return FAILED;
        }
    };
    match App::start(config) {
        Ok(app) => app.run(),
        Err(error) => {
            tracing::error!("cannot start: {}", Chain(&error));
            FAILED
        }
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct App {
    control: JoinHandle<u8>,
}

impl App {
    /// Binds every address and starts the threads; when it returns, clients are served.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let descriptors = descriptors();
        let room = Room::new(&config.intake, descriptors);
        let workers = match config.runtime.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers as usize,
        };
        let bound = bind_all(&config, workers)?;
        let own = OwnAddresses {
            bound: bound
                .iter()
                .map(|listener| listener.config.address)
                .chain([bound.admin_address()])
                .collect(),
        };
        let names: Vec<_> = config
            .listeners
            .iter()
            .map(|listener| listener.name.clone())
            .collect();
        let destinations: Vec<_> = config
            .destinations
            .iter()
            .map(|destination| destination.name.clone())
            .collect();
        let meters = Arc::new(Meters::new(&names, &destinations));
        let counted = Arc::clone(&meters);
        let (log, log_writer) =
            AccessLog::start(&config.log.access, config.log.queue_lines, move |lines| {
                counted.log_lines_dropped(lines)
            })?;
        let gate = Arc::new(Gate::open(&config, room.tunnels)?);
        let rules = watch::Sender::new(Arc::new(Rules::new(
            &config,
            Arc::new(Policy::new(&config.destinations, own)),
        )));
        let (resolver, answerer) = Resolver::new(config.dns.clone(), Arc::clone(&meters));
        let dialer = Dialer::new(
            config.connect.clone(),
            config.tunnel.keepalive,
            resolver,
            Arc::clone(&meters),
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
            listeners: bound
                .iter()
                .map(|listener| (listener.config.name.clone(), listener.config.address))
                .collect(),
        });
        note_certificates(&config, &meters);

        let Bound { listeners, admin } = bound;
        let shares = share_out(listeners, workers)?;
        let mut cores = Vec::new();
        let mut tunnels = Vec::new();
        for (number, doors) in shares.into_iter().enumerate() {
            let own_tunnels = Tunnels::default();
            tunnels.push(own_tunnels.clone());
            let core = Core {
                doors,
                gate: Arc::clone(&gate),
                rules: rules.subscribe(),
                dialer: dialer.clone(),
                ledger: Ledger::new(Arc::clone(&meters), log.clone()),
                meters: Arc::clone(&meters),
                intake: config.intake.clone(),
                idle_timeout: config.tunnel.idle_timeout,
                tunnels: own_tunnels,
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
        let control = Control {
            admin,
            window: Window {
                meters: Arc::clone(&meters),
                tunnels: tunnels.clone(),
                phase: drain.view(),
                loaded: loaded.subscribe(),
            },
            answerer,
            meters,
            tunnels,
            drain,
            grace: config.drain.tunnel_grace,
            exit,
            cores,
            cores_lost,
            log,
            log_writer,
            _snapshots: (rules, loaded),
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
        room.tell(&config.intake, descriptors);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), workers, connections = room.connections, tunnels = room.tunnels, config = %config.source.hash, "ready");
        Ok(Self { control })
    }

    /// Serves until it is drained; gives the exit code.
    pub fn run(self) -> u8 {
        self.control.join().unwrap_or(1)
    }
}

/// Everything that is bound before a thread starts.
struct Bound {
    listeners: Vec<BoundListener>,
    admin: TcpListener,
}

struct BoundListener {
    /// With the address that was bound (port 0 has become a port).
    config: Arc<config::Listener>,
    sockets: Vec<TcpListener>,
}

impl Bound {
    fn iter(&self) -> impl Iterator<Item = &BoundListener> {
        self.listeners.iter()
    }

    fn admin_address(&self) -> SocketAddr {
        self.admin
            .local_addr()
            .expect("a bound socket has an address")
    }
}

fn bind_all(config: &Config, workers: usize) -> Result<Bound, StartError> {
    let keepalive = config.tunnel.keepalive;
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let sockets = bind::bind(listener.address, listener.dual_stack, workers, keepalive)
            .map_err(|source| {
                cannot_bind(
                    format!("listener \"{}\"", listener.name),
                    listener.address,
                    source,
                )
            })?;
        let mut bound = listener.clone();
        bound.address = sockets[0]
            .local_addr()
            .expect("a bound socket has an address");
        tracing::info!(listener = %bound.name, address = %bound.address, tls = bound.tls.is_some(), "listening");
        listeners.push(BoundListener {
            config: Arc::new(bound),
            sockets,
        });
    }
    let address = config.admin.address;
    let admin = bind::bind(address, false, 1, keepalive)
        .map_err(|source| cannot_bind("admin".into(), address, source))?
        .remove(0);
    let bound = Bound { listeners, admin };
    tracing::info!(address = %bound.admin_address(), "admin endpoint listening");
    Ok(bound)
}

fn cannot_bind(what: String, address: SocketAddr, source: io::Error) -> StartError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => {
            ": another program, perhaps a second tidegate, holds this port; \"ss -ltnp\" shows which"
        }
        io::ErrorKind::AddrNotAvailable => {
            ": no interface of this machine has this address; \"ip address\" shows those that exist"
        }
        io::ErrorKind::PermissionDenied => ": ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    StartError::Bind {
        what,
        address,
        hint,
        source,
    }
}

type Share = Vec<(Arc<config::Listener>, Option<TlsTerms>, TcpListener)>;

/// One socket of every listener for each core.
fn share_out(listeners: Vec<BoundListener>, workers: usize) -> Result<Vec<Share>, StartError> {
    let mut shares: Vec<Share> = (0..workers).map(|_| Vec::new()).collect();
    for BoundListener { config, sockets } in listeners {
        let terms = config.tls.as_ref().map(TlsTerms::new).transpose();
        let terms = terms.map_err(|source| StartError::Tls {
            listener: config.name.to_string(),
            source,
        })?;
        for (share, socket) in shares.iter_mut().zip(sockets) {
            share.push((Arc::clone(&config), terms.clone(), socket));
        }
    }
    Ok(shares)
}

fn note_certificates(config: &Config, meters: &Meters) {
    const SOON: Duration = Duration::from_secs(30 * 24 * 3600);
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        meters.certificate_expiry(&listener.name, tls.identity.expires);
        if tls.identity.expires < SystemTime::now() + SOON {
            tracing::warn!(listener = %listener.name, certificate = %tls.identity.certificate.display(), "the certificate expires within 30 days: renew it");
        }
    }
}

/// How many connections and tunnels there may be.
#[derive(Debug, Clone, Copy)]
struct Room {
    connections: usize,
    tunnels: usize,
}

impl Room {
    /// What the descriptors allow: two a tunnel, less a reserve for connections that are being refused, sockets that are
    /// still being tried, logs, listeners and the admin endpoint.
    fn new(intake: &config::Intake, descriptors: u64) -> Self {
        let reserve = permits::REFUSALS as u64 + 64 + descriptors / 16;
        let allowed = usize::try_from(descriptors.saturating_sub(reserve) / 2)
            .unwrap_or(usize::MAX / 2)
            .max(1);
        let or_allowed = |configured: u32| {
            if configured == 0 {
                allowed
            } else {
                configured as usize
            }
        };
        Self {
            connections: or_allowed(intake.connections),
            tunnels: or_allowed(intake.tunnels),
        }
    }

    fn tell(self, intake: &config::Intake, descriptors: u64) {
        const FEW: u64 = 4096;
        let needed = 64 + 2 * self.connections.max(self.tunnels) as u64;
        if (intake.connections > 0 || intake.tunnels > 0) && needed > descriptors {
            tracing::warn!(
                descriptors,
                needed,
                "the descriptor limit is too low for [intake]: raise the hard limit (LimitNOFILE=, ulimit -Hn)"
            );
        } else if descriptors < FEW {
            tracing::warn!(
                descriptors,
                connections = self.connections,
                "the descriptor limit is low: raise the hard limit (LimitNOFILE=, ulimit -Hn)"
            );
        }
    }
}

/// Raises the soft limit of open descriptors to the hard one, and says what it is now.
fn descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    match raised {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(error = %error, "cannot raise the descriptor limit");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}

/// Reports a core whose thread ends, also by a panic.
struct TellsWhenLost {
    number: usize,
    lost: mpsc::Sender<usize>,
}

impl Drop for TellsWhenLost {
    fn drop(&mut self) {
        // One place for each core: never full.
        let _ = self.lost.try_send(self.number);
    }
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
}

/// One core's thread: its sockets, its tunnels, its scratch.
struct Core {
    doors: Share,
    gate: Arc<Gate>,
    rules: watch::Receiver<Arc<Rules>>,
    dialer: Dialer,
    ledger: Ledger,
    meters: Arc<Meters>,
    intake: config::Intake,
    idle_timeout: Duration,
    tunnels: Tunnels,
    permits: Permits,
    watch: DrainWatch,
    exit: watch::Receiver<bool>,
}

impl Core {
    fn run(self) {
        match runtime() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => tracing::error!(error = %Chain(&error), "a core cannot start"),
        }
    }

    async fn serve(self) {
        let Self {
            doors,
            gate,
            rules,
            dialer,
            ledger,
            meters,
            intake,
            idle_timeout,
            tunnels,
            permits,
            watch,
            mut exit,
        } = self;
        let scratch = Scratch::new();
        let ids = Ids::new(seed());
        let service = Rc::new(Service {
            gate,
            rules,
            dialer,
            ledger,
            meters: Arc::clone(&meters),
            intake,
            tunnels: tunnels.clone(),
            scratch,
            ids,
        });
        for (listener, tls, socket) in doors {
            let socket = match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::error!(listener = %listener.name, error = %Chain(&error), "a core cannot serve a listener");
                    return;
                }
            };
            let door = Door {
                listener,
                tls,
                permits: permits.clone(),
                meters: Arc::clone(&meters),
                service: Rc::clone(&service),
                watch: watch.clone(),
            };
            tokio::task::spawn_local(door.accept(socket));
        }
        drop(service);
        tokio::task::spawn_local(sweep(tunnels.clone(), idle_timeout, meters));
        let until = watch.view();
        drop(watch);
        tokio::task::spawn_local(end_tunnels(until, tunnels));
        // An error means that the control thread is gone: nobody would tell this core to end any more.
        let _ = exit.wait_for(|exit| *exit).await;
    }
}

fn seed() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's random keys differ between processes and calls; ids need no more than that.
    RandomState::new().hash_one(thread::current().id()) as u32
}

/// Ends idle tunnels and counts bytes, a few times within every idle limit.
async fn sweep(tunnels: Tunnels, idle_timeout: Duration, meters: Arc<Meters>) {
    let mut ticks = interval((idle_timeout / 8).clamp(Duration::from_millis(100), UPKEEP));
    loop {
        let now = ticks.tick().await;
        let (up, down) = tunnels.sweep(idle_timeout, now);
        meters.tunnel_bytes(up, down);
    }
}

/// Ends the tunnels of a core when a drain's grace is over, and those that still come after it.
async fn end_tunnels(mut until: PhaseView, tunnels: Tunnels) {
    until.begun().await;
    let Phase::Draining {
        tunnels_until: Some(end),
    } = until.phase()
    else {
        return;
    };
    sleep_until(end).await;
    let mut ticks = interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        tunnels.end_all();
    }
}

/// Everything that can wake the program.
#[derive(Debug)]
enum Event {
    Signal(Signal),
    CoreLost(usize),
    /// Everything that had to finish has finished.
    Drained,
}

/// The control thread.
struct Control {
    admin: TcpListener,
    window: Window,
    answerer: Answerer,
    meters: Arc<Meters>,
    tunnels: Vec<Tunnels>,
    drain: Drain,
    grace: Grace,
    exit: watch::Sender<bool>,
    cores: Vec<JoinHandle<()>>,
    cores_lost: mpsc::Receiver<usize>,
    log: AccessLog,
    log_writer: Option<LineWriter>,
    /// What a reload will replace.
    _snapshots: (watch::Sender<Arc<Rules>>, watch::Sender<Loaded>),
}

impl Control {
    fn run(self, ready: &std::sync::mpsc::Sender<io::Result<()>>) -> u8 {
        match runtime() {
            Ok(runtime) => runtime.block_on(self.serve(ready)),
            Err(error) => {
                let _ = ready.send(Err(error));
                1
            }
        }
    }

    async fn serve(self, ready: &std::sync::mpsc::Sender<io::Result<()>>) -> u8 {
        let Self {
            admin,
            window,
            answerer,
            meters,
            tunnels,
            drain,
            grace,
            exit,
            cores,
            mut cores_lost,
            log,
            log_writer,
            _snapshots,
        } = self;
        let started = Signals::take()
            .and_then(|signals| Ok((signals, tokio::net::TcpListener::from_std(admin)?)));
        let (mut signals, admin) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = ready.send(Err(error));
                return 1;
            }
        };
        tokio::task::spawn_local(admin::serve(admin, window));
        tokio::task::spawn_local(answerer.run());
        tokio::task::spawn_local(upkeep(meters));
        let _ = ready.send(Ok(()));

        let mut ending = Ending::NotYet(drain);
        let code = loop {
            let event = tokio::select! {
                signal = signals.next() => Event::Signal(signal),
                Some(number) = cores_lost.recv() => Event::CoreLost(number),
                () = ending.finished() => Event::Drained,
            };
            match event {
                Event::Signal(Signal::Drain) => match ending {
                    Ending::NotYet(drain) => {
                        let grace = match grace {
                            Grace::For(grace) => Some(grace),
                            Grace::Unlimited => None,
                        };
                        drain.begin(grace);
                        let open: usize = tunnels.iter().map(Tunnels::count).sum();
                        tracing::info!(tunnels = open, grace = ?grace, "draining: no new connections; a second signal ends at once");
                        ending = Ending::Begun(Box::pin(drain.finished()));
                    }
                    Ending::Begun(mut finished) => {
                        tracing::info!("ending at once");
                        for tunnels in &tunnels {
                            tunnels.end_all();
                        }
                        let _ = timeout(LAST_WORDS, &mut finished).await;
                        break 0;
                    }
                },
                Event::Signal(Signal::ReopenLogs) => {
                    log.reopen();
                    tracing::info!("access log reopened");
                }
                Event::Signal(Signal::Reload) => tracing::warn!(
                    "reload is not available yet: restart to apply a changed configuration"
                ),
                Event::Signal(Signal::Successor) => {
                    tracing::warn!("starting a successor is not available yet")
                }
                Event::CoreLost(number) => {
                    tracing::error!(
                        core = number,
                        "a core has ended by itself: ending, so that a supervisor can start the proxy anew"
                    );
                    break 1;
                }
                Event::Drained => break 0,
            }
        };
        exit.send_replace(true);
        for core in cores {
            let _ = core.join();
        }
        if log_writer.is_some_and(|writer| !writer.flush_and_stop(LOG_FLUSH)) {
            tracing::warn!("the access log could not be written to its end");
        }
        tracing::info!("ended");
        code
    }
}

/// How far the end has come.
enum Ending {
    NotYet(Drain),
    Begun(std::pin::Pin<Box<dyn Future<Output = ()>>>),
}

impl Ending {
    async fn finished(&mut self) {
        match self {
            Self::NotYet(_) => std::future::pending().await,
            Self::Begun(finished) => finished.await,
        }
    }
}

async fn upkeep(meters: Arc<Meters>) {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        meters.upkeep();
    }
}
