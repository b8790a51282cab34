//! A child process. Whatever happens to us, it ends: dropping it kills it, by its own handle.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::{ChildError, Folder};

const READY_WITHIN: Duration = Duration::from_secs(20);
const STOPS_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(25);
/// How much of what it said is worth showing.
const LAST_WORDS: usize = 4096;

/// A program that we started.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    child: tokio::process::Child,
    pid: u32,
    said: PathBuf,
}

impl Child {
    /// Starts it; what it prints goes to files of the folder. The name is what messages call it.
    pub fn start(
        name: &'static str,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        folder: &Folder,
    ) -> Result<Self, ChildError> {
        let said = folder.path(&format!("{name}.err"));
        let start = || {
            let child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(File::create(folder.path(&format!("{name}.out")))?)
                .stderr(File::create(&said)?)
                // A Ctrl-C at the terminal is for us; the child is stopped by us.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()?;
            let pid = child.id().ok_or_else(|| io::Error::other("no pid"))?;
            Ok((child, pid))
        };
        let (child, pid) = start().map_err(|source| ChildError::Io { name, source })?;
        Ok(Self {
            name,
            child,
            pid,
            said,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it takes work.
    pub async fn ready(&mut self, takes_work: impl AsyncFn() -> bool) -> Result<(), ChildError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.still_runs("before it was ready")?;
            if takes_work().await {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!("was not ready after {READY_WITHIN:?}")));
            }
            sleep(POLL).await;
        }
    }

    /// A child that ended by itself has no books to read. `when` is for the message.
    pub fn still_runs(&mut self, when: &str) -> Result<(), ChildError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(format!("ended with {status} {when}"))),
            Err(source) => Err(ChildError::Io {
                name: self.name,
                source,
            }),
        }
    }

    /// Waits for the end of a child that ends by itself, and well.
    pub async fn finish(&mut self, within: Duration) -> Result<(), ChildError> {
        match timeout(within, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.failed(format!("ended with {status}"))),
            Ok(Err(source)) => Err(ChildError::Io {
                name: self.name,
                source,
            }),
            Err(_) => Err(self.failed(format!("did not end within {within:?}"))),
        }
    }

    /// SIGTERM; its exit code, or `None` where a signal ended it, ours at the deadline included.
    pub async fn stop(&mut self) -> Result<Option<i32>, ChildError> {
        let stop = async {
            let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
            // A child that was waited for has no pid any more that would be ours to signal.
            if let (Some(pid), Some(_)) = (pid, self.child.id()) {
                kill_process(pid, Signal::TERM)?;
            }
            match timeout(STOPS_WITHIN, self.child.wait()).await {
                Ok(status) => Ok(status?.code()),
                Err(_) => {
                    self.child.kill().await?;
                    Ok(None)
                }
            }
        };
        stop.await.map_err(|source| ChildError::Io {
            name: self.name,
            source,
        })
    }

    /// Ends it at once; for children whose end is nobody's question.
    pub async fn kill(&mut self) -> Result<(), ChildError> {
        self.child.kill().await.map_err(|source| ChildError::Io {
            name: self.name,
            source,
        })
    }

    /// The end of its standard error.
    #[must_use]
    pub fn last_words(&self) -> String {
        let said = fs::read(&self.said).unwrap_or_default();
        let from = said.len().saturating_sub(LAST_WORDS);
        match String::from_utf8_lossy(&said[from..]).trim_end() {
            "" => "(nothing)".to_owned(),
            words => words.to_owned(),
        }
    }

    fn failed(&self, what: String) -> ChildError {
        ChildError::Failed {
            name: self.name,
            what,
            said: self.last_words(),
        }
    }
}
