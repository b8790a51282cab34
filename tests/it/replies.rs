//! Origins that mean harm or speak nonsense: the client gets a whole, well-formed reply, or none.

use tokio::time::timeout;

use crate::client::{Client, Reply};
use crate::house::{House, PATIENCE, Plan};
use crate::origin::{OK_CLOSE, Origin};
use crate::upstream::LOCALHOST;

fn house() -> Plan {
    House::new().name("push.test", [LOCALHOST])
}

/// The proxy's answer to a client whose origin says this and leaves.
async fn answered(house: &House, origin: &Origin, answer: &[u8]) -> (Client, Reply) {
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.offer(answer).await;
    call.finish().await;
    let reply = client.head().await;
    (client, reply)
}

/// An origin that says this is not passed on: 502, and the client's connection is as good as before.
async fn bad_reply(house: &House, origin: &Origin, answer: impl AsRef<[u8]>) {
    let answer = answer.as_ref();
    let shown = String::from_utf8_lossy(&answer[..answer.len().min(120)]).into_owned();
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.offer(answer).await;
    call.finish().await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.reason()),
        (502, "bad_reply"),
        "{shown:?}"
    );
    call.end().await;
    let line = house.line().await;
    assert_eq!(
        (&line["reason"], &line["status"], &line["kind"]),
        (&"bad_reply".into(), &502.into(), &"forward".into()),
        "{shown:?}"
    );
    // Nothing of what the origin said is behind the reply.
    client.finish().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"", "{shown:?}");
}

#[tokio::test]
async fn what_is_no_http_1_reply_is_502() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for answer in [
        "nonsense\r\n\r\n",
        "<html>HTTP/0.9 had no head</html>",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1\r\n\r\n",
        "\x16\x03\x03\x00\x02\x02\x28",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        bad_reply(&house, &origin, answer).await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_reply_whose_end_can_be_read_in_two_ways_is_502() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for fields in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 3",
        "Content-Length: -2",
        "Content-Length: +2",
        "Content-Length: 0x2",
        "Content-Length: 2 2",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 18446744073709551616",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding:",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        bad_reply(&house, &origin, answer).await;
    }
    house.close().await;
}

#[tokio::test]
async fn malformed_fields_in_a_reply_are_502() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for fields in [
        "X : y",
        "X\t: y",
        "X y: z",
        " X: y",
        ": y",
        "X",
        "X: a\0b",
        "X: a\rSet-Cookie: b",
        "X: a\r\r\nSet-Cookie: b",
        "X: a\r\n folded",
        "X: a\x01b",
        "X: a\x7fb",
        "X(: y",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: 2\r\n\r\nok");
        bad_reply(&house, &origin, answer).await;
    }
    house.close().await;
}

/// A lone LF is an end of line to some. Whichever it is to us, it must be nothing in between for the client.
#[tokio::test]
async fn a_reply_cannot_be_split_by_a_line_end_that_only_some_see() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for answer in [
        "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nX: a\n\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 a\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: %0d%0aSet-Cookie: b\r\n\r\nok",
    ] {
        let (_, reply) = answered(&house, &origin, answer.as_bytes()).await;
        assert!([200, 502].contains(&reply.status), "{answer:?}: {reply:?}");
        let lines = reply.head.strip_suffix("\r\n\r\n").unwrap();
        for line in lines.split("\r\n") {
            assert!(!line.contains(['\r', '\n', '\0']), "{answer:?}: {reply:?}");
        }
        if reply.status == 200 && reply.field("transfer-encoding").is_none() {
            assert!(reply.fields("content-length").len() < 2, "{reply:?}");
        }
        house.line().await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_reply_head_has_limits_too() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let many: String = (0..5_000)
        .map(|number| format!("X{number}: y\r\n"))
        .collect();
    bad_reply(
        &house,
        &origin,
        format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\nok"),
    )
    .await;
    // Longer than any limit, and without an end: the answer does not wait for one.
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(4 << 20));
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    let (reply, ()) = tokio::join!(client.reply(), call.offer(endless));
    assert_eq!((reply.status, reply.reason()), (502, "bad_reply"));
    house.close().await;
}

#[tokio::test]
async fn chunks_that_are_none_end_the_reply_short() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for chunks in [
        "2\r\nok\r\nxyz\r\n\r\n",
        "2\r\nokay\r\n0\r\n\r\n",
        "2\r\nok\r\n-1\r\n\r\n",
        "2\r\nok\r\n0x1\r\na\r\n0\r\n\r\n",
        "2\r\nok\r\n\r\n0\r\n\r\n",
        "2\r\nok\r\n10000000000000001\r\na\r\n0\r\n\r\n",
        "2\r\nok\r\nffffffffffffffff\r\na\r\n0\r\n\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let mut client = house.client().await;
        client
            .send(origin.request("GET", "/", "Connection: close\r\n"))
            .await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.offer(answer).await;
        call.finish().await;
        // The head is passed on at once, or the whole of it was seen to be bad before.
        if let Ok(rest) = client.read_to_end().await {
            let text = String::from_utf8_lossy(&rest);
            assert!(
                text.starts_with("HTTP/1.1 502 ") || !text.ends_with("0\r\n\r\n"),
                "{chunks:?} looks whole: {text:?}"
            );
        }
        let line = house.line().await;
        let reason = line["reason"].as_str().unwrap();
        assert!(
            ["bad_reply", "upstream_reset"].contains(&reason),
            "{chunks:?}: {line}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn chunk_extensions_without_end_do_not_reach_the_client() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n")
        .await;
    assert_eq!(client.head().await.status, 200);
    crate::chunks::data(&mut client, "ok").await;
    let endless = format!("2;{}", "x".repeat(4 << 20));
    let ((), rest) = tokio::join!(call.offer(endless), client.read_to_end());
    assert!(rest.map_or(0, |rest| rest.len()) < 16);
    let line = house.line().await;
    let reason = line["reason"].as_str().unwrap();
    assert!(["bad_reply", "upstream_reset"].contains(&reason), "{line}");
    house.close().await;
}

#[tokio::test]
async fn an_origin_that_leaves_without_a_reply_is_502() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for (begun, reset) in [
        ("", false),
        ("", true),
        ("HTTP/1.1 200 OK\r\nContent-Le", false),
        ("HTTP/1.1 200 OK\r\nContent-Le", true),
        ("HTTP/1.1 103 Early Hints\r\n\r\n", false),
    ] {
        let mut client = house.client().await;
        client.send(origin.get("/")).await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(begun).await;
        if reset {
            call.reset();
        } else {
            drop(call);
        }
        let mut reply = client.head().await;
        if reply.status == 103 {
            reply = client.head().await;
        }
        assert_eq!(reply.status, 502, "{begun:?} {reset}");
        assert_eq!(reply.field("connection"), None, "the client did no wrong");
        let line = house.line().await;
        assert_eq!(
            (&line["reason"], &line["status"]),
            (&"upstream_reset".into(), &502.into()),
            "{begun:?} {reset}: {line}"
        );
    }
    // A request with a body, part of which is still to come.
    let mut client = house.client().await;
    client
        .send(origin.request("POST", "/", "Content-Length: 9\r\n"))
        .await;
    client.send("part").await;
    let (mut call, _) = origin.reached(&mut client).await;
    assert_eq!(call.read(4).await, b"part");
    drop(call);
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (502, "upstream_reset"));
    drop(client);
    house.close().await;
}

/// Interim replies are bounded, too: an origin cannot keep a request alive, or fill us, with them.
#[tokio::test]
async fn interim_replies_do_not_put_off_the_deadline() {
    let origin = Origin::start().await;
    let house = house()
        .set("forward", "response_timeout = \"500ms\"")
        .open()
        .await;
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    let hints = async {
        loop {
            call.offer("HTTP/1.1 103 Early Hints\r\n\r\n").await;
            tokio::task::yield_now().await;
        }
    };
    let mut seen = 0_u64;
    let answer = async {
        loop {
            let reply = client.head().await;
            if reply.status != 103 {
                return reply;
            }
            seen += 1;
        }
    };
    let reply = tokio::select! {
        () = hints => unreachable!("endless"),
        reply = timeout(PATIENCE, answer) => reply,
    };
    let reply = reply.unwrap_or_else(|_| panic!("no answer beside {seen} interim replies"));
    assert!([502, 504].contains(&reply.status), "{reply:?}");
    house.close().await;
}

#[tokio::test]
async fn an_origins_fields_for_proxies_are_not_the_clients_business() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let answer = "HTTP/1.1 200 OK\r\nProxy-Authenticate: Basic realm=\"phish\"\r\nProxy-Connection: close\r\nProxy-Authentication-Info: nextnonce=\"x\"\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let (_, reply) = answered(&house, &origin, answer.as_bytes()).await;
    assert_eq!(reply.status, 200);
    for name in [
        "proxy-authenticate",
        "proxy-connection",
        "proxy-authentication-info",
    ] {
        assert_eq!(reply.field(name), None, "{reply:?}");
    }
    house.close().await;
}

/// The house goes on after all of it.
#[tokio::test]
async fn garbage_from_origins_in_great_numbers_stops_nothing() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut seed = 0x2545_f491_u32;
    let mut random = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n";
    for _ in 0..200 {
        let mut answer = whole.to_vec();
        for _ in 0..=random() % 4 {
            let place = usize::from(random()) % answer.len();
            answer[place] = random();
        }
        let mut client = house.client().await;
        client
            .send(origin.request("GET", "/", "Connection: close\r\n"))
            .await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.offer(&answer).await;
        call.finish().await;
        let _ = client.read_to_end().await;
        house.line().await;
    }
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.body, "ok");
    house.close().await;
}
