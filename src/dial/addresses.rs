//! From a target to the addresses that may be dialled for it: static ones, or its name's, family by family, as they come.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::resolve::{Family, Lookup, ResolveError};
use super::{ADDRESSES_MAX, Dialer, RESOLUTION_DELAY, source};
use crate::config::{self, Families};
use crate::exchange::Host;
use crate::policy::{Cleared, ClearedAddr, Denial};
use crate::telemetry::Moment;

/// What resolving has brought so far.
#[derive(Debug, Default)]
pub(super) struct Resolution {
    pub(super) resolved: Vec<IpAddr>,
    pub(super) offered: Vec<ClearedAddr>,
    pub(super) denial: Option<Denial>,
    pub(super) other_family: bool,
    pub(super) avoided: bool,
    pub(super) error: Option<ResolveError>,
    pub(super) took: Option<Duration>,
    pub(super) stale: Option<Duration>,
}

impl Dialer {
    /// Hands on the target's addresses, family by family, as they come.
    pub(super) async fn resolve(
        &self,
        cleared: &Cleared,
        avoid: &[SocketAddr],
        found: mpsc::Sender<Vec<ClearedAddr>>,
        resolution: &RefCell<Resolution>,
    ) {
        let target = cleared.target();
        let destination = cleared.destination();
        let offer = |ips: &[IpAddr]| {
            let clear = |addr| Some(cleared.addr(addr));
            let mut resolution = resolution.borrow_mut();
            let batch = self.take(ips, target.port, destination, avoid, clear, &mut resolution);
            // Two families, two places: never full. Closed: the race is over.
            let _ = found.try_send(batch);
        };
        let name = match &target.host {
            Host::Addr(ip) => return offer(&[*ip]),
            Host::Name(_) if !destination.addresses.is_empty() => {
                return offer(&destination.addresses);
            }
            Host::Name(name) => name,
        };
        let begun = Instant::now();
        let ask = |family, wanted: bool| async move {
            if !wanted {
                return Err(ResolveError::NoAddress);
            }
            let answer = self
                .resolver
                .lookup(name, family, destination.max_ttl)
                .await;
            let listed = |family, addrs: &Arc<[IpAddr]>| {
                let now = Instant::now();
                self.health
                    .listed(&destination.name, name, family, addrs, now);
            };
            match &answer {
                Ok(found) => listed(family, &found.addrs),
                Err(ResolveError::NoAddress) => listed(family, &Arc::from([])),
                // A name that does not exist has no other family either.
                Err(ResolveError::NotFound) => {
                    listed(Family::V4, &Arc::from([]));
                    listed(Family::V6, &Arc::from([]));
                }
                Err(_) => {}
            }
            answer
        };
        // Whichever family comes first is tried first. Only an unknown name's IPv4 waits a moment for IPv6.
        let mut error = None;
        let take = |answer: Lookup, error: &mut Option<ResolveError>| match answer {
            Ok(found) => {
                self.compare_with_published(cleared, &found.addrs);
                self.note_changes(cleared, &found.addrs);
                offer(&found.addrs);
                let mut resolution = resolution.borrow_mut();
                resolution.took.get_or_insert_with(|| begun.elapsed());
                resolution.stale = resolution.stale.max(found.stale);
            }
            Err(failed) => *error = worst(*error, Some(failed)),
        };
        let v6 = ask(Family::V6, self.wants(Family::V6));
        let v4 = ask(Family::V4, self.wants(Family::V4));
        tokio::pin!(v6, v4);
        'both: {
            tokio::select! {
                biased;
                first = &mut v6 => {
                    take(first, &mut error);
                    take(v4.await, &mut error);
                }
                first = &mut v4 => {
                    if let Ok(ips) = &first
                        && self.connect.families == Families::Both
                        && !self.knows_healthy(cleared, &ips.addrs)
                        && let Ok(second) = timeout(RESOLUTION_DELAY, &mut v6).await
                    {
                        take(second, &mut error);
                        take(first, &mut error);
                        break 'both;
                    }
                    take(first, &mut error);
                    // As above: then nobody waits for the other family.
                    if error != Some(ResolveError::NotFound) {
                        take(v6.await, &mut error);
                    }
                }
            }
        }
        let mut resolution = resolution.borrow_mut();
        resolution.took.get_or_insert_with(|| begun.elapsed());
        resolution.error = error;
    }

    /// Warns of answers that the service does not know of: it moved, or somebody else answers in its name.
    fn compare_with_published(&self, cleared: &Cleared, ips: &[IpAddr]) {
        for ip in ips.iter().take(ADDRESSES_MAX) {
            if !cleared.is_unpublished(*ip) {
                continue;
            }
            let destination = &cleared.destination().name;
            self.meters.published_range_miss(destination);
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_news(destination, *ip, Instant::now()) {
                tracing::warn!(
                    %destination, name = %cleared.target().host, address = %ip,
                    "a name resolved to an address outside of its service's published ranges"
                );
            }
        }
    }

    /// Whether an address of the answer is known to be good.
    fn knows_healthy(&self, cleared: &Cleared, ips: &[IpAddr]) -> bool {
        let port = cleared.target().port;
        let peers = ips
            .iter()
            .take(ADDRESSES_MAX)
            .map(|ip| SocketAddr::new(ip.to_canonical(), port));
        self.health
            .knows_healthy(&cleared.destination().name, peers)
    }

    /// Tells the journal, once, of addresses that a name did not have before.
    fn note_changes(&self, cleared: &Cleared, ips: &Arc<[IpAddr]>) {
        let name = &cleared.target().host;
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(change) = changes.note(name, ips, Instant::now()) else {
            return;
        };
        drop(changes);
        let destination = &cleared.destination().name;
        self.meters.address_change(destination);
        let text = format!(
            "{name}: added {:?}, removed {:?}",
            change.added, change.removed
        );
        self.derivation
            .addresses_changed(destination, text, Moment::now());
        tracing::info!(
            event = "address_set_changed", %destination, %name,
            added = ?change.added, removed = ?change.removed,
            "a name's addresses have changed"
        );
    }

    /// Of these addresses those that may be dialled, each once. `clear` says which pass the policy, and `None` of one
    /// that is offered already.
    pub(super) fn take(
        &self,
        ips: &[IpAddr],
        port: u16,
        destination: &config::Destination,
        avoid: &[SocketAddr],
        clear: impl Fn(SocketAddr) -> Option<Result<ClearedAddr, Denial>>,
        resolution: &mut Resolution,
    ) -> Vec<ClearedAddr> {
        let mut batch = Vec::new();
        for ip in ips.iter().take(ADDRESSES_MAX) {
            resolution.resolved.push(*ip);
            // A mapped address is dialled as what it stands for.
            let addr = SocketAddr::new(ip.to_canonical(), port);
            let family = Family::of(addr.ip());
            if !self.wants(family) || !source::has_family(&destination.source, addr.ip()) {
                resolution.other_family = true;
                continue;
            }
            if avoid.contains(&addr) {
                resolution.avoided = true;
                continue;
            }
            match clear(addr) {
                Some(Ok(addr)) if !resolution.offered.contains(&addr) => {
                    resolution.offered.push(addr);
                    batch.push(addr);
                }
                Some(Ok(_)) | None => {}
                Some(Err(denial)) => resolution.denial = Some(denial),
            }
        }
        batch
    }

    pub(super) fn wants(&self, family: Family) -> bool {
        match self.connect.families {
            Families::Both => true,
            Families::Ipv4 => family == Family::V4,
            Families::Ipv6 => family == Family::V6,
        }
    }
}

/// Of two families' failures, the one that tells an administrator more.
pub(super) fn worst(
    one: Option<ResolveError>,
    other: Option<ResolveError>,
) -> Option<ResolveError> {
    [
        ResolveError::TimedOut,
        ResolveError::Unreachable,
        ResolveError::Untrusted,
        ResolveError::Nowhere,
        ResolveError::Failed,
        ResolveError::NotFound,
        ResolveError::NoAddress,
    ]
    .into_iter()
    .find(|error| one == Some(*error) || other == Some(*error))
}
