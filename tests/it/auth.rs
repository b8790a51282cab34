//! Who are you: digest with a client that we did not write, Basic where it may be used, and what a 407 looks like.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_auth::{PasswordClient, PasswordParams};

use crate::client::{Client, Reply};
use crate::house::House;
use crate::upstream;

/// The value that an independent client answers to one challenge with.
fn respond(challenge: &str, target: &str, user: &str, password: &str) -> String {
    let mut client =
        PasswordClient::try_from(challenge).unwrap_or_else(|error| panic!("{error}: {challenge}"));
    client
        .respond(&PasswordParams {
            username: user,
            password,
            uri: target,
            method: "CONNECT",
            body: None,
        })
        .unwrap()
}

pub(crate) async fn connect_as(
    client: &mut Client,
    target: &str,
    challenge: &str,
    user: &str,
    password: &str,
) -> Reply {
    let credentials = respond(challenge, target, user, password);
    client
        .connect_with(target, &format!("Proxy-Authorization: {credentials}"))
        .await
}

#[tokio::test]
async fn a_407_has_one_line_for_each_challenge_and_stays_open() {
    let house = House::new().user("ann", "secret").tls().open().await;
    let mut client = house.client().await;
    let reply = client.connect("push.test:443").await;
    assert_eq!((reply.status, reply.reason()), (407, "no_credentials"));
    let challenges = reply.fields("proxy-authenticate");
    assert_eq!(challenges.len(), 2, "{challenges:?}");
    for (challenge, algorithm) in challenges.iter().zip(["MD5", "SHA-256"]) {
        assert!(
            challenge.starts_with("Digest realm=\"tidegate\", nonce=\""),
            "{challenge}"
        );
        assert!(
            challenge.contains(&format!("algorithm={algorithm},"))
                && challenge.contains("qop=\"auth\""),
            "{challenge}"
        );
        assert!(!challenge.contains("stale"), "{challenge}");
    }
    assert_eq!(reply.field("connection"), None);
    assert_eq!(
        client.connect("push.test:443").await.status,
        407,
        "on the same connection"
    );

    let mut client = house.tls_client().await;
    let reply = client.connect("push.test:443").await;
    let challenges = reply.fields("proxy-authenticate");
    assert_eq!(
        challenges.len(),
        3,
        "Basic is offered behind TLS: {challenges:?}"
    );
    assert!(
        challenges[2].starts_with("Basic realm=\"tidegate\""),
        "{challenges:?}"
    );
    house.close().await;
}

#[tokio::test]
async fn an_independent_client_gets_through_with_both_algorithms_and_keeps_its_nonce() {
    let target = upstream::echo().await.to_string();
    let house = House::new().user("ann", "secret").tls().open().await;
    for listener in ["plain", "tls"] {
        for (place, algorithm) in ["MD5", "SHA-256"].into_iter().enumerate() {
            let fresh = async || {
                if listener == "tls" {
                    house.tls_client().await
                } else {
                    house.client().await
                }
            };
            let mut client = fresh().await;
            let challenged = client.connect(&target).await;
            assert_eq!(house.line().await["reason"], "no_credentials");
            let mut password_client =
                PasswordClient::try_from(challenged.fields("proxy-authenticate")[place]).unwrap();
            let params = PasswordParams {
                username: "ann",
                password: "secret",
                uri: &target,
                method: "CONNECT",
                body: None,
            };
            // The first answer on the connection that was challenged, the second on a new one with the same nonce.
            for mut client in [client, fresh().await] {
                let credentials = password_client.respond(&params).unwrap();
                let reply = client
                    .connect_with(&target, &format!("Proxy-Authorization: {credentials}"))
                    .await;
                assert_eq!(reply.status, 200, "{listener} {algorithm}: {reply:?}");
                drop(client);
                let line = house.line().await;
                assert_eq!(
                    (&line["user"], &line["scheme"], &line["algorithm"]),
                    (&"ann".into(), &"digest".into(), &algorithm.into())
                );
            }
        }
    }
    house
        .metric_becomes(
            "tidegate_authentications_total{scheme=\"digest\",algorithm=\"SHA-256\",result=\"ok\"}",
            4.0,
        )
        .await;
    house.close().await;
}

#[tokio::test]
async fn wrong_credentials_are_407_again_and_look_alike() {
    let house = House::new().user("ann", "secret").open().await;
    let mut replies = Vec::new();
    for (user, password) in [("ann", "wrong"), ("nobody", "secret")] {
        let mut client = house.client().await;
        let challenge = client
            .connect("push.test:443")
            .await
            .fields("proxy-authenticate")[0]
            .to_owned();
        let reply = connect_as(&mut client, "push.test:443", &challenge, user, password).await;
        assert_eq!((reply.status, reply.reason()), (407, "bad_credentials"));
        assert!(
            reply
                .fields("proxy-authenticate")
                .iter()
                .all(|challenge| !challenge.contains("stale")),
            "{reply:?}"
        );
        let line = house.line_with_reason("bad_credentials").await;
        assert_eq!(line["user"], user);
        replies.push(reply.field("proxy-status").unwrap().to_owned());
    }
    assert_eq!(replies[0], replies[1], "nobody can tell which users exist");
    house.close().await;
}

#[tokio::test]
async fn credentials_are_for_one_method_and_one_target() {
    let house = House::new().user("ann", "secret").open().await;
    let mut client = house.client().await;
    let challenge = client
        .connect("push.test:443")
        .await
        .fields("proxy-authenticate")[0]
        .to_owned();
    let credentials = respond(&challenge, "other.test:443", "ann", "secret");
    let reply = client
        .connect_with(
            "push.test:443",
            &format!("Proxy-Authorization: {credentials}"),
        )
        .await;
    // RFC 7616 §3.4.6: a uri that is not the request's own is a bad request.
    assert_eq!((reply.status, reply.reason()), (400, "bad_request"));
    house.close().await;
}

/// The challenge as it would be, had it been given out so much earlier: the time in its nonce is moved, and sealed with the
/// key of the file.
fn aged(challenge: &str, minutes: u64, key: &[u8]) -> String {
    let nonce = challenge.split("nonce=\"").nth(1).unwrap();
    let nonce = nonce.split('"').next().unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(nonce).unwrap();
    // Two bytes before it, and eight of chance behind.
    let (body, seal) = bytes.split_at_mut(16);
    let given_out = body[2..8]
        .iter()
        .fold(0, |ms, byte| ms << 8 | u64::from(*byte));
    let earlier = given_out - minutes * 60_000;
    body[2..8].copy_from_slice(&earlier.to_be_bytes()[2..]);
    let sealed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), body);
    seal.copy_from_slice(&sealed.as_ref()[..16]);
    challenge.replace(nonce, &URL_SAFE_NO_PAD.encode(bytes))
}

#[tokio::test]
async fn an_expired_nonce_is_stale_and_the_next_one_works() {
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("ann", "secret")
        .set("authentication", "nonce_lifetime = \"1h\"")
        .set("authentication", "nonce_key_file = \"nonce.key\"")
        .file("nonce.key", &format!("7 {}\n", "5a".repeat(32)))
        .open()
        .await;
    let mut client = house.client().await;
    let given = client.connect(&target).await.fields("proxy-authenticate")[0].to_owned();
    let aged = |minutes| aged(&given, minutes, &[0x5a; 32]);
    let old = aged(61);
    let reply = connect_as(&mut client, &target, &old, "ann", "secret").await;
    assert_eq!((reply.status, reply.reason()), (407, "stale_nonce"));
    let fresh = reply.fields("proxy-authenticate")[0].to_owned();
    assert!(fresh.contains("stale=true"), "{fresh}");
    let mut other = house.client().await;
    for (client, challenge) in [(&mut client, fresh), (&mut other, aged(59))] {
        let reply = connect_as(client, &target, &challenge, "ann", "secret").await;
        assert_eq!(reply.status, 200, "{challenge}");
    }
    drop((client, other));
    house.close().await;
}

#[tokio::test]
async fn a_nonce_of_another_process_with_the_right_password_is_stale_not_wrong() {
    let target = upstream::echo().await.to_string();
    let before = House::new().user("ann", "secret").open().await;
    let old = before
        .client()
        .await
        .connect(&target)
        .await
        .fields("proxy-authenticate")[1]
        .to_owned();
    before.close().await;
    let house = House::new().user("ann", "secret").open().await;
    let mut client = house.client().await;
    let reply = connect_as(&mut client, &target, &old, "ann", "secret").await;
    assert_eq!((reply.status, reply.reason()), (407, "stale_nonce"));
    house.close().await;
}

fn basic(user: &str, password: &[u8]) -> String {
    let text = [user.as_bytes(), b":", password].concat();
    format!(
        "Proxy-Authorization: Basic {}",
        base64::engine::general_purpose::STANDARD.encode(text)
    )
}

#[tokio::test]
async fn basic_works_behind_tls_and_is_refused_in_clear() {
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("ann", "secret")
        .user("uml", "grün")
        .tls()
        .open()
        .await;
    assert_eq!(
        house
            .tls_client()
            .await
            .connect_with(&target, &basic("ann", b"secret"))
            .await
            .status,
        200
    );
    assert_eq!(house.line().await["scheme"], "basic");
    assert_eq!(
        house
            .tls_client()
            .await
            .connect_with(&target, &basic("ann", b"wrong"))
            .await
            .status,
        407
    );
    assert_eq!(
        house
            .tls_client()
            .await
            .connect_with(&target, &basic("uml", "grün".as_bytes()))
            .await
            .status,
        200,
        "UTF-8"
    );
    assert_eq!(
        house
            .tls_client()
            .await
            .connect_with(&target, &basic("uml", b"gr\xfcn"))
            .await
            .status,
        200,
        "Latin-1"
    );
    let reply = house
        .client()
        .await
        .connect_with(&target, &basic("ann", b"secret"))
        .await;
    assert_eq!(reply.status, 407);
    assert!(
        reply
            .fields("proxy-authenticate")
            .iter()
            .all(|challenge| challenge.starts_with("Digest")),
        "{reply:?}"
    );
    house.close().await;

    let house = House::new()
        .user("ann", "secret")
        .set("authentication", "basic_requires_tls = false")
        .open()
        .await;
    assert_eq!(
        house
            .client()
            .await
            .connect_with(&target, &basic("ann", b"secret"))
            .await
            .status,
        200
    );
    house.close().await;
}

#[tokio::test]
async fn a_house_that_asks_nobody_still_refuses_wrong_credentials() {
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("ann", "secret")
        .set("authentication", "basic_requires_tls = false")
        .also("[[client]]\nname = \"known\"\nusers = [\"ann\"]\n")
        .replace("authentication", "required = true", "required = false")
        .open()
        .await;
    assert_eq!(house.client().await.connect(&target).await.status, 200);
    assert_eq!(house.line().await["user"], serde_json::Value::Null);
    assert_eq!(
        house
            .client()
            .await
            .connect_with(&target, &basic("ann", b"secret"))
            .await
            .status,
        200
    );
    let line = house.line().await;
    assert_eq!(
        (&line["user"], &line["client_name"]),
        (&"ann".into(), &"known".into())
    );
    assert_eq!(
        house
            .client()
            .await
            .connect_with(&target, &basic("ann", b"wrong"))
            .await
            .status,
        407
    );
    house.close().await;
}

#[tokio::test]
async fn senders_that_know_no_authentication_get_in_by_address() {
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("ann", "secret")
        .also("[[client]]\nname = \"libraries\"\nnetworks = [\"127.0.0.0/8\"]\nauthentication = \"none\"\n")
        .open()
        .await;
    assert_eq!(house.client().await.connect(&target).await.status, 200);
    assert_eq!(house.line().await["client_name"], "libraries");
    house.close().await;
}

#[tokio::test]
async fn replicas_with_one_key_file_accept_each_others_nonces() {
    let target = upstream::echo().await.to_string();
    let one = House::new()
        .user("ann", "secret")
        .set("authentication", "nonce_key_file = \"nonce.key\"")
        .open()
        .await;
    let key =
        std::fs::read_to_string(one.folder.path().join("nonce.key")).expect("made when missing");
    let other = House::new()
        .user("ann", "secret")
        .set("authentication", "nonce_key_file = \"nonce.key\"")
        .file("nonce.key", &key)
        .open()
        .await;
    let challenge = one
        .client()
        .await
        .connect(&target)
        .await
        .fields("proxy-authenticate")[0]
        .to_owned();
    assert_eq!(
        connect_as(
            &mut other.client().await,
            &target,
            &challenge,
            "ann",
            "secret"
        )
        .await
        .status,
        200
    );
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn no_secret_reaches_a_log() {
    let house = House::new()
        .user("ann", "secret-word")
        .set("authentication", "basic_requires_tls = false")
        .set("log", "level = \"trace\"")
        .open()
        .await;
    let mut client = house.client().await;
    let challenge = client
        .connect("push.test:443")
        .await
        .fields("proxy-authenticate")[0]
        .to_owned();
    let nonce = challenge
        .split("nonce=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap()
        .to_owned();
    let credentials = respond(&challenge, "push.test:443", "ann", "secret-word");
    let response = credentials
        .split("response=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap()
        .to_owned();
    client
        .connect_with(
            "push.test:443",
            &format!("Proxy-Authorization: {credentials}"),
        )
        .await;
    let encoded = basic("ann", b"secret-word");
    house
        .client()
        .await
        .connect_with("push.test:443", &encoded)
        .await;
    house
        .client()
        .await
        .connect_with("push.test:443", &basic("ann", b"secret-wrong"))
        .await;
    house.line_with_reason("bad_credentials").await;
    let (_, config) = house.admin("/config").await;
    let said = [house.everything_said(), config].concat();
    for secret in [
        "secret-word",
        "secret-wrong",
        &nonce,
        &response,
        encoded.rsplit(' ').next().unwrap(),
        &crate::client::md5("ann:tidegate:secret-word"),
    ] {
        assert!(!said.contains(secret), "{secret} in:\n{said}");
    }
    house.close().await;
}
