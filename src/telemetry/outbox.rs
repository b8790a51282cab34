//! A bounded queue of lines for a collector that somebody else delivers to.
//!
//! Whoever pushes a line never waits: a collector that is away or slow costs lines, which are counted, and never time.
//! Opens no socket, and knows nothing of what the lines are sent in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// One line without its line end, and the moment it speaks of.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) at: SystemTime,
    pub(crate) line: Vec<u8>,
}

/// Where lines are handed in.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: Sender<Letter>,
    losses: Arc<Losses>,
}

/// The lines that wait to be delivered.
#[derive(Debug)]
pub(crate) struct Waiting {
    queue: Receiver<Letter>,
    losses: Arc<Losses>,
}

struct Losses {
    dropped: AtomicU64,
    /// Whether the journal says so already.
    told: AtomicBool,
    on_drop: Box<dyn Fn(u64) + Send + Sync>,
}

impl fmt::Debug for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Losses")
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

/// Both ends of a queue. `on_drop` hears of every lost line, from whichever thread lost it.
pub(crate) fn outbox(
    queue_lines: usize,
    on_drop: impl Fn(u64) + Send + Sync + 'static,
) -> (Outbox, Waiting) {
    let (queue, waiting) = mpsc::channel(queue_lines);
    let losses = Arc::new(Losses {
        dropped: AtomicU64::new(0),
        told: AtomicBool::new(false),
        on_drop: Box::new(on_drop),
    });
    let outbox = Outbox {
        queue,
        losses: Arc::clone(&losses),
    };
    let waiting = Waiting {
        queue: waiting,
        losses,
    };
    (outbox, waiting)
}

impl Outbox {
    /// Never waits.
    pub(crate) fn push(&self, letter: Letter) {
        match self.queue.try_send(letter) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.losses.lost(1, &"the queue is full"),
            Err(TrySendError::Closed(_)) => self.losses.lost(1, &"the program ends"),
        }
    }
}

impl Waiting {
    /// `None`: the queue was closed, and is empty.
    pub(crate) async fn next(&mut self) -> Option<Letter> {
        self.queue.recv().await
    }

    /// One that waits already.
    pub(crate) fn try_next(&mut self) -> Option<Letter> {
        self.queue.try_recv().ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes no more lines in; those that wait stay.
    pub(crate) fn close(&mut self) {
        self.queue.close();
    }

    pub(crate) fn lost(&self, lines: u64, cause: &dyn fmt::Display) {
        self.losses.lost(lines, cause);
    }

    /// Lines lost since the beginning.
    pub(crate) fn dropped(&self) -> u64 {
        self.losses.dropped.load(Ordering::Relaxed)
    }

    /// Whether the journal was told of losses that are not over.
    pub(crate) fn is_losing(&self) -> bool {
        self.losses.told.load(Ordering::SeqCst)
    }

    /// The losses are over: the next one is told again.
    pub(crate) fn settle(&self) {
        self.losses.told.store(false, Ordering::SeqCst);
    }
}

impl Losses {
    fn lost(&self, lines: u64, cause: &dyn fmt::Display) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
        (self.on_drop)(lines);
        if !self.told.swap(true, Ordering::SeqCst) {
            tracing::warn!(log = "access-log", %cause, "log lines are being dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_costs_the_newest_lines_and_counts_them() {
        let counted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&counted);
        let (outbox, mut waiting) = outbox(2, move |lines| {
            count.fetch_add(lines, Ordering::Relaxed);
        });
        for line in ["one", "two", "three"] {
            outbox.push(Letter {
                at: SystemTime::UNIX_EPOCH,
                line: line.into(),
            });
        }
        let lines: Vec<_> = std::iter::from_fn(|| waiting.try_next())
            .map(|letter| letter.line)
            .collect();
        assert_eq!(lines, [b"one", b"two"]);
        assert_eq!((counted.load(Ordering::Relaxed), waiting.dropped()), (1, 1));
        assert!(waiting.is_losing());
        waiting.settle();
        waiting.close();
        outbox.push(Letter {
            at: SystemTime::UNIX_EPOCH,
            line: Vec::new(),
        });
        assert_eq!(waiting.dropped(), 2);
        assert!(waiting.is_losing());
    }
}
