//! Forwarding: what an ordinary client asks for in absolute form, and which bytes the origin gets for it.

use http_auth::{PasswordClient, PasswordParams};

use crate::client::{Client, Reply};
use crate::house::{self, House, Plan};
use crate::origin::{OK, OK_CLOSE, Origin};
use crate::upstream::LOCALHOST;

/// A house whose DNS knows `push.test`.
fn house() -> Plan {
    House::new().name("push.test", [LOCALHOST])
}

// ---- the request line and Host ----------------------------------------------------------------------------------

#[tokio::test]
async fn the_origin_gets_origin_form_and_the_host_of_the_uri() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let at = origin.authority();
    for (method, uri, line) in [
        ("GET", format!("http://{at}/"), "GET / HTTP/1.1"),
        ("GET", format!("http://{at}"), "GET / HTTP/1.1"),
        ("GET", format!("http://{at}?x=1"), "GET /?x=1 HTTP/1.1"),
        (
            "GET",
            format!("HTTP://{}/a//b/../c%2f?q=%zz", at.to_uppercase()),
            "GET /a//b/../c%2f?q=%zz HTTP/1.1",
        ),
        (
            "GET",
            format!("http://{at}/http://other.test/"),
            "GET /http://other.test/ HTTP/1.1",
        ),
        ("GET", format!("ws://{at}/chat"), "GET /chat HTTP/1.1"),
        ("OPTIONS", format!("http://{at}"), "OPTIONS * HTTP/1.1"),
        ("OPTIONS", format!("http://{at}/"), "OPTIONS / HTTP/1.1"),
        (
            "OPTIONS",
            format!("http://{at}?x=1"),
            "OPTIONS /?x=1 HTTP/1.1",
        ),
        ("DELETE", format!("http://{at}/x"), "DELETE /x HTTP/1.1"),
        ("PROPFIND", format!("http://{at}/x"), "PROPFIND /x HTTP/1.1"),
        ("M-SEARCH", format!("http://{at}/x"), "M-SEARCH /x HTTP/1.1"),
        ("get", format!("http://{at}/x"), "get /x HTTP/1.1"),
    ] {
        let mut client = house.client().await;
        client
            .send(format!(
                "{method} {uri} HTTP/1.1\r\nHost: other.test\r\n\r\n"
            ))
            .await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.line, line, "{method} {uri}");
        assert_eq!(ask.field("host"), Some(at.as_str()), "{method} {uri}");
        call.send(OK_CLOSE).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "ok"), "{uri}");
    }
    origin.nobody_called();
    house.close().await;
}

/// An address of this process's own, so that ports below 1024 are free on it.
fn own_address(port: u16) -> std::net::SocketAddr {
    let pid = std::process::id();
    ([127, 99, (pid >> 8) as u8, pid as u8], port).into()
}

#[tokio::test]
async fn host_names_no_port_that_goes_without_saying() {
    let (Ok(origin), Ok(mut secure)) = (Origin::on(own_address(80)), Origin::on(own_address(443)))
    else {
        println!("SKIPPED: ports below 1024 need root here");
        return;
    };
    let authority = secure.tls("push.test");
    let house = House::new()
        .name("push.test", [own_address(80).ip()])
        .file("origin.pem", &authority)
        .destination(WITH_CA)
        .open()
        .await;
    for (uri, origin) in [
        ("http://push.test/", &origin),
        ("http://push.test:80/", &origin),
        ("http://PUSH.test./", &origin),
        ("https://push.test/", &secure),
        ("https://push.test:443/", &secure),
    ] {
        let mut client = house.client().await;
        client
            .send(format!("GET {uri} HTTP/1.1\r\nHost: x:1\r\n\r\n"))
            .await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.field("host"), Some("push.test"), "{uri}");
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200, "{uri}");
    }
    house.close().await;
}

#[tokio::test]
async fn addresses_are_origins_too() {
    let house = house().open().await;
    for ip in ["127.0.0.1", "::1"] {
        let Ok(origin) = Origin::on((ip.parse::<std::net::IpAddr>().unwrap(), 0).into()) else {
            println!("SKIPPED: no {ip} here");
            continue;
        };
        let mut client = house.client().await;
        let address = origin.address;
        client
            .send(format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.field("host"), Some(address.to_string().as_str()));
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200);
    }
    house.close().await;
}

#[tokio::test]
async fn origin_form_is_told_that_this_is_a_proxy() {
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send("GET /x HTTP/1.1\r\nHost: push.test\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (400, "bad_request"));
    let details = reply.field("proxy-status").unwrap();
    assert!(details.contains("this is a proxy"), "{details}");
    house.close().await;
}

// ---- TLS that we originate --------------------------------------------------------------------------------------

/// `lab`, which also trusts the origin's own authority.
const WITH_CA: &str = "name = \"lab\"\nhosts = [\"*.test\"]\nports = [\"1-65535\"]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]\nca = \"origin.pem\"";

#[tokio::test]
async fn https_in_absolute_form_is_tls_to_the_origin_and_verified() {
    let mut origin = Origin::start().await;
    let authority = origin.tls("push.test");
    let house = house()
        .name("other.test", [LOCALHOST])
        .file("origin.pem", &authority)
        .destination(WITH_CA)
        .open()
        .await;
    let at = origin.authority();
    let mut client = house.client().await;
    for round in 0..2 {
        client
            .send(format!(
                "POST https://{at}/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
            ))
            .await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(call.sni.as_deref(), Some("push.test"));
        assert_eq!(
            (ask.line.as_str(), ask.field("host")),
            ("POST /x HTTP/1.1", Some(at.as_str()))
        );
        assert_eq!(call.read(4).await, b"body");
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.body, "ok", "{round}");
        let line = house.line().await;
        assert_eq!(
            (&line["kind"], &line["target"], &line["reason"]),
            (&"forward".into(), &at.as_str().into(), &"finished".into())
        );
    }

    // The right authority, another name.
    client
        .send(format!(
            "GET https://other.test:{}/ HTTP/1.1\r\nHost: x\r\n\r\n",
            origin.address.port()
        ))
        .await;
    let (reply, call) = tokio::join!(client.reply(), origin.try_call());
    assert_eq!((reply.status, reply.reason()), (502, "upstream_tls_failed"));
    assert!(call.is_err());
    house.close().await;
}

#[tokio::test]
async fn an_origin_of_an_authority_that_nobody_trusts_gets_no_request() {
    let mut origin = Origin::start().await;
    origin.tls("push.test");
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(format!(
            "GET https://{}/ HTTP/1.1\r\nHost: x\r\n\r\n",
            origin.authority()
        ))
        .await;
    let (reply, call) = tokio::join!(client.reply(), origin.try_call());
    assert_eq!((reply.status, reply.reason()), (502, "upstream_tls_failed"));
    assert!(call.is_err());
    let line = house.line().await;
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&502.into(), &"upstream_tls_failed".into())
    );
    house.close().await;
}

/// It is trusted, and can be no server's all the same: the reply says why.
#[tokio::test]
async fn an_origin_that_shows_an_authoritys_certificate_is_told_apart() {
    let mut origin = Origin::start().await;
    let (certificate, key) = house::self_signed("push.test");
    origin.tls_with(&certificate, &key);
    let house = house()
        .file("origin.pem", &certificate)
        .destination(WITH_CA)
        .open()
        .await;
    let mut client = house.client().await;
    client
        .send(format!(
            "GET https://{}/ HTTP/1.1\r\nHost: x\r\n\r\n",
            origin.authority()
        ))
        .await;
    let (reply, call) = tokio::join!(client.reply(), origin.try_call());
    assert_eq!((reply.status, reply.reason()), (502, "upstream_tls_failed"));
    assert!(call.is_err());
    let told = reply.field("proxy-status").unwrap_or_default();
    assert!(told.contains("(CA:TRUE)"), "{told}");
    house.close().await;
}

// ---- fields -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_is_for_one_hop_stays_behind_and_all_else_travels() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(origin.request(
            "POST",
            "/x",
            "Connection: X-Private, keep-alive\r\nconnection: x-second\r\nX-Private: 1\r\nX-Second: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Foo: 1\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\nTransfer-Encoding: chunked\r\n\
             Authorization: Bearer t\r\nCookie: a=b\r\nX-Keep: one\r\nX-Keep: two\r\nAccept: */*\r\nX-Empty:\r\n",
        ))
        .await;
    client.send("0\r\n\r\n").await;
    let (mut call, ask) = origin.reached(&mut client).await;
    for gone in [
        "x-private",
        "x-second",
        "keep-alive",
        "proxy-connection",
        "proxy-foo",
        "upgrade",
        "http2-settings",
        "te",
    ] {
        assert!(!ask.names().contains(&gone), "{gone}: {ask:?}");
    }
    for connection in ask.fields("connection") {
        assert!(
            connection == "close" || connection == "keep-alive",
            "{connection}"
        );
    }
    assert_eq!(ask.field("authorization"), Some("Bearer t"));
    assert_eq!(ask.field("cookie"), Some("a=b"));
    assert_eq!(ask.field("accept"), Some("*/*"));
    assert_eq!(ask.field("x-empty"), Some(""));
    assert_eq!(ask.fields("x-keep"), ["one", "two"]);
    call.send(
        "HTTP/1.1 200 OK\r\nConnection: X-Mine, close\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: close\r\nUpgrade: h2c\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: s\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let reply = client.reply().await;
    for gone in ["x-mine", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(reply.field(gone), None, "{gone}: {reply:?}");
    }
    // The origin's `close` is for its own connection.
    assert_eq!(reply.field("connection"), None, "{reply:?}");
    assert_eq!(reply.fields("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(
        (reply.field("server"), reply.body.as_str()),
        (Some("s"), "ok")
    );
    house.close().await;
}

#[tokio::test]
async fn te_travels_as_trailers_and_only_when_asked() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for (fields, te) in [
        (
            "TE: trailers, deflate;q=0.5\r\nConnection: TE\r\n",
            Some("trailers"),
        ),
        ("TE: deflate\r\nConnection: TE\r\n", None),
        ("", None),
    ] {
        let mut client = house.client().await;
        client.send(origin.request("GET", "/", fields)).await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.field("te"), te, "{fields:?}");
        let listed = ask.fields("connection").join(", ").to_lowercase();
        assert_eq!(
            listed.split(", ").any(|option| option == "te"),
            te.is_some(),
            "{listed:?}"
        );
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200);
    }
    house.close().await;
}

#[tokio::test]
async fn two_hundred_fields_travel_both_ways() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let fields: String = (0..200)
        .map(|number| format!("X-Field-{number}: {number}\r\n"))
        .collect();
    let mut client = house.client().await;
    client.send(origin.request("GET", "/", &fields)).await;
    let (mut call, ask) = origin.reached(&mut client).await;
    assert_eq!(ask.field("x-field-199"), Some("199"));
    call.send(format!(
        "HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"
    ))
    .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.field("x-field-199")),
        (200, Some("199"))
    );
    house.close().await;
}

// ---- Via, loops, Max-Forwards -----------------------------------------------------------------------------------

/// Our own entry in the `Via` that an origin got.
async fn pseudonym(house: &House, origin: &Origin) -> String {
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, ask) = origin.reached(&mut client).await;
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.status, 200);
    house.line().await;
    let via = ask.field("via").expect("a Via").to_owned();
    via.strip_prefix("1.1 ").expect("the version").to_owned()
}

#[tokio::test]
async fn via_is_added_behind_what_stands_there_in_both_directions() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let name = pseudonym(&house, &origin).await;
    assert!(
        name.starts_with("tidegate-") && name.len() > "tidegate-".len(),
        "{name}"
    );
    let at = origin.authority();
    for (version, before, after) in [
        ("1.1", "", format!("1.1 {name}")),
        ("1.0", "", format!("1.0 {name}")),
        (
            "1.1",
            "Via: 1.0 fred, 1.1 p.test (x)\r\nVia: 1.1 other\r\n",
            format!("1.0 fred, 1.1 p.test (x), 1.1 other, 1.1 {name}"),
        ),
    ] {
        let mut client = house.client().await;
        client
            .send(format!(
                "GET http://{at}/ HTTP/{version}\r\nHost: x\r\n{before}\r\n"
            ))
            .await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.fields("via").join(", "), after);
        call.send("HTTP/1.1 200 OK\r\nVia: 1.1 cache\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let reply = client.reply().await;
        assert_eq!(
            reply.fields("via").join(", "),
            format!("1.1 cache, 1.1 {name}")
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_request_that_was_here_before_is_a_loop_and_another_process_is_none() {
    let origin = Origin::start().await;
    let (house, other) = (house().open().await, house().open().await);
    let name = pseudonym(&house, &origin).await;
    assert_ne!(
        name,
        pseudonym(&other, &origin).await,
        "one for each process"
    );
    for via in [
        format!("1.1 {name}"),
        format!("1.0 fred, 1.1 {name}"),
        format!("1.1 {name}, 1.0 fred"),
        format!("1.1 {name} (comment, with a comma)"),
        format!("HTTP/1.1 {name}"),
        format!("1.0 fred\r\nVia: 1.1 {name}"),
    ] {
        let mut client = house.client().await;
        client
            .send(origin.request("GET", "/", &format!("Via: {via}\r\n")))
            .await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.reason()),
            (508, "loop_detected"),
            "{via}"
        );
        assert_eq!(house.line().await["reason"], "loop_detected", "{via}");
        origin.nobody_called();
    }
    // A stranger in the same chain, and a name that only looks like ours.
    for via in [
        format!("1.1 {name}x"),
        format!("1.1 x{name}"),
        "1.1 tidegate".into(),
    ] {
        let mut client = house.client().await;
        client
            .send(origin.request("GET", "/", &format!("Via: {via}\r\n")))
            .await;
        let (mut call, _) = origin.reached(&mut client).await;
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200, "{via}");
    }
    // Policy speaks first: nobody learns by a loop what is listed.
    let mut client = house.client().await;
    client
        .send(format!(
            "GET http://unlisted.example/ HTTP/1.1\r\nHost: x\r\nVia: 1.1 {name}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.reply().await.status, 403);
    other.close().await;
    house.close().await;
}

#[tokio::test]
async fn max_forwards_counts_for_options_and_trace_alone() {
    let origin = Origin::start().await;
    let house = house().open().await;
    for (method, before, after) in [
        ("OPTIONS", "2", "1"),
        ("OPTIONS", "1", "0"),
        ("TRACE", "10", "9"),
        ("GET", "2", "2"),
        ("GET", "0", "0"),
    ] {
        let mut client = house.client().await;
        client
            .send(origin.request(method, "/", &format!("Max-Forwards: {before}\r\n")))
            .await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.field("max-forwards"), Some(after), "{method} {before}");
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200);
    }
    house.close().await;
}

#[tokio::test]
async fn options_that_are_for_us_are_answered_by_us() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    for request in [
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        origin.request("OPTIONS", "", "Max-Forwards: 0\r\n"),
        origin.request("OPTIONS", "/x", "Max-Forwards: 0\r\n"),
    ] {
        client.send(&request).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 200, "{request}");
        let allow = reply.field("allow").expect("an Allow");
        for method in ["CONNECT", "GET", "POST", "OPTIONS"] {
            assert!(
                allow.split(", ").any(|allowed| allowed == method),
                "{allow}"
            );
        }
        assert_eq!(house.line().await["status"], 200, "{request}");
    }
    origin.nobody_called();
    house.close().await;
}

#[tokio::test]
async fn a_trace_that_ends_here_shows_the_request_without_its_secrets() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(origin.request(
            "TRACE",
            "/x",
            "Max-Forwards: 0\r\nX-Shown: yes\r\nAuthorization: Basic c2VjcmV0\r\nCookie: session=secret\r\nProxy-Foo: secret\r\n",
        ))
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.field("content-type")),
        (200, Some("message/http"))
    );
    let line = format!("TRACE {} HTTP/1.1\r\n", origin.url("/x"));
    assert!(reply.body.starts_with(&line), "{reply:?}");
    let shown = reply.body.to_lowercase();
    assert!(shown.contains("\r\nx-shown: yes\r\n"), "{reply:?}");
    for secret in ["c2vjcmv0", "secret", "authorization", "cookie", "proxy-"] {
        assert!(!shown.contains(secret), "{secret} in {reply:?}");
    }
    origin.nobody_called();
    house.close().await;
}

// ---- credentials ------------------------------------------------------------------------------------------------

fn digest(challenge: &str, method: &str, uri: &str) -> String {
    let mut client = PasswordClient::try_from(challenge).unwrap();
    let params = PasswordParams {
        username: "ann",
        password: "secret",
        uri,
        method,
        body: None,
    };
    let value = client.respond(&params).unwrap();
    format!("Proxy-Authorization: {value}\r\n")
}

async fn challenged(client: &mut Client, origin: &Origin) -> String {
    client.send(origin.get("/x?y=1")).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (407, "no_credentials"));
    reply.fields("proxy-authenticate")[0].to_owned()
}

#[tokio::test]
async fn digest_names_the_uri_in_absolute_or_in_origin_form_and_no_other() {
    let origin = Origin::start().await;
    let house = house().user("ann", "secret").open().await;
    for uri in [origin.url("/x?y=1"), "/x?y=1".into()] {
        let mut client = house.client().await;
        let challenge = challenged(&mut client, &origin).await;
        house.line().await;
        let fields = format!(
            "{}Authorization: Bearer mine\r\n",
            digest(&challenge, "GET", &uri)
        );
        client.send(origin.request("GET", "/x?y=1", &fields)).await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.field("proxy-authorization"), None);
        assert_eq!(ask.field("authorization"), Some("Bearer mine"));
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200, "{uri}");
        let line = house.line().await;
        assert_eq!(
            (&line["user"], &line["scheme"], &line["kind"]),
            (&"ann".into(), &"digest".into(), &"forward".into())
        );
    }
    for (method, uri) in [
        ("GET", origin.url("/other")),
        ("GET", "/x".into()),
        ("GET", "http://other.test/x?y=1".into()),
        ("GET", origin.authority()),
    ] {
        let mut client = house.client().await;
        let challenge = challenged(&mut client, &origin).await;
        let fields = digest(&challenge, method, &uri);
        client.send(origin.request("GET", "/x?y=1", &fields)).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.reason()),
            (400, "bad_request"),
            "{uri}"
        );
    }
    let mut client = house.client().await;
    let challenge = challenged(&mut client, &origin).await;
    let fields = digest(&challenge, "POST", "/x?y=1");
    client.send(origin.request("GET", "/x?y=1", &fields)).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (407, "bad_credentials"));
    origin.nobody_called();
    house.close().await;
}

#[tokio::test]
async fn a_407_reads_a_small_body_and_keeps_the_connection() {
    let origin = Origin::start().await;
    let house = house().user("ann", "secret").open().await;
    let smuggled = origin.get("/smuggled");
    let length = format!("Content-Length: {}\r\n", smuggled.len());
    let chunked = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for (framing, body) in [
        (length.as_str(), smuggled.as_str()),
        ("Transfer-Encoding: chunked\r\n", chunked.as_str()),
    ] {
        let mut client = house.client().await;
        client
            .send(format!("{}{body}", origin.request("POST", "/x", framing)))
            .await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.reason()), (407, "no_credentials"));
        if framing == length {
            assert_eq!(reply.field("connection"), None, "its end is known");
        } else if reply.field("connection").is_some() {
            assert_eq!(client.read_to_end().await.unwrap(), b"");
            client = house.client().await;
        }
        let challenge = reply.fields("proxy-authenticate")[0];
        let fields = digest(challenge, "POST", &origin.url("/x"));
        let fields = format!("{fields}{framing}");
        client
            .send(format!("{}{body}", origin.request("POST", "/x", &fields)))
            .await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.line, "POST /x HTTP/1.1", "{framing}");
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200, "{framing}");
        let whole = call.ends_after().await;
        assert_eq!(whole.len(), 1, "{framing}");
        assert_eq!(whole[0].body, smuggled.as_bytes(), "{framing}");
        origin.nobody_called();
    }
    house.close().await;
}

#[tokio::test]
async fn a_407_to_a_client_that_waits_with_its_body_closes() {
    let origin = Origin::start().await;
    let house = house().user("ann", "secret").open().await;
    let mut client = house.client().await;
    client
        .send(origin.request(
            "POST",
            "/x",
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
        ))
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.field("connection")),
        (407, Some("close"))
    );
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    origin.nobody_called();
    house.close().await;
}

// ---- policy -----------------------------------------------------------------------------------------------------

async fn answered(house: &House, request: &str) -> Reply {
    let mut client = house.client().await;
    client.send(request).await;
    client.reply().await
}

#[tokio::test]
async fn forwarding_reaches_what_tunnels_reach_and_nothing_else() {
    let house = house()
        .destination("name = \"shop\"\nhosts = [\"push.test\", \"127.0.0.7\"]\nports = [80, \"8000-8099\"]\nnetworks = [\"127.0.0.0/8\"]")
        .open()
        .await;
    for (uri, status, reason) in [
        ("http://other.test/", 403, "target_denied"),
        ("http://push.test.evil.test/", 403, "target_denied"),
        ("http://127.0.0.8/", 403, "target_denied"),
        ("http://[::1]/", 403, "target_denied"),
        ("http://[::ffff:127.0.0.8]/", 403, "target_denied"),
        ("http://push.test:81/", 403, "port_denied"),
        // The scheme's own port is the one that is asked for.
        ("https://push.test/", 403, "port_denied"),
        ("http://push.test../", 400, "bad_target"),
        ("http://[push.test]/", 400, "bad_target"),
        ("http://2130706439/", 400, "bad_target"),
        ("http://0x7f.0.0.7/", 400, "bad_target"),
        ("http://127.7/", 400, "bad_target"),
    ] {
        let reply = answered(&house, &format!("GET {uri} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!((reply.status, reply.reason()), (status, reason), "{uri}");
        let line = house.line().await;
        assert_eq!(
            (&line["status"], &line["reason"], &line["kind"]),
            (&status.into(), &reason.into(), &"forward".into()),
            "{uri}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn we_are_no_origin() {
    let house = house().open().await;
    for address in [house.address("plain"), house.admin_address()] {
        for host in ["127.0.0.1", "push.test"] {
            let request = format!(
                "GET http://{host}:{}/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
                address.port()
            );
            let reply = answered(&house, &request).await;
            assert_eq!(
                (reply.status, reply.reason()),
                (508, "self_target"),
                "{request}"
            );
            assert_eq!(house.line().await["reason"], "self_target");
        }
    }
    house.close().await;
}

#[tokio::test]
async fn a_refusal_keeps_the_connection_where_the_body_was_read() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    for _ in 0..2 {
        client
            .send("POST http://unlisted.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.field("connection")), (403, None));
    }
    client.send(origin.get("/x")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK).await;
    assert_eq!(client.reply().await.status, 200);
    house.close().await;
}

// ---- the line in the log ----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_forwarded_request_leaves_one_line_with_its_bytes() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(origin.request("POST", "/x", "Content-Length: 5\r\n"))
        .await;
    client.send("hello").await;
    let (mut call, _) = origin.reached(&mut client).await;
    assert_eq!(call.read(5).await, b"hello");
    call.send("HTTP/1.1 201 Created\r\nContent-Length: 7\r\n\r\ncreated")
        .await;
    assert_eq!(client.reply().await.body, "created");
    let line = house.line().await;
    for (field, value) in [
        ("kind", "forward".into()),
        ("method", "POST".into()),
        ("status", 201.into()),
        ("reason", "finished".into()),
        ("target", origin.authority().into()),
        ("destination", "lab".into()),
        ("peer", origin.address.to_string().into()),
        ("bytes_up", 5.into()),
        ("bytes_down", serde_json::Value::from(7)),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    let series = "tidegate_exchanges_total{listener=\"plain\",destination=\"lab\",kind=\"forward\",reason=\"finished\"}";
    house.metric_becomes(series, 1.0).await;
    drop(client);
    house.close().await;
}

#[tokio::test]
async fn no_path_and_no_query_reach_a_log_however_it_ends() {
    const TOKEN: &str = "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad";
    let origin = Origin::start().await;
    let refusing = crate::upstream::refusing().await;
    let house = house()
        .user("ann", "secret")
        .set("log", "level = \"debug\"")
        .also(
            "[[client]]\nname = \"here\"\nnetworks = [\"127.0.0.0/8\"]\nauthentication = \"none\"",
        )
        .open()
        .await;
    let path = format!("/3/device/{TOKEN}?key={TOKEN}");
    let mut ended = 0;
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".to_owned(),
        format!(
            "HTTP/1.1 302 Found\r\nLocation: /{TOKEN}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        "nonsense\r\n\r\n".to_owned(),
        String::new(),
    ] {
        let mut client = house.client().await;
        client.send(origin.get(&path)).await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert!(ask.line.contains(TOKEN));
        call.offer(reply).await;
        drop(call);
        client.head().await;
        ended += 1;
    }
    for request in [
        format!("GET http://{refusing}{path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET http://unlisted.example{path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET ftp://push.test{path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET http://push.test:x{path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("OPTIONS http://push.test{path} HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n"),
        format!("GET http://push.test{path} HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"),
    ] {
        answered(&house, &request).await;
        ended += 1;
    }
    house.client().await.send(origin.get(&path)).await;
    drop(origin);
    ended += 1;
    let mut said = String::new();
    for _ in 0..ended {
        said += &house.line().await.to_string();
    }
    for page in [
        "/metrics",
        "/counters",
        "/tunnels",
        "/destinations",
        "/config",
        "/",
    ] {
        said += &house.admin(page).await.1;
    }
    said += &house.everything_said();
    assert!(
        !said.contains("3/device") && !said.contains(&TOKEN[..16]),
        "{said}"
    );
    house.close().await;
}

// ---- keep-alive and pipelining ----------------------------------------------------------------------------------

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_bodies_stay_bodies() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    let smuggled = origin.get("/smuggled");
    let second = format!("Content-Length: {}\r\n", smuggled.len());
    client
        .send(format!(
            "{}{}{smuggled}{}",
            origin.get("/1"),
            origin.request("POST", "/2", &second),
            origin.get("/3")
        ))
        .await;
    for (place, line) in ["GET /1 HTTP/1.1", "POST /2 HTTP/1.1", "GET /3 HTTP/1.1"]
        .into_iter()
        .enumerate()
    {
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.line, line);
        if place == 1 {
            assert_eq!(call.read(smuggled.len()).await, smuggled.as_bytes());
        }
        // Whatever comes before its turn would be seen on a second connection or behind this request.
        origin.nobody_called();
        call.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{place}"
        ))
        .await;
        assert_eq!(client.reply().await.body, place.to_string());
        assert_eq!(call.ends_after().await.len(), 1);
    }
    client.finish().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    origin.nobody_called();
    for _ in 0..3 {
        assert_eq!(house.line().await["reason"], "finished");
    }
    assert_eq!(house.lines_left(), Vec::<String>::new());
    house.close().await;
}

#[tokio::test]
async fn a_tunnel_may_follow_forwarded_requests_on_one_connection() {
    let origin = Origin::start().await;
    let target = crate::upstream::echo().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    client.tunnel(target).await;
    client.send("through").await;
    assert_eq!(client.read(7).await, b"through");
    drop(client);
    house.close().await;
}

#[tokio::test]
async fn a_client_that_says_close_is_answered_and_closed() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client
        .send(origin.request("GET", "/", "Connection: close\r\n"))
        .await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK).await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.field("connection"), reply.body.as_str()),
        (Some("close"), "ok")
    );
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    house.close().await;
}

#[tokio::test]
async fn a_client_that_only_closed_its_sending_side_is_answered() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    client.finish().await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(house.line().await["reason"], "finished");
    house.close().await;
}

#[tokio::test]
async fn a_client_that_left_costs_the_origin_its_connection_and_has_its_line() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = Client::that_resets(house.address("plain")).await;
    client.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut client).await;
    drop(client);
    call.end().await;
    let line = house.line().await;
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason == "client_gone" || reason == "client_reset",
        "{line}"
    );
    house.close().await;
}

#[tokio::test]
async fn a_client_may_be_idle_for_its_time_and_no_longer() {
    let origin = Origin::start().await;
    let house = house()
        .set("intake", "client_idle_timeout = \"300ms\"")
        .open()
        .await;
    // One waits for its reply, the other is idle: the second's end tells the time for the first.
    let (mut waiting, mut idle) = (house.client().await, house.client().await);
    waiting.send(origin.get("/slow")).await;
    let (mut slow, _) = origin.reached(&mut waiting).await;
    idle.send(origin.get("/")).await;
    let (mut call, _) = origin.reached(&mut idle).await;
    call.send(OK).await;
    assert_eq!(idle.reply().await.status, 200);
    assert_eq!(
        idle.read_to_end().await.unwrap(),
        b"",
        "closed without a word"
    );
    slow.send(OK).await;
    assert_eq!(waiting.reply().await.body, "ok", "who waits is not idle");
    for _ in 0..2 {
        assert_eq!(house.line().await["reason"], "finished");
    }
    drop(waiting);
    house.close().await;
}

// ---- HTTP/1.0 clients -------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_http_1_0_client_needs_no_host_and_may_keep_its_connection() {
    let origin = Origin::start().await;
    let house = house().open().await;
    let mut client = house.client().await;
    for _ in 0..2 {
        client
            .send(format!(
                "GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                origin.url("/x")
            ))
            .await;
        let (mut call, ask) = origin.reached(&mut client).await;
        assert_eq!(ask.line, "GET /x HTTP/1.1");
        assert_eq!(ask.field("host"), Some(origin.authority().as_str()));
        call.send(OK_CLOSE).await;
        let reply = client.reply().await;
        let connection = reply.field("connection").map(str::to_lowercase);
        assert_eq!(connection.as_deref(), Some("keep-alive"), "{reply:?}");
    }
    client
        .send(format!("GET {} HTTP/1.0\r\n\r\n", origin.url("/x")))
        .await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    house.close().await;
}

#[tokio::test]
async fn a_destination_that_requires_tls_is_not_asked_in_clear() {
    let origin = Origin::start().await;
    let house = House::new()
        .name("push.test", [LOCALHOST])
        .destination("name = \"lab\"\nhosts = [\"*.test\"]\nports = [\"1-65535\"]\nnetworks = [\"127.0.0.0/8\"]\nsni = \"require\"")
        .open()
        .await;
    let mut client = house.client().await;
    client.send(origin.get("/")).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.reason()), (403, "sni_mismatch"));
    origin.nobody_called();
    house.close().await;
}
