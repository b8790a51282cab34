//! Ways out: parent proxies, source addresses, and a second address for a request that has no answer.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Client;
use crate::house::{House, Plan};
use crate::origin::{OK_CLOSE, Origin};
use crate::upstream::{self, LOCALHOST, hanging, listener, listener_on};

/// A destination for `*.test` with these lines.
fn lab(lines: &str) -> String {
    format!(
        "name = \"lab\"\nhosts = [\"*.test\", \"127.0.0.1\"]\nports = [\"1-65535\"]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]\n{lines}"
    )
}

/// A house that goes through these parents.
fn behind(via: &[String], lines: &str) -> Plan {
    House::new()
        .file("parent.password", "sesame\n")
        .destination(&lab(&format!("via = {via:?}\n{lines}")))
}

const PASSWORD: &str = "password_file = \"parent.password\"";

/// Reads one request head.
async fn head(tcp: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(tcp.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(bytes).unwrap()
}

/// A parent that answers one connection's requests with these, and then moves nothing.
fn scripted(
    listener: TcpListener,
    replies: &'static [&'static str],
) -> tokio::task::JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut heads = Vec::new();
        for reply in replies {
            heads.push(head(&mut tcp).await);
            tcp.write_all(reply.as_bytes()).await.unwrap();
        }
        // Whatever the proxy still sends is not another request.
        let _ = tcp.shutdown().await;
        heads
    })
}

#[tokio::test]
async fn a_parent_with_tls_and_digest_asks_once_for_the_login() {
    let target = upstream::echo().await;
    let parent = House::new()
        .tls()
        .user("way", "sesame")
        .name("push.test", [LOCALHOST])
        .open()
        .await;
    let via = format!("https://way@localhost:{}", parent.address("tls").port());
    // Only the parent knows push.test.
    let house = behind(&[via], &format!("{PASSWORD}\nca = \"parent.pem\""))
        .file("parent.pem", parent.ca())
        .name("localhost", [LOCALHOST])
        .open()
        .await;
    for _ in 0..3 {
        let mut client = house.client().await;
        client.tunnel(format!("push.test:{}", target.port())).await;
        client.send("hello").await;
        assert_eq!(client.read(5).await, b"hello");
        client.finish().await;
        let line = house.line().await;
        assert_eq!(line["peer"], parent.address("tls").to_string(), "{line}");
        let line = parent.line_with_reason("finished").await;
        assert_eq!(
            (&line["user"], &line["algorithm"]),
            (&"way".into(), &"SHA-256".into())
        );
    }
    assert_eq!(
        parent.line_with_reason("no_credentials").await["status"],
        407
    );
    assert!(parent.lines_left().is_empty(), "{:?}", parent.lines_left());
    assert!(!house.everything_said().contains("sesame"));
    house.close().await;
    parent.close().await;
}

#[tokio::test]
async fn https_goes_through_a_parent_as_a_tunnel_does() {
    let mut origin = Origin::start().await;
    let authority = origin.tls("push.test");
    let parent = House::new()
        .tls()
        .name("push.test", [LOCALHOST])
        .open()
        .await;
    let via = [
        format!("https://127.0.0.1:{}", parent.address("tls").port()),
        format!("http://{}", parent.address("plain")),
    ];
    for via in via {
        let house = behind(&[via], "ca = \"all.pem\"")
            .file("all.pem", &format!("{authority}{}", parent.ca()))
            .open()
            .await;
        for _ in 0..2 {
            let mut client = house.client().await;
            client
                .send(format!(
                    "GET https://{}/x HTTP/1.1\r\nHost: a\r\n\r\n",
                    origin.authority()
                ))
                .await;
            let (mut call, ask) = origin.reached(&mut client).await;
            assert_eq!(
                (ask.line.as_str(), call.sni.as_deref()),
                ("GET /x HTTP/1.1", Some("push.test"))
            );
            call.send(OK_CLOSE).await;
            assert_eq!(client.reply().await.body, "ok");
        }
        house.close().await;
    }
    parent.close().await;
}

#[tokio::test]
async fn a_dead_parent_does_not_delay_the_push() {
    let target = upstream::echo().await;
    let parent = House::new().name("push.test", [LOCALHOST]).open().await;
    let refuses = upstream::refusing().await;
    let hangs = hanging("127.0.0.1:0".parse().unwrap());
    // It accepts, and never answers.
    let (_mute, mute) = listener().await;
    for dead in [refuses, hangs.address, mute] {
        let via = [dead, parent.address("plain")].map(|address| format!("http://{address}"));
        let house = behind(&via, "").open().await;
        let mut client = house.client().await;
        client.tunnel(format!("push.test:{}", target.port())).await;
        drop(client);
        let line = house.line().await;
        assert_eq!(line["peer"], parent.address("plain").to_string(), "{line}");
        assert_eq!(line["attempts"].as_array().unwrap().len(), 2, "{line}");
        house.close().await;
    }
    parent.close().await;
}

#[tokio::test]
async fn a_parent_that_accepts_and_is_silent_is_asked_first_once() {
    let target = upstream::echo().await;
    let parent = House::new().name("push.test", [LOCALHOST]).open().await;
    let (_mute, mute) = listener().await;
    let via = [mute, parent.address("plain")].map(|address| format!("http://{address}"));
    let house = behind(&via, "")
        .set("connect", "budget = \"600ms\"")
        .open()
        .await;
    let ask = async || {
        let mut client = house.client().await;
        client.tunnel(format!("push.test:{}", target.port())).await;
        drop(client);
        house.line().await["attempts"].as_array().unwrap().len()
    };
    assert_eq!(ask().await, 2);
    // What is tried beside the exchanges is a CONNECT, too: that it accepts does not make it well.
    let quarantined = format!("tidegate_peer_up{{destination=\"lab\",peer=\"{mute}\"}}");
    house.metric_becomes(&quarantined, 0.0).await;
    for _ in 0..4 {
        assert_eq!(ask().await, 1);
    }
    house.close().await;
    parent.close().await;
}

#[tokio::test]
async fn what_a_parent_says_is_told_without_addresses() {
    for (reply, reason, details) in [
        (
            "HTTP/1.1 403 No\r\n\r\n",
            "connect_refused",
            "it must allow CONNECT",
        ),
        (
            "HTTP/1.1 503 No\r\n\r\n",
            "unreachable",
            "cannot reach the target",
        ),
        (
            "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\n\r\n",
            "connect_refused",
            "see the user in via",
        ),
        (
            "HTTP/1.1 302 Go\r\nLocation: x\r\n\r\n",
            "bad_reply",
            "is not HTTP",
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n", "bad_reply", "is not HTTP"),
        ("", "upstream_reset", "closed before it had answered"),
    ] {
        let (parent, address) = listener().await;
        let replies: &'static [&'static str] = Box::leak(Box::new([reply]));
        let asked = scripted(parent, replies);
        let house = behind(&[format!("http://way@{address}")], PASSWORD)
            .open()
            .await;
        let answer = house.client().await.connect("push.test:443").await;
        assert_eq!((answer.status, answer.reason()), (502, reason), "{reply}");
        let said = format!("{}{}", answer.head, answer.body);
        assert!(said.contains(details), "{said}");
        assert!(!said.contains("127.0.0.1"), "{said}");
        let heads = asked.await.unwrap();
        let [head] = &heads[..] else {
            panic!("{heads:?}");
        };
        let said = "CONNECT push.test:443 HTTP/1.1\r\nHost: push.test:443\r\nVia: 1.1 tidegate-";
        assert!(head.starts_with(said), "{head}");
        assert_eq!(head.lines().count(), 4, "{head}");
        house.close().await;
    }
}

#[tokio::test]
async fn the_targets_first_bytes_come_behind_our_200() {
    let (parent, address) = listener().await;
    let asked = scripted(
        parent,
        &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n220 hello"],
    );
    let house = behind(&[format!("http://{address}")], "").open().await;
    let mut client = house.client().await;
    client.tunnel("push.test:443").await;
    assert_eq!(client.read(9).await, b"220 hello");
    drop(client);
    asked.await.unwrap();
    assert_eq!(house.line().await["bytes_down"], 9);
    house.close().await;
}

#[tokio::test]
async fn a_stale_nonce_is_answered_once_more_on_the_same_connection() {
    const FIRST: &str = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"p\"\r\nProxy-Authenticate: Digest realm=\"p\", nonce=\"one\", qop=\"auth\", algorithm=MD5, Digest realm=\"p\", nonce=\"one\", qop=\"auth\", algorithm=SHA-256\r\nContent-Length: 3\r\n\r\nno\n";
    const STALE: &str = "HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=\"p\", nonce=\"two\", qop=\"auth\", algorithm=SHA-256, stale=true\r\nContent-Length: 0\r\n\r\n";
    const WRONG: &str = "HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=\"p\", nonce=\"three\", qop=\"auth\", algorithm=SHA-256\r\nContent-Length: 0\r\n\r\n";
    let good: (&[&str], u16) = (&[FIRST, STALE, "HTTP/1.1 200 OK\r\n\r\n"], 200);
    for (replies, status) in [good, (&[FIRST, STALE, STALE], 502), (&[FIRST, WRONG], 502)] {
        let (parent, address) = listener().await;
        let asked = scripted(parent, replies);
        let house = behind(&[format!("http://way@{address}")], PASSWORD)
            .open()
            .await;
        let mut client = house.client().await;
        assert_eq!(client.connect("push.test:443").await.status, status);
        drop(client);
        let heads = asked.await.unwrap();
        assert_eq!(heads.len(), replies.len());
        assert!(!heads[0].contains("Authorization"), "{heads:?}");
        assert!(
            heads[1].contains("nonce=\"one\"") && heads[1].contains("SHA-256"),
            "{heads:?}"
        );
        if let Some(third) = heads.get(2) {
            assert!(third.contains("nonce=\"two\""), "{heads:?}");
        }
        house.close().await;
    }
}

#[tokio::test]
async fn a_password_travels_in_clear_only_where_nobody_else_can_read_it() {
    const BASIC: &str =
        "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"p\"\r\nContent-Length: 0\r\n\r\n";
    let (parent, address) = listener().await;
    let asked = scripted(parent, &[BASIC, "HTTP/1.1 200 OK\r\n\r\n"]);
    let house = behind(&[format!("http://way@{address}")], PASSWORD)
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel("push.test:443").await;
    drop(client);
    let heads = asked.await.unwrap();
    // way:sesame
    assert!(
        heads[1].contains("Proxy-Authorization: Basic d2F5OnNlc2FtZQ==\r\n"),
        "{heads:?}"
    );
    house.close().await;
}

#[tokio::test]
async fn a_parent_that_is_this_proxy_is_refused() {
    let own = upstream::refusing().await;
    let house = behind(&[format!("http://{own}")], "")
        .plain_listener(&format!("name = \"plain\"\naddress = \"{own}\""))
        .open()
        .await;
    let reply = house.client().await.connect("push.test:443").await;
    assert_eq!(reply.reason(), "self_target");
    house.close().await;
}

#[tokio::test]
async fn a_target_that_is_an_address_has_to_pass_the_policy_through_a_parent_too() {
    let (_parent, address) = listener().await;
    let house = House::new()
        .destination(&format!(
            "name = \"lab\"\nhosts = [\"*.test\"]\nports = [443]\nvia = [\"http://{address}\"]\n"
        ))
        .set("policy", "unlisted = \"report\"")
        .open()
        .await;
    let reply = house.client().await.connect("127.0.0.1:443").await;
    assert_eq!(reply.status, 403);
    house.close().await;
}

#[tokio::test]
async fn source_addresses_take_turns() {
    let (target, address) = listener().await;
    // The last is on no machine that runs this.
    let house = House::new()
        .destination(&lab(
            "source = [\"127.0.0.71\", \"127.0.0.72\", \"192.0.2.71\"]",
        ))
        .name("push.test", [LOCALHOST])
        .open()
        .await;
    house.journal_says("does not have a source address").await;
    let mut came = Vec::new();
    for _ in 0..6 {
        let mut client = house.client().await;
        client.tunnel(format!("push.test:{}", address.port())).await;
        came.push(target.accept().await.unwrap().1.ip().to_string());
    }
    // The third's turn falls to the one behind it.
    assert_eq!(came[..3], ["127.0.0.71", "127.0.0.72", "127.0.0.71"]);
    assert_eq!(came[3..], came[..3]);
    house.close_with_tunnels().await;
}

#[tokio::test]
async fn without_its_source_addresses_nothing_is_connected() {
    let target = upstream::echo().await;
    let house = House::new()
        .destination(&lab("source = [\"192.0.2.71\"]"))
        .name("push.test", [LOCALHOST])
        .open()
        .await;
    let reply = house
        .client()
        .await
        .connect(format!("push.test:{}", target.port()))
        .await;
    assert_eq!((reply.status, reply.reason()), (500, "internal"));
    assert!(
        reply.body.contains("none of the source addresses")
            || reply.head.contains("none of the source addresses"),
        "{reply:?}"
    );
    assert_eq!(house.line().await["attempts"][0]["error"], "no_source");
    house.close().await;
}

// ---- a second address -------------------------------------------------------------------------------------------

/// Two origins on one port, and a house that knows them as `push.test` in this order.
async fn two(addresses: [&str; 2], lines: &str) -> (Origin, Origin, House) {
    let ips = addresses.map(|address| address.parse::<IpAddr>().unwrap());
    let (first, second) = loop {
        let (free, address) = listener_on(ips[0]).await;
        drop(free);
        let on = |ip| Origin::on(SocketAddr::new(ip, address.port()));
        if let (Ok(first), Ok(second)) = (on(ips[0]), on(ips[1])) {
            break (first, second);
        }
    };
    let house = House::new()
        .destination(&lab(lines))
        .set("forward", "second_address_after = \"100ms\"")
        .set("forward", "response_timeout = \"3s\"")
        .name("push.test", ips)
        .open()
        .await;
    (first, second, house)
}

const REPEATS: &str = "tidegate_forward_repeats_total{destination=\"lab\"}";

#[tokio::test]
async fn a_silent_address_costs_a_request_that_may_be_repeated_nothing() {
    let (first, second, house) = two(["127.0.0.81", "127.0.0.82"], "").await;
    let mut client = house.client().await;
    client.send(first.get("/x")).await;
    let (mut silent, _) = first.reached(&mut client).await;
    let (mut call, ask) = second.reached(&mut client).await;
    assert_eq!(ask.line, "GET /x HTTP/1.1");
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.body, "ok");
    // The loser is let go.
    silent.end().await;
    let line = house.line().await;
    assert_eq!(
        (&line["repeated"], &line["peer"]),
        (&true.into(), &second.address.to_string().into()),
        "{line}"
    );
    assert_eq!(line["attempts"].as_array().unwrap().len(), 2, "{line}");
    house.metric_becomes(REPEATS, 1.0).await;
    // It is remembered, although it connects: the next ones pay nothing.
    for _ in 0..4 {
        let mut client = house.client().await;
        client.send(first.get("/x")).await;
        let (mut call, _) = second.reached(&mut client).await;
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.body, "ok");
        let line = house.line().await;
        assert_eq!(line["repeated"], serde_json::Value::Null, "{line}");
    }
    house.close().await;
}

#[tokio::test]
async fn an_address_that_hangs_up_on_a_push_costs_one_push() {
    let (first, second, house) = two(["127.0.0.91", "127.0.0.92"], "").await;
    let push = first.request("POST", "/x", "Content-Length: 0\r\n");
    // Both are known to connect.
    let mut client = house.client().await;
    client.send(first.get("/x")).await;
    let (call, _) = first.reached(&mut client).await;
    drop(call);
    let (mut call, _) = second.reached(&mut client).await;
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.body, "ok");
    for _ in 0..4 {
        let mut client = house.client().await;
        client.send(&push).await;
        let (mut call, _) = second.reached(&mut client).await;
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.body, "ok");
    }
    house.close().await;
}

#[tokio::test]
async fn two_proxies_that_are_each_others_parents_notice() {
    let (other, address) = listener().await;
    let house = behind(&[format!("http://{address}")], "").open().await;
    let plain = house.address("plain");
    // The other one, as far as it matters: whatever comes goes back.
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = other.accept().await {
            tokio::spawn(async move {
                let mut back = TcpStream::connect(plain).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut tcp, &mut back).await;
            });
        }
    });
    let reply = house.client().await.connect("push.test:443").await;
    assert_eq!(reply.status, 502, "{}", reply.head);
    let line = house.line_with_reason("loop_detected").await;
    assert_eq!(line["status"], 508, "{line}");
    house.close().await;
}

#[tokio::test]
async fn the_first_answer_wins_whosever_it_is() {
    let (first, second, house) = two(["127.0.0.83", "127.0.0.84"], "").await;
    let mut client = house.client().await;
    client.send(first.get("/x")).await;
    let (mut slow, _) = first.reached(&mut client).await;
    let (mut other, _) = second.reached(&mut client).await;
    slow.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.body, "ok");
    other.end().await;
    let line = house.line().await;
    assert_eq!(
        (&line["repeated"], &line["peer"]),
        (&true.into(), &first.address.to_string().into()),
        "{line}"
    );
    house.close().await;
}

#[tokio::test]
async fn what_was_answered_or_may_not_be_repeated_goes_to_one_address() {
    for (lines, method) in [
        ("", "POST"),
        ("", "PUT"),
        ("", "DELETE"),
        ("repeat = \"never\"", "GET"),
    ] {
        let (first, second, house) = two(["127.0.0.85", "127.0.0.86"], lines).await;
        let mut client = house.client().await;
        client
            .send(first.request(method, "/x", "Content-Length: 0\r\n"))
            .await;
        let (_silent, _) = first.reached(&mut client).await;
        assert_eq!(
            client.reply().await.reason(),
            "upstream_timeout",
            "{method}"
        );
        second.nobody_asked().await;
        let line = house.line().await;
        assert_eq!(line["repeated"], serde_json::Value::Null, "{line}");
        assert!(house.metric(REPEATS).await < 0.5);
        house.close().await;
    }
}

#[tokio::test]
async fn a_push_is_repeated_whole_where_receivers_drop_the_second() {
    for (fields, body, sent) in [
        ("Content-Length: 5\r\n", "hello", "hello"),
        (
            "Transfer-Encoding: chunked\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
    ] {
        let (first, second, house) = two(["127.0.0.87", "127.0.0.88"], "repeat = \"always\"").await;
        let mut client = house.client().await;
        client
            .send(format!("{}{body}", first.request("POST", "/x", fields)))
            .await;
        let mut silent = first.caller().await;
        assert_eq!(silent.message().await.body, sent.as_bytes());
        let mut call = second.caller().await;
        let message = call.message().await;
        assert_eq!(
            (message.ask.line.as_str(), &message.body[..]),
            ("POST /x HTTP/1.1", sent.as_bytes())
        );
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.body, "ok");
        assert_eq!(house.line().await["repeated"], true);
        house.close().await;
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_to_be_kept_goes_to_one_address() {
    let (first, second, house) = two(["127.0.0.89", "127.0.0.90"], "repeat = \"always\"").await;
    let mut client: Client = house.client().await;
    let body = "x".repeat(64 * 1024 + 1);
    let fields = format!("Content-Length: {}\r\n", body.len());
    client
        .send(format!("{}{body}", first.request("POST", "/x", &fields)))
        .await;
    let mut silent = first.caller().await;
    assert_eq!(silent.message().await.body.len(), body.len());
    assert_eq!(client.reply().await.reason(), "upstream_timeout");
    second.nobody_asked().await;
    house.close().await;
}

#[tokio::test]
async fn an_address_that_does_no_tls_got_nothing_and_any_request_goes_to_the_next() {
    let (mute, address) = listener_on("127.0.0.93".parse().unwrap()).await;
    let mut living = Origin::on(SocketAddr::new(
        "127.0.0.94".parse().unwrap(),
        address.port(),
    ))
    .expect("free on the other address, too");
    let authority = living.tls("push.test");
    let house = House::new()
        .file("lab.pem", &authority)
        .destination(&lab("ca = \"lab.pem\""))
        .set("forward", "second_address_after = \"100ms\"")
        .name("push.test", [address.ip(), living.address.ip()])
        .open()
        .await;
    let push = living
        .request("POST", "/x", "Content-Length: 5\r\n")
        .replace("http://", "https://");
    for attempts in [2, 1, 1] {
        let mut client = house.client().await;
        client.send(format!("{push}hello")).await;
        // A connect that only looks whether it lives does no TLS.
        let mut call = loop {
            if let Ok(call) = living.try_call().await {
                break call;
            }
        };
        assert_eq!(call.message().await.body, b"hello");
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.body, "ok");
        let line = house.line().await;
        assert_eq!(line["repeated"], serde_json::Value::Null, "{line}");
        assert_eq!(
            line["attempts"].as_array().unwrap().len(),
            attempts,
            "{line}"
        );
    }
    drop(mute);
    house.close().await;
}

#[tokio::test]
async fn of_many_addresses_that_do_no_tls_a_few_are_passed_over() {
    let (_first, address) = listener_on("127.0.0.101".parse().unwrap()).await;
    let ips = [101, 102, 103, 104, 105, 106].map(|last| IpAddr::from([127, 0, 0, last]));
    let mut mute = Vec::new();
    for ip in &ips[1..] {
        let listener = TcpListener::bind((*ip, address.port())).await;
        mute.push(listener.expect("free on the other addresses, too"));
    }
    let house = House::new()
        .destination(&lab(""))
        .set("forward", "second_address_after = \"100ms\"")
        .name("push.test", ips)
        .open()
        .await;
    let mut client = house.client().await;
    let target = format!("push.test:{}", address.port());
    client
        .send(format!(
            "GET https://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"
        ))
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (504, "upstream_timeout"));
    let line = house.line().await;
    assert_eq!(line["attempts"].as_array().unwrap().len(), 4, "{line}");
    house.close().await;
}

#[tokio::test]
async fn the_last_address_that_lives_has_all_the_time_there_is_for_tls() {
    let ips = [107, 108].map(|last| IpAddr::from([127, 0, 0, last]));
    // Nothing listens at the first, and the other is in no hurry.
    let (_slow, address) = listener_on(ips[1]).await;
    let house = House::new()
        .destination(&lab(""))
        .set("forward", "second_address_after = \"100ms\"")
        .set("forward", "handshake_timeout = \"1s\"")
        .name("push.test", ips)
        .open()
        .await;
    let mut client = house.client().await;
    let target = format!("push.test:{}", address.port());
    client
        .send(format!(
            "GET https://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.reply().await.reason(), "upstream_timeout");
    let line = house.line().await;
    assert_eq!(line["attempts"].as_array().unwrap().len(), 2, "{line}");
    assert!(line["total_ms"].as_f64().unwrap() >= 1_000.0, "{line}");
    house.close().await;
}

#[tokio::test]
async fn an_origin_that_is_at_work_is_left_to_it_for_clients_that_know_no_interim_replies_too() {
    for version in ["1.1", "1.0"] {
        let (first, second, house) = two(["127.0.0.95", "127.0.0.96"], "repeat = \"always\"").await;
        let mut client = house.client().await;
        let push = first.request("POST", "/x", "Content-Length: 5\r\n");
        let push = push.replace("HTTP/1.1", &format!("HTTP/{version}"));
        client.send(format!("{push}hello")).await;
        let mut call = first.caller().await;
        call.message().await;
        call.send("HTTP/1.1 102 Processing\r\n\r\n").await;
        if version == "1.1" {
            assert_eq!(client.reply().await.status, 102);
        }
        drop(call);
        assert_eq!(client.reply().await.status, 502, "{version}");
        second.nobody_asked().await;
        house.close().await;
    }
}
