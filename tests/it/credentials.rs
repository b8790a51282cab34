//! Credentials that are malformed, meant for somebody else, or simply wrong, as they come over the wire.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_auth::{PasswordClient, PasswordParams};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::client::{self, Client, Reply};
use crate::house::House;
use crate::origin::Origin;
use crate::upstream;

const NOWHERE: &str = "push.test:443";

fn digest(challenge: &str, method: &str, uri: &str, user: &str, password: &str) -> String {
    let mut client = PasswordClient::try_from(challenge).unwrap();
    let params = PasswordParams {
        username: user,
        password,
        uri,
        method,
        body: None,
    };
    client.respond(&params).unwrap()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn challenge(client: &mut Client) -> String {
    let reply = client.connect(NOWHERE).await;
    reply.fields("proxy-authenticate")[0].to_owned()
}

/// A client whose address is another of loopback's.
async fn tls_client_from(house: &House, from: [u8; 4]) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let tcp = socket.connect(house.address("tls")).await.unwrap();
    Client::tls_over(tcp, house.ca()).await
}

/// Every way of being wrong is answered and logged as what it is, for a tunnel and in absolute form, and the next
/// client is served.
#[tokio::test]
async fn malformed_credentials_are_bad_requests_and_odd_ones_are_challenged() {
    const DIGEST: &str = "Digest username=\"ann\", realm=\"tidegate\", nonce=\"x\", uri=\"push.test:443\", response=\"00\"";
    let with = |more: &str| format!("Proxy-Authorization: {DIGEST}{more}\r\n").into_bytes();
    let named = |name: &[u8]| {
        let line = [
            b"Proxy-Authorization: Digest ",
            name,
            b", realm=\"tidegate\", nonce=\"x\", uri=\"push.test:443\", response=\"00\"\r\n",
        ];
        line.concat()
    };
    let line = |value: &str| format!("Proxy-Authorization: {value}\r\n").into_bytes();
    let house = House::new()
        .user("ann", "secret")
        .set("authentication", "failure_burst = 10000")
        .tls()
        .open()
        .await;
    let many: String = (0..40).map(|n| format!(", p{n}=1")).collect();
    for (lines, status, reason) in [
        ([with(""), with("")].concat(), 400, "bad_request"),
        (
            [line(&basic("ann", "secret")), with("")].concat(),
            400,
            "bad_request",
        ),
        (
            [line("Bearer x"), line("Bearer x")].concat(),
            400,
            "bad_request",
        ),
        (line(""), 400, "bad_request"),
        (line("Basic"), 400, "bad_request"),
        (line("Basic !!"), 400, "bad_request"),
        (line("Basic YW5uOnNlY3JldA"), 400, "bad_request"),
        (line("Basic YW5uOnNlY3JldA== YQ=="), 400, "bad_request"),
        (line("Basic YW5u"), 400, "bad_request"),
        (line("Digest"), 400, "bad_request"),
        (line("Digest username=\"ann"), 400, "bad_request"),
        (
            line(&format!("Digest x=\"{}\"", "x".repeat(9000))),
            400,
            "bad_request",
        ),
        (
            line(&format!("Digest {}", "x".repeat(80_000))),
            431,
            "head_too_large",
        ),
        (with(", realm=\"tidegate\""), 400, "bad_request"),
        (with(", NONCE=\"y\""), 400, "bad_request"),
        (with(", qop=auth, nc=1, cnonce=\"c\""), 400, "bad_request"),
        (with(", qop=auth, nc=00000001"), 400, "bad_request"),
        (with(&many), 400, "bad_request"),
        (with(", userhash=perhaps"), 400, "bad_request"),
        (with(", username*=UTF-8''ann"), 400, "bad_request"),
        (named(b"username*=UTF-8''%"), 400, "bad_request"),
        (named(b"username*=UTF-8''%4"), 400, "bad_request"),
        (named(b"username*=UTF-8''%zz"), 400, "bad_request"),
        (named(b"username*=UTF-8''%ff"), 400, "bad_request"),
        (named(b"username*=ISO-8859-1''ann"), 400, "bad_request"),
        (named(b"username=\xFF"), 400, "bad_request"),
        // What can be read, and proves nothing.
        (named(b"username=\"\xFF\xFE\""), 407, "bad_credentials"),
        (
            named("username=\"gr\u{fc}n\"".as_bytes()),
            407,
            "bad_credentials",
        ),
        (named(b"username*=UTF-8''gr%C3%BCn"), 407, "bad_credentials"),
        (with(""), 407, "bad_credentials"),
        (with(", opaque=\"\\\"\""), 407, "bad_credentials"),
        (
            with(", qop=auth-int, nc=00000001, cnonce=\"c\""),
            407,
            "bad_credentials",
        ),
        (with(", algorithm=SHA-512-256"), 407, "bad_credentials"),
        (with(", algorithm=MD5-sess"), 407, "bad_credentials"),
        (line(&basic("ann", "secret")), 407, "bad_credentials"),
        (line("Bearer x"), 407, "no_credentials"),
        (line("Negotiate YII="), 407, "no_credentials"),
    ] {
        for form in ["CONNECT push.test:443", "GET http://push.test:443/"] {
            // Of another path: for that one the uri is wrong, and nothing else would be looked at.
            let forwarded =
                form.starts_with("GET") && lines.windows(13).any(|part| part == b"push.test:443");
            if forwarded && status == 407 {
                continue;
            }
            let mut client = house.client().await;
            let head = format!("{form} HTTP/1.1\r\nHost: push.test:443\r\n");
            client
                .offer([head.as_bytes(), &lines, b"\r\n"].concat())
                .await;
            let reply = client.reply().await;
            let shown = String::from_utf8_lossy(&lines);
            assert_eq!(
                (reply.status, reply.reason()),
                (status, reason),
                "{form} {shown}"
            );
            let challenged = !reply.fields("proxy-authenticate").is_empty();
            assert_eq!(challenged, status == 407, "{form} {shown}");
            assert_eq!(house.line().await["reason"], reason);
        }
    }
    let target = upstream::echo().await.to_string();
    let login = format!("Proxy-Authorization: {}", basic("ann", "secret"));
    let reply = house.tls_client().await.connect_with(&target, &login).await;
    assert_eq!(reply.status, 200);
    house.close().await;
}

/// A reply without what is another one in every reply.
fn features(reply: &Reply) -> String {
    let mut text = reply.head.clone();
    for name in ["nonce=\"", "Date: "] {
        while let Some(at) = text.find(name) {
            let end = text[at + name.len()..].find(['"', '\r']).expect("it ends");
            text.replace_range(at..at + name.len() + end, "...");
        }
    }
    let (reason, id) = reply.body.split_once(' ').expect("a reason and an id");
    assert!(!id.trim_end().is_empty(), "{reply:?}");
    format!("{}{reason} {}", text.replace(id.trim_end(), "ID"), id.len())
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_get_the_same_bytes() {
    let house = House::new()
        .user("ann", "secret")
        .user("bob", "other")
        .set(
            "authentication",
            "failure_burst = 3\nfailure_rate = \"0.001/s\"",
        )
        .tls()
        .open()
        .await;
    for (network, scheme) in ["digest", "basic"].into_iter().enumerate() {
        let mut seen = Vec::new();
        for (host, user) in ["ann", "nobody"].into_iter().enumerate() {
            let host = 5 + 2 * network as u8 + host as u8;
            let mut client = tls_client_from(&house, [127, 0, 0, host]).await;
            let mut replies = Vec::new();
            // Three that are wrong, and one that is wrong too often.
            for _ in 0..4 {
                let value = match scheme {
                    "basic" => basic(user, "wrong"),
                    _ => digest(
                        &challenge(&mut client).await,
                        "CONNECT",
                        NOWHERE,
                        user,
                        "wrong",
                    ),
                };
                let field = format!("Proxy-Authorization: {value}");
                let reply = client.connect_with(NOWHERE, &field).await;
                replies.push((reply.status, features(&reply)));
            }
            assert_eq!(
                [0, 2, 3].map(|place: usize| replies[place].0),
                [407, 407, 429]
            );
            assert!(replies[0].1.contains("bad_credentials"), "{replies:?}");
            seen.push(replies);
        }
        // The time to wait may differ by what passed between them.
        let seconds = |replies: &mut Vec<(u16, String)>| {
            let (before, after) = replies[3].1.split_once("Retry-After: ").expect("says when");
            let (_, after) = after.split_once("\r\n").expect("ends");
            replies[3].1 = format!("{before}{after}");
        };
        seen.iter_mut().for_each(seconds);
        assert_eq!(
            seen[0], seen[1],
            "{scheme}: nobody can tell which users exist"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_verdict_belongs_to_one_request_of_a_connection() {
    let origin = Origin::start().await;
    let house = House::new()
        .user("ann", "secret")
        .name("push.test", [upstream::LOCALHOST])
        .open()
        .await;
    let mut client = house.client().await;
    let url = origin.url("/");
    for _ in 0..2 {
        let nonce = challenge(&mut client).await;
        let right = digest(&nonce, "GET", &url, "ann", "secret");
        let right = format!("Proxy-Authorization: {right}\r\n");
        client.send(origin.request("GET", "/", &right)).await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(crate::origin::OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200);
        let wrong = digest(&nonce, "GET", &url, "ann", "guess");
        for (field, reason) in [
            (
                format!("Proxy-Authorization: {wrong}\r\n"),
                "bad_credentials",
            ),
            (String::new(), "no_credentials"),
            (right, "stale_nonce"),
        ] {
            client.send(origin.request("GET", "/", &field)).await;
            let reply = client.reply().await;
            assert_eq!((reply.status, reply.reason()), (407, reason));
        }
    }
    drop(client);
    house.close().await;
}

#[tokio::test]
async fn wrong_ones_among_many_right_ones_of_the_same_user_are_wrong() {
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("ann", "secret")
        .set("authentication", "failure_burst = 10000")
        .set("runtime", "workers = 2")
        .open()
        .await;
    let address = house.address("plain");
    let mut asking = JoinSet::new();
    for place in 0..64 {
        let target = target.clone();
        asking.spawn(async move {
            let right = place % 2 == 0;
            let mut client = Client::plain(address).await;
            let reply = client.connect(&target).await;
            let challenge = reply.fields("proxy-authenticate")[place / 2 % 2].to_owned();
            let password = if right { "secret" } else { "guess" };
            let value = digest(&challenge, "CONNECT", &target, "ann", password);
            let field = format!("Proxy-Authorization: {value}");
            (right, client.connect_with(&target, &field).await.status)
        });
    }
    for (right, status) in asking.join_all().await {
        assert_eq!(status, if right { 200 } else { 407 });
    }
    house.close().await;
}

/// What the htdigest program writes, which asks for the password twice on its standard input.
fn htdigest(house: &House, flag: &[&str], user: &str, password: &str) {
    // Without a terminal, or it would ask there.
    let mut child = Command::new("setsid")
        .args(["--wait", "htdigest"])
        .args(flag)
        .args(["users.htdigest", "tidegate", user])
        .current_dir(house.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("util-linux is installed");
    let mut stdin = child.stdin.take().expect("piped");
    write!(stdin, "{password}\n{password}\n").unwrap();
    drop(stdin);
    assert!(
        child.wait().unwrap().success(),
        "htdigest is missing? `bash tests/run` installs it (Debian package apache2-utils)"
    );
}

#[tokio::test]
async fn a_file_of_the_htdigest_program_is_read_and_it_reads_ours() {
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("bob", "b\u{f6}b")
        .set("authentication", "basic_requires_tls = false")
        .controlled()
        .open()
        .await;
    let ask = async |user: &str, password: &str| {
        let mut client = house.client().await;
        let reply = client.connect(&target).await;
        let challenge = reply.fields("proxy-authenticate")[0].to_owned();
        let value = digest(&challenge, "CONNECT", &target, user, password);
        let field = format!("Proxy-Authorization: {value}");
        client.connect_with(&target, &field).await.status
    };
    // Into the file that is there: what it does not know it leaves alone.
    let before = std::fs::read_to_string(house.folder.path().join("users.htdigest")).unwrap();
    let before = format!("# staff\n{before}");
    house.folder.file("users.htdigest", &before);
    htdigest(&house, &[], "ann", "secret");
    let after = std::fs::read_to_string(house.folder.path().join("users.htdigest")).unwrap();
    let line = format!("ann:tidegate:{}\n", client::md5("ann:tidegate:secret"));
    assert_eq!(after, format!("{before}{line}"));
    let told = house.control("reload\n").await;
    assert_eq!(told["answer"], "reloaded", "{told}");
    assert_eq!(ask("ann", "secret").await, 200);
    assert_eq!(ask("bob", "b\u{f6}b").await, 200);

    // A file of its own (over a longer one it leaves the rest of that), and a password that it changes.
    std::fs::remove_file(house.folder.path().join("users.htdigest")).unwrap();
    htdigest(&house, &["-c"], "ann", "first");
    htdigest(&house, &[], "ann", "second");
    let told = house.control("reload\n").await;
    assert_eq!(told["answer"], "reloaded", "{told}");
    assert_eq!(ask("ann", "second").await, 200);
    assert_eq!(ask("ann", "first").await, 407);
    assert_eq!(ask("bob", "b\u{f6}b").await, 407);
    let reply = house.client().await.connect(&target).await;
    let offered = reply.fields("proxy-authenticate");
    assert!(
        offered[0].contains("algorithm=MD5,") && offered[1].starts_with("Basic "),
        "{offered:?}"
    );
    let field = format!("Proxy-Authorization: {}", basic("ann", "second"));
    assert_eq!(
        house
            .client()
            .await
            .connect_with(&target, &field)
            .await
            .status,
        200
    );
    house.close().await;
}
