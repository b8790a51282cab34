//! Files are read whole, as text, and never beyond a bound.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::complaint::Wrong;

/// No configuration, certificate or key is longer than this.
pub(super) const LONGEST: u64 = 1 << 20;

/// Why a file's text could not be had.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Io(io::Error),
    /// A pipe, a socket or a device: reading it might never end.
    NoFile,
    TooLong {
        longest: u64,
    },
    /// The line on which the first stray byte stands.
    NotText {
        line: usize,
    },
}

pub(super) fn read(path: &Path, longest: u64) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    // Without this flag the opening of a pipe waits for somebody to write in it.
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = open.map_err(Unreadable::Io)?;
    let kind = file.metadata().map_err(Unreadable::Io)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(Unreadable::NoFile);
    }
    file.take(longest + 1)
        .read_to_end(&mut bytes)
        .map_err(Unreadable::Io)?;
    if bytes.len() as u64 > longest {
        return Err(Unreadable::TooLong { longest });
    }
    String::from_utf8(bytes).map_err(|err| {
        let good = &err.as_bytes()[..err.utf8_error().valid_up_to()];
        Unreadable::NotText {
            line: 1 + good.iter().filter(|byte| **byte == b'\n').count(),
        }
    })
}

/// Whether everybody on the machine may read or change it.
pub(super) fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.mode() & 0o006 != 0)
}

impl Unreadable {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Io(err) if err.kind() == io::ErrorKind::NotFound)
    }

    /// What an operator is told about it; the file's name stands beside it.
    pub(super) fn wrong(&self) -> Wrong {
        match self {
            Self::NoFile => Wrong::new(
                "is a pipe, a socket or a device",
                "name an ordinary file: it is read again at every reload",
            ),
            Self::Io(err) => match err.kind() {
                io::ErrorKind::NotFound => Wrong::new(
                    "there is no such file",
                    "paths are relative to the configuration file's folder",
                ),
                io::ErrorKind::PermissionDenied => Wrong::new(
                    "may not be read",
                    "give the user that runs tidegate the right to read it, and to enter its folder",
                ),
                io::ErrorKind::IsADirectory => Wrong::new("is a folder", "name a file inside it"),
                _ => Wrong::new(
                    format!("cannot be read: {err}"),
                    "see that it is an ordinary file",
                ),
            },
            Self::TooLong { longest } => Wrong::new(
                format!("is longer than {longest} bytes"),
                "name the right file, or split it",
            ),
            Self::NotText { line } => Wrong::new(
                format!("is not UTF-8 text (line {line})"),
                "save it as UTF-8",
            ),
        }
    }
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.wrong().problem)
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(err) => Some(err),
            Self::NoFile | Self::TooLong { .. } | Self::NotText { .. } => None,
        }
    }
}
