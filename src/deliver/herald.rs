//! Tells one receiver of alarms what changes and what is active, for as long as the program runs.
//!
//! Waits for nobody but its own receiver. While that is away nothing piles up: what is to be told is looked up anew
//! before each try.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::board::Board;
use super::desk::{Desk, News};
use super::end;
use super::failures::Failures;
use super::post::PostError;
use super::sink::Sink;
use super::trouble::CALM;
use crate::telemetry::{Meters, Moment};

/// A receiver without receipts that is not there, or takes nothing, is heard of within such a time.
const PROOF: Duration = Duration::from_secs(1);

pub(super) struct Herald {
    sink: Sink,
    instance: String,
    timeout: Duration,
    desk: Desk,
    board: Board,
    failures: Failures,
    /// What was sent last may be lost with the connection that breaks later: when that was, and what the receiver knew
    /// before.
    last: Option<(Instant, Desk)>,
    /// The connection before this one ended soon after it was used. Where it goes on so, it is how the receiver ends
    /// what is idle, and what was sent is not sent for ever.
    is_habit: bool,
}

impl Herald {
    pub(super) fn new(
        sink: Sink,
        instance: String,
        timeout: Duration,
        repeat: Duration,
        board: Board,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            failures: Failures::new(sink.name(), sink.place(), meters),
            sink,
            instance,
            timeout,
            desk: Desk::new(repeat, Moment::now().wall),
            board,
            last: None,
            is_habit: false,
        }
    }

    pub(super) async fn run(mut self, mut told: watch::Receiver<bool>) {
        let mut changes = self.board.watch();
        let mut ending = false;
        loop {
            changes.borrow_and_update();
            let now = Moment::now();
            let alarms = self.board.notices();
            let silenced = self.board.silenced(now);
            self.desk.tidy(&alarms);
            if silenced.is_some() {
                self.desk.silent(&alarms);
            } else if let Some(news) = self.desk.due(&alarms, now.instant.into(), now.wall) {
                match self.tell(&news, &mut told).await {
                    Ok(()) => {}
                    Err(_) if ending => break,
                    Err(pause) => {
                        tokio::select! {
                            biased;
                            () = end(&mut told), if !ending => ending = true,
                            () = sleep(pause) => {}
                        }
                    }
                }
                continue;
            }
            if ending {
                break;
            }
            let next = match silenced {
                Some(until) => Some(until.instant.into()),
                None => self.desk.next(),
            };
            tokio::select! {
                biased;
                () = end(&mut told) => ending = true,
                error = self.sink.broken() => {
                    let pause = self.broke(&error.into());
                    tokio::select! {
                        biased;
                        () = end(&mut told) => ending = true,
                        () = sleep(pause) => {}
                    }
                }
                _ = changes.changed() => {}
                () = at(next) => {}
                () = at(self.failures.over_at()) => self.failures.look(Instant::now()),
            }
        }
        self.sink.close().await;
    }

    /// An error is the time to wait before the next try.
    async fn tell(
        &mut self,
        news: &News,
        told: &mut watch::Receiver<bool>,
    ) -> Result<(), Duration> {
        let delivered = self.sink.deliver(news, &self.instance, Moment::now());
        let delivered = timeout(self.timeout, delivered).await;
        let delivered = match delivered.unwrap_or(Err(PostError::TimedOut)) {
            Ok(()) => self.prove(told).await,
            Err(error) => Err(error),
        };
        let now = Instant::now();
        match delivered {
            Ok(()) => {
                self.failures.none(now);
                self.sent(now);
                self.desk.delivered(news, now);
                Ok(())
            }
            Err(error) => {
                self.doubt(&error, now);
                Err(self.failures.one(&error, now))
            }
        }
    }

    /// That it was sent proves little where there are no receipts.
    async fn prove(&mut self, told: &mut watch::Receiver<bool>) -> Result<(), PostError> {
        if self.sink.has_receipts() {
            return Ok(());
        }
        tokio::select! {
            biased;
            error = self.sink.broken() => Err(error.into()),
            // Nobody will be there to try again.
            () = end(told) => Ok(()),
            () = sleep(PROOF) => Ok(()),
        }
    }

    /// It can be lost together with what was sent just before it.
    fn sent(&mut self, now: Instant) {
        if self.sink.has_receipts() {
            return;
        }
        let before = match self.last.take() {
            Some((at, before)) if now - at < CALM => before,
            Some(_) => {
                self.is_habit = false;
                self.desk.clone()
            }
            None => self.desk.clone(),
        };
        self.last = Some((now, before));
    }

    /// What the receiver may not have after such an error, it is to be told again; true if there is any.
    fn doubt(&mut self, error: &PostError, now: Instant) -> bool {
        let last = self.last.take();
        let last = last.filter(|(at, _)| now - *at < CALM || error.is_silence());
        let is_lost = last.is_some();
        if let Some((_, before)) = last {
            self.desk = before;
        }
        if error.is_away() || error.is_silence() {
            // Whoever comes back may have forgotten everything.
            self.desk.again();
        }
        is_lost
    }

    /// A connection that was kept is gone: how long to wait before the next try. That an idle one ends is no news, and
    /// the next one is made when there is something to tell.
    fn broke(&mut self, error: &PostError) -> Duration {
        let now = Instant::now();
        let was_used = self.last.as_ref().is_some_and(|(at, _)| now - *at < CALM);
        let is_habit = std::mem::replace(&mut self.is_habit, was_used);
        if was_used && is_habit && !error.is_away() && !error.is_silence() {
            self.last = None;
            return Duration::ZERO;
        }
        if self.doubt(error, now) {
            self.failures.one(error, now)
        } else {
            Duration::ZERO
        }
    }
}

pub(super) async fn at(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
