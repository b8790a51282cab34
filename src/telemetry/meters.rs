//! The counters, gauges and histograms of one running tidegate, built from the catalogue.
//!
//! Nothing is installed globally, so every test has its own. Handles are made once; what differs by configured names
//! is looked up in a table behind a short lock. The number of series is bounded: labels are closed lists of words and
//! names of the configuration, and names beyond a cap are counted together as `other`.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::catalogue::{self, Row};
use super::probed::Probed;
use crate::exchange::{
    Algorithm, ClientName, DestinationName, Exchange, Fault, Kind, ListenerName, Reason, Scheme,
};

/// Destinations that have series of their own; a reload may bring new names again and again, memory may not grow with it.
const DESTINATIONS_MAX: usize = 1_024;
const CLIENTS_MAX: usize = 1_024;

/// All handles.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(super) recorder: PrometheusRecorder,
    pub(crate) probed: Probed,
    handle: PrometheusHandle,
    names: Mutex<HashSet<DestinationName>>,
    none: DestinationName,
    other: DestinationName,
    exchanges: Family<(ListenerName, DestinationName, Kind, Reason)>,
    exchange_setup: Histogram,
    tunnels: Gauge,
    tunnel_seconds: Histogram,
    bytes_up: Counter,
    bytes_down: Counter,
    tunnel_exchanges: Counter,
    confirmation_seconds: Histogram,
    authentications: Family<(Option<Scheme>, Option<Algorithm>, &'static str)>,
    dns_lookups: Family<&'static str>,
    dns_lookup_seconds: Histogram,
    dns_stale_age: Gauge,
    connects: Family<(DestinationName, &'static str)>,
    connect_seconds: Histogram,
    failovers: Family<DestinationName>,
    peers_suspected: Family<(DestinationName, &'static str)>,
    /// Destinations whose gauge is there; `bounded` keeps them few.
    off_dns: Mutex<HashSet<DestinationName>>,
    address_changes: Family<DestinationName>,
    forward_repeats: Family<DestinationName>,
    pushes: Family<(&'static str, &'static str, &'static str)>,
    published_range_misses: Family<DestinationName>,
    connections: Gauge,
    access_log_dropped: Counter,
    mislabelled_digests: Counter,
    alarm_deliveries: Family<(&'static str, &'static str)>,
    reloads_ok: Counter,
    reloads_refused: Counter,
    clients: Mutex<HashSet<ClientName>>,
    would_refuse: Family<(DestinationName, ClientName, Reason)>,
    pub(super) limits: Mutex<HashSet<Arc<str>>>,
    pub(super) limit_wait_seconds: Histogram,
}

/// Holds one open client connection in `tidegate_connections`; drop it with the connection.
#[derive(Debug)]
#[must_use]
pub(crate) struct ConnectionCount(Gauge);

/// Holds one open tunnel in `tidegate_tunnels`; drop it with the tunnel.
#[derive(Debug)]
#[must_use]
pub(crate) struct TunnelCount(Gauge);

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Drop for TunnelCount {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Meters {
    pub(crate) fn new(listeners: &[ListenerName], destinations: &[DestinationName]) -> Self {
        let recorder = recorder();
        let meters = Self {
            handle: recorder.handle(),
            probed: Probed::default(),
            names: Mutex::new(HashSet::new()),
            clients: Mutex::new(HashSet::new()),
            would_refuse: Family::new(&catalogue::WOULD_REFUSE),
            limits: Mutex::new(HashSet::new()),
            limit_wait_seconds: histogram(&recorder, &catalogue::LIMIT_WAIT_SECONDS),
            none: DestinationName::new("none"),
            other: DestinationName::new("other"),
            exchanges: Family::new(&catalogue::EXCHANGES),
            exchange_setup: histogram(&recorder, &catalogue::EXCHANGE_SETUP),
            tunnels: gauge(&recorder, &catalogue::TUNNELS, &["current"]),
            tunnel_seconds: histogram(&recorder, &catalogue::TUNNEL_SECONDS),
            bytes_up: counter(&recorder, &catalogue::TUNNEL_BYTES, &["up"]),
            bytes_down: counter(&recorder, &catalogue::TUNNEL_BYTES, &["down"]),
            tunnel_exchanges: counter(&recorder, &catalogue::TUNNEL_EXCHANGES, &[]),
            confirmation_seconds: histogram(&recorder, &catalogue::TUNNEL_CONFIRMATION),
            authentications: Family::new(&catalogue::AUTHENTICATIONS),
            dns_lookups: Family::new(&catalogue::DNS_LOOKUPS),
            dns_lookup_seconds: histogram(&recorder, &catalogue::DNS_LOOKUP_SECONDS),
            dns_stale_age: gauge(&recorder, &catalogue::DNS_STALE_AGE, &[]),
            connects: Family::new(&catalogue::CONNECTS),
            connect_seconds: histogram(&recorder, &catalogue::CONNECT_SECONDS),
            failovers: Family::new(&catalogue::FAILOVERS),
            peers_suspected: Family::new(&catalogue::PEERS_SUSPECTED),
            off_dns: Mutex::default(),
            address_changes: Family::new(&catalogue::ADDRESS_CHANGES),
            forward_repeats: Family::new(&catalogue::FORWARD_REPEATS),
            pushes: Family::new(&catalogue::PUSHES),
            published_range_misses: Family::new(&catalogue::PUBLISHED_RANGE_MISSES),
            connections: gauge(&recorder, &catalogue::CONNECTIONS, &[]),
            access_log_dropped: counter(&recorder, &catalogue::ACCESS_LOG_DROPPED, &[]),
            mislabelled_digests: counter(&recorder, &catalogue::MISLABELLED_DIGESTS, &[]),
            alarm_deliveries: Family::new(&catalogue::ALARM_DELIVERIES),
            reloads_ok: counter(&recorder, &catalogue::RELOADS, &["ok"]),
            reloads_refused: counter(&recorder, &catalogue::RELOADS, &["refused"]),
            recorder,
        };
        meters.start_at_zero(listeners, destinations);
        meters
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self) -> String {
        self.handle.render() + &self.probed.render()
    }

    /// Folds what the histograms have gathered. Without it every few seconds they would keep each single record.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Counts an exchange that ended `total` after its head was there.
    pub(crate) fn exchange_ended(&self, exchange: &Exchange, total: Duration) {
        self.exchange_series(
            &exchange.listener,
            exchange.destination.as_ref(),
            exchange.kind,
            exchange.reason,
        )
        .increment(1);
        let dialled =
            exchange.dns_us.is_some() || !exchange.attempts.is_empty() || exchange.peer.is_some();
        // A refusal is quick; it would hide in the same curve how long a push takes to get its way.
        if let Some(setup) = exchange.setup
            && dialled
        {
            self.exchange_setup.record(setup.as_secs_f64());
        }
        if exchange.kind == Kind::Tunnel
            && exchange.peer.is_some()
            && exchange.status.is_some_and(|status| status == 200)
        {
            let lived = total.saturating_sub(exchange.setup.unwrap_or_default());
            self.tunnel_seconds.record(lived.as_secs_f64());
        }
    }

    pub(crate) fn connection_opened(&self) -> ConnectionCount {
        self.connections.increment(1.0);
        ConnectionCount(self.connections.clone())
    }

    pub(crate) fn tunnel_opened(&self) -> TunnelCount {
        self.tunnels.increment(1.0);
        TunnelCount(self.tunnels.clone())
    }

    pub(crate) fn tunnel_bytes(&self, up: u64, down: u64) {
        self.bytes_up.increment(up);
        self.bytes_down.increment(down);
    }

    pub(crate) fn tunnel_exchanges(&self, exchanges: u64) {
        self.tunnel_exchanges.increment(exchanges);
    }

    /// So many confirmations took so many seconds.
    pub(crate) fn confirmations(&self, seconds: f64, times: usize) {
        self.confirmation_seconds.record_many(seconds, times);
    }

    /// `result` is a word of ours: `ok`, `no_credentials`, `bad_credentials`, `stale_nonce`,
    /// `throttled`.
    pub(crate) fn authentication(
        &self,
        scheme: Option<Scheme>,
        algorithm: Option<Algorithm>,
        result: &'static str,
    ) {
        self.authentication_series(scheme, algorithm, result)
            .increment(1);
    }

    /// A response that was made with MD5, and said SHA-256.
    pub(crate) fn mislabelled_digest(&self) {
        self.mislabelled_digests.increment(1);
    }

    /// `result` is a word of ours: `ok`, or that of the reason for which it failed.
    pub(crate) fn dns_lookup(&self, result: &'static str, took: Duration) {
        self.dns_series(result).increment(1);
        self.dns_lookup_seconds.record(took.as_secs_f64());
    }

    /// An answer was used beyond its time.
    pub(crate) fn dns_served_stale(&self) {
        self.dns_series("stale").increment(1);
    }

    /// How far the oldest answer in use is beyond its time.
    pub(crate) fn dns_stale_age(&self, age: Duration) {
        self.dns_stale_age.set(age.as_secs_f64());
    }

    /// `result` is a word of ours: `ok`, or that of the attempt's error.
    pub(crate) fn connect(
        &self,
        destination: &DestinationName,
        result: &'static str,
        took: Duration,
    ) {
        self.connect_series(destination, result).increment(1);
        self.connect_seconds.record(took.as_secs_f64());
    }

    pub(crate) fn failover(&self, destination: &DestinationName) {
        self.failover_series(destination).increment(1);
    }

    /// `result` is a word of ours: `unacknowledged` or `unanswered`.
    pub(crate) fn peer_suspected(&self, destination: &DestinationName, result: &'static str) {
        self.suspected_series(destination, result).increment(1);
    }

    /// How many tunnels of each destination are on addresses that their names have no more. A destination that is not
    /// among them has no tunnels.
    pub(crate) fn tunnels_off_dns(
        &self,
        counts: impl IntoIterator<Item = (DestinationName, usize)>,
    ) {
        let mut now: HashMap<DestinationName, usize> = HashMap::new();
        for (destination, tunnels) in counts {
            *now.entry(self.bounded(&destination)).or_default() += tunnels;
        }
        let mut shown = self.off_dns.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.iter().filter(|shown| !now.contains_key(shown)) {
            self.off_dns_gauge(gone).set(0.0);
        }
        for (destination, tunnels) in &now {
            self.off_dns_gauge(destination).set(*tunnels as f64);
        }
        shown.extend(now.into_keys());
    }

    fn off_dns_gauge(&self, destination: &DestinationName) -> Gauge {
        let labels = [destination.as_str()];
        gauge(&self.recorder, &catalogue::TUNNELS_OFF_DNS, &labels)
    }

    pub(crate) fn address_change(&self, destination: &DestinationName) {
        self.address_change_series(destination).increment(1);
    }

    pub(crate) fn forward_repeated(&self, destination: &DestinationName) {
        self.forward_repeats_series(destination).increment(1);
    }

    /// A push that could be seen; each label is of a closed list of words.
    pub(crate) fn push(&self, service: &'static str, kind: &'static str, status: &'static str) {
        self.push_series(service, kind, status).increment(1);
    }

    pub(crate) fn published_range_miss(&self, destination: &DestinationName) {
        self.published_range_series(destination).increment(1);
    }

    /// `client` is the `[[client]]` that asked.
    pub(crate) fn would_refuse(
        &self,
        destination: &DestinationName,
        client: Option<&ClientName>,
        reason: Reason,
    ) {
        let destination = self.bounded(destination);
        let client = self.bounded_client(client);
        let labels = [destination.as_str(), client.as_str(), reason.token()];
        let key = (destination.clone(), client.clone(), reason);
        self.would_refuse
            .series(&self.recorder, key, &labels)
            .increment(1);
    }

    /// `None`: probes are off.
    pub(crate) fn probe_interval(&self, interval: Option<Duration>) {
        let seconds = interval.unwrap_or_default().as_secs_f64();
        gauge(&self.recorder, &catalogue::PROBE_INTERVAL, &[]).set(seconds);
    }

    pub(crate) fn certificate_expiry(&self, listener: &ListenerName, at: SystemTime) {
        let unix = unix(at);
        gauge(
            &self.recorder,
            &catalogue::CERTIFICATE_EXPIRY,
            &[listener.as_str()],
        )
        .set(unix);
    }

    pub(crate) fn log_lines_dropped(&self, lines: u64) {
        self.access_log_dropped.increment(lines);
    }

    /// `sink` and `result` are words of ours.
    pub(crate) fn alarm_delivery(&self, sink: &'static str, result: &'static str) {
        self.alarm_delivery_series(sink, result).increment(1);
    }

    /// A receiver of alarms is configured.
    pub(crate) fn alarm_deliveries_begin(&self, sink: &'static str) {
        for result in ["ok", "refused", "timeout", "unreachable"] {
            self.alarm_delivery_series(sink, result).increment(0);
        }
    }

    pub(crate) fn reloaded(&self, ok: bool) {
        let counter = if ok {
            &self.reloads_ok
        } else {
            &self.reloads_refused
        };
        counter.increment(1);
    }

    /// A counter that springs up at 1 has no increase that an alert could see; what alerts look at begins at 0. Asked
    /// again when a reload brings new names.
    pub(crate) fn start_at_zero(
        &self,
        listeners: &[ListenerName],
        destinations: &[DestinationName],
    ) {
        for listener in listeners {
            for reason in Reason::ALL {
                match reason.fault() {
                    Fault::Upstream | Fault::Nobody => {
                        for destination in destinations {
                            self.exchange_series(listener, Some(destination), Kind::Tunnel, reason)
                                .increment(0);
                        }
                    }
                    Fault::Proxy => {
                        self.exchange_series(listener, None, Kind::Unknown, reason)
                            .increment(0);
                    }
                    Fault::Client | Fault::Policy => {}
                }
            }
        }
        for destination in destinations {
            self.failover_series(destination).increment(0);
            self.off_dns_gauge(destination).increment(0.0);
            for result in ["unacknowledged", "unanswered"] {
                self.suspected_series(destination, result).increment(0);
            }
            self.address_change_series(destination).increment(0);
            self.forward_repeats_series(destination).increment(0);
            self.published_range_series(destination).increment(0);
            self.connect_series(destination, "ok").increment(0);
        }
        for result in [
            "ok",
            "not_found",
            "no_address",
            "timeout",
            "failed",
            "stale",
        ] {
            self.dns_series(result).increment(0);
        }
        self.authentication_series(None, None, "no_credentials")
            .increment(0);
        for status in ["200", "401", "403", "410", "429", "5xx", "none"] {
            self.push_series("APNS", "voip", status).increment(0);
            self.push_series("APNS", "message", status).increment(0);
        }
        let build = [
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        ];
        gauge(&self.recorder, &catalogue::BUILD_INFO, &build).set(1.0);
    }

    fn exchange_series(
        &self,
        listener: &ListenerName,
        destination: Option<&DestinationName>,
        kind: Kind,
        reason: Reason,
    ) -> Counter {
        let destination = destination.map_or_else(|| self.none.clone(), |name| self.bounded(name));
        let labels = [
            listener.as_str(),
            destination.as_str(),
            kind.token(),
            reason.token(),
        ];
        let key = (listener.clone(), destination.clone(), kind, reason);
        self.exchanges.series(&self.recorder, key, &labels)
    }

    fn authentication_series(
        &self,
        scheme: Option<Scheme>,
        algorithm: Option<Algorithm>,
        result: &'static str,
    ) -> Counter {
        let labels = [
            scheme.map_or("none", Scheme::token),
            algorithm.map_or("none", Algorithm::token),
            result,
        ];
        self.authentications
            .series(&self.recorder, (scheme, algorithm, result), &labels)
    }

    fn dns_series(&self, result: &'static str) -> Counter {
        self.dns_lookups.series(&self.recorder, result, &[result])
    }

    fn alarm_delivery_series(&self, sink: &'static str, result: &'static str) -> Counter {
        self.alarm_deliveries
            .series(&self.recorder, (sink, result), &[sink, result])
    }

    fn connect_series(&self, destination: &DestinationName, result: &'static str) -> Counter {
        let destination = self.bounded(destination);
        let labels = [destination.as_str(), result];
        self.connects
            .series(&self.recorder, (destination.clone(), result), &labels)
    }

    fn failover_series(&self, destination: &DestinationName) -> Counter {
        let destination = self.bounded(destination);
        let labels = [destination.as_str()];
        self.failovers
            .series(&self.recorder, destination.clone(), &labels)
    }

    fn suspected_series(&self, destination: &DestinationName, result: &'static str) -> Counter {
        let destination = self.bounded(destination);
        let labels = [destination.as_str(), result];
        self.peers_suspected
            .series(&self.recorder, (destination.clone(), result), &labels)
    }

    fn address_change_series(&self, destination: &DestinationName) -> Counter {
        let destination = self.bounded(destination);
        let labels = [destination.as_str()];
        self.address_changes
            .series(&self.recorder, destination.clone(), &labels)
    }

    fn forward_repeats_series(&self, destination: &DestinationName) -> Counter {
        let destination = self.bounded(destination);
        let labels = [destination.as_str()];
        self.forward_repeats
            .series(&self.recorder, destination.clone(), &labels)
    }

    fn push_series(
        &self,
        service: &'static str,
        kind: &'static str,
        status: &'static str,
    ) -> Counter {
        let key = (service, kind, status);
        let labels = [service, kind, status];
        self.pushes.series(&self.recorder, key, &labels)
    }

    fn published_range_series(&self, destination: &DestinationName) -> Counter {
        let destination = self.bounded(destination);
        let labels = [destination.as_str()];
        self.published_range_misses
            .series(&self.recorder, destination.clone(), &labels)
    }

    /// The name itself, or `other` when too many were seen.
    fn bounded(&self, destination: &DestinationName) -> DestinationName {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(destination) {
            return destination.clone();
        }
        if names.len() == DESTINATIONS_MAX {
            return self.other.clone();
        }
        names.insert(destination.clone());
        destination.clone()
    }

    fn bounded_client(&self, client: Option<&ClientName>) -> ClientName {
        let Some(client) = client else {
            return ClientName::new(self.none.as_str());
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.contains(client) {
            return client.clone();
        }
        if clients.len() == CLIENTS_MAX {
            return ClientName::new(self.other.as_str());
        }
        clients.insert(client.clone());
        client.clone()
    }
}

pub(super) fn unix(at: SystemTime) -> f64 {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// The counters of one metric that differ in their labels, made when first met.
#[derive(Debug)]
struct Family<K> {
    row: &'static Row,
    made: Mutex<HashMap<K, Counter>>,
}

impl<K: Eq + Hash> Family<K> {
    fn new(row: &'static Row) -> Self {
        Self {
            row,
            made: Mutex::new(HashMap::new()),
        }
    }

    fn series(&self, recorder: &PrometheusRecorder, key: K, labels: &[&str]) -> Counter {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_insert_with(|| counter(recorder, self.row, labels))
            .clone()
    }
}

fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for row in catalogue::ALL {
        if let catalogue::Kind::Histogram(edges) = row.kind {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(row.name.to_owned()), edges)
                .expect("every histogram of the catalogue has edges");
        }
    }
    let recorder = builder.build_recorder();
    for row in catalogue::ALL {
        let help = format!("{} {}", row.help, row.why).into();
        match row.kind {
            catalogue::Kind::Counter => recorder.describe_counter(row.name.into(), None, help),
            catalogue::Kind::Gauge => recorder.describe_gauge(row.name.into(), None, help),
            catalogue::Kind::Histogram(_) => {
                recorder.describe_histogram(row.name.into(), None, help);
            }
        }
    }
    recorder
}

const METADATA: Metadata<'static> = Metadata::new("tidegate", Level::INFO, None);

pub(super) fn counter(recorder: &PrometheusRecorder, row: &Row, labels: &[&str]) -> Counter {
    recorder.register_counter(&key(row, labels), &METADATA)
}

pub(super) fn gauge(recorder: &PrometheusRecorder, row: &Row, labels: &[&str]) -> Gauge {
    recorder.register_gauge(&key(row, labels), &METADATA)
}

fn histogram(recorder: &PrometheusRecorder, row: &Row) -> Histogram {
    recorder.register_histogram(&key(row, &[]), &METADATA)
}

fn key(row: &Row, values: &[&str]) -> Key {
    debug_assert_eq!(row.labels.len(), values.len(), "{}", row.name);
    let labels: Vec<Label> = row
        .labels
        .iter()
        .zip(values)
        .map(|(label, value)| Label::new(*label, (*value).to_owned()))
        .collect();
    Key::from_parts(row.name, labels)
}

#[cfg(test)]
mod tests;
