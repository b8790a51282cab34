//! What is played: how addresses and DNS die, how many exchanges meet it, and what it is called. Pure.

use std::time::Duration;

use serde::Serialize;

use crate::cloud::Behavior;
use crate::drive::Pace;
use crate::names::Failure;

/// So many addresses the name has.
pub(super) const ADDRESSES: u8 = 4;
/// What a slow name server takes.
pub(super) const SLOW_DNS: Duration = Duration::from_millis(300);

/// Exchanges behind the first one, of each proxy.
const PER_SECOND: f64 = 10.0;
const LENGTH: Duration = Duration::from_secs(3);
/// Where a proxy can learn only from pushes that nobody answers: longer than it waits for them.
const UNANSWERED_PER_SECOND: f64 = 5.0;
const UNANSWERED_LENGTH: Duration = Duration::from_secs(12);
const OUTAGE_PER_SECOND: f64 = 2.0;
/// An outage of the other kind.
const SHORT_OUTAGE: Duration = Duration::from_secs(4);

/// How an address dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Death {
    Refuse,
    Hang,
    /// What goes there is dropped, by a network namespace of our own.
    Blackhole,
    Reset,
    ResetTls,
    Silent,
}

/// How DNS fails.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dns {
    SilentAaaa,
    Slow,
    Truncated,
    /// The first of two servers says nothing.
    FirstServer,
    /// It dies when the name is known, and for so long.
    Outage {
        #[serde(skip)]
        failure: Failure,
        seconds: u64,
    },
}

/// What is wrong while exchanges are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    None,
    Addresses { death: Death, dead: u8 },
    Dns(Dns),
}

/// What can be chosen with `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Nobody listens.
    Refuse,
    /// No answer to a connect, by a full backlog.
    Hang,
    /// No answer to a connect, by dropped packets; takes root.
    Blackhole,
    /// Connects, and is reset at once or when the TLS handshake is done.
    Reset,
    /// Connects, and says nothing.
    Silent,
    /// DNS that is slow, silent, truncated or dead for a while.
    Dns,
    /// DNS that is dead for long.
    Outage,
}

impl Part {
    /// All of them, with the words for them.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Refuse, "refuse"),
        (Self::Hang, "hang"),
        (Self::Blackhole, "blackhole"),
        (Self::Reset, "reset"),
        (Self::Silent, "silent"),
        (Self::Dns, "dns"),
        (Self::Outage, "outage"),
    ];

    /// What it plays, the outage so long.
    pub(super) fn troubles(self, outage: Duration) -> Vec<Trouble> {
        let each = |deaths: &[Death]| {
            let all = deaths.iter().flat_map(|death| {
                (1..ADDRESSES).map(|dead| Trouble::Addresses {
                    death: *death,
                    dead,
                })
            });
            all.collect()
        };
        let out = |failure, length: Duration| {
            let seconds = length.as_secs().max(1);
            Trouble::Dns(Dns::Outage { failure, seconds })
        };
        match self {
            Self::Refuse => each(&[Death::Refuse]),
            Self::Hang => each(&[Death::Hang]),
            Self::Blackhole => each(&[Death::Blackhole]),
            Self::Reset => each(&[Death::Reset, Death::ResetTls]),
            Self::Silent => each(&[Death::Silent]),
            Self::Dns => vec![
                Trouble::Dns(Dns::SilentAaaa),
                Trouble::Dns(Dns::Slow),
                Trouble::Dns(Dns::Truncated),
                Trouble::Dns(Dns::FirstServer),
                out(Failure::Servfail, SHORT_OUTAGE.min(outage)),
            ],
            Self::Outage => vec![out(Failure::Silent, outage)],
        }
    }
}

impl Death {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Hang => "hang (full backlog)",
            Self::Blackhole => "blackhole (dropped packets)",
            Self::Reset => "reset after accept *",
            Self::ResetTls => "reset after TLS *",
            Self::Silent => "silent after accept *",
        }
    }

    /// A connect notices it: whoever answers 200 has an address that lives.
    pub(super) const fn is_seen(self) -> bool {
        match self {
            Self::Refuse | Self::Hang | Self::Blackhole => true,
            Self::Reset | Self::ResetTls | Self::Silent => false,
        }
    }

    /// It answers a connect with nothing at all.
    pub(super) const fn is_mute(self) -> bool {
        matches!(self, Self::Hang | Self::Blackhole)
    }

    /// What the cloud's address does; `None`: there is none.
    pub(super) const fn behavior(self) -> Option<Behavior> {
        match self {
            Self::Refuse => Some(Behavior::Refuse),
            Self::Hang => Some(Behavior::Hang),
            Self::Blackhole => None,
            Self::Reset => Some(Behavior::Reset),
            Self::ResetTls => Some(Behavior::ResetTls),
            Self::Silent => Some(Behavior::Silent),
        }
    }
}

impl Trouble {
    pub(super) fn name(self) -> String {
        match self {
            Self::None => "nothing (normal)".to_owned(),
            Self::Addresses { death, dead } => format!("{dead} of {ADDRESSES}: {}", death.word()),
            Self::Dns(Dns::SilentAaaa) => "DNS: AAAA silent".to_owned(),
            Self::Dns(Dns::Slow) => format!("DNS: {} ms slow", SLOW_DNS.as_millis()),
            Self::Dns(Dns::Truncated) => "DNS: truncated, TCP works".to_owned(),
            Self::Dns(Dns::FirstServer) => "DNS: first of 2 servers silent".to_owned(),
            Self::Dns(Dns::Outage { failure, seconds }) => {
                format!("DNS: {failure} for {seconds} s, TTL 1 s")
            }
        }
    }

    /// The exchanges behind the first.
    pub(super) fn following(self) -> Pace {
        match self {
            Self::None | Self::Addresses { .. } if self.leaves_pushes_unanswered() => {
                Pace::new(UNANSWERED_PER_SECOND, UNANSWERED_LENGTH)
            }
            Self::Dns(Dns::Outage { seconds, .. }) => {
                Pace::new(OUTAGE_PER_SECOND, Duration::from_secs(seconds))
            }
            Self::None | Self::Addresses { .. } | Self::Dns(_) => Pace::new(PER_SECOND, LENGTH),
        }
    }

    /// Who gets a tunnel gets an answer in it, whatever the proxy knows.
    pub(super) fn is_seen_by_connect(self) -> bool {
        match self {
            Self::Addresses { death, .. } => death.is_seen(),
            Self::None | Self::Dns(_) => true,
        }
    }

    /// Whether only the tunnels can show that an address is dead.
    pub(super) fn leaves_pushes_unanswered(self) -> bool {
        let death = Death::Silent;
        matches!(self, Self::Addresses { death: own, .. } if own == death)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_death_is_died_by_one_two_and_three_addresses() {
        let outage = Duration::from_secs(60);
        let all = Part::ALL.map(|(part, _)| part.troubles(outage));
        let names: Vec<_> = all.iter().flatten().map(|trouble| trouble.name()).collect();
        for dead in 1..ADDRESSES {
            for death in ["refuse", "hang", "blackhole", "silent", "reset after TLS"] {
                let start = format!("{dead} of 4: {death}");
                assert!(names.iter().any(|n| n.starts_with(&start)), "{start}");
            }
        }
        assert!(names.contains(&"DNS: silent for 60 s, TTL 1 s".to_owned()));
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn an_outage_is_as_long_as_its_exchanges() {
        for trouble in Part::Outage.troubles(Duration::from_secs(60)) {
            let pace = trouble.following();
            assert_eq!(pace.total(), 120);
            let last = pace.due(pace.total() - 1);
            assert_eq!(last, Some(Duration::from_millis(59_500)));
        }
    }
}
