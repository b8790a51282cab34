//! A whole run: both configurations, all figures, what they come to. Pure.

use serde::Serialize;

use super::figures::Figures;
use super::verdict::{Phases, Verdict};
use crate::display::Table;
use crate::scenario::Rates;

/// The run with limits, the run without, or both.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub(super) rates: Rates,
    /// Threads of the proxy, and the quotient that is allowed.
    pub(super) workers: u8,
    pub(super) p99_times: f64,
    pub(super) with: Option<Side>,
    pub(super) without: Side,
}

/// One of them.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Side {
    pub(super) config: String,
    #[serde(flatten)]
    pub(super) phases: Phases,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

impl Report {
    /// With limits the calls were unharmed, and without them they were not. Where only the run without limits was
    /// asked for, it is judged like any other, and so must not be good.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match &self.with {
            None => self.without.verdict == Verdict::Unharmed,
            Some(with) => {
                with.verdict == Verdict::Unharmed
                    && matches!(self.without.verdict, Verdict::Hurt(_))
            }
        }
    }

    /// What a person reads.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, side) in self.sides() {
            lines.push(format!("The proxy's configuration {name}:"));
            lines.push(String::new());
            lines.extend(
                side.config
                    .lines()
                    .map(|line| format!("    {line}").trim_end().to_owned()),
            );
            lines.push(String::new());
        }
        let Rates {
            capacity,
            normal,
            storm,
            calls,
            ..
        } = self.rates;
        lines.push(format!(
            "The proxy ({} on one core) does {capacity:.0} logins/s here. Cluster A logs in {normal:.0} times a second in normal times, {storm:.0} in the storm; B makes {calls:.0} calls a second.",
            match self.workers {
                1 => "1 worker".to_owned(),
                n => format!("{n} workers"),
            }
        ));
        lines.push(String::new());
        lines.extend(self.calls());
        lines.push(String::new());
        lines.extend(self.storms());
        lines.push(String::new());
        lines.extend(self.sides().map(|(name, side)| self.sentence(name, side)));
        lines
    }

    fn calls(&self) -> Vec<String> {
        let heads = "B's calls: set-up in ms|made|refused|failed|p50|p99|max|p99 of each round|× quiet p99|proxy's core busy";
        let mut table = Table::new(heads.split('|').map(str::to_owned).collect());
        for (name, side) in self.sides() {
            let Phases {
                quiet, calls, busy, ..
            } = &side.phases;
            let mut row = cells(&format!("{name}, A silent"), quiet);
            row.extend([String::new(), percent(busy[0])]);
            table = table.row(row);
            let mut row = cells(&format!("{name}, A's storm"), calls);
            row.extend([format!("{:.2}", side.phases.p99_times()), percent(busy[1])]);
            table = table.row(row);
        }
        table.lines()
    }

    fn storms(&self) -> Vec<String> {
        let heads = "A's storm|due|begun|logged in|a second|refused|failed|p50 s|p99 s";
        let mut table = Table::new(heads.split('|').map(str::to_owned).collect());
        for (name, side) in self.sides() {
            let storm = &side.phases.storm;
            let refused = match storm.statuses() {
                none if none.is_empty() => "0".to_owned(),
                some => some,
            };
            table = table.row(vec![
                name.to_owned(),
                storm.due.to_string(),
                storm.begun.to_string(),
                storm.ok.to_string(),
                format!("{:.0}", storm.per_second()),
                refused,
                storm.failed.to_string(),
                format!("{:.2}", storm.setup.p50 / 1e3),
                format!("{:.2}", storm.setup.p99 / 1e3),
            ]);
        }
        table.lines()
    }

    fn sentence(&self, name: &str, side: &Side) -> String {
        let expected = if side.config.contains("[[limit]]") {
            matches!(side.verdict, Verdict::Unharmed)
        } else {
            matches!(side.verdict, Verdict::Hurt(_))
        };
        let mark = if expected { "as it must be" } else { "WRONG" };
        match &side.verdict {
            Verdict::Unharmed => format!(
                "{name}: B is unharmed: nothing refused, p99 within {} times the quiet one ({mark})",
                self.p99_times
            ),
            Verdict::Hurt(why) => format!("{name}: B is hurt: {} ({mark})", why.join("; ")),
            Verdict::Unsound(why) => format!("{name}: proves nothing: {} ({mark})", why.join("; ")),
        }
    }

    fn sides(&self) -> impl Iterator<Item = (&'static str, &Side)> {
        let with = self.with.iter().map(|side| ("with limits", side));
        with.chain([("without limits", &self.without)])
    }
}

fn cells(name: &str, calls: &Figures) -> Vec<String> {
    let setup = &calls.setup;
    let rounds = setup.p99_of_rounds.iter();
    let rounds: Vec<_> = rounds.map(|ms| format!("{ms:.2}")).collect();
    vec![
        name.to_owned(),
        calls.begun.to_string(),
        calls.refusals().to_string(),
        calls.failed.to_string(),
        format!("{:.2}", setup.p50),
        format!("{:.2}", setup.p99),
        format!("{:.2}", setup.max),
        rounds.join(" "),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn side(config: &str, verdict: Verdict) -> Side {
        Side {
            config: config.to_owned(),
            phases: Phases {
                quiet: Figures::default(),
                calls: Figures::default(),
                storm: Figures::default(),
                busy: [0.07, 0.99],
                uncovered: 0,
            },
            verdict,
        }
    }

    fn report(with: Option<Verdict>, without: Verdict) -> Report {
        Report {
            rates: Scenario::storm().rates(8000.0),
            workers: 1,
            p99_times: 1.5,
            with: with.map(|verdict| side("a = 1\n[[limit]]\n", verdict)),
            without: side("a = 1\n", without),
        }
    }

    #[test]
    fn good_is_unharmed_with_limits_and_hurt_without() {
        let hurt = || Verdict::Hurt(vec!["slow".into()]);
        let unsound = || Verdict::Unsound(vec!["few".into()]);
        let check = |with, without, expected| {
            let report = report(with, without);
            assert_eq!(report.is_good(), expected, "{report:?}");
        };
        check(Some(Verdict::Unharmed), hurt(), true);
        check(Some(hurt()), hurt(), false);
        check(Some(Verdict::Unharmed), Verdict::Unharmed, false);
        check(Some(Verdict::Unharmed), unsound(), false);
        check(Some(unsound()), hurt(), false);
        check(None, hurt(), false);
        check(None, unsound(), false);
        check(None, Verdict::Unharmed, true);
    }

    #[test]
    fn both_configurations_are_printed_with_what_they_came_to() {
        let hurt = Verdict::Hurt(vec!["slow".into()]);
        let text = report(Some(Verdict::Unharmed), hurt).lines().join("\n");
        let check = |part: &str| assert!(text.contains(part), "{part}\n{text}");
        check("configuration with limits:\n\n    a = 1\n    [[limit]]\n");
        check("configuration without limits:\n\n    a = 1\n");
        check("does 8000 logins/s here. Cluster A logs in 500 times");
        check(
            "with limits: B is unharmed: nothing refused, p99 within 1.5 times the quiet one (as it must be)",
        );
        check("without limits: B is hurt: slow (as it must be)");
        check("99 %");
    }

    #[test]
    fn what_should_not_be_is_shouted() {
        let text = report(None, Verdict::Unharmed).lines().join("\n");
        assert!(text.ends_with("(WRONG)"), "{text}");
        assert!(!text.contains("with limits:"), "{text}");
    }
}
