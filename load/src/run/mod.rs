//! A scenario around a real proxy: one cluster logs in at many times its rate while another makes calls.
//!
//! First the proxy's capacity is measured, since rates are shares of it. Then the calls run alone, and beside the storm,
//! by turns, so that a busy minute of the machine falls on both; on a proxy with limits, and on one without. Proxy, cloud and the two drivers are processes of their own;
//! the proxy has one core to itself, or shares the only one.

mod driver;
mod errand;
mod figures;
mod report;
mod stage;
mod verdict;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};

use self::errand::{Errand, Record, Work};
use self::report::Side;
use self::stage::{Proxy, World};
use crate::child::{Child, ChildError};
use crate::scenario::{Rates, Scenario};

pub use self::figures::{Figures, Times};
pub use self::report::Report;
pub use self::verdict::{Phases, Verdict};

/// The cluster that storms, its user, and what the proxy calls it.
const LOGINS: &str = "cluster-a";
/// The cluster that makes calls.
const CALLS: &str = "cluster-b";
/// The storm blows so long before the calls begin, and so much longer in all.
const HEADWAY: Duration = Duration::from_secs(1);
const LONGER: Duration = Duration::from_secs(3);
/// What a driver may take beside its length: to start, and to end what is under way.
const DRIVER_EXTRA: Duration = Duration::from_secs(60);
/// Faster than any proxy: every login is due at once.
const AT_ONCE_PER_SECOND: f64 = 1e6;

/// What is run.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// What is played.
    pub scenario: Scenario,
    /// Only the run without limits, which must fail.
    pub without_limits: bool,
    /// The tidegate program; `None`: the one next to this program.
    pub proxy: Option<PathBuf>,
    /// This program, for the cloud and the drivers; `None`: the one that runs.
    pub load: Option<PathBuf>,
}

/// Why there is no verdict.
#[derive(Debug, Error)]
pub enum RunError {
    /// A process did not work.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// Something of ours could not be set up or read.
    #[error("{what} failed")]
    Setup {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// No login got through when the capacity was measured.
    #[error("the proxy let nobody in when its capacity was measured: {0}")]
    NoCapacity(String),
}

/// Runs it. `progress` is told what happens, a line each time.
pub async fn run(plan: &RunPlan, progress: impl Fn(&str)) -> Result<Report, RunError> {
    let scenario = &plan.scenario;
    let world = World::start(plan).await?;
    progress("measuring what the proxy can do");
    let rates = scenario.rates(capacity(&world, scenario).await?);
    progress(&format!("{:.0} logins a second", rates.capacity));

    let with = if plan.without_limits {
        None
    } else {
        progress("with limits");
        Some(side(&world, scenario, &rates, true, &progress).await?)
    };
    progress("without limits");
    let without = side(&world, scenario, &rates, false, &progress).await?;
    Ok(Report {
        rates,
        workers: scenario.workers,
        p99_times: scenario.pass.p99_times,
        with,
        without,
    })
}

/// Does the errand that `run` wrote into this file; ends when it is done.
pub fn serve_errand(file: &Path) -> io::Result<()> {
    driver::serve(file)
}

/// Logins a second, as many at once as the storm has, on a proxy without limits.
async fn capacity(world: &World, scenario: &Scenario) -> Result<f64, RunError> {
    let proxy = world.proxy(scenario, None).await?;
    let errand = Errand {
        per_second: AT_ONCE_PER_SECOND,
        length: scenario.calibration,
        ..logins(world, &proxy, scenario, 0.0)
    };
    let mut driver = world.driver(&errand)?;
    let figures = Figures::of(&[finished(&mut driver, &errand).await?]);
    proxy.end().await?;
    if figures.ok == 0 {
        let why = figures.first_failure.clone();
        return Err(RunError::NoCapacity(
            why.unwrap_or_else(|| figures.statuses()),
        ));
    }
    Ok(figures.per_second())
}

/// The calls alone, and the calls in the storm, by turns.
async fn side(
    world: &World,
    scenario: &Scenario,
    rates: &Rates,
    is_limited: bool,
    progress: impl Fn(&str),
) -> Result<Side, RunError> {
    let proxy = world.proxy(scenario, is_limited.then_some(rates)).await?;
    let logins = Errand {
        length: scenario.length + LONGER,
        ..logins(world, &proxy, scenario, rates.storm)
    };
    let calls = Errand {
        work: Work::Calls {
            servers: scenario.calls.servers,
        },
        user: CALLS.to_owned(),
        per_second: rates.calls,
        length: scenario.length,
        record: world.folder.path("calls"),
        ..logins.clone()
    };
    let (mut quiet, mut in_storm, mut storms) = (Vec::new(), Vec::new(), Vec::new());
    let (mut busy, mut uncovered) = ([0.0; 2], 0);
    for round in 1..=scenario.rounds {
        progress(&format!("  round {round}: the calls alone"));
        let (record, share) = measured(world, &proxy, &calls).await?;
        quiet.push(record);
        busy[0] += share / f64::from(scenario.rounds);

        progress(&format!("  round {round}: the calls in the storm"));
        let start = Instant::now();
        let mut driver = world.driver(&logins)?;
        sleep(HEADWAY).await;
        let headway = start.elapsed();
        let (record, share) = measured(world, &proxy, &calls).await?;
        let storm = finished(&mut driver, &logins).await?;
        if headway + record.lead + scenario.length > storm.lead + storm.took {
            uncovered += 1;
        }
        in_storm.push(record);
        storms.push(storm);
        busy[1] += share / f64::from(scenario.rounds);
    }
    let phases = Phases {
        quiet: Figures::of(&quiet),
        calls: Figures::of(&in_storm),
        storm: Figures::of(&storms),
        busy,
        uncovered,
    };
    let config = proxy.config.clone();
    proxy.end().await?;
    Ok(Side {
        config,
        verdict: phases.verdict(scenario, rates.normal),
        phases,
    })
}

fn logins(world: &World, proxy: &Proxy, scenario: &Scenario, per_second: f64) -> Errand {
    Errand {
        work: Work::Logins {
            at_once: scenario.logins.at_once,
            rests: scenario.logins.rests,
        },
        proxies: proxy.entrances(),
        targets: world.targets(),
        user: LOGINS.to_owned(),
        password: world.password(),
        per_second,
        length: scenario.length,
        record: world.folder.path("logins"),
    }
}

/// The errand done, and how much of a core the proxy was busy meanwhile.
async fn measured(
    world: &World,
    proxy: &Proxy,
    errand: &Errand,
) -> Result<(Record, f64), RunError> {
    let (start, before) = (Instant::now(), proxy.cpu()?);
    let mut driver = world.driver(errand)?;
    let record = finished(&mut driver, errand).await?;
    let used = proxy.cpu()?.since(&before);
    Ok((record, used.as_secs_f64() / start.elapsed().as_secs_f64()))
}

async fn finished(driver: &mut Child, errand: &Errand) -> Result<Record, RunError> {
    driver.finish(errand.length + DRIVER_EXTRA).await?;
    Record::read(&errand.record).map_err(setup("reading a driver's record"))
}

fn setup(what: &'static str) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::Setup { what, source }
}
