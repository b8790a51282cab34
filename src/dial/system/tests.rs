//! Real name servers on loopback, and files of the test's own.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "it plays the other side, and says what it cannot test"
)]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_load::names::{Kind, Names, Running};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{Authorities, DnsServer};
use crate::dial::resolve::Answer;

fn dns(servers: Vec<DnsServer>) -> config::Dns {
    config::Dns {
        servers,
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_secs(3600),
        negative_ttl: Duration::from_secs(5),
        serve_stale: Duration::ZERO,
        timeout: Duration::from_secs(5),
        ca: None,
    }
}

/// The system with files in this folder.
fn system(dns: config::Dns, folder: &Path) -> System {
    let (hosts, resolv_conf) = (folder.join("hosts"), folder.join("resolv.conf"));
    System::new(dns, NativeRoots::load(), hosts, resolv_conf)
}

/// Of these servers, with no files at all.
fn only(servers: &[SocketAddr]) -> System {
    let servers = servers.iter().copied().map(DnsServer::Plain).collect();
    system(dns(servers), Path::new("/nowhere"))
}

async fn ask(system: &mut System, name: &str) -> Answer {
    system.ask(&name.into(), Family::V4).await.0
}

fn ips<const N: usize>(addresses: [&str; N]) -> Answer {
    Ok(addresses
        .map(|address| address.parse::<IpAddr>().unwrap())
        .into())
}

async fn names(name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Running {
    let names = Names::start().await.unwrap();
    names.set(name, addresses);
    names
}

#[tokio::test]
async fn servers_that_were_all_lost_are_used_again_when_one_is_back() {
    let push = [IpAddr::from([192, 0, 2, 1])];
    let (one, other) = (
        names("push.test", push).await,
        names("push.test", push).await,
    );
    let addresses = [one.addr(), other.addr()];
    let servers = addresses.map(DnsServer::Plain).into();
    let impatient = config::Dns {
        timeout: Duration::from_secs(1),
        ..dns(servers)
    };
    let mut system = system(impatient, Path::new("/nowhere"));
    assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.1"]));
    drop((one, other));
    let error = ask(&mut system, "push.test").await.unwrap_err();
    assert!(!error.is_answer(), "{error}");
    let back = loop {
        // The port may be taken for a moment.
        if let Ok(names) = Names::start_at(addresses[1], Duration::from_secs(30)).await {
            break names;
        }
        tokio::task::yield_now().await;
    };
    back.set("push.test", [IpAddr::from([192, 0, 2, 2])]);
    assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.2"]));
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_comes_over_tcp() {
    let many: Vec<IpAddr> = (0..200).map(|n| IpAddr::from([192, 0, 2, n])).collect();
    let names = names("big.test", many.iter().copied()).await;
    let mut system = only(&[names.addr()]);
    let found = ask(&mut system, "big.test").await.unwrap();
    assert_eq!(found.to_vec(), many);
    assert_eq!(names.queries("big.test", Kind::A), 2, "first as a datagram");
}

#[tokio::test]
async fn addresses_that_lead_nowhere_are_dropped_and_are_no_answer_alone() {
    let names = names(
        "mixed.test",
        [[0, 0, 0, 0], [192, 0, 2, 1]].map(IpAddr::from),
    )
    .await;
    names.set("blocked.test", [IpAddr::from([0, 0, 0, 0])]);
    let mut system = only(&[names.addr()]);
    assert_eq!(ask(&mut system, "mixed.test").await, ips(["192.0.2.1"]));
    let blocked = ask(&mut system, "blocked.test").await;
    assert_eq!(blocked, Err(ResolveError::Nowhere));
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_is_followed() {
    let folder = Folder::new("hosts");
    let names = names("push.test", [IpAddr::from([192, 0, 2, 1])]).await;
    folder.write("hosts", "192.0.2.9 push.test lab.test\n");
    let servers = vec![DnsServer::Plain(names.addr())];
    let mut system = system(dns(servers), &folder.0);
    assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.9"]));
    let v6 = system.ask(&"push.test".into(), Family::V6).await.0;
    assert_eq!(
        v6,
        Err(ResolveError::NoAddress),
        "its other family is not asked"
    );
    assert_eq!(system.look_around(), []);
    folder.write("hosts", "192.0.2.10 lab.test\n");
    let mut other = system.look_around();
    other.sort();
    assert_eq!(other, ["lab.test".into(), Arc::<str>::from("push.test")]);
    assert_eq!(ask(&mut system, "lab.test").await, ips(["192.0.2.10"]));
    assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.1"]));
    fs::remove_file(folder.0.join("hosts")).unwrap();
    assert_eq!(system.look_around(), ["lab.test".into()]);
}

/// resolv.conf knows no ports: these servers need port 53 of a loopback address.
#[tokio::test]
async fn resolv_conf_is_followed() {
    let folder = Folder::new("resolv");
    let start = |ip: [u8; 4]| Names::start_at((ip, 53).into(), Duration::from_secs(30));
    let (one, other) = match (start([127, 0, 0, 53]).await, start([127, 0, 0, 54]).await) {
        (Ok(one), Ok(other)) => (one, other),
        (one, other) => {
            eprintln!("skipped: port 53 cannot be used here ({one:?}, {other:?})");
            return;
        }
    };
    one.set("push.test", [IpAddr::from([192, 0, 2, 1])]);
    other.set("push.test", [IpAddr::from([192, 0, 2, 2])]);
    let mut system = system(dns(Vec::new()), &folder.0);
    let none = Err(ResolveError::Unreachable);
    assert_eq!(ask(&mut system, "push.test").await, none, "no file yet");
    folder.write("resolv.conf", "nameserver 127.0.0.53\noptions rotate\n");
    assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.1"]));
    folder.write("resolv.conf", "nameserver 127.0.0.54\n");
    system.look_around();
    assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.2"]));
    folder.write("resolv.conf", "# empty\n");
    system.look_around();
    assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.2"]));
}

#[tokio::test]
async fn names_are_asked_over_tls() {
    let names = names("push.test", [IpAddr::from([192, 0, 2, 1])]).await;
    let front = Front::new("dns.test");
    let address = front.dot(names.addr()).await;
    let server = |name: &str| DnsServer::Tls {
        address,
        name: name.into(),
    };
    let mut trusting = front.client(server("dns.test"));
    for _ in 0..2 {
        assert_eq!(ask(&mut trusting, "push.test").await, ips(["192.0.2.1"]));
    }
    let mut other_name = front.client(server("other.test"));
    assert!(ask(&mut other_name, "push.test").await.is_err());
    let mut untrusting = system(dns(vec![server("dns.test")]), Path::new("/nowhere"));
    assert!(ask(&mut untrusting, "push.test").await.is_err());
    assert_eq!(names.queries("push.test", Kind::A), 2);
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_although_it_is_asked_again() {
    let push = [IpAddr::from([192, 0, 2, 1])];
    let names = names("push.test", push).await;
    // Slower than it takes to ask again.
    names.delay("push.test", Duration::from_millis(1_700));
    let servers = vec![DnsServer::Plain(names.addr())];
    let dns = config::Dns {
        timeout: Duration::from_secs(3),
        ..dns(servers)
    };
    let mut system = system(dns, Path::new("/nowhere"));
    assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.1"]));
    assert!(names.queries("push.test", Kind::A) > 1);
}

#[tokio::test]
async fn a_connection_that_died_in_silence_costs_no_answer() {
    let names = names("push.test", [IpAddr::from([192, 0, 2, 1])]).await;
    let front = Front::new("dns.test");
    let address = front.dot(names.addr()).await;
    let mut system = front.client(DnsServer::Tls {
        address,
        name: "dns.test".into(),
    });
    assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.1"]));
    front.kill.notify_waiters();
    names.set("push.test", [IpAddr::from([192, 0, 2, 2])]);
    for _ in 0..2 {
        assert_eq!(ask(&mut system, "push.test").await, ips(["192.0.2.2"]));
    }
}

#[tokio::test]
async fn names_are_asked_over_https() {
    let names = names("push.test", [IpAddr::from([192, 0, 2, 1])]).await;
    let front = Front::new("dns.test");
    let address = front.doh(names.addr()).await;
    let server = |name: &str| DnsServer::Https {
        address,
        name: name.into(),
        path: "/dns-query".into(),
    };
    let mut trusting = front.client(server("dns.test"));
    for _ in 0..2 {
        assert_eq!(ask(&mut trusting, "push.test").await, ips(["192.0.2.1"]));
    }
    let mut other_name = front.client(server("other.test"));
    assert!(ask(&mut other_name, "push.test").await.is_err());
    assert_eq!(names.queries("push.test", Kind::A), 2);
}

/// TLS in front of a plain name server.
struct Front {
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    /// The connections of this moment stay open, and nothing comes over them any more.
    kill: Arc<Notify>,
}

impl Front {
    fn new(name: &str) -> Self {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let signed = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self {
            authority: signed.der().clone(),
            certificate: certificate.der().clone(),
            key: key.serialize_pem().into_bytes(),
            kill: Arc::default(),
        }
    }

    /// Whoever trusts its authority, and asks this server.
    fn client(&self, server: DnsServer) -> System {
        let ca = Authorities {
            path: "dns-ca.pem".into(),
            certificates: [self.authority.clone()].into(),
        };
        let dns = config::Dns {
            ca: Some(ca),
            ..dns(vec![server])
        };
        system(dns, Path::new("/nowhere"))
    }

    fn acceptor(&self, protocol: &[u8]) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_slice(&self.key).unwrap();
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![self.certificate.clone()], key)
                .unwrap();
        if !protocol.is_empty() {
            config.alpn_protocols = vec![protocol.to_vec()];
        }
        TlsAcceptor::from(Arc::new(config))
    }

    /// DNS over TLS is DNS over TCP, inside TLS.
    async fn dot(&self, behind: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, kill) = (self.acceptor(b""), Arc::clone(&self.kill));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, kill) = (acceptor.clone(), Arc::clone(&kill));
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let mut plain = TcpStream::connect(behind).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut tls, &mut plain) => {}
                        () = kill.notified() => std::future::pending().await,
                    }
                });
            }
        });
        address
    }

    /// DNS over HTTPS is a message in the body of a POST.
    async fn doh(&self, behind: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = self.acceptor(b"h2");
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let service = service_fn(move |request| pass_on(request, behind));
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(tls), service)
                        .await;
                });
            }
        });
        address
    }
}

async fn pass_on(
    request: Request<Incoming>,
    behind: SocketAddr,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    assert_eq!(request.uri().path(), "/dns-query");
    let question = request.into_body().collect().await?.to_bytes();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question, behind).await.unwrap();
    let mut answer = vec![0; 1500];
    let length = socket.recv(&mut answer).await.unwrap();
    answer.truncate(length);
    let response = Response::builder().header("content-type", "application/dns-message");
    Ok(response.body(Full::new(answer.into())).unwrap())
}

/// A folder of this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("tidegate-dial-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// As a package or a DHCP client does: a new file in place of the old.
    fn write(&self, name: &str, text: &str) {
        let new = self.0.join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, self.0.join(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
