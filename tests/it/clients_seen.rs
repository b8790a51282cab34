//! `tidegate status --clients`: what each client really uses, told without its secrets.

use http_auth::{PasswordClient, PasswordParams};
use serde_json::{Value, json};

use crate::client::Client;
use crate::house::{House, Plan};
use crate::upstream;

fn plan() -> Plan {
    House::new()
        .user("ann", "sesame")
        .also("[[client]]\nname = \"cluster-1\"\nusers = [\"ann\"]")
        .controlled()
}

fn login(challenge: &str) -> PasswordClient {
    PasswordClient::try_from(challenge).unwrap()
}

fn answer(login: &mut PasswordClient, target: &str) -> String {
    let parameters = PasswordParams {
        username: "ann",
        password: "sesame",
        uri: target,
        method: "CONNECT",
        body: None,
    };
    format!(
        "Proxy-Authorization: {}",
        login.respond(&parameters).unwrap()
    )
}

/// A tunnel that is opened with this and closed by its client; its line is taken.
async fn tunnel(house: &House, mut client: Client, target: &str, field: &str) {
    let reply = client.connect_with(target, field).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    client.finish().await;
    client.read_to_end().await.unwrap();
    house.line_with("reason", "finished").await;
}

async fn habits(house: &House) -> Vec<Value> {
    let status = house.control("status --clients\n").await;
    status["habits"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_client_that_asks_bare_each_time_and_one_that_keeps_its_nonce() {
    let target = upstream::echo().await.to_string();
    let house = plan().tls().open().await;
    // As curl: bare, then on the same connection with a nonce of its own.
    for _ in 0..2 {
        let mut client = house.client().await;
        let reply = client.connect(&target).await;
        let mut login = login(reply.fields("proxy-authenticate")[0]);
        let field = answer(&mut login, &target);
        tunnel(&house, client, &target, &field).await;
    }
    // As libcurl's handle or a JVM: one nonce, on new connections, over TLS.
    let mut client = house.tls_client().await;
    let reply = client.connect(&target).await;
    let mut login = login(reply.fields("proxy-authenticate")[1]);
    drop(client);
    for _ in 0..3 {
        let field = answer(&mut login, &target);
        tunnel(&house, house.tls_client().await, &target, &field).await;
    }
    let habits = habits(&house).await;
    let [kept, bare] = &habits[..] else {
        panic!("{habits:#?}")
    };
    // Four requests each: the names of the listeners decide.
    let (bare, kept) = if bare["listener"] == "plain" {
        (bare, kept)
    } else {
        (kept, bare)
    };
    for (key, expected) in [
        ("client", json!("cluster-1")),
        ("user", json!("ann")),
        ("requests", json!(4)),
        ("connections", json!(2)),
        ("connect", json!(4)),
        ("tls", json!({"none": 2})),
        ("logins", json!({"none": 2, "digest MD5": 2})),
        ("answered_407", json!(2)),
        ("logins_behind_407", json!(2)),
        ("logins_first", json!(0)),
        (
            "nonces",
            json!({"first_use": 2, "used_again": 0, "not_rising": 0, "without_count": 0, "highest_count": 1}),
        ),
        ("tunnels_ended", json!({"finished by client": 2})),
    ] {
        assert_eq!(bare[key], expected, "{key} {bare:#}");
    }
    for (key, expected) in [
        ("listener", json!("tls")),
        ("connections", json!(4)),
        ("tls", json!({"TLSv1.3": 4})),
        ("logins", json!({"none": 1, "digest SHA-256": 3})),
        ("answered_407", json!(1)),
        ("logins_first", json!(3)),
        (
            "nonces",
            json!({"first_use": 1, "used_again": 2, "not_rising": 0, "without_count": 0, "highest_count": 3}),
        ),
    ] {
        assert_eq!(kept[key], expected, "{key} {kept:#}");
    }
    let (code, out, _) = house.command(&["status", "--clients"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("takes a new nonce each time (nc=1)"), "{out}");
    assert!(
        out.contains("keeps its nonce and counts up; 1 first uses, 2 further"),
        "{out}"
    );
    house.close().await;
}

#[tokio::test]
async fn the_file_for_support_has_no_secrets_and_no_names_if_so_wished() {
    let target = upstream::echo().await.to_string();
    let house = plan().open().await;
    let mut client = house.client().await;
    let reply = client.connect(&target).await;
    let challenge = reply.fields("proxy-authenticate")[0].to_owned();
    let field = answer(&mut login(&challenge), &target);
    tunnel(&house, client, &target, &field).await;
    let path = house.folder.path().join("support.json");
    let output = path.to_str().unwrap();
    // One that everybody may read was there before.
    std::fs::write(&path, "old").unwrap();
    for words in [
        &["status", "--clients", "--output", output][..],
        &["status", "--clients", "--output", output, "--anonymous"],
    ] {
        let (code, out, err) = house.command(words).await;
        assert_eq!((code, &*err), (0, ""));
        assert_eq!(out, format!("{output} written\n"));
        let text = std::fs::read_to_string(&path).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        let is_anonymous = words.contains(&"--anonymous");
        let named = if is_anonymous {
            ["client-1", "user-2", "address-3"]
        } else {
            ["cluster-1", "ann", "127.0.0.1"]
        };
        let one = &file["clients"][0];
        assert_eq!([&one["client"], &one["user"], &one["address"]], named);
        let nonce = challenge
            .split("nonce=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let response = field
            .split("response=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        for secret in [nonce, response, "sesame", &target] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert_eq!(text.contains("ann"), !is_anonymous, "{text}");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
    let (_, out, _) = house.command(&["status", "--clients", "--anonymous"]).await;
    assert!(
        out.contains("client-1 at address-3 on plain, user user-2"),
        "{out}"
    );
    assert!(!out.contains("cluster-1"), "{out}");
    house.close().await;
}

#[tokio::test]
async fn names_inside_tunnels_and_who_is_wrong_are_seen_too() {
    let target = upstream::echo().await;
    let house = House::new()
        .controlled()
        .destination("name = \"lab\"\nhosts = [\"push.test\"]\nports = [\"1-65535\"]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]\nsni = \"match\"")
        .name("push.test", [upstream::LOCALHOST])
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(format!("push.test:{}", target.port())).await;
    client.send(crate::sni::hello("push.test")).await;
    client.finish().await;
    client.read_to_end().await.unwrap();
    house.line_with("reason", "finished").await;
    let mut client = house.client().await;
    client
        .send("CONNECT nowhere.test:443 HTTP/1.0\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 403);
    house.line_with("reason", "target_denied").await;
    let habits = habits(&house).await;
    assert_eq!(habits.len(), 1, "{habits:#?}");
    let one = &habits[0];
    assert_eq!(one["sni"], json!({"push.test": 1}));
    assert_eq!((&one["requests"], &one["http_1_0"]), (&json!(2), &json!(1)));
    assert_eq!((&one["client"], &one["user"]), (&Value::Null, &Value::Null));
    assert_eq!(one["logins"], json!({"none": 2}));
    house.close().await;
}
