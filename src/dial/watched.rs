//! A small file of the system that is read again when it has changed.
//!
//! Only looked at when somebody asks; no thread and no notification.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Files of this kind are small; what stands behind is not read.
const LONGEST: u64 = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    seen: Option<Stamp>,
}

/// What tells one state of a file from the next; `None` where it cannot be looked at.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

impl Watched {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// Whether it is another one than last time; the first time it is.
    pub(super) fn has_changed(&mut self) -> bool {
        let stamp = fs::metadata(&self.path).ok().map(|file| {
            let (seconds, fraction) = (file.mtime(), file.mtime_nsec());
            (file.dev(), file.ino(), seconds, fraction, file.len())
        });
        let has_changed = self.seen != Some(stamp);
        self.seen = Some(stamp);
        has_changed
    }

    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        fs::File::open(&self.path)?
            .take(LONGEST)
            .read_to_end(&mut text)?;
        Ok(text)
    }
}
