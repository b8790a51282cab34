//! Which answers are due to be asked for again, and when.
//!
//! Pure: `now` comes in as an argument. One date for each name and family, so it is as bounded as what is remembered.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::resolve::Family;

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
}
