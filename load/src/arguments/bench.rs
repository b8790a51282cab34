//! The command lines of the relay and of the benchmarks that stand beside it.

use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU16};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tidegate_load::bench;
use tidegate_load::relay::RelayPlan;

#[derive(Debug, Args)]
pub(crate) struct Relay {
    /// Where to listen; may be repeated
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
    /// Where connections go; by turns where repeated
    #[arg(long, required = true, value_name = "IP:PORT")]
    to: Vec<SocketAddr>,
    /// How many threads
    #[arg(long, default_value = "1")]
    workers: NonZeroU8,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) measured: Measured,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Measured {
    /// CPU time per transaction: connect, CONNECT, 1 KB each way, close
    Connect(Connect),
    /// Memory per idle tunnel
    Idle(Idle),
    /// What the tunnels lead to; the benchmarks start it
    #[command(hide = true)]
    Origin {
        #[arg(long, required = true)]
        listen: Vec<SocketAddr>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Of each of the measured in one round
    #[arg(long, default_value = "8000", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    transactions: u64,
    /// How many at the same time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// More than 1: measure names with so many addresses beside names with one, and nothing else
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    addresses: u8,
}

#[derive(Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many; fewer where the descriptors do not suffice
    #[arg(long, default_value = "4000")]
    tunnels: NonZeroU16,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Rounds that count; proxy and relay take turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Threads of the proxy, and of the relay
    #[arg(long, default_value = "1")]
    workers: NonZeroU8,
    /// The tidegate program; without it, the one next to this program
    #[arg(long, value_name = "PATH")]
    proxy: Option<PathBuf>,
    /// JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

impl Relay {
    pub(crate) fn plan(&self) -> RelayPlan {
        RelayPlan {
            listen: self.listen.clone(),
            to: self.to.clone(),
            workers: self.workers,
        }
    }
}

impl Common {
    fn plan(&self) -> bench::Common {
        bench::Common {
            proxy: self.proxy.clone(),
            rounds: self.rounds,
            workers: self.workers.get(),
            ..bench::Common::default()
        }
    }
}

impl Connect {
    pub(crate) fn plan(&self) -> bench::ConnectPlan {
        bench::ConnectPlan {
            common: self.common.plan(),
            transactions: self.transactions,
            concurrency: self.concurrency,
            addresses: self.addresses,
        }
    }
}

impl Idle {
    pub(crate) fn plan(&self) -> bench::IdlePlan {
        bench::IdlePlan {
            common: self.common.plan(),
            tunnels: self.tunnels.get().into(),
        }
    }
}
