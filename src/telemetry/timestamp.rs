//! Moments as text: RFC 3339, UTC, milliseconds.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// Prints as `2026-03-01T09:30:00.250Z`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timestamp(pub(crate) SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock outside the years that can be written is a broken clock; the start of Unix time says so.
        let unix = self
            .0
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let at = i128::try_from(unix.as_nanos())
            .ok()
            .and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
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

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Now, as both clocks say it: one never jumps, the other is what people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            instant: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// How long ago `earlier` was.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.instant.saturating_duration_since(earlier.instant)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self {
            instant: self.instant + duration,
            wall: self.wall + duration,
        }
    }
}

/// A duration in milliseconds, to the microsecond.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    // Microseconds of 285 years fit a double exactly, and so does what is printed of them.
    duration.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        check(Duration::ZERO, "1970-01-01T00:00:00.000Z");
        check(
            Duration::from_millis(1_709_210_096_007),
            "2024-02-29T12:34:56.007Z",
        );
        check(Duration::from_secs(1 << 62), "1970-01-01T00:00:00.000Z");
    }

    fn check(unix: Duration, text: &str) {
        let at = SystemTime::UNIX_EPOCH + unix;
        assert_eq!(Timestamp(at).to_string(), text);
    }

    #[test]
    fn milliseconds_keep_their_microseconds() {
        assert_eq!(milliseconds(Duration::from_micros(1_234_567)), 1_234.567);
        assert_eq!(milliseconds(Duration::from_nanos(999)), 0.0);
    }
}
