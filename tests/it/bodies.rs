//! Bodies, both ways: exact, as they come, never longer or shorter than they say, and not for ever.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::chunks;
use crate::client::Client;
use crate::house::{House, Plan};
use crate::origin::{Call, OK, OK_CLOSE, Origin};
use crate::upstream::{self, LOCALHOST};

fn house() -> Plan {
    House::new().name("push.test", [LOCALHOST])
}

/// Bytes that no framing looks like by accident, and that show when one is missing.
fn many(len: usize) -> Vec<u8> {
    (0..len)
        .map(|place| (place * 31 + place / 251) as u8)
        .collect()
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

// ---- upwards ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_origin_sees_each_chunk_before_the_client_sends_the_next() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client.send(origin.request("POST", "/", CHUNKED)).await;
    let (mut call, ask) = origin.reached(&mut client).await;
    assert_eq!(ask.field("transfer-encoding"), Some("chunked"));
    assert_eq!(ask.field("content-length"), None);
    for piece in ["first", "second", "3"] {
        client
            .send(format!("{:X}\r\n{piece}\r\n", piece.len()))
            .await;
        chunks::data(&mut call, piece).await;
    }
    // A chunk's own pieces travel too.
    client.send("6\r\nhal").await;
    chunks::data(&mut call, "hal").await;
    client.send("ves\r\n").await;
    chunks::data(&mut call, "ves").await;
    client.send("0\r\n\r\n").await;
    assert_eq!(chunks::end(&mut call).await, [""; 0]);
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    house.close().await;
}

#[tokio::test]
async fn a_body_of_known_length_travels_as_it_comes() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(origin.request("PUT", "/", "Content-Length: 10\r\n"))
        .await;
    let (mut call, ask) = origin.reached(&mut client).await;
    assert_eq!(ask.field("content-length"), Some("10"));
    assert_eq!(ask.field("transfer-encoding"), None);
    for piece in ["ab", "cde", "fghij"] {
        client.send(piece).await;
        assert_eq!(call.read(piece.len()).await, piece.as_bytes());
    }
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.body, "ok");
    assert_eq!(call.ends_after().await.len(), 1);
    house.close().await;
}

#[tokio::test]
async fn any_method_may_have_a_body_and_none_needs_one() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for (method, fields, body) in [
        ("GET", "Content-Length: 4\r\n", "body"),
        ("DELETE", "Content-Length: 4\r\n", "body"),
        ("OPTIONS", "Content-Length: 4\r\n", "body"),
        ("PATCH", CHUNKED, "4\r\nbody\r\n0\r\n\r\n"),
        ("POST", "Content-Length: 0\r\n", ""),
        ("POST", CHUNKED, "0\r\n\r\n"),
        ("GET", "", ""),
        ("PUT", "", ""),
    ] {
        let mut client = house.client().await;
        let head = origin.request(method, "/x", fields);
        client.send(format!("{head}{body}")).await;
        let (mut call, _) = origin.reached(&mut client).await;
        let expected = if body.is_empty() || body.starts_with('0') {
            ""
        } else {
            "body"
        };
        if !expected.is_empty() && fields != CHUNKED {
            call.read(4).await;
        } else if fields == CHUNKED {
            chunks::data(&mut call, expected).await;
            chunks::end(&mut call).await;
        }
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200, "{method} {fields}");
        let whole = call.ends_after().await;
        assert_eq!(whole.len(), 1, "{method} {fields}");
        assert_eq!(whole[0].body, expected.as_bytes(), "{method} {fields}");
    }
    house.close().await;
}

#[tokio::test]
async fn large_bodies_are_the_same_at_the_other_end() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let body = many(3_000_000);
    for framing in ["length", "chunked"] {
        let mut client = house.client().await;
        let (fields, framed) = match framing {
            "length" => (format!("Content-Length: {}\r\n", body.len()), body.clone()),
            _ => {
                let mut framed = Vec::new();
                for (place, piece) in body.chunks(70_000).enumerate() {
                    // Every spelling of a size that the grammar has.
                    let size = match place % 3 {
                        0 => format!("{:x}\r\n", piece.len()),
                        1 => format!("{:X}\r\n", piece.len()),
                        _ => format!("{:016x};name=\"value\"\r\n", piece.len()),
                    };
                    framed.extend([size.as_bytes(), piece, b"\r\n"].concat());
                }
                framed.extend(b"0\r\n\r\n");
                (CHUNKED.to_owned(), framed)
            }
        };
        client.send(origin.request("POST", "/", &fields)).await;
        let (mut call, _) = origin.reached(&mut client).await;
        // The first bytes of the answer need not wait for the last of the question; here they do.
        let read = async {
            if framing == "length" {
                call.read(body.len()).await
            } else {
                chunks::all(&mut call).await.0
            }
        };
        let ((), got) = tokio::join!(client.send(&framed), read);
        assert!(got == body, "{framing}: {} bytes", got.len());
        let reply = match framing {
            "length" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                [head.as_bytes(), &body].concat()
            }
            _ => [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                framed.as_slice(),
            ]
            .concat(),
        };
        let read = async {
            client.head().await;
            if framing == "length" {
                client.read(body.len()).await
            } else {
                chunks::all(&mut client).await.0
            }
        };
        let ((), got) = tokio::join!(call.send(&reply), read);
        assert!(got == body, "{framing}: {} bytes", got.len());
        let line = house.line().await;
        assert_eq!(
            (&line["bytes_up"], &line["bytes_down"]),
            (&body.len().into(), &body.len().into()),
            "{framing}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn announced_trailers_travel_and_others_do_not() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for (announced, arrives) in [("Trailer: X-Sum\r\n", true), ("", false)] {
        let mut client = house.client().await;
        let fields = format!("{CHUNKED}{announced}");
        client.send(origin.request("POST", "/", &fields)).await;
        client
            .send("2\r\nab\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n")
            .await;
        let (mut call, _) = origin.reached(&mut client).await;
        let (body, trailers) = chunks::all(&mut call).await;
        assert_eq!(body, b"ab");
        let trailers = trailers.join(",").to_lowercase();
        assert_eq!(trailers, if arrives { "x-sum: 1" } else { "" });
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200);
    }
    house.close().await;
}

#[tokio::test]
async fn a_replys_trailers_reach_who_asked_for_them() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for (asked, announced, arrives) in [
        (
            "TE: trailers\r\nConnection: TE\r\n",
            "Trailer: X-Sum\r\n",
            true,
        ),
        ("TE: trailers\r\nConnection: TE\r\n", "", false),
        ("", "Trailer: X-Sum\r\n", false),
    ] {
        let mut client = house.client().await;
        client.send(origin.request("GET", "/", asked)).await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{announced}\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"
        ))
        .await;
        let reply = client.head().await;
        assert_eq!(reply.field("transfer-encoding"), Some("chunked"));
        let (body, trailers) = chunks::all(&mut client).await;
        assert_eq!(body, b"ab", "{asked}{announced}");
        let trailers = trailers.join(",").to_lowercase();
        let expected = if arrives { "x-sum: 1" } else { "" };
        assert_eq!(trailers, expected, "{asked}{announced}");
    }
    house.close().await;
}

// ---- Expect and interim replies ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_client_that_waits_for_100_gets_the_origins() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(origin.request("POST", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n"))
        .await;
    let (mut call, ask) = origin.reached(&mut client).await;
    assert_eq!(ask.field("expect"), Some("100-continue"));
    call.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await.status, 100);
    client.send("hello").await;
    assert_eq!(call.read(5).await, b"hello");
    call.send(OK).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    let line = house.line().await;
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&200.into(), &"finished".into())
    );
    // The connection is as good as before.
    client.send(origin.get("/next")).await;
    let ask = call.asked_by(&mut client).await;
    assert_eq!(ask.line, "GET /next HTTP/1.1");
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    house.close().await;
}

#[tokio::test]
async fn an_origin_that_does_not_want_the_body_is_heard_and_the_connection_closed() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for status in ["417 Expectation Failed", "401 Unauthorized", "200 OK"] {
        let mut client = house.client().await;
        client
            .send(origin.request("POST", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n"))
            .await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"))
            .await;
        let reply = client.reply().await;
        assert_eq!(
            (&reply.head[9..12], reply.body.as_str()),
            (&status[..3], "no")
        );
        // The body may still come or not: what follows could be either.
        assert_eq!(reply.field("connection"), Some("close"), "{status}");
        assert_eq!(client.read_to_end().await.unwrap(), b"");
        call.ends_unfinished().await;
    }
    house.close().await;
}

#[tokio::test]
async fn an_early_answer_ends_the_body() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(origin.request("POST", "/", "Content-Length: 1000000\r\n"))
        .await;
    client.send("some").await;
    let (mut call, _) = origin.reached(&mut client).await;
    assert_eq!(call.read(4).await, b"some");
    call.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        .await;
    drop(call);
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.body.as_str()), (413, "no"));
    assert_eq!(reply.field("connection"), Some("close"));
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    house.close().await;
}

#[tokio::test]
async fn interim_replies_reach_http_1_1_clients_and_no_others() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for version in ["1.1", "1.0"] {
        let mut client = house.client().await;
        client
            .send(format!(
                "POST {} HTTP/{version}\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab",
                origin.url("/")
            ))
            .await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        call.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\r\n",
        )
        .await;
        if version == "1.1" {
            assert_eq!(client.head().await.status, 100);
            // Before the origin has said anything else.
            let hints = client.head().await;
            assert_eq!((hints.status, hints.field("link")), (103, Some("</a.css>")));
            assert_eq!(hints.field("x-mine"), None);
        }
        assert_eq!(call.read(2).await, b"ab");
        call.send(OK_CLOSE).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, "ok"),
            "{version}"
        );
        assert_eq!(house.line().await["status"], 200);
    }
    house.close().await;
}

// ---- downwards --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn each_event_reaches_the_client_before_the_origin_writes_the_next() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for framing in ["Transfer-Encoding: chunked", "Connection: close"] {
        let mut client = house.client().await;
        client.send(origin.get("/events")).await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n"
        ))
        .await;
        let reply = client.head().await;
        assert_eq!(reply.field("content-type"), Some("text/event-stream"));
        assert_eq!(reply.field("transfer-encoding"), Some("chunked"));
        let chunked = framing.ends_with("chunked");
        for event in ["data: 1\n\n", "data: two\n\n", "data: 3\n\n"] {
            let framed = if chunked {
                format!("{:x}\r\n{event}\r\n", event.len())
            } else {
                event.to_owned()
            };
            call.send(framed).await;
            chunks::data(&mut client, event).await;
        }
        if chunked {
            call.send("0\r\n\r\n").await;
        } else {
            call.finish().await;
        }
        assert_eq!(chunks::end(&mut client).await, [""; 0], "{framing}");
        assert_eq!(house.line().await["reason"], "finished", "{framing}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_reply_of_known_length_travels_as_it_comes() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        .await;
    assert_eq!(client.head().await.field("content-length"), Some("6"));
    for piece in ["a", "bc", "def"] {
        call.send(piece).await;
        assert_eq!(client.read(piece.len()).await, piece.as_bytes());
    }
    assert_eq!(house.line().await["bytes_down"], 6);
    house.close().await;
}

#[tokio::test]
async fn replies_without_a_body_have_none_whatever_they_say() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    for (method, head, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 5", Some("5")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", None),
        ("GET", "204 No Content", None),
        ("GET", "304 Not Modified\r\nContent-Length: 5", Some("5")),
        ("GET", "200 OK\r\nContent-Length: 0", Some("0")),
        ("DELETE", "204 No Content", None),
    ] {
        client.send(origin.request(method, "/", "")).await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.line, format!("{method} / HTTP/1.1"));
        call.send(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n"))
            .await;
        let reply = client.head().await;
        assert_eq!(reply.head[9..12], head[..3]);
        assert_eq!(reply.field("content-length"), length, "{method} {head}");
        // The next request on this connection shows that nothing stood behind the head.
    }
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    house.close().await;
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks_and_a_close_at_the_end() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for keep in ["", "Connection: keep-alive\r\n"] {
        let mut client = house.client().await;
        client
            .send(format!("GET {} HTTP/1.0\r\n{keep}\r\n", origin.url("/")))
            .await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await;
        let reply = client.head().await;
        assert_eq!(reply.field("transfer-encoding"), None, "{reply:?}");
        assert_ne!(reply.field("connection"), Some("keep-alive"), "{reply:?}");
        assert_eq!(client.read(3).await, b"abc", "as it comes");
        call.send("2\r\nde\r\n0\r\n\r\n").await;
        assert_eq!(client.read_to_end().await.unwrap(), b"de");
        assert_eq!(house.line().await["reason"], "finished");
    }
    house.close().await;
}

#[tokio::test]
async fn a_reply_of_an_http_1_0_origin_is_whole_at_its_close() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send("HTTP/1.0 200 OK\r\nX: y\r\n\r\nall of it").await;
    drop(call);
    let reply = client.head().await;
    assert!(reply.head.starts_with("HTTP/1.1 200 "), "{reply:?}");
    assert_eq!(reply.field("transfer-encoding"), Some("chunked"));
    assert_eq!(chunks::all(&mut client).await.0, b"all of it");
    house.close().await;
}

// ---- replies that break off -------------------------------------------------------------------------------------

/// What a client gets of a reply that the origin begins like this, and then leaves.
async fn broken(
    house: &House,
    origin: &Origin,
    version: &str,
    begun: &str,
    reset: bool,
) -> (Client, Call) {
    let mut client = house.client().await;
    client
        .send(format!(
            "GET {} HTTP/{version}\r\nHost: x\r\n\r\n",
            origin.url("/")
        ))
        .await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(begun).await;
    assert_eq!(client.head().await.status, 200);
    if reset {
        // What has not been passed on yet may be lost with a reset.
        return (client, call);
    }
    call.finish().await;
    (client, call)
}

#[tokio::test]
async fn a_reply_that_breaks_off_never_looks_whole() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for begun in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n",
    ] {
        let (mut client, _call) = broken(&house, &origin, "1.1", begun, false).await;
        if let Ok(rest) = client.read_to_end().await {
            let rest = String::from_utf8(rest).unwrap();
            assert!(
                !rest.contains("0\r\n") && rest.len() < 20,
                "{begun:?}: {rest:?}"
            );
        }
        let line = house.line().await;
        assert_eq!(
            (&line["reason"], &line["status"]),
            (&"upstream_reset".into(), &200.into()),
            "{begun:?}: {line}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_reply_that_is_reset_never_looks_whole() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for begun in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart",
    ] {
        let (mut client, call) = broken(&house, &origin, "1.1", begun, true).await;
        call.reset();
        if let Ok(rest) = client.read_to_end().await {
            let rest = String::from_utf8(rest).unwrap();
            assert!(
                !rest.contains("0\r\n") && rest.len() < 20,
                "{begun:?}: {rest:?}"
            );
        }
        assert_eq!(house.line().await["reason"], "upstream_reset", "{begun:?}");
    }
    house.close().await;
}

#[tokio::test]
async fn to_a_client_that_knows_an_end_only_by_its_close_a_broken_reply_is_a_reset() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n";
    let (mut client, _call) = broken(&house, &origin, "1.0", begun, false).await;
    let error = client.read_to_end().await.expect_err("not a clean end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(house.line().await["reason"], "upstream_reset");
    house.close().await;
}

// ---- limits and deadlines ---------------------------------------------------------------------------------------

#[tokio::test]
async fn a_body_beyond_its_limit_is_413() {
    let origin = Origin::start().await;
    let house = house().set("forward", "body_max = \"8B\"").open().await;

    let mut client = house.client().await;
    client
        .send(origin.request("POST", "/", "Content-Length: 9\r\n"))
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (413, "body_too_large"));
    assert_eq!(house.line().await["reason"], "body_too_large");
    origin.nobody_called();

    let mut client = house.client().await;
    client.send(origin.request("POST", "/", CHUNKED)).await;
    client.send("8\r\n12345678\r\n").await;
    let (mut call, _) = origin.reached(&mut client).await;
    chunks::data(&mut call, "12345678").await;
    client.send("1\r\n9\r\n0\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (413, "body_too_large"));
    assert_eq!(reply.field("connection"), Some("close"));
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    call.ends_unfinished().await;
    assert_eq!(house.line().await["reason"], "body_too_large");

    for body in [
        "Content-Length: 8\r\n\r\n12345678",
        "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\n",
    ] {
        let mut client = house.client().await;
        let head = origin.request("POST", "/", "");
        client
            .send(format!("{}{body}", head.strip_suffix("\r\n").unwrap()))
            .await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200, "exactly as much");
        assert_eq!(call.ends_after().await[0].body, b"12345678");
    }
    house.close().await;
}

#[tokio::test]
async fn a_request_body_that_stands_still_is_408() {
    let origin = Origin::start().await;
    let house = house()
        .set("forward", "body_timeout = \"200ms\"")
        .open()
        .await;
    for (fields, begun) in [
        ("Content-Length: 9\r\n", "part"),
        (CHUNKED, "4\r\npart\r\n"),
    ] {
        let mut client = house.client().await;
        client.send(origin.request("POST", "/", fields)).await;
        client.send(begun).await;
        let (mut call, _) = origin.reached(&mut client).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.reason()), (408, "body_timeout"));
        assert_eq!(reply.field("connection"), Some("close"));
        assert_eq!(client.read_to_end().await.unwrap(), b"");
        call.ends_unfinished().await;
        let line = house.line().await;
        assert_eq!(
            (&line["reason"], &line["status"]),
            (&"body_timeout".into(), &408.into())
        );
    }
    house.close().await;
}

#[tokio::test]
async fn no_reply_in_time_is_504() {
    let origin = Origin::start().await;
    let house = house()
        .set("forward", "response_timeout = \"200ms\"")
        .open()
        .await;
    let mut client = house.client().await;
    for _ in 0..2 {
        client.send(origin.get("/")).await;
        let mut call = origin.call().await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.reason()), (504, "upstream_timeout"));
        assert_eq!(reply.field("connection"), None, "the client did no wrong");
        call.end().await;
        let line = house.line().await;
        assert_eq!(
            (&line["reason"], &line["status"]),
            (&"upstream_timeout".into(), &504.into())
        );
    }
    house.close().await;
}

#[tokio::test]
async fn the_wait_for_a_reply_begins_when_the_request_has_ended() {
    let origin = Origin::start().await;
    let house = house()
        .set("forward", "response_timeout = \"1s\"")
        .open()
        .await;
    let mut uploading = house.client().await;
    uploading
        .send(origin.request("POST", "/", "Content-Length: 8\r\n"))
        .await;
    uploading.send("half").await;
    let (mut upload, _) = origin.reached(&mut uploading).await;
    assert_eq!(upload.read(4).await, b"half");
    // Another request's timeout is the clock: when it has run out, the upload's would have, too.
    let mut clock = house.client().await;
    clock.send(origin.get("/clock")).await;
    let _hung = origin.call().await;
    assert_eq!(clock.reply().await.status, 504);
    uploading.send("half").await;
    assert_eq!(upload.read(4).await, b"half");
    upload.send(OK).await;
    assert_eq!(uploading.reply().await.body, "ok");
    house.close().await;
}

#[tokio::test]
async fn a_reply_body_that_stands_still_is_cut_and_an_event_stream_is_not() {
    let origin = Origin::start().await;
    let house = house()
        .set("forward", "body_timeout = \"200ms\"")
        .open()
        .await;
    let mut listening = house.client().await;
    listening.send(origin.get("/events")).await;
    let (mut events, _) = origin.reached(&mut listening).await;
    events
        .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n1\n\r\n")
        .await;
    listening.head().await;
    chunks::data(&mut listening, "1\n").await;

    // A reply that has not begun is no body that stands still.
    let mut waiting = house.client().await;
    waiting.send(origin.get("/slow")).await;
    let (mut slow, _) = origin.reached(&mut waiting).await;

    // What is cut is the clock for the others.
    for begun in [
        "Content-Length: 9\r\n\r\npart",
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
    ] {
        let mut client = house.client().await;
        client.send(origin.get("/still")).await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(format!("HTTP/1.1 200 OK\r\n{begun}")).await;
        client.head().await;
        if let Ok(rest) = client.read_to_end().await {
            let rest = String::from_utf8(rest).unwrap();
            assert!(!rest.contains("0\r\n") && rest.len() < 20, "{rest:?}");
        }
        call.end().await;
        let line = house.line().await;
        let reason = line["reason"].as_str().unwrap();
        assert!(
            ["body_timeout", "upstream_timeout"].contains(&reason),
            "{line}"
        );
    }

    events.send("2\r\n2\n\r\n").await;
    chunks::data(&mut listening, "2\n").await;
    events.send("0\r\n\r\n").await;
    chunks::end(&mut listening).await;
    slow.send(OK).await;
    assert_eq!(waiting.reply().await.body, "ok");
    house.close().await;
}

#[tokio::test]
async fn who_waits_for_100_is_not_a_body_that_stands_still() {
    let origin = Origin::start().await;
    let house = house().set("forward", "body_timeout = \"1s\"").open().await;
    let mut waiting = house.client().await;
    waiting
        .send(origin.request("POST", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n"))
        .await;
    let (mut call, _) = origin.reached(&mut waiting).await;
    // Another body's timeout is the clock.
    let mut clock = house.client().await;
    clock
        .send(origin.request("POST", "/clock", "Content-Length: 5\r\n"))
        .await;
    assert_eq!(clock.reply().await.status, 408);
    call.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(waiting.head().await.status, 100);
    waiting.send("hello").await;
    assert_eq!(call.read(5).await, b"hello");
    call.send(OK).await;
    assert_eq!(waiting.reply().await.body, "ok");
    house.close().await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_body_that_nobody_wants() {
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send("POST http://unlisted.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\npart")
        .await;
    assert_eq!(client.reply().await.status, 403);
    house.close().await;
    drop(client);
}

#[tokio::test]
async fn an_origin_that_answers_early_still_gets_the_rest() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(origin.request("POST", "/", "Content-Length: 1000000\r\n"))
        .await;
    client.send("some").await;
    let (mut call, _) = origin.reached(&mut client).await;
    assert_eq!(call.read(4).await, b"some");
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    client.send(vec![b'x'; 999_996]).await;
    assert_eq!(call.read(999_996).await.len(), 999_996);
    house.close().await;
}

/// Answers every head at once, on any number of connections.
async fn quick_origin() -> std::net::SocketAddr {
    let (listener, address) = upstream::listener().await;
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                while tcp.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {
                    while let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
                        heard.drain(..end + 4);
                        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        if tcp.write_all(reply).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_sender_that_runs_ahead_is_not_read_ahead() {
    let origin = quick_origin().await;
    let house = house().open().await;
    let tcp = tokio::net::TcpStream::connect(house.address("plain"))
        .await
        .unwrap();
    let (mut replies, mut requests) = tcp.into_split();
    let before = house.memory();
    let flood = tokio::spawn(async move {
        let some = format!("GET http://{origin}/ HTTP/1.1\r\nHost: a\r\n\r\n").repeat(1_000);
        while requests.write_all(some.as_bytes()).await.is_ok() {}
    });
    // Each of these once bought the sender another 64 KiB.
    let mut heard = Vec::new();
    let mut answered = 0;
    while answered < 2_000 {
        heard.clear();
        replies.read_buf(&mut heard).await.unwrap();
        answered += heard.windows(4).filter(|four| four == b"200 ").count();
    }
    let grown = house.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    flood.abort();
    drop(replies);
    house.close().await;
}

#[tokio::test]
async fn a_client_that_left_an_event_stream_is_noticed_whatever_it_sent_before() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = Client::that_resets(house.address("plain")).await;
    client.send(origin.get("/events")).await;
    client.send("GE").await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        .await;
    client.head().await;
    drop(client);
    let line = house.line().await;
    assert_eq!(line["reason"], "client_reset", "{line}");
    house.close().await;
}

#[tokio::test]
async fn an_event_stream_ends_with_the_grace_of_a_drain() {
    let origin = Origin::start().await;
    let house = house().set("drain", "tunnel_grace = \"1s\"").open().await;
    let mut client = house.client().await;
    client.send(origin.get("/events")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        .await;
    client.head().await;
    house.signal("TERM");
    let line = house.line().await;
    assert_eq!(
        (&line["reason"], &line["closed_by"]),
        (&"draining".into(), &"proxy".into()),
        "{line}"
    );
    house.close().await;
}
