//! What a tunnel may open with: a TLS hello for another name never reaches the target, and nothing else is held up.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    self, AlertDescription, ClientConfig, ClientConnection, RootCertStore, ServerConfig, version,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::client::Client;
use crate::house::{House, PATIENCE, Plan};
use crate::upstream;

/// A fatal `unrecognized_name`.
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// A house whose one destination looks at what tunnels open with.
fn house(sni: &str) -> Plan {
    house_with(&format!("sni = \"{sni}\""))
}

fn house_with(lines: &str) -> Plan {
    House::new()
        .destination(&format!("name = \"lab\"\nhosts = [\"*.test\", \"127.0.0.1\"]\nports = [\"1-65535\"]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]\n{lines}"))
        .name("push.test", [upstream::LOCALHOST])
}

/// The hello of a real client for this name, one record.
pub(crate) fn hello(name: &'static str) -> Vec<u8> {
    let config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// A minimal hello for this name whose message has so many bytes.
fn hello_of(name: &str, len: usize) -> Vec<u8> {
    let short = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
    let mut list = [&[0][..], &short(name.len()), name.as_bytes()].concat();
    list = [&short(list.len())[..], &list].concat();
    let mut extensions = [&[0, 0][..], &short(list.len()), &list].concat();
    let fixed = 4 + 2 + 32 + 1 + 4 + 2 + 2 + extensions.len() + 4;
    let padding = len - fixed;
    extensions.extend([&[0, 21][..], &short(padding), &vec![0; padding]].concat());
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(short(extensions.len()));
    body.extend(extensions);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1, length[1], length[2], length[3]][..], &body].concat();
    assert_eq!(message.len(), len);
    records(&message, 1 << 14)
}

/// The message in records of so many bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let len = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &len, part].concat()
    };
    message.chunks(size).flat_map(record).collect()
}

/// A tunnel through the house to a target that the test plays.
struct Pair {
    client: Client,
    target: TcpStream,
}

async fn pair(house: &House, listener: &TcpListener, host: &str) -> Pair {
    pair_with(house, listener, host, b"").await
}

/// The same, with bytes behind the CONNECT head in one write.
async fn pair_with(house: &House, listener: &TcpListener, host: &str, early: &[u8]) -> Pair {
    let port = listener.local_addr().unwrap().port();
    let tcp = TcpStream::connect(house.address("plain")).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut client = Client::from_tcp(tcp);
    let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: house.test\r\n\r\n");
    client.send([head.as_bytes(), early].concat()).await;
    let (target, _) = listener.accept().await.unwrap();
    assert_eq!(client.reply().await.status, 200);
    Pair { client, target }
}

/// The target sees its client leave, and not one byte before.
async fn nothing_reached(mut target: TcpStream) {
    let mut seen = Vec::new();
    timeout(PATIENCE, target.read_to_end(&mut seen))
        .await
        .expect("the proxy closes")
        .unwrap();
    assert_eq!(seen, b"");
}

/// The opening is refused: the target sees nothing of it, the client `last_word`, the log all of it.
async fn refused(house: &House, pair: Pair, last_word: &[u8], sni: Option<&str>) {
    let Pair { mut client, target } = pair;
    nothing_reached(target).await;
    assert_eq!(client.read_to_end().await.unwrap(), last_word);
    let line = house.line().await;
    assert_eq!(
        (
            &line["reason"],
            &line["closed_by"],
            &line["sni"],
            &line["bytes_up"],
            &line["status"]
        ),
        (
            &"sni_mismatch".into(),
            &"proxy".into(),
            &sni.into(),
            &0.into(),
            &200.into()
        ),
        "{line}"
    );
}

/// The opening passes as it was sent, and what follows does; the log has the name.
async fn passes(house: &House, pair: Pair, opening: &[u8], sni: Option<&str>) {
    let Pair {
        mut client,
        mut target,
    } = pair;
    assert!(upstream::read(&mut target, opening.len()).await == opening);
    target.write_all(b"answer").await.unwrap();
    assert_eq!(client.read(6).await, b"answer");
    client.send(b"more").await;
    client.finish().await;
    assert_eq!(upstream::read(&mut target, 4).await, b"more");
    drop(target);
    let line = house.line_with_reason("finished").await;
    assert_eq!(line["sni"], serde_json::Value::from(sni), "{line}");
    assert_eq!(line["bytes_up"], opening.len() + 4, "{line}");
}

#[tokio::test]
async fn real_clients_reach_the_name_that_they_asked_for() {
    let house = house("match").open().await;
    let (target, trust) = tls_echo().await;
    for versions in [&[&version::TLS12], &[&version::TLS13]] {
        let config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(trust.clone())
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        for sni in ["push.test", "other.test"] {
            let tcp = tunnel(&house, &format!("PUSH.test.:{}", target.port())).await;
            let name = ServerName::try_from(sni).unwrap();
            let connected = connector.connect(name, tcp).await;
            if sni == "push.test" {
                let mut tls = connected.unwrap();
                tls.write_all(b"works").await.unwrap();
                let mut back = [0; 5];
                tls.read_exact(&mut back).await.unwrap();
                assert_eq!(&back, b"works");
                drop(tls);
                let line = house.line().await;
                assert_eq!(
                    (&line["sni"], &line["target"]),
                    (&sni.into(), &format!("push.test:{}", target.port()).into())
                );
            } else {
                let error = connected.unwrap_err().into_inner().unwrap();
                assert_eq!(
                    error.downcast_ref::<rustls::Error>(),
                    Some(&rustls::Error::AlertReceived(
                        AlertDescription::UnrecognisedName
                    ))
                );
                assert_eq!(house.line_with_reason("sni_mismatch").await["sni"], sni);
            }
        }
    }
    house.close().await;
}

/// A tunnel as a bare socket.
async fn tunnel(house: &House, target: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(house.address("plain")).await.unwrap();
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: house.test\r\n\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
    assert_eq!(
        upstream::read(&mut tcp, established.len()).await,
        established
    );
    tcp
}

/// A TLS server that has every name of these tests, and whom to trust for it.
async fn tls_echo() -> (SocketAddr, RootCertStore) {
    let names = ["push.test", "other.test"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let mut trust = RootCertStore::empty();
    trust.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, address) = upstream::listener().await;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let mut bytes = [0; 64];
                while let Ok(read @ 1..) = tls.read(&mut bytes).await {
                    let _ = tls.write_all(&bytes[..read]).await;
                }
            });
        }
    });
    (address, trust)
}

#[tokio::test]
async fn a_hello_is_read_however_it_is_cut() {
    let house = house("match").open().await;
    let (listener, _) = upstream::listener().await;
    let whole = hello("push.test");
    let in_one_byte_records = records(&whole[5..], 1);
    for bytes in [&whole, &in_one_byte_records] {
        // At once; byte by byte; behind the CONNECT head, whole and half.
        let mut at_once = pair(&house, &listener, "push.test").await;
        at_once.client.send(bytes).await;
        passes(&house, at_once, bytes, Some("push.test")).await;
        let mut one_by_one = pair(&house, &listener, "push.test").await;
        for byte in bytes {
            one_by_one.client.send([*byte]).await;
        }
        passes(&house, one_by_one, bytes, Some("push.test")).await;
        let early = pair_with(&house, &listener, "push.test", bytes).await;
        passes(&house, early, bytes, Some("push.test")).await;
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let mut half = pair_with(&house, &listener, "push.test", first).await;
        half.client.send(second).await;
        passes(&house, half, bytes, Some("push.test")).await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_hello_for_another_name_is_refused_however_it_is_cut() {
    let house = house("match").open().await;
    let (listener, _) = upstream::listener().await;
    let whole = hello("Other.test");
    let in_one_byte_records = records(&whole[5..], 1);
    for bytes in [&whole, &in_one_byte_records] {
        let mut at_once = pair(&house, &listener, "push.test").await;
        at_once.client.send(bytes).await;
        refused(&house, at_once, ALERT, Some("other.test")).await;
        let mut one_by_one = pair(&house, &listener, "push.test").await;
        for byte in bytes {
            one_by_one.client.send([*byte]).await;
        }
        refused(&house, one_by_one, ALERT, Some("other.test")).await;
        let early = pair_with(&house, &listener, "push.test", bytes).await;
        refused(&house, early, ALERT, Some("other.test")).await;
    }
    // A client that goes on sending is listened to until it has read why.
    let Pair { mut client, target } = pair(&house, &listener, "push.test").await;
    client.send([whole, vec![23; 100_000]].concat()).await;
    nothing_reached(target).await;
    assert_eq!(client.read_to_end().await.unwrap(), ALERT);
    client.send(b"still here").await;
    client.finish().await;
    assert_eq!(house.line().await["reason"], "sni_mismatch");
    let refusals = "tidegate_exchanges_total{listener=\"plain\",destination=\"lab\",kind=\"tunnel\",reason=\"sni_mismatch\"}";
    house.metric_becomes(refusals, 7.0).await;
    house
        .metric_becomes("tidegate_tunnel_bytes_total{direction=\"up\"}", 0.0)
        .await;
    house.close().await;
}

#[tokio::test]
async fn a_hello_may_have_16_kib() {
    let house = house("match").open().await;
    let (listener, _) = upstream::listener().await;
    let longest = hello_of("push.test", 16 * 1024);
    let mut fits = pair(&house, &listener, "push.test").await;
    fits.client.send(&longest).await;
    passes(&house, fits, &longest, Some("push.test")).await;
    let mut long = pair(&house, &listener, "push.test").await;
    // Its length stands in its first bytes: the rest is not waited for.
    long.client
        .send(&hello_of("push.test", 16 * 1024 + 1)[..9])
        .await;
    refused(&house, long, ALERT, None).await;
    house.close().await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_while_the_hello_is_incomplete() {
    let house = house("match").open().await;
    let (listener, _) = upstream::listener().await;
    let bytes = hello("push.test");
    let (first, second) = bytes.split_at(50);
    let Pair {
        mut client,
        mut target,
    } = pair(&house, &listener, "push.test").await;
    target.write_all(b"220 ready").await.unwrap();
    assert_eq!(client.read(9).await, b"220 ready");
    client.send(first).await;
    target.write_all(b"250 go on").await.unwrap();
    assert_eq!(client.read(9).await, b"250 go on");
    client.send(second).await;
    passes(&house, Pair { client, target }, &bytes, Some("push.test")).await;
    // In the middle of other words an alert would say nothing: the end alone does.
    let Pair {
        mut client,
        mut target,
    } = pair(&house, &listener, "push.test").await;
    target.write_all(b"220 ready").await.unwrap();
    assert_eq!(client.read(9).await, b"220 ready");
    client.send(hello("other.test")).await;
    refused(&house, Pair { client, target }, b"", Some("other.test")).await;
    house.close().await;
}

#[tokio::test]
async fn what_is_no_tls_passes_where_the_name_need_only_match() {
    let house = house("match").open().await;
    let (listener, _) = upstream::listener().await;
    for opening in [&b"EHLO push.test\r\n"[..], b"\x16\x01"] {
        let mut plain = pair(&house, &listener, "push.test").await;
        plain.client.send(opening).await;
        passes(&house, plain, opening, None).await;
    }
    // A hello without a name, as one to an address is.
    let nameless = hello("127.0.0.1");
    let mut client = pair(&house, &listener, "push.test").await;
    client.client.send(&nameless).await;
    passes(&house, client, &nameless, None).await;
    // Half a hello, and then no more of it: no server can take it for one.
    let Pair {
        mut client,
        mut target,
    } = pair(&house, &listener, "push.test").await;
    client.send(&nameless[..50]).await;
    client.finish().await;
    assert_eq!(upstream::read(&mut target, 50).await, &nameless[..50]);
    target.write_all(b"what?").await.unwrap();
    assert_eq!(client.read(5).await, b"what?");
    drop(target);
    assert_eq!(house.line().await["reason"], "finished");
    // TLS that is no hello might be one to somebody else.
    let mut odd = pair(&house, &listener, "push.test").await;
    odd.client.send(b"\x16\x03\x01\x00\x02\x02\x00").await;
    refused(&house, odd, ALERT, None).await;
    house.close().await;
}

#[tokio::test]
async fn nothing_but_a_hello_for_the_target_passes_where_it_is_required() {
    let house = house("require").open().await;
    let (listener, _) = upstream::listener().await;
    let right = hello("push.test");
    let mut client = pair(&house, &listener, "push.test").await;
    client.client.send(&right).await;
    passes(&house, client, &right, Some("push.test")).await;
    for (opening, last_word, sni) in [
        (hello("other.test"), ALERT, Some("other.test")),
        (hello("127.0.0.1"), ALERT, None),
        (b"EHLO push.test\r\n".to_vec(), b"", None),
    ] {
        let mut client = pair(&house, &listener, "push.test").await;
        client.client.send(opening).await;
        refused(&house, client, last_word, sni).await;
    }
    let mut half = pair(&house, &listener, "push.test").await;
    half.client.send(&right[..50]).await;
    half.client.finish().await;
    refused(&house, half, b"", None).await;
    // A tunnel that was opened ahead of time and not used is no offence.
    let Pair { mut client, target } = pair(&house, &listener, "push.test").await;
    client.finish().await;
    nothing_reached(target).await;
    assert_eq!(house.line().await["reason"], "finished");
    house.close().await;
}

#[tokio::test]
async fn an_address_goes_by_the_names_of_its_destination() {
    let house = house("match").open().await;
    let (listener, _) = upstream::listener().await;
    for (name, passing) in [
        ("push.test", true),
        ("any.test", true),
        ("elsewhere.example", false),
    ] {
        let bytes = hello(name);
        let mut client = pair(&house, &listener, "127.0.0.1").await;
        client.client.send(&bytes).await;
        if passing {
            passes(&house, client, &bytes, Some(name)).await;
        } else {
            refused(&house, client, ALERT, Some(name)).await;
        }
    }
    house.close().await;
}

#[tokio::test]
async fn where_it_is_off_nothing_is_looked_at() {
    let house = house("off").open().await;
    let (listener, _) = upstream::listener().await;
    let bytes = hello("other.test");
    let mut client = pair(&house, &listener, "push.test").await;
    client.client.send(&bytes).await;
    passes(&house, client, &bytes, None).await;
    house.close().await;
}

#[tokio::test]
async fn rules_that_only_report_let_another_name_pass_and_count_it() {
    let house = house_with("sni = \"require\"\nreport_only = true")
        .open()
        .await;
    let (listener, _) = upstream::listener().await;
    let bytes = hello("other.test");
    for (opening, sni) in [(&bytes[..], Some("other.test")), (b"EHLO", None)] {
        let Pair {
            mut client,
            mut target,
        } = pair(&house, &listener, "push.test").await;
        client.send(opening).await;
        assert!(upstream::read(&mut target, opening.len()).await == opening);
        client.finish().await;
        drop(target);
        let line = house.line().await;
        assert_eq!(
            (&line["would_refuse"], &line["sni"]),
            (&"sni_mismatch".into(), &serde_json::Value::from(sni)),
            "{line}"
        );
    }
    let counted =
        "tidegate_would_refuse_total{destination=\"lab\",client=\"none\",reason=\"sni_mismatch\"}";
    house.metric_becomes(counted, 2.0).await;
    let (_, rows) = house.admin("/would-refuse").await;
    assert!(
        rows.contains("sni_mismatch") && rows.contains(r#"sni = \"off\""#),
        "{rows}"
    );
    house.close().await;
}

#[tokio::test]
async fn half_a_hello_holds_no_place_longer_than_silence_may_last() {
    let house = house("match")
        .set("tunnel", "idle_timeout = \"1s\"")
        .open()
        .await;
    let (listener, _) = upstream::listener().await;
    let Pair { mut client, target } = pair(&house, &listener, "push.test").await;
    client.send(&hello("other.test")[..50]).await;
    // Bytes would be lost: the end is a reset, not a clean one.
    assert!(client.read_to_end().await.is_err());
    let line = house.line().await;
    assert_eq!(
        (&line["reason"], &line["closed_by"], &line["bytes_up"]),
        (&"idle".into(), &"proxy".into(), &0.into())
    );
    drop(target);
    house
        .metric_becomes("tidegate_tunnels{generation=\"current\"}", 0.0)
        .await;
    house.close().await;
}

#[tokio::test]
async fn a_client_that_resets_while_it_is_held_is_gone() {
    let house = house("match").open().await;
    let (listener, _) = upstream::listener().await;
    let mut tcp = tunnel(
        &house,
        &format!("push.test:{}", listener.local_addr().unwrap().port()),
    )
    .await;
    let (mut target, _) = listener.accept().await.unwrap();
    tcp.write_all(&hello("push.test")[..50]).await.unwrap();
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    let error = timeout(PATIENCE, target.read(&mut [0; 8]))
        .await
        .expect("the end comes");
    assert_eq!(
        error.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert_eq!(house.line().await["reason"], "client_reset");
    house.close().await;
}

#[tokio::test]
async fn presets_look_and_answers_outside_of_published_ranges_are_told_once() {
    let (listener, address) = upstream::listener().await;
    let preset = format!(
        "preset = \"apns\"\nports = [{}]\nnetworks = [\"127.0.0.0/8\"]",
        address.port()
    );
    let house = House::new()
        .destination(&preset)
        .name("api.push.apple.com", [upstream::LOCALHOST])
        .open()
        .await;
    for _ in 0..2 {
        let mut client = pair(&house, &listener, "api.push.apple.com").await;
        client.client.send(hello("push.test")).await;
        refused(&house, client, ALERT, Some("push.test")).await;
    }
    let told = house.journal_says("published ranges").await;
    assert!(
        told.contains("destination=apns") && told.contains("address=127.0.0.1"),
        "{told}"
    );
    house
        .metric_becomes(
            "tidegate_published_range_misses_total{destination=\"apns\"}",
            2.0,
        )
        .await;
    assert_eq!(
        house.everything_said().matches("published ranges").count(),
        1
    );
    house.close().await;
}
