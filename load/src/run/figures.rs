//! The records of several rounds as one set of figures. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::errand::Record;
use crate::measure::Latencies;

/// What one cluster did, in all rounds of a kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many were due.
    pub due: u64,
    /// How many were begun: where only so many go at once, the others never came to it.
    pub begun: u64,
    /// Those that got their tunnel and an answer through it.
    pub ok: u64,
    /// The proxy's other answers, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Everything else.
    pub failed: u64,
    /// What was wrong with the first of those.
    pub first_failure: Option<String>,
    /// From when it was due to the proxy's 200, of those that had one.
    pub setup: Times,
    /// How long it took, all rounds together.
    pub seconds: f64,
}

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Times {
    /// Half.
    pub p50: f64,
    /// 99 in 100.
    pub p99: f64,
    /// All.
    pub max: f64,
    /// The p99 of each round alone.
    pub p99_of_rounds: Vec<f64>,
}

impl Figures {
    pub(super) fn of(rounds: &[Record]) -> Self {
        let mut figures = Self {
            setup: Times::of(rounds),
            seconds: rounds.iter().map(|round| round.took.as_secs_f64()).sum(),
            ..Self::default()
        };
        for round in rounds {
            figures.due += round.due;
            figures.begun += round.begun;
            figures.ok += round.ok;
            figures.failed += round.failed;
            for (status, count) in &round.refused {
                *figures.refused.entry(*status).or_default() += count;
            }
            if figures.first_failure.is_none() {
                figures.first_failure.clone_from(&round.first_failure);
            }
        }
        figures
    }

    /// How many the proxy refused, whatever the status.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// `429: 17, 503: 2`
    pub(super) fn statuses(&self) -> String {
        let each = self.refused.iter();
        let each: Vec<_> = each.map(|(status, n)| format!("{status}: {n}")).collect();
        each.join(", ")
    }

    /// Those that went well, each second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.ok as f64 / self.seconds.max(0.001)
    }
}

impl Times {
    fn of(rounds: &[Record]) -> Self {
        let all = latencies(rounds.iter().flat_map(|round| &round.setups));
        let p99 = |latencies: &Latencies| milliseconds(latencies.quantile(0.99));
        Self {
            p50: milliseconds(all.quantile(0.5)),
            p99: p99(&all),
            max: milliseconds(all.max()),
            p99_of_rounds: rounds
                .iter()
                .map(|round| p99(&latencies(&round.setups)))
                .collect(),
        }
    }
}

fn latencies<'a>(setups: impl IntoIterator<Item = &'a u64>) -> Latencies {
    let mut latencies = Latencies::default();
    for micros in setups {
        latencies.record(Duration::from_micros(*micros));
    }
    latencies
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(ok: u64, refused: (u16, u64), ms: u64) -> Record {
        Record {
            due: 200,
            begun: ok + refused.1,
            ok,
            refused: [refused].into(),
            setups: vec![ms * 1000; usize::try_from(ok).unwrap()],
            took: Duration::from_secs(2),
            ..Record::default()
        }
    }

    #[test]
    fn rounds_are_added_up() {
        let rounds = [round(98, (429, 2), 1), round(98, (503, 1), 3)];
        let figures = Figures::of(&rounds);
        assert_eq!((figures.due, figures.begun, figures.ok), (400, 199, 196));
        assert_eq!(figures.statuses(), "429: 2, 503: 1");
        assert_eq!((figures.refusals(), figures.per_second()), (3, 49.0));
    }

    #[test]
    fn the_p99_is_that_of_all_rounds_together_and_each_is_shown() {
        // One round of six is slow: more than one in a hundred calls.
        let mut rounds = vec![round(100, (429, 0), 1); 5];
        rounds.push(round(100, (429, 0), 9));
        let setup = Figures::of(&rounds).setup;
        let rounded: Vec<_> = setup.p99_of_rounds.iter().map(|ms| ms.round()).collect();
        assert_eq!(rounded, [1.0, 1.0, 1.0, 1.0, 1.0, 9.0]);
        assert_eq!((setup.p50.round(), setup.p99.round()), (1.0, 9.0));
    }

    #[test]
    fn nothing_has_figures_too() {
        let figures = Figures::of(&[]);
        assert_eq!((figures.begun, figures.per_second()), (0, 0.0));
        assert_eq!(figures.setup, Times::default());
    }
}
