//! The text format of `/metrics`, for what is written anew at every scrape: what is gone leaves no series behind.
//!
//! Pure. The recorder writes all that only grows.

use std::fmt::{Display, Write as _};

use super::catalogue::{Kind, Row};

/// Families, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

impl Exposition {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, row: &Row) {
        let kind = match row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let Row {
            name, help, why, ..
        } = row;
        // Writing to a string never fails.
        let _ = writeln!(self.0, "# HELP {name} {help} {why}\n# TYPE {name} {kind}");
    }

    /// One sample of the family, with its labels' values in the row's order.
    pub(crate) fn sample(&mut self, row: &Row, values: &[&str], value: impl Display) {
        debug_assert_eq!(row.labels.len(), values.len(), "{}", row.name);
        self.0.push_str(row.name);
        let mut mark = '{';
        for (label, text) in row.labels.iter().zip(values) {
            let _ = write!(self.0, "{mark}{label}=\"");
            for char in text.chars() {
                match char {
                    '\\' => self.0.push_str(r"\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str(r"\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
            mark = ',';
        }
        let close = if mark == ',' { "}" } else { "" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::catalogue;

    #[test]
    fn a_value_ends_where_it_ends_whatever_is_in_it() {
        let mut text = Exposition::default();
        text.family(&catalogue::PEER_UP);
        text.sample(&catalogue::PEER_UP, &["a\"b\\c\nd} 7", "192.0.2.1:443"], 1);
        text.sample(&catalogue::DNS_STALE_AGE, &[], 0.5);
        let text = text.text();
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "# TYPE tidegate_peer_up gauge",
                r#"tidegate_peer_up{destination="a\"b\\c\nd} 7",peer="192.0.2.1:443"} 1"#,
                "tidegate_dns_stale_age_seconds 0.5"
            ]
        );
    }
}
