//! A bounded queue of lines and the thread that writes them.
//!
//! Whoever pushes a line never waits: a disk that hangs or a pipe that nobody reads costs lines, which are counted,
//! and never time. The thread takes all that waits and writes it at once; it does not hold lines back to fill a buffer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use super::sink::{Lost, Sink};

/// As much as goes into one write, give or take a line.
const BATCH_BYTES: usize = 64 * 1024;
/// No line lost for so long, and the trouble is over. Without it, a queue at its brim would be reported twice a second.
const CALM: Duration = Duration::from_secs(10);

/// Where lines are handed in.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    queue: SyncSender<Message>,
    state: Arc<State>,
}

/// Holds the writing thread, until it is stopped.
#[derive(Debug)]
pub(crate) struct LineWriter {
    queue: SyncSender<Message>,
    state: Arc<State>,
    /// Nothing is ever sent: it ends with the thread.
    ended: Receiver<()>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Look at the flags.
    Wake,
}

struct State {
    name: &'static str,
    dropped: AtomicU64,
    losing: AtomicBool,
    reopen: AtomicBool,
    stop: AtomicBool,
    on_drop: Box<dyn Fn(u64) + Send + Sync>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("name", &self.name)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

/// Starts the thread. `on_drop` hears of every lost line, from whichever thread lost it.
pub(super) fn start(
    name: &'static str,
    sink: Sink,
    queue_lines: usize,
    on_drop: impl Fn(u64) + Send + Sync + 'static,
) -> io::Result<(Lines, LineWriter)> {
    start_with_calm(name, sink, queue_lines, on_drop, CALM)
}

fn start_with_calm(
    name: &'static str,
    sink: Sink,
    queue_lines: usize,
    on_drop: impl Fn(u64) + Send + Sync + 'static,
    calm: Duration,
) -> io::Result<(Lines, LineWriter)> {
    let (queue, waiting) = mpsc::sync_channel(queue_lines);
    let (running, ended) = mpsc::channel();
    let state = Arc::new(State {
        name,
        dropped: AtomicU64::new(0),
        losing: AtomicBool::new(false),
        reopen: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        on_drop: Box::new(on_drop),
    });
    let work = Work {
        waiting,
        sink,
        state: Arc::clone(&state),
        calm,
        _running: running,
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work.run())?;
    let writer = LineWriter {
        queue: queue.clone(),
        state: Arc::clone(&state),
        ended,
    };
    Ok((Lines { queue, state }, writer))
}

impl Lines {
    /// Hands in one line, with its line end. Never waits.
    pub(super) fn push(&self, line: Vec<u8>) {
        match self.queue.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.state.lost(1, &"the queue is full"),
            Err(TrySendError::Disconnected(_)) => self.state.lost(1, &"the writer has ended"),
        }
    }

    /// Opens the file anew, soon.
    pub(super) fn reopen(&self) {
        self.state.reopen.store(true, Ordering::SeqCst);
        // A full queue needs no wake: its writer is at work, and looks at the flag before every write.
        let _ = self.queue.try_send(Message::Wake);
    }
}

impl LineWriter {
    /// Writes what waits and ends the thread; gives up after `deadline`, so that a stuck disk can't hold the exit.
    /// True if everything was written.
    pub(crate) fn flush_and_stop(self, deadline: Duration) -> bool {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = self.queue.try_send(Message::Wake);
        self.ended.recv_timeout(deadline) == Err(RecvTimeoutError::Disconnected)
    }
}

impl State {
    fn lost(&self, lines: u64, cause: &dyn fmt::Display) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
        (self.on_drop)(lines);
        if !self.losing.swap(true, Ordering::SeqCst) {
            tracing::warn!(log = self.name, %cause, "log lines are being dropped");
        }
    }
}

struct Work {
    waiting: Receiver<Message>,
    sink: Sink,
    state: Arc<State>,
    calm: Duration,
    /// Dropped last, when everything is written.
    _running: mpsc::Sender<()>,
}

impl Work {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_BYTES);
        let mut trouble = Trouble::default();
        loop {
            batch.clear();
            let open = self.gather(&mut batch);
            if self.state.reopen.swap(false, Ordering::SeqCst) {
                self.reopen();
            }
            let written = match self.sink.write(&batch) {
                Ok(()) => Some(batch.len()),
                Err(Lost { lines, cause }) => {
                    // No line may be lost yet, one waits for its second half; it is trouble all the same.
                    self.state.lost(lines, &cause);
                    None
                }
            };
            trouble.look(&self.state, written, self.calm, Instant::now());
            let ending = self.state.stop.load(Ordering::SeqCst) && batch.is_empty();
            if ending || !open {
                break;
            }
        }
        let unfinished = self.sink.unfinished();
        if unfinished > 0 {
            self.state.lost(unfinished, &"the program ends");
        }
    }

    /// Waits for a line, then takes all that wait. False when nobody is left who could send one.
    fn gather(&self, batch: &mut Vec<u8>) -> bool {
        let first = if self.state.stop.load(Ordering::SeqCst) {
            self.waiting.try_recv().ok()
        } else if self.state.losing.load(Ordering::SeqCst) {
            match self.waiting.recv_timeout(self.calm) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        } else {
            match self.waiting.recv() {
                Ok(message) => Some(message),
                Err(_) => return false,
            }
        };
        let mut next = first;
        while let Some(message) = next {
            if let Message::Line(line) = message {
                batch.extend_from_slice(&line);
            }
            if batch.len() >= BATCH_BYTES {
                break;
            }
            next = self.waiting.try_recv().ok();
        }
        true
    }

    fn reopen(&mut self) {
        match self.sink.reopen() {
            Ok(()) => tracing::info!(log = self.state.name, "log file opened anew"),
            Err(Lost { lines: 0, cause }) => tracing::error!(
                log = self.state.name,
                %cause,
                "log file can't be opened anew, the old one stays in use"
            ),
            Err(Lost { lines, cause }) => self.state.lost(lines, &cause),
        }
    }
}

/// Notices when a time of losses is over.
#[derive(Debug, Default)]
struct Trouble {
    /// Lost lines at the end of the last trouble.
    settled: u64,
    /// Lost lines when last looked.
    last: u64,
    /// Since when lines are written and none is lost.
    calm_since: Option<Instant>,
}

impl Trouble {
    /// `written`: bytes of the last write, `None` if it failed.
    fn look(&mut self, state: &State, written: Option<usize>, calm: Duration, now: Instant) {
        if !state.losing.load(Ordering::SeqCst) {
            return;
        }
        let dropped = state.dropped.load(Ordering::Relaxed);
        if dropped != self.last || written.is_none() {
            self.last = dropped;
            self.calm_since = None;
        }
        if written.is_some_and(|bytes| bytes > 0) {
            self.calm_since.get_or_insert(now);
        }
        // Nothing lost for want of lines is no recovery: it takes one that was written.
        if self
            .calm_since
            .is_some_and(|since| now.duration_since(since) >= calm)
        {
            let lost = dropped - self.settled;
            self.settled = dropped;
            self.calm_since = None;
            state.losing.store(false, Ordering::SeqCst);
            tracing::warn!(log = state.name, lost, "log lines are written again");
        }
    }
}

#[cfg(test)]
mod tests;
