//! How many of each outcome.

use std::collections::BTreeMap;

/// Outcome → how often; in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// One more of this outcome.
    pub fn note(&mut self, outcome: &'static str) {
        *self.0.entry(outcome).or_default() += 1;
    }

    /// How many of this outcome.
    #[must_use]
    pub fn of(&self, outcome: &str) -> u64 {
        self.0.get(outcome).copied().unwrap_or(0)
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Every outcome that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_apart_and_together() {
        let mut tally = Tally::default();
        for outcome in ["confirmed", "cut", "confirmed"] {
            tally.note(outcome);
        }
        assert_eq!(
            (tally.of("confirmed"), tally.of("cut"), tally.of("other")),
            (2, 1, 0)
        );
        assert_eq!(tally.total(), 3);
    }
}
