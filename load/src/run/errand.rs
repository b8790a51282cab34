//! What a driver process is told to do, and what it brings back: two files of the run's folder.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};

/// What one driver process does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Errand {
    pub(super) work: Work,
    /// The proxy's addresses, used by turns.
    pub(super) proxies: Vec<SocketAddr>,
    /// What is asked for, by turns.
    pub(super) targets: Vec<String>,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) per_second: f64,
    pub(super) length: Duration,
    /// Where the record goes.
    pub(super) record: PathBuf,
}

/// Whose part it plays.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    /// On time whatever became of those before; each server keeps its nonce.
    Calls { servers: u16 },
    /// Each new to the proxy; no more than so many at the same time.
    Logins { at_once: u16, rests: bool },
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// How many were due.
    pub(super) due: u64,
    /// How many were begun: where only so many go at once, the others never came to it.
    pub(super) begun: u64,
    /// Those that got their tunnel and an answer through it.
    pub(super) ok: u64,
    /// The proxy's other answers, by status.
    pub(super) refused: BTreeMap<u16, u64>,
    /// Everything else.
    pub(super) failed: u64,
    /// What was wrong with the first of those.
    pub(super) first_failure: Option<String>,
    /// From when it was due to the proxy's 200, of those that had one, in microseconds.
    pub(super) setups: Vec<u64>,
    /// From the start of the driver to when the first was due.
    pub(super) lead: Duration,
    /// From then to the end of the last.
    pub(super) took: Duration,
}

/// How one call or login went.
#[derive(Debug)]
pub(super) struct Ended {
    /// Which one, by when it was due.
    pub(super) number: u64,
    pub(super) setup: Option<Duration>,
    pub(super) how: How,
}

#[derive(Debug)]
pub(super) enum How {
    Ok,
    Refused(u16),
    Failed(String),
}

impl Errand {
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        fs::write(file, serde_json::to_vec(self)?)
    }

    pub(super) fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }
}

impl Record {
    pub(super) fn of(due: u64, mut ended: Vec<Ended>) -> Self {
        ended.sort_by_key(|ended| ended.number);
        let setups = ended.iter().filter_map(|ended| ended.setup);
        let mut record = Self {
            due,
            begun: ended.len() as u64,
            setups: setups.map(micros).collect(),
            ..Self::default()
        };
        for ended in ended {
            match ended.how {
                How::Ok => record.ok += 1,
                How::Refused(status) => *record.refused.entry(status).or_default() += 1,
                How::Failed(why) => {
                    record.failed += 1;
                    record.first_failure.get_or_insert(why);
                }
            }
        }
        record
    }

    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        fs::write(file, serde_json::to_vec(self)?)
    }

    pub(super) fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(number: u64, ms: Option<u64>, how: How) -> Ended {
        Ended {
            number,
            setup: ms.map(Duration::from_millis),
            how,
        }
    }

    #[test]
    fn endings_are_counted_and_only_tunnels_have_a_setup_time() {
        let record = Record::of(
            9,
            vec![
                ended(3, None, How::Failed("second".into())),
                ended(0, Some(2), How::Ok),
                ended(1, None, How::Refused(429)),
                ended(2, Some(7), How::Failed("first".into())),
            ],
        );
        assert_eq!((record.due, record.begun, record.ok), (9, 4, 1));
        assert_eq!((record.refused[&429], record.failed), (1, 2));
        assert_eq!(record.first_failure.as_deref(), Some("first"));
        assert_eq!(record.setups, [2000, 7000]);
    }

    #[test]
    fn a_record_survives_its_file() {
        let folder = crate::child::Folder::new().unwrap();
        let file = folder.path("record");
        let record = Record::of(
            2,
            vec![
                ended(0, Some(3), How::Ok),
                ended(1, None, How::Refused(503)),
            ],
        );
        record.write(&file).unwrap();
        assert_eq!(Record::read(&file).unwrap(), record);
    }
}
