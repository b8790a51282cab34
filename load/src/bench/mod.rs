//! The proxy beside a relay that does nothing: CPU time per CONNECT, and memory per idle tunnel, both by pid.
//!
//! Proxy, relay and origin are processes of their own on loopback; what drives them is this one, and is not measured.
//! Rounds are interleaved, so that a busy minute of the machine falls on both. Nothing is rounded in our favour: the
//! spread is shown, and an aim that was missed is called missed.

mod connect;
mod exchange;
mod idle;
mod origin;
mod report;
mod spread;
mod standing;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::child::ChildError;

pub use self::connect::{ConnectPlan, connect};
pub use self::idle::{IdlePlan, idle};
pub use self::origin::serve as serve_origin;
pub use self::report::Report;
pub use self::spread::Spread;

/// What the proxy may cost beside the relay.
const CPU_RATIO_AIM: f64 = 1.35;
/// What several addresses may cost beside one.
const ADDRESSES_RATIO_AIM: f64 = 1.03;
/// What an idle plain tunnel may hold, in bytes.
const IDLE_BYTES_AIM: f64 = 2048.0;

/// What both benchmarks want to know.
#[derive(Debug, Clone)]
pub struct Common {
    /// The tidegate program; `None`: the one next to this program.
    pub proxy: Option<PathBuf>,
    /// This program, for the relay and the origin; `None`: the one that runs.
    pub load: Option<PathBuf>,
    /// Rounds that count.
    pub rounds: u32,
    /// Threads of the proxy, and of the relay.
    pub workers: u8,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            proxy: None,
            load: None,
            rounds: 5,
            workers: 1,
        }
    }
}

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum BenchError {
    /// A process that is measured, or needed for it, did not work.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// Something of ours could not be set up or read.
    #[error("{what} failed")]
    Setup {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// The system's limits leave no room.
    #[error("{0}")]
    NoRoom(String),
    /// Tunnels could not be opened, so there is nothing to measure.
    #[error("{failed} of {wanted} tunnels through the {subject} failed: {why}")]
    Tunnels {
        /// Through whom.
        subject: &'static str,
        /// How many.
        failed: usize,
        /// Of so many.
        wanted: usize,
        /// The first one's error.
        why: String,
    },
}

fn setup(what: &'static str) -> impl Fn(io::Error) -> BenchError {
    move |source| BenchError::Setup { what, source }
}
