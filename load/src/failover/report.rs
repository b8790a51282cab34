//! All that was played, as a table and as JSON, and whether the targets were met. Pure.

use serde::Serialize;

use super::figures::Row;
use crate::display::Table;

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Proxies in each row.
    pub(super) samples: u8,
    pub(super) rows: Vec<Row>,
    /// What could not be played, and why.
    pub(super) skipped: Vec<String>,
}

impl Report {
    /// Something was played, and every target was met.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(Row::is_good)
    }

    /// What a person reads.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "CONNECT in ms, from when it was due to the proxy's 200. First: by each of {} proxies that has just started; following: by the same proxies, beside as many that know of no trouble, which are normal.",
                self.samples
            ),
            String::new(),
        ];
        let heads = "what is dead|first: p50|p99|max|following: p50|p99|max|p99 over normal|scatter|CONNECTs failed|pushes lost|late|target";
        let mut table = Table::new(heads.split('|').map(str::to_owned).collect());
        for row in &self.rows {
            table = table.row(cells(row));
        }
        lines.extend(table.lines());
        lines.push(String::new());
        lines.push("*: TCP connects, so the CONNECT cannot notice, and is answered 200; what is lost is the push. Late: of those, in the last third. Scatter: from the p50 to the p99 of the normal ones.".to_owned());
        for row in self.rows.iter().filter(|row| !row.is_good()) {
            let why = row.first_failure.as_deref();
            let why = why.map_or(String::new(), |why| format!(" (first: {why})"));
            let name = row.trouble.name();
            lines.push(format!("MISSED: {name}: {}{why}", row.missed.join("; ")));
        }
        for skipped in &self.skipped {
            lines.push(format!("SKIPPED: {skipped}"));
        }
        let (all, missed) = (self.rows.len(), self.rows.iter().filter(|r| !r.is_good()));
        lines.push(format!(
            "{} of {all} met every target, {} skipped",
            all - missed.count(),
            self.skipped.len()
        ));
        lines
    }
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![row.trouble.name()];
    for figures in [&row.first, &row.following] {
        let times = [figures.p50, figures.p99, figures.max];
        if figures.failed == figures.exchanges {
            cells.extend(times.map(|_| "-".to_owned()));
        } else {
            cells.extend(times.map(|ms| format!("{ms:.1}")));
        }
    }
    let (first, following) = (&row.first, &row.following);
    let of = |part, all| format!("{part}/{all}");
    cells.extend([
        match following.failed == following.exchanges {
            true => "-".to_owned(),
            false => format!("{:+.1}", row.over_normal),
        },
        format!("{:.1}", row.scatter),
        of(
            first.failed + following.failed,
            first.exchanges + following.exchanges,
        ),
        of(first.lost + following.lost, first.pushes + following.pushes),
        following.lost_late.to_string(),
        if row.is_good() { "met" } else { "MISSED" }.to_owned(),
    ]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::case::{Death, Trouble};
    use crate::failover::figures::Figures;

    fn row(missed: &[&str]) -> Row {
        let figures = Figures {
            exchanges: 10,
            p50: 1.25,
            p99: 2.0,
            max: 3.0,
            pushes: 10,
            lost: 2,
            lost_late: 1,
            ..Figures::default()
        };
        Row {
            trouble: Trouble::Addresses {
                death: Death::Silent,
                dead: 2,
            },
            first: figures.clone(),
            following: figures.clone(),
            normal: figures,
            over_normal: 0.5,
            scatter: 0.75,
            missed: missed.iter().map(|&text| text.to_owned()).collect(),
            first_failure: Some("not confirmed".into()),
        }
    }

    #[test]
    fn a_miss_anywhere_is_no_good_and_is_said() {
        let report = |rows| Report {
            samples: 5,
            rows,
            skipped: vec!["blackhole: no root".into()],
        };
        assert!(!report(vec![]).is_good(), "nothing was proved");
        assert!(report(vec![row(&[])]).is_good());
        let report = report(vec![row(&[]), row(&["too slow", "too few"])]);
        assert!(!report.is_good());
        let text = report.lines().join("\n");
        let check = |part: &str| assert!(text.contains(part), "{part}\n{text}");
        check("2 of 4: silent after accept *");
        check("+0.5      0.8             0/20         4/20     1     met");
        check("MISSED: 2 of 4: silent after accept *: too slow; too few (first: not confirmed)");
        check("SKIPPED: blackhole: no root");
        check("1 of 2 met every target, 1 skipped");
    }
}
