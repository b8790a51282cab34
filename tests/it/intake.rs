//! Caps, deadlines and descriptors: a full house says so, a slow client is not waited for, nothing spins or exits.

use std::time::Instant;

use tidegate_load::names::Kind;

use crate::client::Client;
use crate::house::House;
use crate::upstream;

#[tokio::test]
async fn a_full_house_answers_503_with_retry_after() {
    let target = upstream::echo().await;
    let house = House::new().set("intake", "connections = 2").open().await;
    let (mut first, mut second) = (house.client().await, house.client().await);
    first.tunnel(target).await;
    second.tunnel(target).await;
    let reply = house.client().await.connect(target).await;
    assert_eq!((reply.status, reply.reason()), (503, "connections_full"));
    assert_eq!(
        (reply.field("retry-after"), reply.field("connection")),
        (Some("1"), Some("close"))
    );
    drop(first);
    house.line_with_reason("finished").await;
    house.metric_becomes("tidegate_connections", 1.0).await;
    house.client().await.tunnel(target).await;
    drop(second);
    house.close().await;
}

#[tokio::test]
async fn the_cap_on_tunnels_is_over_all_cores_and_frees_itself() {
    let target = upstream::echo().await;
    let house = House::new()
        .set("intake", "tunnels = 3")
        .set("runtime", "workers = 2")
        .open()
        .await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = house.client().await;
        client.tunnel(target).await;
        open.push(client);
    }
    let mut late = house.client().await;
    let reply = late.connect(target).await;
    assert_eq!(
        (reply.status, reply.reason(), reply.field("retry-after")),
        (503, "tunnels_full", Some("1"))
    );
    open.pop();
    house.line_with_reason("finished").await;
    late.tunnel(target).await;
    drop((open, late));
    house.close().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_its_place() {
    let dead = upstream::hanging("127.0.0.60:0".parse().unwrap());
    let target = upstream::echo().await;
    let house = House::new()
        .name("dead.test", [dead.address.ip()])
        .set("connect", "budget = \"20s\"")
        .set("intake", "tunnels = 1")
        .open()
        .await;
    let tcp = tokio::net::TcpStream::connect(house.address("plain"))
        .await
        .unwrap();
    tcp.set_zero_linger().unwrap();
    let mut leaving = Client::from_tcp(tcp);
    leaving
        .send(format!(
            "CONNECT dead.test:{0} HTTP/1.1\r\nHost: dead.test:{0}\r\n\r\n",
            dead.address.port()
        ))
        .await;
    // Once its name is asked for, it has the only place, and waits for a target that never answers.
    while house.names.queries("dead.test", Kind::A) == 0 {
        tokio::task::yield_now().await;
    }
    let mut waiting = house.client().await;
    assert_eq!(waiting.connect(target).await.status, 503);
    let begun = Instant::now();
    drop(leaving);
    let line = house.line_with_reason("client_gone").await;
    assert_eq!(line["closed_by"], "client");
    waiting.tunnel(target).await;
    assert!(
        begun.elapsed().as_secs() < 10,
        "long before the budget ended"
    );
    drop(waiting);
    house.close().await;
}

#[tokio::test]
async fn a_client_that_only_closed_its_sending_side_is_served() {
    let (listener, target) = upstream::listener().await;
    let house = House::new().open().await;
    let mut client = house.client().await;
    client
        .send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nall of it"
        ))
        .await;
    client.finish().await;
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(client.reply().await.status, 200);
    assert_eq!(upstream::read(&mut server, 9).await, b"all of it");
    drop(server);
    house.close().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_is_408_and_silence_is_closed_without_a_word() {
    let house = House::new()
        .set("intake", "head_timeout = \"300ms\"")
        .tls()
        .open()
        .await;
    let mut silent = house.client().await;
    let mut slow = house.client().await;
    slow.send("CONNECT push.test:443 HTT").await;
    let reply = slow.reply().await;
    assert_eq!((reply.status, reply.reason()), (408, "head_timeout"));
    assert_eq!(silent.read_to_end().await.unwrap(), b"");
    assert_eq!(house.line().await["reason"], "head_timeout");
    let mut client = house.tls_client().await;
    client.send("C").await;
    assert_eq!(client.reply().await.status, 408);
    house.line().await;
    assert_eq!(
        house.lines_left(),
        Vec::<String>::new(),
        "silence leaves no line"
    );
    house.close().await;
}

#[tokio::test]
async fn the_head_deadline_is_not_the_idle_limit_between_requests() {
    let house = House::new()
        .set("intake", "head_timeout = \"200ms\"")
        .open()
        .await;
    let mut client = house.client().await;
    assert_eq!(client.connect("unlisted.example:443").await.status, 403);
    // Longer than the head's deadline: a pooled client may be silent between two requests.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(client.connect("unlisted.example:443").await.status, 403);
    house.close().await;

    let house = House::new()
        .set("intake", "client_idle_timeout = \"1s\"")
        .open()
        .await;
    let mut client = house.client().await;
    assert_eq!(client.connect("unlisted.example:443").await.status, 403);
    assert_eq!(
        client.read_to_end().await.unwrap(),
        b"",
        "closed after its idle limit"
    );
    house.close().await;
}

#[tokio::test]
async fn a_handshake_that_stands_still_or_fails_is_ended() {
    let house = House::new()
        .set("intake", "handshake_timeout = \"300ms\"")
        .tls()
        .open()
        .await;
    let mut client = house.client_of("tls").await;
    client.send(b"\x16\x03\x01\x00\x05hel").await;
    let _ = client.read_to_end().await;
    assert_eq!(house.line().await["reason"], "handshake_failed");
    let mut client = house.client_of("tls").await;
    client.send(b"\x16\x03\x01\x00\x05hello").await;
    let _ = client.read_to_end().await;
    assert_eq!(house.line().await["reason"], "handshake_failed");
    house.close().await;
}

#[tokio::test]
async fn speaking_plain_to_a_tls_listener_is_explained() {
    let house = House::new().tls().open().await;
    let mut client = house.client_of("tls").await;
    let reply = client.connect("push.test:443").await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.field("proxy-status").unwrap().contains("https"),
        "{reply:?}"
    );
    house.close().await;
}

#[tokio::test]
async fn idle_tunnels_end_and_busy_ones_do_not() {
    let target = upstream::echo().await;
    let house = House::new()
        .set("tunnel", "idle_timeout = \"1s\"")
        .open()
        .await;
    let (mut idle, mut busy) = (house.client().await, house.client().await);
    idle.tunnel(target).await;
    busy.tunnel(target).await;
    let keep_busy = async {
        loop {
            busy.send("x").await;
            busy.read(1).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let ended = async { idle.read_to_end().await.unwrap() };
    tokio::select! {
        () = keep_busy => unreachable!(),
        rest = ended => assert_eq!(rest, b""),
    }
    let line = house.line().await;
    assert_eq!(
        (&line["reason"], &line["closed_by"]),
        (&"idle".into(), &"proxy".into())
    );
    assert!(line["idle_max_ms"].as_f64().unwrap() >= 1000.0, "{line}");
    busy.send("y").await;
    assert_eq!(busy.read(1).await, b"y");
    house.close_with_tunnels().await;
}

#[tokio::test]
async fn running_out_of_descriptors_neither_spins_nor_exits() {
    let target = upstream::echo().await;
    // More connections are wished for than the descriptors allow.
    let house = House::new()
        .descriptors(80)
        .set("intake", "connections = 1000\ntunnels = 1000")
        .set("runtime", "workers = 1")
        .open()
        .await;
    house.journal_says("descriptor limit is too low").await;
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(house.client().await);
    }
    house.journal_says("cannot accept connections").await;
    let before = house.cpu_ticks();
    tokio::time::sleep(std::time::Duration::from_millis(1_000)).await;
    let spent = house.cpu_ticks() - before;
    assert!(spent < 30, "{spent} ticks of 10 ms in one second");
    open.clear();
    let mut client = house.client().await;
    client.tunnel(target).await;
    drop(client);
    house.close().await;
}

#[tokio::test]
async fn dual_stack_serves_both_families_and_ipv6_alone_does_not() {
    let target = upstream::echo().await;
    let house = House::new()
        .listener("name = \"both\"\naddress = \"[::]:0\"\ndual_stack = true\nallow_from = [\"127.0.0.0/8\", \"::1/128\"]")
        .listener("name = \"six\"\naddress = \"[::1]:0\"")
        .open()
        .await;
    let port = house.address("both").port();
    for ip in ["127.0.0.1", "::1"] {
        let mut client = Client::plain(std::net::SocketAddr::new(ip.parse().unwrap(), port)).await;
        client.tunnel(target).await;
    }
    house.client_of("six").await.tunnel(target).await;
    let six = house.address("six").port();
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", six))
            .await
            .is_err()
    );
    house.close().await;
}

#[tokio::test]
async fn who_may_not_connect_takes_no_place_from_those_who_may() {
    let house = House::new()
        .plain_listener("name = \"plain\"\naddress = \"127.0.0.1:0\"\nallow_from = [\"127.0.0.1\"]")
        .set("intake", "connections = 4\nhead_timeout = \"5m\"")
        .open()
        .await;
    let from = |address: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket
            .bind(format!("{address}:0").parse().unwrap())
            .unwrap();
        socket.connect(house.address("plain"))
    };
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(Client::from_tcp(from("127.0.0.2").await.unwrap()));
    }
    let target = upstream::echo().await;
    let mut friend = house.client().await;
    friend.tunnel(target).await;
    for ask in [
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut stranger = strangers.pop().unwrap();
        stranger.send(ask).await;
        let reply = stranger.reply().await;
        assert_eq!((reply.status, reply.reason()), (403, "client_denied"));
        assert_eq!(reply.field("connection"), Some("close"));
    }
    drop(strangers);
    house.close_with_tunnels().await;
}
