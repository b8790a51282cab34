//! The figures of the status page, read off the text of `/metrics`: counters tell nobody their value.
//!
//! Pure. What is not counted yet, or not in this build, is missing here, never 0.

use std::collections::BTreeMap;

/// One reading.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) connections: u64,
    /// Tunnels that were opened and have ended.
    pub(super) tunnels_ended: u64,
    /// Requests and their answers inside of tunnels.
    pub(super) tunnel_exchanges: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    /// Exchanges that have ended, by reason; those that never were are left out.
    pub(super) endings: BTreeMap<String, u64>,
    pub(super) setup: Spread,
    pub(super) confirmation: Spread,
    pub(super) failovers: u64,
    /// Visible pushes by what was answered.
    pub(super) pushes: BTreeMap<String, u64>,
    pub(super) limits: BTreeMap<String, LimitFigures>,
    pub(super) log_lines_dropped: u64,
    pub(super) dns_stale_s: f64,
    /// Unix times, by listener.
    pub(super) certificates: BTreeMap<String, f64>,
    pub(super) reloads: u64,
}

/// What one `[[limit]]` did.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct LimitFigures {
    pub(super) waits: u64,
    pub(super) refusals: u64,
    pub(super) keys: u64,
}

/// A histogram: how many were at most so long, by upper edge in seconds. All series of a metric together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Spread(Vec<(f64, u64)>);

impl Figures {
    pub(super) fn read(metrics: &str) -> Self {
        let mut figures = Self::default();
        for line in metrics.lines() {
            if let Some((name, labels, value)) = sample(line) {
                figures.note(name, &labels, value);
            }
        }
        figures
    }

    fn note(&mut self, name: &str, labels: &[(&str, String)], value: f64) {
        let label = |wanted| {
            let found = labels.iter().find(|(name, _)| *name == wanted);
            found.map_or("", |(_, value)| value.as_str())
        };
        let count = value.max(0.0) as u64;
        let Some(name) = name.strip_prefix("tidegate_") else {
            return;
        };
        match name {
            "connections" => self.connections = count,
            "tunnel_seconds_count" => self.tunnels_ended += count,
            "tunnel_exchanges_total" => self.tunnel_exchanges += count,
            "tunnel_bytes_total" if label("direction") == "up" => self.bytes_up += count,
            "tunnel_bytes_total" => self.bytes_down += count,
            "exchanges_total" if count > 0 => {
                *self.endings.entry(label("reason").to_owned()).or_default() += count;
            }
            "exchange_setup_seconds_bucket" => self.setup.note(label("le"), count),
            "tunnel_confirmation_seconds_bucket" => self.confirmation.note(label("le"), count),
            "failovers_total" => self.failovers += count,
            "pushes_total" if count > 0 => {
                *self.pushes.entry(label("status").to_owned()).or_default() += count;
            }
            "limit_waits_total" => self.limit(label("limit")).waits += count,
            "limit_refusals_total" => self.limit(label("limit")).refusals += count,
            "limit_keys" => self.limit(label("limit")).keys += count,
            "access_log_dropped_total" => self.log_lines_dropped += count,
            "dns_stale_age_seconds" => self.dns_stale_s = value,
            "certificate_expiry_timestamp_seconds" => {
                self.certificates
                    .insert(label("listener").to_owned(), value);
            }
            "reloads_total" if label("result") == "ok" => self.reloads += count,
            _ => {}
        }
    }

    fn limit(&mut self, name: &str) -> &mut LimitFigures {
        self.limits.entry(name.to_owned()).or_default()
    }

    pub(super) fn pushes_total(&self) -> u64 {
        self.pushes.values().sum()
    }
}

impl Spread {
    fn note(&mut self, edge: &str, count: u64) {
        let Ok(edge) = edge.replace("+Inf", "inf").parse::<f64>() else {
            return;
        };
        match self.0.binary_search_by(|(other, _)| other.total_cmp(&edge)) {
            Ok(place) => self.0[place].1 += count,
            Err(place) => self.0.insert(place, (edge, count)),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.last().map_or(0, |(_, count)| *count)
    }

    /// What came after an earlier reading of the same histogram.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let before = |edge: f64| {
            let found = earlier.0.iter().find(|(other, _)| *other == edge);
            found.map_or(0, |(_, count)| *count)
        };
        let rows = self.0.iter();
        Self(
            rows.map(|(edge, count)| (*edge, count.saturating_sub(before(*edge))))
                .collect(),
        )
    }

    /// The time within which this share was, in seconds: estimated inside its bucket, and the last edge for what is
    /// beyond. `None` where nothing was counted.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = share * total as f64;
        let (mut low, mut below) = (0.0, 0);
        for (edge, count) in &self.0 {
            if *count as f64 >= rank && *count > below {
                if edge.is_infinite() {
                    return Some(low);
                }
                let within = (rank - below as f64) / (*count - below) as f64;
                return Some(low + (edge - low) * within);
            }
            (low, below) = (*edge, *count);
        }
        None
    }
}

/// Label names with their values.
type Labels<'a> = Vec<(&'a str, String)>;

/// Name, labels and value of one line of the text format.
fn sample(line: &str) -> Option<(&str, Labels<'_>, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, mut rest)) = series.split_once('{') else {
        return Some((series, Vec::new(), value));
    };
    let mut labels = Vec::new();
    while let Some((label, after)) = rest.split_once("=\"") {
        let (text, end) = quoted(after)?;
        labels.push((label.trim_start_matches(','), text));
        rest = &after[end..];
    }
    Some((name, labels, value))
}

/// The text up to its closing quote, and where the rest begins.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut plain = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((plain, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => plain.push('\n'),
                other => plain.push(other),
            },
            other => plain.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    use crate::exchange::DestinationName;
    use crate::telemetry::Meters;

    #[test]
    fn what_the_exporter_writes_is_read() {
        let meters = Meters::new(&[], &[]);
        let _open = meters.connection_opened();
        let hostile = "a\"b\\c\nd} 7";
        meters.limit(hostile).refused();
        meters.failover(&DestinationName::new("cisco"));
        meters.limit("quiet").waited(Duration::from_secs(1));
        let figures = Figures::read(&meters.render());
        assert_eq!((figures.connections, figures.failovers), (1, 1));
        assert_eq!(figures.limits[hostile].refusals, 1);
        assert_eq!(figures.limits["quiet"], LimitFigures::default());
    }

    #[test]
    fn series_of_one_metric_are_added() {
        let text = "tidegate_pushes_total{service=\"cisco\",kind=\"voip\",status=\"200\"} 2\n\
            tidegate_pushes_total{service=\"apns\",kind=\"message\",status=\"200\"} 3\n\
            tidegate_pushes_total{service=\"apns\",kind=\"message\",status=\"410\"} 1\n\
            tidegate_exchanges_total{listener=\"a\",destination=\"b\",kind=\"tunnel\",reason=\"idle\"} 0\n";
        let figures = Figures::read(text);
        assert_eq!(
            figures.pushes,
            BTreeMap::from([("200".to_owned(), 5), ("410".to_owned(), 1)])
        );
        assert!(figures.endings.is_empty());
    }

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let spread = |counts: [u64; 3]| {
            let mut spread = Spread::default();
            for (edge, count) in ["0.1", "1", "+Inf"].into_iter().zip(counts) {
                spread.note(edge, count);
            }
            spread
        };
        assert_eq!(spread([0, 0, 0]).quantile(0.5), None);
        assert_eq!(spread([2, 2, 2]).quantile(0.5), Some(0.05));
        assert_eq!(spread([0, 4, 4]).quantile(0.5), Some(0.55));
        assert_eq!(spread([0, 0, 9]).quantile(0.99), Some(1.0));
        let later = spread([2, 6, 6]).since(&spread([2, 2, 2]));
        assert_eq!(later, spread([0, 4, 4]));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in any::<String>()) {
            let _ = Figures::read(&format!("tidegate_limit_waits_total{{{line}"));
            let _ = Figures::read(&line);
        }
    }
}
