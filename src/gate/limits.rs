//! `[[limit]]`: an exchange waits its turn first, in a queue that is fair between clients; only then it is refused.
//!
//! An exchange passes one limit after the other, the narrowest first, so that nobody takes of what all share before its
//! own share allows it. What it took of the first it gives back if a later one refuses it, or if its client leaves.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::hold_back::HoldBack;
use super::limit::{Hold, Limit, Terms};
use super::limited::Limited;
use super::network::network_of;
use super::wait::wait;
use crate::config::{self, LimitPer, Priority};
use crate::exchange::{ClientName, DestinationName, Reason, UserName};
use crate::telemetry::Meters;

/// The limits of one configuration. What they count is shared with the configurations before and after.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    all: Arc<[(Arc<Limit>, Terms)]>,
    hold_back: HoldBack,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Client(ClientName),
    User(UserName),
    Address(IpAddr),
    Destination(DestinationName),
    All,
    /// Those that came when all keys were in use.
    Others,
}

/// Whose turn it is about.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) sender: Option<&'a ClientName>,
    pub(crate) user: Option<&'a UserName>,
    pub(crate) address: IpAddr,
    pub(crate) destination: &'a DestinationName,
    pub(crate) priority: Priority,
    /// Whether it wants to become a tunnel.
    pub(crate) tunnel: bool,
    /// No wait is longer, whatever a limit allows.
    pub(crate) until: Instant,
}

/// What is worth telling about the wait. Filled as it goes on, so that one that is given up has its story too.
#[derive(Debug, Default)]
pub(crate) struct Waited {
    /// When it first had to wait.
    pub(crate) since: Option<Instant>,
    /// The last limit that made it wait, refused it, or would have.
    pub(crate) limit: Option<Arc<str>>,
    /// What it would have been refused for, and by which limit, had that not only been tried out.
    pub(crate) would_refuse: Option<(Reason, Arc<str>)>,
}

/// Proof that no limit stands in the way. Holds the places of a tunnel.
#[derive(Default)]
#[expect(
    clippy::box_collection,
    reason = "a tunnel that nothing limits pays one pointer"
)]
pub(crate) struct Pass(Option<Box<Vec<Hold>>>);

/// The limits on the bytes of one exchange.
pub(crate) struct Shares(Vec<Hold>);

impl Limits {
    /// No more than `held_max` refusals are held back at a time.
    pub(crate) fn new(limits: &[config::Limit], held_max: usize, meters: &Meters) -> Self {
        let none = Self {
            all: Arc::default(),
            hold_back: HoldBack::new(held_max),
        };
        none.renewed(limits, meters)
    }

    /// The limits of another configuration. One that keeps its name and what it is per keeps what it has counted.
    /// Changes nothing until it comes into force.
    pub(crate) fn renewed(&self, limits: &[config::Limit], meters: &Meters) -> Self {
        let known: BTreeMap<&str, &Arc<Limit>> = self
            .all
            .iter()
            .map(|(limit, _)| (&*limit.name, limit))
            .collect();
        let mut renewed: Vec<_> = limits
            .iter()
            .map(|limit| {
                let terms = Terms::new(limit);
                let name = limit.name.as_str();
                let counted = match known.get(name) {
                    Some(known) if known.per == limit.per => Arc::clone(known),
                    _ => {
                        let meters = meters.limit(name);
                        Arc::new(Limit::new(name.into(), limit.per, terms, meters))
                    }
                };
                (counted, terms)
            })
            .collect();
        renewed.sort_by_key(|(limit, _)| match limit.per {
            LimitPer::User => 0,
            LimitPer::Address => 1,
            LimitPer::Client => 2,
            LimitPer::Destination => 3,
            LimitPer::All => 4,
        });
        Self {
            all: renewed.into(),
            hold_back: self.hold_back.clone(),
        }
    }

    pub(crate) fn come_into_force(&self, now: Instant) {
        for (limit, terms) in &*self.all {
            limit.set_terms(*terms, now);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The limits that an exchange has to pass, in their order, each with what it is counted under.
    pub(crate) fn along(&self, asking: &Asking<'_>) -> impl Iterator<Item = (&str, String)> {
        self.all
            .iter()
            .map(|(limit, _)| (&*limit.name, asking.key(limit.per).to_string()))
    }

    /// Waits until every limit lets the exchange go on. A refusal is held back until the wait would have been over:
    /// whoever comes again at once after each is slowed down, and pays with its own connections. Dropping the future
    /// leaves every queue.
    pub(crate) async fn pass(
        &self,
        asking: &Asking<'_>,
        waited: &mut Waited,
    ) -> Result<Pass, Limited> {
        let mut holds = Vec::with_capacity(self.all.len());
        for (limit, _) in &*self.all {
            match wait(limit, asking, waited).await {
                Ok(hold) => holds.push(hold),
                Err(limited) => {
                    // What it took of the others is theirs again meanwhile.
                    drop(holds);
                    return Err(self.hold_back.until_due(limited, waited).await);
                }
            }
        }
        for hold in &mut holds {
            hold.turn = false;
        }
        holds.retain(|hold| hold.tunnel || hold.shaped);
        holds.shrink_to_fit();
        Ok(Pass((!holds.is_empty()).then(|| Box::new(holds))))
    }
}

impl Asking<'_> {
    pub(super) fn key(&self, per: LimitPer) -> Key {
        match per {
            LimitPer::Client => self.client(),
            LimitPer::User => self.user.map_or_else(
                || Key::Address(network_of(self.address)),
                |user| Key::User(user.clone()),
            ),
            LimitPer::Address => Key::Address(network_of(self.address)),
            LimitPer::Destination => Key::Destination(self.destination.clone()),
            LimitPer::All => Key::All,
        }
    }

    /// Between whom a queue is fair: the configured client, else the user, else the address.
    pub(super) fn client(&self) -> Key {
        match (self.sender, self.user) {
            (Some(sender), _) => Key::Client(sender.clone()),
            (None, Some(user)) => Key::User(user.clone()),
            (None, None) => Key::Address(network_of(self.address)),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => write!(f, "client {client}"),
            Self::User(user) => write!(f, "user {user}"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Destination(destination) => write!(f, "destination {destination}"),
            Self::All => f.write_str("all together"),
            Self::Others => f.write_str("all others together"),
        }
    }
}

impl Waited {
    pub(super) fn by(&mut self, limit: &Limit) {
        self.limit = Some(Arc::clone(&limit.name));
    }

    /// How long it has waited; `None` if nothing made it wait.
    pub(crate) fn took(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now.saturating_duration_since(since))
    }
}

impl Pass {
    fn holds(&self) -> &[Hold] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The limits on its bytes, if there are any.
    pub(crate) fn shares(&self) -> Option<Shares> {
        let shaping: Vec<Hold> = self
            .holds()
            .iter()
            .filter(|hold| hold.shaped)
            .map(Hold::again)
            .collect();
        (!shaping.is_empty()).then_some(Shares(shaping))
    }
}

impl Shares {
    /// Pays for bytes that have moved; until when to wait with the next.
    pub(crate) fn pay(&self, bytes: usize, now: Instant) -> Instant {
        let until = self.0.iter().map(|hold| hold.pay(bytes, now));
        until.fold(now, Instant::max)
    }

    /// As much as should move at once.
    pub(crate) fn piece(&self) -> usize {
        let pieces = self.0.iter().map(Hold::piece);
        pieces.min().unwrap_or(usize::MAX)
    }
}

fn names(holds: &[Hold]) -> Vec<&str> {
    holds.iter().map(|hold| &*hold.limit.name).collect()
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pass").field(&names(self.holds())).finish()
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shares").field(&names(&self.0)).finish()
    }
}

#[cfg(test)]
mod tests;
