//! What is worth telling of a dial: its line's part, what the book learns, and the one cause where nothing connected.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::addresses::Resolution;
use super::connect::ConnectError;
use super::health::{self, HealthBook};
use super::resolve::ResolveError;
use super::{DialError, LEAD, parent, race};
use crate::exchange::{Attempt, DestinationName};
use crate::policy::ClearedAddr;
use crate::telemetry::Meters;

/// What is worth telling about the way to a connection. Filled as the dial goes on, so that one that is given up has
/// its story too.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) resolved: Vec<IpAddr>,
    pub(crate) attempts: Vec<Attempt>,
    /// Every address that could be dialled was, and each showed that it is dead, or is a parent's that got us no further.
    pub(crate) tried_all: bool,
    pub(crate) dns: Option<Duration>,
    /// How far beyond its time the name's answer was.
    pub(crate) dns_stale: Option<Duration>,
    pub(crate) connect: Option<Duration>,
}

pub(super) type Attempts = Vec<race::Attempt<ClearedAddr, ConnectError>>;

/// Writes the story when the dial ends, also when it is dropped.
pub(super) struct Telling<'a> {
    pub(super) attempts: Attempts,
    pub(super) resolution: RefCell<Resolution>,
    pub(super) begun: Instant,
    pub(super) destination: &'a DestinationName,
    pub(super) meters: &'a Meters,
    pub(super) health: &'a HealthBook,
    pub(super) story: &'a mut Story,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let resolution = std::mem::take(self.resolution.get_mut());
        self.note();
        self.story.attempts = self.attempts.iter().map(told).collect();
        for attempt in &self.story.attempts {
            self.meters.connect(
                self.destination,
                attempt.error.unwrap_or("ok"),
                attempt.took,
            );
        }
        self.story.resolved = resolution.resolved;
        self.story.dns = resolution.took;
        self.story.dns_stale = resolution.stale;
        if !self.attempts.is_empty() {
            self.story.connect = Some(
                self.begun
                    .elapsed()
                    .saturating_sub(resolution.took.unwrap_or_default()),
            );
        }
    }
}

impl Telling<'_> {
    /// Tells the book what the attempts say about their addresses. What is our own lack, or our client's, says nothing.
    fn note(&self) {
        let now = Instant::now();
        let winner = self
            .attempts
            .iter()
            .find(|attempt| attempt.outcome == race::Outcome::Connected);
        for attempt in &self.attempts {
            let outcome = match attempt.outcome {
                race::Outcome::Connected => health::Outcome::Connected,
                _ if blames(&attempt.outcome) => health::Outcome::Failed,
                race::Outcome::Lost
                    if winner.is_some_and(|won| attempt.took >= won.took + LEAD) =>
                {
                    health::Outcome::Overtaken
                }
                race::Outcome::Failed(_)
                | race::Outcome::TimedOut
                | race::Outcome::Lost
                | race::Outcome::Abandoned => continue,
            };
            let peer = attempt.addr.socket_addr();
            self.health
                .note(self.destination, peer, outcome, attempt.took, now);
        }
    }
}

/// Whether an attempt says that its address is sick; what is our own lack, or our client's, says nothing.
pub(super) fn blames(outcome: &race::Outcome<ConnectError>) -> bool {
    match outcome {
        race::Outcome::Failed(error) => error.blames_the_address(),
        race::Outcome::TimedOut => true,
        race::Outcome::Connected | race::Outcome::Lost | race::Outcome::Abandoned => false,
    }
}

/// Whether an attempt says that there is no way to the target by its address. A parent that lives and gets us no further
/// is no sick address, and yet no way.
pub(super) fn is_no_way(outcome: &race::Outcome<ConnectError>) -> bool {
    blames(outcome) || matches!(outcome, race::Outcome::Failed(ConnectError::Parent(_)))
}

pub(super) fn told(attempt: &race::Attempt<ClearedAddr, ConnectError>) -> Attempt {
    let error = match &attempt.outcome {
        race::Outcome::Connected => None,
        race::Outcome::Failed(error) => Some(error.token()),
        race::Outcome::Lost => Some("lost"),
        race::Outcome::TimedOut => Some("timed_out"),
        race::Outcome::Abandoned => Some("abandoned"),
    };
    Attempt {
        peer: attempt.addr.socket_addr(),
        took: attempt.took,
        error,
    }
}

/// The one cause of a dial that failed. Our own lack comes first, silence before refusals, names only where nothing
/// was tried.
pub(super) fn why(attempts: &Attempts, resolution: &mut Resolution) -> DialError {
    let parents = parent::ParentError::ALL.map(ConnectError::Parent);
    const BY_WEIGHT: [ConnectError; 8] = [
        ConnectError::OutOfResources,
        ConnectError::NoSource,
        ConnectError::TimedOut,
        ConnectError::Refused,
        ConnectError::Reset,
        ConnectError::Unreachable,
        ConnectError::Other,
        ConnectError::Ourselves,
    ];
    let failed = |wanted: ConnectError| {
        attempts.iter().any(|attempt| match &attempt.outcome {
            race::Outcome::Failed(error) => *error == wanted,
            race::Outcome::TimedOut => wanted == ConnectError::TimedOut,
            race::Outcome::Connected | race::Outcome::Lost | race::Outcome::Abandoned => false,
        })
    };
    // What a parent said says more than what another one did not.
    let mut by_weight = parents.into_iter().chain(BY_WEIGHT);
    if let Some(error) = by_weight.find(|error| failed(*error)) {
        return DialError::Connect(error);
    }
    match (resolution.denial.take(), resolution.error) {
        (Some(denial), _) => DialError::Denied(denial),
        _ if resolution.avoided => DialError::NoOther,
        _ if resolution.other_family => DialError::OtherFamily,
        (None, Some(error)) => DialError::Resolve(error),
        // The budget ended before the servers answered.
        (None, None) => DialError::Resolve(ResolveError::TimedOut),
    }
}
