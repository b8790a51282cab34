//! What was measured, as a table and as JSON. Pure.

use serde::Serialize;

use super::Spread;
use super::standing::Subject;
use crate::display::Table;

/// What the figures count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    Micros,
    Bytes,
}

/// One subject's figures.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) subject: Subject,
    /// Round by round.
    pub(super) values: Vec<f64>,
    pub(super) spread: Option<Spread>,
    /// To the relay of the same round.
    pub(super) ratio: Option<Spread>,
}

/// What we wanted, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Aim {
    pub(super) what: &'static str,
    pub(super) at_most: f64,
    /// The median.
    pub(super) reached: Option<f64>,
}

/// The figures of one benchmark.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub(super) what: String,
    pub(super) unit: Unit,
    pub(super) rows: Vec<Row>,
    pub(super) aim: Aim,
    pub(super) notes: Vec<String>,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

impl Report {
    /// Every transaction worked. Whether an aim was met is another question.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.errors == 0
    }

    /// What a person reads.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.what.clone(), String::new()];
        let with_ratio = self.rows.iter().any(|row| row.ratio.is_some());
        let unit = match self.unit {
            Unit::Micros => "µs",
            Unit::Bytes => "bytes",
        };
        let mut heads = vec![unit.to_owned()];
        heads.extend(["min", "median", "max"].map(str::to_owned));
        if with_ratio {
            heads.extend(["× relay: min", "median", "max"].map(str::to_owned));
        }
        let rounds = self.rows.first().map_or(0, |row| row.values.len());
        heads.extend((1..=rounds).map(|n| format!("round {n}")));
        let mut table = Table::new(heads);
        for row in &self.rows {
            let mut cells = vec![row.subject.name().to_owned()];
            cells.extend(three(row.spread, |value| self.figure(value)));
            if with_ratio {
                cells.extend(three(row.ratio, |value| format!("{value:.2}")));
            }
            cells.extend(row.values.iter().map(|value| self.figure(*value)));
            table = table.row(cells);
        }
        lines.extend(table.lines());
        lines.push(String::new());
        lines.push(self.verdict());
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.push(match &self.first_error {
            None => format!("errors: {}", self.errors),
            Some(first) => format!("errors: {}, the first: {first}", self.errors),
        });
        lines
    }

    fn verdict(&self) -> String {
        let Aim {
            what,
            at_most,
            reached,
        } = &self.aim;
        let Some(reached) = reached else {
            return format!("aim: {what}, at most {at_most}: not measured");
        };
        let verdict = if reached <= at_most { "met" } else { "not met" };
        let reached = match self.unit {
            Unit::Micros => format!("{reached:.3}"),
            Unit::Bytes => format!("{reached:.0}"),
        };
        format!("aim: {what}, at most {at_most}: {verdict} (median {reached})")
    }

    fn figure(&self, value: f64) -> String {
        match self.unit {
            Unit::Micros => format!("{value:.1}"),
            Unit::Bytes => format!("{value:.0}"),
        }
    }
}

fn three(spread: Option<Spread>, figure: impl Fn(f64) -> String) -> [String; 3] {
    match spread {
        None => ["", "", ""].map(str::to_owned),
        Some(Spread { min, median, max }) => [min, median, max].map(figure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(proxy: &[f64], relay: &[f64]) -> Report {
        let ratios = proxy.iter().zip(relay).map(|(own, relay)| own / relay);
        let ratio = Spread::of(ratios);
        let row = |subject, values: &[f64], ratio| Row {
            subject,
            values: values.to_vec(),
            spread: Spread::of(values.iter().copied()),
            ratio,
        };
        Report {
            what: "what".into(),
            unit: Unit::Micros,
            rows: vec![
                row(Subject::Relay, relay, None),
                row(Subject::Proxy, proxy, ratio),
            ],
            aim: Aim {
                what: "the aim",
                at_most: 1.35,
                reached: ratio.map(|ratio| ratio.median),
            },
            notes: vec!["fewer".into()],
            errors: 0,
            first_error: None,
        }
    }

    #[test]
    fn the_table_is_aligned_and_the_verdict_is_the_medians() {
        let lines = report(&[13.0, 12.0, 14.0], &[10.0, 10.0, 10.0]).lines();
        assert_eq!(
            lines[2..],
            [
                "µs      min  median   max  × relay: min  median   max  round 1  round 2  round 3",
                "relay  10.0    10.0  10.0                                 10.0     10.0     10.0",
                "proxy  12.0    13.0  14.0          1.20    1.30  1.40     13.0     12.0     14.0",
                "",
                "aim: the aim, at most 1.35: met (median 1.300)",
                "note: fewer",
                "errors: 0",
            ]
        );
    }

    #[test]
    fn an_aim_that_was_missed_is_called_missed() {
        let check = |proxy: f64, part: &str| {
            let lines = report(&[proxy], &[10.0]).lines();
            assert!(lines.iter().any(|line| line.contains(part)), "{lines:?}");
        };
        check(13.5, "1.35: met");
        check(13.51, "not met (median 1.351)");
    }

    #[test]
    fn errors_are_not_sound_and_are_said() {
        let mut report = report(&[1.0], &[1.0]);
        assert!(report.is_sound());
        (report.errors, report.first_error) = (2, Some("proxy: refused".into()));
        assert!(!report.is_sound());
        assert_eq!(
            report.lines().last().unwrap(),
            "errors: 2, the first: proxy: refused"
        );
    }
}
