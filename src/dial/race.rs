//! Staggered attempts under one deadline: the first that connects wins (RFC 8305 §5).
//!
//! It opens no socket and knows no address: `connect` is passed in. All attempts live in the caller's task, so whoever
//! drops the race drops them all.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::order::Order;

/// Attempts that start side by side at most, where no address is better than another.
const TOGETHER_MAX: usize = 16;

/// When attempts start and when all of them end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) deadline: Instant,
    /// How long an attempt stays alone before the next one joins it; less when many addresses must fit.
    pub(crate) attempt_delay: Duration,
}

/// One attempt, in the order of starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt<A, E> {
    pub(crate) addr: A,
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome<E>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome<E> {
    Connected,
    Failed(E),
    /// Another one won.
    Lost,
    /// The deadline came first.
    TimedOut,
    /// The race itself was dropped: its client left.
    Abandoned,
}

/// Nobody won. What happened to each address stands in the attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RaceError {
    /// `incoming` ended and had brought none.
    #[error("no address to connect to")]
    NoAddress,
    #[error("every address failed")]
    AllFailed,
    #[error("no address connected in time")]
    TimedOut,
}

/// Races `connect` over the addresses that come in, as they come, until one connects.
///
/// Before each start `order` sees all that wait, and the address tried last; what is to be tried together starts at once. An attempt starts at once when none runs or
/// one has just failed, else when the delay is over. The delay shrinks so that all known addresses start before the
/// deadline and the last of them still has its share of the time. Dropped or lost, every attempt ends with the race.
pub(crate) async fn race<A, S, E, F, O>(
    mut incoming: mpsc::Receiver<Vec<A>>,
    mut order: impl FnMut(VecDeque<A>, Option<&A>) -> O,
    mut connect: impl FnMut(&A) -> F,
    pace: Pace,
    attempts: &mut Vec<Attempt<A, E>>,
) -> Result<(A, S), RaceError>
where
    A: Clone,
    O: Into<Order<A>>,
    F: Future<Output = Result<S, E>>,
{
    let mut field = Field::new(attempts);
    let mut waiting = VecDeque::new();
    let mut more = true;
    // A failure calls the next address at once, also when that one is not known yet.
    let mut called = true;
    let mut last_start = Instant::now();
    loop {
        // What has come already takes part in the order of the next start.
        while let Ok(batch) = incoming.try_recv() {
            waiting.extend(batch);
        }
        let next_start = last_start + pace.delay(last_start, waiting.len());
        let now = Instant::now();
        // No timer stands between us and an attempt that is due: timers are a millisecond coarse.
        if (called || now >= next_start) && now < pace.deadline {
            let together;
            Order {
                addrs: waiting,
                together,
            } = order(waiting, field.last()).into();
            let at_once = if together { TOGETHER_MAX } else { 1 };
            let at_once = at_once.min(waiting.len());
            if at_once > 0 {
                for addr in waiting.drain(..at_once) {
                    let attempt = connect(&addr);
                    field.start(addr, now, attempt);
                }
                last_start = now;
                called = false;
                continue;
            }
            if !more && field.is_empty() {
                return Err(field.over());
            }
        }
        let wake = if waiting.is_empty() {
            pace.deadline
        } else {
            next_start.min(pace.deadline)
        };
        tokio::select! {
            biased;
            (addr, result) = field.next() => match result {
                Some(stream) => return Ok((addr, stream)),
                None => called = true,
            },
            batch = incoming.recv(), if more => match batch {
                Some(batch) => waiting.extend(batch),
                None => more = false,
            },
            () = sleep_until(wake) => if Instant::now() >= pace.deadline {
                field.close(|| Outcome::TimedOut);
                return Err(RaceError::TimedOut);
            },
        }
    }
}

impl Pace {
    /// How long the attempt that started last stays alone, with so many addresses waiting behind it.
    fn delay(self, last_start: Instant, waiting: usize) -> Duration {
        let left = self.deadline.saturating_duration_since(last_start);
        let shares = u32::try_from(waiting).unwrap_or(u32::MAX).saturating_add(1);
        self.attempt_delay.min(left / shares)
    }
}

/// The attempts under way, and the record of all.
struct Field<'a, A, E, F> {
    running: Vec<Running<F>>,
    attempts: &'a mut Vec<Attempt<A, E>>,
    /// Where this race begins in the record.
    first: usize,
}

struct Running<F> {
    /// Its place in the record.
    place: usize,
    started: Instant,
    attempt: Pin<Box<F>>,
}

impl<'a, A: Clone, E, F> Field<'a, A, E, F> {
    fn new(attempts: &'a mut Vec<Attempt<A, E>>) -> Self {
        Self {
            running: Vec::new(),
            first: attempts.len(),
            attempts,
        }
    }

    fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The address tried last.
    fn last(&self) -> Option<&A> {
        let own = &self.attempts[self.first..];
        own.last().map(|attempt| &attempt.addr)
    }

    /// Why a race ended without a deadline and without a winner.
    fn over(&self) -> RaceError {
        if self.attempts.len() == self.first {
            RaceError::NoAddress
        } else {
            RaceError::AllFailed
        }
    }

    fn start(&mut self, addr: A, now: Instant, attempt: F) {
        self.running.push(Running {
            place: self.attempts.len(),
            started: now,
            attempt: Box::pin(attempt),
        });
        self.attempts.push(Attempt {
            addr,
            took: Duration::ZERO,
            outcome: Outcome::Abandoned,
        });
    }

    /// The next attempt that ends, with its stream if it connected; never, while none runs.
    async fn next<S>(&mut self) -> (A, Option<S>)
    where
        F: Future<Output = Result<S, E>>,
    {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next<S>(&mut self, cx: &mut Context<'_>) -> Poll<(A, Option<S>)>
    where
        F: Future<Output = Result<S, E>>,
    {
        for index in 0..self.running.len() {
            let Poll::Ready(result) = self.running[index].attempt.as_mut().poll(cx) else {
                continue;
            };
            let ended = self.running.remove(index);
            let (stream, outcome) = match result {
                Ok(stream) => (Some(stream), Outcome::Connected),
                Err(error) => (None, Outcome::Failed(error)),
            };
            if stream.is_some() {
                self.close(|| Outcome::Lost);
            }
            let record = &mut self.attempts[ended.place];
            record.took = ended.started.elapsed();
            record.outcome = outcome;
            return Poll::Ready((record.addr.clone(), stream));
        }
        Poll::Pending
    }

    /// Drops all that run, at once.
    fn close(&mut self, outcome: impl Fn() -> Outcome<E>) {
        for running in self.running.drain(..) {
            let record = &mut self.attempts[running.place];
            record.took = running.started.elapsed();
            record.outcome = outcome();
        }
    }
}

impl<A, E, F> Drop for Field<'_, A, E, F> {
    /// Left over only when the race is dropped in mid-course.
    fn drop(&mut self) {
        for running in &self.running {
            self.attempts[running.place].took = running.started.elapsed();
        }
    }
}

#[cfg(test)]
mod tests;
