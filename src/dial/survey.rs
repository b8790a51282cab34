//! Every address of a target, each looked at by itself: for those who want to know what they are like, all of them.
//!
//! No race, no order, and nothing is noted in the health book: an exchange never pays for what is found out here. What
//! may be dialled is what the policy clears, as ever.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::connect::ConnectError;
use super::parent::Way;
use super::parents::Owners;
use super::resolve::{Family, ResolveError};
use super::{ADDRESSES_MAX, Dialer, LeftOut};
use crate::exchange::Host;
use crate::policy::{Cleared, ClearedAddr, Denial};

/// What a target's names say, and what may be dialled of it.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) asked: Vec<Asked>,
    pub(crate) places: Vec<Place>,
    pub(crate) left_out: Vec<(IpAddr, LeftOut)>,
}

/// One family of one name.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) name: Arc<str>,
    pub(crate) family: Family,
    pub(crate) answer: Result<Heard, ResolveError>,
}

#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) addrs: Arc<[IpAddr]>,
    /// As its owner has it, before any cap of ours.
    pub(crate) ttl: Option<Duration>,
    /// How far beyond its time it is.
    pub(crate) stale: Option<Duration>,
}

/// An address that may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    addr: ClearedAddr,
    /// The parent proxy whose address it is, by its place in `via`.
    pub(crate) parent: Option<usize>,
}

impl Place {
    pub(crate) fn peer(&self) -> SocketAddr {
        self.addr.socket_addr()
    }
}

impl Dialer {
    /// Asks for the target's names, or its parents', and has the policy look at each address.
    pub(crate) async fn survey(&self, cleared: &Cleared) -> Survey {
        let (target, destination) = (cleared.target(), cleared.destination());
        let mut survey = Survey::default();
        if destination.via.is_empty() {
            let clear = |addr| cleared.addr(addr);
            match &target.host {
                Host::Addr(ip) => self.sort(&[*ip], target.port, None, cleared, clear, &mut survey),
                Host::Name(_) if !destination.addresses.is_empty() => {
                    let fixed = &destination.addresses;
                    self.sort(fixed, target.port, None, cleared, clear, &mut survey);
                }
                Host::Name(name) => {
                    for ips in self.hear(name, destination.max_ttl, &mut survey).await {
                        self.sort(&ips, target.port, None, cleared, clear, &mut survey);
                    }
                }
            }
            return survey;
        }
        for (number, parent) in destination.via.iter().enumerate() {
            let clear = |addr| cleared.parent(addr);
            let answers = match &parent.host {
                Host::Addr(ip) => vec![Arc::from([*ip])],
                Host::Name(name) => self.hear(name, destination.max_ttl, &mut survey).await,
            };
            for ips in answers {
                self.sort(&ips, parent.port, Some(number), cleared, clear, &mut survey);
            }
        }
        survey
    }

    /// Connects to one place; through a parent it is a tunnel to the target. The caller's deadline ends it.
    pub(crate) async fn visit(
        &self,
        cleared: &Cleared,
        place: Place,
        trail: &str,
    ) -> Result<(Way, Bytes), ConnectError> {
        let owners: Owners = RefCell::default();
        owners
            .borrow_mut()
            .extend(place.parent.map(|number| (place.peer(), number)));
        self.attempt(cleared, place.addr, &owners, trail).await
    }

    async fn hear(
        &self,
        name: &Arc<str>,
        max_ttl: Option<Duration>,
        survey: &mut Survey,
    ) -> Vec<Arc<[IpAddr]>> {
        let ask = async |family| {
            if !self.wants(family) {
                return None;
            }
            let answer = self.resolver.lookup(name, family, max_ttl).await;
            Some(answer.map(|found| Heard {
                addrs: found.addrs,
                ttl: self.resolver.ttl(name, family),
                stale: found.stale,
            }))
        };
        let (v4, v6) = tokio::join!(ask(Family::V4), ask(Family::V6));
        let mut answers = Vec::new();
        for (family, answer) in [(Family::V4, v4), (Family::V6, v6)] {
            let Some(answer) = answer else { continue };
            answers.extend(answer.as_ref().ok().map(|heard| Arc::clone(&heard.addrs)));
            survey.asked.push(Asked {
                name: Arc::clone(name),
                family,
                answer,
            });
        }
        answers
    }

    fn sort(
        &self,
        ips: &[IpAddr],
        port: u16,
        parent: Option<usize>,
        cleared: &Cleared,
        clear: impl Fn(SocketAddr) -> Result<ClearedAddr, Denial>,
        survey: &mut Survey,
    ) {
        for ip in ips.iter().map(IpAddr::to_canonical) {
            let left_out = if self.leaves_out_family(cleared, ip) {
                LeftOut::OtherFamily
            } else if survey.places.len() >= ADDRESSES_MAX {
                LeftOut::TooMany
            } else {
                match clear(SocketAddr::new(ip, port)) {
                    Ok(addr) => {
                        let place = Place { addr, parent };
                        if !survey.places.iter().any(|known| known.addr == addr) {
                            survey.places.push(place);
                        }
                        continue;
                    }
                    Err(denial) => LeftOut::Denied(denial),
                }
            };
            survey.left_out.push((ip, left_out));
        }
    }
}
