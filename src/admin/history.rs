//! The last quarter of an hour, so that a page that was just opened has curves.
//!
//! Bounded, and without a clock: `now` is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::figures::Figures;
use super::findings;

/// Between two samples.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// A quarter of an hour.
pub(super) const SAMPLES_MAX: usize = 180;

/// Whether something goes wrong now is told by so long, as the rules for Prometheus do.
const LATELY: Duration = Duration::from_secs(5 * 60);

/// What was so at one moment, or since the moment before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) tunnels: f64,
    pub(super) opened_per_minute: f64,
    /// Exchanges that ended by a fault of the target's side or our own.
    pub(super) failed_per_minute: f64,
    pub(super) pushes_per_minute: f64,
    /// Seconds; `None` where there was nothing to measure.
    pub(super) setup: [Option<f64>; 2],
    pub(super) confirmation: [Option<f64>; 2],
}

/// The samples, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    last: Option<Reading>,
    /// The counts of the last five minutes, oldest first.
    counts: VecDeque<(Instant, Counts)>,
}

/// What findings compare over time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) endings: BTreeMap<String, u64>,
    pub(super) tunnel_exchanges: u64,
    pub(super) pushes: BTreeMap<String, u64>,
    pub(super) limit_refusals: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Reading {
    figures: Figures,
    opened: u64,
    at: Instant,
}

impl History {
    /// Takes a reading in. The first one has nothing to compare with, and makes no sample.
    pub(super) fn note(&mut self, figures: &Figures, tunnels: usize, now: Instant) {
        while self.counts.len() > 1 && self.counts[1].0 + LATELY <= now {
            self.counts.pop_front();
        }
        self.counts.push_back((now, Counts::of(figures)));
        let opened = figures.tunnels_ended + tunnels as u64;
        let reading = Reading {
            figures: figures.clone(),
            opened,
            at: now,
        };
        let Some(last) = self.last.replace(reading) else {
            return;
        };
        let minutes = now.saturating_duration_since(last.at).as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / minutes;
        let setup = figures.setup.since(&last.figures.setup);
        let confirmation = figures.confirmation.since(&last.figures.confirmation);
        let sample = Sample {
            tunnels: tunnels as f64,
            opened_per_minute: rate(opened, last.opened),
            failed_per_minute: rate(findings::failed(figures), findings::failed(&last.figures)),
            pushes_per_minute: rate(figures.pushes_total(), last.figures.pushes_total()),
            setup: [setup.quantile(0.5), setup.quantile(0.99)],
            confirmation: [confirmation.quantile(0.5), confirmation.quantile(0.99)],
        };
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// What was counted in the last five minutes. Before the first reading, all there is.
    pub(super) fn lately(&self, figures: &Figures) -> Counts {
        let first = self.counts.front().map(|(_, counts)| counts);
        first.map_or_else(
            || Counts::of(figures),
            |first| Counts::of(figures).since(first),
        )
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }
}

impl Counts {
    fn of(figures: &Figures) -> Self {
        let limits = figures.limits.iter();
        Self {
            endings: figures.endings.clone(),
            tunnel_exchanges: figures.tunnel_exchanges,
            pushes: figures.pushes.clone(),
            limit_refusals: limits
                .map(|(name, limit)| (name.clone(), limit.refusals))
                .collect(),
        }
    }

    fn since(mut self, earlier: &Self) -> Self {
        for (now, before) in [
            (&mut self.endings, &earlier.endings),
            (&mut self.pushes, &earlier.pushes),
            (&mut self.limit_refusals, &earlier.limit_refusals),
        ] {
            for (name, count) in now {
                *count = count.saturating_sub(before.get(name).copied().unwrap_or_default());
            }
        }
        self.tunnel_exchanges = self
            .tunnel_exchanges
            .saturating_sub(earlier.tunnel_exchanges);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_a_quarter_of_an_hour_and_tells_rates() {
        let mut history = History::default();
        let mut now = Instant::now();
        for ended in 0..500 {
            let figures = Figures {
                tunnels_ended: ended * 3,
                ..Figures::default()
            };
            history.note(&figures, 7, now);
            now += PERIOD;
        }
        let samples = history.samples();
        assert_eq!(samples.len(), SAMPLES_MAX);
        let last = samples.last().unwrap();
        assert_eq!((last.tunnels, last.opened_per_minute), (7.0, 36.0));
        assert_eq!(last.setup, [None, None]);
    }

    #[test]
    fn what_was_counted_lately_is_of_five_minutes() {
        let mut history = History::default();
        let begun = Instant::now();
        let failed = |count: u64| Figures {
            endings: [("upstream_reset".to_owned(), count)].into(),
            ..Figures::default()
        };
        assert_eq!(history.lately(&failed(7)).endings["upstream_reset"], 7);
        // One in each five seconds for ten minutes.
        for step in 0..=120 {
            history.note(&failed(u64::from(step)), 0, begun + PERIOD * step);
        }
        assert_eq!(history.lately(&failed(120)).endings["upstream_reset"], 60);
        assert_eq!(history.counts.len(), 61);
    }

    #[test]
    fn a_counter_that_starts_again_is_no_rate() {
        let mut history = History::default();
        let now = Instant::now();
        let many = Figures {
            tunnels_ended: 9,
            ..Figures::default()
        };
        history.note(&many, 0, now);
        history.note(&Figures::default(), 0, now + PERIOD);
        assert_eq!(history.samples()[0].opened_per_minute, 0.0);
    }
}
