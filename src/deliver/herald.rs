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

pub(super) struct Herald {
    sink: Sink,
    instance: String,
    timeout: Duration,
    desk: Desk,
    board: Board,
    failures: Failures,
    /// What was sent last may have been lost with the connection that breaks soon after: when that was, and what the
    /// receiver knew before.
    last: Option<(Instant, Desk)>,
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
                match self.tell(&news).await {
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
            }
        }
        self.sink.close().await;
    }

    /// An error is the time to wait before the next try.
    async fn tell(&mut self, news: &News) -> Result<(), Duration> {
        let told = self.sink.deliver(news, &self.instance, Moment::now());
        let told = timeout(self.timeout, told).await;
        let now = Instant::now();
        match told.unwrap_or(Err(PostError::TimedOut)) {
            Ok(()) => {
                self.failures.none(now);
                self.last = Some((now, self.desk.clone()));
                self.desk.delivered(news, now);
                Ok(())
            }
            Err(error) => {
                // Whoever comes back may have forgotten everything.
                self.desk.again();
                Err(self.failures.one(&error, now))
            }
        }
    }

    /// A connection that was kept is gone: how long to wait before the next one. That an idle one ends is no news.
    fn broke(&mut self, error: &PostError) -> Duration {
        let now = Instant::now();
        let lost = self.last.take().filter(|(at, _)| now - *at < CALM);
        let pause = match lost {
            Some((_, before)) => {
                self.desk = before;
                self.failures.one(error, now)
            }
            None => Duration::ZERO,
        };
        self.desk.again();
        pause
    }
}

async fn at(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
