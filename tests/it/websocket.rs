//! `Upgrade: websocket`, answered 101: from then on a tunnel. Every other upgrade stays here.

use crate::client::Client;
use crate::house::{House, Plan};
use crate::origin::{Ask, Call, OK, OK_CLOSE, Origin};
use crate::upstream::LOCALHOST;

const ASKS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn house() -> Plan {
    House::new().name("push.test", [LOCALHOST])
}

/// Whether a field's list has this option.
fn lists(values: &[&str], option: &str) -> bool {
    values
        .iter()
        .flat_map(|value| value.split(','))
        .any(|listed| listed.trim().eq_ignore_ascii_case(option))
}

async fn asked(origin: &Origin, client: &mut Client) -> (Call, Ask) {
    let (call, ask) = origin.reached(client).await;
    assert_eq!(ask.line, "GET /chat HTTP/1.1");
    assert!(lists(&ask.fields("connection"), "upgrade"), "{ask:?}");
    assert_eq!(ask.field("upgrade"), Some("websocket"));
    assert_eq!(
        ask.field("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    (call, ask)
}

#[tokio::test]
async fn an_upgrade_answered_101_is_a_tunnel_with_a_line_of_its_own() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for uri in [
        origin.url("/chat"),
        origin.url("/chat").replace("http:", "ws:"),
    ] {
        let mut client = house.client().await;
        client
            .send(format!("GET {uri} HTTP/1.1\r\nHost: x\r\n{ASKS}\r\n"))
            .await;
        let (mut call, _) = asked(&origin, &mut client).await;
        call.send(SWITCHES).await;
        let reply = client.head().await;
        assert_eq!(reply.status, 101);
        assert!(lists(&reply.fields("connection"), "upgrade"), "{reply:?}");
        assert_eq!(reply.field("upgrade"), Some("websocket"));
        assert_eq!(
            reply.field("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        house
            .metric_becomes("tidegate_tunnels{generation=\"current\"}", 1.0)
            .await;
        // No framing is left: these are bytes.
        client.send(b"GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(call.read(18).await, b"GET / HTTP/1.1\r\n\r\n");
        call.send(b"\x81\x05hello").await;
        assert_eq!(client.read(7).await, b"\x81\x05hello");
        client.finish().await;
        call.end().await;
        drop(call);
        assert_eq!(client.read_to_end().await.unwrap(), b"");
        let line = house.line_with("kind", "tunnel").await;
        for (field, value) in [
            ("method", "GET".into()),
            ("status", 101.into()),
            ("reason", "finished".into()),
            ("target", origin.authority().into()),
            ("bytes_up", 18.into()),
            ("bytes_down", serde_json::Value::from(7)),
            ("closed_by", "client".into()),
        ] {
            assert_eq!(line[field], value, "{field} in {line}");
        }
    }
    house.close().await;
}

#[tokio::test]
async fn bytes_behind_the_heads_are_the_tunnels_first_on_both_sides() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(format!("{}early ", origin.request("GET", "/chat", ASKS)))
        .await;
    let (mut call, _) = asked(&origin, &mut client).await;
    call.send(format!("{SWITCHES}first ")).await;
    assert_eq!(client.head().await.status, 101);
    client.send("late").await;
    call.send("second").await;
    assert_eq!(call.read(10).await, b"early late");
    assert_eq!(client.read(12).await, b"first second");
    drop(client);
    call.end().await;
    drop(call);
    house.close().await;
}

#[tokio::test]
async fn an_origin_that_does_not_switch_answers_as_to_any_request() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    for (head, status) in [("200 OK", 200), ("426 Upgrade Required", 426)] {
        client.send(origin.request("GET", "/chat", ASKS)).await;
        let (mut call, _) = asked(&origin, &mut client).await;
        call.send(format!(
            "HTTP/1.1 {head}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        ))
        .await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.body.as_str()), (status, "ok"));
        let line = house.line().await;
        assert_eq!(
            (&line["kind"], &line["status"]),
            (&"forward".into(), &status.into())
        );
    }
    // Its connection goes on as HTTP.
    client.send(origin.get("/next")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    house.close().await;
}

#[tokio::test]
async fn every_other_upgrade_is_dropped_at_the_door() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: connect-udp\r\n",
        // Listed with nobody's consent, or not listed at all.
        "Connection: Upgrade\r\nUpgrade: h2c, foo\r\n",
        "Upgrade: websocket\r\n",
        "Upgrade: h2c\r\n",
        "Connection: keep-alive\r\nUpgrade: websocket\r\n",
    ] {
        let mut client = house.client().await;
        client.send(origin.request("GET", "/", fields)).await;
        let (mut call, ask) = origin.reached(&mut client).await;
        for name in ["upgrade", "http2-settings"] {
            assert_eq!(ask.field(name), None, "{fields}");
        }
        assert!(!lists(&ask.fields("connection"), "upgrade"), "{ask:?}");
        assert!(
            !lists(&ask.fields("connection"), "http2-settings"),
            "{ask:?}"
        );
        call.send(OK_CLOSE).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.field("upgrade")),
            (200, None),
            "{fields}"
        );
        let heard = call.text().to_lowercase();
        assert!(!heard.contains("h2c"), "{heard}");
    }

    // HTTP/1.0 knows no upgrades.
    let mut client = house.client().await;
    client
        .send(format!(
            "GET {} HTTP/1.0\r\n{ASKS}\r\n",
            origin.url("/chat")
        ))
        .await;
    let (mut call, ask) = origin.reached(&mut client).await;
    assert_eq!(ask.field("upgrade"), None);
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.status, 200);

    // h2c beside websocket never leaves; whether websocket still does is ours to say.
    let mut client = house.client().await;
    let both = ASKS.replace("websocket", "h2c, websocket");
    client.send(origin.request("GET", "/chat", &both)).await;
    let (mut call, _) = origin.reached(&mut client).await;
    let heard = call.text().to_lowercase();
    assert!(!heard.contains("h2c"), "{heard}");
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_bad_reply() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let h2c = SWITCHES.replace("websocket\r\n", "h2c\r\n");
    for (fields, answer) in [
        ("", SWITCHES),
        ("", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        ("Connection: Upgrade\r\nUpgrade: h2c\r\n", h2c.as_str()),
        // Asked for one protocol, answered with another.
        (ASKS, h2c.as_str()),
        (
            ASKS,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        ),
    ] {
        let mut client = house.client().await;
        client.send(origin.request("GET", "/chat", fields)).await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(format!(
            "{answer}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        ))
        .await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.reason()),
            (502, "bad_reply"),
            "{fields}{answer}"
        );
        call.end().await;
        let line = house.line().await;
        assert_eq!(
            (&line["kind"], &line["reason"], &line["status"]),
            (&"forward".into(), &"bad_reply".into(), &502.into()),
            "{fields}{answer}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn an_upgrade_needs_credentials_and_a_listed_target_like_any_request() {
    let origin = Origin::start().await;
    let house = house().user("ann", "secret").open().await;
    let mut client = house.client().await;
    client.send(origin.request("GET", "/chat", ASKS)).await;
    assert_eq!(client.reply().await.status, 407);
    origin.nobody_called();
    house.close().await;

    let house = self::house().open().await;
    let mut client = house.client().await;
    client
        .send(format!(
            "GET ws://unlisted.example/chat HTTP/1.1\r\nHost: x\r\n{ASKS}\r\n"
        ))
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (403, "target_denied"));
    house.close().await;
}

#[tokio::test]
async fn an_upgraded_tunnel_takes_a_tunnels_place_and_ends_with_its_reset() {
    let origin = Origin::start().await;
    let house = house().set("intake", "tunnels = 1").open().await;
    let mut client = house.client().await;
    client.send(origin.request("GET", "/chat", ASKS)).await;
    let (mut call, _) = asked(&origin, &mut client).await;
    call.send(SWITCHES).await;
    assert_eq!(client.head().await.status, 101);
    let reply = house.client().await.connect(origin.authority()).await;
    assert_eq!((reply.status, reply.reason()), (503, "tunnels_full"));
    call.reset();
    client.read_to_end().await.expect_err("not a clean end");
    let line = house.line_with("kind", "tunnel").await;
    let line = if line["reason"] == "tunnels_full" {
        house.line_with("kind", "tunnel").await
    } else {
        line
    };
    assert_eq!(line["reason"], "upstream_reset", "{line}");
    house.close().await;
}
