//! Clients that show a certificate: who they are then, who is turned away, and that a resumed session forgets nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion, version,
};

use crate::client::{Client, user_lines};
use crate::house::{House, Plan};
use crate::upstream;

/// An authority that signs clients' certificates.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

/// A client's certificate and key, PEM.
struct Badge {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        Self { pem, issuer }
    }

    fn badge(&self, common_name: &str, names: &[&str]) -> Badge {
        self.badge_until(common_name, names, 2999)
    }

    fn badge_until(&self, common_name: &str, names: &[&str], year: i32) -> Badge {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !common_name.is_empty() {
            let kind = rcgen::DnType::CommonName;
            params.distinguished_name.push(kind, common_name);
        }
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        Badge {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

const MUTUAL: &str = "name = \"mutual\"\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = \"proxy.pem\"\nprivate_key = \"proxy.key\"\nclient_ca = \"clients.pem\"";

/// A listener `mutual` that wants certificates of this authority, beside the plain one.
fn house(authority: &Authority, more: &str) -> Plan {
    House::new()
        .tls()
        .listener(&format!("{MUTUAL}\n{more}"))
        .file("clients.pem", &authority.pem)
        .set("log", "level = \"debug\"")
}

fn terms(
    house: &House,
    badge: Option<&Badge>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(house.ca().as_bytes()).unwrap())
        .unwrap();
    let builder =
        ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
    Arc::new(match badge {
        None => builder.with_no_client_auth(),
        Some(badge) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(badge.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(badge.key.as_bytes()).unwrap(),
            )
            .unwrap(),
    })
}

async fn shake_hands(
    terms: &Arc<ClientConfig>,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(terms))
        .connect(name, tcp)
        .await
}

#[tokio::test]
async fn the_certificate_says_who_it_is() {
    let authority = Authority::new();
    let target = upstream::echo().await;
    for (client_user, common, names, user) in [
        ("", "cucm1", &["a.test"][..], Some("cucm1")),
        (
            "client_user = \"san\"",
            "cucm1",
            &["a.test", "b.test"],
            Some("a.test"),
        ),
        ("client_user = \"san\"", "cucm1", &[], None),
    ] {
        let house = house(&authority, client_user)
            .also("[[client]]\nname = \"cluster\"\nusers = [\"cucm1\", \"a.test\"]\n")
            .set("authentication", "required = true")
            .file("users.htdigest", &user_lines("ann", "tidegate", "secret"))
            .open()
            .await;
        let badge = authority.badge(common, names);
        let terms = terms(&house, Some(&badge), &[&version::TLS13]);
        let tls = shake_hands(&terms, house.address("mutual")).await.unwrap();
        let mut client = Client::over(tls);
        let reply = client.connect(target).await;
        let Some(user) = user else {
            // A certificate without such a name lets nobody in by itself.
            assert_eq!(reply.status, 407, "{reply:?}");
            assert_eq!(house.line().await["user"], serde_json::Value::Null);
            house.close().await;
            continue;
        };
        assert_eq!(reply.status, 200, "{reply:?}");
        client.send("ping").await;
        assert_eq!(client.read(4).await, b"ping");
        drop(client);
        let line = house.line().await;
        assert_eq!(
            (&line["user"], &line["scheme"], &line["client_name"]),
            (&user.into(), &"certificate".into(), &"cluster".into()),
            "{line}"
        );
        house.metric_becomes("tidegate_authentications_total{scheme=\"certificate\",algorithm=\"none\",result=\"ok\"}", 1.0).await;
        // Others are asked for a password as ever.
        assert_eq!(house.client().await.connect(target).await.status, 407);
        house.close().await;
    }
}

#[tokio::test]
async fn a_client_without_a_good_certificate_gets_no_connection() {
    let authority = Authority::new();
    let house = house(&authority, "").open().await;
    let expired = authority.badge_until("cucm1", &[], 2001);
    let foreign = Authority::new().badge("cucm1", &[]);
    for badge in [None, Some(&expired), Some(&foreign)] {
        for version in [&version::TLS13, &version::TLS12] {
            let terms = terms(&house, badge, &[version]);
            // With TLS 1.3 the client hears of it only when it reads.
            if let Ok(tls) = shake_hands(&terms, house.address("mutual")).await {
                let mut client = Client::over(tls);
                let end = client.read_to_end().await;
                assert!(end.is_err(), "{end:?}");
            }
            let line = house.line().await;
            assert_eq!(
                (&line["reason"], &line["status"], &line["user"]),
                (&"handshake_failed".into(), &().into(), &().into()),
                "{line}"
            );
        }
    }
    let said = house.journal_says("no TLS with this client").await;
    assert!(said.contains("listener=mutual"), "{said}");
    house.close().await;
}

#[tokio::test]
async fn a_resumed_session_remembers_its_user() {
    let authority = Authority::new();
    let target = upstream::echo().await;
    for version in [&version::TLS13, &version::TLS12] {
        let house = house(&authority, "").open().await;
        let badge = authority.badge("cucm1", &[]);
        let terms = terms(&house, Some(&badge), &[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let tls = shake_hands(&terms, house.address("mutual")).await.unwrap();
            // 1.3 gives out its ticket behind the handshake: it is there when the reply is.
            let shaken = tls.get_ref().1.handshake_kind();
            let mut client = Client::over(tls);
            client.tunnel(target).await;
            drop(client);
            assert_eq!(shaken, Some(kind), "{version:?}");
            let line = house.line().await;
            assert_eq!(line["user"], "cucm1", "{kind:?} {version:?} {line}");
        }
        // A session that began where no certificate is asked for is worth nothing where one is.
        let bare = self::terms(&house, None, &[version]);
        let tls = shake_hands(&bare, house.address("tls")).await.unwrap();
        Client::over(tls).tunnel(target).await;
        assert_eq!(house.line().await["user"], serde_json::Value::Null);
        if let Ok(tls) = shake_hands(&bare, house.address("mutual")).await {
            assert_eq!(tls.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
        house.line_with_reason("handshake_failed").await;
        house.close().await;
    }
}

#[tokio::test]
async fn credentials_beside_a_certificate_are_checked_and_win() {
    let authority = Authority::new();
    let target = upstream::echo().await;
    let house = house(&authority, "").user("ann", "secret").open().await;
    let badge = authority.badge("cucm1", &[]);
    let terms = terms(&house, Some(&badge), &[&version::TLS13]);
    for (password, status, user) in [("secret", 200, "ann"), ("wrong", 407, "ann")] {
        let tls = shake_hands(&terms, house.address("mutual")).await.unwrap();
        let mut client = Client::over(tls);
        let basic = base64(&format!("ann:{password}"));
        let field = format!("Proxy-Authorization: Basic {basic}");
        assert_eq!(client.connect_with(target, &field).await.status, status);
        drop(client);
        let line = house.line().await;
        assert_eq!(
            (&line["user"], &line["scheme"]),
            (&user.into(), &"basic".into())
        );
    }
    house.close().await;
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_through_with_its_certificate_alone() {
    let authority = Authority::new();
    let (origin, url) = upstream::listener().await;
    let house = house(&authority, "")
        .set("authentication", "required = true")
        .file("users.htdigest", &user_lines("ann", "tidegate", "secret"))
        .open()
        .await;
    let badge = authority.badge("cucm1", &[]);
    let file = |name: &str, text: &str| {
        let path = house.folder.file(name, text);
        path.to_str().unwrap().to_owned()
    };
    let certificate = file("badge.pem", &badge.certificate);
    let key = file("badge.key", &badge.key);
    let ca = file("ca.pem", house.ca());
    let proxy = format!("https://localhost:{}", house.address("mutual").port());
    let run = |more: Vec<String>| {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["-sS", "-p", "-m", "20", "--noproxy", "", "-x", &proxy])
            .args(["--proxy-cacert", &ca])
            .args(more)
            .arg(format!("http://{url}/"));
        async move { curl.output().await.expect("curl is installed") }
    };
    let greet = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut tcp, _) = origin.accept().await.unwrap();
        let _ = tcp.read(&mut [0; 4096]).await;
        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            .await
            .unwrap();
    };
    let with = ["--proxy-cert", &certificate, "--proxy-key", &key].map(String::from);
    let (said, ()) = tokio::join!(run(with.to_vec()), greet);
    assert_eq!(
        (
            String::from_utf8_lossy(&said.stdout).as_ref(),
            said.status.code()
        ),
        ("hello", Some(0)),
        "{said:?}"
    );
    assert_eq!(house.line().await["user"], "cucm1");
    assert_ne!(run(Vec::new()).await.status.code(), Some(0));
    house.line_with_reason("handshake_failed").await;
    house.close().await;
}
