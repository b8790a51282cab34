//! What a real proxy says of the exchanges inside its tunnels, beside the clocks of the servers that made them.
//!
//! One proxy, and a cloud for each case: HTTP/1.1 or HTTP/2, pushes one at a time or several at once, and an answer that
//! comes after so long. The cases of one delay are played beside each other. Where pushes cross in one HTTP/2 tunnel the
//! proxy may give no figure; whatever it gives must be right.

mod books;
mod case;
mod figures;
mod world;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinSet;

use self::case::Case;
use self::figures::Row;
use self::world::World;
use crate::child::{ChildError, proxy_program};

pub use self::figures::Report;

/// What is run.
#[derive(Debug, Clone)]
pub struct TurnsPlan {
    /// The tidegate program; `None`: the one next to this program.
    pub proxy: Option<PathBuf>,
    /// How long the cloud thinks, one after the other.
    pub delays: Vec<Duration>,
}

/// Why there is no table.
#[derive(Debug, Error)]
pub enum TurnsError {
    /// A process did not work.
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
    /// A server could not even begin.
    #[error("a server could not start: {0}")]
    Server(String),
    /// A push that nothing was to happen to.
    #[error("a push was not confirmed: {0}")]
    Unconfirmed(String),
}

/// Runs it. `progress` is told what happens, a line each time.
pub async fn run(plan: &TurnsPlan, progress: impl Fn(&str)) -> Result<Report, TurnsError> {
    let program = proxy_program(plan.proxy.as_ref())?;
    let mut world = World::start(&program, Case::all(&plan.delays)).await?;
    let mut rows = Vec::new();
    for delay in &plan.delays {
        progress(&format!("answers after {} ms", delay.as_millis()));
        let mut playing = JoinSet::new();
        for played in world.cases().filter(|(case, ..)| case.delay == *delay) {
            let (case, servers) = world.servers(played).await?;
            let admin = world.admin();
            playing.spawn(async move {
                let answers = case.play(&servers).await?;
                // As soon as it is told: the proxy remembers a minute, and other cases take longer.
                tokio::time::sleep(books::TOLD_WITHIN).await;
                let books = books::read(admin).await?;
                let book = books.iter().find(|book| book.destination == case.name());
                let told = book.and_then(|book| book.confirmations);
                Ok::<_, TurnsError>((case, Row::of(case, &answers, told)))
            });
        }
        let mut played = Vec::new();
        while let Some(end) = playing.join_next().await {
            let end = end.map_err(io::Error::other);
            played.push(end.map_err(setup("a case"))??);
        }
        played.sort_by_key(|(case, _)| (case.http2, case.at_once));
        rows.extend(played.into_iter().map(|(_, row)| row));
    }
    world.end().await?;
    Ok(Report { rows })
}

fn setup(what: &'static str) -> impl Fn(io::Error) -> TurnsError {
    move |source| TurnsError::Setup { what, source }
}
