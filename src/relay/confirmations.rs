//! What the exchanges inside tunnels took: counted by each core for itself, told to the metrics now and then, and for each
//! destination remembered for a minute.
//!
//! Counting is a few additions, without a lock and without memory of its own for a single exchange.

use std::array;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::exchange::DestinationName;
use crate::telemetry::Meters;
use crate::telemetry::catalogue::CONFIRMATION_EDGES;

/// Of the fine buckets: so many in each power of two, which makes a figure sharp to 1.6 %.
const PARTS: u32 = 32;
const FINE: usize = (((u32::BITS - PARTS.ilog2()) + 1) * PARTS) as usize;
const COARSE: usize = CONFIRMATION_EDGES.len() + 1;
/// How long figures are recent, and in which steps they are forgotten.
const RECENT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(5);
/// Destinations with figures of their own.
const DESTINATIONS_MAX: usize = 1_024;

/// What one core has counted of one destination since it was told last. Written and emptied by that core alone.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Kept here for each of its tunnels, which are small.
    pub(super) destination: DestinationName,
    exchanges: AtomicU64,
    /// For the metric, whose edges are rough: how many, and their microseconds.
    coarse: [(AtomicU32, AtomicU64); COARSE],
    fine: [AtomicU32; FINE],
}

impl Tally {
    pub(crate) fn new(destination: DestinationName) -> Self {
        Self {
            destination,
            exchanges: AtomicU64::default(),
            coarse: array::from_fn(|_| Default::default()),
            fine: array::from_fn(|_| AtomicU32::default()),
        }
    }

    /// So many exchanges have happened, and what one of them took is known, or not.
    pub(crate) fn note(&self, exchanges: u32, confirmation: Option<u32>) {
        self.exchanges
            .fetch_add(exchanges.into(), Ordering::Relaxed);
        let Some(micros) = confirmation else { return };
        let micros = u64::from(micros);
        let (number, sum) = &self.coarse[coarse(micros)];
        sum.fetch_add(micros, Ordering::Relaxed);
        number.fetch_add(1, Ordering::Relaxed);
        self.fine[fine(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// Empties it into the metrics, and gives what is to be remembered.
    fn tell(&self, meters: &Meters) -> Option<Counted> {
        let exchanges = self.exchanges.swap(0, Ordering::Relaxed);
        if exchanges > 0 {
            meters.tunnel_exchanges(exchanges);
        }
        let mut micros = 0;
        for (number, sum) in &self.coarse {
            let number = number.swap(0, Ordering::Relaxed);
            if number > 0 {
                let sum = sum.swap(0, Ordering::Relaxed);
                // The mean of a bucket's times lies in it.
                meters.confirmations(sum as f64 / 1e6 / f64::from(number), number as usize);
                micros += sum;
            }
        }
        if exchanges == 0 && micros == 0 {
            return None;
        }
        let fine = self.fine.iter().enumerate();
        let fine = fine.filter_map(|(index, number)| {
            let number = number.swap(0, Ordering::Relaxed);
            (number > 0).then_some((index as u16, number))
        });
        Some(Counted {
            exchanges,
            micros,
            fine: fine.collect(),
        })
    }
}

/// What was counted at one time.
#[derive(Debug, Default)]
struct Counted {
    exchanges: u64,
    micros: u64,
    /// The buckets that hold any.
    fine: Vec<(u16, u32)>,
}

/// The figures of the last minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Recent {
    pub(crate) exchanges: u64,
    /// How many of them have a time.
    pub(crate) timed: u64,
    pub(crate) times: Option<Times>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Times {
    pub(crate) mean: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// What all cores have told of every destination.
#[derive(Debug, Default)]
pub(crate) struct Confirmations(Mutex<HashMap<DestinationName, VecDeque<(Instant, Counted)>>>);

impl Confirmations {
    fn all(&self) -> MutexGuard<'_, HashMap<DestinationName, VecDeque<(Instant, Counted)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a core has counted.
    pub(super) fn take(&self, tally: &Tally, meters: &Meters, now: Instant) {
        let destination = &tally.destination;
        let Some(counted) = tally.tell(meters) else {
            return;
        };
        let mut all = self.all();
        if all.len() >= DESTINATIONS_MAX && !all.contains_key(destination) {
            all.retain(|_, steps| {
                forget(steps, now);
                !steps.is_empty()
            });
            if all.len() >= DESTINATIONS_MAX {
                return;
            }
        }
        let steps = all.entry(destination.clone()).or_default();
        forget(steps, now);
        match steps.back_mut() {
            Some((begun, step)) if now.saturating_duration_since(*begun) < STEP => {
                step.add(counted);
            }
            _ => steps.push_back((now, counted)),
        }
    }

    /// The figures of the last minute; `None` where there was no exchange in it.
    pub(crate) fn recent(&self, destination: &DestinationName, now: Instant) -> Option<Recent> {
        let mut all = self.all();
        let steps = all.get_mut(destination)?;
        let mut sum = Counted::default();
        sum.add_steps(steps, now);
        drop(all);
        sum.recent()
    }

    /// The same of all destinations together.
    pub(crate) fn recent_of_all(&self, now: Instant) -> Option<Recent> {
        let mut sum = Counted::default();
        for steps in self.all().values_mut() {
            sum.add_steps(steps, now);
        }
        sum.recent()
    }
}

impl Counted {
    fn add(&mut self, other: Self) {
        self.exchanges += other.exchanges;
        self.micros += other.micros;
        self.add_fine(&other.fine);
    }

    /// Kept in the order of the buckets.
    fn add_fine(&mut self, other: &[(u16, u32)]) {
        for (index, number) in other {
            match self.fine.binary_search_by_key(index, |(index, _)| *index) {
                Ok(at) => self.fine[at].1 += number,
                Err(at) => self.fine.insert(at, (*index, *number)),
            }
        }
    }

    fn add_steps(&mut self, steps: &mut VecDeque<(Instant, Self)>, now: Instant) {
        forget(steps, now);
        for (_, step) in steps.iter() {
            self.exchanges += step.exchanges;
            self.micros += step.micros;
            self.add_fine(&step.fine);
        }
    }

    fn recent(&self) -> Option<Recent> {
        let timed: u64 = self.fine.iter().map(|(_, number)| u64::from(*number)).sum();
        (self.exchanges > 0 || timed > 0).then(|| Recent {
            exchanges: self.exchanges,
            timed,
            times: (timed > 0).then(|| Times {
                mean: Duration::from_micros(self.micros / timed),
                p50: self.quantile(timed.div_ceil(2)),
                p99: self.quantile((timed * 99).div_ceil(100)),
            }),
        })
    }

    /// The time of the one with this rank, counted from 1.
    fn quantile(&self, rank: u64) -> Duration {
        let mut seen = 0;
        let bucket = self.fine.iter().find(|(_, number)| {
            seen += u64::from(*number);
            seen >= rank
        });
        Duration::from_micros(bucket.map_or(0, |(index, _)| middle(*index)))
    }
}

fn forget(steps: &mut VecDeque<(Instant, Counted)>, now: Instant) {
    while steps
        .front()
        .is_some_and(|(begun, _)| now.saturating_duration_since(*begun) >= RECENT)
    {
        steps.pop_front();
    }
}

/// The bucket of the metric: as there, an edge belongs to what is below it.
fn coarse(micros: u64) -> usize {
    let seconds = micros as f64 / 1e6;
    CONFIRMATION_EDGES.partition_point(|edge| *edge < seconds)
}

/// Below `PARTS` each microsecond has its bucket; above, each power of two has as many.
fn fine(micros: u64) -> usize {
    let micros = u32::try_from(micros).unwrap_or(u32::MAX);
    if micros < PARTS {
        return micros as usize;
    }
    let power = micros.ilog2() - PARTS.ilog2();
    (power * PARTS + (micros >> power)) as usize
}

fn middle(index: u16) -> u64 {
    let index = u64::from(index);
    let parts = u64::from(PARTS);
    if index < parts * 2 {
        return index;
    }
    let power = index / parts - 1;
    let part = index % parts + parts;
    (part << power) + (1 << power) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    proptest! {
        #[test]
        fn a_figure_is_sharp(micros in 1_u32..) {
            let shown = middle(fine(micros.into()) as u16) as f64;
            prop_assert!((shown / f64::from(micros) - 1.0).abs() <= 0.016, "{shown}");
        }
    }

    #[test]
    fn all_times_have_a_bucket() {
        assert!(fine(u64::MAX) < FINE);
        assert_eq!((coarse(0), coarse(u64::MAX)), (0, COARSE - 1));
        // As Prometheus has it, an edge is part of its bucket.
        let at = coarse(2_000_000);
        assert_eq!(CONFIRMATION_EDGES[at], 2.0);
        assert_eq!(coarse(2_000_001), at + 1);
    }

    #[test]
    fn the_metric_has_the_exact_sum_and_each_time_in_its_bucket() {
        let (meters, tally) = (
            Meters::new(&[], &[]),
            Tally::new(DestinationName::new("cisco")),
        );
        for micros in [1_900_000, 2_000_000, 2_100_000, 4_900_000, 20_000_000] {
            tally.note(1, Some(micros));
        }
        tally.note(3, None);
        tally.tell(&meters);
        assert!(tally.tell(&meters).is_none());
        let text = meters.render();
        let check = |line: &str| assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        check("tidegate_tunnel_exchanges_total 8");
        check(r#"tidegate_tunnel_confirmation_seconds_bucket{le="1"} 0"#);
        check(r#"tidegate_tunnel_confirmation_seconds_bucket{le="2"} 2"#);
        check(r#"tidegate_tunnel_confirmation_seconds_bucket{le="5"} 4"#);
        check(r#"tidegate_tunnel_confirmation_seconds_bucket{le="13"} 4"#);
        check("tidegate_tunnel_confirmation_seconds_count 5");
        let sum = text
            .lines()
            .find_map(|line| line.strip_prefix("tidegate_tunnel_confirmation_seconds_sum "));
        let sum: f64 = sum.unwrap().parse().unwrap();
        assert!((sum - 30.9).abs() < 1e-6, "{sum}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_is_remembered() {
        let (meters, tally) = (
            Meters::new(&[], &[]),
            Tally::new(DestinationName::new("cisco")),
        );
        let (book, cisco) = (Confirmations::default(), DestinationName::new("cisco"));
        let begun = Instant::now();
        let recent = |after| book.recent(&cisco, begun + after);
        assert_eq!(recent(Duration::ZERO), None);
        for ms in 1..=100 {
            tally.note(1, Some(ms * 1_000));
        }
        book.take(&tally, &meters, begun);
        let first = recent(SECOND).unwrap();
        assert_eq!((first.exchanges, first.timed), (100, 100));
        let times = first.times.unwrap();
        assert_eq!(times.mean, Duration::from_micros(50_500));
        let check = |shown: Duration, ms: f64| {
            assert!(
                (shown.as_secs_f64() * 1e3 / ms - 1.0).abs() < 0.016,
                "{shown:?}"
            );
        };
        check(times.p50, 50.0);
        check(times.p99, 99.0);
        let other = Tally::new(DestinationName::new("other"));
        other.note(1, Some(7_000_000));
        book.take(&other, &meters, begun);
        let all = book.recent_of_all(begun + SECOND).unwrap();
        assert_eq!((all.exchanges, all.timed), (101, 101));
        check(all.times.unwrap().p50, 51.0);
        // Without times there are none to show.
        tally.note(7, None);
        book.take(&tally, &meters, begun + 30 * SECOND);
        assert_eq!(recent(59 * SECOND).unwrap().exchanges, 107);
        let later = recent(60 * SECOND).unwrap();
        assert_eq!((later.exchanges, later.timed, later.times), (7, 0, None));
        assert_eq!(recent(90 * SECOND), None);
    }
}
