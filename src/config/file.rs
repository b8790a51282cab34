//! The shape of the file: every key is taken out by name, what is left over is unknown.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) problem: String,
    pub(crate) hint: String,
}

/// All of them, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaints(pub(crate) Vec<Complaint>);

impl fmt::Display for Complaint {
    /// `FILE:LINE: key: problem (hint)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {} ({})",
            self.file.display(),
            self.line,
            self.key,
            self.problem,
            self.hint
        )
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, complaint) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            complaint.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Complaints {}
