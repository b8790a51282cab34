//! Exchanges as figures, and what they are held against. Pure.

use std::time::Duration;

use serde::Serialize;

use super::case::{Dns, Trouble};
use super::exchange::Exchange;
use super::world::Played;
use crate::measure::Latencies;

/// A first exchange, with a living address, at most.
const FIRST_MS: f64 = 1500.0;
/// With a single address that answers nothing.
const FIRST_WITH_ONE_MUTE_MS: f64 = 600.0;
/// A following one, above the normal p99, at most; or as much as the normal ones scatter by themselves.
const OVER_NORMAL_MS: f64 = 5.0;
/// Where they scatter more, an attempt that was waited for would not be seen.
const SCATTER_MS: f64 = 200.0;
/// Of the pushes lost to silent addresses, the part that may be lost in the last third of the time: a fifth.
const LATE_SHARE: usize = 5;

/// What one trouble came to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) trouble: Trouble,
    pub(super) first: Figures,
    pub(super) following: Figures,
    /// Following ones of proxies that know of no trouble, made at the same time.
    pub(super) normal: Figures,
    /// Of the following ones' p99 over that of the normal ones, in ms.
    pub(super) over_normal: f64,
    /// From the normal ones' p50 to their p99, in ms.
    pub(super) scatter: f64,
    /// What was missed; empty where all is well.
    pub(super) missed: Vec<String>,
    /// What was wrong with the first exchange that went wrong, and is no wonder where nothing was missed.
    pub(super) first_failure: Option<String>,
}

/// CONNECTs, and the pushes in their tunnels.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) exchanges: usize,
    /// CONNECTs without a 200 within the sender's patience.
    pub(super) failed: usize,
    /// CONNECTs with one, in ms.
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    /// Sent through a tunnel.
    pub(super) pushes: usize,
    /// Of those, not confirmed.
    pub(super) lost: usize,
    /// Of those, sent in the last third of the time.
    pub(super) lost_late: usize,
}

impl Figures {
    fn of(exchanges: &[Exchange], length: Duration) -> Self {
        let mut figures = Self {
            exchanges: exchanges.len(),
            ..Self::default()
        };
        let mut connects = Latencies::default();
        for exchange in exchanges {
            match &exchange.connect {
                Ok(took) => connects.record(*took),
                Err(_) => figures.failed += 1,
            }
            if let Some(push) = &exchange.push {
                figures.pushes += 1;
                if push.is_err() {
                    figures.lost += 1;
                    figures.lost_late += usize::from(exchange.after >= length / 3 * 2);
                }
            }
        }
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        figures.p50 = ms(connects.quantile(0.5));
        figures.p99 = ms(connects.quantile(0.99));
        figures.max = ms(connects.max());
        figures
    }
}

impl Row {
    pub(super) fn of(played: &Played) -> Self {
        let pace = played.trouble.following();
        let length = pace.due(pace.total().saturating_sub(1)).unwrap_or_default();
        let first = Figures::of(&played.first, Duration::MAX);
        let following = Figures::of(&played.following, length);
        let normal = Figures::of(&played.normal, length);
        let all = || played.first.iter().chain(&played.following);
        let no_tunnel = all().find_map(|exchange| exchange.connect.as_ref().err());
        let lost = all().find_map(|exchange| exchange.push.as_ref()?.as_ref().err());
        Self {
            trouble: played.trouble,
            over_normal: following.p99 - normal.p99,
            scatter: normal.p99 - normal.p50,
            missed: missed(played.trouble, &first, &following, &normal),
            first,
            following,
            normal,
            first_failure: no_tunnel.or(lost).cloned(),
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.missed.is_empty()
    }
}

fn missed(trouble: Trouble, first: &Figures, following: &Figures, normal: &Figures) -> Vec<String> {
    let mut missed = Vec::new();
    let mut need = |holds: bool, complaint: String| {
        if !holds {
            missed.push(complaint);
        }
    };
    let connects = first.exchanges + following.exchanges;
    let failed = first.failed + following.failed;
    need(
        first.exchanges > 0 && following.exchanges > 0,
        "no exchange was made".to_owned(),
    );
    need(
        normal.failed == 0 && normal.lost == 0,
        "proxies that know of no trouble had some: this proves nothing".to_owned(),
    );
    need(
        failed == 0,
        format!("{failed} of {connects} CONNECTs failed"),
    );
    let first_max = match trouble {
        Trouble::Addresses { death, dead: 1 } if death.is_mute() => FIRST_WITH_ONE_MUTE_MS,
        _ => FIRST_MS,
    };
    need(
        first.max <= first_max,
        format!("first CONNECT {:.0} ms, over {first_max:.0}", first.max),
    );
    let scatter = normal.p99 - normal.p50;
    need(
        scatter <= SCATTER_MS,
        format!(
            "normal CONNECTs scatter by {scatter:.0} ms: the machine is too busy, this proves nothing"
        ),
    );
    let allowed = scatter.max(OVER_NORMAL_MS);
    let over = following.p99 - normal.p99;
    need(
        over <= allowed,
        format!("following CONNECTs {over:.1} ms over normal, over {allowed:.1}"),
    );
    if let Trouble::Dns(Dns::Outage { .. }) = trouble {
        // The name was known before: the first exchange without DNS is like any other.
        let over = first.p50 - normal.p99;
        need(
            over <= allowed,
            format!("first CONNECT {over:.1} ms over normal, over {allowed:.1}"),
        );
    }
    if trouble.is_seen_by_connect() {
        let lost = first.lost + following.lost;
        need(lost == 0, format!("{lost} pushes lost"));
    }
    if trouble.leaves_pushes_unanswered() {
        // Whoever learns nothing loses as many in the last third as before.
        let Figures {
            lost, lost_late, ..
        } = *following;
        need(
            lost_late * LATE_SHARE <= lost,
            format!("{lost_late} of {lost} lost pushes in the last third: nothing was learned"),
        );
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::case::Death;

    fn exchange(ms: u64, after: u64, is_confirmed: bool) -> Exchange {
        Exchange {
            after: Duration::from_millis(after),
            connect: Ok(Duration::from_millis(ms)),
            push: Some(is_confirmed.then_some(()).ok_or_else(|| "silent".into())),
        }
    }

    fn row(trouble: Trouble, first: u64, following: u64, is_confirmed: bool) -> Row {
        let played = Played {
            trouble,
            first: vec![exchange(first, 0, true)],
            following: vec![exchange(following, 0, is_confirmed)],
            normal: vec![exchange(3, 0, true)],
        };
        Row::of(&played)
    }

    fn dead(death: Death, dead: u8) -> Trouble {
        Trouble::Addresses { death, dead }
    }

    #[test]
    fn each_target_can_be_missed() {
        let check = |row: Row, expected: Option<&str>| match expected {
            None => assert!(row.is_good(), "{row:?}"),
            Some(part) => assert!(row.missed.join("; ").contains(part), "{part}: {row:?}"),
        };
        let hang = dead(Death::Hang, 1);
        check(row(hang, 599, 7, true), None);
        check(
            row(hang, 620, 7, true),
            Some("first CONNECT 620 ms, over 600"),
        );
        check(
            row(hang, 300, 9, true),
            Some("6.0 ms over normal, over 5.0"),
        );
        check(row(hang, 300, 7, false), Some("1 pushes lost"));
        check(row(dead(Death::Hang, 2), 1400, 7, true), None);
        check(row(dead(Death::Hang, 2), 1520, 7, true), Some("over 1500"));
        check(row(dead(Death::Refuse, 1), 700, 7, true), None);
        check(row(dead(Death::Silent, 1), 700, 7, false), None);
        let silent = |late: u64| {
            let silences =
                (0..6).map(|number| exchange(7, if number < late { 9_000 } else { 1 }, false));
            let answered = exchange(7, 9_500, true);
            Row::of(&Played {
                trouble: dead(Death::Silent, 1),
                first: vec![exchange(7, 0, true)],
                following: silences.chain([answered]).collect(),
                normal: vec![exchange(3, 0, true)],
            })
        };
        check(silent(1), None);
        check(silent(2), Some("2 of 6 lost pushes in the last third"));
        let outage = Trouble::Dns(Dns::Outage {
            failure: crate::names::Failure::Silent,
            seconds: 60,
        });
        check(row(outage, 7, 7, true), None);
        check(row(outage, 9, 7, true), Some("first CONNECT 6.0 ms over"));
        let scattering = |worst| Played {
            trouble: hang,
            first: vec![exchange(300, 0, true)],
            following: vec![exchange(53, 0, true)],
            normal: [3, 3, worst].map(|ms| exchange(ms, 0, true)).into(),
        };
        check(Row::of(&scattering(30)), None);
        check(
            Row::of(&scattering(25)),
            Some("28.0 ms over normal, over 22.0"),
        );
        check(Row::of(&scattering(900)), Some("too busy"));
        let nothing = Played {
            trouble: Trouble::None,
            first: vec![],
            following: vec![],
            normal: vec![],
        };
        check(Row::of(&nothing), Some("no exchange"));
        let mut ill = Played {
            normal: vec![exchange(3, 0, false)],
            ..nothing
        };
        ill.first = vec![exchange(3, 0, true)];
        ill.following = vec![exchange(3, 0, true)];
        check(Row::of(&ill), Some("proves nothing"));
    }

    #[test]
    fn a_connect_that_failed_has_no_time_and_is_counted() {
        let failed = Exchange {
            after: Duration::ZERO,
            connect: Err("504".into()),
            push: None,
        };
        let played = Played {
            trouble: dead(Death::Reset, 1),
            first: vec![failed, exchange(4, 0, true)],
            following: vec![exchange(2, 100, false), exchange(2, 9_900, false)],
            normal: vec![],
        };
        let row = Row::of(&played);
        assert_eq!((row.first.failed, row.first.pushes), (1, 1));
        assert!(row.first.max < 4.1, "{row:?}");
        assert_eq!((row.following.lost, row.following.lost_late), (2, 1));
        assert_eq!(row.missed, ["1 of 4 CONNECTs failed"]);
        assert_eq!(row.first_failure.as_deref(), Some("504"));
    }
}
