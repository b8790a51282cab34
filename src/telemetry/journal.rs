//! The journal: what changed, for people, on standard error.
//!
//! Log a change, count an event. Lines go through a bounded queue and a thread of their own, so that a standard error
//! that nobody reads can stop neither a core nor the program; and a full or closed one is no reason to panic.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;

use super::lines::{self, LineWriter, Lines};
use super::sink::Sink;
use crate::config::Level;

const QUEUE_LINES: usize = 4_096;
/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Keeps the journal open; the last lines are written when it is dropped.
#[derive(Debug)]
pub(crate) struct Journal {
    writer: Option<LineWriter>,
    level: LevelSwitch,
}

/// Sets the journal's level while it is open.
#[derive(Debug, Clone)]
pub(crate) struct LevelSwitch(reload::Handle<Targets, tracing_subscriber::Registry>);

impl LevelSwitch {
    pub(crate) fn set(&self, level: Level) {
        // An error means that the journal is closed: then nobody reads at any level.
        let _ = self.0.reload(targets(level));
    }
}

/// Why there is no journal.
#[derive(Debug)]
pub(crate) enum JournalError {
    Start(io::Error),
    Taken,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(_) => f.write_str("can't write the journal to standard error"),
            Self::Taken => f.write_str("this process has a journal already"),
        }
    }
}

impl Error for JournalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Start(source) => Some(source),
            Self::Taken => None,
        }
    }
}

impl Journal {
    /// Opens the journal of this process.
    pub(crate) fn start(level: Level) -> Result<Self, JournalError> {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colors = io::stderr().is_terminal() && !no_color;
        let sink = Sink::stderr().map_err(JournalError::Start)?;
        let (lines, writer) =
            lines::start("journal", sink, QUEUE_LINES, |_| {}).map_err(JournalError::Start)?;
        let (subscriber, level) = subscriber(level, lines, colors);
        tracing::subscriber::set_global_default(subscriber).map_err(|_| JournalError::Taken)?;
        Ok(Self {
            writer: Some(writer),
            level,
        })
    }

    pub(crate) fn level(&self) -> LevelSwitch {
        self.level.clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.flush_and_stop(LAST_LINES);
        }
    }
}

fn subscriber<W>(
    level: Level,
    writer: W,
    colors: bool,
) -> (impl tracing::Subscriber + Send + Sync, LevelSwitch)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Internal errors would go to standard error by a macro that panics when it is full.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(colors)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(writer);
    let (filter, switch) = reload::Layer::new(targets(level));
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    (subscriber, LevelSwitch(switch))
}

/// Our own lines from `level` up. Libraries log events, not changes: of them only what is broken.
fn targets(level: Level) -> Targets {
    let (ours, theirs) = match level {
        Level::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        Level::Warn => (LevelFilter::WARN, LevelFilter::ERROR),
        Level::Info => (LevelFilter::INFO, LevelFilter::ERROR),
        Level::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
        Level::Trace => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    Targets::new()
        .with_default(theirs)
        .with_target("tidegate", ours)
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = OneLine<'a>;

    fn make_writer(&'a self) -> OneLine<'a> {
        OneLine(self)
    }
}

/// Takes what the formatter writes: one whole line in one call.
#[derive(Debug)]
pub(super) struct OneLine<'a>(&'a Lines);

impl Write for OneLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error with all its causes: "a: b: c".
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::sync::{Arc, Mutex};

    #[derive(Debug, Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_level_holds_for_us_and_libraries_are_quieter() {
        let page = Page::default();
        let pen = page.clone();
        let (subscriber, switch) = subscriber(Level::Info, move || pen.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("too fine");
            tracing::info!(listener = "plain", "listening");
            tracing::warn!(target: "hickory_resolver", "chatter");
            tracing::info!("ready");
            switch.set(Level::Error);
            tracing::warn!("not any more");
            switch.set(Level::Debug);
            tracing::debug!("from now on");
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let (ts, rest) = lines[0].split_once(' ').unwrap();
        assert!(ts.starts_with("20") && ts.ends_with('Z'), "{ts}");
        assert_eq!(rest, r#" INFO listening listener="plain""#);
        assert!(lines[1].ends_with("INFO ready"), "{}", lines[1]);
        assert!(lines[2].ends_with("DEBUG from now on"), "{}", lines[2]);
    }

    #[test]
    fn a_full_or_unread_standard_error_ends_nobody() {
        let full = std::fs::File::options().write(true).open("/dev/full");
        check(full.unwrap().into());
        // Nobody reads from this pipe until the child has ended.
        check(Stdio::piped());
    }

    fn check(stderr: Stdio) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHATTER])
            .env(CHATTER, "1")
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        assert!(child.wait().unwrap().success());
    }

    const CHATTER: &str = "telemetry::journal::tests::chatter";

    /// Takes the journal of its process: the test above starts it in one of its own.
    #[test]
    fn chatter() {
        if std::env::var_os(CHATTER).is_none() {
            return;
        }
        let journal = Journal::start(Level::Info).unwrap();
        for number in 0..3 * QUEUE_LINES {
            tracing::warn!(
                number,
                "a line that is long enough to fill any pipe before long"
            );
        }
        drop(journal);
    }

    #[test]
    fn a_chain_names_every_cause() {
        let cause = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = JournalError::Start(cause);
        assert_eq!(
            Chain(&error).to_string(),
            "can't write the journal to standard error: permission denied"
        );
    }
}
