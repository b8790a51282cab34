use super::*;
use crate::exchange::{ClientAddr, ExchangeId, PeerAddr};
use std::time::Instant;

#[test]
fn every_metric_has_help_type_and_its_edges() {
    let meters = meters();
    meters.certificate_expiry(&listener(), SystemTime::UNIX_EPOCH + Duration::from_secs(7));
    meters.probe_interval(None);
    meters.would_refuse(&destination("cisco"), None, Reason::PortDenied);
    let _limit = meters.limit("per-cluster");
    meters.alarm_deliveries_begin("syslog");
    let text = meters.render();
    for row in catalogue::ALL {
        let (name, kind) = match row.kind {
            catalogue::Kind::Counter => (row.name, "counter"),
            catalogue::Kind::Gauge => (row.name, "gauge"),
            catalogue::Kind::Histogram(edges) => {
                for edge in edges {
                    holds(&text, &format!("{}_bucket{{le=\"{edge}\"}} 0", row.name));
                }
                holds(&text, &format!("{}_bucket{{le=\"+Inf\"}} 0", row.name));
                (row.name, "histogram")
            }
        };
        holds(&text, &format!("# TYPE {name} {kind}"));
        holds(&text, &format!("# HELP {name} {} {}", row.help, row.why));
    }
}

#[test]
fn what_alerts_look_at_begins_at_zero() {
    let text = meters().render();
    holds(&text, r#"tidegate_failovers_total{destination="cisco"} 0"#);
    holds(
        &text,
        r#"tidegate_peers_suspected_total{destination="cisco",result="unanswered"} 0"#,
    );
    holds(&text, "tidegate_access_log_dropped_total 0");
    holds(&text, r#"tidegate_tunnels{generation="current"} 0"#);
    holds(
        &text,
        r#"tidegate_exchanges_total{listener="plain",destination="cisco",kind="tunnel",reason="connect_timeout"} 0"#,
    );
}

#[test]
fn a_destination_without_tunnels_has_none_off_dns() {
    let meters = meters();
    let shows = |name: &str, tunnels| {
        let series = format!(r#"tidegate_tunnels_off_dns{{destination="{name}"}} {tunnels}"#);
        holds(&meters.render(), &series);
    };
    shows("cisco", 0);
    meters.tunnels_off_dns([(destination("cisco"), 2), (destination("new"), 1)]);
    shows("cisco", 2);
    shows("new", 1);
    meters.tunnels_off_dns([(destination("cisco"), 1)]);
    shows("cisco", 1);
    shows("new", 0);
}

#[test]
fn what_would_have_been_refused_is_counted_by_client() {
    let meters = meters();
    let client = ClientName::new("cluster-1");
    meters.would_refuse(&destination("cisco"), Some(&client), Reason::PortDenied);
    meters.would_refuse(&destination("cisco"), Some(&client), Reason::PortDenied);
    meters.would_refuse(&destination("unlisted"), None, Reason::TargetDenied);
    let text = meters.render();
    holds(
        &text,
        r#"tidegate_would_refuse_total{destination="cisco",client="cluster-1",reason="port_denied"} 2"#,
    );
    holds(
        &text,
        r#"tidegate_would_refuse_total{destination="unlisted",client="none",reason="target_denied"} 1"#,
    );
    for number in 0..=CLIENTS_MAX {
        let client = ClientName::new(&format!("c{number}"));
        meters.would_refuse(&destination("cisco"), Some(&client), Reason::PortDenied);
    }
    holds(
        &meters.render(),
        r#"tidegate_would_refuse_total{destination="cisco",client="other",reason="port_denied"} 2"#,
    );
}

#[test]
fn a_tunnel_is_counted_timed_and_gone_from_the_gauge() {
    let meters = meters();
    let mut exchange = exchange();
    exchange.kind = Kind::Tunnel;
    exchange.destination = Some(destination("cisco"));
    exchange.peer = Some(PeerAddr(([127, 0, 0, 1], 443).into()));
    exchange.setup = Some(Duration::from_millis(1_900));
    exchange.status = Some(200);
    exchange.reason = Reason::Finished;
    let count = meters.tunnel_opened();
    let connection = meters.connection_opened();
    meters.tunnel_bytes(30, 4);
    let text = meters.render();
    holds(&text, r#"tidegate_tunnels{generation="current"} 1"#);
    holds(&text, "tidegate_connections 1");
    drop((count, connection));
    meters.exchange_ended(&exchange, Duration::from_millis(31_900));
    meters.upkeep();
    let text = meters.render();
    holds(
        &text,
        r#"tidegate_exchanges_total{listener="plain",destination="cisco",kind="tunnel",reason="finished"} 1"#,
    );
    holds(
        &text,
        r#"tidegate_exchange_setup_seconds_bucket{le="1.5"} 0"#,
    );
    holds(&text, r#"tidegate_exchange_setup_seconds_bucket{le="2"} 1"#);
    holds(&text, "tidegate_tunnel_seconds_sum 30");
    holds(&text, r#"tidegate_tunnel_bytes_total{direction="up"} 30"#);
    holds(&text, r#"tidegate_tunnel_bytes_total{direction="down"} 4"#);
    holds(&text, r#"tidegate_tunnels{generation="current"} 0"#);
    holds(&text, "tidegate_connections 0");
}

#[test]
fn a_refusal_is_counted_without_a_setup_time() {
    let meters = meters();
    let mut exchange = exchange();
    exchange.reason = Reason::NoCredentials;
    exchange.setup = Some(Duration::from_millis(1));
    exchange.status = Some(407);
    meters.exchange_ended(&exchange, Duration::from_millis(1));
    let text = meters.render();
    holds(
        &text,
        r#"tidegate_exchanges_total{listener="plain",destination="none",kind="unknown",reason="no_credentials"} 1"#,
    );
    holds(&text, "tidegate_exchange_setup_seconds_count 0");
    holds(&text, "tidegate_tunnel_seconds_count 0");
}

#[test]
fn stations_count_under_their_words() {
    let meters = meters();
    let took = Duration::from_millis(3);
    meters.authentication(Some(Scheme::Digest), Some(Algorithm::Sha256), "ok");
    meters.authentication(None, None, "no_credentials");
    meters.dns_lookup("dns_timeout", took);
    meters.connect(&destination("cisco"), "refused", took);
    meters.failover(&destination("cisco"));
    meters.log_lines_dropped(5);
    meters.push("APNS", "voip", "410");
    let text = meters.render();
    for line in [
        r#"tidegate_authentications_total{scheme="digest",algorithm="SHA-256",result="ok"} 1"#,
        r#"tidegate_authentications_total{scheme="none",algorithm="none",result="no_credentials"} 1"#,
        r#"tidegate_dns_lookups_total{result="dns_timeout"} 1"#,
        r#"tidegate_connects_total{destination="cisco",result="refused"} 1"#,
        r#"tidegate_failovers_total{destination="cisco"} 1"#,
        r#"tidegate_pushes_total{service="APNS",kind="voip",status="410"} 1"#,
        r#"tidegate_pushes_total{service="APNS",kind="message",status="none"} 0"#,
        "tidegate_access_log_dropped_total 5",
        "tidegate_connect_seconds_count 1",
        "tidegate_dns_lookup_seconds_count 1",
    ] {
        holds(&text, line);
    }
}

#[test]
fn names_beyond_the_cap_are_counted_together() {
    let meters = meters();
    for number in 0..DESTINATIONS_MAX + 3 {
        meters.failover(&destination(&format!("d{number}")));
    }
    let text = meters.render();
    // One place was taken by `cisco` from the start.
    holds(&text, r#"tidegate_failovers_total{destination="other"} 4"#);
    let series = text
        .lines()
        .filter(|line| line.starts_with("tidegate_failovers_total{"))
        .count();
    assert_eq!(series, DESTINATIONS_MAX + 1);
}

fn holds(text: &str, line: &str) {
    assert!(text.lines().any(|have| have == line), "{line}\n\n{text}");
}

fn meters() -> Meters {
    Meters::new(&[listener()], &[destination("cisco")])
}

fn listener() -> ListenerName {
    ListenerName::new("plain")
}

fn destination(name: &str) -> DestinationName {
    DestinationName::new(name)
}

fn exchange() -> Exchange {
    Exchange::new(
        ExchangeId::new(1, 2, 3),
        SystemTime::UNIX_EPOCH,
        Instant::now(),
        listener(),
        ClientAddr(([127, 0, 0, 1], 40_000).into()),
    )
}
