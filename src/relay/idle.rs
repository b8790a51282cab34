//! Origin connections kept between forwarded requests: the core's own, bounded, aged.
//!
//! Only a connection whose last reply was read to its end comes in here, and only one that is still open goes out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::forward::Origin;
use crate::policy::Cleared;

/// How long a connection may take to be ready again after the last byte of a reply. It needs none, or will never be.
const SETTLING: Duration = Duration::from_secs(1);

/// The connections that wait.
#[derive(Debug, Clone)]
pub(crate) struct Idle {
    /// The longest unused in front.
    kept: Rc<RefCell<VecDeque<Origin>>>,
    cap: usize,
    age: Duration,
}

impl Idle {
    /// Keeps `cap` connections for `age` at most.
    pub(crate) fn new(cap: usize, age: Duration) -> Self {
        Self {
            kept: Rc::default(),
            cap,
            age,
        }
    }

    /// The connection to this target that was used last, if that was within `fresh`.
    ///
    /// What another policy cleared is not taken: it may lead where this one would not.
    pub(crate) fn take(
        &self,
        cleared: &Cleared,
        tls: bool,
        fresh: Duration,
        now: Instant,
    ) -> Option<Origin> {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|origin| {
            now.saturating_duration_since(origin.used) < self.age && origin.is_ready()
        });
        let fits = |origin: &Origin| {
            origin.tls == tls
                && origin.cleared.is_the_same(cleared)
                && now.saturating_duration_since(origin.used) <= fresh
        };
        let place = kept.iter().rposition(fits)?;
        kept.remove(place)
    }

    /// Takes a connection back, once it is ready for another request.
    pub(crate) async fn keep(self, mut origin: Origin) {
        if self.cap == 0 || !matches!(timeout(SETTLING, origin.ready()).await, Ok(Ok(()))) {
            return;
        }
        origin.used = Instant::now();
        origin.reused = true;
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= self.cap {
            kept.pop_front();
        }
        kept.push_back(origin);
    }

    /// Lets go of what is too old or was closed by the origin.
    pub(crate) fn sweep(&self, now: Instant) {
        self.kept.borrow_mut().retain(|origin| {
            now.saturating_duration_since(origin.used) < self.age && origin.is_ready()
        });
    }
}
