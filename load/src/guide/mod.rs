//! The deployment guide's counters and alarms, for whoever plays one of its servers: read once from `config/guide/`, the
//! same data that the proxy reads.
//!
//! Every one exists under its name from the start. What is not simulated has no value; nothing moves that nobody did. The
//! clock is an argument.

mod alarms;
mod counters;
mod rows;

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

pub use self::alarms::{Alarms, Rule};
pub use self::counters::{Counters, Total, Way};
pub use self::rows::{Component, Severity};

/// The origin of all that is counted and raised here.
const ORIGIN: &str = "simulated";

/// Now, as both clocks say it: one never jumps, the other is what people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The one that never jumps.
    pub instant: Instant,
    /// The one that people read.
    pub wall: SystemTime,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            instant: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn since(self, earlier: Self) -> Duration {
        self.instant.saturating_duration_since(earlier.instant)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self {
            instant: self.instant + time,
            wall: self.wall + time,
        }
    }
}

/// As RFC 3339 has it, in UTC: `2026-03-01T09:30:00.250Z`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from(self.wall);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_people_read_them() {
        let moment = Moment {
            instant: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_millis(1_772_357_400_250),
        };
        assert_eq!(moment.to_string(), "2026-03-01T09:30:00.250Z");
    }
}
