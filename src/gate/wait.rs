//! One exchange before one limit: a tunnel's place first, then its turn.
//!
//! Of all that wait for a turn one leads: it alone sleeps until the next turn is there, gives the turns out as the queue
//! says, and rings the bells of those that got one. Who leaves, or goes, hands the lead on. So a turn costs two wake-ups,
//! however many wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::limit::{Bell, Hold, Limit};
use super::limited::{Lack, Limited};
use super::limits::{Asking, Key, Waited};
use super::queue::Ticket;
use crate::exchange::Reason;

/// Nobody knows when a tunnel ends.
const PLACE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Place,
    Turn,
}

/// What came of a look.
enum Look {
    Through,
    Refused { lacks: Lack, after: Duration },
    Wait { until: Instant },
}

/// One that may have to wait. Leaves the queue when it is dropped.
struct Waiter<'a> {
    hold: &'a mut Hold,
    asking: &'a Asking<'a>,
    want: Want,
    ticket: Option<Ticket<Key>>,
    bell: Bell,
    /// When it gives up.
    until: Instant,
    /// When it began to wait.
    since: Option<Instant>,
}

/// Holds the exchange's key, with what was asked for once it is there.
pub(super) async fn wait(
    limit: &Arc<Limit>,
    asking: &Asking<'_>,
    waited: &mut Waited,
) -> Result<Hold, Limited> {
    let now = Instant::now();
    let (mut hold, terms) = limit.hold(&asking.key(limit.per), now);
    if terms.report_only {
        if let Some(reason) = try_out(&mut hold, asking, now) {
            waited.by(limit);
            let limit = Arc::clone(&limit.name);
            waited.would_refuse.get_or_insert((reason, limit));
        }
        return Ok(hold);
    }
    let mut waiter = Waiter {
        hold: &mut hold,
        asking,
        want: if asking.tunnel {
            Want::Place
        } else {
            Want::Turn
        },
        ticket: None,
        bell: Arc::new(Notify::new()),
        until: asking.until.min(now + terms.max_wait),
        since: None,
    };
    loop {
        let now = Instant::now();
        match waiter.look(now) {
            Look::Through if waiter.want == Want::Place => waiter.want = Want::Turn,
            Look::Through => break,
            Look::Refused { lacks, after } => {
                waited.by(limit);
                limit.meters.refused();
                return Err(Limited {
                    limit: Arc::clone(&limit.name),
                    lacks,
                    after,
                    due: waiter.until,
                });
            }
            Look::Wait { until } => {
                if waiter.since.is_none() {
                    waiter.since = Some(now);
                    waited.since.get_or_insert(now);
                    waited.by(limit);
                    limit.meters.waits();
                }
                tokio::select! {
                    () = waiter.bell.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
        }
    }
    drop(waiter);
    Ok(hold)
}

/// A limit that is only tried out: nobody waits, but what could have been had within `max_wait`, first come first
/// served, counts as had. Says what an exchange without that would have been refused for.
fn try_out(hold: &mut Hold, asking: &Asking<'_>, now: Instant) -> Option<Reason> {
    let reason = hold.with(|line, terms, _| {
        // What would not have had a place would not have come to its turn.
        if asking.tunnel {
            let has_place = line.has_place(terms);
            line.tunnels += 1;
            if !has_place {
                return Some(Reason::TunnelLimited);
            }
        }
        let pace = terms.pace?;
        let budget = asking.until.saturating_duration_since(now);
        let ahead = terms.max_wait.min(budget);
        let taken = line.turns.take_ahead(pace, now, ahead);
        taken.is_err().then_some(Reason::RateLimited)
    });
    hold.tunnel = asking.tunnel;
    reason
}

impl Waiter<'_> {
    fn look(&mut self, now: Instant) -> Look {
        match self.want {
            Want::Place => self.look_for_place(now),
            Want::Turn => self.look_for_turn(now),
        }
    }

    fn look_for_place(&mut self, now: Instant) -> Look {
        let Self {
            asking,
            ticket,
            bell,
            until,
            ..
        } = self;
        let look = self.hold.with(|line, terms, bells| {
            line.fill_places(terms, bells);
            let waiting = line.waiting.as_ref();
            let came = match ticket {
                Some(ticket) => waiting.is_none_or(|waiting| !waiting.places.holds(ticket)),
                // Nobody waits where there is a place: it would have been filled.
                None if line.has_place(terms) => {
                    line.tunnels += 1;
                    true
                }
                None => false,
            };
            if came {
                *ticket = None;
                return Look::Through;
            }
            if now >= *until {
                if let Some(ticket) = ticket.take() {
                    line.leave_places(&ticket);
                }
                let tunnels = terms.tunnels.unwrap_or_default();
                return Look::Refused {
                    lacks: Lack::Places { tunnels },
                    after: PLACE_AGAIN_AFTER,
                };
            }
            ticket.get_or_insert_with(|| {
                let places = &mut line.waiting().places;
                places.push(asking.client(), asking.priority, Arc::clone(bell))
            });
            Look::Wait { until: *until }
        });
        if matches!(look, Look::Through) {
            self.hold.tunnel = true;
        }
        look
    }

    fn look_for_turn(&mut self, now: Instant) -> Look {
        let Self {
            asking,
            ticket,
            bell,
            until,
            ..
        } = self;
        let look = self.hold.with(|line, terms, bells| {
            line.give_turns(terms, now, bells);
            let waiting = line.waiting.as_ref();
            let came = match (&ticket, terms.pace) {
                (Some(ticket), _) => waiting.is_none_or(|waiting| !waiting.turns.holds(ticket)),
                // Nobody is overtaken: who waits has been given all that there was.
                (None, Some(pace)) => line.turns.take(pace, now).is_ok(),
                (None, None) => true,
            };
            let Some(pace) = terms.pace.filter(|_| !came) else {
                *ticket = None;
                line.find_leader(bells);
                return Look::Through;
            };
            // When it would go if nobody but its own client waited: not sooner, whatever the others do.
            let (client, priority) = (asking.client(), asking.priority);
            let backlog = match (&ticket, waiting) {
                (None, Some(waiting)) => waiting.turns.backlog(&client, priority),
                (Some(_), _) | (None, None) => 0,
            };
            let next = line.turns.next(pace, now).max(now);
            let soonest = next + pace.times(backlog as u64);
            if now >= *until || soonest > *until {
                if let Some(ticket) = ticket.take() {
                    line.leave_turns(&ticket, bell, bells);
                }
                return Look::Refused {
                    lacks: Lack::Turns {
                        burst: pace.burst(),
                        window: pace.window(),
                    },
                    after: soonest - now,
                };
            }
            ticket.get_or_insert_with(|| {
                let turns = &mut line.waiting().turns;
                turns.push(client, priority, Arc::clone(bell))
            });
            Look::Wait {
                until: if line.leads(bell) {
                    next.min(*until)
                } else {
                    *until
                },
            }
        });
        if matches!(look, Look::Through) {
            self.hold.turn = true;
        }
        look
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        // What came while nobody looked goes back, for the next.
        if let Some(ticket) = self.ticket.take() {
            match self.want {
                Want::Place => {
                    self.hold.tunnel = self.hold.with(|line, _, _| line.leave_places(&ticket));
                }
                Want::Turn => {
                    let bell = &self.bell;
                    let leave = self
                        .hold
                        .with(|line, _, bells| line.leave_turns(&ticket, bell, bells));
                    self.hold.turn = leave;
                }
            }
        }
        if let Some(since) = self.since {
            // A wait that is given up has no caller that could bring the time.
            self.hold.limit.meters.waited(since.elapsed());
        }
    }
}
