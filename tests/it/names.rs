//! Names while DNS is out, lies, or hides behind TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_load::names::{Failure, Names};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::house::{House, Plan, certificate};
use crate::upstream::{self, LOCALHOST};

/// Answers are good for a second only.
fn forgetful() -> Plan {
    House::new()
        .set("dns", "min_ttl = \"0s\"")
        .set("dns", "max_ttl = \"1s\"")
        .set("dns", "timeout = \"900ms\"")
        .name("push.test", [LOCALHOST])
}

/// Opens tunnels, all of which must stand, until a line fits.
async fn tunnel_until(house: &House, port: u16, fits: impl Fn(&serde_json::Value) -> bool) {
    loop {
        let mut client = house.client().await;
        client.tunnel(format!("push.test:{port}")).await;
        drop(client);
        let line = house.line().await;
        if fits(&line) {
            return;
        }
    }
}

#[tokio::test]
async fn an_outage_of_dns_costs_no_push() {
    for failure in [Failure::Silent, Failure::Servfail] {
        let port = upstream::echo().await.port();
        let house = forgetful().open().await;
        tunnel_until(&house, port, |line| line["dns_stale_ms"].is_null()).await;
        house.names.fail("push.test", failure);
        tunnel_until(&house, port, |line| line["dns_stale_ms"].is_u64()).await;
        house.journal_says("serving stale").await;
        while house.metric("tidegate_dns_stale_age_seconds").await == 0.0 {
            tunnel_until(&house, port, |_| true).await;
        }
        assert!(
            house
                .metric("tidegate_dns_lookups_total{result=\"stale\"}")
                .await
                >= 1.0
        );
        house.names.set("push.test", [LOCALHOST]);
        tunnel_until(&house, port, |line| line["dns_stale_ms"].is_null()).await;
        house.journal_says("answer again").await;
        house
            .metric_becomes("tidegate_dns_stale_age_seconds", 0.0)
            .await;
        house.close().await;
    }
}

#[tokio::test]
async fn a_name_that_is_gone_is_gone_and_old_answers_may_be_forbidden() {
    let port = upstream::echo().await.port();
    for (failure, serve_stale, reason) in [
        (Failure::NxDomain, "24h", "name_not_found"),
        (Failure::Silent, "0s", "dns_timeout"),
        (Failure::Servfail, "0s", "dns_failed"),
    ] {
        let house = forgetful()
            .set("dns", &format!("serve_stale = \"{serve_stale}\""))
            .open()
            .await;
        tunnel_until(&house, port, |_| true).await;
        house.names.fail("push.test", failure);
        let reply = loop {
            let target = format!("push.test:{port}");
            let reply = house.client().await.connect(target).await;
            if reply.status != 200 {
                break reply;
            }
        };
        assert_eq!(reply.reason(), reason);
        house.close().await;
    }
}

#[tokio::test]
async fn of_an_answer_only_what_the_destination_may_reach_is_dialled() {
    let port = upstream::echo().await.port();
    let metadata: IpAddr = "169.254.169.254".parse().unwrap();
    let house = House::new()
        .name("push.test", [metadata, LOCALHOST])
        .name("evil.test", [metadata])
        .name("nowhere.test", ["0.0.0.0".parse().unwrap()])
        .open()
        .await;
    tunnel_until(&house, port, |line| {
        assert_eq!(line["resolved"].as_array().unwrap().len(), 2, "{line}");
        assert_eq!(line["attempts"].as_array().unwrap().len(), 1, "{line}");
        true
    })
    .await;
    for (name, reason) in [("evil", "address_denied"), ("nowhere", "dns_failed")] {
        let target = format!("{name}.test:{port}");
        let reply = house.client().await.connect(target).await;
        assert_eq!(reply.reason(), reason, "{name}");
    }
    house.close().await;
}

#[tokio::test]
async fn names_come_over_tls_from_a_server_that_dns_ca_vouches_for() {
    let port = upstream::echo().await.port();
    let hidden = Names::start().await.unwrap();
    hidden.set("push.test", [LOCALHOST]);
    let (authority, chain, key) = certificate(&["dns.test"]);
    let front = tls_before(hidden.addr(), &chain, &key).await;
    // The house's own server says that there is no such name: it is not asked.
    let house = House::new()
        .also_asking(format!("tls://{front}#dns.test"))
        .file("dns-ca.pem", &authority)
        .set("dns", "ca = \"dns-ca.pem\"")
        .set("dns", "timeout = \"10s\"")
        .open()
        .await;
    tunnel_until(&house, port, |_| true).await;
    house.close().await;
}

/// DNS over TLS is DNS over TCP, inside TLS.
async fn tls_before(behind: SocketAddr, chain: &str, key: &str) -> SocketAddr {
    let config = upstream::tls(chain, key);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(tcp).await else {
                continue;
            };
            let mut plain = TcpStream::connect(behind).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
            });
        }
    });
    address
}
