//! Rules that are only tried out: what passes, what is written down, and that the lines to add do what they say.

use serde_json::Value;

use crate::house::{House, Plan};
use crate::upstream;

/// Every row of `/would-refuse`.
async fn rows(house: &House) -> Vec<Value> {
    let (status, body) = house.admin("/would-refuse").await;
    assert_eq!(status, 200, "{body}");
    let page: Value = serde_json::from_str(&body).unwrap();
    page["would_refuse"].as_array().unwrap().clone()
}

/// The one row's lines.
async fn lines_to_add(house: &House) -> String {
    let rows = rows(house).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0]["lines_to_add"].as_str().unwrap().to_owned()
}

/// The value of a key in lines to add.
fn value<'a>(lines: &'a str, key: &str) -> &'a str {
    lines
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))
        .unwrap_or_else(|| panic!("no {key} in {lines}"))
}

/// A tunnel to the target, and what its line says it would have been refused for.
async fn passes(house: &House, target: &str, would_refuse: Option<&str>) {
    let mut client = house.client().await;
    client.tunnel(target).await;
    client.send("ping").await;
    assert_eq!(client.read(4).await, b"ping");
    drop(client);
    let line = house.line().await;
    assert_eq!(line["would_refuse"], Value::from(would_refuse), "{line}");
}

async fn refused(house: &House, target: &str, reason: &str) {
    let reply = house.client().await.connect(target).await;
    assert_eq!((reply.status, reply.reason()), (403, reason), "{target}");
    assert_eq!(house.line().await["would_refuse"], Value::Null);
}

/// A client that may use `other` alone, and the destination `trial` with these ports and networks.
fn trial(ports: &str, networks: &str, allowed: &str, report_only: bool) -> Plan {
    House::new()
        .destination("name = \"other\"\nhosts = [\"other.test\"]\nrole = \"other\"")
        .destination(&format!(
            "name = \"trial\"\nhosts = [\"push.test\"]\nrole = \"other\"\nports = {ports}\nnetworks = {networks}\nreport_only = {report_only}"
        ))
        .also(&format!(
            "[[client]]\nname = \"cluster\"\nnetworks = [\"127.0.0.0/8\"]\ndestinations = {allowed}\n"
        ))
        .name("push.test", [upstream::LOCALHOST])
}

#[tokio::test]
async fn what_a_destination_would_refuse_passes_is_counted_and_its_lines_allow_it() {
    let target = format!("push.test:{}", upstream::echo().await.port());
    let house = trial("[443]", "[]", "[\"other\"]", true).open().await;
    house.journal_says("report_only").await;
    passes(&house, &target, Some("port_denied")).await;
    passes(&house, &target, Some("port_denied")).await;
    house.metric_becomes("tidegate_would_refuse_total{destination=\"trial\",client=\"cluster\",reason=\"port_denied\"}", 2.0).await;
    let row = &rows(&house).await[0];
    assert_eq!(
        (
            &row["client"],
            &row["target"],
            &row["destination"],
            &row["reason"]
        ),
        (
            &"cluster".into(),
            &target.as_str().into(),
            &"trial".into(),
            &"port_denied".into()
        ),
        "{row}"
    );
    assert_eq!(
        (&row["count"], &row["last_address"]),
        (&2.into(), &"127.0.0.1".into())
    );
    let lines = lines_to_add(&house).await;
    house.close().await;
    // With these lines nothing is reported any more, and enforcing the rules refuses nothing.
    let (ports, networks) = (value(&lines, "ports"), value(&lines, "networks"));
    let allowed = value(&lines, "destinations");
    for report_only in [true, false] {
        let house = trial(ports, networks, allowed, report_only).open().await;
        passes(&house, &target, None).await;
        assert_eq!(rows(&house).await, Vec::<Value>::new());
        house.close().await;
    }
    // Each of them is needed.
    let house = trial("[443]", networks, allowed, false).open().await;
    refused(&house, &target, "port_denied").await;
    house.close().await;
    let house = trial(ports, "[]", allowed, false).open().await;
    refused(&house, &target, "address_denied").await;
    house.close().await;
    let house = trial(ports, networks, "[\"other\"]", false).open().await;
    refused(&house, &target, "client_denied").await;
    house.close().await;
}

#[tokio::test]
async fn a_forbidden_destination_and_a_special_address_are_reported_as_such() {
    let port = upstream::echo().await.port();
    let target = format!("push.test:{port}");
    let ports = format!("[{port}]");
    let house = trial(&ports, "[\"127.0.0.0/8\"]", "[\"other\"]", true)
        .open()
        .await;
    passes(&house, &target, Some("client_denied")).await;
    assert_eq!(
        lines_to_add(&house).await,
        "# in [[client]] cluster:\ndestinations = [\"other\", \"trial\"]\n"
    );
    house.close().await;
    let house = trial(&ports, "[]", "[\"trial\"]", true).open().await;
    passes(&house, &target, Some("address_denied")).await;
    assert_eq!(
        lines_to_add(&house).await,
        "# in [[destination]] trial:\nnetworks = [\"127.0.0.1/32\"]\n"
    );
    house.close().await;
}

#[tokio::test]
async fn a_forwarded_request_is_reported_each_time_also_on_a_kept_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (origin, address) = upstream::listener().await;
    let serving = tokio::spawn(async move {
        let (mut tcp, _) = origin.accept().await.unwrap();
        for _ in 0..2 {
            assert_ne!(tcp.read(&mut [0; 4096]).await.unwrap(), 0);
            tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                .await
                .unwrap();
        }
    });
    let house = trial("[443]", "[\"127.0.0.0/8\"]", "[\"trial\"]", true)
        .open()
        .await;
    let mut client = house.client().await;
    for _ in 0..2 {
        let target = format!("push.test:{}", address.port());
        client
            .send(format!(
                "GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"
            ))
            .await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "hi"));
        let line = house.line().await;
        assert_eq!(
            (&line["would_refuse"], &line["kind"]),
            (&"port_denied".into(), &"forward".into())
        );
    }
    serving.await.unwrap();
    assert_eq!(rows(&house).await[0]["count"], 2);
    house.close().await;
}

fn migration(unlisted: &str, more: &str) -> Plan {
    House::new()
        .set("policy", &format!("unlisted = \"{unlisted}\""))
        .destination(
            "name = \"other\"\nhosts = [\"other.test\"]\nports = [\"1-65535\"]\nrole = \"other\"",
        )
        .also(more)
        .name("local.test", [upstream::LOCALHOST])
        .name("metadata.test", ["169.254.169.254".parse().unwrap()])
}

#[tokio::test]
async fn an_unlisted_target_passes_while_one_migrates_and_its_lines_allow_it() {
    let house = migration("report", "").open().await;
    house.journal_says("this is for migration").await;
    // The rules let it pass: that there is no such name is for DNS to say.
    let reply = house.client().await.connect("new.test:8443").await;
    assert_eq!((reply.status, reply.reason()), (502, "name_not_found"));
    let line = house.line().await;
    assert_eq!(
        (&line["would_refuse"], &line["destination"]),
        (&"target_denied".into(), &"unlisted".into())
    );
    house.metric_becomes("tidegate_would_refuse_total{destination=\"unlisted\",client=\"none\",reason=\"target_denied\"}", 1.0).await;
    let lines = lines_to_add(&house).await;
    house.close().await;
    for unlisted in ["report", "refuse"] {
        let house = migration(unlisted, &lines).open().await;
        let reply = house.client().await.connect("new.test:8443").await;
        assert_eq!((reply.status, reply.reason()), (502, "name_not_found"));
        let line = house.line().await;
        assert_eq!(
            (&line["would_refuse"], &line["destination"]),
            (&().into(), &"new.test".into())
        );
        assert_eq!(rows(&house).await, Vec::<Value>::new());
        house.close().await;
    }
    let house = migration("refuse", "").open().await;
    refused(&house, "new.test:8443", "target_denied").await;
    house.close().await;
}

#[tokio::test]
async fn no_migration_opens_this_machine_or_the_cloud_beneath_it() {
    let local = upstream::echo().await;
    let house = migration("report", "").open().await;
    for target in [
        local.to_string(),
        format!("local.test:{}", local.port()),
        format!("[::ffff:127.0.0.1]:{}", local.port()),
        "metadata.test:80".into(),
        "169.254.169.254:80".into(),
        "0.0.0.0:80".into(),
        "[fd00:ec2::254]:80".into(),
    ] {
        refused(&house, &target, "address_denied").await;
    }
    assert_eq!(rows(&house).await, Vec::<Value>::new());
    house.close().await;
}

#[tokio::test]
async fn nobody_passes_without_the_password() {
    let house = migration("report", "").user("ann", "secret").open().await;
    let reply = house.client().await.connect("new.test:443").await;
    assert_eq!(reply.status, 407);
    assert_eq!(house.line().await["would_refuse"], Value::Null);
    assert_eq!(rows(&house).await, Vec::<Value>::new());
    house.close().await;
}
