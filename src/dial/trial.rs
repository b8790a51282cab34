//! An attempt beside the exchanges, to learn what an address is like; closed as soon as it is known.
//!
//! Only addresses that were cleared for an exchange a moment ago are tried: no list is walked, no timer asks.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::connect::ConnectError;
use super::health::{Claim, Outcome};
use super::{Dialer, parents};
use crate::policy::{Cleared, ClearedAddr};

/// Trials that one exchange starts at most; the next one starts the rest.
const AT_ONCE: usize = 4;

impl Dialer {
    /// Tries addresses that are due for it, beside the exchanges: no exchange pays for what they turn out to be.
    pub(super) fn try_out(
        &self,
        cleared: &Cleared,
        owners: &parents::Owners,
        trail: &str,
        offered: &[ClearedAddr],
        won: ClearedAddr,
    ) {
        let now = Instant::now();
        let destination = &cleared.destination().name;
        let others = offered.iter().filter(|addr| **addr != won);
        let claims = others.filter_map(|addr| {
            let claim = self.health.claim(destination, addr.socket_addr(), now)?;
            Some((*addr, claim))
        });
        let patience = self.budget(cleared);
        for (addr, claim) in claims.take(AT_ONCE) {
            let (dialer, cleared, owners) = (self.clone(), cleared.clone(), owners.clone());
            let trail = String::from(trail);
            // A parent is tried as an exchange would: that it accepts connections says nothing of what it does.
            let attempt = async move {
                let connected = dialer.attempt(&cleared, addr, &owners, &trail).await;
                connected.map(drop)
            };
            tokio::task::spawn_local(run(attempt, claim, patience));
        }
    }
}

/// Tries and notes. An end that is our own fault leaves everything as it was.
async fn run(
    attempt: impl Future<Output = Result<(), ConnectError>>,
    claim: Claim,
    patience: Duration,
) {
    let begun = Instant::now();
    let outcome = match timeout(patience, attempt).await {
        Ok(Ok(())) => Outcome::Connected,
        Ok(Err(error)) if !error.blames_the_address() => return,
        Ok(Err(_)) | Err(_) => Outcome::Failed,
    };
    let now = Instant::now();
    claim.note(outcome, now - begun, now);
}
