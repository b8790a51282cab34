//! Arguments, then one call, then the exit code; no logic.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tidegate::commands::as_server::AsServer;
use tidegate::commands::control::{Clients, Reach};
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
    /// Show how the running proxy is
    Status {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        clients: Clients,
    },
    /// Go through a proxy as a call server would, and tell where it is stuck
    Doctor {
        /// The configuration file; without it, the embedded default
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// One object, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        as_server: AsServer,
    },
    /// Tell what would happen to a request, and why, without sending anything to its target
    Explain(Explain),
    /// Set a user's password in a users file
    Passwd(Passwd),
    /// List what the proxy has to reach, for the firewall team
    ExportAcl(ExportAcl),
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
        Command::Status { reach, clients } => {
            control::status(&reach, &clients, &mut io::stdout(), &mut io::stderr())
        }
        Command::Doctor {
            config,
            json,
            as_server,
        } => as_server.run(
            config.as_deref(),
            json,
            &mut io::stdout(),
            &mut io::stderr(),
        ),
        Command::Explain(explain) => explain.run(&mut io::stdout(), &mut io::stderr()),
        Command::Passwd(passwd) => passwd.run(&mut io::stdout(), &mut io::stderr()),
        Command::ExportAcl(export) => export.run(&mut io::stdout(), &mut io::stderr()),
    };
    ExitCode::from(code)
}
