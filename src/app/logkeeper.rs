//! Who brings access lines to where they belong: nobody, a thread of the log's own, or a courier on the control thread.

use std::time::Duration;

use crate::config::{AccessSink, Config};
use crate::deliver::{Courier, CourierError, Delivery};
use crate::dial::operator::OperatorDialer;
use crate::dial::resolve::Resolver;
use crate::dial::tls::NativeRoots;
use crate::telemetry::{LineWriter, LogEnd};

/// Ready to work.
pub(super) enum LogKeeper {
    Nobody,
    Writer(LineWriter),
    Courier(Box<Courier>),
}

/// At work.
pub(super) enum KeptLog {
    Nobody,
    Writer(LineWriter),
    Delivery(Delivery),
}

impl LogKeeper {
    pub(super) fn new(
        end: LogEnd,
        config: &Config,
        resolver: &Resolver,
        native_roots: &NativeRoots,
    ) -> Result<Self, CourierError> {
        match (end, &config.log.access) {
            (LogEnd::Writer(writer), _) => Ok(Self::Writer(writer)),
            (LogEnd::Collector(waiting), AccessSink::Syslog(collector)) => {
                let dialer = OperatorDialer::new(
                    resolver.clone(),
                    config.connect.families,
                    config.tunnel.keepalive,
                );
                let ca = config.log.syslog_ca.as_ref();
                let courier = Courier::new(collector.clone(), native_roots, ca, dialer, waiting)?;
                Ok(Self::Courier(Box::new(courier)))
            }
            (LogEnd::Nobody | LogEnd::Collector(_), _) => Ok(Self::Nobody),
        }
    }

    /// On the control thread.
    pub(super) fn start(self) -> KeptLog {
        match self {
            Self::Nobody => KeptLog::Nobody,
            Self::Writer(writer) => KeptLog::Writer(writer),
            Self::Courier(courier) => KeptLog::Delivery(courier.start()),
        }
    }
}

impl KeptLog {
    /// Writes or sends what is left; true if all of it was.
    pub(super) async fn finish(self, patience: Duration) -> bool {
        match self {
            Self::Nobody => true,
            Self::Writer(writer) => writer.flush_and_stop(patience),
            Self::Delivery(delivery) => delivery.finish(patience).await,
        }
    }
}
