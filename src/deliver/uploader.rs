//! Uploads alarms as the vendor's management agent does: every so often, and at once when it is told to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::board::Board;
use super::deliveries::Wants;
use super::desk::Desk;
use super::end;
use super::failures::Failures;
use super::notice::Notice;
use super::post::{Post, PostError};
use super::upload::{self, Terms, is_wanted};
use crate::config::Upload;
use crate::lifecycle::orders::{Answer, Asked, Refused, Uploaded};
use crate::telemetry::{Meters, Moment};

pub(super) struct Uploader {
    post: Post,
    upload: Upload,
    instance: String,
    timeout: Duration,
    /// The names of the configuration are no personal data, and a reload may change them.
    wants: watch::Receiver<Arc<Wants>>,
    desk: Desk,
    board: Board,
    failures: Failures,
}

impl Uploader {
    pub(super) fn new(
        post: Post,
        upload: Upload,
        instance: String,
        timeout: Duration,
        wants: watch::Receiver<Arc<Wants>>,
        board: Board,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            failures: Failures::new("upload", post.to().to_string(), meters),
            desk: Desk::new(upload.period, Moment::now().wall),
            post,
            upload,
            instance,
            timeout,
            wants,
            board,
        }
    }

    pub(super) async fn run(
        mut self,
        mut told: watch::Receiver<bool>,
        mut orders: mpsc::Receiver<Asked>,
    ) {
        let mut changes = self.board.watch();
        let mut due = Instant::now() + self.upload.period;
        loop {
            changes.borrow_and_update();
            let now = Moment::now();
            let mut next = due;
            if let Some(until) = self.board.silenced(now) {
                next = next.max(until.instant.into());
                self.desk.silent(&self.notices());
            }
            tokio::select! {
                biased;
                () = end(&mut told) => return,
                Some(asked) = orders.recv() => {
                    let done = self.at_once(&asked).await;
                    if matches!(done, Answer::Uploaded(_)) {
                        due = Instant::now() + self.upload.period;
                    }
                    // Whoever asked may have gone.
                    let _ = asked.answer.send(done);
                }
                () = sleep_until(next) => {
                    let pause = match self.upload().await {
                        Ok(_) => self.upload.period,
                        Err(error) => self.failures.one(&error, Instant::now()),
                    };
                    due = Instant::now() + pause;
                }
                _ = changes.changed() => {}
            }
        }
    }

    /// An operator who asks for it has it in a silence, too.
    async fn at_once(&mut self, asked: &Asked) -> Answer {
        let begun = Instant::now();
        let to = self.post.to().to_string();
        let by = asked.by;
        match self.upload().await {
            Ok(alarms) => {
                tracing::info!(action = "upload", %by, uid = by.uid(), pid = by.pid(), alarms, %to, "alarms uploaded");
                Answer::Uploaded(Uploaded {
                    alarms,
                    to,
                    took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                    minimum_severity: self.upload.minimum_severity.word().to_owned(),
                })
            }
            Err(error) => {
                tracing::warn!(action = "upload", %by, uid = by.uid(), pid = by.pid(), %to, cause = %error, "alarms not uploaded");
                let _ = self.failures.one(&error, Instant::now());
                Answer::Refused(Refused::because(format!("{to}: {error}")))
            }
        }
    }

    /// Uploads what is active, and what came or went since the last time; gives how many. Of nothing nothing is sent.
    async fn upload(&mut self) -> Result<usize, PostError> {
        let now = Moment::now();
        let alarms = self.notices();
        self.desk.tidy(&alarms);
        let news = self.desk.look(&alarms, now.wall);
        let cleared = news.changes.iter().filter(|notice| !notice.is_active());
        let all: Vec<Notice> = news.active.iter().chain(cleared).cloned().collect();
        if all.is_empty() {
            return Ok(0);
        }
        let body = self.body(&all, now)?;
        let sent = timeout(self.timeout, self.post.send("", body)).await;
        sent.unwrap_or(Err(PostError::TimedOut))?;
        let now = Instant::now();
        self.failures.none(now);
        self.desk.delivered(&news, now);
        Ok(all.len())
    }

    fn body(&self, all: &[Notice], now: Moment) -> Result<Vec<u8>, PostError> {
        let wants = self.wants.borrow();
        let names: &BTreeSet<String> = &wants.names;
        let terms = Terms {
            instance: &self.instance,
            least: self.upload.minimum_severity,
            key: self.upload.key.as_ref().map(|key| &key.secret),
            names,
        };
        upload::body(all, &terms, now.wall).map_err(|_| PostError::Internal)
    }

    fn notices(&self) -> Vec<Notice> {
        let least = self.upload.minimum_severity;
        let mut notices = self.board.notices();
        notices.retain(|notice| is_wanted(notice.severity, least));
        notices
    }
}
