//! What the servers saw of the proxy, counted on their side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts that several clients share.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) established: AtomicU64,
    pub(super) forwarded: AtomicU64,
    pub(super) reached: AtomicU64,
    pub(super) challenged: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) authenticated: AtomicU64,
    open: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counted {
    /// CONNECTs answered 200.
    pub established: u64,
    /// Requests in absolute form that the target answered.
    pub forwarded: u64,
    /// Connections to the proxy itself that were opened for those.
    pub reached: u64,
    /// 407 answers.
    pub challenged: u64,
    /// Other answers of the proxy itself.
    pub refused: u64,
    /// Requests to the proxy that were sent and got no answer.
    pub unanswered: u64,
    /// Requests with credentials that were not answered 407.
    pub authenticated: u64,
    /// Tunnels open now.
    pub open: u64,
}

impl Counts {
    /// What they are now.
    #[must_use]
    pub fn now(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            established: read(&self.established),
            forwarded: read(&self.forwarded),
            reached: read(&self.reached),
            challenged: read(&self.challenged),
            refused: read(&self.refused),
            unanswered: read(&self.unanswered),
            authenticated: read(&self.authenticated),
            open: read(&self.open),
        }
    }
}

pub(super) fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Counts a request as unanswered unless it is told otherwise, also when a deadline drops the wait.
pub(super) struct Unanswered<'a>(Option<&'a Counts>);

impl<'a> Unanswered<'a> {
    pub(super) fn new(counts: &'a Counts) -> Self {
        Self(Some(counts))
    }

    /// It was answered, or never sent.
    pub(super) fn settled(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(counts) = self.0 {
            one_more(&counts.unanswered);
        }
    }
}

/// Counts a tunnel as open for as long as it lives.
#[derive(Debug)]
pub(super) struct OpenTunnel(Arc<Counts>);

impl OpenTunnel {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        one_more(&counts.open);
        Self(counts)
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
