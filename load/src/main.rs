//! Arguments, then one call into the library, then what a person reads. It decides nothing.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks to its user"
)]

mod arguments;

use std::error::Error;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use rustix::process::{Resource, getrlimit, setrlimit};
use tidegate_load::bench;
use tidegate_load::cloud::{self, Cloud};
use tidegate_load::control::Control;
use tidegate_load::demo;
use tidegate_load::display::{Frame, chain};
use tidegate_load::drive::{Pace, drive};
use tidegate_load::failover;
use tidegate_load::guide::Moment;
use tidegate_load::measure::summary::CONFIRMED;
use tidegate_load::measure::{Latencies, Summary};
use tidegate_load::names::{self, Names};
use tidegate_load::onprem::{self, Books, Counts, PushLabel, Server};
use tidegate_load::relay::Relay;
use tidegate_load::run as scenario_run;
use tidegate_load::turns;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::arguments::{Command, CommandLine, Plan};

const FAILED: u8 = 1;

type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    raise_descriptors();
    // Dropping a command's future drops what it owns: processes, folders, sockets.
    let done = tokio::select! {
        done = run(command) => done,
        () = interrupted() => Err("interrupted".into()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidegate-load: {}", chain(&*error));
            ExitCode::from(FAILED)
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Cloud(arguments) => simulate(arguments).await,
        Command::Names(arguments) => resolve(arguments).await,
        Command::Onprem(arguments) => onprem(arguments).await,
        Command::Relay(arguments) => relay(arguments).await,
        Command::Bench(arguments) => measure(arguments).await,
        Command::Demo(arguments) => play(arguments).await,
        Command::Run(arguments) => scenario(arguments).await,
        Command::Errand(arguments) => errand(arguments).await,
    }
}

async fn simulate(arguments: arguments::Cloud) -> Result<ExitCode, Failure> {
    let cloud = Arc::new(Cloud::start(arguments.plan()).await?);
    std::fs::write(&arguments.ca, cloud.ca_pem())?;
    for (index, behavior) in &arguments.behaviors {
        if *index >= cloud.addrs().len() {
            return Err(format!("there is no address with index {index}").into());
        }
        cloud.set(*index, *behavior).await?;
    }
    for (index, addr) in cloud.addrs().iter().enumerate() {
        println!("{index} {addr}");
    }
    if let Some(port) = cloud.plain_port() {
        println!("in clear on port {port}");
    }
    println!("trust {}", arguments.ca.display());
    let _control = match arguments.control {
        Some(addr) => Some(told(cloud::control(cloud.clone(), addr).await?)),
        None => None,
    };
    forever().await
}

async fn resolve(arguments: arguments::Names) -> Result<ExitCode, Failure> {
    let names = Arc::new(Names::start_at(arguments.listen, arguments.ttl).await?);
    for (name, addresses) in arguments.names {
        names.set(&name, addresses);
    }
    println!("{} (UDP and TCP)", names.addr());
    let _control = match arguments.control {
        Some(addr) => Some(told(names::control(names.clone(), addr).await?)),
        None => None,
    };
    forever().await
}

/// What became of pushes, and what the guide would show of it.
#[derive(Debug, serde::Serialize)]
struct Pushed<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    counters: serde_json::Value,
    alarms: serde_json::Value,
}

async fn onprem(arguments: arguments::Onprem) -> Result<ExitCode, Failure> {
    let counts = Arc::new(Counts::default());
    let books = Arc::new(Books::default());
    let _control = match arguments.control {
        Some(addr) => {
            let control = onprem::control(books.clone(), counts.clone(), addr).await?;
            // Standard output may be JSON, and is the verdict's.
            eprintln!("control at http://{}/", control.addr());
            Some(control)
        }
        None => None,
    };
    let mut servers = Vec::new();
    for number in 1..=arguments.servers.get() {
        let (plan, client) = arguments.server(number, counts.clone(), books.clone())?;
        servers.push(Arc::new(Server::start(plan, client).await?));
    }
    let pace = Pace::new(arguments.rate, arguments.duration);
    let ends = drive(pace, interrupted(), |n, due| {
        let turn = usize::try_from(n).unwrap_or(0);
        let server = servers[turn % servers.len()].clone();
        // Every server has every kind, and every kind goes both ways: which pushes take absolute form is a matter of
        // turns, too.
        let own = turn / servers.len();
        let label = PushLabel::MIX[(own + own / PushLabel::MIX.len()) % PushLabel::MIX.len()];
        async move {
            let tracking_id = format!("{}-{n:06}", server.name());
            let outcome = server
                .push_as(label, "phone", &tracking_id, "incoming call")
                .await;
            (
                outcome.word(),
                Instant::now().saturating_duration_since(due),
            )
        }
    })
    .await;
    let mut answers = Latencies::default();
    for server in &servers {
        answers.add(&server.answers());
        server.close().await;
    }

    let summary = Summary::of(ends);
    let seen = counts.now();
    let mut frame = Frame::new().value("pushes", summary.pushes);
    for (outcome, count) in summary.outcomes.iter() {
        frame = frame.value(outcome, count);
    }
    frame = frame
        .value("confirmation, from when it was due", summary.times())
        .value(
            "answers in tunnels, from the last byte sent",
            times(&answers),
        )
        .value("CONNECTs answered 200", seen.established)
        .value("absolute-form requests answered", seen.forwarded)
        .value("407 answers", seen.challenged)
        .value("refused by the proxy", seen.refused);
    let now = Moment::now();
    let numbers = Pushed {
        summary: &summary,
        counters: books.counters().page(now.instant),
        alarms: books.alarms().page(now),
    };
    show(arguments.json, &numbers, &frame)?;
    Ok(if summary.outcomes.of(CONFIRMED) == summary.pushes {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

async fn relay(arguments: arguments::Relay) -> Result<ExitCode, Failure> {
    let relay = Relay::start(&arguments.plan())?;
    for addr in relay.addrs() {
        println!("{addr}");
    }
    forever().await
}

async fn measure(arguments: arguments::Bench) -> Result<ExitCode, Failure> {
    use arguments::Measured;
    let shown = io::stderr().is_terminal();
    let progress = |line: &str| {
        if shown {
            eprintln!("{line}");
        }
    };
    let (report, json) = match arguments.measured {
        Measured::Connect(arguments) => (
            bench::connect(&arguments.plan(), progress).await?,
            arguments.common.json,
        ),
        Measured::Idle(arguments) => (
            bench::idle(&arguments.plan(), progress).await?,
            arguments.common.json,
        ),
        Measured::Origin { listen } => {
            bench::serve_origin(listen).await?;
            return Ok(ExitCode::from(FAILED));
        }
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for line in report.lines() {
            println!("{line}");
        }
    }
    Ok(if report.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

async fn play(arguments: arguments::Demo) -> Result<ExitCode, Failure> {
    let report = demo::run(&arguments.plan(), |line| eprintln!("{line}")).await?;
    show(arguments.json, &report, &report.frame())?;
    if report.is_good() {
        eprintln!("good: no push was lost that should not have been, and the books agree");
        return Ok(ExitCode::SUCCESS);
    }
    for fault in report.faults() {
        eprintln!("FAILED: {fault}");
    }
    Ok(ExitCode::from(FAILED))
}

async fn scenario(arguments: arguments::Run) -> Result<ExitCode, Failure> {
    let progress = |line: &str| eprintln!("{line}");
    let (is_good, lines, json) = match arguments.plan() {
        Plan::Storm(plan) => {
            let report = scenario_run::run(&plan, progress).await?;
            let json = serde_json::to_string_pretty(&report)?;
            (report.is_good(), report.lines(), json)
        }
        Plan::Failover(plan) => {
            let report = failover::run(&plan, progress).await?;
            let json = serde_json::to_string_pretty(&report)?;
            (report.is_good(), report.lines(), json)
        }
        Plan::Turns(plan) => {
            let report = turns::run(&plan, progress).await?;
            let json = serde_json::to_string_pretty(&report)?;
            (report.is_good(), report.lines(), json)
        }
    };
    if arguments.json {
        println!("{json}");
    } else {
        for line in lines {
            println!("{line}");
        }
    }
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// On a thread of its own, which has a runtime of its own.
async fn errand(arguments: arguments::Errand) -> Result<ExitCode, Failure> {
    tokio::task::spawn_blocking(move || scenario_run::serve_errand(&arguments.file)).await??;
    Ok(ExitCode::SUCCESS)
}

fn show(as_json: bool, numbers: &impl serde::Serialize, frame: &Frame) -> Result<(), Failure> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(numbers)?);
    } else {
        for line in frame.lines() {
            println!("{line}");
        }
    }
    Ok(())
}

/// As many as the system lets us have. Where it does not, we find out when they run out.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn times(latencies: &Latencies) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!(
        "p50 {:.1} ms, p99 {:.1} ms",
        ms(latencies.quantile(0.5)),
        ms(latencies.quantile(0.99))
    )
}

/// Says where orders are taken.
fn told(control: Control) -> Control {
    println!("control at http://{}/", control.addr());
    control
}

/// Until we are interrupted, which ends us from outside.
async fn forever() -> Result<ExitCode, Failure> {
    std::future::pending().await
}

/// Ctrl-C or SIGTERM.
async fn interrupted() {
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
