//! Arguments, then one call, then the exit code; no logic.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tidegate::commands::capacity::Capacity;
use tidegate::commands::control::{Clients, Reach};
use tidegate::commands::doctor::Doctor;
use tidegate::commands::explain::Explain;
use tidegate::commands::export_acl::ExportAcl;
use tidegate::commands::passwd::Passwd;
use tidegate::commands::{check, control};

/// Measured: steadier than the system's allocator over many small tunnels.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A forward HTTP/HTTPS proxy for push-notification traffic.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (the same as no command at all)
    Run(Run),
    /// Check a configuration and every file it names, without binding anything
    Check {
        /// The configuration file
        #[arg(required_unless_present = "diff")]
        file: Option<PathBuf>,
        /// What a reload from OLD to NEW would apply at once, and what would need a restart
        #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "file")]
        diff: Option<Vec<PathBuf>>,
    },
    /// Have the running proxy read its configuration again; a bad one changes nothing
    Reload(Reach),
    /// Have the running proxy take no new work and end when its tunnels have, as SIGTERM does
    Drain(Reach),
    /// Have the running proxy upload its alarms at once, as alarms.upload says
    Upload(Reach),
    /// Show how the running proxy is
    Status {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        clients: Clients,
    },
    /// Hold back deliveries of alarms for a change window; without a time it shows whether they are
    Silence {
        /// For how long ("2h", at most 7d), or "off"
        time: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Test the way to every destination, and say what to do where it is not good
    Doctor(Doctor),
    /// Tell what would happen to a request, and why, without sending anything to its target
    Explain(Explain),
    /// Set a user's password in a users file
    Passwd(Passwd),
    /// List what the proxy has to reach, for the firewall team
    ExportAcl(ExportAcl),
    /// From users, calls and messages to transactions a second, tunnels, memory and limits
    Capacity(Capacity),
}

#[derive(Debug, Args)]
struct Run {
    /// The configuration file; without it, the embedded default (see config/tidegate.toml)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let CommandLine { command, run } = CommandLine::parse();
    let code = match command.unwrap_or(Command::Run(run)) {
        Command::Run(Run { config }) => tidegate::run(config.as_deref(), &mut io::stderr()),
        Command::Check { file, diff } => match (file, diff.as_deref()) {
            (_, Some([old, new])) => check::diff(old, new, &mut io::stdout()),
            (file, _) => check::run(&file.unwrap_or_default(), &mut io::stdout()),
        },
        Command::Reload(reach) => control::reload(&reach, &mut io::stdout(), &mut io::stderr()),
        Command::Drain(reach) => control::drain(&reach, &mut io::stdout(), &mut io::stderr()),
        Command::Upload(reach) => control::upload(&reach, &mut io::stdout(), &mut io::stderr()),
        Command::Status { reach, clients } => {
            control::status(&reach, &clients, &mut io::stdout(), &mut io::stderr())
        }
        Command::Silence { time, reach } => {
            let (out, err) = (&mut io::stdout(), &mut io::stderr());
            control::silence(&reach, time.as_deref(), out, err)
        }
        Command::Doctor(doctor) => doctor.run(&mut io::stdout(), &mut io::stderr()),
        Command::Explain(explain) => explain.run(&mut io::stdout(), &mut io::stderr()),
        Command::Passwd(passwd) => passwd.run(&mut io::stdout(), &mut io::stderr()),
        Command::ExportAcl(export) => export.run(&mut io::stdout(), &mut io::stderr()),
        Command::Capacity(capacity) => capacity.run(&mut io::stdout(), &mut io::stderr()),
    };
    ExitCode::from(code)
}
