//! What a dial would do, without doing it: names are asked, addresses are cleared and put in their order, and nothing is
//! connected.
//!
//! Made of what a dial is made of. What only a connection can show (who is silent, who refuses) it does not know.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::addresses::Resolution;
use super::connect::ConnectError;
use super::resolve::ResolveError;
use super::story::{Attempts, why};
use super::{ADDRESSES_MAX, DialError, Dialer, LeftOut, connect, order, parents};
use crate::policy::{Cleared, ClearedAddr, Denial};

/// What would be tried, in its order, and what would not.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    pub(crate) tries: Vec<Try>,
    pub(crate) left_out: Vec<(SocketAddr, LeftOut)>,
    /// How long the names took; `None` where none was asked.
    pub(crate) dns: Option<Duration>,
    /// What a name server said of a family that gave no address.
    pub(crate) trouble: Option<ResolveError>,
    /// Why nothing would be tried, or every try is in vain.
    pub(crate) error: Option<DialError>,
}

/// One address that would be tried.
#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) addr: SocketAddr,
    /// Which of the destination's parents it belongs to.
    pub(crate) parent: Option<usize>,
    /// Local addresses that the connection may come from; none: the system's choice.
    pub(crate) sources: Vec<IpAddr>,
}

impl Dialer {
    /// Looks ahead within the budget of a dial.
    pub(crate) async fn outlook(&self, cleared: &Cleared) -> Outlook {
        let destination = cleared.destination();
        let resolution = RefCell::new(Resolution::default());
        let owners = parents::Owners::default();
        let (found, mut incoming) = mpsc::channel(2 * destination.via.len().max(1));
        let resolving = async {
            if destination.via.is_empty() {
                self.resolve(cleared, &[], found, &resolution).await;
            } else {
                self.resolve_parents(cleared, &[], found, &resolution, &owners)
                    .await;
            }
        };
        let _ = timeout(self.budget(cleared), resolving).await;
        let mut waiting = VecDeque::new();
        while let Ok(batch) = incoming.try_recv() {
            waiting.extend(batch);
        }
        let mut outlook = Outlook::default();
        waiting.retain(|addr: &ClearedAddr| {
            let is_own = addr.refuse_if_local() && connect::is_here(addr.socket_addr().ip());
            if is_own {
                let denied = LeftOut::Denied(Denial::OwnAddress);
                outlook.left_out.push((addr.socket_addr(), denied));
            }
            !is_own
        });
        let peers = waiting.iter().map(|addr| addr.socket_addr());
        let standings = self
            .health
            .standings(&destination.name, peers, true, Instant::now());
        let ordered = order::by_health(waiting, &standings, None, |addr| {
            addr.socket_addr().is_ipv6()
        });
        let mut resolution = resolution.into_inner();
        outlook.dns = resolution.took;
        outlook.trouble = resolution.error;
        outlook.tries = ordered
            .addrs
            .iter()
            .map(|addr| {
                let addr = addr.socket_addr();
                Try {
                    addr,
                    parent: owners.borrow().get(&addr).copied(),
                    sources: self.turns.next(&destination.source, addr),
                }
            })
            .collect();
        let port = cleared.target().port;
        for (place, ip) in resolution.resolved.iter().enumerate() {
            let addr = SocketAddr::new(ip.to_canonical(), port);
            if let Some(why) = self.left_out(cleared, addr, place) {
                outlook.left_out.push((addr, why));
            }
        }
        if outlook.tries.is_empty() {
            let own = |(_, why): &(SocketAddr, LeftOut)| match why {
                LeftOut::Denied(denial) => Some(denial.clone()),
                LeftOut::OtherFamily | LeftOut::TooMany => None,
            };
            resolution.denial = resolution
                .denial
                .or_else(|| outlook.left_out.iter().find_map(own));
            outlook.error = Some(why(&Attempts::new(), &mut resolution));
        }
        let has_source = |one: &Try| {
            one.sources.is_empty() || one.sources.iter().any(|source| connect::is_here(*source))
        };
        if !outlook.tries.is_empty() && !outlook.tries.iter().any(has_source) {
            outlook.error = Some(DialError::Connect(ConnectError::NoSource));
        }
        outlook
    }

    /// Why a resolved address is not among those to try. Parents are the operator's own: only what a dial says of them
    /// all counts.
    fn left_out(&self, cleared: &Cleared, addr: SocketAddr, place: usize) -> Option<LeftOut> {
        if self.leaves_out_family(cleared, addr.ip()) {
            return Some(LeftOut::OtherFamily);
        }
        if !cleared.destination().via.is_empty() {
            return None;
        }
        match cleared.addr(addr) {
            Err(denial) => Some(LeftOut::Denied(denial)),
            Ok(_) if place >= ADDRESSES_MAX => Some(LeftOut::TooMany),
            Ok(_) => None,
        }
    }
}
