//! What a run plays: how many, how fast, how long, and what it must come to. A TOML file in, checked values out.
//!
//! Pure: it starts nothing, and knows neither clock nor proxy.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

const STORM: &str = include_str!("storm.toml");
/// Of the limit that holds for both clusters, the calls may use so much: they are to be delayed by others, not by it.
const CALLS_OF_LIMIT: f64 = 0.8;

/// A run, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Quiet phase and storm take turns so many times.
    pub rounds: u32,
    /// Of a quiet phase, and of a storm.
    #[serde(deserialize_with = "length")]
    pub length: Duration,
    /// How long the proxy's capacity is measured.
    #[serde(deserialize_with = "length")]
    pub calibration: Duration,
    /// Threads of the proxy.
    pub workers: u8,
    /// The cluster that logs in again and again.
    pub logins: Logins,
    /// The cluster that makes calls.
    pub calls: Calls,
    /// What both may do where limits are on.
    pub limit: Limit,
    /// When it is passed.
    pub pass: Pass,
}

/// A cluster that logs in: a new connection each, a 407, a push, the end.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logins {
    /// Its normal rate, as a share of the proxy's capacity.
    pub share: f64,
    /// So many times as fast in the storm.
    pub times: f64,
    /// So many at the same time at most; one that waits for an answer starts nothing new.
    pub at_once: u16,
    /// Whether one that is refused waits for as long as it is told to.
    pub rests: bool,
}

/// A cluster that makes calls: a CONNECT with digest each, the nonce kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// Its rate, as a share of the proxy's capacity.
    pub share: f64,
    /// How many servers take turns.
    pub servers: u16,
}

/// The limit of every cluster.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its rate, in normal rates of the logins.
    pub times: f64,
    /// So much of the rate at once.
    #[serde(deserialize_with = "length")]
    pub burst: Duration,
    /// How long one may wait before it is refused.
    #[serde(deserialize_with = "length")]
    pub max_wait: Duration,
}

/// When a run is passed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// The calls' p99 in the storm may be so many times the quiet one.
    pub p99_times: f64,
    /// Fewer calls prove nothing, in all quiet phases and in all storms.
    pub calls: u64,
}

/// A scenario on a machine whose capacity is known: exchanges a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Logins a second that the proxy can do.
    pub capacity: f64,
    /// Logins in normal times.
    pub normal: f64,
    /// Logins in the storm.
    pub storm: f64,
    /// Calls, always.
    pub calls: f64,
    /// The limit's rate.
    pub limit: u64,
    /// The limit's burst.
    pub burst: u64,
}

/// Why a text is no scenario.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// It can't be read.
    #[error("the scenario cannot be read: {0}")]
    Unreadable(#[from] toml::de::Error),
    /// Values that make no sense, all of them.
    #[error("the scenario makes no sense: {}", .0.join("; "))]
    Senseless(Vec<String>),
}

impl Scenario {
    /// The one that is built in: a cluster logs in again at twenty times its rate while another makes calls.
    #[must_use]
    pub fn storm() -> Self {
        Self::parse(STORM).expect("the built-in scenario is valid, as its test says")
    }

    /// Reads and checks a text.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        let complaints = scenario.complaints();
        if complaints.is_empty() {
            Ok(scenario)
        } else {
            Err(ScenarioError::Senseless(complaints))
        }
    }

    /// What the shares are where the proxy can do so many logins a second.
    #[must_use]
    pub fn rates(&self, capacity: f64) -> Rates {
        let normal = capacity * self.logins.share;
        let limit = (normal * self.limit.times).round().max(1.0);
        Rates {
            capacity,
            normal,
            storm: normal * self.logins.times,
            calls: capacity * self.calls.share,
            limit: limit as u64,
            burst: (limit * self.limit.burst.as_secs_f64()).round().max(1.0) as u64,
        }
    }

    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut need = |holds: bool, complaint: &str| {
            if !holds {
                complaints.push(complaint.to_owned());
            }
        };
        // A comparison with NaN is false, so each is written as what must hold.
        let is_share = |share: f64| share > 0.0 && share <= 1.0;
        let minutes = Duration::from_secs(600);
        need((1..=100).contains(&self.rounds), "rounds is from 1 to 100");
        need(
            (Duration::from_secs(1)..=minutes).contains(&self.length),
            "length is from 1s to 10m",
        );
        need(
            (Duration::from_millis(500)..=minutes).contains(&self.calibration),
            "calibration is from 500ms to 10m",
        );
        need(self.workers > 0, "workers is 1 at least");
        need(
            is_share(self.logins.share),
            "logins.share is above 0 and at most 1",
        );
        need(
            self.logins.times >= 1.0 && self.logins.times <= 1000.0,
            "logins.times is from 1 to 1000",
        );
        need(
            (1..=16_384).contains(&self.logins.at_once),
            "logins.at_once is from 1 to 16384",
        );
        need(
            is_share(self.calls.share),
            "calls.share is above 0 and at most 1",
        );
        need(
            (1..=256).contains(&self.calls.servers),
            "calls.servers is from 1 to 256",
        );
        need(
            self.limit.times >= 1.0 && self.limit.times <= 1000.0,
            "limit.times is from 1 to 1000: the normal rate is never limited",
        );
        need(
            self.calls.share <= self.logins.share * self.limit.times * CALLS_OF_LIMIT,
            "calls.share is too near to the limit, logins.share times limit.times: the calls would be limited themselves",
        );
        need(
            self.limit.burst > Duration::ZERO && self.limit.burst <= minutes,
            "limit.burst is above 0s and at most 10m",
        );
        need(
            self.limit.max_wait <= Duration::from_secs(60),
            "limit.max_wait is at most 1m",
        );
        need(
            self.pass.p99_times >= 1.0 && self.pass.p99_times.is_finite(),
            "pass.p99_times is 1 at least",
        );
        complaints
    }
}

/// "250ms", "12s" or "2m".
fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration(&text).ok_or_else(|| {
        de::Error::custom(format!(
            r#"{text:?} is no duration, such as "250ms" or "12s""#
        ))
    })
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
