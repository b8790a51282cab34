//! Was it good? Pure: what both sides saw goes in, a table and sentences come out.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::counters::GuideCounter;
use crate::display::Frame;
use crate::measure::Summary;
use crate::measure::summary::CONFIRMED;
use crate::onprem::Counted;

/// A tunnel that breaks later than this after an address died did not break because of it.
const AFTERMATH: Duration = Duration::from_secs(1);
/// A push that had waited longer than this was in trouble before the address died.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// How many lost pushes a sentence names.
const NAMED: usize = 3;

/// One push as its server saw it.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) tracking_id: String,
    /// From when it was due.
    pub(super) took: Duration,
    pub(super) ended: Instant,
    /// The outcome.
    pub(super) word: &'static str,
    pub(super) why: Option<String>,
}

/// The end of an address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    pub(super) began: Instant,
    pub(super) ended: Instant,
    /// How many tunnels it dropped.
    pub(super) reset: u64,
}

/// What the proxy counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ProxySide {
    pub(super) established: u64,
    /// Requests in absolute form that were carried through.
    pub(super) forwarded: u64,
    pub(super) challenged: u64,
    pub(super) other: u64,
    pub(super) authenticated: u64,
    /// Pushes that it could see, and that the cloud answered.
    pub(super) pushes: u64,
    pub(super) failovers: u64,
    pub(super) live: u64,
}

/// Everything that was seen.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// Fewer pushes are no proof.
    pub(super) wanted: u64,
    pub(super) deliveries: Vec<Delivery>,
    /// Tracking id → how often the cloud confirmed it.
    pub(super) confirmations: HashMap<String, u32>,
    pub(super) death: Death,
    pub(super) reopened: u64,
    /// Tunnels open just before the servers closed, as they and as the proxy saw it.
    pub(super) open: u64,
    pub(super) listed: u64,
    /// As many connections to the proxy itself as the servers can keep; more mean that the proxy closed some.
    pub(super) keepable: u64,
    /// Both books, after the servers closed.
    pub(super) servers: Counted,
    pub(super) proxy: ProxySide,
    /// The guide's, in both books.
    pub(super) guide: Vec<GuideCounter>,
}

impl Default for Observed {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            wanted: 0,
            deliveries: Vec::new(),
            confirmations: HashMap::new(),
            death: Death {
                began: now,
                ended: now,
                reset: 0,
            },
            reopened: 0,
            open: 0,
            listed: 0,
            keepable: 0,
            servers: Counted::default(),
            proxy: ProxySide::default(),
            guide: Vec::new(),
        }
    }
}

impl Observed {
    /// The same counted on two sides: what it is, the servers' number, the proxy's.
    fn pairs(&self) -> Vec<Pair> {
        let (servers, proxy) = (&self.servers, &self.proxy);
        let pair = |what: &str, servers, proxy| Pair {
            what: what.to_owned(),
            servers,
            proxy,
        };
        let mut pairs = vec![
            pair(
                "CONNECTs answered 200",
                servers.established,
                proxy.established,
            ),
            pair(
                "absolute-form requests answered",
                servers.forwarded,
                proxy.forwarded,
            ),
            pair("pushes seen in these", servers.forwarded, proxy.pushes),
            pair("407 answers", servers.challenged, proxy.challenged),
            pair(
                "requests let in by their credentials",
                servers.authenticated,
                proxy.authenticated,
            ),
            pair(
                "requests refused or failed",
                servers.refused + servers.unanswered,
                proxy.other,
            ),
            pair("tunnels open before the end", self.open, self.listed),
            pair("tunnels open after the end", servers.open, proxy.live),
        ];
        let guide = self.guide.iter();
        pairs.extend(guide.map(|one| pair(&one.what, one.absolute, one.seen)));
        pairs
    }

    /// Nothing is left to wait for.
    pub(super) fn books_agree(&self) -> bool {
        self.proxy.live == 0
            && self.servers.open == 0
            && self.pairs().iter().all(|pair| pair.servers == pair.proxy)
    }

    /// It broke while the address died: the guide forbids to send it again, so nobody could have saved it. In absolute
    /// form it is the proxy that sees it break, and says so.
    fn was_in_flight(&self, delivery: &Delivery) -> bool {
        let Death { began, ended, .. } = self.death;
        ["cut", "undelivered"].contains(&delivery.word)
            && delivery.took < UNDER_WAY
            && (began..=ended + AFTERMATH).contains(&delivery.ended)
    }

    fn confirmed(&self, delivery: &Delivery) -> u32 {
        self.confirmations
            .get(&delivery.tracking_id)
            .copied()
            .unwrap_or(0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Pair {
    what: String,
    servers: u64,
    proxy: u64,
}

/// The verdict, with its numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    #[serde(flatten)]
    summary: Summary,
    /// Different pushes that the cloud confirmed.
    confirmed_by_cloud: u64,
    lost: u64,
    in_flight_when_the_address_died: u64,
    tunnels_dropped: u64,
    tunnels_reopened: u64,
    connections_for_absolute_form: u64,
    failovers: u64,
    compared: Vec<Pair>,
    /// What the guide's counters have moved by in tunnels, all together: in the servers' books only.
    counted_in_tunnels: u64,
    /// The guide's counters and alarms as the servers have them, in the shape of the proxy's pages of these names.
    counters: Value,
    alarms: Value,
    faults: Vec<String>,
}

impl Report {
    /// Nothing was lost that should not have been, and the books agree.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// What is wrong, a sentence each.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// How many pushes were lost that should not have been.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// For those who want to read the servers' books themselves.
    pub(super) fn tell(&mut self, counters: Value, alarms: Value) {
        (self.counters, self.alarms) = (counters, alarms);
    }

    /// One more thing that is wrong.
    pub(super) fn fault(&mut self, sentence: String) {
        self.faults.push(sentence);
    }

    /// The table.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let in_flight = self.in_flight_when_the_address_died;
        let frame = Frame::new()
            .value("pushes sent", self.summary.pushes)
            .value("confirmed, by the cloud's count", self.confirmed_by_cloud)
            .value("lost", self.lost)
            .value(
                "in flight when the address died",
                format!("{in_flight} (not sent again, as the guide says)"),
            )
            .value("confirmation, from when it was due", self.summary.times())
            .value(
                "tunnels dropped by the address",
                format!(
                    "{}; found closed and reopened: {}",
                    self.tunnels_dropped, self.tunnels_reopened
                ),
            )
            .value("failovers to another address", self.failovers)
            .value(
                "connections to the proxy for absolute form",
                self.connections_for_absolute_form,
            )
            .value(
                "the guide's counters moved by pushes in tunnels",
                format!("{} (in the servers' books only)", self.counted_in_tunnels),
            )
            .heads("servers", "proxy");
        self.compared.iter().fold(frame, |frame, pair| {
            frame.pair(&pair.what, pair.servers, pair.proxy)
        })
    }
}

/// Judges a run.
pub(super) fn judge(observed: &Observed) -> Report {
    let (in_flight, others): (Vec<_>, Vec<_>) = observed
        .deliveries
        .iter()
        .partition(|delivery| observed.was_in_flight(delivery));
    let lost: Vec<_> = others
        .iter()
        .copied()
        .filter(|delivery| observed.confirmed(delivery) == 0)
        .collect();
    let untold: Vec<_> = others
        .iter()
        .copied()
        .filter(|delivery| observed.confirmed(delivery) > 0 && delivery.word != CONFIRMED)
        .collect();
    let twice: Vec<_> = observed
        .deliveries
        .iter()
        .filter(|delivery| observed.confirmed(delivery) > 1)
        .collect();
    let ends = observed.deliveries.iter().map(|d| (d.word, d.took));

    let mut report = Report {
        summary: Summary::of(ends),
        confirmed_by_cloud: observed.confirmations.len() as u64,
        lost: lost.len() as u64,
        in_flight_when_the_address_died: in_flight.len() as u64,
        tunnels_dropped: observed.death.reset,
        tunnels_reopened: observed.reopened,
        connections_for_absolute_form: observed.servers.reached,
        failovers: observed.proxy.failovers,
        compared: observed.pairs(),
        counted_in_tunnels: observed.guide.iter().map(|one| one.tunnels).sum(),
        counters: Value::Null,
        alarms: Value::Null,
        faults: Vec::new(),
    };
    if !lost.is_empty() {
        report.fault(format!("lost that should not have been: {}", naming(&lost)));
    }
    if !untold.is_empty() {
        report.fault(format!(
            "confirmed, but the server was not told: {}",
            naming(&untold)
        ));
    }
    if !twice.is_empty() {
        report.fault(format!("confirmed more than once: {}", naming(&twice)));
    }
    if in_flight.len() as u64 > observed.death.reset {
        report.fault(format!(
            "{} pushes broke off when the address died, but it had only {} tunnels",
            in_flight.len(),
            observed.death.reset
        ));
    }
    if observed.death.reset == 0 {
        report.fault("the address that died had no tunnel, so nothing was shown".to_owned());
    }
    if report.summary.pushes < observed.wanted {
        report.fault(format!(
            "only {} pushes were sent, {} are wanted",
            report.summary.pushes, observed.wanted
        ));
    }
    let Counted {
        reached, forwarded, ..
    } = observed.servers;
    if reached > observed.keepable {
        report.fault(format!(
            "{forwarded} absolute-form requests took {reached} connections to the proxy, {} would have done",
            observed.keepable
        ));
    }
    for pair in report.compared.clone() {
        let Pair {
            what,
            servers,
            proxy,
        } = pair;
        if servers != proxy {
            report.fault(format!(
                "the books differ in {what}: the servers have {servers}, the proxy has {proxy}"
            ));
        }
    }
    report
}

/// `3 pushes, demo-00001 (cut), demo-00002 (unsent: no tunnel to …), …`
fn naming(deliveries: &[&Delivery]) -> String {
    let count = deliveries.len();
    let plural = if count == 1 { "" } else { "es" };
    let mut text = format!("{count} push{plural}");
    for delivery in deliveries.iter().take(NAMED) {
        let why = delivery.why.as_deref().map(|why| format!(": {why}"));
        text.push_str(&format!(
            ", {} ({}{})",
            delivery.tracking_id,
            delivery.word,
            why.unwrap_or_default()
        ));
    }
    if count > NAMED {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests;
