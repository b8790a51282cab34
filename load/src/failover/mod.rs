//! Addresses and DNS die in every way we know, around real proxy processes, and a table says what a sender notices.
//!
//! Each row is played by several proxies that have just started and know nothing, all of them beside each other, and
//! beside others that know of no trouble: the latter's exchanges are the normal ones, so that a busy moment of the
//! machine falls on both. Dead addresses are named first. What takes long is played beside the others: pushes that are never answered, an
//! outage of DNS, and what needs a network namespace.

mod case;
mod exchange;
mod figures;
mod namespace;
mod report;
mod world;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use self::case::Trouble;
use self::figures::Row;
use self::namespace::Namespace;
use self::world::World;
use crate::child::{ChildError, proxy_program};

pub use self::case::Part;
pub use self::report::Report;

/// Proxies in each row, at most.
pub const SAMPLES_MAX: u8 = 5;

/// What is run.
#[derive(Debug, Clone)]
pub struct FailoverPlan {
    /// The tidegate program; `None`: the one next to this program.
    pub proxy: Option<PathBuf>,
    /// Proxies in each row.
    pub samples: u8,
    /// How long DNS is dead.
    pub outage: Duration,
    /// What is played; empty: everything.
    pub only: Vec<Part>,
}

/// Why there is no table.
#[derive(Debug, Error)]
pub enum FailoverError {
    /// A process did not work.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// Something of ours could not be set up.
    #[error("{what} failed")]
    Setup {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// Nothing works even where nothing is dead.
    #[error("the proxy does not work while DNS does: {0}")]
    Unsound(String),
}

/// What is played one after the other, on addresses of its own.
struct Lane {
    block: u8,
    parts: &'static [Part],
}

const LANES: [Lane; 4] = [
    Lane {
        block: 1,
        parts: &[Part::Refuse, Part::Hang, Part::Reset],
    },
    Lane {
        block: 2,
        parts: &[Part::Silent],
    },
    Lane {
        block: 3,
        parts: &[Part::Dns],
    },
    Lane {
        block: 4,
        parts: &[Part::Outage],
    },
];

/// In the namespace the addresses are nobody else's.
const DROPPING: Lane = Lane {
    block: 1,
    parts: &[Part::Blackhole],
};

/// Runs it. `progress` is told what happens, a line each time.
pub async fn run(plan: &FailoverPlan, progress: impl Fn(&str)) -> Result<Report, FailoverError> {
    let program = proxy_program(plan.proxy.as_ref())?;
    let [connects, silent, dns, outage] = LANES;
    let (connects, silent, dns, outage, dropping) = tokio::try_join!(
        connects.play(plan, &program, &progress),
        silent.play(plan, &program, &progress),
        dns.play(plan, &program, &progress),
        outage.play(plan, &program, &progress),
        dropping(plan, &program, &progress),
    )?;
    let (dropping, skipped) = match dropping {
        Ok(rows) => (rows, Vec::new()),
        Err(skipped) => (Vec::new(), vec![skipped]),
    };
    Ok(Report {
        samples: plan.samples,
        rows: [connects, dropping, silent, dns, outage].concat(),
        skipped,
    })
}

impl Lane {
    /// Nothing dead first, which shows how much the machine scatters.
    async fn play(
        &self,
        plan: &FailoverPlan,
        program: &Path,
        progress: impl Fn(&str),
    ) -> Result<Vec<Row>, FailoverError> {
        let troubles = self.troubles(plan);
        if troubles.is_empty() {
            return Ok(Vec::new());
        }
        let world = World::start(program, self.block, plan.samples).await?;
        let mut rows = Vec::new();
        for trouble in [Trouble::None].into_iter().chain(troubles) {
            let played = world.play(trouble, plan.samples).await?;
            progress(&trouble.name());
            rows.push(Row::of(&played));
        }
        Ok(rows)
    }

    fn troubles(&self, plan: &FailoverPlan) -> Vec<Trouble> {
        let wanted = |part: &&Part| plan.only.is_empty() || plan.only.contains(part);
        let parts = self.parts.iter().filter(wanted);
        parts.flat_map(|part| part.troubles(plan.outage)).collect()
    }
}

/// The lane in a network namespace; inside, why there is none.
async fn dropping(
    plan: &FailoverPlan,
    program: &Path,
    progress: impl Fn(&str),
) -> Result<Result<Vec<Row>, String>, FailoverError> {
    let troubles = DROPPING.troubles(plan).len();
    if troubles == 0 {
        return Ok(Ok(Vec::new()));
    }
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(why) => {
            let skipped = format!("blackhole, {troubles} cases: no network namespace: {why}");
            progress(&format!("SKIPPED: {skipped}"));
            return Ok(Err(skipped));
        }
    };
    let (plan, program) = (plan.clone(), program.to_owned());
    let lane = move || async move { DROPPING.play(&plan, &program, |_| ()).await };
    let rows = namespace.run(lane).await;
    let rows = rows.map_err(setup("a network namespace"))??;
    progress("blackholes");
    Ok(Ok(rows))
}

fn setup(what: &'static str) -> impl Fn(io::Error) -> FailoverError {
    move |source| FailoverError::Setup { what, source }
}
