//! What the servers saw of the proxy, counted on their side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts that several clients share.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) established: AtomicU64,
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
    /// 407 answers.
    pub challenged: u64,
    /// Answers that were neither 200 nor 407.
    pub refused: u64,
    /// CONNECTs that were sent and got no answer.
    pub unanswered: u64,
    /// CONNECTs with credentials that were not answered 407.
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
