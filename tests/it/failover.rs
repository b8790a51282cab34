//! Names with several addresses: one that is dead must not cost the push.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tidegate_load::names::{Failure, Kind, Names};

use crate::house::House;
use crate::upstream::{self, hanging, listener_on};

/// The same free port on one address that answers and on others that do what they like.
async fn answering_on(ip: &str) -> SocketAddr {
    upstream::echo_on(ip.parse().unwrap()).await
}

fn ips<const N: usize>(addresses: [&str; N]) -> [IpAddr; N] {
    addresses.map(|address| address.parse().unwrap())
}

#[tokio::test]
async fn a_silent_first_address_does_not_delay_the_push() {
    let good = answering_on("127.0.0.22").await;
    let _dead = hanging(SocketAddr::new("127.0.0.21".parse().unwrap(), good.port()));
    let house = House::new()
        .name("push.test", ips(["127.0.0.21", "127.0.0.22"]))
        .open()
        .await;
    let begun = Instant::now();
    house
        .client()
        .await
        .tunnel(format!("push.test:{}", good.port()))
        .await;
    // The sender waits 2 s for its proxy (the deployment guide's figure); the attempt delay is 250 ms.
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let line = house.line().await;
    assert_eq!(line["peer"], good.to_string());
    let attempts = line["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{line}");
    assert_eq!(
        (&attempts[0]["peer"], &attempts[0]["error"]),
        (
            &format!("127.0.0.21:{}", good.port()).into(),
            &"lost".into()
        )
    );
    assert_eq!(line["resolved"].as_array().unwrap().len(), 2);
    house
        .metric_becomes("tidegate_failovers_total{destination=\"lab\"}", 1.0)
        .await;
    house.close().await;
}

#[tokio::test]
async fn a_refusal_starts_the_next_address_at_once() {
    let good = answering_on("127.0.0.24").await;
    let house = House::new()
        .set("connect", "attempt_delay = \"1400ms\"")
        .name("push.test", ips(["127.0.0.23", "127.0.0.24"]))
        .open()
        .await;
    house
        .client()
        .await
        .tunnel(format!("push.test:{}", good.port()))
        .await;
    let line = house.line().await;
    assert_eq!(line["attempts"][0]["error"], "refused");
    assert!(line["setup_ms"].as_f64().unwrap() < 1000.0, "{line}");
    house.close().await;
}

#[tokio::test]
async fn many_dead_addresses_still_fit_the_budget() {
    let good = answering_on("127.0.0.39").await;
    let dead: Vec<IpAddr> = (30..39)
        .map(|last| IpAddr::from([127, 0, 0, last]))
        .collect();
    let _dead: Vec<_> = dead
        .iter()
        .map(|ip| hanging(SocketAddr::new(*ip, good.port())))
        .collect();
    let house = House::new()
        .name("push.test", dead.iter().copied().chain([good.ip()]))
        .open()
        .await;
    house
        .client()
        .await
        .tunnel(format!("push.test:{}", good.port()))
        .await;
    let line = house.line().await;
    assert_eq!(line["attempts"].as_array().unwrap().len(), 10, "{line}");
    house.close().await;
}

#[tokio::test]
async fn when_every_address_is_dead_the_answer_says_how() {
    let hangs = hanging("127.0.0.40:0".parse().unwrap());
    let port = hangs.address.port();
    let house = House::new()
        .set("connect", "budget = \"400ms\"")
        .name("silent.test", ips(["127.0.0.40"]))
        .name("refusing.test", ips(["127.0.0.41", "127.0.0.42"]))
        .open()
        .await;
    for (name, status, reason) in [
        ("silent.test", 504, "connect_timeout"),
        ("refusing.test", 502, "connect_refused"),
        ("unknown.test", 502, "name_not_found"),
    ] {
        let mut client = house.client().await;
        let target = format!("{name}:{port}");
        // What was meant for the target comes late, while it is dialled; it must never be read as a request.
        let smuggled = "GET http://refusing.test/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        client
            .send(format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        client.offer(smuggled).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.reason()), (status, reason), "{name}");
        assert!(!reply.head.contains("127.0.0.4"), "an address in {reply:?}");
        assert_eq!(house.line().await["reason"], reason);
        assert_eq!(reply.field("connection"), Some("close"));
        assert_eq!(client.read_to_end().await.unwrap(), b"");
        assert!(
            house.lines_left().is_empty(),
            "a line of the smuggled request"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_silent_family_delays_nobody() {
    let good = answering_on("127.0.0.43").await;
    let house = House::new()
        .name("push.test", ips(["127.0.0.43"]))
        .open()
        .await;
    house
        .names
        .fail_only("push.test", Kind::Aaaa, Failure::Silent);
    house
        .client()
        .await
        .tunnel(format!("push.test:{}", good.port()))
        .await;
    let line = house.line().await;
    assert!(line["setup_ms"].as_f64().unwrap() < 300.0, "{line}");
    house.close().await;
}

#[tokio::test]
async fn dns_that_fails_or_is_silent_is_told_apart() {
    let house = House::new()
        .set("dns", "timeout = \"300ms\"")
        .name("silent.test", ips(["127.0.0.1"]))
        .name("failing.test", ips(["127.0.0.1"]))
        .open()
        .await;
    house.names.fail("silent.test", Failure::Silent);
    house.names.fail("failing.test", Failure::Servfail);
    for (name, status, reason) in [
        ("silent.test", 504, "dns_timeout"),
        ("failing.test", 502, "dns_failed"),
    ] {
        let reply = house.client().await.connect(format!("{name}:443")).await;
        assert_eq!((reply.status, reply.reason()), (status, reason), "{name}");
    }
    house.close().await;
}

#[tokio::test]
async fn answers_are_kept_for_their_ttl_and_asked_in_both_families() {
    let good = upstream::echo().await;
    let house = House::new()
        .name("push.test", [upstream::LOCALHOST])
        .open()
        .await;
    for _ in 0..5 {
        house
            .client()
            .await
            .tunnel(format!("push.test:{}", good.port()))
            .await;
    }
    for _ in 0..5 {
        house.line().await;
    }
    assert_eq!(house.names.queries("push.test", Kind::A), 1);
    assert_eq!(house.names.queries("push.test", Kind::Aaaa), 1);
    house.close().await;
}

#[tokio::test]
async fn ipv6_targets_are_reached_by_name_and_by_address() {
    let (listener, target) = listener_on("::1".parse().unwrap()).await;
    let house = House::new().name("six.test", ips(["::1"])).open().await;
    for target in [target.to_string(), format!("six.test:{}", target.port())] {
        let mut client = house.client().await;
        client.tunnel(&target).await;
        let (mut server, _) = listener.accept().await.unwrap();
        client.send("six").await;
        assert_eq!(upstream::read(&mut server, 3).await, b"six");
    }
    house.close_with_tunnels().await;
}

#[tokio::test]
async fn static_addresses_need_no_dns() {
    let good = answering_on("127.0.0.44").await;
    let fixed = "name = \"fixed\"\nhosts = [\"fixed.test\"]\nports = [\"1-65535\"]\naddresses = [\"127.0.0.44\"]";
    let house = House::new().destination(fixed).open().await;
    house
        .client()
        .await
        .tunnel(format!("fixed.test:{}", good.port()))
        .await;
    assert_eq!(house.line().await["peer"], good.to_string());
    assert_eq!(house.names.queries("fixed.test", Kind::A), 0);
    house.close().await;
}

#[tokio::test]
async fn a_dns_server_that_fails_leaves_the_word_to_the_next() {
    let good = upstream::echo().await;
    let sick = Names::start().await.unwrap();
    for failure in [Failure::Servfail, Failure::Silent] {
        sick.set("push.test", [upstream::LOCALHOST]);
        sick.fail("push.test", failure);
        let house = House::new()
            .also_asking(sick.addr())
            .name("push.test", [upstream::LOCALHOST])
            .open()
            .await;
        let asked = sick.queries("push.test", Kind::A);
        house
            .client()
            .await
            .tunnel(format!("push.test:{}", good.port()))
            .await;
        assert!(
            sick.queries("push.test", Kind::A) > asked,
            "it is asked first"
        );
        house.close().await;
    }
}

#[tokio::test]
async fn only_the_configured_family_is_connected_over() {
    let good = upstream::echo().await;
    let house = House::new()
        .set("connect", "families = \"ipv6\"")
        .name("four.test", [upstream::LOCALHOST])
        .open()
        .await;
    let reply = house.client().await.connect(good).await;
    assert_eq!((reply.status, reply.reason()), (502, "unreachable"));
    let reply = house
        .client()
        .await
        .connect(format!("four.test:{}", good.port()))
        .await;
    assert_eq!((reply.status, reply.reason()), (502, "name_not_found"));
    assert_eq!(house.names.queries("four.test", Kind::A), 0);
    house
        .metric_becomes("tidegate_dns_lookups_total{result=\"no_address\"}", 1.0)
        .await;
    house.close().await;
}
