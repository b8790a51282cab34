//! The places of the admin listener, and who gives one up when they are all taken.
//!
//! Whoever sends no request must not keep out those that do: then the one that has sent none for longest goes, be it that
//! it never sent any; after that one that takes long to take its answer. Who watches the status page stays. Every guest
//! has a moment first, so that its request can come. Bounded; `now` is an argument.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// For a request to come, once the places are all taken.
const MOMENT: Duration = Duration::from_millis(250);
/// For an answer to leave, likewise.
const ANSWER: Duration = Duration::from_secs(3);

/// What a connection is doing, the first to go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// No request has come yet.
    Fresh,
    /// Its last one was answered.
    Idle,
    Answering,
    /// Of the status page.
    Watching,
}

/// A connection's own view of its place.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Mutex<(Stage, Instant)>>);

impl Place {
    fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new((Stage::Fresh, now))))
    }

    pub(super) fn is_now(&self, stage: Stage, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (stage, now);
    }

    fn stage(&self) -> (Stage, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that are taken, those that came first in front.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: VecDeque<(Place, AbortHandle)>,
}

/// Whether somebody may come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// Who is there can be asked to go then; `None`: nobody can, before something ends.
    Later(Option<Instant>),
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: VecDeque::with_capacity(most),
        }
    }

    /// Makes room where it is needed and can be.
    pub(super) fn make_room(&mut self, now: Instant) -> Room {
        self.taken.retain(|(_, task)| !task.is_finished());
        if self.taken.len() < self.most {
            return Room::Free;
        }
        let stages = self.taken.iter().map(|(place, _)| place.stage());
        let may_go = stages.enumerate().filter_map(|(number, (stage, since))| {
            let patience = match stage {
                Stage::Fresh | Stage::Idle => MOMENT,
                Stage::Answering => ANSWER,
                Stage::Watching => return None,
            };
            Some((stage, since + patience, number))
        });
        let may_go: Vec<_> = may_go.collect();
        let due = may_go.iter().filter(|(_, at, _)| *at <= now).min();
        if let Some((_, _, number)) = due {
            if let Some((_, task)) = self.taken.remove(*number) {
                task.abort();
            }
            return Room::Free;
        }
        Room::Later(may_go.iter().map(|(_, at, _)| *at).min())
    }

    /// Somebody comes in, for whom room was made.
    pub(super) fn take(&mut self, now: Instant, begin: impl FnOnce(Place) -> AbortHandle) {
        let place = Place::new(now);
        let task = begin(place.clone());
        self.taken.push_back((place, task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const SECOND: Duration = Duration::from_secs(1);

    struct House(Places, Vec<(Place, tokio::task::JoinHandle<()>)>);

    impl House {
        fn comes(&mut self, now: Instant) -> Place {
            assert_eq!(self.0.make_room(now), Room::Free);
            let task = tokio::spawn(pending());
            let mut given = None;
            self.0.take(now, |place| {
                given = Some(place);
                task.abort_handle()
            });
            let place = given.unwrap();
            self.1.push((place.clone(), task));
            place
        }

        async fn gone(&mut self) -> Vec<bool> {
            tokio::task::yield_now().await;
            self.1.iter().map(|(_, task)| task.is_finished()).collect()
        }
    }

    #[tokio::test]
    async fn who_sends_nothing_goes_first_and_who_watches_stays() {
        let (mut house, now) = (House(Places::new(4), Vec::new()), Instant::now());
        let watching = house.comes(now);
        watching.is_now(Stage::Watching, now);
        let idle = house.comes(now);
        idle.is_now(Stage::Idle, now);
        house.comes(now);
        let answering = house.comes(now);
        answering.is_now(Stage::Answering, now);
        // A moment for its request.
        assert_eq!(house.0.make_room(now), Room::Later(Some(now + MOMENT)));
        let later = now + SECOND;
        house.comes(later).is_now(Stage::Watching, later);
        assert_eq!(house.gone().await, [false, false, true, false, false]);
        house.comes(later).is_now(Stage::Watching, later);
        assert_eq!(house.gone().await, [false, true, true, false, false, false]);
        // An answer has longer; it is not for ever.
        assert_eq!(house.0.make_room(later), Room::Later(Some(now + ANSWER)));
        house.comes(now + ANSWER).is_now(Stage::Watching, now);
        assert_eq!(house.0.make_room(now + 60 * SECOND), Room::Later(None));
    }
}
