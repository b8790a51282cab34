//! `tidegate reload`, `drain`, `upload`, `status`: asks the running proxy over its control socket, and prints what it says.
//!
//! Opens that socket and nothing else. Prints for people, or the answer itself with `--json`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{habits, status};
use crate::config;
use crate::config::diff::Change;
use crate::lifecycle::orders::{Answer, Draining, Refused, Reloaded, SOCKET, Silence, Uploaded};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 78;

/// Longer than the proxy takes for anything that it is asked.
const PATIENCE: Duration = Duration::from_secs(90);
const ANSWER_MAX: u64 = 64 << 20;

/// How the running proxy is reached.
#[derive(Debug, Args)]
pub struct Reach {
    /// The configuration file that the proxy runs with: its admin.control_socket says where to ask
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// The control socket itself [default: /run/tidegate/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print the answer as it came, one line of JSON
    #[arg(long)]
    json: bool,
}

impl Reach {
    /// The default is for who names nothing: a file that names no socket must not lead to another proxy's.
    fn path(&self) -> Result<PathBuf, String> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        match &self.config {
            Some(file) => config::control_socket(file),
            None => Ok(PathBuf::from(SOCKET)),
        }
    }

    /// Asks, and gives the answer's line.
    fn ask(&self, path: &Path, request: &str) -> Result<String, String> {
        let failed = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => {
                    ": is tidegate running, and does its configuration set admin.control_socket?"
                }
                io::ErrorKind::ConnectionRefused => ": the tidegate that had it is gone",
                io::ErrorKind::PermissionDenied => {
                    ": its owner and group may use it; become one of them"
                }
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    ": no answer came; the journal may say why"
                }
                _ => "",
            };
            format!("cannot ask {}{hint}: {error}", path.display())
        };
        let ask = || {
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(format!("{request}\n").as_bytes())?;
            let mut answer = String::new();
            stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().map_err(failed)
    }
}

/// Exit code: 0 reloaded, 1 failed, 78 the new file is bad and changed nothing.
pub fn reload(reach: &Reach, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    run(reach, "reload", out, err)
}

/// Exit code: 0 it has begun, 1 failed.
pub fn drain(reach: &Reach, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    run(reach, "drain", out, err)
}

/// Exit code: 0 uploaded, or nothing to upload; 1 failed.
pub fn upload(reach: &Reach, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    run(reach, "upload", out, err)
}

/// Which clients `tidegate status` tells of.
#[derive(Debug, Args)]
pub struct Clients {
    /// Also its clients: their tunnels and bytes, and what each really uses
    #[arg(long)]
    clients: bool,
    /// Write what each client uses to a file, as JSON for support; no secrets are in it
    #[arg(long, value_name = "FILE", requires = "clients")]
    output: Option<PathBuf>,
    /// Numbers in the place of clients' names, users and addresses
    #[arg(long, requires = "clients")]
    anonymous: bool,
}

/// Exit code: 0 answered, 1 failed.
pub fn status(reach: &Reach, clients: &Clients, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let request = if clients.clients {
        "status --clients"
    } else {
        "status"
    };
    if !clients.anonymous && clients.output.is_none() {
        return run(reach, request, out, err);
    }
    let told = |answer: &mut Answer| match answer {
        Answer::Status(status) => {
            if clients.anonymous {
                habits::anonymize(status);
            }
            let Some(path) = &clients.output else {
                return Ok(None);
            };
            habits::write(status, path)
                .map_err(|error| format!("cannot write {}: {error}\n", path.display()))?;
            Ok(Some(format!("{} written\n", path.display())))
        }
        _ => Ok(None),
    };
    changed(reach, request, told, out, err)
}

/// Exit code: 0 answered, 1 failed.
pub fn silence(reach: &Reach, time: Option<&str>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let request = match time {
        // What holds a line's end would be two requests.
        Some(time) => format!("silence {}", time.replace(char::is_whitespace, "")),
        None => "silence".to_owned(),
    };
    run(reach, &request, out, err)
}

fn run(reach: &Reach, request: &str, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    changed(reach, request, |_| Ok(None), out, err)
}

/// Asks, and has the answer changed before it is told; or something else told in its place.
fn changed(
    reach: &Reach,
    request: &str,
    change: impl FnOnce(&mut Answer) -> Result<Option<String>, String>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let path = match reach.path() {
        Ok(path) => path,
        Err(why) => return print(err, &format!("{why}\n"), BAD_CONFIGURATION),
    };
    let line = match reach.ask(&path, request) {
        Ok(line) => line,
        Err(why) => return print(err, &format!("{why}\n"), FAILED),
    };
    let Ok(mut answer) = serde_json::from_str::<Answer>(&line) else {
        let words = "the proxy gave no answer that this version understands\n";
        return print(err, words, FAILED);
    };
    let before = answer.clone();
    match change(&mut answer) {
        Ok(None) => {}
        Ok(Some(instead)) => return print(out, &instead, DONE),
        Err(why) => return print(err, &why, FAILED),
    }
    // As it came, unless it was changed.
    let line = if answer == before {
        line
    } else {
        serde_json::to_string(&answer).unwrap_or_default() + "\n"
    };
    let (text, code) = told(&answer);
    match (reach.json, code) {
        (true, code) => print(out, &line, code),
        (false, DONE) => print(out, &text, code),
        (false, code) => print(err, &text, code),
    }
}

/// For people, and the exit code.
fn told(answer: &Answer) -> (String, u8) {
    match answer {
        Answer::Reloaded(reloaded) => (reloaded_text(reloaded), DONE),
        Answer::Draining(Draining {
            tunnels,
            tunnel_grace,
        }) => (
            format!(
                "draining: no new connections; {tunnels} tunnels are open, and may live on for {tunnel_grace}\n"
            ),
            DONE,
        ),
        Answer::Uploaded(uploaded) => (uploaded_text(uploaded), DONE),
        Answer::Silence(silence) => (silence_text(silence), DONE),
        Answer::Status(status) => (status::text(status), DONE),
        Answer::Refused(Refused {
            why, complaints, ..
        }) => {
            let lines = complaints.iter().map(|complaint| format!("{complaint}\n"));
            let text = format!(
                "{}refused, and nothing has changed: {why}\n",
                lines.collect::<String>()
            );
            (
                text,
                if complaints.is_empty() {
                    FAILED
                } else {
                    BAD_CONFIGURATION
                },
            )
        }
    }
}

fn silence_text(silence: &Silence) -> String {
    let active = silence.active;
    match &silence.until {
        Some(until) => format!(
            "silence until {until}: no alarm is delivered; active now: {active}, see /alarms\n"
        ),
        None => format!("no silence: alarms are delivered; active now: {active}\n"),
    }
}

fn reloaded_text(reloaded: &Reloaded) -> String {
    let Reloaded {
        new,
        applied,
        needs_restart,
        ..
    } = reloaded;
    let list = |changes: &[Change]| -> String {
        changes
            .iter()
            .map(|change| format!("  {change}\n"))
            .collect()
    };
    let mut text = match &applied[..] {
        [] => String::from("reloaded: nothing to apply\n"),
        applied => format!("reloaded; in force now:\n{}", list(applied)),
    };
    if !needs_restart.is_empty() {
        text += &format!(
            "needs a restart, and keeps its old value until then:\n{}",
            list(needs_restart)
        );
    }
    text + &format!("configuration {new}\n")
}

fn uploaded_text(uploaded: &Uploaded) -> String {
    let Uploaded {
        alarms,
        to,
        took_ms,
        minimum_severity,
    } = uploaded;
    match alarms {
        0 => format!(
            "nothing to upload to {to}: no alarm of at least {minimum_severity} is active, or has cleared since the last upload\n"
        ),
        1 => format!("uploaded 1 alarm to {to} in {took_ms} ms\n"),
        alarms => format!("uploaded {alarms} alarms to {to} in {took_ms} ms\n"),
    }
}

fn print(to: &mut dyn Write, text: &str, code: u8) -> u8 {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Ok(()) => code,
        // Whoever closed the pipe has read enough; the verdict stands.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(_) => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, text: &str, code: u8) {
        let answer = serde_json::from_str(answer).unwrap();
        assert_eq!(told(&answer), (text.to_owned(), code));
    }

    #[test]
    fn answers() {
        check(
            r#"{"answer":"reloaded","old":"a","new":"b","applied":[],"needs_restart":[]}"#,
            "reloaded: nothing to apply\nconfiguration b\n",
            0,
        );
        check(
            r#"{"answer":"reloaded","old":"a","new":"b","applied":[{"key":"log.level","what":"1 → 2"}],"needs_restart":[{"key":"x","what":"y"}]}"#,
            "reloaded; in force now:\n  log.level: 1 → 2\nneeds a restart, and keeps its old value until then:\n  x: y\nconfiguration b\n",
            0,
        );
        check(
            r#"{"answer":"refused","why":"draining"}"#,
            "refused, and nothing has changed: draining\n",
            1,
        );
        check(
            r#"{"answer":"refused","why":"a.toml is not a good configuration","complaints":["a.toml:1: x"]}"#,
            "a.toml:1: x\nrefused, and nothing has changed: a.toml is not a good configuration\n",
            78,
        );
        check(
            r#"{"answer":"silence","until":"2026-03-01T09:30:00.250Z","active":2}"#,
            "silence until 2026-03-01T09:30:00.250Z: no alarm is delivered; active now: 2, see /alarms\n",
            0,
        );
        check(
            r#"{"answer":"silence","until":null,"active":0}"#,
            "no silence: alarms are delivered; active now: 0\n",
            0,
        );
        check(
            r#"{"answer":"draining","tunnels":3,"tunnel_grace":"1800s"}"#,
            "draining: no new connections; 3 tunnels are open, and may live on for 1800s\n",
            0,
        );
        check(
            r#"{"answer":"uploaded","alarms":2,"to":"https://h:443","took_ms":7,"minimum_severity":"ERROR"}"#,
            "uploaded 2 alarms to https://h:443 in 7 ms\n",
            0,
        );
        check(
            r#"{"answer":"uploaded","alarms":0,"to":"https://h:443","took_ms":0,"minimum_severity":"ERROR"}"#,
            "nothing to upload to https://h:443: no alarm of at least ERROR is active, or has cleared since the last upload\n",
            0,
        );
    }
}
