//! The end: SIGTERM lets requests finish and tunnels live for their grace; a second one ends at once.

use std::time::Duration;

use tokio::time::timeout;

use crate::client::Client;
use crate::house::House;
use crate::upstream;

#[tokio::test]
async fn a_drain_lets_tunnels_live_and_takes_no_new_clients() {
    let target = upstream::echo().await;
    let mut house = House::new().open().await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    let mut idle = house.client().await;
    assert_eq!(idle.connect("bad.target").await.status, 400);

    house.signal("TERM");
    house.journal_says("draining").await;
    assert_eq!(house.admin("/readyz").await.0, 503);
    assert_eq!(house.admin("/livez").await.0, 200);
    assert_eq!(
        idle.read_to_end().await.unwrap(),
        b"",
        "a connection between two requests is closed"
    );
    house.listener_is_closed("plain").await;

    client.send("still here").await;
    assert_eq!(client.read(10).await, b"still here");
    client.finish().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(house.line_with_reason("finished").await["bytes_up"], 10);
    assert_eq!(house.ended().await.code(), Some(0));
}

#[tokio::test]
async fn tunnels_end_when_their_grace_is_over() {
    let target = upstream::echo().await;
    let mut house = House::new()
        .set("drain", "tunnel_grace = \"300ms\"")
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    house.signal("TERM");
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    let line = house.line().await;
    assert_eq!(
        (&line["reason"], &line["closed_by"]),
        (&"draining".into(), &"proxy".into())
    );
    assert_eq!(house.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_every_tunnel_has_its_line() {
    let target = upstream::echo().await;
    let mut house = House::new().open().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = house.client().await;
        client.tunnel(target).await;
        clients.push(client);
    }
    house.signal("TERM");
    house.journal_says("draining").await;
    house.signal("INT");
    assert_eq!(house.ended().await.code(), Some(0));
    for _ in 0..20 {
        assert_eq!(house.line().await["reason"], "draining");
    }
}

#[tokio::test]
async fn a_request_under_way_finishes() {
    let dead = upstream::hanging("127.0.0.50:0".parse().unwrap());
    let mut house = House::new()
        .destination("name = \"lab\"\nhosts = [\"127.0.0.50\"]\nports = [\"1-65535\"]")
        .set("connect", "budget = \"1s\"")
        .open()
        .await;
    let mut client = house.client().await;
    client
        .send(format!(
            "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n",
            dead.address
        ))
        .await;
    house.metric_becomes("tidegate_connections", 1.0).await;
    house.signal("TERM");
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.field("connection")),
        (504, Some("close"))
    );
    assert_eq!(house.ended().await.code(), Some(0));
}

#[tokio::test]
async fn who_was_asked_for_credentials_may_still_answer() {
    let target = upstream::echo().await.to_string();
    let mut house = House::new().user("ann", "secret").open().await;
    let mut client = house.client().await;
    let challenge = client.connect(&target).await.fields("proxy-authenticate")[0].to_owned();
    house.signal("TERM");
    house.journal_says("draining").await;
    let mut digest = http_auth::PasswordClient::try_from(challenge.as_str()).unwrap();
    let params = http_auth::PasswordParams {
        username: "ann",
        password: "secret",
        uri: &target,
        method: "CONNECT",
        body: None,
    };
    let credentials = digest.respond(&params).unwrap();
    assert_eq!(
        client
            .connect_with(&target, &format!("Proxy-Authorization: {credentials}"))
            .await
            .status,
        200
    );
    drop(client);
    assert_eq!(house.ended().await.code(), Some(0));
}

#[tokio::test]
async fn who_waits_in_the_queue_is_served() {
    let target = upstream::echo().await;
    let mut house = House::new().set("runtime", "workers = 1").open().await;
    // A stopped process accepts nobody: these wait in the kernel's queue when the signal comes.
    house.signal("STOP");
    let mut waiting: Vec<Client> = Vec::new();
    for _ in 0..10 {
        waiting.push(house.client().await);
    }
    house.signal("TERM");
    house.signal("CONT");
    for client in &mut waiting {
        client.tunnel(target).await;
    }
    drop(waiting);
    assert_eq!(house.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_tunnel_that_is_cut_with_bytes_under_way_ends_in_a_reset() {
    let (listener, target) = upstream::listener().await;
    let mut house = House::new()
        .set("drain", "tunnel_grace = \"300ms\"")
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    let (server, _) = listener.accept().await.unwrap();
    // To a client that does not read, until no buffer on the way has taken anything for a while.
    let more = vec![7; 1 << 20];
    let stuck = Duration::from_millis(300);
    while timeout(stuck, server.writable()).await.is_ok() {
        let _ = server.try_write(&more);
    }
    house.signal("TERM");
    assert_eq!(house.line().await["reason"], "draining");
    let end = client.read_to_end().await.map(|bytes| bytes.len());
    assert_eq!(
        end.expect_err("not a clean end").kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert_eq!(house.ended().await.code(), Some(0));
}
