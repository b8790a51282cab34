//! The few numbers that `tidegate status` shows, read off the text of `/metrics`: counters tell nobody their value.
//!
//! Pure.

use std::collections::BTreeMap;

use super::catalogue;

/// What an operator wants in the first minute.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    pub(crate) connections: u64,
    /// Exchanges that have ended, by their reason; reasons that never were are left out.
    pub(crate) exchanges: BTreeMap<String, u64>,
}

impl Summary {
    pub(crate) fn of(metrics: &str) -> Self {
        let mut summary = Self::default();
        let exchanges = format!("{}{{", catalogue::EXCHANGES.name);
        let connections = format!("{} ", catalogue::CONNECTIONS.name);
        for line in metrics.lines() {
            let Some((_, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse::<f64>() else {
                continue;
            };
            let value = value.max(0.0) as u64;
            if line.starts_with(&connections) {
                summary.connections = value;
            } else if line.starts_with(&exchanges)
                && value > 0
                && let Some((_, rest)) = line.split_once("reason=\"")
                && let Some((reason, _)) = rest.split_once('"')
            {
                *summary.exchanges.entry(reason.to_owned()).or_default() += value;
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Meters;

    #[test]
    fn connections_and_reasons_are_found_in_what_the_exporter_writes() {
        let meters = Meters::new(&[], &[]);
        let open = [meters.connection_opened(), meters.connection_opened()];
        assert_eq!(Summary::of(&meters.render()).connections, 2);
        drop(open);
        let lines = "# HELP tidegate_exchanges_total x 7\n\
            tidegate_exchanges_total{listener=\"a\",destination=\"b\",kind=\"tunnel\",reason=\"finished\"} 2\n\
            tidegate_exchanges_total{listener=\"b\",destination=\"b\",kind=\"tunnel\",reason=\"finished\"} 3\n\
            tidegate_exchanges_total{listener=\"b\",destination=\"b\",kind=\"tunnel\",reason=\"idle\"} 0\n\
            tidegate_connections 4\n";
        let summary = Summary {
            connections: 4,
            exchanges: BTreeMap::from([("finished".to_owned(), 5)]),
        };
        assert_eq!(Summary::of(lines), summary);
    }
}
