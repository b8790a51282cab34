//! Memory per idle tunnel: opened, one exchange made, then silent.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::exchange::Through;
use super::report::{Aim, Report, Row, Unit};
use super::standing::{Origin, Standing, Subject};
use super::{BenchError, Common, IDLE_BYTES_AIM, Spread, setup};
use crate::display::chain;

const SUBJECTS: [Subject; 3] = [Subject::Relay, Subject::Proxy, Subject::ProxyTls];
/// Stay open beside the measured ones: code and first pages are there before the first reading.
const WARM: usize = 64;
/// How many are being opened at the same time.
const AT_ONCE: usize = 32;
/// From the last exchange to the reading.
const SETTLE: Duration = Duration::from_secs(1);
/// Fewer tunnels than this would measure pages, not tunnels.
const FEW: usize = 100;

/// How it is measured.
#[derive(Debug, Clone)]
pub struct IdlePlan {
    /// What both benchmarks want to know.
    pub common: Common,
    /// How many; fewer where descriptors do not suffice.
    pub tunnels: usize,
}

/// Measures, with fresh processes in every round: freed memory stays with a process, and would be used again.
pub async fn idle(plan: &IdlePlan, progress: impl Fn(&str)) -> Result<Report, BenchError> {
    let mut notes = Vec::new();
    let tunnels = room_for(plan.tunnels, descriptor_limit())?;
    if tunnels < plan.tunnels {
        notes.push(format!(
            "{tunnels} tunnels instead of {}: a tunnel takes two of the {} descriptors that a process may have here",
            plan.tunnels,
            descriptor_limit()
        ));
    }
    let origin = Arc::new(Origin::start(&plan.common, 1).await?);
    let mut held: [Vec<f64>; SUBJECTS.len()] = Default::default();
    for round in 1..=plan.common.rounds {
        let mut order: Vec<_> = (0..SUBJECTS.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for index in order {
            let subject = SUBJECTS[index];
            let standing = Standing::start(subject, &origin, &plan.common).await?;
            let bytes = measure(standing, &origin, tunnels).await?;
            held[index].push(bytes);
            progress(&format!(
                "round {round}: {}, {bytes:.0} bytes",
                subject.name()
            ));
        }
    }
    let rows = SUBJECTS.iter().zip(held).map(|(subject, values)| Row {
        subject: *subject,
        spread: Spread::of(values.iter().copied()),
        ratio: None,
        values,
    });
    let rows: Vec<_> = rows.collect();
    let reached = rows
        .iter()
        .find(|row| row.subject == Subject::Proxy)
        .and_then(|row| row.spread)
        .map(|spread| spread.median);
    Ok(Report {
        what: format!(
            "memory of the process for an idle tunnel: {tunnels} tunnels, one exchange of 1 KB each way, then silence; {} worker{}, fresh processes in every round",
            plan.common.workers,
            if plan.common.workers == 1 { "" } else { "s" },
        ),
        unit: Unit::Bytes,
        rows,
        aim: Aim {
            what: "bytes of the proxy's memory for an idle plain tunnel",
            at_most: IDLE_BYTES_AIM,
            reached,
        },
        notes,
        errors: 0,
        first_error: None,
    })
}

/// Bytes that one tunnel holds.
async fn measure(
    standing: Standing,
    origin: &Arc<Origin>,
    tunnels: usize,
) -> Result<f64, BenchError> {
    let standing = Arc::new(standing);
    let mut warm = open(&standing, origin, WARM).await?;
    sleep(SETTLE).await;
    let before = standing.memory()?;
    let mut idle = open(&standing, origin, tunnels).await?;
    sleep(SETTLE).await;
    let after = standing.memory()?;
    // What was measured was open: the oldest and the newest still carry something.
    let ends = warm.first_mut().into_iter().chain(idle.last_mut());
    for through in ends {
        let used = through.again().await;
        used.map_err(setup("using an idle tunnel"))?;
    }
    drop((warm, idle));
    if let Some(standing) = Arc::into_inner(standing) {
        standing.end().await?;
    }
    Ok(after.saturating_sub(before) as f64 / tunnels as f64)
}

async fn open(
    standing: &Arc<Standing>,
    origin: &Arc<Origin>,
    wanted: usize,
) -> Result<Vec<Through>, BenchError> {
    let mut opening = JoinSet::new();
    let (mut opened, mut failed, mut why) = (Vec::with_capacity(wanted), 0, None);
    let mut next = 0;
    while opened.len() + failed < wanted {
        while next < wanted && opening.len() < AT_ONCE {
            let (standing, origin, n) = (standing.clone(), origin.clone(), next);
            opening.spawn(async move {
                let road = &standing.roads[n % standing.roads.len()];
                road.travel(&origin.target(standing.subject, n)).await
            });
            next += 1;
        }
        match opening.join_next().await {
            Some(Ok(Ok(through))) => opened.push(through),
            Some(Ok(Err(error))) => {
                failed += 1;
                why.get_or_insert_with(|| chain(&error));
            }
            Some(Err(error)) => {
                failed += 1;
                why.get_or_insert_with(|| chain(&error));
            }
            None => break,
        }
    }
    match why {
        None => Ok(opened),
        Some(why) => Err(BenchError::Tunnels {
            subject: standing.subject.name(),
            failed,
            wanted,
            why,
        }),
    }
}

/// How many descriptors a process may have at most.
fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// As many as are wanted, or as a process with so many descriptors can carry: two a tunnel, less what it keeps back.
fn room_for(wanted: usize, descriptors: u64) -> Result<usize, BenchError> {
    let allowed = descriptors.saturating_sub(descriptors / 8 + 512) / 2;
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    let tunnels = wanted.min(allowed.saturating_sub(WARM));
    if tunnels < FEW.min(wanted) {
        return Err(BenchError::NoRoom(format!(
            "a process may have {descriptors} descriptors here, too few for {FEW} tunnels: raise the hard limit (ulimit -Hn)"
        )));
    }
    Ok(tunnels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_fit_the_descriptors() {
        let check = |wanted, descriptors, expected: Option<usize>| {
            let found = room_for(wanted, descriptors).ok();
            assert_eq!(found, expected, "{wanted} of {descriptors}");
        };
        check(4000, 20_000, Some(4000));
        check(10_000, 20_000, Some(8430));
        check(4000, 4096, Some(1472));
        check(4000, 1024, Some(128));
        check(4000, 512, None);
        check(10, 1024, Some(10));
        check(10, u64::MAX, Some(10));
    }
}
