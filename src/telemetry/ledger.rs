//! The book of exchanges: whoever opens an entry can't forget to close it.
//!
//! An entry that goes out of scope writes one access line and counts once, whatever happened; one that nobody ended
//! says `dropped`.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{AccessLog, Derivation, Event, Habits, Meters, Moment, Reached};
use crate::exchange::{Exchange, Reason};

/// Where entries are opened; a clone of it is a handle.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Books>);

#[derive(Debug)]
struct Books {
    meters: Arc<Meters>,
    log: AccessLog,
    /// What is concluded from exchanges, where anything is.
    derivation: Option<Arc<Derivation>>,
    reached: Arc<Reached>,
    habits: Arc<Habits>,
}

/// An open exchange.
#[derive(Debug)]
#[must_use = "an entry that is dropped at once says `dropped`"]
pub(crate) struct Entry {
    exchange: Box<Exchange>,
    ledger: Ledger,
    ended: bool,
}

impl Ledger {
    /// One that nothing is concluded from.
    #[cfg(test)]
    pub(crate) fn new(meters: Arc<Meters>, log: AccessLog) -> Self {
        Self(Arc::new(Books {
            meters,
            log,
            derivation: None,
            reached: Arc::default(),
            habits: Arc::default(),
        }))
    }

    /// One whose exchanges are drawn conclusions from; `habits` is the core's own.
    pub(crate) fn deriving(
        meters: Arc<Meters>,
        log: AccessLog,
        derivation: Arc<Derivation>,
        reached: Arc<Reached>,
        habits: Arc<Habits>,
    ) -> Self {
        Self(Arc::new(Books {
            meters,
            log,
            derivation: Some(derivation),
            reached,
            habits,
        }))
    }

    /// What the clients of this core use.
    pub(crate) fn habits(&self) -> &Habits {
        &self.0.habits
    }

    pub(crate) fn open(&self, exchange: Exchange) -> Entry {
        Entry {
            exchange: Box::new(exchange),
            ledger: self.clone(),
            ended: false,
        }
    }
}

impl Entry {
    /// Says how it ended. The first word stays: what goes wrong while a refusal is written does not hide its cause.
    pub(crate) fn end(&mut self, reason: Reason) {
        if !self.ended {
            self.exchange.reason = reason;
            self.ended = true;
        }
    }

    /// It was connected to its target, or a connection that was kept from before has answered. A tunnel lives for hours
    /// after that.
    pub(crate) fn reached(&self) {
        if let Some(derivation) = &self.ledger.0.derivation {
            derivation.reached(&self.exchange, Moment::now());
        }
    }

    /// Writes a line of a tunnel that lives, where the operator wants one. Nothing is counted.
    pub(crate) fn tell(&self, event: Event) {
        let total = Instant::now().saturating_duration_since(self.exchange.opened);
        let log = &self.ledger.0.log;
        log.record(event, &self.exchange, SystemTime::now(), total);
    }
}

impl Deref for Entry {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.exchange
    }
}

impl DerefMut for Entry {
    fn deref_mut(&mut self) -> &mut Exchange {
        &mut self.exchange
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // A clock is read here: an end has no caller that could bring the time.
        let total = Instant::now().saturating_duration_since(self.exchange.opened);
        let Books {
            meters,
            log,
            derivation,
            reached,
            habits,
        } = &*self.ledger.0;
        habits.ended(&self.exchange);
        reached.exchange_ended(&self.exchange, total);
        meters.exchange_ended(&self.exchange, total);
        // Before its line: whoever has read that finds the alarm.
        if let Some(derivation) = derivation {
            derivation.ended(&self.exchange, Moment::now());
        }
        log.record(Event::Close, &self.exchange, SystemTime::now(), total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AccessSink;
    use crate::exchange::{ClientAddr, ExchangeId, ListenerName};
    use crate::telemetry::LogEnd;
    use crate::telemetry::access_log::tests::log_to;
    use std::time::Duration;

    #[test]
    fn an_entry_is_written_and_counted_once_with_its_first_ending() {
        check(
            |entry| {
                entry.end(Reason::TargetDenied);
                entry.end(Reason::ClientGone);
            },
            "target_denied",
        );
    }

    #[test]
    fn an_entry_that_nobody_ended_says_so() {
        check(|_| {}, "dropped");
    }

    #[test]
    fn a_tunnel_that_is_told_of_while_it_lives_is_counted_once_all_the_same() {
        check(
            |entry| {
                entry.tell(Event::Open);
                entry.end(Reason::Idle);
            },
            "idle",
        );
    }

    fn check(story: impl FnOnce(&mut Entry), reason: &str) {
        let name = format!("tidegate-ledger-{}-{reason}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let sink = AccessSink::File(path.clone());
        let (log, LogEnd::Writer(writer)) =
            AccessLog::start(&log_to(sink, &["open", "close"]), |_| {}).unwrap()
        else {
            panic!("a file has a writer");
        };
        let meters = Arc::new(Meters::new(&[ListenerName::new("plain")], &[]));
        let ledger = Ledger::new(Arc::clone(&meters), log);
        let mut entry = ledger.open(Exchange::new(
            ExchangeId::new(1, 2, 3),
            SystemTime::now(),
            Instant::now(),
            ListenerName::new("plain"),
            ClientAddr(([127, 0, 0, 1], 40_000).into()),
        ));
        story(&mut entry);
        drop(entry);
        assert!(writer.flush_and_stop(Duration::from_secs(10)));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let ends = text
            .lines()
            .filter(|line| line.contains(r#""event":"close""#));
        assert_eq!(ends.count(), 1, "{text}");
        assert!(text.contains(&format!(r#""reason":"{reason}""#)), "{text}");
        let count = format!(
            r#"tidegate_exchanges_total{{listener="plain",destination="none",kind="unknown",reason="{reason}"}} 1"#
        );
        let text = meters.render();
        assert!(text.lines().any(|line| line == count), "{text}");
    }
}
