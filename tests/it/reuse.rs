//! Connections to origins: used again when nothing is left on them, never when something might be.
//!
//! One core, so that every client meets the same pool.

use crate::chunks;
use crate::client::Client;
use crate::house::{House, Plan};
use crate::origin::{Call, OK, OK_CLOSE, Origin};
use crate::upstream::{self, LOCALHOST};

fn house() -> Plan {
    House::new()
        .name("push.test", [LOCALHOST])
        .name("other.test", [LOCALHOST])
        .set("runtime", "workers = 1")
}

/// A connection that has answered once.
async fn warm(house: &House, origin: &Origin) -> (Client, Call) {
    let mut client = house.client().await;
    client.send(origin.get("/warm")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    (client, call)
}

/// A new client's request comes over a new connection, and only its own answer goes back.
async fn comes_fresh(house: &House, origin: &Origin, about: &str) {
    let mut client = house.client().await;
    comes_fresh_for(&mut client, origin, about).await;
    client.finish().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"", "{about}");
}

/// The same for a client that is there already.
async fn comes_fresh_for(client: &mut Client, origin: &Origin, about: &str) {
    client.send(origin.get("/fresh")).await;
    let (mut call, ask) = origin.reached(client).await;
    assert_eq!(ask.line, "GET /fresh HTTP/1.1", "{about}");
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfresh")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (200, "fresh"),
        "{about}"
    );
}

#[tokio::test]
async fn the_next_request_comes_over_the_same_connection() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let (mut client, mut call) = warm(&house, &origin).await;

    client.send(origin.get("/second")).await;
    assert_eq!(
        call.asked_by(&mut client).await.line,
        "GET /second HTTP/1.1"
    );
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(chunks::all(&mut client).await.0, b"ok");

    // A body on the way up and none on the way down; another client.
    let mut client = house.client().await;
    client
        .send(origin.request("POST", "/third", "Content-Length: 2\r\n"))
        .await;
    client.send("up").await;
    assert_eq!(
        call.asked_by(&mut client).await.line,
        "POST /third HTTP/1.1"
    );
    assert_eq!(call.read(2).await, b"up");
    call.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.head().await.status, 204);

    client.send(origin.request("HEAD", "/fourth", "")).await;
    assert_eq!(
        call.asked_by(&mut client).await.line,
        "HEAD /fourth HTTP/1.1"
    );
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status, 200);

    client.send(origin.get("/fifth")).await;
    assert_eq!(call.asked_by(&mut client).await.line, "GET /fifth HTTP/1.1");
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    origin.nobody_called();
    drop(client);
    house.close().await;
    assert_eq!(call.ends_after().await.len(), 5, "in one connection");
}

#[tokio::test]
async fn two_requests_at_once_have_two_connections_and_both_are_kept() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let (mut first, mut second) = (house.client().await, house.client().await);
    first.send(origin.get("/1")).await;
    let (mut one, _) = origin.reached(&mut first).await;
    second.send(origin.get("/2")).await;
    let (mut two, _) = origin.reached(&mut second).await;
    for (call, client) in [(&mut one, &mut first), (&mut two, &mut second)] {
        call.send(OK).await;
        assert_eq!(client.reply().await.body, "ok");
    }
    for path in ["/3", "/4"] {
        first.send(origin.get(path)).await;
        let line = format!("GET {path} HTTP/1.1");
        tokio::select! {
            ask = one.ask() => { assert_eq!(ask.line, line); one.send(OK).await }
            ask = two.ask() => { assert_eq!(ask.line, line); two.send(OK).await }
        }
        assert_eq!(first.reply().await.body, "ok");
    }
    origin.nobody_called();
    drop((first, second));
    house.close().await;
}

#[tokio::test]
async fn another_name_another_scheme_and_another_tunnel_have_connections_of_their_own() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let (_client, mut call) = warm(&house, &origin).await;
    let port = origin.address.port();

    let mut client = house.client().await;
    client
        .send(format!(
            "GET http://other.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"
        ))
        .await;
    let (mut other, ask) = origin.reached(&mut client).await;
    assert_eq!(
        ask.field("host"),
        Some(format!("other.test:{port}").as_str())
    );
    other.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");

    let mut client = house.client().await;
    client.tunnel(origin.authority()).await;
    client.send("raw").await;
    let mut tunnel = origin.call().await;
    assert_eq!(tunnel.read(3).await, b"raw");
    drop((client, tunnel));

    let mut client = house.client().await;
    client
        .send(format!(
            "GET https://push.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"
        ))
        .await;
    let mut hello = origin.call().await;
    assert_eq!(hello.read(1).await, b"\x16", "TLS, and nothing in clear");
    drop(hello);
    assert_eq!(client.reply().await.status, 502);
    drop(client);
    assert_eq!(call.text().matches("HTTP/1.1").count(), 1);
    house.close().await;
    assert_eq!(call.ends_after().await.len(), 1);
}

#[tokio::test]
async fn a_connection_that_the_origin_closes_is_not_used_again() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for reply in [
        OK_CLOSE,
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let mut client = house.client().await;
        client.send(origin.get("/")).await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(reply).await;
        assert_eq!(client.reply().await.body, "ok");
        comes_fresh(&house, &origin, reply).await;
        assert_eq!(call.ends_after().await.len(), 1, "{reply}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_connection_that_died_in_the_pool_costs_no_request() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for round in 0..10 {
        let (_client, mut call) = warm(&house, &origin).await;
        if round % 2 == 0 {
            call.finish().await;
            comes_fresh(&house, &origin, "closed").await;
        } else {
            call.reset();
            comes_fresh(&house, &origin, "reset").await;
        }
    }
    house.close().await;
}

#[tokio::test]
async fn bytes_behind_a_reply_never_answer_anybody() {
    const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let origin = Origin::start().await;
    let house = house().open().await;
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        // In one piece with the reply, and after it.
        for together in [true, false] {
            let mut client = house.client().await;
            client.send(origin.get("/first")).await;
            let (mut call, _) = origin.reached(&mut client).await;
            if together {
                call.send(format!("{reply}{POISON}")).await;
            } else {
                call.send(reply).await;
            }
            let head = client.head().await;
            match head.field("content-length") {
                Some("2") => assert_eq!(client.read(2).await, b"ok"),
                _ if head.field("transfer-encoding").is_some() => {
                    assert_eq!(chunks::all(&mut client).await.0, b"ok");
                }
                _ => {}
            }
            house.line().await;
            if !together {
                call.offer(POISON).await;
            }
            comes_fresh_for(&mut client, &origin, reply).await;
            house.line().await;
            comes_fresh(&house, &origin, reply).await;
            house.line().await;
            client.finish().await;
            assert_eq!(client.read_to_end().await.unwrap(), b"", "{reply}");
            assert_eq!(call.ends_after().await.len(), 1, "{reply}");
        }
    }
    // A HEAD's reply with the body that it must not have.
    let mut client = house.client().await;
    client.send(origin.request("HEAD", "/", "")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{POISON}",
        POISON.len()
    ))
    .await;
    client.head().await;
    comes_fresh(&house, &origin, "a body behind HEAD").await;
    client.finish().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    house.close().await;
}

#[tokio::test]
async fn a_reply_that_nobody_read_to_its_end_costs_the_connection() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = Client::that_resets(house.address("plain")).await;
    client.send(origin.get("/long")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\npart")
        .await;
    client.head().await;
    assert_eq!(client.read(4).await, b"part");
    drop(client);
    call.end().await;
    let line = house.line().await;
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.starts_with("client_"), "{line}");
    call.offer("more").await;
    comes_fresh(&house, &origin, "half a reply").await;
    house.close().await;
}

#[tokio::test]
async fn an_answer_before_the_bodys_end_costs_the_connection() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(origin.request("POST", "/", "Content-Length: 9\r\n"))
        .await;
    client.send("part").await;
    let (mut call, _) = origin.reached(&mut client).await;
    assert_eq!(call.read(4).await, b"part");
    call.send(OK).await;
    assert_eq!(client.reply().await.status, 200);
    comes_fresh(&house, &origin, "half a request").await;
    drop(client);
    call.ends_unfinished().await;
    house.close().await;
}

#[tokio::test]
async fn a_timeout_and_nonsense_cost_the_connection() {
    let origin = Origin::start().await;
    let house = house()
        .set("forward", "response_timeout = \"1s\"")
        .open()
        .await;
    let mut client = house.client().await;
    client.send(origin.get("/hung")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    assert_eq!(client.reply().await.status, 504);
    // The late answer must not be taken for the next request's.
    call.offer(OK).await;
    comes_fresh(&house, &origin, "a late answer").await;
    call.end().await;

    let mut client = house.client().await;
    client.send(origin.get("/nonsense")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 502);
    call.offer(OK).await;
    comes_fresh(&house, &origin, "nonsense").await;
    call.end().await;
    house.close().await;
}

/// Whatever was refused in between, the pooled connection is as it was, and nothing of it reached the origin.
#[tokio::test]
async fn bad_clients_do_not_spoil_a_pooled_connection() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let (_client, mut call) = warm(&house, &origin).await;
    let endless = "x".repeat(100_000);
    let fields: String = (0..5_000)
        .map(|number| format!("X{number}: \r\n"))
        .collect();
    for bad in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\x03\x03".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        origin.request("GET", "/", &fields),
        origin.request(
            "POST",
            "/",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        ),
        origin.request("POST", "/", "Content-Length: 99999999999999999999\r\n"),
        origin.request("GET", &format!("/{endless}"), ""),
    ] {
        let mut client = house.client().await;
        client.send(&bad).await;
        let reply = client.reply().await;
        assert!((400..500).contains(&reply.status), "{reply:?}");
        assert!(client.read_to_end().await.unwrap().is_empty());
    }
    let target = upstream::refusing().await;
    let mut client = house.client().await;
    client
        .send(format!("GET http://{target}/ HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    assert_eq!(client.reply().await.status, 502);
    client.send(origin.get("/after")).await;
    assert_eq!(call.asked_by(&mut client).await.line, "GET /after HTTP/1.1");
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    origin.nobody_called();
    drop(client);
    house.close().await;
    assert_eq!(call.ends_after().await.len(), 2);
}
