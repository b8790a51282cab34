//! Raw bytes that must not get through: each is answered, logged and counted, and the connection closed.

use crate::house::House;
use crate::upstream;

/// Sends bytes; expects this status and reason, one line, and a closed connection.
async fn refused(house: &House, bytes: impl AsRef<[u8]>, status: u16, reason: &str) {
    let shown =
        String::from_utf8_lossy(&bytes.as_ref()[..bytes.as_ref().len().min(80)]).into_owned();
    let mut client = house.client().await;
    client.send(bytes).await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.reason()),
        (status, reason),
        "{shown:?}"
    );
    assert_eq!(reply.field("connection"), Some("close"), "{shown:?}");
    assert_eq!(client.read_to_end().await.unwrap(), b"", "{shown:?}");
    let line = house.line().await;
    assert_eq!(
        (&line["reason"], &line["status"]),
        (&reason.into(), &status.into()),
        "{shown:?}"
    );
}

#[tokio::test]
async fn malformed_heads_are_refused_and_the_connection_is_closed() {
    let house = House::new().open().await;
    for head in [
        "CONNECT push.test:443 HTTP/1.1\nHost: push.test:443\n\n",
        "CONNECT push.test:443 HTTP/1.1\r\nHost: push.test:443\n\r\n",
        "CONNECT push.test:443 HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "CONNECT push.test:443 HTTP/1.1\r\nHost: a\0b\r\n\r\n",
        "CONNECT push.test:443 HTTP/1.1\r\nHost : push.test\r\n\r\n",
        "CONNECT push.test:443 HTTP/1.1\r\nHost: push.test\r\n folded: x\r\n\r\n",
        "CONNECT push.test:443 HTTP/1.1\r\n\r\n",
        "CONNECT push.test:443 HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
        "CONNECT push.test:443 HTTP/1.1\r\nHost: a b\r\n\r\n",
        "CONNECT push.test:443 HTTP/1.1\r\nHost: push.test\r\nContent-Length: 5\r\n\r\nhello",
        "CONNECT push.test:443 HTTP/1.1\r\nHost: push.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT push.test:443 HTTP/2.0\r\nHost: push.test\r\n\r\n",
        "CONNECT  push.test:443 HTTP/1.1\r\nHost: push.test\r\n\r\n",
        "CONN(ECT push.test:443 HTTP/1.1\r\nHost: push.test\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: push.test\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        refused(&house, head, 400, "bad_request").await;
    }
    refused(
        &house,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        400,
        "bad_request",
    )
    .await;
    house.close().await;
}

#[tokio::test]
async fn a_violation_is_answered_at_once_not_after_the_deadline() {
    let house = House::new()
        .set("intake", "head_timeout = \"5m\"")
        .open()
        .await;
    for start in [
        &b"\x16\x03\x01"[..],
        b"CONNECT push.test:443 HTTP/1.1\n",
        b"CONNECT push.test:443 HTTP/1.1\r\nHost: push.test\r\n x",
    ] {
        refused(&house, start, 400, "bad_request").await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_tls_hello_on_the_plain_port_is_explained() {
    let house = House::new().open().await;
    let mut client = house.client().await;
    client.send(b"\x16\x03\x01\x02\x00").await;
    let reply = client.reply().await;
    assert!(
        reply.field("proxy-status").unwrap().contains("TLS"),
        "{reply:?}"
    );
    house.close().await;
}

#[tokio::test]
async fn heads_have_limits_that_say_which_one() {
    let house = House::new()
        .set("intake", "head_bytes = \"16KiB\"")
        .open()
        .await;
    let fields: String = (0..200)
        .map(|number| format!("X-Field-{number}: {number}\r\n"))
        .collect();
    let mut client = house.client().await;
    client
        .send(format!(
            "CONNECT nowhere.example:443 HTTP/1.1\r\nHost: nowhere.example\r\n{fields}\r\n"
        ))
        .await;
    assert_eq!(client.reply().await.status, 403, "200 fields are read");
    house.line().await;
    let many: String = (0..5_000)
        .map(|number| format!("X{number}: \r\n"))
        .collect();
    refused(
        &house,
        format!("CONNECT push.test:443 HTTP/1.1\r\nHost: push.test\r\n{many}\r\n"),
        431,
        "head_too_large",
    )
    .await;
    refused(
        &house,
        format!(
            "CONNECT push.test:443 HTTP/1.1\r\nHost: push.test\r\nX: {}\r\n\r\n",
            "x".repeat(20_000)
        ),
        431,
        "head_too_large",
    )
    .await;
    refused(
        &house,
        format!(
            "CONNECT {}:443 HTTP/1.1\r\nHost: push.test\r\n\r\n",
            "x".repeat(20_000)
        ),
        414,
        "uri_too_long",
    )
    .await;
    house.close().await;
}

#[tokio::test]
async fn bytes_behind_a_refused_connect_never_run_as_a_request() {
    let house = House::new().open().await;
    let mut client = house.client().await;
    client.send("CONNECT unlisted.example:443 HTTP/1.1\r\nHost: x\r\n\r\nCONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.field("connection")),
        (403, Some("close"))
    );
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    house.line().await;
    assert_eq!(house.lines_left(), Vec::<String>::new());
    house.close().await;
}

#[tokio::test]
async fn a_refused_connect_keeps_the_connection_where_http_allows() {
    let house = House::new().open().await;
    let mut client = house.client().await;
    for _ in 0..3 {
        let reply = client.connect("unlisted.example:443").await;
        assert_eq!((reply.status, reply.field("connection")), (403, None));
    }
    let reply = client
        .connect_with("unlisted.example:443", "Connection: close")
        .await;
    assert_eq!(
        (reply.status, reply.field("connection")),
        (403, Some("close"))
    );
    assert_eq!(client.read_to_end().await.unwrap(), b"");

    let mut client = house.client().await;
    client
        .send("CONNECT unlisted.example:443 HTTP/1.0\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.field("connection")),
        (403, Some("close")),
        "HTTP/1.0 without Host or keep-alive"
    );
    house.close().await;
}

#[tokio::test]
async fn clients_that_are_not_quite_right_get_their_tunnel() {
    let target = upstream::echo().await;
    let house = House::new().open().await;
    for head in [
        // requests, ncat, socat: HTTP/1.0 without Host.
        format!("CONNECT {target} HTTP/1.0\r\n\r\n"),
        // node-apn: the proxy's own address as Host. aioapns: none of the port.
        format!("CONNECT {target} HTTP/1.1\r\nHost: proxy.example:3128\r\n\r\n"),
        // axios, undici: a Connection that does not mean the tunnel.
        format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\nProxy-Connection: close\r\n\r\n"
        ),
    ] {
        let mut client = house.client().await;
        client.send(&head).await;
        assert_eq!(
            client.read(39).await,
            b"HTTP/1.1 200 Connection established\r\n\r\n",
            "{head}"
        );
        client.send("through").await;
        assert_eq!(client.read(7).await, b"through");
    }
    house.close_with_tunnels().await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_read() {
    let target = upstream::echo().await;
    let house = House::new().open().await;
    let mut client = house.client().await;
    for byte in format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").bytes() {
        client.send([byte]).await;
    }
    assert_eq!(client.reply().await.status, 200);
    drop(client);
    house.close().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_head_has_its_line() {
    let house = House::new().open().await;
    let mut client = house.client().await;
    client.send("CONNECT push").await;
    drop(client);
    assert_eq!(house.line().await["reason"], "client_gone");
    house.close().await;
}

#[tokio::test]
async fn garbage_in_great_numbers_stops_nothing() {
    let target = upstream::echo().await;
    let house = House::new().tls().open().await;
    let mut seed = 0x1234_5678_u32;
    for round in 0..300 {
        let bytes: Vec<u8> = (0..64)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        let mut client = if round % 2 == 0 {
            house.client().await
        } else {
            house.client_of("tls").await
        };
        client.send(bytes).await;
    }
    house.client().await.tunnel(target).await;
    house.close().await;
}
