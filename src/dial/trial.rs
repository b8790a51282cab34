//! An attempt beside the exchanges, to learn what an address is like; closed as soon as it is known.
//!
//! Only addresses that were cleared for an exchange a moment ago are tried: no list is walked, no timer asks.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::connect::ConnectError;
use super::health::{Claim, Outcome};

/// Trials that one exchange starts at most; the next one starts the rest.
pub(super) const AT_ONCE: usize = 4;

/// Tries and notes. An end that is our own fault leaves everything as it was.
pub(super) async fn run(
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
