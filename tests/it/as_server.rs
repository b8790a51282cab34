//! `tidegate doctor --as-server`: through a proxy as a call server goes, and what it says where a server would be stuck.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tidegate_load::names::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::doctor::{GOOD, Manners, Paper, server};
use crate::house::{House, Plan, self_signed};
use crate::origin::Origin;
use crate::upstream::{self, LOCALHOST};

const LAB: &str = "name = \"lab\"\nhosts = [\"push.test\", \"gone.test\", \"slow.test\"]\nports = [443, \"8000-65535\"]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]\nconnect_budget = \"300ms\"";

fn lab() -> Plan {
    House::new()
        .user("ann", "sesame-1")
        .destination(LAB)
        .name("push.test", [LOCALHOST])
        .name("slow.test", [LOCALHOST])
        .name("proxy.test", [LOCALHOST, IpAddr::from([127, 0, 0, 2])])
        .file("password", "sesame-1\n")
        .file("wrong", "sesame-2\n")
}

/// Exit code, and what was said.
async fn through(house: &House, url: &str, words: &[&str]) -> (i32, String) {
    let (code, out, err) = house
        .command(&[&["doctor", "--as-server", url], words].concat())
        .await;
    assert!(!format!("{out}{err}").contains("sesame"), "{out}{err}");
    (code, out + &err)
}

/// An origin with TLS that answers one HEAD; the authority of its certificate.
async fn origin(house: &House, name: &str, date: &'static str) -> (SocketAddr, String) {
    let mut origin = Origin::start().await;
    let authority = origin.tls(name);
    let address = origin.address;
    let ca = house.folder.file(&format!("{name}-ca.pem"), &authority);
    tokio::spawn(async move {
        // A server that does not like what it is shown breaks off.
        let Ok(mut call) = origin.try_call().await else {
            return;
        };
        call.message().await;
        call.send(format!(
            "HTTP/1.1 404 Not Found\r\n{date}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        call.ends_after().await;
    });
    (address, ca.display().to_string())
}

#[tokio::test]
async fn the_whole_way_of_a_server_has_a_line_for_each_step() {
    let house = lab().open().await;
    let (target, ca) = origin(&house, "push.test", "Date: Sun, 06 Nov 1994 08:49:37 GMT").await;
    let target = format!("push.test:{}", target.port());
    let url = format!("http://proxy.test:{}", house.address("plain").port());
    let file = house.folder.path().join("password").display().to_string();
    let words = [
        "--user",
        "ann",
        "--password-file",
        &file,
        "--target",
        &target,
        "--ca",
        &ca,
    ];
    let (code, out) = through(&house, &url, &words).await;
    for words in [
        "proxy.test is 127.0.0.1, 127.0.0.2; TTL 30 s; ",
        "servers keep it for an hour beyond that: a change is seen by all of them after 61 min; a server tries 127.0.0.1 first, and after 2 s the second",
        "ok    connect   127.0.0.1:",
        "FAIL  connect   127.0.0.2:",
        "nobody listens there",
        "407 by tidegate, in this order: Digest MD5, Digest SHA-256; realm \"tidegate\"; the connection stays open",
        "take the first (MD5)",
        "200 Connection established",
        "TLS 1.3 with the target, through the tunnel; its certificate is signed by \"House CA\"",
        "s ahead of the target's (HTTP Date)",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    // Its second address is dead.
    assert_eq!(code, 1, "{out}");
    house.close().await;
}

#[tokio::test]
async fn through_a_tls_listener_and_as_json() {
    let house = lab().tls().open().await;
    let (target, ca) = origin(&house, "push.test", "Server: x").await;
    let both = std::fs::read_to_string(&ca).unwrap() + house.ca();
    let ca = house.folder.file("both.pem", &both).display().to_string();
    let target = format!("push.test:{}", target.port());
    let url = format!("https://ann@{}", house.address("tls"));
    let file = house.folder.path().join("password").display().to_string();
    let words = [
        "--json",
        "--password-file",
        &file,
        "--target",
        &target,
        "--ca",
        &ca,
    ];
    let (code, out) = through(&house, &url, &words).await;
    assert_eq!(code, 0, "{out}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["passes"], true);
    // On a busy machine it may well be told to be slow.
    let steps: Vec<&str> = told["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .filter(|step| *step != "time")
        .collect();
    assert_eq!(
        steps,
        [
            "name", "connect", "tls", "bare", "bare", "login", "target", "clock"
        ]
    );

    let (code, out) = through(&house, &url, &["--password-file", &file]).await;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains(
            "FAIL  tls       the proxy's certificate is of an authority that is not trusted here"
        ),
        "{out}"
    );
    assert!(
        out.contains("import its CA into the servers' trust store"),
        "{out}"
    );
    house.close().await;
}

#[tokio::test]
async fn every_refusal_is_explained() {
    let hanging = upstream::hanging(SocketAddr::new(LOCALHOST, 0));
    let house = lab().open().await;
    let url = format!("http://{}", house.address("plain"));
    let folder = house.folder.path().display().to_string();
    let (good, wrong) = (format!("{folder}/password"), format!("{folder}/wrong"));
    let slow = format!("slow.test:{}", hanging.address.port());
    for (file, target, says, remedy) in [
        (
            &good,
            "push.test:444",
            "403 Forbidden: port_denied",
            "lacks this port",
        ),
        (
            &good,
            "nowhere.test:443",
            "403 Forbidden: target_denied",
            "no [[destination]] with this host",
        ),
        (
            &good,
            "gone.test:443",
            "502 Bad Gateway: name_not_found",
            "name servers",
        ),
        (
            &good,
            &slow,
            "504 Gateway Timeout: connect_timeout",
            "firewall",
        ),
        (
            &wrong,
            "push.test:443",
            "407 Proxy Authentication Required: bad_credentials",
            "enter the password again",
        ),
    ] {
        let words = ["--user", "ann", "--password-file", file, "--target", target];
        let (code, out) = through(&house, &url, &words).await;
        let last = out.lines().last().unwrap();
        assert_eq!(code, 1, "{out}");
        assert!(
            last.starts_with("FAIL  login") && last.contains(says),
            "{out}"
        );
        assert!(
            last.split(" -> ")
                .nth(1)
                .is_some_and(|words| words.contains(remedy)),
            "{out}"
        );
        // The proxy's own line has the same id.
        let reason = says.split(": ").nth(1).unwrap();
        let line = house.line_with_reason(reason).await;
        assert!(
            last.contains(&format!("exchange {}", line["id"].as_str().unwrap())),
            "{last}"
        );
    }
    let (code, out) = through(&house, &url, &["--target", "push.test:443"]).await;
    assert_eq!(code, 1);
    assert!(
        out.contains("the proxy asks for a login, and none was named -> --user NAME"),
        "{out}"
    );
    house.close().await;
}

#[tokio::test]
async fn a_proxy_s_own_way_out_has_the_remedy_of_who_fails_there() {
    let refusing = upstream::refusing().await;
    // It accepts, and never answers.
    let (_mute, mute) = upstream::listener().await;
    let login = other("HTTP/1.1 407 x\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"n\", qop=\"auth\"\r\nConnection: close\r\n\r\n").await;
    let denying = other("HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n").await;
    for (parent, says, remedy) in [
        (
            login,
            "does not take our login",
            "on the proxy, correct the user in via",
        ),
        (
            denying,
            "the parent proxy refuses this target",
            "the parent proxy that via names",
        ),
        (
            refusing,
            "connect_refused: the parent proxy refused the connection",
            "the parent proxy that via names",
        ),
        (
            mute,
            "connect_timeout: the parent proxy did not answer in time",
            "the parent proxy that via names",
        ),
    ] {
        let via = format!("{LAB}\nvia = [\"http://way@{parent}\"]\npassword_file = \"password\"");
        let house = House::new()
            .destination(&via)
            .file("password", "sesame-1\n")
            .open()
            .await;
        let url = format!("http://{}", house.address("plain"));
        let (code, out) = through(&house, &url, &["--target", "push.test:443"]).await;
        let last = out.lines().last().unwrap();
        assert_eq!(code, 1, "{out}");
        assert!(last.contains(says), "{out}");
        assert!(
            last.split(" -> ")
                .nth(1)
                .is_some_and(|it| it.contains(remedy)),
            "{out}"
        );
        assert!(!last.contains("firewall between the proxy and"), "{out}");
        house.close().await;
    }
}

#[tokio::test]
async fn name_servers_that_answer_are_not_called_silent() {
    let nobody = IpAddr::from([0, 0, 0, 0]);
    let house = House::new()
        .destination(LAB)
        .name("push.test", [LOCALHOST])
        .name("slow.test", [nobody])
        .open()
        .await;
    house.names.fail("push.test", Failure::Servfail);
    let url = format!("http://{}", house.address("plain"));
    for (target, says, remedy) in [
        (
            "push.test:443",
            "the DNS servers failed",
            "ask those who run",
        ),
        ("slow.test:443", "an address that nobody has", "filter"),
    ] {
        let (code, out) = through(&house, &url, &["--target", target]).await;
        let last = out.lines().last().unwrap();
        assert_eq!(code, 1, "{out}");
        assert!(last.contains(says) && last.contains(remedy), "{out}");
        assert!(!last.contains("53"), "{out}");
    }
    house.close().await;
}

#[tokio::test]
async fn the_body_of_a_407_may_come_in_chunks() {
    let chunked = "HTTP/1.1 407 x\r\nProxy-Authenticate: Digest realm=\"other\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\r\nProxy-Authenticate: Digest realm=\"other\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nlog i\r\n1\r\nn\r\n0\r\nX-Trailer: y\r\n\r\n";
    let (listener, proxy) = upstream::listener().await;
    // One connection: whoever comes with a second one waits for ever.
    let asked = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        // The look whether it is there.
        drop(tcp);
        (tcp, _) = listener.accept().await.unwrap();
        for reply in [
            chunked,
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        ] {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tcp.read_u8().await.unwrap());
            }
            tcp.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    let house = lab().open().await;
    let file = house.folder.path().join("password").display().to_string();
    let words = ["--user", "ann", "--password-file", &file];
    let (code, out) = through(&house, &format!("http://{proxy}"), &words).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("the connection stays open"), "{out}");
    assert!(out.contains("403 Forbidden"), "{out}");
    assert!(!out.contains("is closed after the 407"), "{out}");
    asked.await.unwrap();
    house.close().await;
}

#[tokio::test]
async fn a_listener_that_keeps_its_intermediate_to_itself_is_told() {
    let house = lab().tls().open().await;
    let (another, _) = self_signed("Root CA");
    let root = house
        .folder
        .file("root.pem", &another)
        .display()
        .to_string();
    let url = format!("https://{}", house.address("tls"));
    let (code, out) = through(&house, &url, &["--ca", &root]).await;
    assert_eq!(code, 1, "{out}");
    for words in [
        "FAIL  tls       the proxy's certificate is of an authority that is not trusted here: it is signed by \"House CA\", and comes without an intermediate",
        "-> the listener may not send its intermediate: the certificate of \"House CA\" belongs behind its own in the listener's file",
        "import its CA into the servers' trust store (here: --ca FILE)",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_push_that_could_not_be_confirmed_in_time_fails() {
    // Half of a server's patience each, for the CONNECT and for the TLS behind it.
    const HALF: Duration = Duration::from_millis(2_600);
    let origin = Paper {
        issuer: "Lab CA",
        ..GOOD
    };
    let (address, authority) = server((LOCALHOST, 0).into(), origin, Manners::default()).await;
    let (listener, proxy) = upstream::listener().await;
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = tcp.read_u8().await else {
                        return;
                    };
                    head.push(byte);
                }
                tokio::time::sleep(HALF).await;
                tcp.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .await
                    .unwrap();
                let mut target = tokio::net::TcpStream::connect(address).await.unwrap();
                tokio::time::sleep(HALF).await;
                let _ = tokio::io::copy_bidirectional(&mut tcp, &mut target).await;
            });
        }
    });
    let house = lab().open().await;
    let ca = house
        .folder
        .file("lab-ca.pem", &authority)
        .display()
        .to_string();
    let words = ["--target", "push.test:443", "--ca", &ca];
    let (code, out) = through(&house, &format!("http://{proxy}"), &words).await;
    assert!(out.contains("ok    target"), "{out}");
    assert!(
        out.contains("FAIL  time") && out.contains("a server waits 5 s"),
        "{out}"
    );
    assert_eq!(code, 1, "{out}");
    house.close().await;
}

/// Some other proxy: answers whatever comes with this.
async fn other(reply: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = tcp.read_u8().await else {
                        return;
                    };
                    head.push(byte);
                }
                let _ = tcp.write_all(reply.as_bytes()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn other_proxies_and_what_is_none() {
    let house = lab().tls().open().await;
    let tls = house.address("tls");
    let refusing = upstream::refusing().await;
    let squid =
        "HTTP/1.1 503 Service Unavailable\r\nServer: squid/5.7\r\nContent-Length: 0\r\n\r\n";
    let basic = "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"other\"\r\nServer: x\u{9b}31m\r\nConnection: close\r\n\r\n";
    for (url, says) in [
        (
            format!("http://{}", other(squid).await),
            "503 Service Unavailable: the proxy is full or being stopped",
        ),
        (
            format!(
                "http://{}",
                other("HTTP/1.1 508 Loop Detected\r\n\r\n").await
            ),
            "each other's parent",
        ),
        (
            format!(
                "http://{}",
                other("HTTP/1.0 429 Slow\r\nRetry-After: 7\r\n\r\n").await
            ),
            "Retry-After: 7",
        ),
        (
            format!("http://{}", other("HTTP/1.1 511 Log in\r\n\r\n").await),
            "captive portal) answers in the proxy's place",
        ),
        (
            format!("http://{}", other("HTTP/1.1 302 Found\r\n\r\n").await),
            "as a portal or a web server does and no proxy",
        ),
        (
            format!("http://{}", other(basic).await),
            "WARN  bare      Basic without TLS",
        ),
        (
            format!("http://{}", other("SSH-2.0-OpenSSH\r\n").await),
            "this is no HTTP proxy",
        ),
        (
            format!("http://{}", other("").await),
            "the connection was closed without an answer",
        ),
        (
            format!("http://{tls}"),
            "this listener speaks TLS: the proxy's address must be given as https",
        ),
        (
            format!("https://{}", house.address("plain")),
            "-> reach it with http://, or name the TLS listener's port",
        ),
        (
            format!("http://{refusing}"),
            "-> is the proxy running, on this port?",
        ),
        (
            "http://gone.test:3128".to_owned(),
            "-> add the proxy's name to the DNS",
        ),
    ] {
        let (code, out) = through(&house, &url, &[]).await;
        assert_eq!(code, 1, "{url}\n{out}");
        assert!(out.contains(says), "{says}\n{out}");
        assert!(!out.contains('\u{9b}'), "{out:?}");
    }
    house.close().await;
}

#[tokio::test]
async fn who_answers_in_the_tunnel_is_looked_at() {
    let house = lab().open().await;
    let url = format!("http://{}", house.address("plain"));
    let file = house.folder.path().join("password").display().to_string();
    let (target, ca) = origin(&house, "other.test", "Server: x").await;
    let (another, _) = self_signed("Another CA");
    let stranger = house
        .folder
        .file("stranger.pem", &another)
        .display()
        .to_string();
    let (intercepted, _) = origin(&house, "push.test", "Server: x").await;
    for (target, ca, says, remedy) in [
        (
            target,
            &ca,
            "is for another name (other.test); it is signed by \"House CA\"",
            "what DNS",
        ),
        (
            intercepted,
            &stranger,
            "is of an authority that is not trusted here: it is signed by \"House CA\"",
            "it decrypts TLS on the way: put push.test on the list",
        ),
        (
            upstream::echo().await,
            &ca,
            "speaks no TLS",
            "look at the target's port",
        ),
    ] {
        let target = format!("push.test:{}", target.port());
        let words = [
            "--user",
            "ann",
            "--password-file",
            &file,
            "--target",
            &target,
            "--ca",
            ca,
        ];
        let (code, out) = through(&house, &url, &words).await;
        let last = out.lines().last().unwrap();
        assert_eq!(code, 1, "{out}");
        assert!(
            last.starts_with("FAIL  target") && last.contains(says) && last.contains(remedy),
            "{out}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_preset_s_host_is_public_whatever_this_machine_trusts() {
    let house = House::new()
        .destination("name = \"lab\"\nhosts = [\"push.webexconnect.com\"]\nports = [\"8000-65535\"]\nnetworks = [\"127.0.0.0/8\"]")
        .set("authentication", "required = false")
        .name("push.webexconnect.com", [LOCALHOST])
        .open()
        .await;
    let gateway = Paper {
        issuer: "Corp Gateway CA",
        name: "push.webexconnect.com",
        ..GOOD
    };
    let expired = Paper {
        days: -3,
        ..gateway
    };
    for paper in [gateway, expired] {
        let (address, authority) = server((LOCALHOST, 0).into(), paper, Manners::default()).await;
        let ca = house.folder.file("gateway.pem", &authority);
        let url = format!("http://{}", house.address("plain"));
        let target = format!("push.webexconnect.com:{}", address.port());
        let ca = ca.display().to_string();
        let (code, out) = through(&house, &url, &["--target", &target, "--ca", &ca]).await;
        assert_eq!(code, 1, "{out}");
        for words in [
            "FAIL  target",
            "something on the way decrypts TLS",
            "\"Corp Gateway CA\", which this machine trusts and call servers do not",
            "-> put push.webexconnect.com on the list of hosts that are not decrypted",
        ] {
            assert!(out.contains(words), "{words}\n{out}");
        }
        assert!(!out.contains("trust its CA"), "{out}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_target_that_answers_no_http_is_a_warning() {
    let house = lab().open().await;
    let mut origin = Origin::start().await;
    let authority = origin.tls("push.test");
    let target = format!("push.test:{}", origin.address.port());
    let ca = house
        .folder
        .file("ca.pem", &authority)
        .display()
        .to_string();
    // Shakes hands, and hangs up.
    tokio::spawn(async move { drop(origin.try_call().await) });
    let file = house.folder.path().join("password").display().to_string();
    let words = [
        "--user",
        "ann",
        "--password-file",
        &file,
        "--target",
        &target,
        "--ca",
        &ca,
    ];
    let url = format!("http://{}", house.address("plain"));
    let (code, out) = through(&house, &url, &words).await;
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("WARN  target    a HEAD / has no answer"),
        "{out}"
    );
    house.close().await;
}

#[tokio::test]
async fn listeners_that_no_server_can_use_are_recognised() {
    let balanced =
        "name = \"balanced\"\naddress = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.1\"]";
    let mutual = "name = \"mutual\"\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = \"proxy.pem\"\nprivate_key = \"proxy.key\"\nclient_ca = \"clients.pem\"";
    let (authority, _) = self_signed("Clients CA");
    let house = lab()
        .tls()
        .listener(balanced)
        .listener(mutual)
        .file("clients.pem", &authority)
        .open()
        .await;
    let ca = house.folder.file("proxy-ca.pem", house.ca());
    let ca = ca.display().to_string();
    for (url, says, remedy) in [
        (
            format!("http://{}", house.address("balanced")),
            "bad_proxy_header",
            "from a load balancer alone",
        ),
        (
            format!("https://{}", house.address("mutual")),
            "the proxy wants a certificate of its client",
            "a listener without client_ca",
        ),
    ] {
        let (code, out) = through(&house, &url, &["--ca", &ca]).await;
        assert_eq!(code, 1, "{out}");
        assert!(out.contains(says) && out.contains(remedy), "{out}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_nonce_that_is_too_old_is_followed_once_and_no_more() {
    let stale = "HTTP/1.1 407 x\r\nProxy-Authenticate: Digest realm=\"other\", nonce=\"n\", qop=\"auth\", stale=true\r\nConnection: close\r\n\r\n";
    let house = lab().open().await;
    let file = house.folder.path().join("password").display().to_string();
    let url = format!("http://{}", other(stale).await);
    let words = ["--user", "ann", "--password-file", &file];
    let (code, out) = through(&house, &url, &words).await;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("calls stale a nonce that it has just given"),
        "{out}"
    );
    let nofile = ["--user", "ann", "--password-file", "nofile"];
    let (code, out) = through(&house, &url, &nofile).await;
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("nofile: there is no such file\n"), "{out}");
    house.close().await;
}
