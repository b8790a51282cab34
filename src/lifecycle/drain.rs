//! The drain: one `Drain` says it, every task that must finish first holds a `DrainWatch`.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is ending.
    Serving,
    /// No new work; requests finish; tunnels live until the moment given (`None`: as long as they like).
    Draining { tunnels_until: Option<Instant> },
}

/// Says that the end has begun, and waits for the holders of its watches.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
    held: mpsc::Sender<()>,
    last: mpsc::Receiver<()>,
}

/// Held by whoever must finish first.
#[derive(Debug, Clone)]
pub(crate) struct DrainWatch {
    phase: watch::Receiver<Phase>,
    _held: mpsc::Sender<()>,
}

/// Sees how far the end has come, and keeps nobody waiting.
#[derive(Debug, Clone)]
pub(crate) struct PhaseView(watch::Receiver<Phase>);

impl Drain {
    pub(crate) fn new() -> Self {
        let (held, last) = mpsc::channel(1);
        Self {
            phase: watch::Sender::new(Phase::Serving),
            held,
            last,
        }
    }

    pub(crate) fn watch(&self) -> DrainWatch {
        DrainWatch {
            phase: self.phase.subscribe(),
            _held: self.held.clone(),
        }
    }

    /// For whoever looks on and is not waited for.
    pub(crate) fn view(&self) -> PhaseView {
        PhaseView(self.phase.subscribe())
    }

    /// Begins the drain; tunnels keep `grace` from now (`None`: no end).
    pub(crate) fn begin(&self, grace: Option<Duration>) {
        let tunnels_until = grace.map(|grace| Instant::now() + grace);
        self.phase.send_replace(Phase::Draining { tunnels_until });
    }

    /// Returns when the last watch is dropped.
    pub(crate) async fn finished(self) {
        let Self {
            phase,
            held,
            mut last,
        } = self;
        drop(held);
        while last.recv().await.is_some() {}
        drop(phase);
    }
}

impl DrainWatch {
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase() != Phase::Serving
    }

    /// For a companion that nobody needs to wait for.
    pub(crate) fn view(&self) -> PhaseView {
        PhaseView(self.phase.clone())
    }

    /// Returns when a drain has begun.
    pub(crate) async fn begun(&mut self) {
        // The sender lives as long as the program; if it is gone, the end has come all the same.
        let _ = self.phase.wait_for(|phase| *phase != Phase::Serving).await;
    }
}

impl PhaseView {
    pub(crate) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase() != Phase::Serving
    }

    /// Returns when a drain has begun.
    pub(crate) async fn begun(&mut self) {
        let _ = self.0.wait_for(|phase| *phase != Phase::Serving).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_its_last_watch() {
        let drain = Drain::new();
        let mut watch = drain.watch();
        let view = drain.view();
        assert!(!watch.is_draining() && !view.is_draining());
        drain.begin(Some(Duration::from_secs(5)));
        watch.begun().await;
        assert_eq!(
            watch.phase(),
            Phase::Draining {
                tunnels_until: Some(Instant::now() + Duration::from_secs(5))
            }
        );
        let mut end = std::pin::pin!(drain.finished());
        assert!(
            tokio::time::timeout(Duration::from_secs(1), &mut end)
                .await
                .is_err(),
            "ended while a watch was held"
        );
        drop(watch);
        tokio::time::timeout(Duration::from_secs(1), end)
            .await
            .expect("ends with the last watch, whoever looks on");
        assert!(view.is_draining());
    }
}
