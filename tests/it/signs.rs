//! Peers that are dead, or deaf, while connecting to them still works: their tunnels tell.

use std::os::fd::AsFd;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::client::Client;
use crate::house::{House, PATIENCE, Plan};
use crate::upstream::{self, deafen, listener};

const PUSH: [u8; 300] = [b'p'; 300];
const UNACKNOWLEDGED: &str =
    "tidegate_peers_suspected_total{destination=\"lab\",result=\"unacknowledged\"}";
const UNANSWERED: &str =
    "tidegate_peers_suspected_total{destination=\"lab\",result=\"unanswered\"}";

/// Waits a second for acknowledgements, and a minute for answers.
fn impatient() -> Plan {
    House::new()
        .set("tunnel", "unacknowledged_timeout = \"1s\"")
        .set("tunnel", "confirmation_timeout = \"60s\"")
}

/// A tunnel in which a push was answered, and its far end.
async fn used(house: &House, upstream: &TcpListener) -> (Client, TcpStream) {
    used_by(house.client().await, upstream).await
}

async fn used_by(mut client: Client, upstream: &TcpListener) -> (Client, TcpStream) {
    client.tunnel(upstream.local_addr().unwrap()).await;
    client.send(PUSH).await;
    let (mut far, _) = upstream.accept().await.unwrap();
    upstream::read(&mut far, PUSH.len()).await;
    far.write_all(b"ok").await.unwrap();
    assert_eq!(client.read(2).await, b"ok");
    (client, far)
}

/// A peer that hears nothing any more; its tunnel is reset.
async fn loses_its_tunnel(house: &House) {
    let (listener, address) = listener().await;
    let (mut client, far) = used(house, &listener).await;
    deafen(&far);
    client.send(PUSH).await;
    let end = client.read_to_end().await;
    let kind = end.map_err(|error| error.kind());
    assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset));
    let line = house.line_with("peer", &address.to_string()).await;
    assert_eq!(line["reason"], "upstream_timeout");
    assert_eq!(line["closed_by"], "upstream");
}

#[tokio::test]
async fn a_peer_that_acknowledges_nothing_loses_the_tunnel_and_a_good_one_keeps_its_own() {
    let house = impatient().open().await;
    let (listener, _) = listener().await;
    let (mut client, mut far) = used(&house, &listener).await;
    loses_its_tunnel(&house).await;
    house.metric_becomes(UNACKNOWLEDGED, 1.0).await;
    // The other was silent for as long.
    client.send(PUSH).await;
    upstream::read(&mut far, PUSH.len()).await;
    drop((client, far));
    assert_eq!(house.line().await["reason"], "finished");
    assert_eq!(house.metric(UNANSWERED).await, 0.0);
    house.close().await;
}

#[tokio::test]
async fn after_it_the_next_connect_goes_elsewhere() {
    let (one, address) = listener().await;
    let port = address.port();
    let other = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let house = impatient()
        .name("push.test", [[127, 0, 0, 1].into(), [127, 0, 0, 2].into()])
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(format!("push.test:{port}")).await;
    let shown: serde_json::Value = serde_json::from_str(&house.admin("/tunnels").await.1).unwrap();
    let (dying, living) = if shown[0]["peer"] == address.to_string() {
        (one, other)
    } else {
        (other, one)
    };
    let (far, _) = dying.accept().await.unwrap();
    deafen(&far);
    client.send(PUSH).await;
    assert!(client.read_to_end().await.is_err());
    house.metric_becomes(UNACKNOWLEDGED, 1.0).await;
    assert_eq!(
        house.line().await["peer"],
        far.local_addr().unwrap().to_string()
    );
    // The dead one would accept as before.
    let peer = living.local_addr().unwrap().to_string();
    tokio::spawn(async move { while living.accept().await.is_ok() {} });
    for _ in 0..8 {
        let mut client = house.client().await;
        client.tunnel(format!("push.test:{port}")).await;
        drop(client);
        assert_eq!(house.line().await["peer"], peer);
    }
    house.close().await;
}

#[tokio::test]
async fn a_slow_reader_is_not_dead() {
    const BYTES: usize = 32 * 1024 * 1024;
    let house = impatient().open().await;
    let (listener, _) = listener().await;
    let (mut client, mut far) = used(&house, &listener).await;
    let sending = tokio::spawn(async move {
        for _ in 0..BYTES / 65_536 {
            client.send(vec![b'x'; 65_536]).await;
        }
        client.finish().await;
        client
    });
    // It takes nothing for as long as it takes to find two that are dead, one after the other.
    loses_its_tunnel(&house).await;
    loses_its_tunnel(&house).await;
    assert!(!sending.is_finished(), "its window is closed");
    let mut all = Vec::new();
    let read = timeout(PATIENCE, far.read_to_end(&mut all)).await;
    assert_eq!(read.expect("bytes arrive").unwrap(), BYTES);
    drop((sending.await.unwrap(), far));
    assert_eq!(house.line().await["reason"], "finished");
    house.close().await;
}

#[tokio::test]
async fn a_client_that_acknowledges_nothing_is_not_the_peers_fault() {
    let house = impatient().open().await;
    let (listener, _) = listener().await;
    #[expect(clippy::disallowed_methods, reason = "a test is a client")]
    let tcp = TcpStream::connect(house.address("plain")).await.unwrap();
    let socket = tcp.as_fd().try_clone_to_owned().unwrap();
    let (_client, mut far) = used_by(Client::from_tcp(tcp), &listener).await;
    deafen(&socket);
    far.write_all(&PUSH).await.unwrap();
    let end = timeout(PATIENCE, far.read(&mut [0])).await;
    let kind = end.expect("the end comes").map_err(|error| error.kind());
    assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset));
    let line = house.line().await;
    assert_eq!(line["reason"], "client_gone");
    assert_eq!(line["closed_by"], "client");
    assert_eq!(house.metric(UNACKNOWLEDGED).await, 0.0);
    house.close().await;
}

#[tokio::test]
async fn a_peer_that_answers_in_no_tunnel_is_suspect_and_keeps_them() {
    let house = House::new()
        .set("tunnel", "confirmation_timeout = \"300ms\"")
        .open()
        .await;
    let (listener, address) = listener().await;
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        tunnels.push(used(&house, &listener).await);
    }
    for (client, _) in &mut tunnels {
        client.send(PUSH).await;
    }
    let said = house.journal_says("no longer answers").await;
    assert!(said.contains(&address.to_string()), "{said}");
    house.metric_becomes(UNANSWERED, 1.0).await;
    // It was only slow.
    for (client, far) in &mut tunnels {
        upstream::read(far, PUSH.len()).await;
        far.write_all(b"ok").await.unwrap();
        assert_eq!(client.read(2).await, b"ok");
    }
    drop(tunnels);
    for _ in 0..3 {
        assert_eq!(house.line().await["reason"], "finished");
    }
    assert_eq!(house.metric(UNANSWERED).await, 1.0);
    house.close().await;
}

#[tokio::test]
async fn a_service_that_accepts_and_answers_nobody_is_an_alarm() {
    let house = House::new()
        .set("tunnel", "confirmation_timeout = \"300ms\"")
        .open()
        .await;
    let (listener, address) = listener().await;
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let mut client = house.client().await;
        client.tunnel(address).await;
        client.send(PUSH).await;
        tunnels.push((client, listener.accept().await.unwrap()));
    }
    let alarm = "tidegate_alarm_subject_active{alarm=\"TidegateAllAddressesDead\",component=\"tidegate\",severity=\"ALERT\",subject=\"lab\"}";
    house.metric_becomes(alarm, 1.0).await;
    let (_, page) = house.admin("/alarms").await;
    assert!(page.contains("none answers in its tunnels"), "{page}");
    house.close_with_tunnels().await;
}

#[tokio::test]
async fn tunnels_on_addresses_that_dns_no_longer_lists_are_shown_and_counted() {
    const OFF_DNS: &str = "tidegate_tunnels_off_dns{destination=\"lab\"}";
    let (old, new) = (
        upstream::echo_on([127, 0, 0, 2].into()).await,
        [127, 0, 0, 3],
    );
    let house = House::new()
        .set("dns", "min_ttl = \"0s\"")
        .set("dns", "max_ttl = \"1s\"")
        .name("push.test", [old.ip()])
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(format!("push.test:{}", old.port())).await;
    assert_eq!(house.metric(OFF_DNS).await, 0.0);
    house.names.set("push.test", [new.into()]);
    // Nobody listens there, and every attempt asks for the name.
    let shown = async {
        while house.metric(OFF_DNS).await == 0.0 {
            let mut other = house.client().await;
            other.connect(format!("push.test:{}", old.port())).await;
        }
        house.admin("/tunnels").await.1
    };
    let shown = timeout(PATIENCE, shown).await.expect("it is counted");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["peer"], old.to_string());
    // Between the two pages the answer may have become too old to compare with.
    assert_ne!(shown[0]["off_dns"], false);
    drop(client);
    house.metric_becomes(OFF_DNS, 0.0).await;
    house.close().await;
}
