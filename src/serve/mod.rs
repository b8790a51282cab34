//! HTTP spoken to the client, and the order of the stations.
//!
//! Is handed a stream and opens no socket.

pub(crate) mod body;
pub(crate) mod dispatch;
mod download;
pub(crate) mod forward;
pub(crate) mod forwarded;
pub(crate) mod head;
pub(crate) mod headers;
pub(crate) mod http1;
mod order;
mod origin;
pub(crate) mod reply;
pub(crate) mod scan;
mod turn;
mod upload;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use self::headers::Pseudonym;
use crate::config;
use crate::dial::Dialer;
use crate::dial::tls::OriginTls;
use crate::exchange::{ClientAddr, Exchange, ExchangeId, Reason, UserName};
use crate::gate::{Gate, Rules, Waited};
use crate::lifecycle::DrainWatch;
use crate::policy::{Cleared, Lacking, Latest, Passed, Reports};
use crate::relay::{Idle, Scratch, Tunnels};
use crate::telemetry::{AlarmBoard, Entry, GuideCounters, Ledger, Meters};

/// The handles that one connection needs; one per core, shared by its connections.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) gate: Arc<Gate>,
    pub(crate) rules: watch::Receiver<Arc<Rules>>,
    pub(crate) dialer: Dialer,
    pub(crate) ledger: Ledger,
    pub(crate) meters: Arc<Meters>,
    #[allow(dead_code, reason = "for what visible pushes show")]
    pub(crate) alarms: Arc<AlarmBoard>,
    #[allow(dead_code, reason = "for what visible pushes show")]
    pub(crate) counters: Arc<GuideCounters>,
    pub(crate) intake: config::Intake,
    pub(crate) tunnels: Tunnels,
    pub(crate) scratch: Scratch,
    pub(crate) reports: Arc<Reports>,
    pub(crate) ids: Ids,
    pub(crate) forward: config::Forward,
    pub(crate) pseudonym: Pseudonym,
    pub(crate) origin_tls: OriginTls,
    pub(crate) idle: Idle,
    /// The longest silence of an event stream: that of a tunnel.
    pub(crate) event_limit: Duration,
}

/// Makes the ids of one core's exchanges.
#[derive(Debug)]
pub(crate) struct Ids {
    seed: u32,
    count: Cell<u64>,
}

impl Ids {
    /// `seed` differs between the cores of a process and between processes.
    pub(crate) fn new(seed: u32) -> Self {
        Self {
            seed,
            count: Cell::new(0),
        }
    }

    fn next(&self, now: SystemTime) -> ExchangeId {
        let unix_ms = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_millis();
        self.count.set(self.count.get() + 1);
        ExchangeId::new(
            u64::try_from(unix_ms).unwrap_or(u64::MAX),
            self.seed,
            self.count.get(),
        )
    }
}

/// Who connected, and how it is to be treated.
#[derive(Debug)]
pub(crate) struct Arrival<Permit> {
    pub(crate) listener: Arc<config::Listener>,
    pub(crate) client: ClientAddr,
    pub(crate) accepted: Instant,
    /// Its one request is refused with this, whatever it asks for.
    pub(crate) turned_away: Option<(Reason, &'static str)>,
    /// Freed when the connection, or the tunnel it became, has ended.
    pub(crate) permit: Permit,
    pub(crate) watch: DrainWatch,
    /// Whom the certificate names that the client showed.
    pub(crate) user: Option<UserName>,
}

impl Service {
    /// Opens the ledger's entry for one exchange of a connection.
    pub(crate) fn open(
        &self,
        listener: &config::Listener,
        client: ClientAddr,
        opened: Instant,
    ) -> Entry {
        let now = SystemTime::now();
        self.ledger.open(Exchange::new(
            self.ids.next(now),
            now,
            opened,
            listener.name.clone(),
            client,
        ))
    }

    /// Notes how long limits made an exchange wait, and what one that is only tried out would have said.
    fn note_waited(&self, entry: &mut Entry, waited: Waited, cleared: &Cleared) {
        let wait = waited.took(tokio::time::Instant::now());
        entry.limit_wait_us = wait.map(|wait| origin::small(wait.as_micros()));
        entry.limit = waited.limit;
        if let Some((reason, limit)) = waited.would_refuse {
            self.report(entry, cleared, (reason, Some(limit)), None);
        }
    }

    /// Once a cleared target was dialled, whatever came of it: notes what a rule that is only tried out would have said.
    pub(crate) fn note_would_refuse(&self, entry: &mut Entry, cleared: &Cleared) {
        // A parent's address is the operator's own, and says nothing of the target's.
        let straight = cleared.destination().via.is_empty();
        let peer = entry.peer.filter(|_| straight).map(|peer| peer.0);
        let Some(denial) = cleared.would_refuse(peer) else {
            return;
        };
        let lacking = cleared.lacking(entry.sender.as_ref(), peer);
        self.report(entry, cleared, (denial.reason(), None), Some(lacking));
    }

    /// In the line, the counter and the list.
    fn report(
        &self,
        entry: &mut Entry,
        cleared: &Cleared,
        (reason, limit): (Reason, Option<Arc<str>>),
        lacking: Option<Lacking>,
    ) {
        let destination = &cleared.destination().name;
        entry.would_refuse = Some(reason);
        let sender = entry.sender.as_ref();
        self.meters.would_refuse(destination, sender, reason);
        let passed = Passed {
            client: sender.cloned(),
            target: cleared.target().clone(),
            destination: destination.clone(),
            reason,
            limit,
        };
        let latest = Latest {
            user: entry.user.clone(),
            address: entry.client.0.ip().to_canonical(),
            lacking,
        };
        self.reports.note(passed, latest, SystemTime::now());
    }
}
