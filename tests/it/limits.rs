//! Limits: who waits, who is refused and what it is told, and what a client that leaves gives back.

use crate::client::Client;
use crate::house::{House, Plan};
use crate::upstream;

/// A limit on everything, by its other lines.
fn limited(lines: &str) -> Plan {
    House::new().also(&format!(
        "[[limit]]\nname = \"all-of-us\"\nper = \"all\"\n{lines}\n"
    ))
}

/// A CONNECT that is not waited for.
async fn ask(client: &mut Client, target: std::net::SocketAddr) {
    client
        .send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
        ))
        .await;
}

fn waits() -> &'static str {
    "tidegate_limit_waits_total{limit=\"all-of-us\"}"
}

fn refusals() -> &'static str {
    "tidegate_limit_refusals_total{limit=\"all-of-us\"}"
}

#[tokio::test]
async fn a_connect_waits_for_its_turn_and_passes() {
    let target = upstream::echo().await;
    let house = limited("rate = \"1/s\"\nburst = 1\nmax_wait = \"1s\"")
        .open()
        .await;
    house.client().await.tunnel(target).await;
    let line = house.line().await;
    assert_eq!(line["limit_wait_ms"], serde_json::Value::Null, "{line}");
    // A second lies between two, if this machine is not busier than that.
    let mut waited = 0.0;
    while waited == 0.0 {
        house.client().await.tunnel(target).await;
        let line = house.line().await;
        waited = line["limit_wait_ms"].as_f64().unwrap_or_default();
        if waited > 0.0 {
            assert_eq!(line["limit"], "all-of-us", "{line}");
            assert!(line["setup_ms"].as_f64().unwrap() >= waited, "{line}");
        }
    }
    house.metric_becomes(waits(), 1.0).await;
    house.metric_becomes(refusals(), 0.0).await;
    house
        .metric_becomes("tidegate_limit_keys{limit=\"all-of-us\"}", 1.0)
        .await;
    house.close().await;
}

#[tokio::test]
async fn whoever_would_wait_for_too_long_is_told_when_to_come_again() {
    let target = upstream::echo().await;
    let house = limited("rate = \"0.01/s\"\nburst = 2").open().await;
    let mut client = house.client().await;
    // A request in absolute form takes a turn like any other, and what the proxy answers by itself takes none.
    client
        .send("OPTIONS * HTTP/1.1\r\nHost: push.test\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 200);
    house.client().await.tunnel(target).await;
    client
        .send("GET http://nobody.test/ HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 502);
    client
        .send("GET http://nobody.test/ HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (429, "rate_limited"));
    let after: u64 = reply.field("retry-after").unwrap().parse().unwrap();
    assert!((50..=100).contains(&after), "{}", reply.head);
    assert_eq!(reply.fields("retry-after").len(), 1);
    assert_eq!(
        reply.field("ratelimit-policy"),
        Some("\"all-of-us\";q=2;w=200")
    );
    assert_eq!(
        reply.field("ratelimit"),
        Some(&*format!("\"all-of-us\";r=0;t={after}"))
    );
    let line = house.line_with_reason("rate_limited").await;
    assert_eq!(
        (&line["status"], &line["fault"], &line["limit"]),
        (&429.into(), &"policy".into(), &"all-of-us".into())
    );
    // It was held back for a while, so that who comes again at once does so less often.
    assert!(
        line["limit_wait_ms"].as_f64().is_some_and(|ms| ms > 0.0),
        "{line}"
    );
    // The connection was kept. What comes behind a CONNECT that waits is for its target: there it is not.
    let reply = client.connect(target).await;
    assert_eq!(reply.reason(), "rate_limited");
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    house.metric_becomes(refusals(), 2.0).await;
    house.metric_becomes(waits(), 0.0).await;
    house.close().await;
}

#[tokio::test]
async fn a_tunnel_waits_for_a_place_and_passes_when_one_ends() {
    let target = upstream::echo().await;
    let house = limited("tunnels = 1\nmax_wait = \"10s\"")
        .set("connect", "budget = \"20s\"")
        .open()
        .await;
    let mut first = house.client().await;
    first.tunnel(target).await;
    let mut second = house.client().await;
    let mut third = Client::that_resets(house.address("plain")).await;
    ask(&mut third, target).await;
    house.metric_becomes(waits(), 1.0).await;
    ask(&mut second, target).await;
    house.metric_becomes(waits(), 2.0).await;
    // It was the first in the queue; its turn is the other's.
    drop(third);
    let line = house.line_with_reason("client_gone").await;
    assert!(line["limit_wait_ms"].as_f64().unwrap() > 0.0, "{line}");
    drop(first);
    assert_eq!(second.reply().await.status, 200);
    second.send("ping").await;
    assert_eq!(second.read(4).await, b"ping");
    drop(second);
    house.line_with_reason("finished").await;
    house.close().await;
}

#[tokio::test]
async fn whoever_ends_its_side_while_it_waits_gives_up_its_place_unless_it_has_sent_something() {
    let target = upstream::echo().await;
    let house = limited("tunnels = 1\nmax_wait = \"10s\"")
        .set("connect", "budget = \"20s\"")
        .open()
        .await;
    let mut first = house.client().await;
    first.tunnel(target).await;
    let mut gone = house.client().await;
    ask(&mut gone, target).await;
    house.metric_becomes(waits(), 1.0).await;
    let mut half = house.client().await;
    ask(&mut half, target).await;
    half.send("ping").await;
    house.metric_becomes(waits(), 2.0).await;
    half.finish().await;
    gone.finish().await;
    house.line_with_reason("client_gone").await;
    drop(first);
    assert_eq!(half.reply().await.status, 200);
    assert_eq!(half.read(4).await, b"ping");
    drop(half);
    house.close().await;
}

#[tokio::test]
async fn what_is_sent_behind_a_connect_that_waits_in_vain_is_no_request() {
    let target = upstream::echo().await;
    let house = limited("tunnels = 1\nmax_wait = \"300ms\"").open().await;
    let mut first = house.client().await;
    first.tunnel(target).await;
    let mut second = house.client().await;
    ask(&mut second, target).await;
    house.metric_becomes(waits(), 1.0).await;
    second
        .send("GET http://nobody.test/ HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
        .await;
    assert_eq!(second.reply().await.reason(), "tunnel_limited");
    assert_eq!(second.read_to_end().await.unwrap(), b"");
    house.line_with_reason("tunnel_limited").await;
    drop(first);
    house.line_with_reason("finished").await;
    house.close().await;
}

#[tokio::test]
async fn a_drain_lets_those_that_wait_go_on() {
    let target = upstream::echo().await;
    let house = limited("tunnels = 1\nmax_wait = \"10s\"")
        .set("connect", "budget = \"20s\"")
        .open()
        .await;
    let mut first = house.client().await;
    first.tunnel(target).await;
    let mut second = house.client().await;
    ask(&mut second, target).await;
    house.metric_becomes(waits(), 1.0).await;
    house.signal("TERM");
    house.journal_says("draining").await;
    drop(first);
    assert_eq!(second.reply().await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn without_a_place_in_time_the_answer_is_429() {
    let target = upstream::echo().await;
    let house = limited("tunnels = 1\nmax_wait = \"0s\"").open().await;
    let mut first = house.client().await;
    first.tunnel(target).await;
    let mut other = house.client().await;
    let reply = other.connect(target).await;
    assert_eq!((reply.status, reply.reason()), (429, "tunnel_limited"));
    assert_eq!(reply.field("retry-after"), Some("1"));
    assert_eq!(
        reply.field("ratelimit-policy"),
        Some("\"all-of-us\";q=1;qu=\"concurrent-requests\"")
    );
    drop(first);
    house.line_with_reason("finished").await;
    other.tunnel(target).await;
    drop(other);
    house.line_with_reason("finished").await;
    house.close().await;
}

#[tokio::test]
async fn each_client_has_its_own() {
    let target = upstream::echo().await;
    let house = House::new()
        .also("[[client]]\nname = \"ann\"\nusers = [\"ann\"]\npriority = \"calls\"\n[[client]]\nname = \"bob\"\nusers = [\"bob\"]\n[[limit]]\nname = \"each\"\nper = \"client\"\nrate = \"0.01/s\"\nburst = 1\n")
        .user("ann", "secret")
        .user("bob", "secret")
        .set("authentication", "schemes = [\"basic\"]")
        .set("authentication", "basic_requires_tls = false")
        .open()
        .await;
    for (user, status) in [("ann", 200), ("ann", 429), ("bob", 200), ("bob", 429)] {
        use base64::Engine;
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{user}:secret"));
        let login = format!("Proxy-Authorization: Basic {login}");
        let reply = house.client().await.connect_with(target, &login).await;
        assert_eq!(reply.status, status, "{user}");
    }
    house
        .metric_becomes("tidegate_limit_keys{limit=\"each\"}", 2.0)
        .await;
    house.close().await;
}

#[tokio::test]
async fn a_limit_that_is_only_tried_out_refuses_nobody() {
    let target = upstream::echo().await;
    let house = limited("rate = \"0.01/s\"\nburst = 1\nreport_only = true")
        .controlled()
        .open()
        .await;
    house.journal_says("what this limit would refuse").await;
    house.client().await.tunnel(target).await;
    let line = house.line().await;
    assert_eq!(line["would_refuse"], serde_json::Value::Null, "{line}");
    house.client().await.tunnel(target).await;
    let line = house.line().await;
    assert_eq!(
        (
            &line["would_refuse"],
            &line["limit"],
            &line["limit_wait_ms"]
        ),
        (&"rate_limited".into(), &"all-of-us".into(), &().into())
    );
    house.metric_becomes("tidegate_would_refuse_total{destination=\"lab\",client=\"none\",reason=\"rate_limited\"}", 1.0).await;
    house.metric_becomes(refusals(), 0.0).await;
    let (_, page) = house.admin("/would-refuse").await;
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let row = &page["would_refuse"][0];
    assert_eq!(
        (
            &row["limit"],
            &row["reason"],
            &row["count"],
            &row["lines_to_add"]
        ),
        (
            &"all-of-us".into(),
            &"rate_limited".into(),
            &1.into(),
            &"".into()
        ),
        "{page}"
    );
    let status = house.control("status\n").await.to_string();
    assert!(status.contains("\"limit\":\"all-of-us\""), "{status}");
    house.close().await;
}

#[tokio::test]
async fn a_reload_applies_at_once_and_keeps_what_is_counted() {
    let target = upstream::echo().await;
    let house = limited("tunnels = 5\nmax_wait = \"0s\"")
        .controlled()
        .open()
        .await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = house.client().await;
        client.tunnel(target).await;
        open.push(client);
    }
    house.edit("tunnels = 5", "tunnels = 2");
    let answer = house.control("reload\n").await.to_string();
    assert!(
        answer.contains("limit \\\"all-of-us\\\".tunnels"),
        "{answer}"
    );
    assert!(answer.contains("\"needs_restart\":[]"), "{answer}");
    let reply = house.client().await.connect(target).await;
    assert_eq!((reply.status, reply.reason()), (429, "tunnel_limited"));
    open.pop();
    house.line_with_reason("finished").await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    drop((client, open));
    house.line_with_reason("finished").await;
    house.line_with_reason("finished").await;
    house.close().await;
}

#[tokio::test]
async fn bytes_are_slowed_down_and_none_is_lost() {
    let target = upstream::echo().await;
    let house = limited("bytes = \"64KiB/s\"").open().await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    let began = std::time::Instant::now();
    let sent: Vec<u8> = (0..96 * 1024).map(|at| (at % 251) as u8).collect();
    client.send(&sent).await;
    assert_eq!(client.read(sent.len()).await, sent);
    // Both ways are 192 KiB: a second's worth at once, and two seconds for the rest; one piece may be on its way.
    assert!(began.elapsed().as_secs_f64() > 1.8, "{:?}", began.elapsed());
    drop(client);
    house.line_with_reason("finished").await;
    house.close().await;
}

#[tokio::test]
async fn a_forwarded_body_is_slowed_down_as_well() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const LENGTH: usize = 96 * 1024;
    let (origin, address) = upstream::listener().await;
    let serving = tokio::spawn(async move {
        let (mut tcp, _) = origin.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(&[b'x'; 1024]) || request.len() < LENGTH {
            assert_ne!(tcp.read_buf(&mut request).await.unwrap(), 0);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        tcp.write_all(&vec![b'y'; LENGTH]).await.unwrap();
        tcp
    });
    let house = limited("bytes = \"64KiB/s\"").open().await;
    let mut client = house.client().await;
    let began = std::time::Instant::now();
    client
        .send(format!(
            "POST http://{address}/ HTTP/1.1\r\nHost: {address}\r\nContent-Length: {LENGTH}\r\n\r\n"
        ))
        .await;
    client.send(vec![b'x'; LENGTH]).await;
    let reply = client.reply().await;
    assert_eq!(reply.body.len(), LENGTH);
    // As a tunnel's: 192 KiB, less a second's worth; one read of each direction may be on its way.
    assert!(began.elapsed().as_secs_f64() > 0.9, "{:?}", began.elapsed());
    drop(serving.await.unwrap());
    house.close().await;
}
