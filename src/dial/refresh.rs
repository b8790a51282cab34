//! Which answers are due to be asked for again, and when.
//!
//! Pure: `now` comes in as an argument. One date for each name and family, and no more of them than there can be answers:
//! what has no date is asked for when it has expired.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::cache::NAMES_MAX;
use super::resolve::Family;

/// Both families of every name. Names that were forgotten keep theirs until it is due.
const DATES_MAX: usize = 2 * NAMES_MAX;

#[derive(Debug, Default)]
pub(super) struct Agenda {
    by_time: BTreeSet<(Instant, Arc<str>, Family)>,
    dates: HashMap<(Arc<str>, Family), Instant>,
}

impl Agenda {
    /// The one date of this answer, instead of any earlier one.
    pub(super) fn set(&mut self, name: &Arc<str>, family: Family, due: Option<Instant>) {
        let key = (Arc::clone(name), family);
        if let Some(old) = self.dates.remove(&key) {
            self.by_time.remove(&(old, Arc::clone(name), family));
        }
        if let Some(due) = due {
            if self.dates.len() >= DATES_MAX
                && let Some((_, name, family)) = self.by_time.pop_last()
            {
                self.dates.remove(&(name, family));
            }
            self.by_time.insert((due, Arc::clone(name), family));
            self.dates.insert(key, due);
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(due, ..)| *due)
    }

    /// Takes out one that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Arc<str>, Family)> {
        if self.next()? > now {
            return None;
        }
        let (_, name, family) = self.by_time.pop_first()?;
        let key = (name, family);
        self.dates.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_answer_has_one_date_and_comes_when_it_is_due() {
        let (mut agenda, start) = (Agenda::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let name: Arc<str> = "push.test".into();
        agenda.set(&name, Family::V4, Some(at(5)));
        agenda.set(&name, Family::V6, Some(at(3)));
        agenda.set(&name, Family::V4, Some(at(1)));
        assert_eq!(agenda.next(), Some(at(1)));
        assert_eq!(agenda.take(at(0)), None);
        assert_eq!(agenda.take(at(9)), Some((name.clone(), Family::V4)));
        agenda.set(&name, Family::V6, None);
        assert_eq!((agenda.take(at(9)), agenda.next()), (None, None));
    }

    #[test]
    fn dates_are_bounded_and_the_latest_goes() {
        let (mut agenda, start) = (Agenda::default(), Instant::now());
        for count in 0..DATES_MAX as u64 + 100 {
            let name: Arc<str> = format!("host-{count}.test").into();
            let due = start + Duration::from_secs(10_000 - count);
            agenda.set(&name, Family::V4, Some(due));
        }
        let counts = (agenda.dates.len(), agenda.by_time.len());
        assert_eq!(counts, (DATES_MAX, DATES_MAX));
        let gone: (Arc<str>, _) = ("host-0.test".into(), Family::V4);
        assert!(!agenda.dates.contains_key(&gone));
    }
}
