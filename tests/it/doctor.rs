//! What `tidegate doctor` says of a good way, and of each thing that can be wrong with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tidegate_load::names::{Failure, Names};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::house::{Folder, PATIENCE};
use crate::upstream::{self, LOCALHOST, hanging, refusing};

/// Whom a server's certificate is of, and what is wrong with it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Paper {
    pub(crate) issuer: &'static str,
    /// Whose authority the issuer is; empty: it does not say.
    pub(crate) organization: &'static str,
    /// Empty: it has none, but in its CN.
    pub(crate) name: &'static str,
    /// An intermediate "Lab Between" has signed it, and ends in so many days.
    pub(crate) between: Option<i64>,
    /// Days from now at which it ends.
    pub(crate) days: i64,
}

/// A server that answers every `HEAD` over TLS, and what it does otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manners {
    /// How many seconds its clock is ahead.
    pub(crate) ahead: i64,
    /// Requests that are longer have no answer.
    pub(crate) longest: Option<usize>,
    /// It closes over a request that is longer.
    pub(crate) closes_over: Option<usize>,
    /// It answers so many requests of a connection, and none after them.
    pub(crate) requests: Option<usize>,
}

/// A good one, for `push.test`, of the authority "Lab CA".
pub(crate) const GOOD: Paper = Paper {
    issuer: "Lab CA",
    organization: "",
    name: "push.test",
    between: None,
    days: 365,
};

impl Paper {
    /// The authority's certificate, the server's and its key, PEM.
    fn make(self) -> (String, String, String) {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, self.issuer);
        if !self.organization.is_empty() {
            authority
                .distinguished_name
                .push(rcgen::DnType::OrganizationName, self.organization);
        }
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let mut issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = [self.name].map(str::to_owned).into();
        let names = names.into_iter().filter(|name| !name.is_empty());
        let mut server = rcgen::CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
        let days = |days: i64| {
            let day = Duration::from_secs(24 * 60 * 60);
            let off = day * u32::try_from(days.abs()).unwrap();
            let now = SystemTime::now();
            if days < 0 { now - off } else { now + off }
        };
        let mut chain = String::new();
        if let Some(ends) = self.between {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut between = rcgen::CertificateParams::new(Vec::new()).unwrap();
            between.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            between.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
            let common_name = rcgen::DnType::CommonName;
            between.distinguished_name.push(common_name, "Lab Between");
            between.not_before = days(ends - 730).into();
            between.not_after = days(ends).into();
            chain = between.signed_by(&key, &issuer).unwrap().pem();
            issuer = rcgen::Issuer::new(between, key);
        }
        server.not_before = days(self.days - 730).into();
        server.not_after = days(self.days).into();
        let server = server.signed_by(&key, &issuer).unwrap();
        (authority_pem, server.pem() + &chain, key.serialize_pem())
    }
}

/// Listens on this address, and says which authority would be right to trust.
pub(crate) async fn server(
    address: SocketAddr,
    paper: Paper,
    manners: Manners,
) -> (SocketAddr, String) {
    let (authority, chain, key) = paper.make();
    let config = upstream::tls(&chain, &key);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let mut answered = 0;
                let mut head = Vec::new();
                while tls.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                    if manners
                        .closes_over
                        .is_some_and(|longest| head.len() > longest)
                    {
                        return;
                    }
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    assert!(head.starts_with(b"HEAD / HTTP/1.1\r\n"), "{head:?}");
                    let is_swallowed = manners.longest.is_some_and(|longest| head.len() > longest)
                        || manners.requests == Some(answered);
                    head.clear();
                    if is_swallowed {
                        continue;
                    }
                    answered += 1;
                    let off = Duration::from_secs(manners.ahead.unsigned_abs());
                    let now = SystemTime::now();
                    let date = if manners.ahead < 0 {
                        now - off
                    } else {
                        now + off
                    };
                    let date = httpdate::fmt_http_date(date);
                    let reply =
                        format!("HTTP/1.1 404 No\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
                    let _ = tls.write_all(reply.as_bytes()).await;
                }
            });
        }
    });
    (address, authority)
}

/// The world that a doctor is sent into.
pub(crate) struct Ward {
    pub(crate) names: tidegate_load::names::Running,
    pub(crate) folder: Folder,
}

impl Ward {
    pub(crate) async fn new() -> Self {
        Self {
            names: Names::start().await.unwrap(),
            folder: Folder::new(),
        }
    }

    /// With one destination, by its lines: exit code and findings.
    pub(crate) async fn doctor(&self, destination: &str, arguments: &[&str]) -> (i32, Vec<Value>) {
        let servers = self.names.addr().to_string();
        self.doctor_asking(&servers, destination, arguments).await
    }

    /// With another name server.
    async fn doctor_asking(
        &self,
        server: &str,
        destination: &str,
        arguments: &[&str],
    ) -> (i32, Vec<Value>) {
        let (code, out) = self
            .run(server, destination, &[&["--json"], arguments].concat())
            .await;
        let report: Value =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
        (code, report["findings"].as_array().unwrap().clone())
    }

    async fn run(&self, server: &str, destination: &str, arguments: &[&str]) -> (i32, String) {
        let text = format!("[dns]\nservers = [\"{server}\"]\n[[destination]]\n{destination}\n");
        let file = self.folder.file("t.toml", &text);
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("doctor")
            .arg("--config")
            .arg(file)
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = timeout(PATIENCE * 2, output)
            .await
            .expect("it ends")
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().expect("an exit code");
        assert!(code != 78, "{err}");
        (code, out)
    }

    /// A destination for `push.test` at this port, that trusts this authority.
    pub(crate) fn lab(&self, port: u16, authority: &str) -> String {
        self.folder.file("ca.pem", authority);
        format!(
            "name = \"lab\"\nhosts = [\"push.test\"]\nports = [{port}]\nnetworks = [\"127.0.0.0/8\"]\nca = \"ca.pem\""
        )
    }
}

/// The worst finding; the first where several are as bad.
pub(crate) fn worst(findings: &[Value]) -> &Value {
    &findings[0]
}

/// What is found first says all of it: how bad, the reason's word, words of what and of the remedy.
pub(crate) fn says(finding: &Value, severity: &str, reason: Option<&str>, words: &[&str]) {
    assert_eq!(finding["severity"], severity, "{finding}");
    assert_eq!(finding["reason"].as_str(), reason, "{finding}");
    let text = [&finding["what"], &finding["remedy"]]
        .map(|part| part.as_str().unwrap_or_default())
        .join(" -> ");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text}");
    }
}

fn local(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port))
}

#[tokio::test]
async fn a_good_way_is_a_line_that_says_everything_and_nothing_fails() {
    let ward = Ward::new().await;
    let (address, authority) = server(local(1, 0), GOOD, Manners::default()).await;
    ward.names.set("push.test", [LOCALHOST]);
    let lab = ward.lab(address.port(), &authority);
    let server = ward.names.addr().to_string();
    let (code, text) = ward.run(&server, &lab, &[]).await;
    assert_eq!(code, 0, "{text}");
    let line = text
        .lines()
        .find(|line| line.starts_with("ok    lab push.test:"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    for words in [
        "(push)",
        "its address is good",
        "1 A, TTL 30 s",
        "TCP ",
        "TLS 1.3",
        "\"Lab CA\"",
        "good for 36",
    ] {
        assert!(line.contains(words), "{words:?} is missing in {line}");
    }
    assert!(text.contains("the clock is within 60 s"), "{text}");
    assert!(text.ends_with("0 failures, 0 warnings\n"), "{text}");
}

#[tokio::test]
async fn names_that_fail_are_told_with_what_to_do() {
    for (failure, reason, words) in [
        (
            None,
            "name_not_found",
            &["push.test does not exist", "spelling"][..],
        ),
        (
            Some(Failure::Servfail),
            "dns_failed",
            &["cannot tell", "dns.servers"],
        ),
        (
            Some(Failure::Silent),
            "dns_timeout",
            &["no name server answered", "let UDP and TCP "],
        ),
    ] {
        let ward = Ward::new().await;
        if let Some(failure) = failure {
            ward.names.set("push.test", [LOCALHOST]);
            ward.names.fail("push.test", failure);
        }
        let lab = ward.lab(443, &GOOD.make().0);
        let (code, findings) = ward.doctor(&lab, &[]).await;
        assert_eq!(code, 1, "{findings:?}");
        says(worst(&findings), "fail", Some(reason), words);
        if failure == Some(Failure::Silent) {
            // The port that it is asked at, not DNS's usual one.
            let port = format!("TCP {} to 127.0.0.1 pass", ward.names.addr().port());
            says(worst(&findings), "fail", Some(reason), &[&port]);
        }
    }
}

#[tokio::test]
async fn a_filter_that_answers_with_nobodys_address_is_named_once() {
    let ward = Ward::new().await;
    ward.names.set("push.test", ["0.0.0.0".parse().unwrap()]);
    let lab = ward.lab(443, &GOOD.make().0);
    let (code, findings) = ward.doctor(&lab, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    let words = ["0.0.0.0", "DNS filter"];
    says(worst(&findings), "fail", Some("dns_failed"), &words);
    let names = findings.iter().filter(|one| one["check"] == "names");
    assert_eq!(names.count(), 1, "{findings:?}");
}

#[tokio::test]
async fn a_name_server_over_tls_that_is_not_trusted_needs_its_authority() {
    let ward = Ward::new().await;
    let (address, _) = server(local(1, 0), GOOD, Manners::default()).await;
    let lab = ward.lab(443, &GOOD.make().0);
    let over_tls = format!("tls://{address}#push.test");
    let (code, findings) = ward.doctor_asking(&over_tls, &lab, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    let words = ["certificate is not trusted", "dns.ca"];
    says(worst(&findings), "fail", Some("dns_failed"), &words);
    // One that is not there has another cause: its port.
    let nobody = refusing().await;
    let over_tls = format!("tls://{nobody}#push.test");
    let (_, findings) = ward.doctor_asking(&over_tls, &lab, &[]).await;
    let way = format!("let TCP {} (DNS over TLS) to 127.0.0.1 pass", nobody.port());
    says(worst(&findings), "fail", Some("dns_failed"), &[&way]);
}

#[tokio::test]
async fn every_address_is_looked_at_and_what_is_too_much_is_said() {
    let ward = Ward::new().await;
    let port = refusing().await.port();
    let lab = ward.lab(port, &GOOD.make().0);
    for (count, more, left) in [(70_u8, 67, 0), (255, 252, 0)] {
        let addresses = (0..count).map(|last| IpAddr::from([127, 0, 1, last]));
        ward.names.set("push.test", addresses);
        let (code, findings) = ward.doctor(&lab, &[]).await;
        assert_eq!(code, 1);
        let peer = worst(&findings)["peer"].as_str().unwrap();
        assert!(peer.ends_with(&format!("and {more} more")), "{peer}");
        let over = findings
            .iter()
            .any(|one| one["what"].to_string().contains("not looked at"));
        assert_eq!(over, left > 0, "{findings:?}");
    }
    let addresses = (0..=u16::MAX)
        .take(300)
        .map(|n| IpAddr::from([127, 1, (n >> 8) as u8, n as u8]));
    ward.names.set("push.test", addresses);
    let (_, findings) = ward.doctor(&lab, &[]).await;
    let over = "44 more of its addresses are not looked at";
    assert!(
        findings
            .iter()
            .any(|one| one["what"].to_string().contains(over)),
        "{findings:?}"
    );
}

#[tokio::test]
async fn an_address_that_may_not_be_dialled_names_the_key() {
    let ward = Ward::new().await;
    ward.names.set("push.test", ["10.9.9.9".parse().unwrap()]);
    let lab = "name = \"lab\"\nhosts = [\"push.test\"]";
    let (code, findings) = ward.doctor(lab, &[]).await;
    assert_eq!(code, 1);
    says(
        worst(&findings),
        "fail",
        Some("address_denied"),
        &[
            "10.9.9.9",
            "add networks = [\"10.9.9.9\"] to the destination",
        ],
    );
    // A second key of this name would be none.
    let lab = "name = \"lab\"\nhosts = [\"push.test\"]\nnetworks = [\"127.0.0.0/8\"]";
    let (_, findings) = ward.doctor(lab, &[]).await;
    says(
        worst(&findings),
        "fail",
        Some("address_denied"),
        &["add \"10.9.9.9\" to the networks of the destination"],
    );
}

#[tokio::test]
async fn dead_addresses_are_a_warning_beside_a_good_one_and_a_failure_alone() {
    let ward = Ward::new().await;
    let (address, authority) = server(local(1, 0), GOOD, Manners::default()).await;
    let _hanging = hanging(local(2, address.port()));
    let lab = ward.lab(address.port(), &authority);
    let dead: IpAddr = Ipv4Addr::new(127, 0, 0, 3).into();
    let silent: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
    ward.names.set("push.test", [LOCALHOST, dead, silent]);
    let (code, findings) = ward.doctor(&lab, &[]).await;
    assert_eq!(code, 0, "{findings:?}");
    let of = |ip: IpAddr| {
        let at = format!("{ip}:{}", address.port());
        findings.iter().find(|one| one["peer"] == at).unwrap()
    };
    says(
        of(dead),
        "warn",
        Some("connect_refused"),
        &["refused", "firewall"],
    );
    says(
        of(silent),
        "warn",
        Some("connect_timeout"),
        &["no answer", "firewall"],
    );
    ward.names.set("push.test", [dead]);
    let (code, findings) = ward.doctor(&lab, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    says(
        worst(&findings),
        "fail",
        Some("connect_refused"),
        &["refused", "allow TCP"],
    );
}

#[tokio::test]
async fn bad_certificates_are_told_with_whose_they_are() {
    let other = Paper {
        name: "other.test",
        ..GOOD
    };
    let expired = Paper { days: -3, ..GOOD };
    let soon = Paper { days: 5, ..GOOD };
    let nameless = Paper { name: "", ..GOOD };
    let between = |days| Paper {
        between: Some(days),
        ..GOOD
    };
    for (paper, severity, reason, words) in [
        (
            expired,
            "fail",
            Some("upstream_tls_failed"),
            &["ended 3 days ago", "Lab CA", "clock"][..],
        ),
        (
            other,
            "fail",
            Some("upstream_tls_failed"),
            &["another name (other.test)", "DNS"],
        ),
        (soon, "warn", None, &["ends in 4 days", "renew"]),
        (
            nameless,
            "fail",
            Some("upstream_tls_failed"),
            &["carries no names (SAN)", "none of its CN", "push.test"],
        ),
        // The chain ends with what ends first of it.
        (
            between(-3),
            "fail",
            Some("upstream_tls_failed"),
            &["the intermediate certificate \"Lab Between\" ended 3 days ago"],
        ),
        (
            between(4),
            "warn",
            None,
            &["the intermediate certificate \"Lab Between\" ends in 3 days"],
        ),
        (between(100), "ok", None, &["good for 99 days"]),
    ] {
        let ward = Ward::new().await;
        let (address, authority) = server(local(1, 0), paper, Manners::default()).await;
        ward.names.set("push.test", [LOCALHOST]);
        let lab = ward.lab(address.port(), &authority);
        let (code, findings) = ward.doctor(&lab, &[]).await;
        assert_eq!(code, i32::from(severity == "fail"), "{findings:?}");
        says(worst(&findings), severity, reason, words);
    }
}

#[tokio::test]
async fn whoever_decrypts_tls_on_the_way_is_named() {
    let ward = Ward::new().await;
    let gateway = Paper {
        issuer: "Corp Gateway CA",
        name: "push.webexconnect.com",
        ..GOOD
    };
    let (address, authority) = server(local(1, 0), gateway, Manners::default()).await;
    let cisco = format!(
        "preset = \"cisco\"\nhosts = [\"push.webexconnect.com\"]\naddresses = [\"127.0.0.1\"]\nports = [{}]",
        address.port()
    );
    let (code, findings) = ward.doctor(&cisco, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    let words = [
        "something on the way decrypts TLS",
        "\"Corp Gateway CA\"",
        "put push.webexconnect.com on the list of hosts that are not decrypted",
    ];
    says(
        worst(&findings),
        "fail",
        Some("upstream_tls_failed"),
        &words,
    );
    // Also where `ca` trusts it: the servers do not. A forward of the proxy's own passes, and ends with no reason.
    ward.folder.file("gateway.pem", &authority);
    let trusting = format!("{cisco}\nca = \"gateway.pem\"");
    let (code, findings) = ward.doctor(&trusting, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    says(
        worst(&findings),
        "fail",
        None,
        &[
            "decrypts TLS",
            "which this machine trusts and call servers do not: they refuse it",
        ],
    );
    // A host that nobody knows may have an authority of its own: the operator has to say which.
    let (address, _) = server(local(1, 0), GOOD, Manners::default()).await;
    ward.names.set("push.test", [LOCALHOST]);
    let (code, findings) = ward
        .doctor(&ward.lab(address.port(), &authority), &[])
        .await;
    assert_eq!(code, 1, "{findings:?}");
    says(
        worst(&findings),
        "fail",
        Some("upstream_tls_failed"),
        &["Lab CA", "in ca", "not decrypted"],
    );
}

#[tokio::test]
async fn an_intermediate_that_is_not_sent_is_the_first_guess() {
    let ward = Ward::new().await;
    ward.names.set("push.test", [LOCALHOST]);
    // Its root is trusted; the intermediate is known to the server alone.
    let issuing = Paper {
        issuer: "Lab Issuing CA",
        ..GOOD
    };
    let (address, _) = server(local(1, 0), issuing, Manners::default()).await;
    let lab = ward.lab(address.port(), &GOOD.make().0);
    let (code, findings) = ward.doctor(&lab, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    let words = [
        "\"Lab Issuing CA\", and comes without an intermediate -> the server may not send its intermediate certificate",
        "has to add it; if that authority is your gateway's, it decrypts TLS on the way: put push.test on the list",
    ];
    says(
        worst(&findings),
        "fail",
        Some("upstream_tls_failed"),
        &words,
    );
    let public = Paper {
        issuer: "DigiCert Something CA9",
        organization: "DigiCert Inc",
        name: "push.webexconnect.com",
        ..GOOD
    };
    let (address, _) = server(local(1, 0), public, Manners::default()).await;
    let cisco = format!(
        "preset = \"cisco\"\nhosts = [\"push.webexconnect.com\"]\naddresses = [\"127.0.0.1\"]\nports = [{}]",
        address.port()
    );
    let (code, findings) = ward.doctor(&cisco, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    let words = ["comes alone, without the intermediate", "DigiCert Inc"];
    says(
        worst(&findings),
        "fail",
        Some("upstream_tls_failed"),
        &words,
    );
}

#[tokio::test]
async fn no_handshake_says_why_and_how_an_exchange_would_end() {
    // An alert of TLS 1.1: protocol_version.
    const TOO_OLD: &[u8] = &[0x15, 3, 1, 0, 2, 2, 70];
    for (says_first, reason, words) in [
        (TOO_OLD, "upstream_tls_failed", "neither TLS 1.2 nor 1.3"),
        (&[], "upstream_timeout", "not finished in time"),
    ] {
        let ward = Ward::new().await;
        ward.names.set("push.test", [LOCALHOST]);
        let (listener, address) = upstream::listener().await;
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let _ = tcp.write_all(says_first).await;
                let _ = tcp.read_to_end(&mut Vec::new()).await;
            }
        });
        let lab = ward.lab(address.port(), &GOOD.make().0);
        let lab = format!("{lab}\n[forward]\nhandshake_timeout = \"100ms\"");
        let (code, findings) = ward.doctor(&lab, &[]).await;
        assert_eq!(code, 1, "{findings:?}");
        says(worst(&findings), "fail", Some(reason), &[words]);
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_names_ntp() {
    for (ahead, words) in [(3600, "behind 1 server's"), (-3600, "ahead of 1 server's")] {
        let ward = Ward::new().await;
        let manners = Manners {
            ahead,
            ..Manners::default()
        };
        let (address, authority) = server(local(1, 0), GOOD, manners).await;
        ward.names.set("push.test", [LOCALHOST]);
        let (code, findings) = ward
            .doctor(&ward.lab(address.port(), &authority), &[])
            .await;
        assert_eq!(code, 0, "{findings:?}");
        says(worst(&findings), "warn", None, &[words, "NTP"]);
        assert_eq!(worst(&findings)["check"], "clock");
    }
}

#[tokio::test]
async fn a_way_that_loses_full_packets_shows_when_it_is_asked_for() {
    let ward = Ward::new().await;
    ward.names.set("push.test", [LOCALHOST]);
    let narrow = Manners {
        longest: Some(2_000),
        ..Manners::default()
    };
    let strict = Manners {
        closes_over: Some(2_000),
        ..Manners::default()
    };
    for (manners, code, severity, words) in [
        (
            narrow,
            1,
            "fail",
            &["several full packets is not", "ICMP"][..],
        ),
        // Whoever drops packets says nothing: this one spoke.
        (
            strict,
            0,
            "note",
            &["closes the connection", "cannot be told"],
        ),
        (
            Manners::default(),
            0,
            "ok",
            &["several full packets is answered"],
        ),
    ] {
        let (address, authority) = server(local(1, 0), GOOD, manners).await;
        let lab = ward.lab(address.port(), &authority);
        let (found, findings) = ward.doctor(&lab, &["--mtu"]).await;
        assert_eq!(found, code, "{findings:?}");
        let mtu = findings.iter().find(|one| one["check"] == "mtu").unwrap();
        says(mtu, severity, None, words);
    }
}

#[tokio::test]
async fn a_way_that_forgets_silent_connections_shows_when_it_is_asked_for() {
    let ward = Ward::new().await;
    ward.names.set("push.test", [LOCALHOST]);
    let forgetful = Manners {
        requests: Some(1),
        ..Manners::default()
    };
    for (manners, code, severity, words) in [
        (
            forgetful,
            1,
            "fail",
            &["drops connections", "30 minutes", "tunnel.keepalive"][..],
        ),
        (Manners::default(), 0, "ok", &["still good"]),
    ] {
        let (address, authority) = server(local(1, 0), GOOD, manners).await;
        let lab = ward.lab(address.port(), &authority);
        let (found, findings) = ward.doctor(&lab, &["--idle", "10ms"]).await;
        assert_eq!(found, code, "{findings:?}");
        let idle = findings.iter().find(|one| one["check"] == "idle").unwrap();
        says(idle, severity, None, words);
    }
}

#[tokio::test]
async fn what_cannot_be_probed_is_named() {
    let ward = Ward::new().await;
    let lab = "name = \"lab\"\nhosts = [\"*.push.test\"]";
    let (code, findings) = ward.doctor(lab, &[]).await;
    assert_eq!(code, 0, "{findings:?}");
    says(
        worst(&findings),
        "note",
        None,
        &["not probed", "many names"],
    );
}

#[tokio::test]
async fn something_that_speaks_no_tls_is_no_push_service() {
    let ward = Ward::new().await;
    ward.names.set("push.test", [LOCALHOST]);
    let (listener, address) = upstream::listener().await;
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp
                .write_all(b"HTTP/1.1 302 Login\r\nConnection: close\r\n\r\n")
                .await;
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        }
    });
    let lab = ward.lab(address.port(), &GOOD.make().0);
    let (code, findings) = ward.doctor(&lab, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    says(
        worst(&findings),
        "fail",
        Some("upstream_tls_failed"),
        &["speaks no TLS", "portal"],
    );
}

#[tokio::test]
async fn parents_are_gone_through() {
    let ward = Ward::new().await;
    let parent = refusing().await;
    let beyond =
        format!("name = \"beyond\"\nhosts = [\"beyond.test\"]\nvia = [\"http://{parent}\"]");
    let (code, findings) = ward.doctor(&beyond, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    let finding = worst(&findings);
    says(finding, "fail", Some("connect_refused"), &["refused"]);
    let peer = finding["peer"].as_str().unwrap();
    assert!(peer.contains(&format!("(parent http://{parent}")), "{peer}");
    // Its name stands in another place than the target's.
    let beyond =
        "name = \"beyond\"\nhosts = [\"beyond.test\"]\nvia = [\"http://nowhere.test:3128\"]";
    let (code, findings) = ward.doctor(beyond, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    says(
        worst(&findings),
        "fail",
        Some("name_not_found"),
        &["nowhere.test", "its spelling in via"],
    );
    // One that accepts and says nothing is no matter of the firewall.
    let (listener, parent) = upstream::listener().await;
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            all.push(tcp);
        }
    });
    let beyond =
        format!("name = \"beyond\"\nhosts = [\"beyond.test\"]\nvia = [\"http://{parent}\"]");
    let (code, findings) = ward.doctor(&beyond, &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    says(
        worst(&findings),
        "fail",
        Some("connect_timeout"),
        &["does not answer the CONNECT", "the parent's log"],
    );
}
