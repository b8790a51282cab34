use super::*;
use crate::exchange::{
    ClientAddr, ClientName, DestinationName, ExchangeId, Host, Kind, ListenerName, PeerAddr,
    Reason, Target, UserName,
};
use std::num::NonZeroU32;
use std::time::Instant;

#[test]
fn a_tunnel_has_every_field_in_the_order_of_the_contract() {
    let mut exchange = bare();
    exchange.sender = Some(ClientName::new("cluster-1"));
    exchange.user = Some(UserName::new("cucm1"));
    exchange.scheme = Some(Scheme::Digest);
    exchange.algorithm = Some(Algorithm::Sha256);
    exchange.kind = Kind::Tunnel;
    exchange.method = Some("CONNECT".into());
    exchange.target = Some(Target {
        host: Host::Name("push.test".into()),
        port: 443,
    });
    exchange.destination = Some(DestinationName::new("cisco"));
    exchange.resolved = [[127, 0, 0, 2].into(), [127, 0, 0, 3].into()].into();
    exchange.attempts = vec![
        Attempt {
            peer: ([127, 0, 0, 2], 443).into(),
            took: Duration::from_micros(250_125),
            error: Some("timeout"),
        },
        Attempt {
            peer: ([127, 0, 0, 3], 443).into(),
            took: Duration::from_millis(12),
            error: None,
        },
    ]
    .into();
    exchange.peer = Some(PeerAddr(([127, 0, 0, 3], 443).into()));
    exchange.dns_us = NonZeroU32::new(1_500);
    exchange.dns_stale_ms = NonZeroU32::new(90_000);
    exchange.connect_us = NonZeroU32::new(262_000);
    exchange.setup = Some(Duration::from_millis(264));
    exchange.bytes_up = 1_200;
    exchange.bytes_down = 3_400;
    exchange.idle_max = Some(Duration::from_secs(60));
    exchange.status = Some(200);
    exchange.reason = Reason::Finished;
    exchange.closed_by = Some(Side::Client);
    exchange.would_refuse = Some(Reason::PortDenied);
    exchange.limit_wait_us = NonZeroU32::new(120_000);
    exchange.limit = Some("per-cluster".into());
    check(
        &exchange,
        concat!(
            r#"{"event":"close","ts":"2024-02-29T12:34:56.007Z","id":"00000003X000000200000003","#,
            r#""listener":"plain","client":"[::1]:40000","client_name":"cluster-1","user":"cucm1","#,
            r#""scheme":"digest","algorithm":"SHA-256","method":"CONNECT","kind":"tunnel","#,
            r#""target":"push.test:443","destination":"cisco","sni":null,"#,
            r#""resolved":["127.0.0.2","127.0.0.3"],"#,
            r#""attempts":[{"peer":"127.0.0.2:443","ms":250.125,"error":"timeout"},"#,
            r#"{"peer":"127.0.0.3:443","ms":12.0,"error":null}],"peer":"127.0.0.3:443","#,
            r#""dns_ms":1.5,"dns_stale_ms":90000,"connect_ms":262.0,"setup_ms":264.0,"#,
            r#""total_ms":1800000.5,"bytes_up":1200,"bytes_down":3400,"exchanges":null,"#,
            r#""idle_max_ms":60000.0,"limit_wait_ms":120.0,"tracking_id":null,"status":200,"#,
            r#""reason":"finished","fault":"nobody","closed_by":"client","would_refuse":"port_denied","limit":"per-cluster"}"#,
        ),
    );
}

#[test]
fn a_head_that_could_not_be_read_has_nulls() {
    let mut exchange = bare();
    exchange.status = Some(400);
    exchange.reason = Reason::BadRequest;
    check(
        &exchange,
        concat!(
            r#"{"event":"close","ts":"2024-02-29T12:34:56.007Z","id":"00000003X000000200000003","#,
            r#""listener":"plain","client":"[::1]:40000","client_name":null,"user":null,"#,
            r#""scheme":null,"algorithm":null,"method":null,"kind":"unknown","#,
            r#""target":null,"destination":null,"sni":null,"resolved":[],"attempts":[],"peer":null,"#,
            r#""dns_ms":null,"dns_stale_ms":null,"connect_ms":null,"setup_ms":null,"#,
            r#""total_ms":1800000.5,"bytes_up":0,"bytes_down":0,"exchanges":null,"#,
            r#""idle_max_ms":null,"limit_wait_ms":null,"tracking_id":null,"status":400,"#,
            r#""reason":"bad_request","fault":"client","closed_by":null,"would_refuse":null,"limit":null}"#,
        ),
    );
}

fn check(exchange: &Exchange, expected: &str) {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_007);
    let line = line(
        Event::Close,
        exchange,
        at,
        Duration::from_micros(1_800_000_500),
        ADDRESSES,
    );
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

#[test]
fn what_a_client_chooses_is_cut_and_can_break_no_line() {
    let mut exchange = bare();
    let long = format!("a\r\n\"\u{9b}{}", "ü".repeat(1_000));
    exchange.user = Some(UserName::new(&long));
    exchange.method = Some("M".repeat(10_000).into());
    exchange.resolved = vec![[127, 0, 0, 1].into(); 1_000].into();
    exchange.attempts = vec![
        Attempt {
            peer: ([127, 0, 0, 1], 1).into(),
            took: Duration::ZERO,
            error: None,
        };
        1_000
    ]
    .into();
    let line = line(
        Event::Close,
        &exchange,
        SystemTime::now(),
        Duration::ZERO,
        ADDRESSES,
    );
    assert!(line.len() < 8_192, "{}", line.len());
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 0);
    let text = String::from_utf8(line).unwrap();
    assert!(text.contains(r#""user":"a\r\n\"\u009büü"#), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["user"].as_str().unwrap().chars().count(), USER_CHARS);
    assert_eq!(json["attempts"].as_array().unwrap().len(), ADDRESSES);
}

#[test]
fn a_log_that_is_off_has_no_thread_and_one_that_cannot_open_says_which_file() {
    let (log, end) = AccessLog::start(&log_to(AccessSink::Off, &[]), |_| {}).unwrap();
    assert!(matches!(end, LogEnd::Nobody));
    log.record(Event::Close, &bare(), SystemTime::now(), Duration::ZERO);
    let nowhere = AccessSink::File("/nonexistent/access.log".into());
    let error = AccessLog::start(&log_to(nowhere, &[]), |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "can't open the access log /nonexistent/access.log"
    );
}

#[test]
fn a_tunnel_has_the_lines_that_are_wanted_and_always_one_when_it_fails() {
    use Event::{Close, Hourly, Open};
    let check_with = |wanted: &[&str], kind, reason, would_refuse, expected: &[Event]| {
        let (log, LogEnd::Collector(mut waiting)) =
            AccessLog::start(&log_to(collector(), wanted), |_| {}).unwrap()
        else {
            panic!("a collector has a queue");
        };
        let mut exchange = bare();
        (exchange.kind, exchange.reason) = (kind, reason);
        exchange.would_refuse = would_refuse;
        for event in [Open, Hourly, Close] {
            log.record(event, &exchange, SystemTime::now(), Duration::ZERO);
        }
        let events: Vec<String> = std::iter::from_fn(|| waiting.try_next())
            .map(|letter| {
                let line: serde_json::Value = serde_json::from_slice(&letter.line).unwrap();
                assert_eq!(line["reason"].is_null(), line["event"] != "close", "{line}");
                assert_eq!(line["fault"].is_null(), line["event"] != "close", "{line}");
                line["event"].as_str().unwrap().to_owned()
            })
            .collect();
        let expected: Vec<&str> = expected.iter().map(|event| event.token()).collect();
        assert_eq!(events, expected, "{wanted:?} {kind:?} {reason:?}");
    };
    let check = |wanted: &[&str], kind, reason, expected: &[Event]| {
        check_with(wanted, kind, reason, None, expected);
    };
    let reported = Some(Reason::TargetDenied);
    check_with(&[], Kind::Tunnel, Reason::Finished, reported, &[Close]);
    let all = ["open", "hourly", "close"];
    check(&all, Kind::Tunnel, Reason::Finished, &[Open, Hourly, Close]);
    check(&["close"], Kind::Tunnel, Reason::Finished, &[Close]);
    check(&["hourly"], Kind::Tunnel, Reason::Idle, &[Hourly]);
    check(
        &["open"],
        Kind::Tunnel,
        Reason::UpstreamReset,
        &[Open, Close],
    );
    check(&[], Kind::Tunnel, Reason::Finished, &[]);
    check(&[], Kind::Tunnel, Reason::TargetDenied, &[Close]);
    check(&[], Kind::Tunnel, Reason::Draining, &[Close]);
    check(&[], Kind::Forward, Reason::Finished, &[Close]);
}

#[test]
fn a_line_for_a_collector_stays_under_8_kib_whatever_is_in_it() {
    let (log, LogEnd::Collector(mut waiting)) =
        AccessLog::start(&log_to(collector(), &[]), |_| {}).unwrap()
    else {
        panic!("a collector has a queue");
    };
    let mut exchange = bare();
    exchange.user = Some(UserName::new(&"\u{202e}".repeat(1_000)));
    exchange.method = Some("M".repeat(100).into());
    exchange.target = Some(Target {
        host: Host::Name("a".repeat(253).into()),
        port: 65_535,
    });
    exchange.sni = Some("a".repeat(253).into());
    let long = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
    exchange.resolved = vec![long; 1_000].into();
    exchange.attempts = vec![
        Attempt {
            peer: (long, 65_535).into(),
            took: Duration::from_micros(1_234_567),
            error: Some("out_of_resources"),
        };
        1_000
    ]
    .into();
    log.record(Event::Close, &exchange, SystemTime::now(), Duration::ZERO);
    let line = waiting.try_next().unwrap().line;
    assert!((4_000..8_000).contains(&line.len()), "{}", line.len());
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(line["attempts"].as_array().unwrap().len(), ADDRESSES_SENT);
}

pub(crate) fn collector() -> AccessSink {
    AccessSink::Syslog(config::Collector {
        transport: config::Transport::Udp,
        host: Host::Name("logs.test".into()),
        port: 514,
    })
}

/// A log there, with these lines of tunnels.
pub(crate) fn log_to(access: AccessSink, tunnel_lines: &[&str]) -> config::Log {
    config::Log {
        level: config::Level::Info,
        access,
        syslog_ca: None,
        queue_lines: 8,
        tunnel_lines: TunnelLines {
            open: tunnel_lines.contains(&"open"),
            hourly: tunnel_lines.contains(&"hourly"),
            close: tunnel_lines.contains(&"close"),
        },
    }
}

fn bare() -> Exchange {
    Exchange::new(
        ExchangeId::new(1_000, 2, 3),
        SystemTime::UNIX_EPOCH,
        Instant::now(),
        ListenerName::new("plain"),
        ClientAddr("[::1]:40000".parse().unwrap()),
    )
}
