//! `tidegate explain`: what would happen to a request, and why; nothing is sent to its target, and what it says is what
//! the proxy then does.

use std::net::IpAddr;

use http_auth::{PasswordClient, PasswordParams};
use serde_json::{Value, json};
use tidegate_load::names::Failure;

use crate::client::Reply;
use crate::house::{House, Plan};
use crate::upstream::{self, LOCALHOST};

/// A proxy with something to say no to at every station.
fn many_rules() -> Plan {
    House::new()
        .user("ann", "secret")
        .user("bob", "secret")
        .also("[[client]]\nname = \"one\"\nusers = [\"ann\"]\n[[client]]\nname = \"two\"\nusers = [\"bob\"]\ndestinations = [\"tight\"]")
        .also("[[limit]]\nname = \"per-cluster\"\nper = \"client\"\nrate = \"20/s\"\nburst = 40\ntunnels = 2000")
        .destination("name = \"lab\"\nhosts = [\"push.test\", \"inside.test\", \"gone.test\"]\nports = [443, \"8000-65535\"]\nrole = \"other\"\nnetworks = [\"127.0.0.1/32\"]")
        .destination("name = \"tight\"\nhosts = [\"*.tight.test\"]\nports = [\"1-65535\"]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]\nsni = \"require\"\nconnect_budget = \"900ms\"")
        .destination("name = \"trial\"\nhosts = [\"trial.test\"]\nports = [1]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]\nreport_only = true")
        .name("push.test", [LOCALHOST, IpAddr::from([127, 0, 0, 2])])
        .name("inside.test", [IpAddr::from([127, 0, 0, 9])])
        .name("a.tight.test", [LOCALHOST])
        .name("trial.test", [LOCALHOST])
}

async fn explained(house: &House, words: &[&str]) -> (i32, Value) {
    let (code, out, err) = house
        .command(&[&["explain", "--json"], words].concat())
        .await;
    let account = serde_json::from_str(&out);
    (
        code,
        account.unwrap_or_else(|error| panic!("{error}: {out}{err}")),
    )
}

/// What the proxy itself does for a user.
async fn done(house: &House, user: &str, target: &str) -> Reply {
    let mut client = house.client().await;
    let first = client.connect(target).await;
    let Some(challenge) = first.field("proxy-authenticate") else {
        return first;
    };
    let parameters = PasswordParams {
        username: user,
        password: "secret",
        uri: target,
        method: "CONNECT",
        body: None,
    };
    let mut login = PasswordClient::try_from(challenge).unwrap();
    let login = login.respond(&parameters).unwrap();
    client
        .connect_with(target, &format!("Proxy-Authorization: {login}"))
        .await
}

#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let target = upstream::echo().await.port();
    let house = many_rules().open().await;
    for (user, target, status, reason) in [
        ("ann", format!("push.test:{target}"), 200, ""),
        ("bob", format!("a.tight.test:{target}"), 200, ""),
        ("ann", format!("trial.test:{target}"), 200, ""),
        ("ann", "push.test:444".into(), 403, "port_denied"),
        ("bob", "push.test:443".into(), 403, "client_denied"),
        ("ann", "nowhere.test:443".into(), 403, "target_denied"),
        ("ann", "inside.test:443".into(), 403, "address_denied"),
        ("ann", "gone.test:443".into(), 502, "name_not_found"),
        ("ann", "push.test".into(), 400, "bad_target"),
        ("eve", "push.test:443".into(), 407, "bad_credentials"),
    ] {
        let (code, account) = explained(&house, &[&target, "--user", user]).await;
        let answer = &account["answer"];
        assert_eq!(answer["status"], status, "{account:#}");
        assert_eq!(code, i32::from(status != 200), "{account:#}");
        let reply = done(&house, user, &target).await;
        assert_eq!(reply.status, status, "{reply:?}");
        if status != 200 {
            assert_eq!(
                (&answer["reason"], reply.reason()),
                (&json!(reason), reason)
            );
            assert!(!answer["to_do"][0].as_str().unwrap().is_empty());
        }
    }
    house.close().await;
}

#[tokio::test]
async fn every_station_tells_what_decides_and_where_it_stands() {
    let house = many_rules().open().await;
    let (code, out, err) = house
        .command(&["explain", "push.test:443", "--user", "ann"])
        .await;
    assert_eq!((code, &*err), (0, ""), "{out}");
    let file = house.folder.path().join("tidegate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let at = |words: &str| {
        let line = text.lines().position(|line| line.contains(words)).unwrap() + 1;
        format!("{}:{line}", file.display())
    };
    for words in [
        "serves 127.0.0.1, offers Digest MD5, Digest SHA-256".to_owned(),
        format!("[[client]] one ({}), by its user", at("name = \"one\"")),
        format!(
            "destination lab: host push.test ({}) and port 443: this rule decides",
            at("hosts = [\"push.test\"")
        ),
        format!(
            "per-cluster ({}): 20/s, burst 40, 2000 tunnels, counted for client one; waits up to",
            at("name = \"per-cluster\"")
        ),
        "1. 127.0.0.1:443\n".into(),
        "not 127.0.0.2:443: address is special-purpose: loopback (RFC 1122)".into(),
        "1500ms for waiting, names and every address".into(),
        "HTTP/1.1 200 Connection established, once".into(),
    ] {
        assert!(out.contains(&words), "{words}\n{out}");
    }
    assert_eq!(
        house.lines_left(),
        [""; 0],
        "something was asked of the proxy"
    );
    house.close().await;
}

#[tokio::test]
async fn a_near_miss_is_named() {
    let house = many_rules().open().await;
    for (words, expected) in [
        (
            &["push.test:444", "--user", "ann"][..],
            "but port 444 is not among 443, 8000-65535",
        ),
        (
            &["push.tets:443", "--user", "ann"],
            "destination lab has push.test: was that meant?",
        ),
        (
            &["tight.test:443", "--user", "ann"],
            "destination tight has *.tight.test: names below tight.test, not tight.test itself",
        ),
        (
            &["push.test:443", "--user", "bob"],
            "but this client may not use it",
        ),
        (
            &["trial.test:443", "--user", "ann"],
            "passes only because destination trial is report_only: it would be refused as port_denied",
        ),
        (
            &["a.tight.test:443", "--user", "bob"],
            "sni = \"require\": the tunnel must open with a TLS hello for a.tight.test",
        ),
        (&["push.test:443"], "--user NAME explains the way of a user"),
    ] {
        let (_, out, _) = house.command(&[&["explain"], words].concat()).await;
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_uri_is_a_forward_and_an_address_may_not_be_served() {
    let house = House::new()
        .plain_listener("name = \"plain\"\naddress = \"127.0.0.1:0\"\nallow_from = [\"127.0.0.1\", \"10.0.0.0/8\"]")
        .destination("name = \"lab\"\nhosts = [\"*.test\"]\nports = [80, 443]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]\nsni = \"require\"\nsource = [\"127.0.0.1\"]")
        .name("push.test", [LOCALHOST, IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])])
        .open()
        .await;
    let (code, account) = explained(&house, &["https://push.test/v1/a-token"]).await;
    assert_eq!(code, 0, "{account:#}");
    assert_eq!(account["addresses"], json!(["127.0.0.1:443"]));
    assert!(!account.to_string().contains("a-token"), "{account:#}");
    let says = account.to_string();
    assert!(says.contains("1. 127.0.0.1:443 from 127.0.0.1"), "{says}");
    assert!(says.contains("source leaves its family out"), "{says}");

    let (code, account) = explained(&house, &["http://push.test/"]).await;
    assert_eq!(
        (code, &account["answer"]["reason"]),
        (1, &json!("sni_mismatch"))
    );

    let words = ["push.test:443", "--from", "192.0.2.1"];
    let (code, account) = explained(&house, &words).await;
    assert_eq!(
        (code, &account["answer"]["reason"]),
        (1, &json!("client_denied"))
    );
    let to_do = account["answer"]["to_do"][0].as_str().unwrap();
    assert!(
        to_do.starts_with("add \"192.0.2.1\" to allow_from of listener plain ("),
        "{to_do}"
    );
    house.close().await;
}

#[tokio::test]
async fn what_a_dial_could_not_do_is_no_pass() {
    let house = House::new()
        .destination("name = \"lab\"\nhosts = [\"push.test\"]\nports = [\"1-65535\"]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]\nsource = [\"192.0.2.77\"]")
        .destination("name = \"sick\"\nhosts = [\"sick.test\"]\nports = [443]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]")
        .name("push.test", [LOCALHOST])
        .name("sick.test", [LOCALHOST])
        .open()
        .await;
    house.names.fail("sick.test", Failure::Servfail);
    for (target, status, reason, to_do) in [
        (
            "push.test:443",
            500,
            "internal",
            "correct source of destination lab, or bring one of its addresses up on this machine",
        ),
        (
            "sick.test:443",
            502,
            "dns_failed",
            "ask those who run the name servers, or name others in dns.servers",
        ),
    ] {
        let (code, account) = explained(&house, &[target]).await;
        let answer = &account["answer"];
        assert_eq!(code, 1, "{account:#}");
        assert_eq!(
            (&answer["status"], &answer["reason"], &answer["to_do"][0]),
            (&json!(status), &json!(reason), &json!(to_do)),
            "{account:#}"
        );
        // An internal error is one that no house may end with.
        if status != 500 {
            let reply = house.client().await.connect(target).await;
            assert_eq!((reply.status, reply.reason()), (status, reason));
        }
    }
    house.close().await;
}
