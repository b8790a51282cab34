//! What one receiver has been told of the alarms, and so what it is still to be told. Pure.
//!
//! There is no queue that could overflow: what is to be told is the difference between what was told and what is. Of an
//! alarm that moves several times while its receiver is away, the newest state is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::notice::{Key, Notice};

/// What goes to the receiver in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    /// Raised or cleared, and not told yet.
    pub(super) changes: Vec<Notice>,
    /// All that is active, those that have just been raised included.
    pub(super) active: Vec<Notice>,
    /// Whether those that are active are to be told again, although they were told before.
    pub(super) again: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Desk {
    /// What was over before is nobody's news.
    opened: SystemTime,
    told: BTreeMap<Key, Notice>,
    repeat: Duration,
    /// When all that is active is to be told again; `None`: at once.
    again_at: Option<Instant>,
}

impl Desk {
    /// `repeat`: after so long what is active is told again.
    pub(super) fn new(repeat: Duration, opened: SystemTime) -> Self {
        Self {
            opened,
            told: BTreeMap::new(),
            repeat,
            again_at: None,
        }
    }

    /// What is to be told now, if anything is. `alarms` are all that were ever raised.
    pub(super) fn due(&self, alarms: &[Notice], now: Instant, time: SystemTime) -> Option<News> {
        let mut news = self.look(alarms, time);
        let knows_some = news.active.iter().any(|one| !news.changes.contains(one));
        news.again = knows_some && self.again_at.is_none_or(|at| now >= at);
        (news.again || !news.changes.is_empty()).then_some(news)
    }

    /// What has changed and what is active, whether or not it is to be told now.
    pub(super) fn look(&self, alarms: &[Notice], time: SystemTime) -> News {
        let changed = alarms.iter().filter(|alarm| self.is_news(alarm)).cloned();
        let active = alarms.iter().filter(|alarm| alarm.is_active()).cloned();
        News {
            changes: changed.chain(self.vanished(alarms, time)).collect(),
            active: active.collect(),
            again: false,
        }
    }

    /// The receiver has taken it.
    pub(super) fn delivered(&mut self, news: &News, now: Instant) {
        for notice in &news.changes {
            self.told.insert(notice.key(), notice.clone());
        }
        let is_all_new = news.active.iter().all(|one| news.changes.contains(one));
        if news.again || is_all_new {
            self.again_at = Some(now + self.repeat);
        }
    }

    /// Forgets what nobody could ask for any more, so that it grows no larger than the board.
    pub(super) fn tidy(&mut self, alarms: &[Notice]) {
        let known: BTreeSet<Key> = alarms.iter().map(Notice::key).collect();
        self.told
            .retain(|key, told| told.is_active() || known.contains(key));
    }

    /// Deliveries are held back: what comes and goes meanwhile is not told.
    pub(super) fn silent(&mut self, alarms: &[Notice]) {
        for alarm in alarms.iter().filter(|alarm| !alarm.is_active()) {
            let told = self.told.get(&alarm.key());
            if told.is_none_or(|told| !told.is_active()) {
                self.told.insert(alarm.key(), alarm.clone());
            }
        }
    }

    /// The receiver may have forgotten what is active.
    pub(super) fn again(&mut self) {
        self.again_at = None;
    }

    /// When something is due although nothing changes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.told
            .values()
            .any(Notice::is_active)
            .then_some(self.again_at)?
    }

    fn is_news(&self, alarm: &Notice) -> bool {
        match (self.told.get(&alarm.key()), alarm.cleared) {
            (Some(told), _) => !alarm.is_known_from(told),
            (None, None) => true,
            (None, Some(cleared)) => cleared > self.opened,
        }
    }

    /// Active when told of, and no longer remembered: nobody else would say that it is over.
    fn vanished<'a>(
        &'a self,
        alarms: &'a [Notice],
        time: SystemTime,
    ) -> impl Iterator<Item = Notice> + 'a {
        let gone = self.told.values().filter(|told| {
            told.is_active() && !alarms.iter().any(|alarm| alarm.key() == told.key())
        });
        gone.map(move |told| Notice {
            cleared: Some(time),
            ..told.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::{active, at, cleared};
    use super::*;

    const REPEAT: Duration = Duration::from_secs(60);

    /// A desk that opened at second 0, and its clock.
    fn desk() -> (Desk, Instant) {
        (Desk::new(REPEAT, at(0)), Instant::now())
    }

    /// What is due of these alarms, as words; then it is delivered.
    fn tell(desk: &mut Desk, alarms: &[Notice], now: Instant) -> String {
        let Some(news) = desk.due(alarms, now, at(99)) else {
            return String::from("nothing");
        };
        desk.delivered(&news, now);
        let word = |one: &Notice| if one.is_active() { "+" } else { "-" };
        let changes = news.changes.iter();
        let told: Vec<_> = changes
            .map(|one| format!("{}{}", word(one), one.subject))
            .collect();
        let again = if news.again { " again" } else { "" };
        format!("{}{again} of {}", told.join(" "), news.active.len())
    }

    #[test]
    fn changes_are_told_once() {
        let (mut desk, now) = desk();
        let told = |desk: &mut Desk, alarms: &[Notice]| tell(desk, alarms, now);
        assert_eq!(told(&mut desk, &[]), "nothing");
        assert_eq!(told(&mut desk, &[active("a", 1)]), "+a of 1");
        assert_eq!(told(&mut desk, &[active("a", 1)]), "nothing");
        let both = [active("a", 1), active("b", 2)];
        assert_eq!(told(&mut desk, &both), "+b of 2");
        let one = [active("b", 2), cleared("a", 1, 3)];
        assert_eq!(told(&mut desk, &one), "-a of 1");
        assert_eq!(told(&mut desk, &one), "nothing");
        // Cleared and raised again between two looks.
        assert_eq!(told(&mut desk, &[active("b", 4)]), "+b of 1");
    }

    #[test]
    fn what_came_and_went_while_the_receiver_was_away_is_told_as_over() {
        let (mut desk, now) = desk();
        let alarms = [cleared("a", 1, 2), cleared("b", 0, 0)];
        assert_eq!(
            tell(&mut desk, &alarms, now),
            "-a of 0",
            "b was over before anybody was to be told"
        );
        assert_eq!(tell(&mut desk, &alarms, now), "nothing");
    }

    #[test]
    fn what_is_active_is_told_again_after_a_while_or_when_it_may_be_forgotten() {
        let (mut desk, now) = desk();
        let alarms = [active("a", 1)];
        assert_eq!(desk.next(), None);
        assert_eq!(tell(&mut desk, &alarms, now), "+a of 1");
        assert_eq!(desk.next(), Some(now + REPEAT));
        assert_eq!(tell(&mut desk, &alarms, now + REPEAT / 2), "nothing");
        assert_eq!(tell(&mut desk, &alarms, now + REPEAT), " again of 1");
        desk.again();
        let more = [active("a", 1), active("b", 2)];
        assert_eq!(tell(&mut desk, &more, now + REPEAT), "+b again of 2");
        let over = [cleared("a", 1, 5), cleared("b", 2, 5)];
        assert_eq!(tell(&mut desk, &over, now + REPEAT), "-a -b of 0");
        assert_eq!(desk.next(), None);
        assert_eq!(tell(&mut desk, &over, now + 9 * REPEAT), "nothing");
    }

    #[test]
    fn of_a_silence_only_what_outlives_it_is_told() {
        let (mut desk, now) = desk();
        assert_eq!(tell(&mut desk, &[active("a", 1)], now), "+a of 1");
        // In the silence a ends, b comes and goes, c comes and stays.
        let after = [cleared("a", 1, 2), cleared("b", 2, 3), active("c", 4)];
        desk.silent(&after);
        assert_eq!(tell(&mut desk, &after, now), "-a +c of 1");
        assert_eq!(tell(&mut desk, &after, now), "nothing");
    }

    #[test]
    fn what_the_board_has_forgotten_is_over() {
        let (mut desk, now) = desk();
        assert_eq!(tell(&mut desk, &[active("a", 1)], now), "+a of 1");
        assert_eq!(tell(&mut desk, &[], now), "-a of 0");
        desk.tidy(&[]);
        assert!(desk.told.is_empty());
        assert_eq!(tell(&mut desk, &[], now), "nothing");
    }
}
