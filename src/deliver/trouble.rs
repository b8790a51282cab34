//! Whether delivery is in trouble, so that the journal hears of its beginning, of another cause, and of its end. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::link::Kind;

/// Lines go out and none is lost for so long, and the trouble is over. Without it a receiver that comes and goes would
/// fill the journal.
pub(super) const CALM: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Why the receiver is away, as it was said last, and when that was.
    told: Option<(Kind, Instant)>,
    /// Lines lost up to the end of the last trouble.
    settled: u64,
    /// Lines lost when last looked.
    last: u64,
    /// Since when lines go out and none is lost.
    calm_since: Option<Instant>,
}

impl Trouble {
    /// The receiver is away; true if that, or why, is news. Causes that take turns are told once in a calm time.
    pub(super) fn is_news(&mut self, why: Kind, now: Instant) -> bool {
        self.calm_since = None;
        let is_news = match self.told {
            None => true,
            Some((told, at)) => told != why && now.saturating_duration_since(at) >= CALM,
        };
        if is_news {
            self.told = Some((why, now));
        }
        is_news
    }

    /// The receiver takes what it is sent again; true if that is news.
    pub(super) fn ends(&mut self) -> bool {
        self.told.take().is_some()
    }

    pub(super) fn is_on(&self, losing: bool) -> bool {
        self.told.is_some() || losing
    }

    /// A line went out; `dropped` were lost since the beginning.
    pub(super) fn sent(&mut self, dropped: u64, now: Instant) {
        if dropped != self.last {
            self.last = dropped;
            self.calm_since = None;
        }
        self.calm_since.get_or_insert(now);
    }

    /// How many lines the trouble cost, if it is over now.
    pub(super) fn is_over(&mut self, dropped: u64, now: Instant) -> Option<u64> {
        if dropped != self.last {
            self.last = dropped;
            // They were lost while lines went out, or the line that went out would not be remembered.
            self.calm_since = self.calm_since.map(|_| now);
        }
        let calm = now.saturating_duration_since(self.calm_since?);
        if calm < CALM {
            return None;
        }
        let lost = dropped - self.settled;
        (self.told, self.settled, self.calm_since) = (None, dropped, None);
        Some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_and_over_after_a_calm_time() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut trouble = Trouble::default();
        assert!(!trouble.is_on(false) && trouble.is_on(true));
        let closed = Kind::Other;
        assert!(trouble.is_news(closed, at(0)) && !trouble.is_news(closed, at(50)));
        assert!(trouble.is_on(false));
        assert_eq!(trouble.is_over(3, at(60)), None, "nothing went out");
        trouble.sent(3, at(60));
        assert!(
            !trouble.is_news(closed, at(60)),
            "not news: it is away again"
        );
        trouble.sent(3, at(61));
        assert_eq!(trouble.is_over(3, at(70)), None);
        assert_eq!(trouble.is_over(4, at(71)), None, "one more was lost");
        assert_eq!(trouble.is_over(4, at(80)), None);
        assert_eq!(trouble.is_over(4, at(81)), Some(4));
        assert!(!trouble.is_on(false));
        assert!(trouble.is_news(closed, at(81)));
        trouble.sent(5, at(90));
        assert_eq!(trouble.is_over(5, at(100)), Some(1));
    }
    #[test]
    fn another_cause_is_news_but_not_at_once() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut trouble = Trouble::default();
        assert!(trouble.is_news(Kind::Other, at(0)));
        assert!(!trouble.is_news(Kind::Tls, at(9)));
        assert!(!trouble.is_news(Kind::Other, at(10)));
        assert!(trouble.is_news(Kind::Tls, at(10)));
        assert!(!trouble.is_news(Kind::Tls, at(40)));
        assert!(!trouble.is_news(Kind::Other, at(19)));
        assert!(trouble.is_news(Kind::Other, at(40)));
    }
}
