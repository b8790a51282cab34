//! How many client connections there may be, over all cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Connections beyond the cap that are answered 503 at a time; more are closed without a word.
pub(crate) const REFUSALS: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct Permits {
    open: Arc<AtomicUsize>,
    cap: usize,
    /// Who may not come in at all, and is being told so.
    denied: Arc<AtomicUsize>,
}

/// The place of one connection, free again when dropped.
#[derive(Debug)]
pub(crate) struct Held(Arc<AtomicUsize>);

/// What an arriving connection gets.
#[derive(Debug)]
pub(crate) enum Permit {
    Granted(Held),
    /// No place to be served in, but one to be told so.
    Full(Held),
    Overrun,
}

impl Permits {
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            open: Arc::default(),
            cap,
            denied: Arc::default(),
        }
    }

    /// A place to be told that one may not come in; it takes none from those who may.
    pub(crate) fn take_to_deny(&self) -> Option<Held> {
        let before = self.denied.fetch_add(1, Ordering::AcqRel);
        let held = Held(Arc::clone(&self.denied));
        (before < REFUSALS).then_some(held)
    }

    pub(crate) fn take(&self) -> Permit {
        let before = self.open.fetch_add(1, Ordering::AcqRel);
        let held = Held(Arc::clone(&self.open));
        if before < self.cap {
            Permit::Granted(held)
        } else if before < self.cap + REFUSALS {
            Permit::Full(held)
        } else {
            Permit::Overrun
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_is_kept_and_places_come_back() {
        let permits = Permits::new(2);
        let (first, second) = (permits.take(), permits.take());
        assert!(matches!(
            (&first, &second),
            (Permit::Granted(_), Permit::Granted(_))
        ));
        let refused: Vec<_> = (0..REFUSALS).map(|_| permits.take()).collect();
        assert!(
            refused
                .iter()
                .all(|permit| matches!(permit, Permit::Full(_)))
        );
        assert!(matches!(permits.take(), Permit::Overrun));
        let denied: Vec<_> = (0..REFUSALS).map(|_| permits.take_to_deny()).collect();
        assert!(denied.iter().all(Option::is_some) && permits.take_to_deny().is_none());
        drop(denied);
        assert!(permits.take_to_deny().is_some());
        drop((first, refused));
        assert!(matches!(permits.take(), Permit::Granted(_)));
        drop(second);
    }
}
