//! `tidegate doctor`: what the way to every destination is like from this machine, a line each, the worst first.
//!
//! Looks and asks `HEAD /`; sends nothing that could be a push, and changes nothing.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::runtime::{Builder, LocalOptions};

use super::as_server::AsServer;
use crate::config::{self, Config};
use crate::dial::Dialer;
use crate::dial::health::HealthBook;
use crate::dial::operator::OperatorDialer;
use crate::dial::resolve::Resolver;
use crate::dial::tls::NativeRoots;
use crate::policy::{OwnAddresses, Policy};
use crate::probe::{self, Extras, Finding, Prober, Severity, running};
use crate::telemetry::{Derivation, GuideCounters, Meters};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 78;

/// `tidegate doctor [--config FILE] [--json] [--mtu] [--idle TIME]`
#[derive(Debug, Args)]
pub struct Doctor {
    /// The configuration file; without it, the embedded default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One object, for programs
    #[arg(long)]
    json: bool,
    /// Also whether requests of several full packets get through (path MTU)
    #[arg(long, conflicts_with = "as_server")]
    mtu: bool,
    /// Also whether connections live that are silent for so long, as "30m": it takes as long
    #[arg(long, value_name = "TIME", value_parser = config::units::duration_of_an_argument, conflicts_with = "as_server")]
    idle: Option<Duration>,
    #[command(flatten)]
    as_server: AsServer,
}

impl Doctor {
    /// The lines go to `out`, complaints to `err`; the exit code is 1 where something fails, and 0 with warnings.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
        if self.as_server.is_asked() {
            return self
                .as_server
                .run(self.config.as_deref(), self.json, out, err);
        }
        let config = match config::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(complaints) => {
                // Where nobody reads what is wrong, the exit code still says it.
                let _ = writeln!(err, "{complaints}");
                return BAD_CONFIGURATION;
            }
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = writeln!(err, "cannot start: {error}");
                return FAILED;
            }
        };
        if let Some(time) = self.idle {
            let _ = writeln!(err, "leaving connections silent for {} s …", time.as_secs());
        }
        let extras = Extras {
            mtu: self.mtu,
            idle: self.idle,
        };
        let findings = runtime.block_on(look(&config, extras));
        runtime.shutdown_background();
        let text = if self.json {
            json(&findings)
        } else {
            text(&findings)
        };
        let code = match count(&findings, Severity::Fail) {
            0 => DONE,
            _ => FAILED,
        };
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => code,
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
            Err(_) => FAILED,
        }
    }
}

/// With name servers, sources and parents as the proxy would use them.
async fn look(config: &Config, extras: Extras) -> Vec<Finding> {
    let meters = Arc::new(Meters::new(&[], &[]));
    let (resolver, answerer) = Resolver::new(&config.dns, Arc::clone(&meters));
    let native_roots = NativeRoots::load();
    tokio::task::spawn_local(answerer.run(config.dns.clone(), native_roots.clone()));
    let counters = GuideCounters::new(std::time::Instant::now());
    let dialer = Dialer::new(
        config.connect.clone(),
        config.tunnel.keepalive,
        resolver.clone(),
        meters,
        Arc::new(HealthBook::new(&config.connect)),
        native_roots.clone(),
        // What is found here raises no alarm: it is told at once.
        Arc::new(Derivation::new(Arc::default(), Arc::new(counters))),
    );
    let operator = OperatorDialer::new(
        resolver.clone(),
        config.connect.families,
        config.tunnel.keepalive,
    );
    let listeners = config.listeners.iter().map(|one| one.address);
    let own = OwnAddresses {
        bound: listeners.chain([config.admin.address]).collect(),
    };
    let policy = Policy::new(&config.destinations, config.policy.unlisted, own);
    let prober = Prober {
        dialer,
        policy: Arc::new(policy),
        native_roots,
        trail: String::from("1.1 tidegate-doctor"),
        handshake_timeout: config.forward.handshake_timeout,
    };
    let mut findings = probe::examine(prober, config, extras).await;
    let alarms = running::alarms(&operator, config.admin.address, &findings).await;
    findings.extend(alarms);
    // Stable: what was found of one host stays together.
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    let alike = findings.iter().filter(|one| one.severity == severity);
    alike.count()
}

fn text(findings: &[Finding]) -> String {
    let mut text: String = findings.iter().map(|one| format!("{one}\n")).collect();
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let failures = plural(count(findings, Severity::Fail), "failure");
    let warnings = plural(count(findings, Severity::Warn), "warning");
    text.push_str(&format!("{failures}, {warnings}\n"));
    text
}

fn json(findings: &[Finding]) -> String {
    let report = json!({
        "ok": count(findings, Severity::Fail) == 0,
        "failures": count(findings, Severity::Fail),
        "warnings": count(findings, Severity::Warn),
        "findings": findings,
    });
    format!("{report:#}\n")
}
