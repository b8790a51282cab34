//! Requests that two readers could read in two ways: refused, closed, and never whole at the origin.
//!
//! The rules that our HTTP keeps, and where each is tested. Names without a file are in this one.
//!
//! | rule | tests |
//! | --- | --- |
//! | 1 CONNECT names host:port, byte by byte | unit: `exchange::target`, `exchange::absolute`; `uris_that_are_none_are_refused`; `policy::other_spellings_of_an_address_do_not_get_round_a_rule` |
//! | 2 Host: one, valid, and without power | `hostile::malformed_heads_are_refused_and_the_connection_is_closed`; `heads_with_a_forbidden_byte_are_refused`; `forward::the_origin_gets_origin_form_and_the_host_of_the_uri`; `forward::host_names_no_port_that_goes_without_saying` |
//! | 3 What must not travel as it came | `forward::what_is_for_one_hop_stays_behind_and_all_else_travels`; `a_connection_field_takes_nothing_that_frames_or_routes`; `websocket::every_other_upgrade_is_dropped_at_the_door`; `uris_that_are_none_are_refused` |
//! | 4 Transfer-Encoding: one `chunked` | `framings_with_two_readings_are_refused`; `space_around_a_value_gives_no_second_reading`; `replies::a_reply_whose_end_can_be_read_in_two_ways_is_502` |
//! | 5 CONNECT has no body | `hostile::malformed_heads_are_refused_and_the_connection_is_closed` |
//! | 6 No 200 before the dial | `failover::when_every_address_is_dead_the_answer_says_how`; `policy::only_listed_names_and_ports_are_reached` |
//! | 7 Bytes behind a refused request never run | `hostile::bytes_behind_a_refused_connect_never_run_as_a_request`; `the_body_of_a_refused_request_never_runs`; `a_body_that_comes_after_its_refusal_never_runs`; `auth::a_407_has_one_line_for_each_challenge_and_stays_open` |
//! | 8 1xx, 101 and upgrades | `bodies::interim_replies_reach_http_1_1_clients_and_no_others`; `bodies::a_client_that_waits_for_100_gets_the_origins`; `websocket::*` |
//! | 9 Each wait has its own limit | `intake::the_head_deadline_is_not_the_idle_limit_between_requests`; `intake::a_head_that_does_not_come_is_408_and_silence_is_closed_without_a_word`; `forward::a_client_may_be_idle_for_its_time_and_no_longer`; `bodies::no_reply_in_time_is_504`; `bodies::a_request_body_that_stands_still_is_408`; `bodies::a_reply_body_that_stands_still_is_cut_and_an_event_stream_is_not` |
//! | 10 Limits of a head | `hostile::heads_have_limits_that_say_which_one`; `forward::two_hundred_fields_travel_both_ways`; `heads_beyond_their_limits_are_refused`; `replies::a_reply_head_has_limits_too` |
//! | 11 A reply, a line, a count; clients that leave | every `refused` here takes its line; `forward::a_client_that_left_costs_the_origin_its_connection_and_has_its_line`; `forward::a_client_that_only_closed_its_sending_side_is_answered`; `intake::a_client_that_leaves_while_it_waits_frees_its_place` |
//! | 12 Strict lines, lengths and chunks | `heads_with_a_forbidden_byte_are_refused`; `framings_with_two_readings_are_refused`; `chunks_that_are_not_by_the_letter_are_refused`; `connect::*`; `replies::malformed_fields_in_a_reply_are_502` |
//! | 13 Digest | `forward::digest_names_the_uri_in_absolute_or_in_origin_form_and_no_other`; `auth::*`; unit: `gate` |
//! | 14 Policy on what was parsed | `forward::forwarding_reaches_what_tunnels_reach_and_nothing_else`; `policy::*` |
//! | 15 What broke others | `heads_beyond_their_limits_are_refused`; `chunk_extensions_are_bounded_and_stay_behind`; `replies::a_reply_cannot_be_split_by_a_line_end_that_only_some_see`; `reuse::bytes_behind_a_reply_never_answer_anybody`; `reuse::bad_clients_do_not_spoil_a_pooled_connection`; `hostile::a_tls_hello_on_the_plain_port_is_explained` |

use crate::chunks;
use crate::house::{House, Plan};
use crate::origin::{OK, OK_CLOSE, Origin};
use crate::upstream::{self, LOCALHOST};

fn house() -> Plan {
    House::new().name("push.test", [LOCALHOST])
}

/// Sends bytes and a whole second request behind them. Only the first is answered: with 400, one line and a close;
/// and the origin gets no whole request.
async fn refused(house: &House, origin: &Origin, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
    let mut client = house.client().await;
    let smuggled = origin.get("/smuggled");
    client.send([bytes, smuggled.as_bytes()].concat()).await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.reason()),
        (400, "bad_request"),
        "{shown:?}"
    );
    assert_eq!(reply.field("connection"), Some("close"), "{shown:?}");
    assert_eq!(client.read_to_end().await.unwrap(), b"", "{shown:?}");
    let line = house.line().await;
    assert_eq!(
        (&line["reason"], &line["status"]),
        (&"bad_request".into(), &400.into()),
        "{shown:?}"
    );
    assert_eq!(house.lines_left(), Vec::<String>::new(), "{shown:?}");
    origin.nothing_came_whole(&shown).await;
}

// ---- heads ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn uris_that_are_none_are_refused() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for uri in [
        "wss://push.test/",
        "ftp://push.test/",
        "gopher://push.test/",
        "file:///etc/passwd",
        "javascript://push.test/",
        "httpx://push.test/",
        "://push.test/",
        "http:/push.test/",
        "http:push.test/",
        "http://",
        "http:///x",
        "http://:80/",
        "http://user@push.test/",
        "http://user:secret@push.test/",
        "http://@push.test/",
        "http://push.test/#fragment",
        "http://push.test#fragment",
        "http://push.test:/",
        "http://push.test:0/",
        "http://push.test:65536/",
        "http://push.test:+80/",
        "http://push.test:-80/",
        "http://push.test:080/",
        "http://push.test:80:80/",
        "http://push.test:8O/",
        "http://push.test:80\\@evil.test/",
        "http://push.test\\.evil.test/",
        "http://push..test/",
        "http://push.test../",
        "http://.push.test/",
        "http://-push.test/",
        "http://push%2etest/",
        "http://push_\u{e9}.test/",
        "http://[push.test]/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[fe80::1%25eth0]/",
        "http://::1/",
        "http://1.2.3/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "push.test:80",
        "push.test",
        "//push.test/",
        "*",
    ] {
        let mut client = house.client().await;
        client
            .send(format!("GET {uri} HTTP/1.1\r\nHost: push.test\r\n\r\n"))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 400, "{uri}");
        assert!(
            ["bad_target", "bad_request"].contains(&reply.reason()),
            "{uri}: {reply:?}"
        );
        let line = house.line().await;
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&400.into(), &reply.reason().into()),
            "{uri}"
        );
        assert_eq!(
            house
                .names
                .queries("push.test", tidegate_load::names::Kind::A),
            0,
            "{uri}"
        );
    }
    origin.nobody_called();
    house.close().await;
}

#[tokio::test]
async fn heads_with_a_forbidden_byte_are_refused() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let url = origin.url("/x");
    for head in [
        // Ends of lines.
        format!("GET {url} HTTP/1.1\nHost: x\n\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\n\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nX: a\rGET {url} HTTP/1.1\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\r\nHost: x\r\n\r\n"),
        format!("\r\n\r\nGET {url} HTTP/1.1\r\nHost: x\r\n\r\n"),
        // Fields.
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nX: a\x0bb\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nX: a\x7fb\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\n Host: x\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nContent Length: 5\r\n\r\nhello"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n"),
        // Host.
        format!("GET {url} HTTP/1.1\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost:\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: a, b\r\nhost: b\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: a b\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        format!("GET {url} HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        // The request line.
        format!("GET  {url} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {url}  HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET\t{url} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {url} x HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {url}\tx HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {url}\x01 HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {url}\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {url}\r\nHost: x\r\n\r\n"),
        format!("GET {url} HTTP/1.2\r\nHost: x\r\n\r\n"),
        format!("GET {url} HTTP/2.0\r\nHost: x\r\n\r\n"),
        format!("GET {url} HTTP/0.9\r\nHost: x\r\n\r\n"),
        format!("GET {url} http/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {url} HTTP/1.1 \r\nHost: x\r\n\r\n"),
        format!("GET {url} HTTP/1.10\r\nHost: x\r\n\r\n"),
        format!("G(T {url} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!(" GET {url} HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        refused(&house, &origin, head).await;
    }
    origin.nobody_called();
    house.close().await;
}

#[tokio::test]
async fn heads_beyond_their_limits_are_refused() {
    let origin = Origin::start().await;
    let house = house().set("intake", "head_bytes = \"64KiB\"").open().await;
    let many: String = (0..5_000)
        .map(|number| format!("X{number}: \r\n"))
        .collect();
    let long = "x".repeat(70_000);
    for (request, status, reason) in [
        (origin.request("GET", "/", &many), 431, "head_too_large"),
        (
            origin.request("GET", "/", &format!("X: {long}\r\n")),
            431,
            "head_too_large",
        ),
        (origin.get(&format!("/{long}")), 414, "uri_too_long"),
    ] {
        let mut client = house.client().await;
        client.send(request).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.reason()), (status, reason));
        assert_eq!(reply.field("connection"), Some("close"));
        assert_eq!(client.read_to_end().await.unwrap(), b"");
        assert_eq!(house.line().await["reason"], reason);
    }
    origin.nobody_called();
    house.close().await;
}

#[tokio::test]
async fn escaped_line_ends_stay_escaped() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let path = "/x%0d%0aHost:%20evil.test%0d%0a%0d%0aGET%20/smuggled?a=%00%0a";
    let mut client = house.client().await;
    client.send(origin.get(path)).await;
    let (mut call, ask) = origin.reached(&mut client).await;
    assert_eq!(ask.line, format!("GET {path} HTTP/1.1"));
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.body, "ok");
    assert_eq!(call.ends_after().await.len(), 1);
    house.close().await;
}

// ---- framing ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn framings_with_two_readings_are_refused() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let chunked = "Transfer-Encoding: chunked";
    for fields in [
        // Both.
        format!("Content-Length: 5\r\n{chunked}"),
        format!("{chunked}\r\nContent-Length: 5"),
        format!("Content-Length: 0\r\n{chunked}"),
        format!("{chunked}\r\ncontent-length: x"),
        "Content-Length: 5\r\nTransfer-Encoding: gzip".into(),
        "Content-Length: 5\r\nTransfer-Encoding: identity".into(),
        "Content-Length: 5\r\nTransfer-Encoding:".into(),
        format!("Content-Length: 5\r\n{chunked}\r\nConnection: Content-Length"),
        format!("Content-Length: 5\r\n{chunked}\r\nConnection: Transfer-Encoding"),
        // Lengths.
        "Content-Length: 5\r\nContent-Length: 5".into(),
        "Content-Length: 5\r\nContent-Length: 6".into(),
        "Content-Length: 5\r\ncontent-length: 0".into(),
        "Content-Length: 5, 5".into(),
        "Content-Length: 5, 6".into(),
        "Content-Length: 5,".into(),
        "Content-Length: ,5".into(),
        "Content-Length: +5".into(),
        "Content-Length: -5".into(),
        "Content-Length: -0".into(),
        "Content-Length: 0x5".into(),
        "Content-Length: 5.0".into(),
        "Content-Length: 5e0".into(),
        "Content-Length: 5 5".into(),
        "Content-Length: 5;".into(),
        "Content-Length: \"5\"".into(),
        "Content-Length: five".into(),
        "Content-Length:".into(),
        "Content-Length: \u{ff15}".into(),
        "Content-Length: \u{b2}".into(),
        "Content-Length: 18446744073709551616".into(),
        "Content-Length: 18446744073709551621".into(),
        "Content-Length: 99999999999999999999999999999999".into(),
        // Encodings.
        "Transfer-Encoding: gzip, chunked".into(),
        "Transfer-Encoding: chunked, gzip".into(),
        "Transfer-Encoding: chunked, chunked".into(),
        "Transfer-Encoding: chunked, identity".into(),
        "Transfer-Encoding: identity, chunked".into(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".into(),
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked".into(),
        "Transfer-Encoding: chunked\r\ntransfer-encoding: gzip".into(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:".into(),
        "Transfer-Encoding: xchunked".into(),
        "Transfer-Encoding: chunkedx".into(),
        "Transfer-Encoding: chunked;q=1".into(),
        "Transfer-Encoding: \"chunked\"".into(),
        "Transfer-Encoding: 'chunked'".into(),
        "Transfer-Encoding: chunked,".into(),
        "Transfer-Encoding: ,chunked".into(),
        "Transfer-Encoding: chun\tked".into(),
        "Transfer-Encoding: chunked\t,\tchunked".into(),
        "Transfer-Encoding: x\tchunked".into(),
        "Transfer-Encoding: \x0bchunked".into(),
        "Transfer-Encoding: chunked\x0c".into(),
        "Transfer-Encoding: \u{ff43}hunked".into(),
        "Transfer-Encoding: \u{a0}chunked".into(),
        "Transfer-Encoding: gzip".into(),
        "Transfer-Encoding: identity".into(),
        "Transfer-Encoding: deflate".into(),
        "Transfer-Encoding:".into(),
    ] {
        for method in ["POST", "GET"] {
            let head = origin.request(method, "/x", &format!("{fields}\r\n"));
            refused(&house, &origin, format!("{head}0\r\n\r\n")).await;
        }
    }
    // Chunks came with HTTP/1.1.
    refused(
        &house,
        &origin,
        format!(
            "POST {} HTTP/1.0\r\n{chunked}\r\n\r\n0\r\n\r\n",
            origin.url("/x")
        ),
    )
    .await;
    origin.nobody_called();
    house.close().await;
}

/// Space around a value is not part of it. Whether we take or refuse such a framing, there is one reading.
#[tokio::test]
async fn space_around_a_value_gives_no_second_reading() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let smuggled = origin.get("/smuggled");
    let length = smuggled.len();
    let chunks = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");
    for (fields, body) in [
        (format!("Content-Length:\t{length}"), &smuggled),
        (format!("Content-Length:{length}   "), &smuggled),
        (format!("Content-Length: \t {length}\t"), &smuggled),
        (format!("Content-Length: 000{length}"), &smuggled),
        ("Transfer-Encoding:\tchunked".to_owned(), &chunks),
        ("Transfer-Encoding:chunked \t ".to_owned(), &chunks),
        ("Transfer-Encoding: cHuNkEd".to_owned(), &chunks),
        ("TRANSFER-ENCODING: CHUNKED".to_owned(), &chunks),
    ] {
        let mut client = house.client().await;
        let head = origin.request("POST", "/x", &format!("{fields}\r\nConnection: close\r\n"));
        client.send(format!("{head}{body}")).await;
        tokio::select! {
            mut call = origin.call() => {
                call.ask().await;
                call.send(OK_CLOSE).await;
                assert_eq!(client.reply().await.status, 200, "{fields:?}");
                let whole = call.ends_after().await;
                assert_eq!(whole.len(), 1, "{fields:?}");
                assert_eq!(whole[0].body, smuggled.as_bytes(), "{fields:?}");
            }
            reply = client.reply() => assert_eq!(reply.status, 400, "{fields:?}"),
        }
        assert_eq!(client.read_to_end().await.unwrap(), b"", "{fields:?}");
        origin.nobody_called();
    }
    house.close().await;
}

#[tokio::test]
async fn a_connection_field_takes_nothing_that_frames_or_routes() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let smuggled = origin.get("/smuggled");
    let length = format!("Content-Length: {}\r\n", smuggled.len());
    let chunks = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for (fields, body) in [
        (format!("Connection: Content-Length\r\n{length}"), &smuggled),
        (format!("Connection: Host, close\r\n{length}"), &smuggled),
        (
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            &chunks,
        ),
        (
            format!("Connection: ,, ,Host,\r\nConnection:\r\n{length}"),
            &smuggled,
        ),
    ] {
        let mut client = house.client().await;
        client
            .send(format!("{}{body}", origin.request("POST", "/x", &fields)))
            .await;
        client.finish().await;
        tokio::select! {
            mut call = origin.call() => {
                let ask = call.ask().await;
                assert_eq!(ask.field("host"), Some(origin.authority().as_str()), "{fields:?}");
                call.send(OK_CLOSE).await;
                assert_eq!(client.reply().await.status, 200, "{fields:?}");
                let whole = call.ends_after().await;
                assert_eq!(whole.len(), 1, "{fields:?}");
                assert_eq!(whole[0].body, smuggled.as_bytes(), "{fields:?}");
            }
            reply = client.reply() => assert_eq!(reply.status, 400, "{fields:?}"),
        }
        assert_eq!(client.read_to_end().await.unwrap(), b"", "{fields:?}");
        origin.nobody_called();
    }

    // Nor does it hide a loop.
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, ask) = origin.reached(&mut client).await;
    call.send(OK).await;
    client.reply().await;
    let via = ask.field("via").unwrap();
    client
        .send(origin.request("GET", "/", &format!("Via: {via}\r\nConnection: Via\r\n")))
        .await;
    assert_eq!(client.reply().await.status, 508);
    house.close().await;
}

// ---- chunks -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn chunks_that_are_not_by_the_letter_are_refused() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for chunks in [
        // Sizes.
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\t5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";a=b\r\nhello\r\n0\r\n\r\n",
        "\"5\"\r\nhello\r\n0\r\n\r\n",
        "\u{ff15}\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        // Ends of lines.
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\n\rX\r\n\r\n",
        // Extensions.
        "5;a=b\nx\r\nhello\r\n0\r\n\r\n",
        "5;a=\rb\r\nhello\r\n0\r\n\r\n",
        "5;a=\0b\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
        "0;a\n\r\n\r\n",
        // Trailers.
        "0\r\nX: y\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: y\r\n folded\r\n\r\n",
        "0\r\nX: a\0b\r\n\r\n",
        "0\r\nX: a\rb\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    ] {
        let head = origin.request("POST", "/x", "Transfer-Encoding: chunked\r\n");
        refused(&house, &origin, format!("{head}{chunks}")).await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_chunk_that_goes_wrong_under_way_leaves_the_origin_with_half_a_request() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for wrong in ["5\nhello", "xyz\r\n", "\r\n\r\n", "0\n\n", "0\r\nX\r\n\r\n"] {
        let mut client = house.client().await;
        client
            .send(origin.request("POST", "/", "Transfer-Encoding: chunked\r\n"))
            .await;
        client.send("4\r\ngood\r\n").await;
        let (mut call, _) = origin.reached(&mut client).await;
        chunks::data(&mut call, "good").await;
        client
            .send(format!("{wrong}{}", origin.get("/smuggled")))
            .await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.reason()),
            (400, "bad_request"),
            "{wrong:?}"
        );
        assert_eq!(client.read_to_end().await.unwrap(), b"", "{wrong:?}");
        call.ends_unfinished().await;
        origin.nobody_called();
        assert_eq!(house.line().await["reason"], "bad_request");
        assert_eq!(house.lines_left(), Vec::<String>::new());
    }
    house.close().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_the_origin_with_half_a_request() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for (fields, part) in [
        ("Content-Length: 9\r\n", "part"),
        ("Transfer-Encoding: chunked\r\n", "4\r\npart\r\n"),
        ("Transfer-Encoding: chunked\r\n", "9\r\npart"),
        ("Transfer-Encoding: chunked\r\n", "4\r\npart\r\n0\r\n"),
    ] {
        for reset in [false, true] {
            let mut client = if reset {
                crate::client::Client::that_resets(house.address("plain")).await
            } else {
                house.client().await
            };
            client
                .send(format!("{}{part}", origin.request("POST", "/", fields)))
                .await;
            let (mut call, _) = origin.reached(&mut client).await;
            if fields.starts_with("Content") {
                assert_eq!(call.read(4).await, b"part");
            }
            drop(client);
            call.ends_unfinished().await;
            let line = house.line().await;
            let reason = line["reason"].as_str().unwrap();
            assert!(
                reason.starts_with("client_") || reason == "bad_request",
                "{line}"
            );
        }
    }
    house.close().await;
}

#[tokio::test]
async fn chunk_extensions_are_bounded_and_stay_behind() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    let head = origin.request("POST", "/x", "Transfer-Encoding: chunked\r\n");
    client
        .send(format!("{head}2;a=b;c=\"d;e\";f\r\nok\r\n0;last\r\n\r\n"))
        .await;
    let (mut call, _) = origin.reached(&mut client).await;
    let (body, _) = chunks::all(&mut call).await;
    assert_eq!(body, b"ok");
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.status, 200);
    house.line().await;
    let long = "x".repeat(200_000);
    refused(
        &house,
        &origin,
        format!("{head}2;{long}\r\nok\r\n0\r\n\r\n"),
    )
    .await;
    let many: String = (0..5_000)
        .map(|number| format!("1;a={number:08}\r\na\r\n"))
        .collect();
    refused(&house, &origin, format!("{head}{many}0\r\n\r\n")).await;
    house.close().await;
}

#[tokio::test]
async fn trailers_frame_route_and_authenticate_nothing() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let names = [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Via",
        "Trailer",
        "TE",
        "Upgrade",
        "Expect",
        "Max-Forwards",
        "Content-Encoding",
        "Content-Type",
    ];
    let trailers: String = names.iter().map(|name| format!("{name}: 7\r\n")).collect();
    let mut client = house.client().await;
    let fields = format!(
        "Transfer-Encoding: chunked\r\nTrailer: X-Sum, {}\r\n",
        names.join(", ")
    );
    client
        .send(format!(
            "{}2\r\nok\r\n0\r\n{trailers}X-Sum: 1\r\n\r\n",
            origin.request("POST", "/", &fields)
        ))
        .await;
    let (mut call, _) = origin.reached(&mut client).await;
    let (body, trailers) = chunks::all(&mut call).await;
    assert_eq!(body, b"ok");
    assert_eq!(trailers.join(",").to_lowercase(), "x-sum: 1");
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.status, 200);

    // A trailer section is a head: it has a head's limits.
    let long = "x".repeat(100_000);
    let mut client = house.client().await;
    let head = origin.request("POST", "/", "Transfer-Encoding: chunked\r\nTrailer: X\r\n");
    client.send(format!("{head}0\r\nX: {long}\r\n\r\n")).await;
    let reply = client.reply().await;
    assert!([400, 431].contains(&reply.status), "{reply:?}");
    assert_eq!(reply.field("connection"), Some("close"));
    origin.nothing_came_whole("endless trailers").await;
    house.close().await;
}

// ---- whose bytes are whose --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_body_that_looks_like_a_request_is_a_body() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let smuggled = origin.get("/smuggled");
    let length = format!("Content-Length: {}\r\n", smuggled.len());
    let chunked = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for method in [
        "POST", "PUT", "PATCH", "GET", "HEAD", "DELETE", "OPTIONS", "X-ANY",
    ] {
        for (fields, body) in [
            (length.as_str(), smuggled.as_str()),
            ("Transfer-Encoding: chunked\r\n", chunked.as_str()),
        ] {
            let mut client = house.client().await;
            client
                .send(format!("{}{body}", origin.request(method, "/x", fields)))
                .await;
            let (mut call, ask) = origin.reached(&mut client).await;
            assert_eq!(ask.line, format!("{method} /x HTTP/1.1"));
            let empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            call.send(empty).await;
            assert_eq!(client.head().await.status, 200);
            client.finish().await;
            assert_eq!(
                client.read_to_end().await.unwrap(),
                b"",
                "{method} {fields}"
            );
            let whole = call.ends_after().await;
            assert_eq!(whole.len(), 1, "{method} {fields}");
            assert_eq!(whole[0].body, smuggled.as_bytes(), "{method} {fields}");
            origin.nobody_called();
        }
    }
    house.close().await;
}

/// Requests that end here whatever stands behind them: unlisted, without a listener, too large, for us.
fn ends_here(target: std::net::SocketAddr) -> Vec<String> {
    let ours = "OPTIONS http://push.test/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n";
    vec![
        "POST http://unlisted.example/ HTTP/1.1\r\nHost: x\r\n".into(),
        "POST ftp://push.test/ HTTP/1.1\r\nHost: x\r\n".into(),
        "POST /x HTTP/1.1\r\nHost: x\r\n".into(),
        format!("POST http://{target}/ HTTP/1.1\r\nHost: x\r\n"),
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n".into(),
        ours.into(),
    ]
}

#[tokio::test]
async fn the_body_of_a_refused_request_never_runs() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let smuggled = origin.get("/smuggled");
    let length = format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len());
    let chunked = format!(
        "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n",
        smuggled.len()
    );
    for head in ends_here(upstream::refusing().await) {
        for body in [&length, &chunked] {
            let mut client = house.client().await;
            client.send(format!("{head}{body}")).await;
            let first = client.reply().await;
            client.offer(origin.get("/good")).await;
            if first.field("connection").is_some() {
                assert!(
                    client.read_to_end().await.is_ok_and(|rest| rest.is_empty()),
                    "{head}"
                );
            } else {
                let (mut call, ask) = origin.reached(&mut client).await;
                assert_eq!(ask.line, "GET /good HTTP/1.1", "{head}");
                call.send(OK_CLOSE).await;
                assert_eq!(client.reply().await.body, "ok", "{head}");
                assert_eq!(call.ends_after().await.len(), 1, "{head}");
            }
            origin.nobody_called();
        }
    }
    house.close().await;
}

#[tokio::test]
async fn a_body_that_comes_after_its_refusal_never_runs() {
    let origin = Origin::start().await;
    let house = house().user("ann", "secret").open().await;
    let open = self::house().open().await;
    let smuggled = origin.get("/smuggled");
    let length = format!("Content-Length: {}\r\n", smuggled.len());
    for (house, heads) in [
        (
            &house,
            vec![format!("POST {} HTTP/1.1\r\nHost: x\r\n", origin.url("/"))],
        ),
        (&open, ends_here(upstream::refusing().await)),
    ] {
        for head in heads {
            for expect in ["", "Expect: 100-continue\r\n"] {
                let mut client = house.client().await;
                client.send(format!("{head}{length}{expect}\r\n")).await;
                if expect.is_empty() {
                    // Some of the body is needed for the answer, or not; the rest comes late, or not.
                    client.offer(&smuggled).await;
                    client.reply().await;
                } else {
                    let reply = client.reply().await;
                    assert_ne!(reply.status, 100, "{head}");
                    client.offer(&smuggled).await;
                }
                client.finish_if_open().await;
                if let Ok(rest) = client.read_to_end().await {
                    assert_eq!(rest, b"", "{head}");
                }
                origin.nobody_called();
            }
        }
    }
    open.close().await;
    house.close().await;
}

#[tokio::test]
async fn a_large_body_that_is_not_read_costs_the_connection() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send("POST http://unlisted.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.field("connection")),
        (403, Some("close"))
    );
    client.offer(origin.get("/smuggled")).await;
    client.finish_if_open().await;
    assert!(client.read_to_end().await.is_ok_and(|rest| rest.is_empty()));
    origin.nobody_called();
    house.close().await;
}

#[tokio::test]
async fn good_requests_before_a_bad_one_are_answered() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    let bad = origin.request(
        "POST",
        "/bad",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    );
    client
        .send(format!(
            "{}{bad}0\r\n\r\n{}",
            origin.get("/good"),
            origin.get("/smuggled")
        ))
        .await;
    let (mut call, ask) = origin.reached(&mut client).await;
    assert_eq!(ask.line, "GET /good HTTP/1.1");
    call.send(OK_CLOSE).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.field("connection")),
        (400, Some("close"))
    );
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(call.ends_after().await.len(), 1);
    origin.nobody_called();
    house.close().await;
}

/// Random damage to right requests: whatever is passed on is by the letter, and one answer comes for each.
#[tokio::test]
async fn damaged_requests_in_great_numbers_stop_nothing_and_smuggle_nothing() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut seed = 0x0bad_5eed_u32;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    let whole = format!(
        "{}5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        origin.request(
            "POST",
            "/x",
            "Transfer-Encoding: chunked\r\nTrailer: X\r\nConnection: close\r\n"
        )
    );
    // Bytes that mean something to somebody.
    let bytes = b"\r\n\t\0 :;,0159afx/\x0b\x7f\xff";
    for _ in 0..200 {
        let mut damaged = whole.clone().into_bytes();
        for _ in 0..=random(3) {
            let place = random(damaged.len());
            match random(3) {
                0 => damaged[place] = bytes[random(bytes.len())],
                1 => damaged.insert(place, bytes[random(bytes.len())]),
                _ => drop(damaged.remove(place)),
            }
        }
        let mut client = house.client().await;
        client.send(&damaged).await;
        client.finish().await;
        let answer = async {
            // The origin answers whoever comes, and the strict reader sees to it that the request is right.
            loop {
                let mut call = origin.call().await;
                // An answer before its question is no answer.
                call.begins().await;
                call.offer(OK_CLOSE).await;
                call.finish().await;
                call.end().await;
                let requests = call.requests();
                assert!(requests.len() < 2, "{requests:?}");
            }
        };
        tokio::select! {
            () = answer => unreachable!("endless"),
            end = client.read_to_end() => drop(end),
        }
        house.line().await;
    }
    house.client().await.tunnel(upstream::echo().await).await;
    house.close().await;
}
