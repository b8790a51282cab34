//! The command lines of a run and of its drivers.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use tidegate_load::run::RunPlan;
use tidegate_load::scenario::Scenario;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What is played: "storm", or a TOML file
    #[arg(long, default_value = "storm", value_parser = scenario, value_name = "NAME|FILE")]
    scenario: Scenario,
    /// Only the run without limits, judged like the one with them: it must fail, with exit code 1
    #[arg(long)]
    without_limits: bool,
    /// The tidegate program; without it, the one next to this program
    #[arg(long, value_name = "PATH")]
    proxy: Option<PathBuf>,
    /// JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Errand {
    /// What to do
    pub(crate) file: PathBuf,
}

impl Run {
    pub(crate) fn plan(&self) -> RunPlan {
        RunPlan {
            scenario: self.scenario.clone(),
            without_limits: self.without_limits,
            proxy: self.proxy.clone(),
            load: None,
        }
    }
}

fn scenario(text: &str) -> Result<Scenario, String> {
    if text == "storm" {
        return Ok(Scenario::storm());
    }
    let content = fs::read_to_string(Path::new(text)).map_err(|error| error.to_string())?;
    Scenario::parse(&content).map_err(|error| error.to_string())
}
