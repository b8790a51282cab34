//! A receiver of alarms, and how it is told: syslog over a connection that is kept, HTTP over one for each message.

use super::batch::{Batch, Framing};
use super::desk::News;
use super::link::{Link, LinkError};
use super::post::{Post, PostError, trusted};
use super::syslog::Sender;
use super::tls::ClientTerms;
use super::{alertmanager, structured, webhook};
use crate::config::{Authorities, Collector, Transport};
use crate::dial::operator::OperatorDialer;
use crate::dial::tls::NativeRoots;
use crate::telemetry::Moment;

pub(super) enum Sink {
    Syslog(Box<Syslog>),
    Alertmanager(Post),
    Webhook(Post),
}

/// A collector, and the connection to it while there is one.
pub(super) struct Syslog {
    collector: Collector,
    terms: Option<ClientTerms>,
    dialer: OperatorDialer,
    sender: Sender,
    link: Option<Link>,
}

impl Syslog {
    pub(super) fn new(
        collector: Collector,
        native_roots: &NativeRoots,
        ca: Option<&Authorities>,
        dialer: OperatorDialer,
    ) -> Result<Self, rustls::Error> {
        let terms = (collector.transport == Transport::Tls)
            .then(|| ClientTerms::new(native_roots, trusted(ca)));
        Ok(Self {
            collector,
            terms: terms.transpose()?,
            dialer,
            sender: Sender::of_this_process(),
            link: None,
        })
    }

    async fn deliver(&mut self, news: &News, instance: &str) -> Result<(), LinkError> {
        let framing = match self.collector.transport {
            Transport::Udp => Framing::Datagrams,
            Transport::Tcp | Transport::Tls => Framing::Counted,
        };
        let mut batch = Batch::new(framing);
        let again = news
            .active
            .iter()
            .filter(|one| news.again && !news.changes.contains(one));
        for notice in news.changes.iter().chain(again) {
            batch.push(&structured::message(notice, instance, &self.sender));
        }
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::open(&self.collector, &self.dialer, self.terms.as_ref()).await?,
        };
        // No message is so long: what an alarm says is bounded.
        link.send(
            &mut batch,
            |error| tracing::debug!(%error, "an alarm is too long for a datagram"),
        )
        .await?;
        self.link = Some(link);
        Ok(())
    }
}

impl Sink {
    /// The word in metrics and the journal.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Syslog(_) => "syslog",
            Self::Alertmanager(_) => "alertmanager",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Where it is, without what nobody should see.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Syslog(syslog) => syslog.collector.to_string(),
            Self::Alertmanager(post) | Self::Webhook(post) => post.to().to_string(),
        }
    }

    pub(super) async fn deliver(
        &mut self,
        news: &News,
        instance: &str,
        now: Moment,
    ) -> Result<(), PostError> {
        match self {
            Self::Syslog(syslog) => Ok(syslog.deliver(news, instance).await?),
            Self::Alertmanager(post) => {
                let body = alertmanager::body(news, instance);
                post.send(alertmanager::PATH, body).await.map(drop)
            }
            Self::Webhook(post) => {
                let body = webhook::body(news, instance, now.wall);
                post.send("", body).await.map(drop)
            }
        }
    }

    /// Whether the receiver says that it has taken what it was sent.
    pub(super) fn has_receipts(&self) -> bool {
        match self {
            Self::Syslog(_) => false,
            Self::Alertmanager(_) | Self::Webhook(_) => true,
        }
    }

    /// Returns when a connection that was kept has broken.
    pub(super) async fn broken(&mut self) -> LinkError {
        let Self::Syslog(syslog) = self else {
            return std::future::pending().await;
        };
        let Some(link) = &mut syslog.link else {
            return std::future::pending().await;
        };
        let error = link.broken().await;
        syslog.link = None;
        error
    }

    pub(super) async fn close(self) {
        if let Self::Syslog(syslog) = self
            && let Some(link) = syslog.link
        {
            link.close().await;
        }
    }
}
