//! What somebody who reads a plain connection, or who guesses, gets: an answer passes once, and wrong ones end in 429.

use http_auth::{PasswordClient, PasswordParams};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::client::{self, Client, Reply};
use crate::house::House;
use crate::origin::Origin;
use crate::upstream;

/// A login as an independent client does it, count by count.
struct Login {
    client: PasswordClient,
    target: String,
    user: &'static str,
    password: &'static str,
}

impl Login {
    fn new(challenge: &str, target: &str, user: &'static str, password: &'static str) -> Self {
        Self {
            client: PasswordClient::try_from(challenge)
                .unwrap_or_else(|error| panic!("{error}: {challenge}")),
            target: target.to_owned(),
            user,
            password,
        }
    }

    /// The field for a CONNECT to the target.
    fn next(&mut self) -> String {
        let target = self.target.clone();
        self.next_for("CONNECT", &target)
    }

    fn next_for(&mut self, method: &str, uri: &str) -> String {
        let params = PasswordParams {
            username: self.user,
            password: self.password,
            uri,
            method,
            body: None,
        };
        let value = self.client.respond(&params).unwrap();
        format!("Proxy-Authorization: {value}")
    }
}

/// The challenges of a bare CONNECT.
async fn challenges(client: &mut Client, target: &str) -> Vec<String> {
    let reply = client.connect(target).await;
    assert_eq!((reply.status, reply.reason()), (407, "no_credentials"));
    let challenges = reply.fields("proxy-authenticate");
    challenges.into_iter().map(str::to_owned).collect()
}

async fn ann(house: &House, target: &str) -> Login {
    let challenges = challenges(&mut house.client().await, target).await;
    Login::new(&challenges[0], target, "ann", "secret")
}

async fn ask(house: &House, target: &str, field: &str) -> Reply {
    house.client().await.connect_with(target, field).await
}

#[track_caller]
fn assert_stale(reply: &Reply) {
    assert_eq!((reply.status, reply.reason()), (407, "stale_nonce"));
    let challenges = reply.fields("proxy-authenticate");
    assert!(
        challenges.iter().all(|one| one.ends_with(", stale=true")),
        "{challenges:?}"
    );
}

#[tokio::test]
async fn parallel_counts_pass_in_any_order_and_each_of_them_once() {
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("ann", "secret")
        .set("runtime", "workers = 2")
        .open()
        .await;
    let mut login = ann(&house, &target).await;
    let mut fields: Vec<_> = (0..8).map(|_| login.next()).collect();
    fields.reverse();
    let address = house.address("plain");
    let mut asking = JoinSet::new();
    for field in fields.clone() {
        let target = target.clone();
        asking.spawn(async move {
            let mut client = Client::plain(address).await;
            client.connect_with(&target, &field).await.status
        });
    }
    assert_eq!(asking.join_all().await, [200; 8]);
    for field in &fields {
        let reply = ask(&house, &target, field).await;
        assert_stale(&reply);
        let mut again = Login::new(
            reply.fields("proxy-authenticate")[0],
            &target,
            "ann",
            "secret",
        );
        assert_eq!(ask(&house, &target, &again.next()).await.status, 200);
    }
    assert_eq!(ask(&house, &target, &login.next()).await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn of_many_copies_of_an_answer_one_passes() {
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("ann", "secret")
        .set("runtime", "workers = 2")
        .open()
        .await;
    let field = ann(&house, &target).await.next();
    let address = house.address("plain");
    let mut asking = JoinSet::new();
    for _ in 0..16 {
        let (target, field) = (target.clone(), field.clone());
        asking.spawn(async move {
            let mut client = Client::plain(address).await;
            client.connect_with(&target, &field).await.status
        });
    }
    let mut statuses = asking.join_all().await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (200, &[407; 15][..]));
    house.close().await;
}

#[tokio::test]
async fn a_reload_forgets_no_count() {
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("ann", "secret")
        .set("authentication", "nonces = 5000")
        .controlled()
        .open()
        .await;
    let mut login = ann(&house, &target).await;
    let first = login.next();
    assert_eq!(ask(&house, &target, &first).await.status, 200);
    house.edit("nonces = 5000", "nonces = 6000");
    assert_eq!(house.control("reload\n").await["answer"], "reloaded");
    assert_stale(&ask(&house, &target, &first).await);
    assert_eq!(ask(&house, &target, &login.next()).await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn two_replicas_take_turns_and_nobody_is_asked_again() {
    let target = upstream::echo().await.to_string();
    let key = format!("7 {}\n", "0123456789abcdef".repeat(4));
    let replica = async || {
        House::new()
            .user("ann", "secret")
            .set("authentication", "nonce_key_file = \"nonce.key\"")
            .file("nonce.key", &key)
            .open()
            .await
    };
    let (one, other) = (replica().await, replica().await);
    let mut login = ann(&one, &target).await;
    for house in [&other, &one, &other, &other, &one, &one] {
        assert_eq!(ask(house, &target, &login.next()).await.status, 200);
    }
    // They share a key and no memory: each lets an answer pass once.
    let field = login.next();
    for house in [&one, &other] {
        assert_eq!(ask(house, &target, &field).await.status, 200);
        assert_stale(&ask(house, &target, &field).await);
    }
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_keys_successor_is_read_by_a_reload_and_nobody_is_asked_again() {
    let target = upstream::echo().await.to_string();
    let (old, new) = ("01".repeat(32), "23".repeat(32));
    let house = House::new()
        .user("ann", "secret")
        .set("authentication", "nonce_key_file = \"nonce.key\"")
        .file("nonce.key", &format!("1 {old}\n"))
        .controlled()
        .open()
        .await;
    let mut login = ann(&house, &target).await;
    assert_eq!(ask(&house, &target, &login.next()).await.status, 200);
    let path = house.folder.path().join("nonce.key");
    for keys in [format!("2 {new}\n1 {old}\n"), format!("2 {new}\n")] {
        std::fs::write(&path, keys).unwrap();
        assert_eq!(house.control("reload\n").await["answer"], "reloaded");
        assert_eq!(ask(&house, &target, &login.next()).await.status, 200);
        let mut fresh = ann(&house, &target).await;
        assert_eq!(ask(&house, &target, &fresh.next()).await.status, 200);
    }
    house.close().await;
}

/// A client whose address is another of loopback's.
async fn client_from(house: &House, from: [u8; 4]) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let tcp = socket.connect(house.address("plain")).await;
    Client::from_tcp(tcp.expect("the listener accepts"))
}

/// One attempt to log in with a nonce of its own.
async fn attempt(
    house: &House,
    from: [u8; 4],
    target: &str,
    user: &'static str,
    password: &'static str,
) -> Reply {
    let mut client = client_from(house, from).await;
    let challenges = challenges(&mut client, target).await;
    let field = Login::new(&challenges[0], target, user, password).next();
    client.connect_with(target, &field).await
}

#[tokio::test]
async fn a_guesser_is_told_to_wait_and_locks_nobody_out() {
    const GUESSER: [u8; 4] = [127, 0, 0, 2];
    const ELSEWHERE: [u8; 4] = [127, 0, 0, 3];
    let target = upstream::echo().await.to_string();
    let house = House::new()
        .user("ann", "secret")
        .user("bob", "other")
        .set(
            "authentication",
            "failure_rate = \"0.01/s\"\nfailure_burst = 3",
        )
        .open()
        .await;
    // One that is at work behind the guesser's own address.
    let mut client = client_from(&house, GUESSER).await;
    let challenge = challenges(&mut client, &target).await.swap_remove(1);
    let mut known = Login::new(&challenge, &target, "ann", "secret");
    assert_eq!(
        client.connect_with(&target, &known.next()).await.status,
        200
    );
    drop(client);

    for _ in 0..3 {
        let reply = attempt(&house, GUESSER, &target, "ann", "guess").await;
        assert_eq!((reply.status, reply.reason()), (407, "bad_credentials"));
    }
    for (user, password) in [("ann", "guess"), ("nobody", "guess"), ("ann", "secret")] {
        let reply = attempt(&house, GUESSER, &target, user, password).await;
        assert_eq!((reply.status, reply.reason()), (429, "throttled"));
        let seconds: u64 = reply.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=100).contains(&seconds), "{seconds}");
        assert_eq!(reply.fields("proxy-authenticate"), [""; 0]);
        let line = house.line_with_reason("throttled").await;
        assert_eq!(
            (&line["status"], &line["user"]),
            (&429.into(), &user.into())
        );
    }
    house
        .journal_says("too many wrong credentials from one address")
        .await;

    let mut client = client_from(&house, GUESSER).await;
    assert_eq!(
        client.connect_with(&target, &known.next()).await.status,
        200,
        "one that was in goes on"
    );
    drop(client);
    for (from, user, password) in [
        (GUESSER, "bob", "other"),
        (ELSEWHERE, "ann", "secret"),
        (ELSEWHERE, "bob", "other"),
    ] {
        let reply = attempt(&house, from, &target, user, password).await;
        assert_eq!(reply.status, 200, "{user} from {from:?}");
    }
    house
        .metric_becomes(
            "tidegate_authentications_total{scheme=\"digest\",algorithm=\"MD5\",result=\"throttled\"}",
            3.0,
        )
        .await;
    let warnings = house.everything_said();
    let warnings = warnings.matches("too many wrong credentials from one address");
    assert_eq!(warnings.count(), 1, "one warning a minute");
    house.close().await;
}

#[tokio::test]
async fn an_independent_client_gets_in_by_every_way() {
    let target = upstream::echo().await.to_string();
    let origin = Origin::start().await;
    let text = "ann:tidegate:secret";
    let md5 = format!("ann:tidegate:{}\n", client::md5(text));
    let sha256 = format!("ann:tidegate:{}\n", client::sha256(text));
    for (lines, order, offered) in [
        (
            [&*md5, &sha256].concat(),
            r#""MD5", "SHA-256""#,
            &["MD5", "SHA-256"][..],
        ),
        (
            [&*md5, &sha256].concat(),
            r#""SHA-256", "MD5""#,
            &["SHA-256", "MD5"],
        ),
        (md5.clone(), r#""SHA-256", "MD5""#, &["MD5"]),
        (sha256.clone(), r#""MD5", "SHA-256""#, &["SHA-256"]),
        (
            [&*md5, &sha256].concat(),
            r#""SHA-256-sess""#,
            &["SHA-256-sess"],
        ),
    ] {
        let house = House::new()
            .name("push.test", [upstream::LOCALHOST])
            .set(
                "authentication",
                &format!("required = true\ndigest_algorithms = [{order}]"),
            )
            .file("users.htdigest", &lines)
            .tls()
            .open()
            .await;
        for listener in ["plain", "tls"] {
            for (place, algorithm) in offered.iter().enumerate() {
                let mut client = match listener {
                    "tls" => house.tls_client().await,
                    _ => house.client().await,
                };
                let challenges = challenges(&mut client, &target).await;
                assert_eq!(
                    challenges
                        .iter()
                        .filter(|one| one.starts_with("Digest "))
                        .count(),
                    offered.len()
                );
                house.line_with_reason("no_credentials").await;
                let mut login = Login::new(&challenges[place], &target, "ann", "secret");
                // On the connection that was challenged, in absolute form, and then for a tunnel.
                let url = origin.url("/");
                let field = format!("{}\r\n", login.next_for("GET", &url));
                client.send(origin.request("GET", "/", &field)).await;
                let (mut call, ask) = origin.reached(&mut client).await;
                assert_eq!(ask.field("proxy-authorization"), None);
                call.send(crate::origin::OK_CLOSE).await;
                assert_eq!(client.reply().await.status, 200);
                let line = house.line_with("kind", "forward").await;
                assert_eq!(line["algorithm"], *algorithm);
                let reply = client.connect_with(&target, &login.next()).await;
                assert_eq!(reply.status, 200, "{listener} {order} {algorithm}");
                drop(client);
                assert_eq!(house.line().await["algorithm"], *algorithm);
            }
        }
        house.close().await;
    }
}

#[tokio::test]
async fn a_forwarded_reply_proves_that_we_know_the_password_too() {
    let origin = Origin::start().await;
    let house = House::new()
        .name("push.test", [upstream::LOCALHOST])
        .user("ann", "secret")
        .set("authentication", "next_nonce = true")
        .open()
        .await;
    let mut client = house.client().await;
    let challenge = challenges(&mut client, &origin.authority())
        .await
        .swap_remove(0);
    let mut login = Login::new(&challenge, "", "ann", "secret");
    let field = format!("{}\r\n", login.next_for("GET", "/x"));
    let part = |text: &str, name: &str| {
        let rest = text.split_once(&format!("{name}=\"")).expect("is there").1;
        rest.split_once('"').expect("ends").0.to_owned()
    };
    client.send(origin.request("GET", "/x", &field)).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(
        "HTTP/1.1 200 OK\r\nProxy-Authentication-Info: theirs\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let reply = client.reply().await;
    let info = reply.fields("proxy-authentication-info");
    assert_eq!(info.len(), 1, "{reply:?}");
    let (nonce, cnonce) = (part(&field, " nonce"), part(&field, "cnonce"));
    let ha1 = client::md5("ann:tidegate:secret");
    let ha2 = client::md5(":/x");
    let proof = client::md5(&format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"));
    assert_eq!(part(info[0], "rspauth"), proof);

    // Who takes the next nonce need not be asked.
    let challenge = challenge.replace(&nonce, &part(info[0], "nextnonce"));
    let mut login = Login::new(&challenge, "", "ann", "secret");
    let field = format!("{}\r\n", login.next_for("GET", "/x"));
    client.send(origin.request("GET", "/x", &field)).await;
    call.asked_by(&mut client).await;
    call.send(crate::origin::OK).await;
    assert_eq!(client.reply().await.status, 200);
    drop(client);
    house.close().await;
}

#[tokio::test]
async fn an_md5_answer_that_is_called_sha_256_passes_and_is_counted() {
    let target = upstream::echo().await.to_string();
    let house = House::new().user("ann", "secret").open().await;
    let field = ann(&house, &target).await.next();
    let renamed = field.replace("algorithm=MD5", "algorithm=\"SHA-256\"");
    assert_ne!(field, renamed);
    house.line().await;
    let mut client = house.client().await;
    assert_eq!(client.connect_with(&target, &renamed).await.status, 200);
    drop(client);
    assert_eq!(house.line().await["algorithm"], "MD5");
    house
        .metric_becomes("tidegate_mislabelled_digests_total", 1.0)
        .await;
    house.close().await;
}
