//! The proxy's figures beside the servers', and whether they agree. Pure.

use std::time::Duration;

use serde::Serialize;

use super::books::Told;
use super::case::Case;
use crate::display::Table;
use crate::measure::Latencies;

/// How far apart they may be.
const APART: f64 = 0.05;
/// How far the slowest may be in any case, since a busy machine makes them.
const SLOWEST_APART_MS: f64 = 2.0;

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub(super) rows: Vec<Row>,
}

/// One case.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    case: Case,
    /// By the servers' clocks, in milliseconds.
    pushes: u64,
    mean_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    proxy: Option<Told>,
    missed: Vec<String>,
}

impl Row {
    pub(super) fn of(case: Case, answers: &Latencies, proxy: Option<Told>) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let mut row = Self {
            case,
            pushes: answers.count(),
            mean_ms: ms(answers.mean()),
            p50_ms: ms(answers.quantile(0.5)),
            p99_ms: ms(answers.quantile(0.99)),
            proxy,
            missed: Vec::new(),
        };
        row.missed = row.missed();
        row
    }

    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let told = self.proxy;
        let (exchanges, timed) = told.map_or((0, 0), |told| (told.exchanges, told.timed));
        let all = |part: f64| self.pushes as f64 * part;
        if exchanges > self.pushes {
            missed.push(format!("{exchanges} exchanges of {}", self.pushes));
        }
        // HTTP/1.1 takes turns: none may be overlooked.
        if !self.case.http2 && (exchanges as f64) < all(1.0 - APART) {
            missed.push(format!("only {exchanges} exchanges of {}", self.pushes));
        }
        let is_plain = !self.case.http2 || !self.case.at_once;
        if is_plain && (timed as f64) < all(0.5) {
            missed.push(format!("only {timed} times of {}", self.pushes));
        }
        let Some(told) = told else { return missed };
        let pairs = [
            ("mean", told.mean_ms, self.mean_ms, 0.0),
            ("p50", told.p50_ms, self.p50_ms, 0.0),
            ("p99", told.p99_ms, self.p99_ms, SLOWEST_APART_MS),
        ];
        for (word, told, own, in_any_case) in pairs {
            let Some(told) = told else { continue };
            let apart = (told - own).abs();
            // Written so that what is no number does not pass.
            if !(apart <= own * APART || apart <= in_any_case) {
                missed.push(format!("{word} {told:.2} ms, not {own:.2} ms"));
            }
        }
        missed
    }
}

impl Report {
    /// Something was played, and the proxy said nothing wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.missed.is_empty())
    }

    /// What a person reads.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            "From the last byte of a push to the first of its answer in ms, by the servers' own clocks and as the proxy tells it from outside of the tunnels.".to_owned(),
            String::new(),
        ];
        let heads = "pushes|answer after|servers: pushes|mean|p50|p99|proxy: exchanges|timed|mean|p50|p99|apart|";
        let mut table = Table::new(heads.split('|').map(str::to_owned).collect());
        for row in &self.rows {
            table = table.row(cells(row));
        }
        lines.extend(table.lines());
        lines.push(String::new());
        for row in self.rows.iter().filter(|row| !row.missed.is_empty()) {
            lines.push(format!(
                "WRONG: {}: {}",
                row.case.name(),
                row.missed.join("; ")
            ));
        }
        let good = self.rows.iter().filter(|row| row.missed.is_empty()).count();
        lines.push(format!("{good} of {} are right", self.rows.len()));
        lines
    }
}

fn cells(row: &Row) -> Vec<String> {
    let http = if row.case.http2 { "HTTP/2" } else { "HTTP/1.1" };
    let number = match (row.case.at_once, row.case.http2) {
        (false, _) => "one at a time",
        (true, false) => "several at once",
        (true, true) => "several at once in one tunnel",
    };
    let figure = |ms: f64| format!("{ms:.2}");
    let mut cells = vec![
        format!("{http}, {number}"),
        format!("{} ms", row.case.delay.as_millis()),
        row.pushes.to_string(),
        figure(row.mean_ms),
        figure(row.p50_ms),
        figure(row.p99_ms),
    ];
    let told = row.proxy;
    let count = |number: Option<u64>| number.unwrap_or(0).to_string();
    cells.push(count(told.map(|told| told.exchanges)));
    cells.push(count(told.map(|told| told.timed)));
    let times = told.and_then(|told| Some([told.mean_ms?, told.p50_ms?, told.p99_ms?]));
    match times {
        Some(times) => {
            cells.extend(times.map(figure));
            let apart = (times[0] / row.mean_ms - 1.0) * 100.0;
            cells.push(format!("{apart:+.1} %"));
        }
        None => cells.extend(["no figure", "-", "-", "-"].map(str::to_owned)),
    }
    cells.push(
        if row.missed.is_empty() {
            "right"
        } else {
            "WRONG"
        }
        .to_owned(),
    );
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(http2: bool, at_once: bool, proxy: Option<Told>) -> Row {
        let mut answers = Latencies::default();
        for _ in 0..100 {
            answers.record(Duration::from_millis(50));
        }
        let case = Case {
            http2,
            at_once,
            delay: Duration::from_millis(50),
        };
        Row::of(case, &answers, proxy)
    }

    fn told(exchanges: u64, timed: u64, ms: f64) -> Option<Told> {
        let ms = (timed > 0).then_some(ms);
        Some(Told {
            exchanges,
            timed,
            mean_ms: ms,
            p50_ms: ms,
            p99_ms: ms,
        })
    }

    #[test]
    fn what_is_wrong_is_said_and_no_figure_is_not_wrong_where_pushes_cross() {
        let check = |row: Row, wrong: Option<&str>| {
            let missed = row.missed.join("; ");
            match wrong {
                None => assert_eq!(missed, ""),
                Some(part) => assert!(missed.contains(part), "{missed}"),
            }
            assert_eq!(Report { rows: vec![row] }.is_good(), wrong.is_none());
        };
        check(row(false, true, told(100, 92, 50.3)), None);
        check(
            row(false, true, told(101, 92, 50.3)),
            Some("101 exchanges of 100"),
        );
        check(
            row(false, true, told(90, 90, 50.3)),
            Some("only 90 exchanges"),
        );
        check(
            row(false, false, told(100, 92, 53.0)),
            Some("mean 53.00 ms"),
        );
        check(row(false, false, None), Some("only 0 exchanges"));
        check(row(true, false, told(92, 40, 50.0)), Some("only 40 times"));
        check(row(true, false, told(92, 92, f64::NAN)), Some("p99 NaN"));
        check(row(true, true, told(40, 0, 0.0)), None);
        check(row(true, true, told(40, 3, 20.0)), Some("p50 20.00 ms"));
        check(row(true, true, None), None);
        assert!(!Report { rows: vec![] }.is_good(), "nothing was proved");
    }

    #[test]
    fn a_row_without_a_figure_says_so() {
        let report = Report {
            rows: vec![
                row(true, true, told(40, 0, 0.0)),
                row(false, false, told(100, 92, 51.0)),
            ],
        };
        let text = report.lines().join("\n");
        assert!(text.contains("no figure"), "{text}");
        assert!(text.contains("+2.0 %  right"), "{text}");
        assert!(text.contains("2 of 2 are right"), "{text}");
    }
}
