//! One `[[limit]]`: what each of its keys has used, who holds a place, and who waits.
//!
//! Shared by all cores behind one short lock, which is never held across an await and never while anybody is woken.
//! Reads no clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::gcra::{Gcra, Pace};
use super::keyed::Keyed;
use super::limits::Key;
use super::queue::{Queue, Ticket};
use crate::config::{self, LimitPer, Rate};
use crate::telemetry::LimitMeters;

/// The longest that one tunnel is held back for the bytes of all that share its key.
const LONGEST_DEBT: Duration = Duration::from_secs(60);

/// What is earned in so long may move at once.
const BYTES_AHEAD: Duration = Duration::from_secs(1);

/// What the configuration says; a reload may change it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Terms {
    pub(super) pace: Option<Pace>,
    pub(super) tunnels: Option<u32>,
    pub(super) bytes: Option<Rate>,
    pub(super) max_wait: Duration,
    pub(super) keys: usize,
    pub(super) report_only: bool,
}

impl Terms {
    pub(super) fn new(limit: &config::Limit) -> Self {
        // Without a burst: as many as a second brings.
        let burst = |rate: Rate| match limit.burst {
            Some(burst) => burst,
            None => rate.per_second.ceil() as u32,
        };
        Self {
            pace: limit.rate.map(|rate| Pace::new(rate, burst(rate))),
            tunnels: limit.tunnels,
            bytes: limit.bytes.filter(|_| !limit.report_only),
            max_wait: limit.max_wait,
            keys: limit.keys as usize,
            report_only: limit.report_only,
        }
    }
}

/// A limit with all its keys.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: Arc<str>,
    pub(super) per: LimitPer,
    pub(super) meters: LimitMeters,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    terms: Terms,
    lines: Keyed<Key, Line>,
}

/// One key.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) turns: Gcra,
    /// When all bytes that moved will have been earned.
    bytes: Instant,
    /// Open now; counted whether they are limited or not, since a reload may limit them.
    pub(super) tunnels: u32,
    /// Made for the first that waits.
    pub(super) waiting: Option<Box<Waiting>>,
}

/// Who waits. Each has a bell, that rings when it is worth looking again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) turns: Queue<Key, Bell>,
    pub(super) places: Queue<Key, Bell>,
    /// Of those that wait for a turn, the one that sleeps until the next is there; all others wait for their bells.
    pub(super) leader: Option<Bell>,
}

pub(super) type Bell = Arc<Notify>;

/// Bells to ring when the lock is free again.
#[derive(Debug, Default)]
pub(super) struct Bells(Vec<Bell>);

impl Bells {
    pub(super) fn ring(self) {
        for bell in self.0 {
            bell.notify_one();
        }
    }
}

impl Limit {
    pub(super) fn new(name: Arc<str>, per: LimitPer, terms: Terms, meters: LimitMeters) -> Self {
        Self {
            name,
            per,
            meters,
            book: Mutex::new(Book {
                terms,
                lines: Keyed::new(),
            }),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other terms; whoever waits is judged by them from now on.
    pub(super) fn set_terms(&self, terms: Terms, now: Instant) {
        let mut bells = Bells::default();
        {
            let mut book = self.book();
            if book.terms == terms {
                return;
            }
            let fresh = book.terms.pace != terms.pace;
            book.terms = terms;
            let Book { terms, lines } = &mut *book;
            for line in lines.values() {
                // What was used of another rate or burst says nothing of this one. Tunnels are open whatever the terms.
                if fresh {
                    line.turns = Gcra::new(now);
                }
                line.pump(terms, now, &mut bells);
            }
        }
        bells.ring();
    }

    /// Keeps the key from being forgotten. The terms are those of now.
    pub(super) fn hold(self: &Arc<Self>, key: &Key, now: Instant) -> (Hold, Terms) {
        let mut book = self.book();
        let terms = book.terms;
        let new = || Line::new(now);
        let before = book.lines.len();
        // Where all keys are in use, those that come now share one more.
        let place = book.lines.pin(key, terms.keys, new).unwrap_or_else(|| {
            let shared = book.lines.pin(&Key::Others, usize::MAX, new);
            shared.expect("there is no cap")
        });
        self.meters.keys_changed(before, book.lines.len());
        let hold = Hold {
            limit: Arc::clone(self),
            place,
            tunnel: false,
            turn: false,
            shaped: terms.bytes.is_some(),
        };
        (hold, terms)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let book = self.book.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.meters.keys_changed(book.lines.len(), 0);
    }
}

/// One exchange's hold on its key, and what it has of it.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) limit: Arc<Limit>,
    place: usize,
    /// A tunnel's place, free again when this is dropped.
    pub(super) tunnel: bool,
    /// A turn that was not used yet, and is given back if it never is.
    pub(super) turn: bool,
    /// Whether its bytes are limited.
    pub(super) shaped: bool,
}

impl Hold {
    /// Looks at the line under the lock; the bells are rung behind it.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Line, &Terms, &mut Bells) -> T) -> T {
        let mut bells = Bells::default();
        let result = {
            let mut book = self.limit.book();
            let Book { terms, lines } = &mut *book;
            look(lines.at(self.place), terms, &mut bells)
        };
        bells.ring();
        result
    }

    /// Pays for bytes that have moved; until when to wait with the next.
    pub(super) fn pay(&self, bytes: usize, now: Instant) -> Instant {
        self.with(|line, terms, _| {
            let Some(rate) = terms.bytes else {
                return now;
            };
            let earned_in = Duration::from_secs_f64(bytes as f64 / rate.per_second);
            line.bytes = (line.bytes.max(now) + earned_in).min(now + LONGEST_DEBT + BYTES_AHEAD);
            line.bytes.checked_sub(BYTES_AHEAD).unwrap_or(now)
        })
    }

    /// As much as should move at once, so that all that share the key move a little now and then.
    pub(super) fn piece(&self) -> usize {
        let rate = self.limit.book().terms.bytes;
        rate.map_or(usize::MAX, |rate| {
            ((rate.per_second / 16.0) as usize).clamp(256, 16 * 1024)
        })
    }

    /// Another hold on the same key, with nothing in it.
    pub(super) fn again(&self) -> Self {
        self.limit.book().lines.pin_again(self.place);
        Self {
            limit: Arc::clone(&self.limit),
            place: self.place,
            tunnel: false,
            turn: false,
            shaped: self.shaped,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut bells = Bells::default();
        {
            let mut book = self.limit.book();
            let Book { terms, lines } = &mut *book;
            let line = lines.at(self.place);
            if self.tunnel {
                line.tunnels -= 1;
                line.fill_places(terms, &mut bells);
            }
            if let (true, Some(pace)) = (self.turn, terms.pace) {
                line.turns.put_back(pace);
                line.wake_leader(&mut bells);
            }
            lines.unpin(self.place);
        }
        bells.ring();
    }
}

impl Line {
    fn new(now: Instant) -> Self {
        Self {
            turns: Gcra::new(now),
            bytes: now,
            tunnels: 0,
            waiting: None,
        }
    }

    pub(super) fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_with(|| {
            Box::new(Waiting {
                turns: Queue::new(),
                places: Queue::new(),
                leader: None,
            })
        })
    }

    /// Lets go who may go now.
    pub(super) fn pump(&mut self, terms: &Terms, now: Instant, bells: &mut Bells) {
        self.fill_places(terms, bells);
        self.give_turns(terms, now, bells);
        self.wake_leader(bells);
    }

    pub(super) fn has_place(&self, terms: &Terms) -> bool {
        terms.tunnels.is_none_or(|most| self.tunnels < most)
    }

    pub(super) fn fill_places(&mut self, terms: &Terms, bells: &mut Bells) {
        while self.has_place(terms)
            && let Some(waiting) = &mut self.waiting
            && let Some(bell) = waiting.places.pop()
        {
            self.tunnels += 1;
            bells.0.push(bell);
        }
        self.tidy();
    }

    pub(super) fn give_turns(&mut self, terms: &Terms, now: Instant, bells: &mut Bells) {
        while let Some(waiting) = &mut self.waiting
            && !waiting.turns.is_empty()
            && terms
                .pace
                .is_none_or(|pace| self.turns.take(pace, now).is_ok())
        {
            if let Some(bell) = waiting.turns.pop() {
                waiting.resign(&bell);
                bells.0.push(bell);
            }
        }
        self.tidy();
    }

    /// Somebody has to sleep until the next turn.
    pub(super) fn find_leader(&self, bells: &mut Bells) {
        if let Some(waiting) = &self.waiting
            && waiting.leader.is_none()
        {
            self.wake_leader(bells);
        }
    }

    /// Whether it sleeps for all that wait; it does from now on if nobody did.
    pub(super) fn leads(&mut self, bell: &Bell) -> bool {
        let leader = &mut self.waiting().leader;
        Arc::ptr_eq(leader.get_or_insert_with(|| Arc::clone(bell)), bell)
    }

    /// Whoever sleeps until the next turn has to know when it is.
    pub(super) fn wake_leader(&self, bells: &mut Bells) {
        if let Some(waiting) = &self.waiting
            && let Some(bell) = waiting.leader.as_ref().or_else(|| waiting.turns.peek())
        {
            bells.0.push(Arc::clone(bell));
        }
    }

    /// Waits no more for a turn; true if it had come already.
    pub(super) fn leave_turns(
        &mut self,
        ticket: &Ticket<Key>,
        bell: &Bell,
        bells: &mut Bells,
    ) -> bool {
        let Some(waiting) = &mut self.waiting else {
            return true;
        };
        let came = waiting.turns.leave(ticket).is_none();
        waiting.resign(bell);
        self.find_leader(bells);
        self.tidy();
        came
    }

    /// Waits no more for a place; true if it had come already.
    pub(super) fn leave_places(&mut self, ticket: &Ticket<Key>) -> bool {
        let waiting = self.waiting.as_mut();
        let came = waiting.is_none_or(|waiting| waiting.places.leave(ticket).is_none());
        self.tidy();
        came
    }

    fn tidy(&mut self) {
        self.waiting
            .take_if(|waiting| waiting.turns.is_empty() && waiting.places.is_empty());
    }
}

impl Waiting {
    fn resign(&mut self, bell: &Bell) {
        self.leader.take_if(|leader| Arc::ptr_eq(leader, bell));
    }
}
