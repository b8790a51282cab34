//! curl as anyone would use it: plain and TLS to the proxy, every scheme, both families, and what goes wrong.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::origin::{self, Pattern};
use super::{Pick, Terms, World, run};
use crate::house::House;
use crate::upstream;

/// An HTTP server that says "hello" to everybody.
async fn greeter(ip: &str) -> std::net::SocketAddr {
    let (listener, address) = upstream::listener_on(ip.parse().unwrap()).await;
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = tcp.read(&mut [0; 4096]).await;
                let _ = tcp
                    .write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
                    )
                    .await;
            });
        }
    });
    address
}

/// What curl prints and exits with; `%{http_connect}` is the proxy's status.
async fn curl(arguments: Vec<String>) -> (String, i32) {
    let output = tokio::task::spawn_blocking(move || {
        std::process::Command::new("curl")
            .args([
                "-sS",
                "-p",
                "-m",
                "20",
                "--noproxy",
                "",
                "-w",
                " %{http_connect}",
            ])
            .args(arguments)
            .output()
    });
    let output = output
        .await
        .unwrap()
        .expect("curl is installed (tests/run does it)");
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        output.status.code().unwrap_or(-1),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_through_with_every_scheme_on_every_listener_in_both_families() {
    let (four, six) = (greeter("127.0.0.1").await, greeter("::1").await);
    let house = House::new()
        .user("ann", "secret")
        .tls()
        .listener("name = \"plain6\"\naddress = \"[::1]:0\"")
        .listener("name = \"tls6\"\naddress = \"[::1]:0\"\n[listener.tls]\ncertificate = \"proxy.pem\"\nprivate_key = \"proxy.key\"")
        .name("push.test", ["127.0.0.1".parse().unwrap()])
        .open()
        .await;
    let ca = house.folder.file("ca.pem", house.ca());
    for listener in ["plain", "plain6", "tls", "tls6"] {
        let tls = listener.starts_with("tls");
        // By name: this curl does not find an IPv6 address among a proxy certificate's names.
        let address = house.address(listener);
        let proxy = format!(
            "{}://localhost:{}",
            if tls { "https" } else { "http" },
            address.port()
        );
        let resolve = format!("localhost:{}:{}", address.port(), address.ip());
        for scheme in ["--proxy-digest", "--proxy-anyauth", "--proxy-basic"] {
            for url in [
                format!("http://{four}/"),
                format!("http://{six}/"),
                format!("http://push.test:{}/", four.port()),
            ] {
                let arguments = [
                    "-x",
                    &proxy,
                    "--resolve",
                    &resolve,
                    "--proxy-cacert",
                    ca.to_str().unwrap(),
                    "-U",
                    "ann:secret",
                    scheme,
                    &url,
                ]
                .map(String::from)
                .to_vec();
                let (said, code) = curl(arguments).await;
                let expected = if scheme == "--proxy-basic" && !tls {
                    (" 407", 56)
                } else {
                    ("hello 200", 0)
                };
                assert_eq!((said.as_str(), code), expected, "{listener} {scheme} {url}");
            }
        }
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_seen_by_curl_in_the_line_and_in_the_counter() {
    let dead = upstream::hanging("127.0.0.61:0".parse().unwrap());
    let refusing = upstream::refusing().await;
    let house = House::new()
        .user("ann", "secret")
        .set("connect", "budget = \"500ms\"")
        .destination("name = \"lab\"\nhosts = [\"*.test\", \"127.0.0.1\", \"127.0.0.61\"]\nports = [\"1-65535\"]\nnetworks = [\"127.0.0.0/8\"]")
        .open()
        .await;
    let proxy = format!("http://{}", house.address("plain"));
    for (user, url, status, reason) in [
        (
            "ann:wrong",
            "http://push.test/".to_owned(),
            407,
            "bad_credentials",
        ),
        (
            "ann:secret",
            "http://unlisted.example/".to_owned(),
            403,
            "target_denied",
        ),
        (
            "ann:secret",
            format!("http://{}/", dead.address),
            504,
            "connect_timeout",
        ),
        (
            "ann:secret",
            format!("http://{refusing}/"),
            502,
            "connect_refused",
        ),
        (
            "ann:secret",
            "http://unknown.test/".to_owned(),
            502,
            "name_not_found",
        ),
    ] {
        let (said, code) = curl(
            ["-x", &proxy, "-U", user, "--proxy-digest", &url]
                .map(String::from)
                .to_vec(),
        )
        .await;
        assert_eq!(
            (said.as_str(), code),
            (format!(" {status}").as_str(), 56),
            "{reason}"
        );
        let line = house.line_with_reason(reason).await;
        assert_eq!(line["status"], status);
        let destination = line["destination"].as_str().unwrap_or("none");
        let series = format!(
            "tidegate_exchanges_total{{listener=\"plain\",destination=\"{destination}\",kind=\"tunnel\",reason=\"{reason}\"}}"
        );
        house.metric_becomes(&series, 1.0).await;
    }
    house.close().await;
}

const MUCH: u64 = 100 * 1024 * 1024;

impl World {
    /// curl by a listener, with a scheme of proxy authentication.
    fn curl(&self, listener: &str, scheme: &str) -> Command {
        let mut curl = self.program("/usr/bin/curl");
        curl.args(["-q", "-sS", "-m", "120", "--noproxy", ""])
            .args(["-x", &self.proxy(listener), "-U", "ann:secret"])
            .arg(format!("--proxy-{scheme}"))
            .arg("--cacert")
            .arg(&self.trust)
            .arg("--proxy-cacert")
            .arg(&self.trust);
        curl
    }
}

/// The access lines of a successful request with digest.
fn digested(method: &str) -> [String; 2] {
    [
        format!("{method} 200 digest MD5 finished"),
        format!("{method} 407 - no_credentials"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_forwarded_with_every_scheme_on_both_listeners() {
    let world = World::open().await;
    for (listener, scheme, through) in [
        ("plain", "digest", true),
        ("plain", "anyauth", true),
        ("plain", "basic", false),
        ("tls", "digest", true),
        ("tls", "anyauth", true),
        ("tls", "basic", true),
    ] {
        println!("{listener} {scheme}");
        let mut curl = world.curl(listener, scheme);
        curl.args(["-w", " %{http_code}\\n", "-d", "ring"])
            .arg(world.url("http", "/upload"))
            .args(["--next", "-q", "-sS", "-m", "120"])
            .args(["-x", &world.proxy(listener), "-U", "ann:secret"])
            .arg(format!("--proxy-{scheme}"))
            .arg("--proxy-cacert")
            .arg(&world.trust)
            .arg(world.url("http", "/hello"));
        let said = run(curl, None).await;
        if !through {
            assert!(said.lines()[0].contains("credentials "), "{said:?}");
            world
                .ends(&[
                    "GET 407 basic bad_credentials",
                    "POST 407 basic bad_credentials",
                ])
                .await;
            world.origin_saw(&[]);
            continue;
        }
        let expected = [
            format!("4 {} 200", origin::sha256(b"ring")),
            "hello from /hello".into(),
        ];
        assert_eq!(said.lines(), expected, "{}", said.errors);
        if scheme == "basic" {
            world
                .ends(&["GET 200 basic finished", "POST 200 basic finished"])
                .await;
        } else {
            let (get, post) = (digested("GET"), digested("POST"));
            let ends: Vec<_> = get.iter().chain(&post).map(String::as_str).collect();
            world.ends(&ends).await;
        }
        world.origin_saw(&["POST /upload", "GET /hello"]);
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_takes_the_first_algorithm_of_those_that_the_file_has_lines_for() {
    let world = World::open().await;
    let mut before = Terms::DEFAULT;
    for terms in Terms::OTHERS {
        world.reload(&before, &terms).await;
        for (listener, scheme) in [("plain", "digest"), ("tls", "digest"), ("tls", "basic")] {
            println!("{listener} {scheme} {terms:?}");
            let mut curl = world.curl(listener, scheme);
            curl.args(["-w", "\\n"])
                .arg(world.url("http", "/hello"))
                .arg(world.url("https", "/hello"));
            let said = run(curl, None).await;
            assert_eq!(said.lines(), ["hello from /hello"; 2], "{}", said.errors);
            let taken = terms.taken(Pick::First);
            let mut all = Vec::new();
            for method in ["GET", "CONNECT"] {
                let ends = match scheme {
                    "basic" => vec![format!("{method} 200 basic finished")],
                    _ => vec![
                        format!("{method} 200 digest {taken} finished"),
                        format!("{method} 407 - no_credentials"),
                    ],
                };
                all.extend(ends);
            }
            world.ends(&all).await;
            world.origin_saw(&["GET /hello"; 2]);
        }
        before = terms;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_moves_a_hundred_megabytes_each_way() {
    let world = World::open().await;
    let path = world.files.path().join("much");
    let mut file = std::fs::File::create(&path).unwrap();
    for part in Pattern::new(MUCH) {
        std::io::Write::write_all(&mut file, &part).unwrap();
    }
    let sum = Pattern::sha256(MUCH);
    for (listener, scheme) in [
        ("plain", "https"),
        ("tls", "https"),
        ("plain", "http"),
        ("tls", "http"),
    ] {
        let method = |method| if scheme == "https" { "CONNECT" } else { method };
        println!("{listener} {scheme} down");
        let mut curl = world.curl(listener, "digest");
        curl.arg(world.url(scheme, &format!("/bytes/{MUCH}")));
        let said = run(curl, None).await;
        assert_eq!((said.errors.as_str(), said.out.len() as u64), ("", MUCH));
        assert_eq!(origin::sha256(&said.out), sum);
        world.ends(&digested(method("GET"))).await;

        println!("{listener} {scheme} up");
        let mut curl = world.curl(listener, "digest");
        curl.arg("-T").arg(&path).arg(world.url(scheme, "/upload"));
        let said = run(curl, None).await;
        assert_eq!(said.lines(), [format!("{MUCH} {sum}")], "{}", said.errors);
        world.ends(&digested(method("PUT"))).await;
        world.origin_saw(&[&format!("GET /bytes/{MUCH}"), "PUT /upload"]);
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_sends_what_a_pipe_gives() {
    let world = World::open().await;
    for (listener, authentication, scheme) in [
        ("plain", "digest", "https"),
        ("tls", "basic", "https"),
        ("plain", "digest", "http"),
        ("tls", "basic", "http"),
    ] {
        println!("{listener} {authentication} {scheme}");
        let mut curl = world.curl(listener, authentication);
        // curl can't go back in a pipe: it must not have sent any of it when it is asked for credentials.
        curl.args([
            "--http1.1",
            "-H",
            "Expect:",
            "-T",
            "-",
            &world.url(scheme, "/upload"),
        ]);
        let said = run(curl, Some(Pattern::new(3_000_000))).await;
        let sum = Pattern::sha256(3_000_000);
        assert_eq!(said.lines(), [format!("3000000 {sum}")], "{}", said.errors);
        let method = if scheme == "https" { "CONNECT" } else { "PUT" };
        if authentication == "digest" {
            world.ends(&digested(method)).await;
        } else {
            world.ends(&[&format!("{method} 200 basic finished")]).await;
        }
        let asked = world.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(asked[0].fields["transfer-encoding"], "chunked");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_curls_at_once() {
    let world = World::open().await;
    for scheme in ["https", "http"] {
        println!("{scheme}");
        let mut curl = world.curl("plain", "digest");
        curl.args([
            "--http1.1",
            "--parallel",
            "--parallel-immediate",
            "--parallel-max",
            "200",
        ])
        .args(["-w", "%{http_code}\\n", "-o", "/dev/null"])
        .arg(world.url(scheme, "/together/[1000-1199]"));
        let said = run(curl, None).await;
        assert_eq!(said.lines(), vec!["200"; 200], "{}", said.errors);
        let method = if scheme == "https" { "CONNECT" } else { "GET" };
        world.ends(&digested(method)).await;
        let mut asked: Vec<_> = world.asked().into_iter().map(|asked| asked.line).collect();
        asked.sort();
        let expected: Vec<_> = (1000..1200)
            .map(|length| format!("GET /together/{length} HTTP/1.1"))
            .collect();
        assert_eq!(asked, expected);
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_speaks_http2_inside_the_tunnel() {
    let world = World::open().await;
    for (listener, scheme, flag) in [
        ("plain", "https", "--http2"),
        ("tls", "https", "--http2"),
        ("plain", "http", "--http2-prior-knowledge"),
    ] {
        println!("{listener} {scheme}");
        let mut curl = world.curl(listener, "digest");
        curl.args([flag, "--proxytunnel", "-w", " %{http_version}"])
            .arg(world.url(scheme, "/hello"));
        let said = run(curl, None).await;
        assert_eq!(said.lines(), ["hello from /hello 2"], "{}", said.errors);
        assert_eq!(world.asked()[0].line, "GET /hello HTTP/2");
        world.ends(&digested("CONNECT")).await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_upgrades_to_a_websocket_inside_the_tunnel_and_forwarded() {
    let world = World::open().await;
    for (tunnel, ends) in [
        (true, &["CONNECT 200 basic finished"][..]),
        (
            false,
            &["GET 101 basic finished", "tunnel of GET 101 basic finished"],
        ),
    ] {
        println!("{ends:?}");
        let mut curl = world.curl("tls", "basic");
        if tunnel {
            curl.arg("--proxytunnel");
        }
        // Older curls know no WebSocket, but pass on whatever follows the head.
        curl.args([
            "--http1.1",
            "-i",
            "-N",
            "-H",
            "Connection: Upgrade",
            "-H",
            "Upgrade: websocket",
        ])
        .args([
            "-H",
            "Sec-WebSocket-Version: 13",
            "-H",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ])
        .arg(world.url("http", "/ws/ring"));
        let said = run(curl, None).await;
        let text = String::from_utf8_lossy(&said.out);
        assert!(text.contains("HTTP/1.1 101 "), "{text} {}", said.errors);
        assert!(
            text.to_lowercase()
                .contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{text}"
        );
        assert!(said.out.ends_with(origin::RING), "{text}");
        world.ends(ends).await;
    }
    world.close().await;
}
