//! What addresses were like is remembered: the first exchange pays for a dead one, the next ones do not.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use tokio::time::timeout;

use crate::house::{House, PATIENCE};
use crate::upstream::{self, hanging};

fn ip(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 1, last])
}

/// One address of the destination `lab`, as `/destinations` shows it.
async fn shown(house: &House, peer: SocketAddr) -> Value {
    let (status, text) = house.admin("/destinations").await;
    assert_eq!(status, 200);
    let all: Value = serde_json::from_str(&text).unwrap();
    let addresses = all.as_array().unwrap().iter().flat_map(|one| {
        assert_eq!(one["destination"], "lab");
        one["addresses"].as_array().unwrap()
    });
    let mut found = addresses.filter(|one| one["peer"] == peer.to_string());
    found.next().cloned().unwrap_or_default()
}

async fn becomes(house: &House, peer: SocketAddr, field: &str, wanted: impl Into<Value>) {
    let wanted = wanted.into();
    let poll = async { while shown(house, peer).await[field] != wanted {} };
    if timeout(PATIENCE, poll).await.is_err() {
        panic!("{field} is not {wanted}: {}", shown(house, peer).await);
    }
}

fn up(peer: SocketAddr) -> String {
    format!("tidegate_peer_up{{destination=\"lab\",peer=\"{peer}\"}}")
}

async fn attempts(house: &House, target: &str) -> Vec<(String, Value)> {
    house.client().await.tunnel(target).await;
    let line = house.line().await;
    let attempts = line["attempts"].as_array().unwrap().iter();
    attempts
        .map(|one| {
            (
                one["peer"].as_str().unwrap().to_owned(),
                one["error"].clone(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_hanging_address_costs_one_exchange_and_a_reload_forgets_nothing() {
    let good = upstream::echo_on(ip(2)).await;
    let dead = SocketAddr::new(ip(1), good.port());
    let _dead = hanging(dead);
    let house = House::new()
        .controlled()
        .set("connect", "budget = \"700ms\"")
        .name("push.test", [ip(1), ip(2)])
        .open()
        .await;
    let target = format!("push.test:{}", good.port());
    let first = attempts(&house, &target).await;
    assert_eq!(first.len(), 2, "{first:?}");
    let said = house
        .journal_says("an exchange went to another address")
        .await;
    assert!(
        said.contains(&format!("from={dead} error=\"lost\" to={good}")),
        "{said}"
    );
    for _ in 0..5 {
        let next = attempts(&house, &target).await;
        assert_eq!(next.len(), 1, "{next:?}");
        assert_eq!(next[0].0, good.to_string());
    }
    // What was only overtaken has been looked at by now.
    becomes(&house, dead, "failures", 1).await;
    assert_eq!(shown(&house, dead).await["state"], "quarantined");
    assert_eq!(shown(&house, good).await["state"], "healthy");
    house.metric_becomes(&up(dead), 0.0).await;
    house.metric_becomes(&up(good), 1.0).await;
    let answer = house.control("reload\n").await;
    assert!(answer["applied"].is_array(), "{answer}");
    assert_eq!(attempts(&house, &target).await.len(), 1);
    assert_eq!(shown(&house, dead).await["state"], "quarantined");
    house.close().await;
}

#[tokio::test]
async fn addresses_that_nobody_tried_are_looked_at_beside_and_then_share_the_load() {
    let good = upstream::echo_on(ip(11)).await;
    let other = upstream::echo_at(SocketAddr::new(ip(12), good.port())).await;
    let refusing = SocketAddr::new(ip(13), good.port());
    let house = House::new()
        .name("push.test", [ip(11), ip(12), ip(13)])
        .open()
        .await;
    let target = format!("push.test:{}", good.port());
    attempts(&house, &target).await;
    becomes(&house, good, "state", "healthy").await;
    becomes(&house, other, "state", "healthy").await;
    becomes(&house, refusing, "state", "quarantined").await;
    // They are as quick as each other, at a millisecond's grace: which one goes first differs, but never the dead one.
    for _ in 0..8 {
        let tried = attempts(&house, &target).await;
        assert_eq!(tried.len(), 1, "{tried:?}");
        assert_ne!(tried[0].0, refusing.to_string());
    }
    house.close().await;
}

#[tokio::test]
async fn when_all_are_dead_all_are_tried_and_the_first_that_lives_again_serves() {
    let (listener, gone) = upstream::listener_on(ip(21)).await;
    drop(listener);
    let house = House::new()
        .set("connect", "quarantine = \"10m\"")
        .name("push.test", [ip(21), ip(22)])
        .open()
        .await;
    let target = format!("push.test:{}", gone.port());
    let reply = house.client().await.connect(&target).await;
    assert_eq!((reply.status, reply.reason()), (502, "connect_refused"));
    let line = house.line().await;
    assert_eq!(line["attempts"].as_array().unwrap().len(), 2, "{line}");
    house.journal_says("all_addresses_dead").await;
    let revived = upstream::echo_at(SocketAddr::new(ip(22), gone.port())).await;
    house.client().await.tunnel(&target).await;
    assert_eq!(house.line().await["peer"], revived.to_string());
    house.journal_says("address_alive").await;
    house.metric_becomes(&up(revived), 1.0).await;
    house.metric_becomes(&up(gone), 0.0).await;
    house.close().await;
}

#[tokio::test]
async fn a_name_that_gets_another_address_is_told() {
    let good = upstream::echo_on(ip(31)).await;
    let other = upstream::echo_at(SocketAddr::new(ip(32), good.port())).await;
    let house = House::new()
        .set("dns", "min_ttl = \"1s\"\nmax_ttl = \"1s\"")
        .name("push.test", [ip(31)])
        .open()
        .await;
    let target = format!("push.test:{}", good.port());
    attempts(&house, &target).await;
    house.names.set("push.test", [ip(31), ip(32)]);
    let changes = "tidegate_address_changes_total{destination=\"lab\"}";
    let ask = async {
        while house.metric(changes).await < 1.0 {
            attempts(&house, &target).await;
        }
    };
    timeout(PATIENCE, ask).await.expect("the change is seen");
    let said = house.journal_says("address_set_changed").await;
    assert!(said.contains("127.0.1.32"), "{said}");
    becomes(&house, other, "state", "healthy").await;
    house.close().await;
}

#[tokio::test]
async fn what_dns_has_dropped_counts_for_nothing() {
    let good = upstream::echo_on(ip(41)).await;
    let other = upstream::echo_at(SocketAddr::new(ip(42), good.port())).await;
    let sick = SocketAddr::new(ip(43), good.port());
    let house = House::new()
        .set("dns", "min_ttl = \"1s\"\nmax_ttl = \"1s\"")
        .set("connect", "quarantine = \"10m\"")
        .name("push.test", [ip(41), ip(42), ip(43)])
        .open()
        .await;
    let target = format!("push.test:{}", good.port());
    let connect = async || {
        let mut client = house.client().await;
        let status = client.connect(&target).await.status;
        drop(client);
        house.line().await;
        status
    };
    let all_known = async {
        for (peer, state) in [(good, "healthy"), (other, "healthy"), (sick, "quarantined")] {
            while shown(&house, peer).await["state"] != state {
                connect().await;
            }
        }
    };
    timeout(PATIENCE, all_known).await.expect("all are known");
    let warned = async || {
        let (_, page) = house.admin("/").await;
        page.contains("1 of 3 addresses of destination lab can&#39;t be used now")
    };
    assert!(warned().await);

    // The sick one is taken away.
    house.names.set("push.test", [ip(41), ip(42)]);
    let is_shown = async |peer| {
        let (_, metrics) = house.admin("/metrics").await;
        metrics.contains(&up(peer))
    };
    assert!(is_shown(sick).await && is_shown(good).await);
    let gone = async {
        while is_shown(sick).await {
            connect().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("it is forgotten");
    assert!(!warned().await && is_shown(good).await);
    assert_eq!(shown(&house, sick).await["listed"], false);

    // The name moves to where nobody is.
    house.names.set("push.test", [ip(44)]);
    let dead = async { while connect().await != 502 {} };
    timeout(PATIENCE, dead).await.expect("it has moved");
    house
        .journal_says("alarm raised alarm=\"TidegateAllAddressesDead\"")
        .await;
    let (_, page) = house.admin("/").await;
    assert!(page.contains("Something is wrong"), "{page}");
    assert!(!page.contains("the others carry its pushes"), "{page}");
    assert!(!is_shown(good).await);
    house.close().await;
}
