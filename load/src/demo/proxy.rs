//! The proxy as a child process. Whatever happens to us, it ends: dropping it kills it, by its own handle.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::stage::Stage;
use super::{DemoError, admin, setup};

const READY_WITHIN: Duration = Duration::from_secs(20);
const STOPS_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(25);
/// How much of what it said is worth showing.
const LAST_WORDS: usize = 4096;

pub(super) struct Proxy {
    child: Child,
    said: PathBuf,
}

impl Proxy {
    pub(super) fn start(program: &Path, stage: &Stage) -> io::Result<Self> {
        let said = stage.folder.path("proxy.err");
        let child = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(&stage.config)
            .stdin(Stdio::null())
            .stdout(File::create(stage.folder.path("proxy.out"))?)
            .stderr(File::create(&said)?)
            // A Ctrl-C at the terminal is for us; the proxy is stopped by us.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, said })
    }

    /// Waits until it takes work.
    pub(super) async fn ready(mut self, admin: SocketAddr) -> Result<Self, DemoError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().map_err(setup("watching the proxy"))? {
                return Err(self.failed(format!("ended with {status} before it was ready")));
            }
            if admin::is_ready(admin).await {
                return Ok(self);
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!("was not ready after {READY_WITHIN:?}")));
            }
            sleep(POLL).await;
        }
    }

    /// A proxy that ended by itself has no books to read.
    pub(super) fn still_runs(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait().map_err(setup("watching the proxy"))? {
            None => Ok(()),
            Some(status) => Err(self.failed(format!("ended with {status} while pushes were sent"))),
        }
    }

    /// SIGTERM; its exit code, or `None` where a signal ended it, ours at the deadline included.
    pub(super) async fn stop(&mut self) -> io::Result<Option<i32>> {
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)?;
        }
        match timeout(STOPS_WITHIN, self.child.wait()).await {
            Ok(status) => Ok(status?.code()),
            Err(_) => {
                self.child.kill().await?;
                Ok(None)
            }
        }
    }

    /// The end of its standard error.
    pub(super) fn last_words(&self) -> String {
        let said = fs::read(&self.said).unwrap_or_default();
        let from = said.len().saturating_sub(LAST_WORDS);
        match String::from_utf8_lossy(&said[from..]).trim_end() {
            "" => "(nothing)".to_owned(),
            words => words.to_owned(),
        }
    }

    fn failed(&self, what: String) -> DemoError {
        DemoError::Proxy {
            what,
            said: self.last_words(),
        }
    }
}
