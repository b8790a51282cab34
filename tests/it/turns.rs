//! What is told of the exchanges inside closed tunnels: each of HTTP/1.1, and nothing wrong of HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use tidegate_load::cloud::{Cloud, CloudPlan, Running};
use tidegate_load::onprem::{ProxyClient, Server, ServerPlan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use crate::house::{House, PATIENCE};

/// How long the cloud thinks: nothing that is told may be less.
const THOUGHT: Duration = Duration::from_millis(20);

async fn cloud() -> Running {
    Cloud::start(CloudPlan::new().answer_after(THOUGHT))
        .await
        .unwrap()
}

/// It has two destinations: pushes, and what comes before them.
async fn house(cloud: &Running) -> House {
    let port = cloud.port();
    let destination = |name: &str, hosts: &str| {
        format!(
            "name = \"{name}\"\nhosts = [{hosts}]\nports = [{port}]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]"
        )
    };
    let plan = House::new()
        .set("tunnel", "idle_timeout = \"10s\"")
        .destination(&destination("push", "\"push.test\""))
        .also(&format!(
            "[[destination]]\n{}\n",
            destination("accounts", "\"token.test\", \"onboard.test\"")
        ));
    let plan = ["push.test", "token.test", "onboard.test"]
        .into_iter()
        .fold(plan, |plan, name| plan.name(name, cloud.ips()));
    plan.open().await
}

/// TLS of this version with the cloud, through a tunnel.
async fn opened(
    house: &House,
    cloud: &Running,
    version: &'static SupportedProtocolVersion,
) -> TlsStream<TcpStream> {
    let mut tcp = TcpStream::connect(house.address("plain")).await.unwrap();
    let target = format!("push.test:{}", cloud.port());
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    tcp.write_all(connect.as_bytes()).await.unwrap();
    let mut answer = [0; 39];
    tcp.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 Connection established\r\n\r\n");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(cloud.ca_pem().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("push.test").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await.unwrap()
}

/// A push that the cloud refuses, for want of a token; as good as any to be answered.
async fn exchange(tls: &mut TlsStream<TcpStream>) {
    let body = [b'x'; 200];
    let mut request =
        b"POST /push/v1/messages HTTP/1.1\r\nHost: push.test\r\nContent-Length: 200\r\n\r\n"
            .to_vec();
    request.extend(body);
    tls.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let read = timeout(PATIENCE, tls.read_buf(&mut answer)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 401 "));
}

const EXCHANGES: &str = "tidegate_tunnel_exchanges_total";
const TIMES: &str = "tidegate_tunnel_confirmation_seconds_count";
const SUM: &str = "tidegate_tunnel_confirmation_seconds_sum";

/// Five exchanges in one tunnel, of which so many have a time.
async fn http1(version: &'static SupportedProtocolVersion, timed: u32) {
    let cloud = cloud().await;
    let house = house(&cloud).await;
    let begun = Instant::now();
    let mut tls = opened(&house, &cloud, version).await;
    for _ in 0..5 {
        exchange(&mut tls).await;
    }
    let took = begun.elapsed();
    house.metric_becomes(EXCHANGES, 5.0).await;
    house.metric_becomes(TIMES, timed.into()).await;
    let sum = house.metric(SUM).await;
    let least = THOUGHT.as_secs_f64() * f64::from(timed);
    assert!(
        (least..took.as_secs_f64()).contains(&sum),
        "{sum} s of {took:?}"
    );

    let (_, tunnels) = house.admin("/tunnels").await;
    let tunnels: serde_json::Value = serde_json::from_str(&tunnels).unwrap();
    assert_eq!(tunnels[0]["exchanges"], 5);
    let (_, destinations) = house.admin("/destinations").await;
    let destinations: serde_json::Value = serde_json::from_str(&destinations).unwrap();
    let all = destinations.as_array().unwrap();
    let push = all.iter().find(|one| one["destination"] == "push").unwrap();
    let told = &push["confirmations"];
    assert_eq!(
        (&told["exchanges"], &told["timed"]),
        (&5.into(), &timed.into())
    );
    assert!(told["p50_ms"].as_f64().unwrap() > 19.0, "{told}");

    drop(tls);
    assert_eq!(house.line().await["exchanges"], 5);
    house.close().await;
}

#[tokio::test]
async fn every_exchange_of_http1_is_counted_and_timed() {
    http1(&version::TLS12, 5).await;
}

#[tokio::test]
async fn the_first_of_tls13_is_counted_and_has_no_time() {
    http1(&version::TLS13, 4).await;
}

#[tokio::test]
async fn of_pushes_that_cross_in_an_http2_tunnel_nothing_wrong_is_told() {
    let cloud = cloud().await;
    let house = house(&cloud).await;
    let plan = ServerPlan {
        http2: true,
        tunnels: 8,
        confirmation_wait: PATIENCE,
        ..ServerPlan::new("cucm1", cloud.port(), cloud.ca_pem())
    };
    let begun = Instant::now();
    let server = Server::start(plan, ProxyClient::plain(house.address("plain"))).await;
    let server = Arc::new(server.unwrap());
    let lanes = (0..8).map(|lane| {
        let server = server.clone();
        tokio::spawn(async move {
            for number in 0..5 {
                let id = format!("{lane}-{number}");
                let outcome = server.push("phone", &id, "incoming call").await;
                assert_eq!(outcome.word(), "confirmed", "{outcome:?}");
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    assert_eq!(cloud.confirmed(), 40);
    // One tunnel carried them all.
    assert_eq!(server.proxy().counts().now().established, 3);
    server.close().await;
    let mut told = 0;
    for _ in 0..3 {
        told += house.line().await["exchanges"].as_u64().unwrap();
    }
    assert!(told <= 42, "{told}");
    house.metric_becomes(EXCHANGES, told as f64).await;
    let (times, sum) = (house.metric(TIMES).await, house.metric(SUM).await);
    let least = times * THOUGHT.as_secs_f64();
    assert!(
        sum >= least && sum <= times * begun.elapsed().as_secs_f64(),
        "{times}: {sum}"
    );
    house.close().await;
}
