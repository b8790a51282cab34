//! The small table at the end of a run. Pure: values in, lines out.

/// A table of single values, and of pairs that should agree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Row {
    Value {
        label: String,
        value: String,
    },
    Heads {
        left: String,
        right: String,
    },
    Pair {
        label: String,
        left: u64,
        right: u64,
    },
}

impl Frame {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A row with one value.
    #[must_use]
    pub fn value(mut self, label: &str, value: impl ToString) -> Self {
        self.rows.push(Row::Value {
            label: label.to_owned(),
            value: value.to_string(),
        });
        self
    }

    /// What the two columns of the pairs below are.
    #[must_use]
    pub fn heads(mut self, left: &str, right: &str) -> Self {
        self.rows.push(Row::Heads {
            left: left.to_owned(),
            right: right.to_owned(),
        });
        self
    }

    /// The same thing counted on two sides.
    #[must_use]
    pub fn pair(mut self, label: &str, left: u64, right: u64) -> Self {
        self.rows.push(Row::Pair {
            label: label.to_owned(),
            left,
            right,
        });
        self
    }

    /// The table, a line a row.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let label_width = self.rows.iter().map(Row::label_width).max().unwrap_or(0);
        let (left_width, right_width) = self.column_widths();
        self.rows
            .iter()
            .map(|row| match row {
                Row::Value { label, value } => format!("  {label:<label_width$}  {value}"),
                Row::Heads { left, right } => {
                    format!("  {:<label_width$}  {left:>left_width$}  {right:>right_width$}", "")
                }
                Row::Pair { label, left, right } => {
                    let verdict = if left == right { "agree" } else { "DIFFER" };
                    format!(
                        "  {label:<label_width$}  {left:>left_width$}  {right:>right_width$}  {verdict}"
                    )
                }
            })
            .collect()
    }

    fn column_widths(&self) -> (usize, usize) {
        self.rows.iter().fold((0, 0), |(left, right), row| {
            let (l, r) = match row {
                Row::Value { .. } => (0, 0),
                Row::Heads { left, right } => (left.chars().count(), right.chars().count()),
                Row::Pair { left, right, .. } => (left.to_string().len(), right.to_string().len()),
            };
            (left.max(l), right.max(r))
        })
    }
}

impl Row {
    fn label_width(&self) -> usize {
        match self {
            Self::Value { label, .. } | Self::Pair { label, .. } => label.chars().count(),
            Self::Heads { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_differences_are_shouted() {
        let lines = Frame::new()
            .value("pushes", 600)
            .value("confirmation", "p50 20.0 ms")
            .heads("servers", "proxy")
            .pair("CONNECTs answered 200", 32, 32)
            .pair("407 answers", 9, 10)
            .lines();
        assert_eq!(
            lines,
            [
                "  pushes                 600",
                "  confirmation           p50 20.0 ms",
                "                         servers  proxy",
                "  CONNECTs answered 200       32     32  agree",
                "  407 answers                  9     10  DIFFER",
            ]
        );
    }

    #[test]
    fn an_empty_table_has_no_lines() {
        assert!(Frame::new().lines().is_empty());
    }
}
