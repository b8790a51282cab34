//! A limit's refusal: which limit, and when it is worth coming again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::exchange::Reason;

/// An exchange that waited as long as it may, or could not have had its turn in that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(super) limit: Arc<str>,
    pub(super) lacks: Lack,
    /// Until there would be a turn for it.
    pub(super) after: Duration,
    /// When it would have waited as long as it may.
    pub(super) due: Instant,
}

/// What there was no more of, and how much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    Turns { burst: u32, window: Duration },
    Places { tunnels: u32 },
}

impl Limited {
    pub(crate) fn reason(&self) -> Reason {
        match self.lacks {
            Lack::Turns { .. } => Reason::RateLimited,
            Lack::Places { .. } => Reason::TunnelLimited,
        }
    }

    /// What goes beside the status: when to come again, and the fields of draft-ietf-httpapi-ratelimit-headers-10.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let after = whole_seconds(self.after);
        // Names of the configuration are letters, digits, '-', '_' and '.': nothing that would need to be escaped.
        let name = &self.limit;
        let policy = match self.lacks {
            Lack::Turns { burst, window } => {
                format!("\"{name}\";q={burst};w={}", whole_seconds(window))
            }
            Lack::Places { tunnels } => {
                format!("\"{name}\";q={tunnels};qu=\"concurrent-requests\"")
            }
        };
        vec![
            ("Retry-After", after.to_string()),
            ("RateLimit-Policy", policy),
            ("RateLimit", format!("\"{name}\";r=0;t={after}")),
        ]
    }
}

/// Rounded up: whoever comes when it was told to is not refused for having come too soon.
fn whole_seconds(duration: Duration) -> u64 {
    let begun = u64::from(duration.subsec_nanos() > 0);
    (duration.as_secs() + begun).max(1)
}

/// What the client is told.
impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.limit;
        match self.lacks {
            Lack::Turns { .. } => write!(f, "no turn within the limit {name}"),
            Lack::Places { .. } => write!(f, "no place for a tunnel within the limit {name}"),
        }
    }
}

impl std::error::Error for Limited {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_say_whole_seconds_rounded_up() {
        let check = |after_ms, lacks, expected: [&str; 3]| {
            let limited = Limited {
                limit: "per-cluster".into(),
                lacks,
                after: Duration::from_millis(after_ms),
                due: Instant::now(),
            };
            let fields = limited.fields();
            let values: Vec<&str> = fields.iter().map(|(_, value)| value.as_str()).collect();
            assert_eq!(values, expected);
        };
        let turns = Lack::Turns {
            burst: 400,
            window: Duration::from_secs(2),
        };
        let policy = "\"per-cluster\";q=400;w=2";
        check(0, turns, ["1", policy, "\"per-cluster\";r=0;t=1"]);
        check(1_000, turns, ["1", policy, "\"per-cluster\";r=0;t=1"]);
        check(1_001, turns, ["2", policy, "\"per-cluster\";r=0;t=2"]);
        let places = Lack::Places { tunnels: 7 };
        check(
            1_000,
            places,
            [
                "1",
                "\"per-cluster\";q=7;qu=\"concurrent-requests\"",
                "\"per-cluster\";r=0;t=1",
            ],
        );
    }
}
