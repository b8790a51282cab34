//! When each push destination was last reached, by an exchange or by a probe.
//!
//! Bounded by the destinations of the configuration; `now` comes in as an argument.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{Config, Role};
use crate::exchange::{DestinationName, Exchange, Fault, Handshake, Kind};

/// What is lately where probes are off, or are seldom.
const LATELY: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Default)]
pub(crate) struct Reached(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// Those with a push host. A series that outlives its destination would say that all is well.
    last: BTreeMap<DestinationName, Option<(Instant, By)>>,
    lately: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Exchange,
    Probe,
}

impl By {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Probe => "probe",
        }
    }
}

/// One push destination, to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) destination: DestinationName,
    pub(crate) at: Option<(Instant, By)>,
}

impl Reached {
    /// Which push destinations there are; what is known of others is forgotten.
    pub(crate) fn configure(&self, config: &Config) {
        let mut book = self.book();
        let pushes = config.destinations.iter().filter(|destination| {
            let mut roles = destination.hosts.iter().map(|rule| rule.role);
            roles.any(|role| role == Role::Push)
        });
        let old = std::mem::take(&mut book.last);
        book.last = pushes
            .map(|one| (one.name.clone(), old.get(&one.name).copied().flatten()))
            .collect();
        // Two rounds: one may have been bad luck.
        let two_rounds = config.probe.interval.map(|interval| interval * 2);
        book.lately = two_rounds.unwrap_or_default().max(LATELY);
    }

    pub(crate) fn note(&self, destination: &DestinationName, at: Instant, by: By) {
        if let Some(last) = self.book().last.get_mut(destination)
            && last.is_none_or(|(known, _)| known < at)
        {
            *last = Some((at, by));
        }
    }

    /// An exchange that has ended tells of the moment when its upstream was surely there: a tunnel may have been silent
    /// for hours since.
    pub(super) fn exchange_ended(&self, exchange: &Exchange, total: Duration) {
        let (Some(destination), Some(_)) = (&exchange.destination, exchange.peer) else {
            return;
        };
        let is_accepted = matches!(exchange.handshake, None | Some(Handshake::Through));
        let after = match exchange.kind {
            Kind::Tunnel if exchange.bytes_down > 0 && is_accepted => {
                exchange.setup.unwrap_or_default()
            }
            Kind::Forward if exchange.reason.fault() == Fault::Nobody => total,
            Kind::Tunnel | Kind::Forward | Kind::Unknown => return,
        };
        self.note(destination, exchange.opened + after, By::Exchange);
    }

    /// Each push destination, and how long ago still is lately.
    pub(crate) fn view(&self) -> (Vec<Last>, Duration) {
        let book = self.book();
        let last = book.last.iter().map(|(destination, at)| Last {
            destination: destination.clone(),
            at: *at,
        });
        (last.collect(), book.lately)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(text: &str) -> Config {
        crate::config::parse(text, Path::new("t.toml")).unwrap()
    }

    #[test]
    fn the_latest_counts_and_only_push_destinations_are_there() {
        let reached = Reached::default();
        reached.configure(&config(
            "[[destination]]\nname = \"a\"\nhosts = [\"a.test\"]\n\
             [[destination]]\nname = \"t\"\nhosts = [\"t.test\"]\nrole = \"token\"\n[probe]\ninterval = \"1h\"",
        ));
        let (now, a) = (Instant::now(), DestinationName::new("a"));
        reached.note(&a, now, By::Probe);
        reached.note(&a, now - Duration::from_secs(1), By::Exchange);
        reached.note(&DestinationName::new("t"), now, By::Probe);
        let (last, lately) = reached.view();
        let at = Some((now, By::Probe));
        assert_eq!(last, [Last { destination: a, at }]);
        assert_eq!(lately, Duration::from_secs(7200));
        reached.configure(&config(
            "[[destination]]\nname = \"b\"\nhosts = [\"b.test\"]\n[probe]\ninterval = \"off\"",
        ));
        let (last, lately) = reached.view();
        assert_eq!((last.len(), last[0].at, lately), (1, None, LATELY));
    }
}
