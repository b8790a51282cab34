//! What probes have found at each destination, as `/metrics` shows it: of one that is gone, or not probed any more,
//! nothing stays.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::catalogue;
use super::exposition::Exposition;
use super::meters::unix;
use crate::exchange::DestinationName;

/// All destinations that are probed now; as many as the configuration has.
#[derive(Debug, Default)]
pub(crate) struct Probed(Mutex<BTreeMap<DestinationName, Found>>);

/// The worst of a destination's hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Found {
    /// When the one that was not reached for longest last was; `None`: one of them never was.
    pub(crate) succeeded: Option<SystemTime>,
    /// When the first of the certificates that were shown ends.
    pub(crate) expires: Option<SystemTime>,
}

impl Probed {
    /// They take the place of all that were there.
    pub(crate) fn replace(&self, all: BTreeMap<DestinationName, Found>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    pub(super) fn render(&self) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.clone();
        let mut text = Exposition::default();
        let success = &catalogue::PROBE_SUCCESS;
        text.family(success);
        for (destination, found) in &all {
            // A series that is missing would wake nobody.
            let at = found.succeeded.map_or(0.0, unix);
            text.sample(success, &[destination.as_str()], at);
        }
        let expiry = &catalogue::UPSTREAM_CERTIFICATE_EXPIRY;
        text.family(expiry);
        for (destination, found) in &all {
            if let Some(expires) = found.expires {
                text.sample(expiry, &[destination.as_str()], unix(expires));
            }
        }
        text.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_destination_that_never_was_reached_is_there_and_one_that_is_gone_is_not() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let probed = Probed::default();
        let check = |all: &[(&str, Found)], lines: &[&str]| {
            let all = all
                .iter()
                .map(|(name, found)| (DestinationName::new(name), *found));
            probed.replace(all.collect());
            let text = probed.render();
            let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert_eq!(samples, lines);
            assert_eq!(text.lines().count(), lines.len() + 4, "{text}");
        };
        let good = Found {
            succeeded: at(7),
            expires: at(9),
        };
        check(
            &[("cisco", good), ("dead", Found::default())],
            &[
                r#"tidegate_probe_success_timestamp_seconds{destination="cisco"} 7"#,
                r#"tidegate_probe_success_timestamp_seconds{destination="dead"} 0"#,
                r#"tidegate_upstream_certificate_expiry_timestamp_seconds{destination="cisco"} 9"#,
            ],
        );
        check(
            &[("dead", Found::default())],
            &[r#"tidegate_probe_success_timestamp_seconds{destination="dead"} 0"#],
        );
        check(&[], &[]);
    }
}
