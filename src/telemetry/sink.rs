//! Where lines end up: a file, or the standard output or error that we were started with.
//!
//! Whole lines or nothing: a line that the disk took half is finished when there is room again, so that no other
//! line is ever glued to its stump. Calls here may block; only a thread of its own may make them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

/// How long a pipe whose reader does not read is waited for, if it was made non-blocking by whoever shares it.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// An open place for lines.
#[derive(Debug)]
pub(super) struct Sink {
    /// `None`: inherited, and never opened again.
    path: Option<PathBuf>,
    file: File,
    pen: Pen,
}

/// Writes whole lines, also through a writer that takes them in part.
#[derive(Debug, Default)]
struct Pen {
    /// What is missing of a line that was written in part.
    rest: Vec<u8>,
}

/// Some lines could not be written.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) cause: io::Error,
}

impl Sink {
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        // A stump from an earlier life, when the disk was full: close its line.
        let rest = if ends_mid_line(path) {
            b"\n".to_vec()
        } else {
            Vec::new()
        };
        Ok(Self {
            path: Some(path.to_owned()),
            file,
            pen: Pen { rest },
        })
    }

    /// A descriptor of our own: std's stdout has a buffer and a lock that others share.
    pub(super) fn stdout() -> io::Result<Self> {
        Self::inherited(io::stdout().as_fd())
    }

    pub(super) fn stderr() -> io::Result<Self> {
        Self::inherited(io::stderr().as_fd())
    }

    fn inherited(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self {
            path: None,
            file: File::from(fd.as_fd().try_clone_to_owned()?),
            pen: Pen::default(),
        })
    }

    /// Writes `lines`, each with its line end. After an error, what was not written is lost and counted.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        // Emptied under us (copytruncate): the half line that was to be finished is gone, and its rest is no line.
        let emptied = !self.pen.rest.is_empty()
            && self
                .file
                .metadata()
                .is_ok_and(|file| file.is_file() && file.len() == 0);
        let stump = emptied && self.pen.rest != b"\n";
        if emptied {
            self.pen.rest.clear();
        }
        match self.pen.write(&mut &self.file, lines) {
            Ok(()) if stump => {
                let cause = io::Error::other("the file was emptied in the middle of a line");
                Err(Lost { lines: 1, cause })
            }
            written => written,
        }
    }

    /// Opens the file anew, as after a rotation. On an error the old one stays in use.
    pub(super) fn reopen(&mut self) -> Result<(), Lost> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let fresh = open(path).map_err(|cause| Lost { lines: 0, cause })?;
        let moved = !same(self.file.metadata(), fresh.metadata());
        self.file = fresh;
        if moved && !self.pen.rest.is_empty() {
            self.pen.rest.clear();
            let cause = io::Error::other("the old file has half of the line");
            return Err(Lost { lines: 1, cause });
        }
        Ok(())
    }

    /// Lines that still wait to be finished: one or none.
    pub(super) fn unfinished(&self) -> u64 {
        u64::from(!self.pen.rest.is_empty())
    }
}

impl Pen {
    fn write(&mut self, out: &mut impl Write, lines: &[u8]) -> Result<(), Lost> {
        let (written, failed) = put(out, &self.rest);
        self.rest.drain(..written);
        if let Some(cause) = failed {
            let lines = count(lines);
            return Err(Lost { lines, cause });
        }
        let (written, failed) = put(out, lines);
        let Some(cause) = failed else {
            return Ok(());
        };
        let (done, mut left) = lines.split_at(written);
        if !done.is_empty() && !done.ends_with(b"\n") {
            let end = left
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(left.len(), |at| at + 1);
            self.rest = left[..end].to_vec();
            left = &left[end..];
        }
        let lines = count(left);
        Err(Lost { lines, cause })
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Non-blocking for the sake of named pipes: without it, opening one waits for a reader for ever.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags)
        .open(path)
}

fn ends_mid_line(path: &Path) -> bool {
    let last = || -> io::Result<Option<u8>> {
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() || meta.len() == 0 {
            return Ok(None);
        }
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(Some(byte[0]))
    };
    // We may append to a file that we may not read; then there is nothing to know.
    last().is_ok_and(|byte| byte.is_some_and(|byte| byte != b'\n'))
}

fn same(one: io::Result<Metadata>, other: io::Result<Metadata>) -> bool {
    let id = |meta: Metadata| (meta.dev(), meta.ino());
    matches!((one.map(id), other.map(id)), (Ok(one), Ok(other)) if one == other)
}

/// Writes as much as goes; says how much, and what stopped it.
fn put(out: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    let mut waited = Duration::ZERO;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(more) => {
                written += more;
                waited = Duration::ZERO;
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock && waited < PATIENCE => {
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
            Err(err) => return (written, Some(err)),
        }
    }
    (written, None)
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A disk with some room now and again.
    #[derive(Default)]
    struct Disk {
        text: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.text.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_written_in_part_is_finished_before_the_next() {
        let mut pen = Pen::default();
        let mut disk = Disk {
            room: 6,
            ..Disk::default()
        };
        let lost = pen.write(&mut disk, b"one\ntwo\nthree\n").unwrap_err();
        assert_eq!((lost.lines, disk.text.as_slice()), (1, &b"one\ntw"[..]));
        disk.room = 100;
        pen.write(&mut disk, b"four\n").unwrap();
        assert_eq!(disk.text, b"one\ntwo\nfour\n");
    }

    #[test]
    fn the_rest_of_a_line_whose_beginning_was_cut_off_is_lost_and_counted() {
        let path = std::env::temp_dir().join(format!("tidegate-sink-{}", std::process::id()));
        std::fs::write(&path, "whole\nha").unwrap();
        let mut sink = Sink::file(&path).unwrap();
        sink.pen.rest = b"lf\n".to_vec();
        // As copytruncate does it.
        std::fs::write(&path, "").unwrap();
        let lost = sink.write(b"next\n").unwrap_err();
        sink.write(b"last\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((lost.lines, text.as_str()), (1, "next\nlast\n"));
    }

    proptest! {
        #[test]
        fn every_line_is_whole_or_counted(writes in prop::collection::vec((0usize..40, 0usize..5), 1..20)) {
            let mut pen = Pen::default();
            let mut disk = Disk::default();
            let (mut pushed, mut lost) = (0, 0);
            for (room, lines) in writes {
                disk.room = room;
                let batch = "0123456789\n".repeat(lines);
                pushed += lines as u64;
                lost += pen.write(&mut disk, batch.as_bytes()).map_or_else(|lost| lost.lines, |()| 0);
            }
            disk.room = 100;
            prop_assert!(pen.write(&mut disk, b"").is_ok());
            let text = String::from_utf8(disk.text).unwrap();
            prop_assert_eq!(text.lines().filter(|line| *line == "0123456789").count() as u64 + lost, pushed);
            prop_assert_eq!(text.len() as u64, (pushed - lost) * 11);
        }
    }
}
