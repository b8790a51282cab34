//! What exchanges and states that nobody could read all the same show: the rules by which alarms and counters are derived.
//!
//! Every rule stands here, each once, with what clears its alarm. A rule says what is certain and no more; a client that
//! was impatient is never taken for a trouble. No clock is read: `now` is an argument. Bounded.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::alarms::{Alarm, Evidence};
use super::configured::{Configured, subject};
use super::guide::{Component, Origin};
use super::refusals::Refusals;
use super::{AlarmBoard, GuideCounters, Moment, Timestamp};
use crate::config::identity::EXPIRES_SOON;
use crate::config::{Config, HostPattern, Role};
use crate::exchange::{DestinationName, Exchange, Fault, Handshake, Kind, Reason};

/// What a refused reload is told of.
pub(crate) const CONFIGURATION: &str = "configuration";
/// Tunnels must be off DNS in so many looks in a row: their end may be under way.
const OFF_LOOKS: u32 = 3;

/// Derives; shared by the cores and the control thread.
#[derive(Debug)]
pub(crate) struct Derivation {
    board: Arc<AlarmBoard>,
    counters: Arc<GuideCounters>,
    /// Of each alarm, in the order of `Alarm::ALL`.
    components: Vec<Component>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    configured: Arc<Configured>,
    refusals: Refusals,
    off_dns: HashMap<DestinationName, u32>,
}

impl Derivation {
    pub(crate) fn new(board: Arc<AlarmBoard>, counters: Arc<GuideCounters>) -> Self {
        Self {
            board,
            counters,
            components: Alarm::definitions()
                .iter()
                .map(|one| one.component)
                .collect(),
            known: Mutex::default(),
        }
    }

    /// Takes over a configuration, also one that was reloaded: alarms of what is not in it any more clear.
    pub(crate) fn configure(&self, config: &Config, now: Moment) {
        self.known().configured = Arc::new(Configured::of(config));
        self.clear_gone(now);
        self.certificates(now);
    }

    /// Clears what is about something that is not configured any more. Asked now and then as well: what was under way
    /// when a reload came ends after it.
    pub(crate) fn clear_gone(&self, now: Moment) {
        if self.board.active() == 0 {
            return;
        }
        let configured = self.configured();
        for (alarm, component) in Alarm::ALL.into_iter().zip(&self.components) {
            let keep = |name: &str| configured.has(alarm, *component, name);
            let gone = "it is not configured any more";
            self.board.clear_others(alarm, keep, gone, now);
        }
    }

    /// An exchange has its target: it was just connected to it, or was answered. Clears what said that this cannot be done.
    pub(crate) fn reached(&self, exchange: &Exchange, now: Moment) {
        self.got_through(exchange, now);
        if self.board.active() == 0 {
            return;
        }
        if let Some((alarm, subject, _)) = self.unavailable(exchange)
            && let Some(peer) = exchange.peer
        {
            self.board
                .clear(alarm, &subject, &format!("{peer} answers"), now);
        }
    }

    /// An exchange has ended.
    pub(crate) fn ended(&self, exchange: &Exchange, now: Moment) {
        match exchange.reason {
            Reason::BadCredentials | Reason::Throttled => self.refused(exchange, true, now),
            Reason::NoCredentials | Reason::StaleNonce => self.refused(exchange, false, now),
            _ => self.got_through(exchange, now),
        }
        match exchange.reason {
            Reason::ConnectRefused
            | Reason::ConnectTimeout
            | Reason::Unreachable
            // A parent proxy, or an address that accepts and resets at once.
            | Reason::UpstreamReset
            | Reason::UpstreamTlsFailed
            | Reason::BadReply
                if exchange.tried_all =>
            {
                self.unreachable(exchange, now);
            }
            Reason::NameNotFound | Reason::DnsTimeout | Reason::DnsFailed => {
                self.unreachable(exchange, now);
            }
            _ => {}
        }
        if handshake_died(exchange) {
            self.push_error(exchange, now);
        }
    }

    /// Whether what is dialled for a destination are parent proxies.
    pub(crate) fn has_parents(&self, destination: &DestinationName) -> bool {
        self.known().configured.with_parents.contains(destination)
    }

    /// How the destinations are: the name, whether none of its addresses can be connected to, and what they are like.
    /// Raises `TidegateAllAddressesDead`; the first address that answers clears it.
    pub(crate) fn destinations(
        &self,
        all: impl Iterator<Item = (DestinationName, bool, String)>,
        now: Moment,
    ) {
        let alarm = Alarm::AllAddressesDead;
        let dead: Vec<_> = all.filter(|(_, dead, _)| *dead).collect();
        if !dead.is_empty() {
            let active = self.board.active_subjects(alarm);
            for (destination, _, text) in &dead {
                let name = destination.as_str();
                if active.iter().any(|one| **one == *name) {
                    self.board.holds(alarm, name);
                } else {
                    self.raise(alarm, name, None, text.clone(), now);
                }
            }
        }
        let is_dead = |name: &str| dead.iter().any(|(one, ..)| one.as_str() == name);
        let text = "no longer are all of its addresses known to be dead";
        self.board.clear_others(alarm, is_dead, text, now);
    }

    /// A certificate expires soon, or has: `TidegateCertificateExpiring`, until another is in its place.
    pub(crate) fn certificates(&self, now: Moment) {
        let alarm = Alarm::CertificateExpiring;
        let certificates = self.configured().certificates.clone();
        let active = self.board.active_subjects(alarm);
        for (listener, expires) in certificates {
            let name = listener.as_str();
            let is_active = active.iter().any(|one| **one == *name);
            let soon = expires < now.wall + EXPIRES_SOON;
            if soon && is_active {
                self.board.holds(alarm, name);
            } else if soon {
                let text = format!("it expires at {}", Timestamp(expires));
                self.raise(alarm, name, None, text, now);
            } else if is_active {
                let text = format!("the one in its place expires at {}", Timestamp(expires));
                self.board.clear(alarm, name, &text, now);
            }
        }
    }

    /// How many tunnels of each destination are on addresses that their names have no more, at each look; `None` where
    /// nothing is known of any of its names now. Raises
    /// `TidegateTunnelsOffDns` when it lasts; a look that finds none clears it.
    pub(crate) fn off_dns(&self, counts: &HashMap<DestinationName, Option<usize>>, now: Moment) {
        let alarm = Alarm::TunnelsOffDns;
        let mut known = self.known();
        // Where no fresh answer is held, nothing has changed.
        let may_be_off = |tunnels: &Option<usize>| *tunnels != Some(0);
        known
            .off_dns
            .retain(|name, _| counts.get(name).is_some_and(may_be_off));
        let mut lasting = Vec::new();
        for (destination, tunnels) in counts {
            let Some(tunnels) = tunnels.filter(|tunnels| *tunnels > 0) else {
                continue;
            };
            let looks = known.off_dns.entry(destination.clone()).or_default();
            *looks = looks.saturating_add(1);
            if *looks == OFF_LOOKS {
                lasting.push((destination.clone(), tunnels));
            }
        }
        drop(known);
        for (destination, tunnels) in lasting {
            let text = format!("{tunnels} tunnels are on addresses that DNS no longer lists");
            self.raise(alarm, destination.as_str(), None, text, now);
        }
        let is_off = |name: &str| {
            let mut counts = counts.iter();
            counts.any(|(destination, tunnels)| destination.as_str() == name && may_be_off(tunnels))
        };
        let text = "no tunnel is on such an address";
        self.board.clear_others(alarm, is_off, text, now);
    }

    /// A name of a destination got or lost addresses: `TidegateAddressesChanged`, until an hour has passed without.
    pub(crate) fn addresses_changed(
        &self,
        destination: &DestinationName,
        text: String,
        now: Moment,
    ) {
        let name = destination.as_str();
        self.raise(Alarm::AddressesChanged, name, None, text, now);
    }

    /// `TidegateReloadRefused`, with why; until a reload is carried out.
    pub(crate) fn reloaded(&self, refused: Option<String>, now: Moment) {
        let alarm = Alarm::ReloadRefused;
        match refused {
            Some(why) => self.raise(alarm, CONFIGURATION, None, why, now),
            None => self
                .board
                .clear(alarm, CONFIGURATION, "a reload was carried out", now),
        }
    }

    /// The push service, or the token service, can't be reached on any address: the guide's alarm for it. The next
    /// exchange that is connected clears it.
    fn unreachable(&self, exchange: &Exchange, now: Moment) {
        let Some((alarm, subject, is_exact)) = self.unavailable(exchange) else {
            return;
        };
        // Behind a wildcard anybody can ask for a name that does not exist.
        if !is_exact && exchange.attempts.is_empty() {
            return;
        }
        let mut text = format!("no connection: {}", exchange.reason.token());
        for attempt in &exchange.attempts {
            // Writing to a string never fails.
            let _ = write!(text, "; {} {}", attempt.peer, attempt.error.unwrap_or("-"));
        }
        self.raise(alarm, &subject, Some(exchange), text, now);
    }

    /// The alarm for a target that can't be reached, its subject, and whether that names the host and no pattern.
    fn unavailable(&self, exchange: &Exchange) -> Option<(Alarm, String, bool)> {
        let (destination, target) = (exchange.destination.as_ref()?, exchange.target.as_ref()?);
        let configured = self.configured();
        let rule = configured.rule(destination, &target.host)?;
        let alarm = match rule.role {
            Role::Push => Alarm::PushNotificationServiceUnavailable,
            Role::Token => Alarm::PushNotificationServiceAccessTokenUnavailable,
            Role::Onboarding | Role::Other => return None,
        };
        let is_exact = !matches!(rule.pattern, HostPattern::Suffix(_));
        Some((alarm, subject(destination, rule), is_exact))
    }

    /// A TLS handshake that died in a tunnel to the push service is an error response in the guide's count.
    fn push_error(&self, exchange: &Exchange, now: Moment) {
        let component = Component::CallManager;
        let configured = self.configured();
        let sender = exchange.sender.as_ref();
        let sender = sender.and_then(|sender| configured.component(sender));
        // It is a counter of one component; of who is known to be another it says nothing.
        let is_anothers = sender.is_some_and(|sender| sender != component);
        let to_push = self
            .unavailable(exchange)
            .is_some_and(|(alarm, ..)| alarm == Alarm::PushNotificationServiceUnavailable);
        if to_push && !is_anothers {
            let name = "NumberOfPushErrorResReceived";
            self.counters
                .add(component, name, None, Origin::Derived, 1, now.instant);
        }
    }

    /// A client was refused with 407, or with 429 for wrong passwords: `TidegateClientNeverAuthenticates` when it never
    /// gets through from one of its addresses. The first request that does, from the last of them, clears it, or an hour
    /// without any.
    fn refused(&self, exchange: &Exchange, wrong: bool, now: Moment) {
        let (sender, ip) = (sender(exchange), ip(exchange));
        let refused = (Arc::clone(&sender), ip);
        let never = self.known().refusals.add(refused, wrong, now);
        if let Some(times) = never {
            let reason = exchange.reason.token();
            let text =
                format!("{ip} was refused {times} times in a row, the last time for {reason}");
            let alarm = Alarm::ClientNeverAuthenticates;
            self.raise(alarm, &sender, Some(exchange), text, now);
        }
    }

    /// An exchange that got beyond its login.
    fn got_through(&self, exchange: &Exchange, now: Moment) {
        // Before the login nothing is asked of the policy, and no destination is looked for.
        if exchange.destination.is_none() && exchange.reason.fault() != Fault::Policy {
            return;
        }
        let mut known = self.known();
        if known.refusals.is_empty() {
            return;
        }
        let ip = ip(exchange);
        // Before its login a client that is known by its users was no more than its address.
        let names = [sender(exchange), ip.to_string().into()];
        let freed = names.map(|name| {
            let refused = (name, ip);
            let is_free = known.refusals.got_through(&refused, exchange.opened, now);
            is_free.then_some(refused.0)
        });
        drop(known);
        for name in freed.iter().flatten() {
            let alarm = Alarm::ClientNeverAuthenticates;
            let text = format!("{ip} got through");
            self.board.clear(alarm, name, &text, now);
        }
    }

    fn raise(
        &self,
        alarm: Alarm,
        subject: &str,
        exchange: Option<&Exchange>,
        text: String,
        now: Moment,
    ) {
        let evidence = Evidence {
            exchange: exchange.map(|exchange| exchange.id),
            text,
            remedy: None,
        };
        self.board
            .raise(alarm, subject, Origin::Derived, evidence, now);
    }

    fn configured(&self) -> Arc<Configured> {
        Arc::clone(&self.known().configured)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of either side: the guide counts it as an error response.
fn handshake_died(exchange: &Exchange) -> bool {
    exchange.kind == Kind::Tunnel && exchange.handshake == Some(Handshake::Died)
}

/// The `[[client]]` it is known as, else its address. Not its user: it never proved to be that.
fn sender(exchange: &Exchange) -> Arc<str> {
    match &exchange.sender {
        Some(client) => client.as_str().into(),
        None => ip(exchange).to_string().into(),
    }
}

fn ip(exchange: &Exchange) -> IpAddr {
    exchange.client.0.ip().to_canonical()
}

#[cfg(test)]
mod tests;
