//! All of it around one real proxy process: names, a cloud, call servers, ten seconds of pushes, a verdict.
//!
//! Halfway, one address of the cloud drops its tunnels and hangs. Everything lives on loopback, on free ports, and
//! in a folder of its own that is removed at the end, whatever the end is.

mod admin;
mod counters;
mod samples;
mod stage;
mod verdict;

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};

use self::counters::GuideCounter;
use self::stage::Stage;
use self::verdict::{Death, Delivery, Observed};
use crate::child::{Child, ChildError, proxy_program};
use crate::cloud::{self, Behavior, Cloud, CloudPlan};
use crate::display::chain;
use crate::drive::{Pace, drive};
use crate::guide::{Component, Moment};
use crate::names::{self, Names};
use crate::onprem::{
    AbsoluteForm, Books, Counts, Outcome, ProxyClient, PushLabel, Server, ServerError, ServerPlan,
    tls,
};

pub use self::verdict::Report;

/// Fewer pushes than this prove little.
const PUSHES_MIN: u64 = 500;
const PUSHES_PER_SECOND: f64 = 60.0;
const CLOUD_ADDRESSES: u8 = 4;
/// What a healthy push cloud takes to answer.
const CLOUD_THINKS: Duration = Duration::from_millis(3);
/// Of a hundred pushes; the others take tunnels, as call servers do.
pub const ABSOLUTE_SHARE: u8 = 25;
/// What the first half of the servers plays, and the second.
const COMPONENTS: [Component; 2] = [Component::CallManager, Component::XcpConfigManager];
/// How long both sides may take to have counted the same.
const SETTLE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
/// Another try with other ports, should somebody have taken one of ours between finding and binding.
const START_TRIES: usize = 3;

/// How the demo is played.
#[derive(Debug, Clone)]
pub struct DemoPlan {
    /// The tidegate program; `None`: the one next to this program.
    pub proxy: Option<PathBuf>,
    /// How long pushes are sent.
    pub length: Duration,
    /// The cloud swallows one push, so that the verdict must be bad.
    pub breaks: bool,
    /// How many pushes in a hundred are sent in absolute form, half of them http, half https.
    pub absolute_share: u8,
}

impl Default for DemoPlan {
    fn default() -> Self {
        Self {
            proxy: None,
            length: Duration::from_secs(10),
            breaks: false,
            absolute_share: ABSOLUTE_SHARE,
        }
    }
}

/// Why there is no verdict.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The proxy did not do its work.
    #[error(transparent)]
    Proxy(#[from] ChildError),
    /// Something of ours could not be set up.
    #[error("{what} failed")]
    Setup {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// A call server could not onboard or fetch its token.
    #[error("{name} could not start")]
    Server {
        /// Which one.
        name: String,
        /// What went wrong.
        source: Box<ServerError>,
    },
}

/// Plays the demo. `progress` is told what happens, a line each time.
pub async fn run(plan: &DemoPlan, progress: impl Fn(&str)) -> Result<Report, DemoError> {
    let program = proxy_program(plan.proxy.as_ref())?;
    let (cloud, names) = world(plan.absolute_share > 0).await?;
    progress(&format!(
        "cloud at {} to {}, names at {}",
        cloud.addr(0),
        cloud.addr(usize::from(CLOUD_ADDRESSES) - 1).ip(),
        names.addr()
    ));

    let (stage, mut proxy) = raise_curtain(&program, &cloud, &names).await?;
    progress(&format!(
        "proxy {} ready: {} in clear, {} in TLS",
        program.display(),
        stage.plain,
        stage.tls
    ));

    let counts = Arc::new(Counts::default());
    let books = Arc::new(Books::default());
    let servers = start_servers(plan, &stage, &cloud, &counts, &books).await?;
    progress(&format!(
        "{} call servers have onboarded and have their tokens",
        servers.len()
    ));

    let pace = pace(plan.length);
    progress(&format!(
        "sending {} pushes in {:?}",
        pace.total(),
        plan.length
    ));
    let start = Instant::now();
    let (deliveries, death) = tokio::join!(
        drive(pace, pending(), |n, due| one_push(&servers, n, due)),
        mischief(plan, &cloud, start, &progress)
    );
    let death = death.map_err(setup("making an address of the cloud hang"))?;

    proxy.still_runs("while pushes were sent")?;
    let world = (&stage, &*servers, &cloud);
    let observed = settle(world, (&counts, &books), deliveries, death).await?;
    let mut report = verdict::judge(&observed);
    let now = Moment::now();
    report.tell(books.counters().page(now.instant), books.alarms().page(now));
    match proxy.stop().await? {
        Some(0) => {}
        code => report.fault(format!(
            "the proxy ended with {} on SIGTERM instead of 0",
            code.map_or_else(
                || "a signal or not at all".into(),
                |code| format!("code {code}")
            )
        )),
    }
    if !report.is_good() {
        progress(&format!("the proxy's last words:\n{}", proxy.last_words()));
    }
    Ok(report)
}

/// The cloud, and a name server that knows it.
async fn world(also_plain: bool) -> Result<(cloud::Running, names::Running), DemoError> {
    let mut plan = CloudPlan::new()
        .addresses(CLOUD_ADDRESSES)
        .answer_after(CLOUD_THINKS);
    if also_plain {
        plan = plan.plain_port(0);
    }
    let cloud = Cloud::start(plan)
        .await
        .map_err(setup("starting the cloud"))?;
    let names = Names::start()
        .await
        .map_err(setup("starting the name server"))?;
    let hosts = cloud.hosts();
    for host in [&hosts.push, &hosts.token, &hosts.onboard] {
        names.set(host, cloud.ips());
    }
    Ok((cloud, names))
}

async fn raise_curtain(
    program: &std::path::Path,
    cloud: &cloud::Running,
    names: &names::Running,
) -> Result<(Stage, Child), DemoError> {
    let mut tries = START_TRIES;
    loop {
        let stage = Stage::set(cloud, names.addr()).map_err(setup("writing the proxy's files"))?;
        let mut proxy = stage.start_proxy(program)?;
        match proxy
            .ready(async || admin::is_ready(stage.admin).await)
            .await
        {
            Ok(()) => return Ok((stage, proxy)),
            Err(error) if tries > 1 && error.is_port_taken() => tries -= 1,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn start_servers(
    demo: &DemoPlan,
    stage: &Stage,
    cloud: &cloud::Running,
    counts: &Arc<Counts>,
    books: &Arc<Books>,
) -> Result<Vec<Arc<Server>>, DemoError> {
    let connector = tls::trusting(&stage.ca_pem).map_err(setup("reading the proxy's CA"))?;
    let name = tls::server_name("127.0.0.1").map_err(setup("naming the proxy"))?;
    let mut starting = tokio::task::JoinSet::new();
    for (index, caller) in stage.callers.iter().enumerate() {
        let client = if is_second_half(index, stage.callers.len()) {
            ProxyClient::tls(stage.tls, name.clone(), connector.clone())
        } else {
            ProxyClient::plain(stage.plain)
        };
        let client = client
            .login(&caller.user, &caller.password)
            .taste(caller.taste)
            .counted_in(counts.clone());
        let mut plan = ServerPlan::new(&caller.user, cloud.port(), cloud.ca_pem());
        plan.absolute = absolute_form(demo.absolute_share, cloud);
        plan.component = COMPONENTS[usize::from(is_second_half(index, stage.callers.len()))];
        plan.books = books.clone();
        starting.spawn(async move {
            let name = plan.name.clone();
            match Server::start(plan, client).await {
                Ok(server) => Ok(Arc::new(server)),
                Err(source) => Err(DemoError::Server {
                    name,
                    source: Box::new(source),
                }),
            }
        });
    }
    let mut servers = Vec::new();
    while let Some(server) = starting.join_next().await {
        servers.push(
            server
                .map_err(io::Error::other)
                .map_err(setup("a task"))??,
        );
    }
    // They come as they finish; the roles are by name.
    servers.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(servers)
}

/// In clear and in TLS by turns: the proxy speaks both to the cloud.
fn absolute_form(percent: u8, cloud: &cloud::Running) -> AbsoluteForm {
    let push = &cloud.hosts().push;
    let in_tls = format!("https://{push}:{}", cloud.port());
    let in_clear = cloud
        .plain_port()
        .map(|port| format!("http://{push}:{port}"));
    AbsoluteForm {
        percent,
        origins: in_clear.into_iter().chain([in_tls]).collect(),
    }
}

/// It talks to the proxy in TLS, and plays another component.
fn is_second_half(index: usize, count: usize) -> bool {
    index >= count / 2
}

fn pace(length: Duration) -> Pace {
    let needed = (PUSHES_MIN + 20) as f64 / length.as_secs_f64().max(0.1);
    Pace::new(needed.max(PUSHES_PER_SECOND), length)
}

fn one_push(
    servers: &[Arc<Server>],
    n: u64,
    due: Instant,
) -> impl Future<Output = Delivery> + Send + 'static {
    let index = usize::try_from(n).unwrap_or(0) % servers.len();
    let server = servers[index].clone();
    // Every kind goes both ways: which pushes take absolute form is a matter of turns, too.
    let turn = usize::try_from(n + n / 32).unwrap_or(0);
    let label = PushLabel::MIX[turn % PushLabel::MIX.len()];
    async move {
        let tracking_id = format!("demo-{n:05}");
        let target = format!("phone-{}", n % 97);
        let outcome = server
            .push_as(label, &target, &tracking_id, "incoming call from 0123")
            .await;
        let ended = Instant::now();
        Delivery {
            tracking_id,
            took: ended.saturating_duration_since(due),
            ended,
            word: outcome.word(),
            why: match outcome {
                Outcome::Unsent(error) => Some(chain(&error)),
                Outcome::Rejected(status) | Outcome::Undelivered(status) => {
                    Some(status.to_string())
                }
                Outcome::Confirmed | Outcome::Cut | Outcome::Unconfirmed => None,
            },
        }
    }
}

/// What the cloud does wrong, and when.
async fn mischief(
    plan: &DemoPlan,
    cloud: &cloud::Running,
    start: Instant,
    progress: &impl Fn(&str),
) -> io::Result<Death> {
    tokio::time::sleep_until(start + plan.length / 2).await;
    let busiest = (0..usize::from(CLOUD_ADDRESSES))
        .max_by_key(|index| cloud.open(*index))
        .unwrap_or(0);
    let began = Instant::now();
    let reset = cloud.set(busiest, Behavior::Hang).await?;
    progress(&format!(
        "{} drops its {reset} tunnels and hangs",
        cloud.addr(busiest).ip()
    ));
    let death = Death {
        began,
        ended: Instant::now(),
        reset: reset as u64,
    };
    if plan.breaks {
        // After the death: a push that waits for its answer on a tunnel that dies would be excused.
        tokio::time::sleep_until(start + plan.length.mul_f64(0.7)).await;
        cloud.swallow_next_push();
        progress("the cloud swallows one push");
    }
    Ok(death)
}

/// Closes the servers, and reads both sides' books until they agree or time is up.
async fn settle(
    (stage, servers, cloud): (&Stage, &[Arc<Server>], &cloud::Running),
    (counts, books): (&Counts, &Books),
    deliveries: Vec<Delivery>,
    death: Death,
) -> Result<Observed, DemoError> {
    let mut observed = Observed {
        wanted: PUSHES_MIN,
        deliveries,
        confirmations: cloud.confirmations(),
        death,
        reopened: servers.iter().map(|server| server.reopened()).sum(),
        keepable: servers.iter().map(|server| server.keeps() as u64).sum(),
        ..Observed::default()
    };

    let deadline = Instant::now() + SETTLE;
    loop {
        observed.open = counts.now().open;
        observed.listed = admin::live_tunnels(stage.admin).await?;
        if observed.open == observed.listed || Instant::now() > deadline {
            break;
        }
        sleep(POLL).await;
    }

    for server in servers {
        server.close().await;
    }
    let deadline = Instant::now() + SETTLE;
    loop {
        observed.servers = counts.now();
        observed.proxy = admin::ledger(stage.admin).await?;
        let seen = admin::guide(stage.admin).await?;
        observed.guide = GuideCounter::all(books.counters(), &seen);
        if observed.books_agree() || Instant::now() > deadline {
            return Ok(observed);
        }
        sleep(POLL).await;
    }
}

fn setup(what: &'static str) -> impl Fn(io::Error) -> DemoError {
    move |source| DemoError::Setup { what, source }
}
