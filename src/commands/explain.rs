//! `tidegate explain TARGET`: what would happen to a request, station by station, and why.
//!
//! A dry run: names are asked as the proxy would, nothing is sent to the target and the running proxy is not asked. The
//! decisions are those of the proxy's own rooms.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::account::{Account, AccountError, Question};
use crate::config;
use crate::exchange::{ListenerName, UserName};

const PASSES: u8 = 0;
const REFUSED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const BAD_CONFIGURATION: u8 = 78;

/// `tidegate explain TARGET [--config FILE] [--user NAME] [--from ADDRESS] [--listener NAME] [--json]`
#[derive(Debug, Args)]
pub struct Explain {
    /// HOST:PORT as in a CONNECT, or an http:// or https:// URI as in a forwarded request
    target: String,
    /// The configuration file; without it, the embedded default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As whom the client logs in
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// The listener it comes to; without it, the first that serves the address
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// One object, for programs
    #[arg(long)]
    json: bool,
}

impl Explain {
    /// The account goes to `out`, complaints to `err`. Exit code: 0 it would pass, 1 it would be refused.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
        let config = match config::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(complaints) => {
                let _ = writeln!(err, "{complaints}");
                return BAD_CONFIGURATION;
            }
        };
        let question = Question {
            target: &self.target,
            user: self.user.as_deref().map(UserName::new),
            from: self.from,
            listener: self.listener.as_deref().map(ListenerName::new),
        };
        let account = match Account::of(&config, &question) {
            Ok(account) => account,
            Err(error) => {
                let _ = writeln!(err, "{error}");
                return match error {
                    AccountError::NoListener(_) => WRONG_USAGE,
                    AccountError::Runtime(_) => REFUSED,
                };
            }
        };
        let text = if self.json {
            serde_json::to_string_pretty(&account).map(|json| json + "\n")
        } else {
            Ok(text(&account))
        };
        let written = text.map_err(io::Error::other).and_then(|text| {
            out.write_all(text.as_bytes())?;
            out.flush()
        });
        match written {
            Ok(()) if account.answer.passes => PASSES,
            // Whoever closed the pipe has read enough; the verdict stands.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && account.answer.passes => {
                PASSES
            }
            Ok(()) | Err(_) => REFUSED,
        }
    }
}

/// For people: what each station says, then the answer.
fn text(account: &Account) -> String {
    let mut text = format!("{}\n\n", account.request);
    let mut paragraph = |title: &str, lines: &[String]| {
        for (place, line) in lines.iter().enumerate() {
            let title = if place == 0 { title } else { "" };
            text.push_str(&format!("{title:<12} {line}\n"));
        }
    };
    for step in &account.steps {
        paragraph(step.station, &step.says);
    }
    let answer = &account.answer;
    paragraph("answer", std::slice::from_ref(&answer.says));
    paragraph("to do", answer.to_do.as_slice());
    text
}
