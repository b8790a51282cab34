//! CPU time per transaction: connect, CONNECT, a kilobyte each way, close.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::report::{Aim, Report, Row, Unit};
use super::standing::{Origin, Standing, Subject};
use super::{ADDRESSES_RATIO_AIM, BenchError, CPU_RATIO_AIM, Common, Spread};
use crate::display::chain;

/// What digest may cost, in µs.
const DIGEST_AIM: f64 = 3.0;

const SUBJECTS: [Subject; 4] = [
    Subject::Relay,
    Subject::Proxy,
    Subject::ProxyDigest,
    Subject::ProxyFull,
];

/// Where it is asked what several addresses cost.
const ADDRESS_SUBJECTS: [Subject; 3] = [
    Subject::Relay,
    Subject::ProxyOneAddress,
    Subject::ProxyAddresses,
];

/// How it is measured.
#[derive(Debug, Clone)]
pub struct ConnectPlan {
    /// What both benchmarks want to know.
    pub common: Common,
    /// Of one subject in one round.
    pub transactions: u64,
    /// How many at the same time.
    pub concurrency: u16,
    /// 1, or how many addresses the names have that are measured beside names of one.
    pub addresses: u8,
}

/// Measures. `progress` is told what happens, a line each time.
pub async fn connect(plan: &ConnectPlan, progress: impl Fn(&str)) -> Result<Report, BenchError> {
    let origin = Arc::new(Origin::start(&plan.common, plan.addresses).await?);
    let subjects: &[Subject] = match plan.addresses {
        0 | 1 => &SUBJECTS,
        _ => &ADDRESS_SUBJECTS,
    };
    let mut standing = Vec::new();
    for subject in subjects {
        standing.push(Standing::start(*subject, &origin, &plan.common).await?);
    }
    let mut standing: Vec<_> = standing.into_iter().map(Arc::new).collect();

    let mut used: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut failures = Failures::default();
    // The first round warms caches, pools and pages up, and does not count.
    for round in 0..=plan.common.rounds {
        let mut order: Vec<_> = (0..standing.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let subject = &mut standing[index];
            let before = subject.cpu()?;
            let failed = drive(subject, &origin, plan).await;
            let alone = Arc::get_mut(subject).expect("every task of the round has ended");
            alone.quiet().await?;
            let cpu = alone.cpu()?.since(&before);
            let micros = micros_each(cpu, plan.transactions);
            failures.add(alone.subject, failed);
            let what = if round == 0 {
                "warm-up".to_owned()
            } else {
                used.entry(index).or_default().push(micros);
                format!("round {round}")
            };
            progress(&format!("{what}: {}, {micros:.1} µs", alone.subject.name()));
        }
    }
    for subject in standing {
        if let Some(subject) = Arc::into_inner(subject) {
            subject.end().await?;
        }
    }

    let relay = &used[&0];
    let rows = subjects.iter().zip(used.values()).map(|(subject, values)| {
        let ratios = values.iter().zip(relay).map(|(own, relay)| own / relay);
        Row {
            subject: *subject,
            values: values.clone(),
            spread: Spread::of(values.iter().copied()),
            ratio: (*subject != Subject::Relay)
                .then(|| Spread::of(ratios))
                .flatten(),
        }
    });
    let rows: Vec<_> = rows.collect();
    let row = |subject| rows.iter().find(|row: &&Row| row.subject == subject);
    let (aim, note) = match row(Subject::ProxyOneAddress).zip(row(Subject::ProxyAddresses)) {
        Some((one, several)) => cost_of_addresses(&one.values, &several.values, plan.addresses),
        None => {
            let proxy = row(Subject::Proxy);
            let aim = Aim {
                what: "the proxy's CPU per transaction, beside the relay's",
                at_most: CPU_RATIO_AIM,
                reached: proxy.and_then(|row| row.ratio).map(|ratio| ratio.median),
            };
            let note = proxy
                .zip(row(Subject::ProxyDigest))
                .and_then(|(bare, digest)| cost_of_digest(&bare.values, &digest.values));
            (aim, note)
        }
    };
    Ok(Report {
        what: format!(
            "CPU time (user and system) of the process for a transaction: connect, CONNECT, 1 KB each way, close; {} transactions a round, {} at a time, {} worker{}",
            plan.transactions,
            plan.concurrency,
            plan.common.workers,
            if plan.common.workers == 1 { "" } else { "s" },
        ),
        unit: Unit::Micros,
        rows,
        aim,
        notes: note.into_iter().collect(),
        errors: failures.count,
        first_error: failures.first,
    })
}

/// What digest adds to a CONNECT, from the two of each round.
fn cost_of_digest(bare: &[f64], digest: &[f64]) -> Option<String> {
    let added = digest.iter().zip(bare).map(|(digest, bare)| digest - bare);
    let added = Spread::of(added)?;
    Some(format!(
        "digest adds {:.1} µs to a transaction (median of the rounds; from {:.1} to {:.1}); the aim is {DIGEST_AIM} µs",
        added.median, added.min, added.max
    ))
}

/// What several addresses add to a CONNECT, from the two of each round, and how much one address scatters.
fn cost_of_addresses(one: &[f64], several: &[f64], addresses: u8) -> (Aim, Option<String>) {
    let ratios = several.iter().zip(one).map(|(several, one)| several / one);
    let ratio = Spread::of(ratios);
    let aim = Aim {
        what: "CPU per transaction with names of several addresses, beside names of one",
        at_most: ADDRESSES_RATIO_AIM,
        reached: ratio.map(|ratio| ratio.median),
    };
    let note = ratio.zip(Spread::of(one.iter().copied())).map(|(ratio, one)| {
        let scatter = (one.max - one.min) / one.median;
        let verdict = if ratio.median - 1.0 <= scatter { "within" } else { "beyond" };
        format!(
            "{addresses} addresses beside 1: {:.3} times (median of the rounds; from {:.3} to {:.3}), {verdict} the spread of 1 address, {:.1} %",
            ratio.median,
            ratio.min,
            ratio.max,
            scatter * 100.0
        )
    });
    (aim, note)
}

#[derive(Default)]
struct Failures {
    count: u64,
    first: Option<String>,
}

impl Failures {
    fn add(&mut self, subject: Subject, failed: Vec<String>) {
        self.count += failed.len() as u64;
        if let (None, Some(why)) = (&self.first, failed.first()) {
            self.first = Some(format!("{}: {why}", subject.name()));
        }
    }
}

/// Makes the transactions of one round, and hands back why those that failed did.
async fn drive(standing: &Arc<Standing>, origin: &Arc<Origin>, plan: &ConnectPlan) -> Vec<String> {
    let next = Arc::new(AtomicU64::new(0));
    let mut drivers = JoinSet::new();
    for _ in 0..plan.concurrency.max(1) {
        let (standing, origin, next) = (standing.clone(), origin.clone(), next.clone());
        let transactions = plan.transactions;
        drivers.spawn(async move {
            let mut failed = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= transactions {
                    return failed;
                }
                let n = usize::try_from(n).unwrap_or(0);
                let target = origin.target(standing.subject, n);
                // Dropping what it opened closes it.
                if let Err(error) = standing.roads[n % standing.roads.len()]
                    .travel(&target)
                    .await
                {
                    failed.push(chain(&error));
                }
            }
        });
    }
    drivers.join_all().await.into_iter().flatten().collect()
}

fn micros_each(cpu: Duration, transactions: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / transactions.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_addresses_are_held_against_one_and_its_spread() {
        let check = |several: f64, reached: f64, part: &str| {
            let (aim, note) = cost_of_addresses(&[100.0, 98.0, 102.0], &[several; 3], 4);
            let off = (aim.reached.unwrap() - reached).abs();
            assert!(off < 1e-6, "{aim:?}");
            assert!(note.unwrap().contains(part), "{part}");
        };
        check(103.0, 1.03, "within the spread of 1 address, 4.0 %");
        check(105.0, 1.05, "beyond the spread");
    }
}
