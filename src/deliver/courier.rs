//! Carries the access lines that wait to a syslog collector, in their order, for as long as the program runs.
//!
//! Syslog has no receipts: what was on its way when a connection breaks may be lost unseen, a few lines at most.
//! Everything else is sent, or counted as lost.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::batch::{Batch, Framing};
use super::end;
use super::link::{Link, LinkError};
use super::syslog::Sender;
use super::tls::ClientTerms;
use super::trouble::{CALM, Trouble};
use crate::config::{Authorities, Collector, Transport};
use crate::dial::operator::OperatorDialer;
use crate::dial::tls::NativeRoots;
use crate::telemetry::{Letter, Waiting};

/// Carries lines until it is told to end.
#[derive(Debug)]
pub(crate) struct Courier {
    collector: Collector,
    terms: Option<ClientTerms>,
    dialer: OperatorDialer,
    sender: Sender,
    waiting: Waiting,
    batch: Batch,
    trouble: Trouble,
    backoff: Backoff,
    /// Whether the end has begun: no new lines, and no patience with a collector that is away.
    ending: bool,
}

/// TLS to the collector cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS for the log collector")]
pub(crate) struct CourierError(#[from] rustls::Error);

/// A courier at work.
#[derive(Debug)]
pub(crate) struct Delivery {
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Courier {
    pub(crate) fn new(
        collector: Collector,
        native_roots: &NativeRoots,
        ca: Option<&Authorities>,
        dialer: OperatorDialer,
        waiting: Waiting,
    ) -> Result<Self, CourierError> {
        let (framing, terms) = match collector.transport {
            Transport::Udp => (Framing::Datagrams, None),
            Transport::Tcp => (Framing::Counted, None),
            Transport::Tls => {
                let extra = ca.map_or(&[][..], |ca| &ca.certificates);
                let terms = ClientTerms::new(native_roots, extra)?;
                (Framing::Counted, Some(terms))
            }
        };
        Ok(Self {
            collector,
            terms,
            dialer,
            sender: Sender::of_this_process(),
            waiting,
            batch: Batch::new(framing),
            trouble: Trouble::default(),
            backoff: Backoff::default(),
            ending: false,
        })
    }

    /// Starts to carry, in a task of its own on this thread.
    pub(crate) fn start(self) -> Delivery {
        let (end, told) = watch::channel(false);
        let task = tokio::task::spawn_local(self.run(told));
        Delivery { end, task }
    }

    async fn run(mut self, mut told: watch::Receiver<bool>) {
        while let Some(mut link) = self.connect(&mut told).await {
            let opened = Instant::now();
            match self.carry(&mut link, &mut told).await {
                Ok(()) => return link.close().await,
                Err(error) => self.note(&error),
            }
            self.batch.rewind();
            if opened.elapsed() >= CALM {
                self.backoff = Backoff::default();
            }
        }
    }

    /// Tries until there is a connection; `None` if the end has come and nothing is left to be carried.
    async fn connect(&mut self, told: &mut watch::Receiver<bool>) -> Option<Link> {
        loop {
            tokio::select! {
                biased;
                () = end(told), if !self.ending => self.begin_end(),
                () = sleep(self.backoff.pause()) => {}
            }
            if self.ending && self.batch.is_empty() && self.waiting.is_empty() {
                return None;
            }
            tokio::select! {
                biased;
                () = end(told), if !self.ending => self.begin_end(),
                link = Link::open(&self.collector, &self.dialer, self.terms.as_ref()) => match link {
                    Ok(link) => return Some(link),
                    Err(error) => self.note(&error),
                },
            }
        }
    }

    /// Carries what comes until the link breaks, or the end has come and all is sent.
    async fn carry(
        &mut self,
        link: &mut Link,
        told: &mut watch::Receiver<bool>,
    ) -> Result<(), LinkError> {
        loop {
            if self.batch.is_empty() {
                let troubled = self.trouble.is_on(self.waiting.is_losing());
                tokio::select! {
                    biased;
                    error = link.broken() => return Err(error),
                    () = end(told), if !self.ending => self.begin_end(),
                    letter = self.waiting.next() => match letter {
                        Some(letter) => self.pack(&letter),
                        None => return Ok(()),
                    },
                    () = sleep(CALM), if troubled => self.look(),
                }
            }
            while !self.batch.is_full() {
                let Some(letter) = self.waiting.try_next() else {
                    break;
                };
                self.pack(&letter);
            }
            if !self.batch.is_empty() {
                let waiting = &self.waiting;
                link.send(&mut self.batch, |error| waiting.lost(1, error))
                    .await?;
                self.trouble.sent(self.waiting.dropped(), Instant::now());
                self.look();
            }
        }
    }

    fn pack(&mut self, letter: &Letter) {
        self.batch
            .push(&self.sender.message(letter.at, &letter.line));
    }

    fn begin_end(&mut self) {
        self.ending = true;
        self.waiting.close();
        self.backoff = Backoff::default();
    }

    fn note(&mut self, error: &LinkError) {
        let collector = &self.collector;
        if self.collector.transport == Transport::Udp
            && matches!(error, LinkError::Broken(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
        {
            // Heard of late: it was a datagram that is gone.
            self.waiting.lost(1, error);
        }
        if self.trouble.is_news(error.kind(), Instant::now()) {
            tracing::warn!(%collector, cause = %error, "the log collector cannot be reached: lines wait");
        }
    }

    fn look(&mut self) {
        if !self.trouble.is_on(self.waiting.is_losing()) {
            return;
        }
        let dropped = self.waiting.dropped();
        if let Some(lost) = self.trouble.is_over(dropped, Instant::now()) {
            self.waiting.settle();
            let collector = &self.collector;
            tracing::info!(%collector, lost, "log lines reach the collector again");
        }
    }
}

impl Delivery {
    /// Carries what waits, and ends; gives up after `patience`. True if all was sent.
    pub(crate) async fn finish(self, patience: Duration) -> bool {
        let Self { end, mut task } = self;
        end.send_replace(true);
        let done = timeout(patience, &mut task).await.is_ok();
        task.abort();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Dns, Families, Keepalive};
    use crate::dial::resolve::Resolver;
    use crate::exchange::Host;
    use crate::telemetry::Meters;
    use crate::telemetry::outbox::outbox;
    use std::sync::Arc;
    use std::time::SystemTime;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    const LONG: Duration = Duration::from_secs(20);

    /// A courier to a port of loopback, with these lines to carry.
    fn courier(port: u16, lines: &[&str]) -> Courier {
        let dns = Dns {
            servers: Vec::new(),
            min_ttl: Duration::ZERO,
            max_ttl: LONG,
            negative_ttl: Duration::ZERO,
            serve_stale: Duration::ZERO,
            timeout: LONG,
            ca: None,
        };
        let (resolver, _) = Resolver::new(&dns, Arc::new(Meters::new(&[], &[])));
        let keepalive = Keepalive {
            idle: LONG,
            interval: LONG,
            probes: 1,
        };
        let (outbox, waiting) = outbox(8, |_| {});
        for line in lines {
            outbox.push(Letter {
                at: SystemTime::UNIX_EPOCH,
                line: (*line).into(),
            });
        }
        let collector = Collector {
            transport: Transport::Tcp,
            host: Host::Addr([127, 0, 0, 98].into()),
            port,
        };
        let dialer = OperatorDialer::new(resolver, Families::Both, keepalive);
        Courier::new(collector, &NativeRoots::load(), None, dialer, waiting).unwrap()
    }

    /// Starts it, and tells it to end before it has begun.
    async fn finish(courier: Courier, patience: Duration) -> bool {
        let local = LocalSet::new();
        let end = async { courier.start().finish(patience).await };
        local.run_until(end).await
    }

    #[tokio::test]
    async fn the_end_comes_after_what_waits_was_sent() {
        let listener = TcpListener::bind("127.0.0.98:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(finish(courier(port, &["1", "2", "3"]), LONG).await);
        let mut arrived = String::new();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_to_string(&mut arrived).await.unwrap();
        let bodies: Vec<&str> = arrived
            .split(" access - ")
            .skip(1)
            .map(|rest| &rest[..1])
            .collect();
        assert_eq!(bodies, ["1", "2", "3"], "{arrived}");
    }

    #[tokio::test]
    async fn a_collector_that_is_away_is_waited_for_at_the_end_only_with_lines_in_hand() {
        let listener = TcpListener::bind("127.0.0.98:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(finish(courier(port, &[]), LONG).await);
        assert!(!finish(courier(port, &["1"]), Duration::from_millis(50)).await);
    }
}
