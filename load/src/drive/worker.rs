//! The loop that starts every push when it is due. Pace and stop are passed in.

use std::future::Future;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Pace;

/// A bound on pushes under way; a system that far behind has failed anyhow, and the loop waits.
const UNDER_WAY_MAX: usize = 20_000;

/// Starts `push(n, due)` for every n of the pace, each on time, until `stop` resolves; then waits for those that
/// are under way, and hands back what they returned, in no order.
pub async fn drive<T, F>(
    pace: Pace,
    stop: impl Future<Output = ()>,
    mut push: impl FnMut(u64, Instant) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    let mut ends = Vec::new();
    let mut next = 0;
    tokio::pin!(stop);
    while let Some(due) = pace.due(next).map(|offset| start + offset) {
        tokio::select! {
            biased;
            () = &mut stop => break,
            // Collected as they come, so that a long run holds no finished tasks.
            Some(end) = under_way.join_next() => ends.extend(end.ok()),
            () = tokio::time::sleep_until(due), if under_way.len() < UNDER_WAY_MAX => {
                under_way.spawn(push(next, due));
                next += 1;
            }
        }
    }
    while let Some(end) = under_way.join_next().await {
        ends.extend(end.ok());
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_push_that_takes_long_delays_no_other() {
        let pace = Pace::new(10.0, Duration::from_secs(1));
        let mut late = drive(pace, pending(), |n, due| async move {
            let late = Instant::now() - due;
            tokio::time::sleep(Duration::from_secs(60)).await;
            (n, late)
        })
        .await;
        late.sort_unstable();
        assert_eq!(late.len(), 10);
        assert!(
            late.iter()
                .all(|(_, late)| *late < Duration::from_millis(5)),
            "{late:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn stop_ends_it_and_what_is_under_way_is_waited_for() {
        let pace = Pace::new(1.0, Duration::from_secs(100));
        let stop = tokio::time::sleep(Duration::from_millis(2500));
        let ends = drive(pace, stop, |n, _| async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            n
        })
        .await;
        assert_eq!(ends.len(), 3);
    }
}
