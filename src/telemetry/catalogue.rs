//! Every metric there is: name, kind, labels, what it says and why it matters.
//!
//! A table, and the only place where the name of a metric is a string. Labels are bounded by construction:
//! words of ours and names of the configuration, never a host, a user or an address.

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    /// The upper edges of its buckets. Without edges the exporter would make a summary of it.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    /// What it counts, with its unit.
    pub(crate) help: &'static str,
    /// Why anyone should look at it.
    pub(crate) why: &'static str,
}

pub(crate) const EXCHANGES: Row = Row {
    name: "tidegate_exchanges_total",
    kind: Kind::Counter,
    labels: &["listener", "destination", "kind", "reason"],
    help: "Exchanges that have ended, tunnels and refusals alike.",
    why: "The reason says whose turn it is: look at those that are the upstream's or the proxy's fault.",
};
pub(crate) const EXCHANGE_SETUP: Row = Row {
    name: "tidegate_exchange_setup_seconds",
    kind: Kind::Histogram(&[
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 5.0, 13.0, 30.0,
    ]),
    labels: &[],
    help: "Seconds from a request's last head byte to our answer, for exchanges that were let through to be dialled.",
    why: "A push that is set up too slowly is a call that rings too late: call servers count 2 s, 5 s and 13 s.",
};
pub(crate) const TUNNELS: Row = Row {
    name: "tidegate_tunnels",
    kind: Kind::Gauge,
    labels: &["generation"],
    help: "Tunnels open now.",
    why: "A sudden fall is a network that dropped idle connections; a steady climb is a sender that opens one per push.",
};
pub(crate) const TUNNEL_SECONDS: Row = Row {
    name: "tidegate_tunnel_seconds",
    kind: Kind::Histogram(&[
        1.0, 10.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0, 86_400.0,
        172_800.0, 604_800.0,
    ]),
    labels: &[],
    help: "Seconds that a tunnel lived, from our 200 to its end.",
    why: "Senders keep their tunnels for half an hour and more; many short ones cost a TLS handshake per push.",
};
pub(crate) const TUNNEL_BYTES: Row = Row {
    name: "tidegate_tunnel_bytes_total",
    kind: Kind::Counter,
    labels: &["direction"],
    help: "Bytes moved through tunnels, up to the target and down to the client, counted as they flow.",
    why: "Bytes that go up while none come down are pushes without confirmation.",
};
pub(crate) const TUNNEL_EXCHANGES: Row = Row {
    name: "tidegate_tunnel_exchanges_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Requests and their answers inside tunnels, as far as they can be told by who sends when: each of HTTP/1.1, some of HTTP/2.",
    why: "It is what pushes look like from outside; at 0 beside open tunnels, senders keep tunnels that they do not use.",
};
/// Where it matters whether a confirmation came in time: call servers count 2 s, 5 s and 13 s.
pub(crate) const CONFIRMATION_EDGES: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 13.0, 30.0,
];
pub(crate) const TUNNEL_CONFIRMATION: Row = Row {
    name: "tidegate_tunnel_confirmation_seconds",
    kind: Kind::Histogram(CONFIRMATION_EDGES),
    labels: &[],
    help: "Seconds from the last byte of a request inside a tunnel to the first of its answer, for exchanges of which that can be told for sure.",
    why: "How long the cloud takes to confirm a push; senders give up after 5 s.",
};
pub(crate) const AUTHENTICATIONS: Row = Row {
    name: "tidegate_authentications_total",
    kind: Kind::Counter,
    labels: &["scheme", "algorithm", "result"],
    help: "Requests whose credentials were looked at, by what was really used.",
    why: "bad_credentials is a wrong password or a guess, throttled too many of them; stale_nonce is harmless; no_credentials is a first try.",
};
pub(crate) const MISLABELLED_DIGESTS: Row = Row {
    name: "tidegate_mislabelled_digests_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Digest responses that said SHA-256 and were as long as MD5, and were checked as MD5.",
    why: "Commons HttpClient 3.1 does so; while there are any, MD5 has to stay in digest_algorithms.",
};
pub(crate) const DNS_LOOKUPS: Row = Row {
    name: "tidegate_dns_lookups_total",
    kind: Kind::Counter,
    labels: &["result"],
    help: "Questions sent to name servers, by outcome, and answers used beyond their time (stale); other answers from the cache are not counted.",
    why: "No name, no push: timeouts and failures here precede failed connects.",
};
pub(crate) const DNS_LOOKUP_SECONDS: Row = Row {
    name: "tidegate_dns_lookup_seconds",
    kind: Kind::Histogram(&[
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0,
    ]),
    labels: &[],
    help: "Seconds that a question to the name servers took, failed ones included.",
    why: "It is part of the connect budget of whoever asks first.",
};
pub(crate) const DNS_STALE_AGE: Row = Row {
    name: "tidegate_dns_stale_age_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "How far the oldest answer in use is beyond its time, since no name server answers; 0 when all are good.",
    why: "Pushes go on while DNS is out, until dns.serve_stale ends it; this is the time to mend it.",
};
pub(crate) const CONNECTS: Row = Row {
    name: "tidegate_connects_total",
    kind: Kind::Counter,
    labels: &["destination", "result"],
    help: "Attempts to connect to one address of a destination, by outcome.",
    why: "Failures are hidden from clients while another address answers; here they show.",
};
pub(crate) const CONNECT_SECONDS: Row = Row {
    name: "tidegate_connect_seconds",
    kind: Kind::Histogram(&[
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 5.0,
    ]),
    labels: &[],
    help: "Seconds that one attempt to connect took, failed ones included.",
    why: "Its median is the distance to the cloud; a step at 1 s or 3 s is lost SYN packets.",
};
pub(crate) const FAILOVERS: Row = Row {
    name: "tidegate_failovers_total",
    kind: Kind::Counter,
    labels: &["destination"],
    help: "Exchanges that were connected to another address because the first one failed or was silent.",
    why: "Nobody lost a push yet, but one of the addresses is sick.",
};
pub(crate) const PEERS_SUSPECTED: Row = Row {
    name: "tidegate_peers_suspected_total",
    kind: Kind::Counter,
    labels: &["destination", "result"],
    help: "Times that tunnels told against an address to which connecting still works: unacknowledged (a tunnel was reset because nothing that it sent was acknowledged), unanswered (several tunnels had no answer).",
    why: "A destination is half dead, or the way to it drops packets; new tunnels go to its other addresses first.",
};
pub(crate) const TUNNELS_OFF_DNS: Row = Row {
    name: "tidegate_tunnels_off_dns",
    kind: Kind::Gauge,
    labels: &["destination"],
    help: "Open tunnels on addresses that the name they were opened for does not resolve to any more.",
    why: "The service moved, and these tunnels end when the old address does. Names that answer with a part of their addresses each time show here, too.",
};
pub(crate) const PEER_UP: Row = Row {
    name: "tidegate_peer_up",
    kind: Kind::Gauge,
    labels: &["destination", "peer"],
    help: "1 for an address of a destination that can be connected to, 0 for one that is quarantined.",
    why: "All addresses at 0 is a dead destination; one at 0 for hours is a machine of theirs or a firewall of yours.",
};
pub(crate) const ALARM_ACTIVE: Row = Row {
    name: "tidegate_alarm_active",
    kind: Kind::Gauge,
    labels: &["alarm", "component", "severity"],
    help: "1 for an alarm that is active now, 0 for one that is not.",
    why: "/alarms says since when, for what, and what to do.",
};
pub(crate) const ALARM_SUBJECT_ACTIVE: Row = Row {
    name: "tidegate_alarm_subject_active",
    kind: Kind::Gauge,
    labels: &["alarm", "component", "severity", "subject"],
    help: "1 for each subject of an alarm that is active: a destination, a host of it as it is configured, a listener, a client. At most 64 for an alarm, and (others); clients that have no name are (unnamed).",
    why: "It says whom to look at; a subject that is well again is missing.",
};
pub(crate) const ALARMS_RAISED: Row = Row {
    name: "tidegate_alarms_raised_total",
    kind: Kind::Counter,
    labels: &["alarm", "origin"],
    help: "Times that an alarm was raised, by how it came to be known.",
    why: "One that comes and goes again and again is a trouble that mends itself and comes back.",
};
pub(crate) const ADDRESS_CHANGES: Row = Row {
    name: "tidegate_address_changes_total",
    kind: Kind::Counter,
    labels: &["destination"],
    help: "Times that a name of a destination got or lost addresses.",
    why: "A firewall that lists addresses has to follow; the journal says which.",
};
pub(crate) const FORWARD_REPEATS: Row = Row {
    name: "tidegate_forward_repeats_total",
    kind: Kind::Counter,
    labels: &["destination"],
    help: "Forwarded requests that were sent a second time, since the first had no answer.",
    why: "Each may have been done twice; an address that causes them accepts connections and does not answer.",
};
pub(crate) const PUSHES: Row = Row {
    name: "tidegate_pushes_total",
    kind: Kind::Counter,
    labels: &["service", "kind", "status"],
    help: "Pushes that were forwarded and could be seen, by push service, kind and the status of their answer.",
    why: "Those in tunnels are not among them. none: no answer, or no connection. 410 are devices that are gone, 401 and 403 a token that is refused, 429 and 5xx the service's own trouble.",
};
pub(crate) const PUBLISHED_RANGE_MISSES: Row = Row {
    name: "tidegate_published_range_misses_total",
    kind: Kind::Counter,
    labels: &["destination"],
    help: "Addresses that were answered for a destination's names and lie outside of its service's published ranges, counted with every exchange.",
    why: "The service moved and a firewall may not know yet, or a name server lies; the journal names the address.",
};
pub(crate) const CONNECTIONS: Row = Row {
    name: "tidegate_connections",
    kind: Kind::Gauge,
    labels: &[],
    help: "Client connections open now, those that carry a tunnel included.",
    why: "Compare it with intake.connections before senders are turned away.",
};
pub(crate) const WOULD_REFUSE: Row = Row {
    name: "tidegate_would_refuse_total",
    kind: Kind::Counter,
    labels: &["destination", "client", "reason"],
    help: "Exchanges that passed only because of report_only or unlisted = \"report\", by what they would have been refused for.",
    why: "When it stands still, the rules are complete and can be enforced.",
};
pub(crate) const LIMIT_WAITS: Row = Row {
    name: "tidegate_limit_waits_total",
    kind: Kind::Counter,
    labels: &["limit"],
    help: "Exchanges that had to wait for their turn, or for a tunnel's place, at a [[limit]].",
    why: "Waits are a limit at work; those that end in time cost nobody a push.",
};
pub(crate) const LIMIT_WAIT_SECONDS: Row = Row {
    name: "tidegate_limit_wait_seconds",
    kind: Kind::Histogram(&[
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
    ]),
    labels: &[],
    help: "Seconds that exchanges waited at a [[limit]], those that were refused or left included.",
    why: "They are part of the connect budget: what is waited here is missing for the dial.",
};
pub(crate) const LIMIT_REFUSALS: Row = Row {
    name: "tidegate_limit_refusals_total",
    kind: Kind::Counter,
    labels: &["limit"],
    help: "Exchanges that a [[limit]] refused with 429: their turn would not have come in time.",
    why: "Each is a push that its sender may not repeat: raise the limit, or find out who storms.",
};
pub(crate) const LIMIT_KEYS: Row = Row {
    name: "tidegate_limit_keys",
    kind: Kind::Gauge,
    labels: &["limit"],
    help: "Clients, users, addresses or destinations that a [[limit]] remembers now.",
    why: "At the limit's keys, the one that was idle for longest is forgotten for each that comes.",
};
pub(crate) const CERTIFICATE_EXPIRY: Row = Row {
    name: "tidegate_certificate_expiry_timestamp_seconds",
    kind: Kind::Gauge,
    labels: &["listener"],
    help: "Unix time in seconds at which the first certificate of a listener's chain expires.",
    why: "On that second every sender behind a TLS listener stops.",
};
pub(crate) const PROBE_SUCCESS: Row = Row {
    name: "tidegate_probe_success_timestamp_seconds",
    kind: Kind::Gauge,
    labels: &["destination"],
    help: "Unix time in seconds at which a probe in the background last got through to a destination, up to a good certificate; of several push and token hosts, the one that was not reached for longest; 0 while one of them never was.",
    why: "It grows old while nobody pushes, too: the way to the cloud breaks at night.",
};
pub(crate) const PROBE_INTERVAL: Row = Row {
    name: "tidegate_probe_interval_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "Time between two probes of a host, as configured; 0: no probes.",
    why: "How old a success may be depends on it.",
};
pub(crate) const UPSTREAM_CERTIFICATE_EXPIRY: Row = Row {
    name: "tidegate_upstream_certificate_expiry_timestamp_seconds",
    kind: Kind::Gauge,
    labels: &["destination"],
    help: "Unix time in seconds at which the first of the server certificates that probes saw at a destination ends.",
    why: "Services renew theirs in time; a gateway that decrypts on the way often does not.",
};
pub(crate) const ACCESS_LOG_DROPPED: Row = Row {
    name: "tidegate_access_log_dropped_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Access log lines that were given up because the disk, the reader of the pipe or the collector did not keep up.",
    why: "Above zero the access log has gaps; the counters do not.",
};
pub(crate) const ALARM_DELIVERIES: Row = Row {
    name: "tidegate_alarm_deliveries_total",
    kind: Kind::Counter,
    labels: &["sink", "result"],
    help: "Tries to deliver alarms to a receiver (syslog, alertmanager, webhook, upload), by outcome: ok, refused (another status than 2xx), timeout, unreachable, internal (it could not be written).",
    why: "A receiver that takes nothing makes a quiet night of a bad one.",
};
pub(crate) const RELOADS: Row = Row {
    name: "tidegate_reloads_total",
    kind: Kind::Counter,
    labels: &["result"],
    help: "Reloads of the configuration: ok, or refused, which changes nothing.",
    why: "After a refused one the file on the disk is not what runs; /config says what is wrong with it.",
};
pub(crate) const BUILD_INFO: Row = Row {
    name: "tidegate_build_info",
    kind: Kind::Gauge,
    labels: &["version", "os", "arch", "profile"],
    help: "Always 1; its labels say which build runs.",
    why: "Which version was it, when that began?",
};

/// Those that the recorder keeps, in the order of the reader's interest.
pub(crate) const ALL: &[Row] = &[
    EXCHANGES,
    EXCHANGE_SETUP,
    TUNNELS,
    TUNNEL_SECONDS,
    TUNNEL_BYTES,
    TUNNEL_EXCHANGES,
    TUNNEL_CONFIRMATION,
    AUTHENTICATIONS,
    MISLABELLED_DIGESTS,
    DNS_LOOKUPS,
    DNS_LOOKUP_SECONDS,
    DNS_STALE_AGE,
    CONNECTS,
    CONNECT_SECONDS,
    FAILOVERS,
    ADDRESS_CHANGES,
    PEERS_SUSPECTED,
    TUNNELS_OFF_DNS,
    FORWARD_REPEATS,
    PUSHES,
    PUBLISHED_RANGE_MISSES,
    CONNECTIONS,
    WOULD_REFUSE,
    LIMIT_WAITS,
    LIMIT_WAIT_SECONDS,
    LIMIT_REFUSALS,
    LIMIT_KEYS,
    CERTIFICATE_EXPIRY,
    PROBE_INTERVAL,
    ACCESS_LOG_DROPPED,
    ALARM_DELIVERIES,
    RELOADS,
    BUILD_INFO,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Those that are written at every scrape from what is known then, so that no series stays behind.
    const AT_SCRAPE: &[Row] = &[
        PEER_UP,
        ALARM_ACTIVE,
        ALARM_SUBJECT_ACTIVE,
        ALARMS_RAISED,
        PROBE_SUCCESS,
        UPSTREAM_CERTIFICATE_EXPIRY,
    ];

    #[test]
    fn names_are_unique_and_say_their_kind_and_unit() {
        let rows = || ALL.iter().chain(AT_SCRAPE);
        let names: HashSet<_> = rows().map(|row| row.name).collect();
        // One that is in neither list has a name in `/metrics`, and no words.
        let lines = include_str!("catalogue.rs").lines();
        let written = lines.filter(|line| line.ends_with("Row = Row {")).count();
        assert_eq!((names.len(), rows().count()), (written, written));
        for row in rows() {
            assert!(row.name.starts_with("tidegate_"), "{}", row.name);
            match row.kind {
                Kind::Counter => assert!(row.name.ends_with("_total"), "{}", row.name),
                Kind::Gauge => assert!(!row.name.ends_with("_total"), "{}", row.name),
                Kind::Histogram(edges) => {
                    assert!(row.name.ends_with("_seconds"), "{}", row.name);
                    assert!(edges.is_sorted_by(|low, high| low < high), "{}", row.name);
                }
            }
            assert!(row.help.ends_with('.'), "{}", row.name);
        }
    }
}
