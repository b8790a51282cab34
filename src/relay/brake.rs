//! Slows bytes down where they are limited: what has moved is paid for before the next may.
//!
//! The first bytes after a silence pass at once, so no push waits for itself. A stream that nothing limits has no brake.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// Where bytes are paid for; many streams may share it.
pub(crate) trait Toll: fmt::Debug {
    /// Pays for bytes that have moved; until when to wait with the next.
    fn pay(&self, bytes: usize, now: Instant) -> Instant;

    /// As much as should move at once.
    fn piece(&self) -> usize;
}

/// The brake of one stream, both its directions.
#[derive(Debug)]
pub(crate) struct Brake {
    toll: Box<dyn Toll>,
    held: Option<Pin<Box<Sleep>>>,
}

impl Brake {
    pub(crate) fn new(toll: impl Toll + 'static) -> Self {
        Self {
            toll: Box::new(toll),
            held: None,
        }
    }

    /// Ready when more may move, and how much at once.
    pub(super) fn poll_free(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if let Some(held) = &mut self.held {
            ready!(held.as_mut().poll(cx));
            self.held = None;
        }
        Poll::Ready(self.toll.piece())
    }

    pub(super) fn moved(&mut self, bytes: usize) {
        let now = Instant::now();
        let until = self.toll.pay(bytes, now);
        if until <= now {
            return;
        }
        match &mut self.held {
            Some(held) => held.as_mut().reset(until),
            None => self.held = Some(Box::pin(sleep_until(until))),
        }
    }
}
