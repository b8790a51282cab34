//! Was the one cluster hurt by the other's storm? Pure: figures in, a verdict out.

use serde::Serialize;

use super::figures::Figures;
use crate::scenario::Scenario;

/// A quiet p99 beyond this is the machine's own, busy with something else: a comparison with it says nothing.
const QUIET_P99_MAX_MS: f64 = 20.0;

/// What is judged: the calls alone, the calls in the storm, the storm.
#[derive(Debug, Clone, Serialize)]
pub struct Phases {
    /// The calls while nothing else happens.
    pub quiet: Figures,
    /// The calls while the other cluster logs in.
    pub calls: Figures,
    /// The logins.
    pub storm: Figures,
    /// How much of one core the proxy used, quiet and in the storm.
    pub busy: [f64; 2],
    /// Rounds in which the storm was over before the calls were.
    pub uncovered: u32,
}

/// What became of the calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// Not refused, and as fast as they may be expected.
    Unharmed,
    /// The storm cost them something.
    Hurt(Vec<String>),
    /// There is nothing to judge by.
    Unsound(Vec<String>),
}

impl Phases {
    /// How many times the quiet p99 that in the storm is.
    #[must_use]
    pub fn p99_times(&self) -> f64 {
        self.calls.setup.p99 / self.quiet.setup.p99
    }

    /// Judges.
    #[must_use]
    pub fn verdict(&self, scenario: &Scenario, normal_rate: f64) -> Verdict {
        let unsound = self.unsound(scenario, normal_rate);
        if !unsound.is_empty() {
            return Verdict::Unsound(unsound);
        }
        let mut hurt = Vec::new();
        let failed = self.calls.failed;
        if self.calls.refusals() > 0 {
            hurt.push(format!(
                "{} calls were refused ({})",
                self.calls.refusals(),
                self.calls.statuses()
            ));
        }
        if failed > 0 {
            let why = self.calls.first_failure.as_deref().unwrap_or_default();
            hurt.push(format!("{failed} calls failed, the first: {why}"));
        }
        // Written so that a ratio that is no number does not pass.
        let within = self.p99_times() <= scenario.pass.p99_times;
        if !within && self.calls.ok > 0 {
            hurt.push(format!(
                "p99 of the calls' set-up was {:.2} times the quiet one, more than {}",
                self.p99_times(),
                scenario.pass.p99_times
            ));
        }
        if hurt.is_empty() {
            Verdict::Unharmed
        } else {
            Verdict::Hurt(hurt)
        }
    }

    /// What a verdict must not be built on.
    fn unsound(&self, scenario: &Scenario, normal_rate: f64) -> Vec<String> {
        let mut unsound = Vec::new();
        for (phase, calls) in [("quiet", &self.quiet), ("storm", &self.calls)] {
            if calls.begun < scenario.pass.calls {
                unsound.push(format!(
                    "{} calls in the {phase} phases, fewer than {}",
                    calls.begun, scenario.pass.calls
                ));
            }
        }
        if self.quiet.ok < self.quiet.begun {
            let why = self.quiet.first_failure.clone();
            let why = why.unwrap_or_else(|| self.quiet.statuses());
            unsound.push(format!(
                "{} calls went wrong in the quiet phases: {why}",
                self.quiet.begun - self.quiet.ok
            ));
        }
        if self.quiet.setup.p99 > QUIET_P99_MAX_MS {
            unsound.push(format!(
                "the calls' quiet p99 was {:.0} ms: this machine is too busy to measure on",
                self.quiet.setup.p99
            ));
        }
        // A storm that did not blow hurts nobody. What a cluster does in normal times gets through, with limits too.
        let expected = normal_rate * self.storm.seconds / 2.0;
        if (self.storm.ok as f64) < expected {
            let why = self.storm.first_failure.as_deref().unwrap_or("none failed");
            unsound.push(format!(
                "only {} logins of the storm got through, less than half its normal rate ({why})",
                self.storm.ok
            ));
        }
        if self.uncovered > 0 {
            unsound.push("the storm was over before the calls were".to_owned());
        }
        unsound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::figures::Times;

    fn calls(ok: u64, p99: f64) -> Figures {
        Figures {
            due: ok,
            begun: ok,
            ok,
            setup: Times {
                p99,
                ..Times::default()
            },
            ..Figures::default()
        }
    }

    /// A run in which all is well: 2,000 calls, ten thousand logins in 16 s.
    fn phases() -> Phases {
        Phases {
            quiet: calls(2000, 1.0),
            calls: calls(2000, 1.4),
            storm: Figures {
                seconds: 16.0,
                ..calls(10_000, 300.0)
            },
            busy: [0.1, 0.5],
            uncovered: 0,
        }
    }

    fn verdict(change: impl FnOnce(&mut Phases)) -> Verdict {
        let mut phases = phases();
        change(&mut phases);
        phases.verdict(&Scenario::storm(), 400.0)
    }

    #[test]
    fn calls_that_are_as_fast_as_before_are_unharmed() {
        assert_eq!(verdict(|_| {}), Verdict::Unharmed);
        assert_eq!(verdict(|p| p.calls.setup.p99 = 1.5), Verdict::Unharmed);
    }

    #[test]
    fn what_hurts_is_said() {
        let check = |change: fn(&mut Phases), part: &str| match verdict(change) {
            Verdict::Hurt(why) => assert!(why.iter().any(|why| why.contains(part)), "{why:?}"),
            other => panic!("{part}: {other:?}"),
        };
        check(|p| p.calls.setup.p99 = 1.51, "1.51 times");
        check(|p| p.calls.setup.p99 = f64::NAN, "times");
        check(
            |p| {
                p.calls.refused.insert(503, 1);
            },
            "1 calls were refused (503: 1)",
        );
        check(
            |p| (p.calls.failed, p.calls.first_failure) = (2, Some("no answer".into())),
            "2 calls failed, the first: no answer",
        );
    }

    #[test]
    fn what_proves_nothing_is_no_verdict() {
        let check = |change: fn(&mut Phases), part: &str| match verdict(change) {
            Verdict::Unsound(why) => assert!(why.iter().any(|why| why.contains(part)), "{why:?}"),
            other => panic!("{part}: {other:?}"),
        };
        check(|p| p.quiet = calls(999, 1.0), "999 calls in the quiet");
        check(|p| p.calls.begun = 10, "10 calls in the storm");
        check(|p| p.quiet.ok = 1999, "1 calls went wrong in the quiet");
        check(|p| p.quiet.setup.p99 = 20.1, "too busy");
        check(|p| p.storm.ok = 3000, "only 3000 logins");
        check(|p| p.uncovered = 1, "the storm was over");
    }

    #[test]
    fn a_bad_run_that_proves_nothing_is_not_called_hurt() {
        let verdict = verdict(|p| {
            p.calls.setup.p99 = 100.0;
            p.storm.ok = 0;
        });
        assert!(matches!(verdict, Verdict::Unsound(_)), "{verdict:?}");
    }
}
