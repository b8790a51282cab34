//! The command lines of a run and of its drivers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tidegate_load::failover::{FailoverPlan, Part, SAMPLES_MAX};
use tidegate_load::run::RunPlan;
use tidegate_load::scenario::Scenario;
use tidegate_load::turns::TurnsPlan;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What is played: "storm", "failover", "turns", or a TOML file that is like the storm's
    #[arg(long, default_value = "storm", value_parser = scenario, value_name = "NAME|FILE")]
    scenario: Played,
    /// Only the run without limits, judged like the one with them: it must fail, with exit code 1
    #[arg(long)]
    without_limits: bool,
    #[command(flatten)]
    failover: Failover,
    #[command(flatten)]
    turns: Turns,
    /// The tidegate program; without it, the one next to this program
    #[arg(long, value_name = "PATH")]
    proxy: Option<PathBuf>,
    /// JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which kind of scenario.
#[derive(Debug, Clone)]
enum Played {
    Storm(Scenario),
    Failover,
    Turns,
}

/// What is to be done.
pub(crate) enum Plan {
    Storm(RunPlan),
    Failover(FailoverPlan),
    Turns(TurnsPlan),
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of failover")]
struct Failover {
    /// How many new proxies meet each trouble
    #[arg(long, default_value_t = SAMPLES_MAX, value_parser = clap::value_parser!(u8).range(1..=i64::from(SAMPLES_MAX)))]
    samples: u8,
    /// How long DNS is dead, in seconds
    #[arg(long, default_value = "60", value_parser = super::seconds, value_name = "SECONDS")]
    outage: Duration,
    /// These troubles only, separated by commas: refuse, hang, blackhole, reset, silent, dns, outage
    #[arg(long, value_delimiter = ',', value_parser = part, value_name = "TROUBLE")]
    only: Vec<Part>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of turns")]
struct Turns {
    /// How long the cloud thinks before it answers, in milliseconds, one after the other
    #[arg(long, value_delimiter = ',', default_value = "5,50,500,3000", value_parser = clap::value_parser!(u16).range(1..=5_000), value_name = "MS")]
    delays: Vec<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct Errand {
    /// What to do
    pub(crate) file: PathBuf,
}

impl Run {
    pub(crate) fn plan(&self) -> Plan {
        match &self.scenario {
            Played::Storm(scenario) => Plan::Storm(RunPlan {
                scenario: scenario.clone(),
                without_limits: self.without_limits,
                proxy: self.proxy.clone(),
                load: None,
            }),
            Played::Failover => Plan::Failover(FailoverPlan {
                proxy: self.proxy.clone(),
                samples: self.failover.samples,
                outage: self.failover.outage,
                only: self.failover.only.clone(),
            }),
            Played::Turns => {
                let delays = self.turns.delays.iter();
                Plan::Turns(TurnsPlan {
                    proxy: self.proxy.clone(),
                    delays: delays
                        .map(|ms| Duration::from_millis((*ms).into()))
                        .collect(),
                })
            }
        }
    }
}

fn scenario(text: &str) -> Result<Played, String> {
    match text {
        "storm" => return Ok(Played::Storm(Scenario::storm())),
        "failover" => return Ok(Played::Failover),
        "turns" => return Ok(Played::Turns),
        _ => {}
    }
    let content = fs::read_to_string(Path::new(text)).map_err(|error| error.to_string())?;
    let scenario = Scenario::parse(&content).map_err(|error| error.to_string())?;
    Ok(Played::Storm(scenario))
}

fn part(text: &str) -> Result<Part, String> {
    let part = Part::ALL.iter().find(|(_, word)| *word == text);
    part.map(|(part, _)| *part).ok_or_else(|| {
        let words = Part::ALL.map(|(_, word)| word).join(", ");
        format!("{text:?} is none of {words}")
    })
}
