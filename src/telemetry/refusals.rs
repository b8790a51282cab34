//! Who is refused with 407 now, from which address: whether a client ever gets through.
//!
//! Pure: `now` is an argument. Nodes of one `[[client]]` are told apart, or one that gets through would hide another that
//! never does. Bounded in senders; the one whose refusals began first goes first.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Moment;

/// So many wrong passwords one after the other, and a client never gets through.
const WRONG: u32 = 3;
/// So many refusals with 407 whatever they were for, for so long, and it does not either. A sender that opens many
/// connections at once begins each of them with a request that has no credentials yet.
const ASKED: u32 = 20;
const ASKED_FOR: Duration = Duration::from_secs(60);
/// Senders that are refused now and are remembered.
pub(super) const SENDERS_MAX: usize = 1_024;
/// Whoever was not refused for so long may be gone.
const QUIET: Duration = Duration::from_secs(3_600);

/// What a client is known as, and the address that it came from.
type Sender = (Arc<str>, IpAddr);

#[derive(Debug, Default)]
pub(super) struct Refusals {
    senders: HashMap<Sender, Refused>,
    /// In the order in which it began.
    began: VecDeque<Sender>,
}

/// One that was refused and has not got through since.
#[derive(Debug)]
struct Refused {
    first: Moment,
    last: Moment,
    times: u32,
    wrong: u32,
}

impl Refused {
    fn never_gets_through(&self, now: Moment) -> bool {
        self.wrong >= WRONG || self.times >= ASKED && now.since(self.first) >= ASKED_FOR
    }
}

impl Refusals {
    /// One more. How often in a row, where that is so often that it never gets through.
    pub(super) fn add(&mut self, sender: Sender, wrong: bool, now: Moment) -> Option<u32> {
        if !self.senders.contains_key(&sender) {
            while self.began.len() >= SENDERS_MAX {
                if let Some(oldest) = self.began.pop_front() {
                    self.senders.remove(&oldest);
                }
            }
            self.began.push_back(sender.clone());
        }
        let refused = self.senders.entry(sender).or_insert(Refused {
            first: now,
            last: now,
            times: 0,
            wrong: 0,
        });
        refused.last = now;
        refused.times = refused.times.saturating_add(1);
        refused.wrong = refused.wrong.saturating_add(u32::from(wrong));
        refused.never_gets_through(now).then_some(refused.times)
    }

    /// An exchange that was opened then got through. Whether no other address of the same client is known that never
    /// does.
    pub(super) fn got_through(&mut self, sender: &Sender, opened: Instant, now: Moment) -> bool {
        match self.senders.get(sender) {
            // It had passed its login before the first refusal: tunnels live for hours, and passwords change.
            Some(refused) if opened < refused.first.instant => return false,
            Some(_) => {}
            None => return false,
        }
        self.senders.remove(sender);
        self.began.retain(|one| one != sender);
        let mut others = self
            .senders
            .iter()
            .filter(|((name, _), _)| *name == sender.0);
        !others.any(|(_, one)| now.since(one.last) < QUIET && one.never_gets_through(one.last))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.senders.len().max(self.began.len())
    }
}
