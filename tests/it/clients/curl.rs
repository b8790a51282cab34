//! curl as anyone would use it: plain and TLS to the proxy, every scheme, both families, and what goes wrong.

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        Command::new("curl")
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
