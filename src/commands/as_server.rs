//! `tidegate doctor --as-server URL`: through a proxy as a call server goes, step by step, a line each.
//!
//! Works with any proxy. Sends no push: at the far end of the tunnel it asks `HEAD /`. A password is never an argument,
//! never shown, and never sent where others could read it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::journey::Journey;
use super::prompt;
use crate::config::{self, Config, Parent, Password, Secret, identity};
use crate::exchange::Target;

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const BAD_CONFIGURATION: u8 = 78;

/// Where a call server pushes to.
const TARGET: &str = "push.webexconnect.com:443";

/// What of the way is shown, and how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    Ok,
    Note,
    Warn,
    Fail,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    pub(super) mark: Mark,
    pub(super) step: &'static str,
    pub(super) what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

/// The part of `tidegate doctor` that goes through a proxy.
#[derive(Debug, Args)]
pub struct AsServer {
    /// Go through this proxy as a call server would: http://proxy:3128, or https://… to a TLS listener
    #[arg(long, value_name = "URL")]
    as_server: Option<String>,
    /// As whom to log in; the password is asked for, or read from standard input
    #[arg(long, value_name = "NAME", requires = "as_server")]
    user: Option<String>,
    /// A file with the password
    #[arg(long, value_name = "FILE", requires = "as_server")]
    password_file: Option<PathBuf>,
    /// Where to go through the proxy
    #[arg(long, value_name = "HOST:PORT", default_value = TARGET, requires = "as_server")]
    target: String,
    /// Certificates to trust beside the system's, for the proxy and the target; PEM
    #[arg(long, value_name = "FILE", requires = "as_server")]
    ca: Option<PathBuf>,
}

impl AsServer {
    pub fn is_asked(&self) -> bool {
        self.as_server.is_some()
    }

    /// Each step goes to `out` when it is done. Exit code: 0 a push would get through, 1 it would not, 2 wrong usage.
    /// Of the configuration, only its name servers and families are used.
    pub fn run(
        &self,
        config: Option<&Path>,
        json: bool,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> u8 {
        let config = match config::load(config) {
            Ok(config) => config,
            Err(complaints) => {
                let _ = writeln!(err, "{complaints}");
                return BAD_CONFIGURATION;
            }
        };
        let journey = match self.journey(&config, err) {
            Ok(journey) => journey,
            Err(why) => {
                let _ = writeln!(err, "{why}");
                return USAGE;
            }
        };
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = writeln!(err, "cannot start: {error}");
                return FAILED;
            }
        };
        let mut steps = Vec::new();
        // Whoever closed the pipe has read enough; the verdict stands.
        let mut tell = |step: Step| {
            if !json {
                let _ = out
                    .write_all(line(&step).as_bytes())
                    .and_then(|()| out.flush());
            }
            steps.push(step);
        };
        LocalSet::new().block_on(&runtime, journey.go(&mut tell));
        // A question to a silent name server may still be under way.
        runtime.shutdown_background();
        let failed = steps.iter().any(|step| step.mark == Mark::Fail);
        if json {
            let all = serde_json::json!({ "passes": !failed, "steps": steps });
            let _ = writeln!(out, "{all:#}");
        }
        if failed { FAILED } else { DONE }
    }

    fn journey<'c>(&self, config: &'c Config, err: &mut dyn Write) -> Result<Journey<'c>, String> {
        let url = self.as_server.as_deref().unwrap_or_default();
        let proxy = Parent::of_url(url).map_err(|why| format!("--as-server: {why}"))?;
        let target = Target::from_connect(self.target.as_bytes())
            .map_err(|error| format!("--target: {error} (as {TARGET})"))?;
        let extra = match &self.ca {
            Some(path) => identity::authorities(path)
                .map_err(|error| format!("--ca: {}: {error}", path.display()))?,
            None => Vec::new(),
        };
        let user = self
            .user
            .clone()
            .or_else(|| proxy.user.as_deref().map(str::to_owned));
        let login = match (user, &self.password_file) {
            (None, None) => None,
            (None, Some(_)) => return Err("--password-file: whose? (--user NAME)".to_owned()),
            (Some(user), Some(path)) => {
                // The proxy's own files are looked for beside its configuration; this one is not.
                if !path.exists() {
                    return Err(format!(
                        "--password-file: {}: there is no such file",
                        path.display()
                    ));
                }
                let password = Password::read(path)
                    .map_err(|why| format!("--password-file: {}: {why}", path.display()))?;
                Some((user, password.secret))
            }
            (Some(user), None) => {
                let password = prompt::known_password(err).map_err(|error| error.to_string())?;
                Some((user, Secret::new(password.into_bytes())))
            }
        };
        Ok(Journey {
            proxy,
            target,
            login,
            extra,
            config,
        })
    }
}

/// `ok    connect   10.0.0.5:3128 (1 ms)`
fn line(step: &Step) -> String {
    let mark = match step.mark {
        Mark::Ok => "ok",
        Mark::Note => "note",
        Mark::Warn => "WARN",
        Mark::Fail => "FAIL",
    };
    let took = step.ms.map(|ms| format!(" ({ms} ms)")).unwrap_or_default();
    let remedy = step.remedy.iter().map(|remedy| format!(" -> {remedy}"));
    let remedy: String = remedy.collect();
    format!("{mark:<4}  {:<8}  {}{took}{remedy}\n", step.step, step.what)
}

impl Step {
    pub(super) fn new(mark: Mark, step: &'static str, what: impl Into<String>) -> Self {
        Self {
            mark,
            step,
            what: what.into(),
            ms: None,
            remedy: None,
        }
    }

    pub(super) fn took(self, took: Duration) -> Self {
        Self {
            ms: Some(took.as_millis()),
            ..self
        }
    }

    pub(super) fn warn(self, remedy: impl Into<String>) -> Self {
        Self {
            mark: Mark::Warn,
            ..self
        }
        .remedy(remedy)
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Self { remedy, ..self }
    }
}
