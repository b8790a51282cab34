//! Who may reach what: only configured destinations, and only addresses that are allowed after resolution.

use crate::house::House;
use crate::upstream;

/// One CONNECT: the status, the reason's word in the body, and the same word in the log line and the counter.
async fn check(house: &House, target: &str, status: u16, reason: &str) {
    let mut client = house.client().await;
    let reply = client.connect(target).await;
    assert_eq!((reply.status, reply.reason()), (status, reason), "{target}");
    let line = house.line().await;
    assert_eq!(
        (&line["reason"], &line["status"]),
        (&reason.into(), &status.into()),
        "{target}"
    );
    assert!(
        reply.body.contains(line["id"].as_str().unwrap()),
        "{target}: the body names the line: {reply:?} {line}"
    );
    assert!(
        reply
            .field("proxy-status")
            .is_some_and(|value| value.starts_with("tidegate; error=")),
        "{reply:?}"
    );
}

const SHOP: &str = "name = \"shop\"\nhosts = [\"push.test\", \"*.cloud.test\", \"127.0.0.7\"]\nports = [443, \"8000-8099\"]\nnetworks = [\"127.0.0.0/8\"]";

#[tokio::test]
async fn only_listed_names_and_ports_are_reached() {
    let house = House::new().destination(SHOP).open().await;
    check(&house, "other.test:443", 403, "target_denied").await;
    check(&house, "cloud.test:443", 403, "target_denied").await;
    check(&house, "evilcloud.test:443", 403, "target_denied").await;
    check(&house, "push.test.evil.test:443", 403, "target_denied").await;
    check(&house, "127.0.0.8:443", 403, "target_denied").await;
    check(&house, "[::1]:443", 403, "target_denied").await;
    check(&house, "push.test:80", 403, "port_denied").await;
    check(&house, "push.test:8100", 403, "port_denied").await;
    // Allowed by the rules, and unknown to DNS: the policy let them pass.
    for listed in [
        "push.test:443",
        "PUSH.test:8099",
        "push.test.:443",
        "a.cloud.test:8000",
        "a.b.cloud.test:443",
    ] {
        check(&house, listed, 502, "name_not_found").await;
    }
    house.metric_becomes("tidegate_exchanges_total{listener=\"plain\",destination=\"shop\",kind=\"tunnel\",reason=\"port_denied\"}", 2.0).await;
    house.close().await;
}

#[tokio::test]
async fn other_spellings_of_an_address_do_not_get_round_a_rule() {
    let house = House::new().destination(SHOP).open().await;
    for spelling in [
        "2130706439:443",
        "0x7f000007:443",
        "0177.0.0.7:443",
        "127.7:443",
        "127.0.0.7.:443",
        "127.000.000.007:443",
        "push.test..:443",
        "[push.test]:443",
        "push%2etest:443",
        "user@push.test:443",
        "push.test:443/path",
        "http://push.test:443",
        "push.test",
        "push.test:",
        "push.test:0",
        "push.test:65536",
        "push.test:+443",
        "push.test:12a",
        ":443",
    ] {
        check(&house, spelling, 400, "bad_target").await;
    }
    // Not ASCII: no request line has that.
    check(&house, "p\u{fc}sh.test:443", 400, "bad_request").await;
    check(&house, "[::ffff:127.0.0.8]:443", 403, "target_denied").await;
    house.close().await;
}

#[tokio::test]
async fn a_name_that_resolves_to_a_special_address_is_refused_unless_listed() {
    let target = upstream::echo().await;
    let trap = "name = \"trap\"\nhosts = [\"*.test\"]\nports = [\"1-65535\"]";
    let house = House::new()
        .destination(trap)
        .name("loopback.test", [upstream::LOCALHOST])
        .name("metadata.test", ["169.254.169.254".parse().unwrap()])
        .name(
            "private.test",
            ["10.0.0.1".parse().unwrap(), "192.168.1.1".parse().unwrap()],
        )
        .name("mapped.test", ["::ffff:127.0.0.1".parse().unwrap()])
        .name("nat64.test", ["64:ff9b::7f00:1".parse().unwrap()])
        .open()
        .await;
    for name in [
        "loopback.test",
        "metadata.test",
        "private.test",
        "mapped.test",
        "nat64.test",
    ] {
        check(
            &house,
            &format!("{name}:{}", target.port()),
            403,
            "address_denied",
        )
        .await;
    }
    house.close().await;
}

#[tokio::test]
async fn the_proxy_never_dials_itself() {
    let house = House::new()
        .name("me.test", [upstream::LOCALHOST])
        .tls()
        .open()
        .await;
    for own in [
        house.address("plain"),
        house.address("tls"),
        house.admin_address(),
    ] {
        check(&house, &own.to_string(), 508, "self_target").await;
        check(
            &house,
            &format!("me.test:{}", own.port()),
            508,
            "self_target",
        )
        .await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_wildcard_listener_is_ourselves_on_every_address() {
    let everywhere = "name = \"plain\"\naddress = \"0.0.0.0:0\"\nallow_from = [\"127.0.0.0/8\"]";
    let lab = "name = \"lab\"\nhosts = [\"127.0.0.1\", \"127.0.0.2\", \"0.0.0.0\", \"me.test\"]\nports = [\"1-65535\"]\nnetworks = [\"127.0.0.0/8\", \"0.0.0.0/8\"]";
    let house = House::new()
        .plain_listener(everywhere)
        .destination(lab)
        .name("me.test", ["127.0.0.9".parse().unwrap()])
        .open()
        .await;
    let port = house.address("plain").port();
    for host in ["127.0.0.1", "127.0.0.2", "0.0.0.0", "me.test"] {
        check(&house, &format!("{host}:{port}"), 508, "self_target").await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_client_reaches_only_its_own_destinations() {
    let target = upstream::echo().await;
    let house = House::new()
        .destination("name = \"a\"\nhosts = [\"a.test\"]\nports = [\"1-65535\"]\nnetworks = [\"127.0.0.0/8\"]")
        .destination("name = \"b\"\nhosts = [\"b.test\"]\nports = [\"1-65535\"]\nnetworks = [\"127.0.0.0/8\"]")
        .also("[[client]]\nname = \"only-a\"\nnetworks = [\"127.0.0.0/8\"]\ndestinations = [\"a\"]\n")
        .name("a.test", [upstream::LOCALHOST])
        .name("b.test", [upstream::LOCALHOST])
        .open()
        .await;
    house
        .client()
        .await
        .tunnel(format!("a.test:{}", target.port()))
        .await;
    let line = house.line().await;
    assert_eq!(line["client_name"], "only-a");
    check(
        &house,
        &format!("b.test:{}", target.port()),
        403,
        "client_denied",
    )
    .await;
    house.close().await;
}

#[tokio::test]
async fn a_listener_answers_only_whom_it_is_for() {
    let house = House::new()
        .plain_listener(
            "name = \"plain\"\naddress = \"127.0.0.1:0\"\nallow_from = [\"10.0.0.0/8\"]",
        )
        .open()
        .await;
    check(&house, "push.test:443", 403, "client_denied").await;
    house.close().await;
}
