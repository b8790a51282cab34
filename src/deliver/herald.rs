//! Tells one receiver of alarms what changes and what is active, for as long as the program runs.
//!
//! Waits for nobody but its own receiver. While that is away nothing piles up: what is to be told is looked up anew
//! before each try.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::board::Board;
use super::desk::{Desk, News};
use super::end;
use super::post::PostError;
use super::sink::Sink;
use super::trouble::{CALM, Trouble};
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

/// How deliveries to one receiver fail: counted, told once, and followed by a pause.
pub(super) struct Failures {
    sink: &'static str,
    place: String,
    meters: Arc<Meters>,
    trouble: Trouble,
    backoff: Backoff,
    /// Since when none has failed.
    well_since: Option<Instant>,
}

impl Failures {
    pub(super) fn new(sink: &'static str, place: String, meters: Arc<Meters>) -> Self {
        meters.alarm_deliveries_begin(sink);
        Self {
            sink,
            place,
            meters,
            trouble: Trouble::default(),
            backoff: Backoff::default(),
            well_since: None,
        }
    }

    pub(super) fn none(&mut self, now: Instant) {
        self.meters.alarm_delivery(self.sink, "ok");
        self.well_since.get_or_insert(now);
        if self.trouble.ends() {
            tracing::info!(sink = self.sink, to = %self.place, "alarms are delivered again");
        }
    }

    /// How long to wait before the next try.
    pub(super) fn one(&mut self, error: &PostError, now: Instant) -> Duration {
        self.meters.alarm_delivery(self.sink, error.token());
        if self.well_since.is_some_and(|since| now - since >= CALM) {
            self.backoff = Backoff::default();
        }
        self.well_since = None;
        if self.trouble.is_news(error.kind(), now) {
            tracing::warn!(sink = self.sink, to = %self.place, cause = %error, "alarms cannot be delivered: it is tried again");
        }
        let mut chance = [0];
        // Without chance the pauses are only the longer.
        let _ = aws_lc_rs::rand::fill(&mut chance);
        self.backoff.jittered(chance[0])
    }
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
