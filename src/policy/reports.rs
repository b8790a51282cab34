//! What would have been refused, had the rules not only been tried out: who asked for what, how often, and the lines
//! that would allow it.
//!
//! Bounded, and without a clock: `now` is an argument. Outlives a reload, so that the counts go on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::lines::{self, Lacking};
use crate::exchange::{ClientName, DestinationName, Reason, Target, UserName};

/// Rows that are kept; of more, the one that was not seen for longest goes.
const ROWS_MAX: usize = 1_000;

/// What differs between two rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Passed {
    /// The `[[client]]` that asked.
    pub(crate) client: Option<ClientName>,
    pub(crate) target: Target,
    /// The destination that let it pass; `unlisted` where none has the target.
    pub(crate) destination: DestinationName,
    /// What would have been answered.
    pub(crate) reason: Reason,
    /// The `[[limit]]` that would have refused it, if it was one.
    pub(crate) limit: Option<Arc<str>>,
}

/// What of a row is of the last one that asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) user: Option<UserName>,
    pub(crate) address: IpAddr,
    /// `None` for a limit: no line that is added makes it wider.
    pub(crate) lacking: Option<Lacking>,
}

/// One row: what would have been refused, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WouldRefuse {
    pub(crate) passed: Passed,
    pub(crate) latest: Latest,
    pub(crate) count: u64,
    pub(crate) first_seen: SystemTime,
    pub(crate) last_seen: SystemTime,
    /// TOML, with comments that say where they belong. Empty where all of it stands with rows before, and for a limit.
    pub(crate) lines_to_add: String,
}

/// All rows, and how many were dropped because there were too many.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<Passed, Row>,
    dropped: u64,
}

#[derive(Debug)]
struct Row {
    latest: Latest,
    count: u64,
    first_seen: SystemTime,
    last_seen: SystemTime,
}

impl Reports {
    pub(crate) fn note(&self, passed: Passed, latest: Latest, now: SystemTime) {
        let mut table = self.table();
        if let Some(row) = table.rows.get_mut(&passed) {
            row.count += 1;
            row.last_seen = now;
            row.latest = latest;
            return;
        }
        if table.rows.len() >= ROWS_MAX {
            let oldest = table.rows.iter().min_by_key(|(_, row)| row.last_seen);
            if let Some(oldest) = oldest.map(|(passed, _)| passed.clone()) {
                table.rows.remove(&oldest);
                table.dropped += 1;
            }
        }
        let row = Row {
            latest,
            count: 1,
            first_seen: now,
            last_seen: now,
        };
        table.rows.insert(passed, row);
    }

    /// The most frequent first.
    pub(crate) fn rows(&self) -> Vec<WouldRefuse> {
        let mut rows: Vec<_> = self
            .table()
            .rows
            .iter()
            .map(|(passed, row)| WouldRefuse {
                passed: passed.clone(),
                latest: row.latest.clone(),
                count: row.count,
                first_seen: row.first_seen,
                last_seen: row.last_seen,
                lines_to_add: String::new(),
            })
            .collect();
        rows.sort_by(|a, b| {
            (b.count, b.last_seen, a.first_seen).cmp(&(a.count, a.last_seen, b.first_seen))
        });
        let lacking: Vec<_> = rows
            .iter()
            .filter_map(|row| Some((row.latest.lacking.as_ref()?, row.last_seen)))
            .collect();
        let texts = lines::of(&lacking);
        let lack = rows.iter_mut().filter(|row| row.latest.lacking.is_some());
        for (row, text) in lack.zip(texts) {
            row.lines_to_add = text;
        }
        rows
    }

    /// Rows that had to go because there were too many.
    pub(crate) fn dropped(&self) -> u64 {
        self.table().dropped
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Unlisted;
    use crate::policy::{OwnAddresses, Policy};
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn note(reports: &Reports, target: &str, user: &str, now: SystemTime) {
        let own = OwnAddresses { bound: Vec::new() };
        let policy = Arc::new(Policy::new(&[], Unlisted::Report, own));
        let target = Target::from_connect(target.as_bytes()).unwrap();
        let cleared = policy.clear(&[], &target).unwrap();
        let passed = Passed {
            client: None,
            target,
            destination: DestinationName::new("unlisted"),
            reason: Reason::TargetDenied,
            limit: None,
        };
        let latest = Latest {
            user: Some(UserName::new(user)),
            address: [10, 0, 0, 1].into(),
            lacking: Some(cleared.lacking(None, None)),
        };
        reports.note(passed, latest, now);
    }

    #[test]
    fn one_row_for_each_thing_asked_with_its_last_asker() {
        let reports = Reports::default();
        note(&reports, "a.test:443", "ann", at(1));
        note(&reports, "b.test:443", "ann", at(2));
        note(&reports, "b.test:443", "bob", at(5));
        let rows: Vec<_> = reports
            .rows()
            .into_iter()
            .map(|row| {
                (
                    row.passed.target.to_string(),
                    row.count,
                    row.latest.user.unwrap().to_string(),
                    row.first_seen,
                    row.last_seen,
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("b.test:443".into(), 2, "bob".into(), at(2), at(5)),
                ("a.test:443".into(), 1, "ann".into(), at(1), at(1)),
            ]
        );
        assert_eq!(reports.dropped(), 0);
    }

    #[test]
    fn beyond_the_bound_the_one_not_seen_for_longest_goes() {
        let reports = Reports::default();
        for port in 1..=1_000 {
            note(&reports, &format!("a.test:{port}"), "ann", at(port));
        }
        note(&reports, "a.test:1", "ann", at(1_001));
        note(&reports, "new.test:443", "ann", at(1_002));
        let rows = reports.rows();
        let has = |target: &str| {
            rows.iter()
                .any(|row| row.passed.target.to_string() == target)
        };
        assert_eq!((rows.len(), reports.dropped()), (1_000, 1));
        assert!(has("a.test:1") && !has("a.test:2") && has("new.test:443"));
    }
}
