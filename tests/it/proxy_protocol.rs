//! Behind a load balancer: whose connection it passes on, who must say so, and what becomes of those that say it wrong.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::client::Client;
use crate::house::{House, PATIENCE, Plan};
use crate::upstream;

/// Senders come from 192.0.2.0/24 through a balancer at 127.0.0.1; the balancer itself may look in, too.
const BALANCED: &str = "name = \"plain\"\naddress = \"127.0.0.1:0\"\nallow_from = [\"192.0.2.0/24\", \"2001:db8::/32\", \"127.0.0.0/8\"]\nproxy_protocol_from = [\"127.0.0.1\"]";
const BALANCED_TLS: &str = "name = \"tls-balanced\"\naddress = \"127.0.0.1:0\"\nallow_from = [\"192.0.2.0/24\"]\nproxy_protocol_from = [\"127.0.0.1\"]\n[listener.tls]\ncertificate = \"proxy.pem\"\nprivate_key = \"proxy.key\"";

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x9C, 0x40, 0x0C, 0x38];

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &len, rest].concat()
}

fn v6(source: &str) -> Vec<u8> {
    let source: std::net::Ipv6Addr = source.parse().unwrap();
    let rest = [source.octets().as_slice(), &[0; 16], &[0x9C, 0x40, 1, 1]].concat();
    v2(0x21, 0x21, &rest)
}

fn house() -> Plan {
    House::new()
        .plain_listener(BALANCED)
        .also("[[client]]\nname = \"cluster\"\nnetworks = [\"192.0.2.0/24\"]\n")
}

async fn connect_from(ip: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(ip.parse().unwrap(), 0))
        .unwrap();
    let tcp = socket.connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

#[tokio::test]
async fn the_header_says_who_the_client_is() {
    let target = upstream::echo().await;
    let house = house().open().await;
    let extended = v2(0x21, 0x11, &[V4.as_slice(), &[4, 0, 2, 0, 0]].concat());
    for (header, client, name) in [
        (V1.to_vec(), "192.0.2.7:40000", Some("cluster")),
        (v2(0x21, 0x11, &V4), "192.0.2.7:40000", Some("cluster")),
        (extended, "192.0.2.7:40000", Some("cluster")),
        (v6("::ffff:192.0.2.7"), "192.0.2.7:40000", Some("cluster")),
        (v6("2001:db8::7"), "[2001:db8::7]:40000", None),
    ] {
        // Together with the request, and byte by byte.
        for pieces in [header.len(), 1] {
            let tcp = connect_from("127.0.0.1", house.address("plain")).await;
            let mut client_side = Client::from_tcp(tcp);
            if pieces == 1 {
                for byte in &header {
                    client_side.send([*byte]).await;
                    tokio::task::yield_now().await;
                }
                client_side.tunnel(target).await;
            } else {
                let request = format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\nping");
                client_side
                    .send([header.as_slice(), request.as_bytes()].concat())
                    .await;
                assert_eq!(client_side.reply().await.status, 200);
                assert_eq!(client_side.read(4).await, b"ping");
            }
            drop(client_side);
            let line = house.line().await;
            assert_eq!(
                (&line["client"], &line["client_name"]),
                (&client.into(), &name.into()),
                "{line}"
            );
        }
    }
    house.close().await;
}

#[tokio::test]
async fn the_address_in_the_header_is_the_one_that_may_connect() {
    let house = house().open().await;
    for header in [
        b"PROXY TCP4 198.51.100.1 10.0.0.1 40000 3128\r\n".to_vec(),
        v6("2001:db9::1"),
    ] {
        let mut client = house.client().await;
        client.send(header).await;
        let reply = client.connect("push.test:443").await;
        assert_eq!((reply.status, reply.reason()), (403, "client_denied"));
        assert_ne!(house.line().await["client"], "127.0.0.1");
    }
    house.close().await;
}

#[tokio::test]
async fn a_balancer_that_speaks_for_itself_is_the_client() {
    let target = upstream::echo().await;
    let house = house().open().await;
    for header in [
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &V4),
        v2(0x21, 0x00, &[]),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ] {
        let mut client = house.client().await;
        client.send(header).await;
        client.tunnel(target).await;
        drop(client);
        let line = house.line().await;
        let address = line["client"].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
    }
    house.close().await;
}

#[tokio::test]
async fn tls_begins_behind_the_header() {
    let target = upstream::echo().await;
    let house = house().tls().listener(BALANCED_TLS).open().await;
    let mut tcp = connect_from("127.0.0.1", house.address("tls-balanced")).await;
    tcp.write_all(V1).await.unwrap();
    let mut client = Client::tls_over(tcp, house.ca()).await;
    client.tunnel(target).await;
    client.send("ping").await;
    assert_eq!(client.read(4).await, b"ping");
    drop(client);
    assert_eq!(house.line().await["client"], "192.0.2.7:40000");
    // Without a header there is no TLS, and nobody who could read a reply.
    for opening in [&b"\x16\x03\x01"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let tcp = connect_from("127.0.0.1", house.address("tls-balanced")).await;
        let mut client = Client::from_tcp(tcp);
        client.send(opening).await;
        let said = client.read_to_end().await.unwrap_or_default();
        assert!(said.is_empty(), "{said:?}");
        let line = house.line().await;
        assert_eq!(
            (&line["reason"], &line["status"]),
            (&"bad_proxy_header".into(), &().into())
        );
    }
    house.close().await;
}

#[tokio::test]
async fn who_is_not_trusted_with_a_header_must_not_send_one() {
    let target = upstream::echo().await;
    let house = house().open().await;
    for header in [V1.to_vec(), v2(0x21, 0x11, &V4)] {
        let tcp = connect_from("127.0.0.2", house.address("plain")).await;
        let mut client = Client::from_tcp(tcp);
        client.send(header).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.reason()), (400, "bad_request"));
        let line = house.line().await;
        assert!(line["client"].as_str().unwrap().starts_with("127.0.0.2:"));
    }
    let tcp = connect_from("127.0.0.2", house.address("plain")).await;
    Client::from_tcp(tcp).tunnel(target).await;
    // A header behind a header is no way to be somebody else.
    let mut client = house.client().await;
    client.send([V1, V1].concat()).await;
    assert_eq!(client.reply().await.status, 400);
    house.line_with_reason("bad_request").await;
    house.close().await;
}

#[tokio::test]
async fn who_must_send_a_header_and_does_not_is_told_so() {
    let house = house().open().await;
    let long = v2(0x21, 0x11, &[7; 5000]);
    for opening in [
        b"CONNECT push.test:443 HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 99999\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128\n",
        &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(),
        &v2(0x21, 0x12, &V4),
        &v2(0x2F, 0x11, &V4),
        &v2(0x21, 0x11, &V4[..8]),
        &long,
        b"\0\xFF",
    ] {
        let mut client = house.client().await;
        client.send(opening).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.reason()),
            (400, "bad_proxy_header"),
            "{opening:?}"
        );
        assert_eq!(reply.field("connection"), Some("close"));
        let line = house.line().await;
        assert_eq!(
            (&line["reason"], &line["status"]),
            (&"bad_proxy_header".into(), &400.into())
        );
    }
    // Half a header, and then nothing more to come.
    let mut client = house.client().await;
    client.send(&V1[..20]).await;
    client.finish().await;
    assert_eq!(client.reply().await.reason(), "bad_proxy_header");
    house.line_with_reason("bad_proxy_header").await;
    house.close().await;
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let house = house()
        .set("intake", "handshake_timeout = \"200ms\"")
        .open()
        .await;
    for part in [&b""[..], &V1[..20], &SIGNATURE[..12]] {
        let mut client = house.client().await;
        client.send(part).await;
        assert_eq!(client.reply().await.reason(), "bad_proxy_header");
        house.line_with_reason("bad_proxy_header").await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_health_check_that_only_connects_leaves_no_line() {
    let house = house().open().await;
    let tcp = connect_from("127.0.0.1", house.address("plain")).await;
    house.metric_becomes("tidegate_connections", 1.0).await;
    drop(tcp);
    house.metric_becomes("tidegate_connections", 0.0).await;
    // Lines come in order: one for that check would be here before this one.
    let mut client = house.client().await;
    client.send("x").await;
    let _ = tokio::time::timeout(PATIENCE, client.reply()).await;
    assert_eq!(house.line().await["reason"], "bad_proxy_header");
    assert_eq!(house.lines_left(), Vec::<String>::new());
    house.close().await;
}
