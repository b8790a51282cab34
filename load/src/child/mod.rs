//! Programs that we start: a folder of their own, free ports, logins, the cores they run on, and what
//! they have used, by pid.
//!
//! Whatever happens to us, they end: a child is killed when its handle is dropped, and its folder goes too.

pub mod cores;
pub mod login;
pub mod usage;

mod folder;
mod ports;
mod process;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use self::folder::Folder;
pub use self::ports::{free_addresses, free_port};
pub use self::process::Child;

/// Why a child did not do its work.
#[derive(Debug, Error)]
pub enum ChildError {
    /// No program to start.
    #[error("there is no tidegate program at {0}; build it first, or name it with --proxy")]
    Missing(PathBuf),
    /// It ended, or did not become ready.
    #[error("the {name} {what}; it said:\n{said}")]
    Failed {
        /// Which child.
        name: &'static str,
        /// What it did.
        what: String,
        /// The end of its standard error.
        said: String,
    },
    /// It could not be started or watched.
    #[error("starting or watching the {name} failed")]
    Io {
        /// Which child.
        name: &'static str,
        /// What went wrong.
        source: io::Error,
    },
}

impl ChildError {
    /// Somebody took one of its ports between our finding and its binding: another try may do.
    #[must_use]
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Failed { said, .. } if said.contains("in use"))
    }
}

/// The proxy program: the one named, or the one next to this program.
pub fn proxy_program(named: Option<&PathBuf>) -> Result<PathBuf, ChildError> {
    let program = match named {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .map_err(|source| ChildError::Io {
                name: "proxy",
                source,
            })?
            .with_file_name(format!("tidegate{}", std::env::consts::EXE_SUFFIX)),
    };
    if program.is_file() {
        Ok(program)
    } else {
        Err(ChildError::Missing(program))
    }
}
