//! A table with heads: the first column to the left, figures to the right. Pure.

/// Heads, and rows below them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these heads.
    #[must_use]
    pub fn new(heads: Vec<String>) -> Self {
        Self { rows: vec![heads] }
    }

    /// One more row; cells that are missing are empty.
    #[must_use]
    pub fn row(mut self, cells: Vec<String>) -> Self {
        self.rows.push(cells);
        self
    }

    /// The table, a line a row, without blanks at the ends.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            });
            cells.collect::<String>().trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_below_each_other() {
        let words = |line: &str| line.split('|').map(str::to_owned).collect();
        let table = Table::new(words("µs|min|max"))
            .row(words("relay|9.5|10.25"))
            .row(words("a proxy|100"));
        assert_eq!(
            table.lines(),
            ["µs       min    max", "relay    9.5  10.25", "a proxy  100"]
        );
    }
}
