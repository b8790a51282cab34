//! The access log at a syslog collector: over UDP, TCP and TLS; one that goes, comes back, or never reads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidegate_load::cloud::ca::{Identity, ThrowAwayCa};

use crate::collector::{Datagrams, Listening, Message};
use crate::house::{House, Plan, self_signed};
use crate::upstream;

/// Any port of an address that no other test uses: nobody takes the port while it is free.
const QUIET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99)), 0);

fn house_with(access: &str) -> Plan {
    House::new().set("log", &format!("access = \"{access}\""))
}

/// The header that every message has, and that it is of this exchange.
fn check(message: &Message, house: &House, reason: &str) {
    assert_eq!(message.priority, 16 * 8 + 6, "local0, informational");
    assert_eq!((&*message.app_name, &*message.id), ("tidegate", "access"));
    assert_eq!(message.process, house.pid().to_string());
    assert!(!message.host_name.is_empty());
    assert_eq!(message.json["ts"], message.timestamp);
    assert_eq!(message.json["event"], "close");
    assert_eq!(message.json["reason"], reason);
}

#[tokio::test]
async fn udp_has_a_datagram_for_every_line() {
    let collector = Datagrams::listen().await;
    let target = upstream::echo().await;
    let house = house_with(&format!("syslog://{}", collector.address()))
        .open()
        .await;
    house.client().await.tunnel(target).await;
    let message = collector.message().await;
    check(&message, &house, "finished");
    assert_eq!(message.json["target"], target.to_string());
    house.client().await.connect("bad").await;
    check(&collector.message().await, &house, "bad_target");
    house
        .metric_becomes("tidegate_access_log_dropped_total", 0.0)
        .await;
    house.close().await;
}

#[tokio::test]
async fn a_udp_collector_that_is_away_is_noticed_and_tried_again() {
    let collector = Datagrams::on(QUIET).await;
    let address = collector.address();
    drop(collector);
    let house = house_with(&format!("syslog://{address}")).open().await;
    house.client().await.connect("lost.bad").await;
    house
        .journal_says("the log collector cannot be reached")
        .await;
    house
        .metric_becomes("tidegate_access_log_dropped_total", 1.0)
        .await;
    let collector = Datagrams::on(address).await;
    house.client().await.connect("found.bad").await;
    check(&collector.message().await, &house, "bad_target");
    house.close().await;
}

#[tokio::test]
async fn tcp_has_octet_counted_messages_in_order() {
    let collector = Listening::anywhere().await;
    let house = house_with(&format!("syslog+tcp://{}", collector.address()))
        .open()
        .await;
    let mut connection = collector.accept().await;
    let mut client = house.client().await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        let reply = client.connect("bad").await;
        ids.push(reply.body);
    }
    for id in ids {
        let message = connection.message().await;
        check(&message, &house, "bad_target");
        assert!(
            id.contains(message.json["id"].as_str().unwrap()),
            "{id} {message:?}"
        );
    }
    house.signal("USR1");
    house.journal_says("nothing to open anew").await;
    client.connect("bad").await;
    check(&connection.message().await, &house, "bad_target");
    drop(client);
    house.close().await;
    connection.ends().await;
}

#[tokio::test]
async fn tls_is_spoken_to_the_right_collector_alone() {
    let collector = Listening::anywhere().await;
    let port = collector.address().port();
    let (ours, other) = (
        ThrowAwayCa::new("ours").unwrap(),
        ThrowAwayCa::new("other").unwrap(),
    );
    let house = house_with(&format!("syslog+tls://logs.test:{port}"))
        .set("log", "syslog_ca = \"syslog-ca.pem\"")
        .file("syslog-ca.pem", &ours.pem())
        .name("logs.test", ["127.0.0.1".parse().unwrap()])
        .open()
        .await;
    house.client().await.connect("bad").await;
    // An authority that nobody trusts, then a name that is not the collector's.
    let refused = collector.accept_tls(&other, "logs.test").await;
    assert!(refused.is_err());
    house.journal_says("cannot be reached").await;
    let refused = collector.accept_tls(&ours, "127.0.0.1").await;
    assert!(refused.is_err());
    let mut connection = collector.accept_tls(&ours, "logs.test").await.unwrap();
    check(&connection.message().await, &house, "bad_target");
    house.close().await;
    connection.ends().await;
}

#[tokio::test]
async fn a_collector_that_shows_an_authoritys_certificate_is_explained() {
    let collector = Listening::anywhere().await;
    let port = collector.address().port();
    let (certificate, key) = self_signed("logs.test");
    let house = house_with(&format!("syslog+tls://logs.test:{port}"))
        .set("log", "syslog_ca = \"syslog-ca.pem\"")
        .file("syslog-ca.pem", &certificate)
        .name("logs.test", ["127.0.0.1".parse().unwrap()])
        .open()
        .await;
    let identity = Identity {
        chain_pem: certificate,
        key_pem: key,
    };
    assert!(collector.accept_tls_with(&identity).await.is_err());
    let told = house.journal_says("cannot be reached").await;
    assert!(
        told.contains("(CA:TRUE)") && told.contains("name the authority that signed it"),
        "{told}"
    );
    house.close().await;
}

#[tokio::test]
async fn lines_wait_for_a_collector_that_goes_away_and_comes_back() {
    let collector = Listening::on(QUIET).await;
    let address = collector.address();
    let house = house_with(&format!("syslog+tcp://{address}")).open().await;
    let mut connection = collector.accept().await;
    let mut client = house.client().await;
    client.connect("bad").await;
    check(&connection.message().await, &house, "bad_target");
    drop((connection, collector));
    house
        .journal_says("the log collector cannot be reached")
        .await;
    let mut replies = Vec::new();
    for _ in 0..20 {
        let reply = client.connect("bad").await;
        replies.push(reply.body);
    }
    let collector = Listening::on(address).await;
    let mut connection = collector.accept().await;
    for reply in replies {
        let message = connection.message().await;
        check(&message, &house, "bad_target");
        assert!(
            reply.contains(message.json["id"].as_str().unwrap()),
            "{reply} {message:?}"
        );
    }
    house
        .metric_becomes("tidegate_access_log_dropped_total", 0.0)
        .await;
    drop(client);
    house.close().await;
    connection.ends().await;
}

#[tokio::test]
async fn a_collector_that_never_reads_costs_lines_not_tunnels() {
    let collector = Listening::with_a_small_buffer();
    let target = upstream::echo().await;
    let house = house_with(&format!("syslog+tcp://{}", collector.address()))
        .set("log", "queue_lines = 4")
        .open()
        .await;
    let _connection = collector.accept().await;
    let mut client = house.client().await;
    let mut tunnel = house.client().await;
    tunnel.tunnel(target).await;
    // Some hundred lines fill every buffer on the way.
    let mut asked = 0;
    while house.metric("tidegate_access_log_dropped_total").await == 0.0 {
        assert!(asked < 10_000, "no line is dropped");
        for _ in 0..50 {
            assert_eq!(client.connect("bad").await.status, 400);
            asked += 1;
        }
    }
    house.journal_says("log lines are being dropped").await;
    tunnel.send("serves on").await;
    assert_eq!(tunnel.read(9).await, b"serves on");
    drop((client, tunnel));
    house.close().await;
}

#[tokio::test]
async fn a_collector_whose_name_is_unknown_keeps_nobody_from_serving() {
    let collector = Listening::anywhere().await;
    let port = collector.address().port();
    let house = house_with(&format!("syslog+tcp://logs.test:{port}"))
        .set("dns", "negative_ttl = \"0s\"")
        .open()
        .await;
    house.client().await.connect("bad").await;
    let said = house.journal_says("cannot be reached").await;
    assert!(
        said.contains("logs.test") && said.contains("does not exist"),
        "{said}"
    );
    house.names.set("logs.test", ["127.0.0.1".parse().unwrap()]);
    check(
        &collector.accept().await.message().await,
        &house,
        "bad_target",
    );
    house.close().await;
}

#[tokio::test]
async fn the_last_lines_are_sent_before_the_end() {
    let collector = Listening::anywhere().await;
    let target = upstream::echo().await;
    let house = house_with(&format!("syslog+tcp://{}", collector.address()))
        .set("drain", "tunnel_grace = \"0s\"")
        .open()
        .await;
    let mut connection = collector.accept().await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = house.client().await;
        client.tunnel(target).await;
        clients.push(client);
    }
    house.signal("TERM");
    for _ in 0..10 {
        let message = connection.message().await;
        assert_eq!(message.json["reason"], "draining");
    }
    connection.ends().await;
}
