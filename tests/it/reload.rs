//! Reload, drain and status: what changes changes at once, no tunnel notices, and a bad file changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixDatagram, UnixStream};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Client, user_lines};
use crate::house::{Folder, House, PATIENCE, certificate};
use crate::upstream;

const DENIED: u16 = 403;

/// Reloads, and expects what applied and what needs a restart.
async fn reload(house: &House, applied: &[&str], needs_restart: &[&str]) {
    let answer = house.control("reload\n").await;
    let changes = |list: &str| -> Vec<String> {
        let list = answer[list].as_array();
        let list = list.unwrap_or_else(|| panic!("{answer}")).iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        list.map(|one| format!("{}: {}", text(&one["key"]), text(&one["what"])))
            .collect()
    };
    assert_eq!(changes("applied"), applied);
    assert_eq!(changes("needs_restart"), needs_restart);
}

async fn config(house: &House) -> Value {
    serde_json::from_str(&house.admin("/config").await.1).unwrap()
}

async fn status_of(house: &House, user: &str, password: &str) -> u16 {
    let words = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let target = upstream::echo().await;
    let mut client = house.client().await;
    let field = format!("Proxy-Authorization: Basic {words}");
    client.connect_with(target, &field).await.status
}

#[tokio::test]
async fn users_change_at_once() {
    let house = House::new()
        .controlled()
        .user("ann", "secret")
        .set("authentication", "basic_requires_tls = false")
        .open()
        .await;
    assert_eq!(status_of(&house, "ann", "secret").await, 200);
    assert_eq!(status_of(&house, "bob", "hidden").await, 407);
    house
        .folder
        .file("users.htdigest", &user_lines("bob", "tidegate", "hidden"));
    reload(&house, &["authentication.users: 1 added, 1 removed"], &[]).await;
    assert_eq!(status_of(&house, "ann", "secret").await, 407);
    assert_eq!(status_of(&house, "bob", "hidden").await, 200);
    house.close_with_tunnels().await;
}

#[tokio::test]
async fn a_hangup_adds_and_removes_destinations_and_a_tunnel_to_a_removed_one_lives() {
    let target = upstream::echo().await;
    let lab = |name: &str, host: &str| {
        format!(
            "name = \"{name}\"\nhosts = [\"{host}\"]\nports = [\"1-65535\"]\nnetworks = [\"127.0.0.0/8\"]\n"
        )
    };
    let house = House::new()
        .destination(&lab("first", "127.0.0.1"))
        .open()
        .await;
    let mut old = house.client().await;
    old.tunnel(target).await;
    let before = config(&house).await["hash"].clone();
    house.edit(&lab("first", "127.0.0.1"), &lab("second", "127.0.0.2"));
    house.signal("HUP");
    let said = house.journal_says("configuration reloaded").await;
    assert!(
        said.contains("by=SIGHUP") && said.contains(before.as_str().unwrap()),
        "{said}"
    );
    house
        .journal_says("applied key=destination \"first\" what=removed")
        .await;

    let now = config(&house).await;
    assert_ne!(now["hash"], before);
    assert_eq!(now["config"]["destination"][0]["name"], "second");
    assert_eq!(house.client().await.connect(target).await.status, DENIED);
    let second = upstream::echo_on([127, 0, 0, 2].into()).await;
    let mut new = house.client().await;
    new.tunnel(second).await;
    old.send("still here").await;
    assert_eq!(old.read(10).await, b"still here");
    house
        .metric_becomes(
            "tidegate_connects_total{destination=\"second\",result=\"ok\"}",
            1.0,
        )
        .await;
    drop((old, new));
    house.close().await;
}

#[tokio::test]
async fn a_new_certificate_meets_new_clients_and_old_tunnels_live() {
    let target = upstream::echo().await;
    let house = House::new().controlled().tls().open().await;
    let mut old = house.tls_client().await;
    old.tunnel(target).await;
    let (authority, chain, key) = certificate(&["localhost", "127.0.0.1", "::1"]);
    house.folder.file("proxy.pem", &chain);
    house.folder.file("proxy.key", &key);
    reload(
        &house,
        &["listener \"tls\".tls.certificate: content changed"],
        &[],
    )
    .await;
    // It trusts the new authority alone.
    let mut new = Client::tls(house.address("tls"), &authority).await;
    new.tunnel(target).await;
    old.send("old").await;
    assert_eq!(old.read(3).await, b"old");
    drop((old, new));
    house.close().await;
}

#[tokio::test]
async fn who_may_connect_changes_at_once() {
    let target = upstream::echo().await;
    let open = "name = \"plain\"\naddress = \"127.0.0.1:0\"";
    let house = House::new().controlled().plain_listener(open).open().await;
    house.client().await.tunnel(target).await;
    house.edit(open, &format!("{open}\nallow_from = [\"10.0.0.0/8\"]"));
    reload(
        &house,
        &["listener \"plain\".allow_from: [] → [\"10.0.0.0/8\"]"],
        &[],
    )
    .await;
    assert_eq!(house.client().await.connect(target).await.status, DENIED);
    house.close().await;
}

#[tokio::test]
async fn the_log_level_changes_and_a_restart_is_asked_for_where_it_is_needed() {
    let house = House::new()
        .controlled()
        .set("log", "level = \"info\"")
        .set("runtime", "workers = 1")
        .open()
        .await;
    house.edit("level = \"info\"", "level = \"error\"");
    house.edit("workers = 1", "workers = 2");
    let workers = "runtime.workers: 1 → 2";
    reload(&house, &["log.level: \"info\" → \"error\""], &[workers]).await;
    let now = config(&house).await;
    assert_eq!(
        now["config"]["runtime"]["workers"], 1,
        "what is in force is shown"
    );
    assert_eq!(now["needs_restart"][0]["key"], "runtime.workers");
    house.journal_says("configuration reloaded").await;
    house.edit("level = \"error\"", "level = \"loud\"");
    assert_eq!(house.control("reload\n").await["answer"], "refused");
    house.edit("level = \"loud\"", "level = \"info\"");
    let (code, out, _) = house.command(&["reload"]).await;
    assert_eq!(code, 0);
    assert!(
        out.contains("in force now:\n  log.level: \"error\" → \"info\"\n"),
        "{out}"
    );
    assert!(
        out.contains("needs a restart, and keeps its old value until then:\n  runtime.workers"),
        "{out}"
    );
    house
        .journal_says("applied key=log.level what=\"error\" → \"info\"")
        .await;
    assert!(
        !house.everything_said().contains("reload refused"),
        "a warning at the level error"
    );
    house.close().await;
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_everybody_can_see_why() {
    let target = upstream::echo().await;
    let house = House::new()
        .controlled()
        .user("ann", "secret")
        .set("authentication", "basic_requires_tls = false")
        .set("log", "level = \"info\"")
        .open()
        .await;
    let before = config(&house).await;
    // Something that would be good, and something that is not.
    house
        .folder
        .file("users.htdigest", &user_lines("bob", "tidegate", "hidden"));
    house.edit("level = \"info\"", "levle = \"warn\"");
    let (code, out, complaints) = house.command(&["reload"]).await;
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(
        complaints.contains("log.levle: unknown key (did you mean level?)"),
        "{complaints}"
    );
    house.journal_says("log.levle: unknown key").await;
    let said = house
        .journal_says("reload refused: nothing has changed")
        .await;
    let uid = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
    assert!(
        said.contains("action=\"reload\"") && said.contains(&format!("uid={}", uid.unwrap())),
        "{said}"
    );
    let now = config(&house).await;
    let complaint = now["last_complaint"].as_str().unwrap();
    assert!(complaint.contains("log.levle: unknown key"), "{complaint}");
    assert_eq!(
        (&now["hash"], &now["config"]),
        (&before["hash"], &before["config"])
    );
    assert_eq!(
        house
            .metric("tidegate_reloads_total{result=\"refused\"}")
            .await,
        1.0
    );
    assert_eq!(status_of(&house, "ann", "secret").await, 200);
    assert_eq!(status_of(&house, "bob", "hidden").await, 407);
    let (_, status, _) = house.command(&["status"]).await;
    assert!(
        status.contains("COMPLAINT") && status.contains("log.levle"),
        "{status}"
    );

    house.edit("levle = \"warn\"", "level = \"info\"");
    house.signal("HUP");
    house.journal_says("configuration reloaded").await;
    house
        .metric_becomes("tidegate_reloads_total{result=\"ok\"}", 1.0)
        .await;
    assert_eq!(config(&house).await["last_complaint"], Value::Null);
    assert_eq!(status_of(&house, "bob", "hidden").await, 200);
    assert_eq!(house.client().await.connect(target).await.status, 407);
    house.close_with_tunnels().await;
}

#[tokio::test]
async fn a_rotated_nonce_key_leaves_nonces_good() {
    let target = upstream::echo().await;
    let key = |digit: &str| format!("{digit} {}\n", digit.repeat(64));
    let house = House::new()
        .controlled()
        .user("ann", "secret")
        .set("authentication", "nonce_key_file = \"nonce.key\"")
        .file("nonce.key", &key("1"))
        .open()
        .await;
    let mut client = house.client().await;
    let challenge = client.connect(target).await;
    house.folder.file("nonce.key", &key("2"));
    reload(
        &house,
        &["authentication.nonce_key_file: content changed"],
        &[],
    )
    .await;
    let mut prompt =
        http_auth::PasswordClient::try_from(challenge.fields("proxy-authenticate")[0]).unwrap();
    let parameters = http_auth::PasswordParams {
        username: "ann",
        password: "secret",
        uri: &target.to_string(),
        method: "CONNECT",
        body: Some(&[]),
    };
    let value = prompt.respond(&parameters).unwrap();
    let reply = client
        .connect_with(target, &format!("Proxy-Authorization: {value}"))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    // New nonces are sealed by the new key: their second byte is its number.
    let challenge = house.client().await.connect(target).await;
    let field = challenge.fields("proxy-authenticate")[0];
    let (_, nonce) = field.split_once("nonce=\"").unwrap();
    let (nonce, _) = nonce.split_once('"').unwrap();
    let nonce = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(nonce);
    assert_eq!(nonce.unwrap()[1], 2);
    house.close_with_tunnels().await;
}

/// How far each tunnel has come.
struct Rounds {
    done: Vec<AtomicU64>,
    news: Notify,
    stop: AtomicBool,
}

const TUNNELS: usize = 1_000;
const OVER_TLS: usize = 50;
const BLOCK: usize = 256;

impl Rounds {
    /// Waits until every tunnel has carried a block both ways after now.
    async fn one_more_each(&self, carrying: &mut JoinSet<()>) {
        let before: Vec<u64> = self
            .done
            .iter()
            .map(|done| done.load(Ordering::Acquire))
            .collect();
        let all = async {
            loop {
                let news = self.news.notified();
                let moved =
                    |(done, before): (&AtomicU64, &u64)| done.load(Ordering::Acquire) > before + 1;
                if self.done.iter().zip(&before).all(moved) {
                    return;
                }
                news.await;
            }
        };
        let all = async {
            tokio::select! {
                () = all => {}
                Some(ended) = carrying.join_next() => panic!("a tunnel ended: {ended:?}"),
            }
        };
        timeout(3 * PATIENCE, all)
            .await
            .expect("every tunnel carries data");
    }
}

/// Sends blocks that differ, and reads each back, until it is told to stop; then expects a clean end.
async fn carry(mut client: Client, number: usize, rounds: Arc<Rounds>) {
    while !rounds.stop.load(Ordering::Acquire) {
        let round = rounds.done[number].load(Ordering::Acquire);
        let block = format!("{number} {round} ").repeat(BLOCK)[..BLOCK].to_owned();
        client.send(&block).await;
        assert_eq!(
            client.read(BLOCK).await,
            block.as_bytes(),
            "tunnel {number}"
        );
        rounds.done[number].fetch_add(1, Ordering::AcqRel);
        rounds.news.notify_one();
    }
    client.finish().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"", "tunnel {number}");
}

#[tokio::test]
async fn a_thousand_tunnels_do_not_notice_five_reloads() {
    let target = upstream::echo().await;
    let house = House::new()
        .controlled()
        .tls()
        .set("log", "level = \"info\"")
        .set("drain", "tunnel_grace = \"30m\"")
        .open()
        .await;
    let rounds = Arc::new(Rounds {
        done: (0..TUNNELS).map(|_| AtomicU64::new(0)).collect(),
        news: Notify::new(),
        stop: AtomicBool::new(false),
    });
    let mut carrying = JoinSet::new();
    for number in 0..TUNNELS {
        let mut client = match number {
            0..OVER_TLS => house.tls_client().await,
            _ => house.client().await,
        };
        client.tunnel(target).await;
        carrying.spawn(carry(client, number, Arc::clone(&rounds)));
    }
    for reload in 0..5 {
        rounds.one_more_each(&mut carrying).await;
        let (_, chain, key) = certificate(&["localhost", "127.0.0.1", "::1"]);
        house.folder.file("proxy.pem", &chain);
        house.folder.file("proxy.key", &key);
        let lab = format!("name = \"lab\"\nmax_ttl = \"{}s\"", reload + 1);
        house.edit(
            if reload == 0 {
                "name = \"lab\"".into()
            } else {
                format!("name = \"lab\"\nmax_ttl = \"{reload}s\"")
            }
            .as_str(),
            &lab,
        );
        let answer = house.control("reload\n").await;
        assert_eq!(
            answer["applied"].as_array().map(Vec::len),
            Some(2),
            "{answer}"
        );
        rounds.one_more_each(&mut carrying).await;
    }
    let series = "tidegate_tunnels{generation=\"current\"}";
    assert_eq!(house.metric(series).await, TUNNELS as f64);
    rounds.stop.store(true, Ordering::Release);
    while let Some(ended) = carrying.join_next().await {
        ended.unwrap();
    }
    house.metric_becomes(series, 0.0).await;
    let bytes: u64 = rounds
        .done
        .iter()
        .map(|done| done.load(Ordering::Acquire))
        .sum::<u64>()
        * BLOCK as u64;
    house
        .metric_becomes(
            "tidegate_tunnel_bytes_total{direction=\"down\"}",
            bytes as f64,
        )
        .await;
    house
        .metric_becomes(
            "tidegate_exchanges_total{listener=\"plain\",destination=\"lab\",kind=\"tunnel\",reason=\"finished\"}",
            (TUNNELS - OVER_TLS) as f64,
        )
        .await;
    house.close().await;
}

#[tokio::test]
async fn status_says_what_an_operator_wants_in_the_first_minute() {
    let target = upstream::echo().await;
    let house = House::new()
        .controlled()
        .also("[[client]]\nname = \"cluster-1\"\nnetworks = [\"127.0.0.0/8\"]\nauthentication = \"none\"\n")
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    client.send("hello").await;
    client.read(5).await;
    assert_eq!(
        house
            .client()
            .await
            .connect("other.example:443")
            .await
            .status,
        DENIED
    );
    let denied = "tidegate_exchanges_total{listener=\"plain\",destination=\"none\",kind=\"tunnel\",reason=\"target_denied\"}";
    house.metric_becomes(denied, 1.0).await;
    let status = house.control("status --clients\n").await;
    assert_eq!(status["answer"], "status");
    assert_eq!(status["pid"], house.pid());
    assert_eq!(status["phase"], "serving");
    assert_eq!(
        status["configuration"]["hash"],
        config(&house).await["hash"]
    );
    assert_eq!(
        status["listeners"]["plain"],
        house.address("plain").to_string()
    );
    assert_eq!(
        (&status["tunnels"], &status["tunnels_by_destination"]),
        (&json!(1), &json!({"lab": 1}))
    );
    assert_eq!(status["exchanges"], json!({"target_denied": 1}));
    assert!(status["connections"].as_u64() >= Some(1));
    assert!(status["memory_bytes"].as_u64() > Some(1 << 20));
    assert_eq!(
        status["clients"],
        json!([{"by": "client", "name": "cluster-1", "tunnels": 1, "bytes_up": 5, "bytes_down": 5}])
    );
    assert_eq!(status["would_refuse"], json!([]));
    let plain = house.control("status\n").await;
    assert_eq!(plain.get("clients"), None);

    let (code, text, _) = house.command(&["status", "--clients"]).await;
    assert_eq!(code, 0);
    assert!(
        text.contains("serving") && text.contains("cluster-1"),
        "{text}"
    );
    let (code, line, _) = house.command(&["status", "--json"]).await;
    assert_eq!((code, line.lines().count()), (0, 1));
    assert_eq!(
        serde_json::from_str::<Value>(&line).unwrap()["pid"],
        house.pid()
    );
    drop(client);
    house.close().await;
}

#[tokio::test]
async fn a_drain_by_socket_is_like_one_by_signal() {
    let target = upstream::echo().await;
    let mut house = House::new().controlled().open().await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    let (code, out, _) = house.command(&["drain"]).await;
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "draining: no new connections; 1 tunnels are open, and may live on for 1800s\n"
        )
    );
    let said = house.journal_says("draining: no new connections").await;
    assert!(said.contains("by=control_socket uid="), "{said}");
    assert_eq!(house.control("status\n").await["phase"], "draining");
    let again = house.control("drain\n").await;
    assert!(
        again["why"].as_str().unwrap().contains("draining already"),
        "{again}"
    );
    let (code, _, why) = house.command(&["reload"]).await;
    assert_eq!(
        (code, why.as_str()),
        (
            1,
            "refused, and nothing has changed: the proxy is draining, and takes no new work\n"
        )
    );

    client.finish().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(house.ended().await.code(), Some(0));
    assert!(!house.folder.path().join("control.sock").exists());
    let (code, _, why) = house.command(&["status"]).await;
    assert!(code == 1 && why.contains("is tidegate running"), "{why}");
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_group_and_understands_few_words() {
    let house = House::new().controlled().open().await;
    let path = house.folder.path().join("control.sock");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    for (request, why) in [
        ("dance\n", "unknown command"),
        ("\n", "unknown command"),
        (&"x".repeat(5_000), "longer than 4 KiB"),
        (&format!("{}\n", "x".repeat(5_000)), "longer than 4 KiB"),
    ] {
        let answer = house.control(request).await;
        assert_eq!(answer["answer"], "refused");
        assert!(answer["why"].as_str().unwrap().contains(why), "{answer}");
    }
    // Those who say nothing hold places, and lose them: more than there are.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(UnixStream::connect(&path).await.unwrap());
    }
    assert_eq!(house.control("status\n").await["answer"], "status");
    drop(silent);
    house.close().await;
}

#[tokio::test]
async fn a_second_process_does_not_take_the_socket_of_a_living_one_but_of_a_dead_one() {
    let mut house = House::new().controlled().open().await;
    let path = house.folder.path().join("control.sock");
    let second = run(&house.folder).output();
    let second = timeout(PATIENCE, second).await.unwrap().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("control.sock: another running tidegate has it"),
        "{said}"
    );
    assert_eq!(house.control("status\n").await["answer"], "status");

    house.signal("KILL");
    house.ended().await;
    assert!(path.exists(), "a killed process leaves its socket behind");
    let mut third = run(&house.folder);
    let mut third = third
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let answered = async {
        while UnixStream::connect(&path).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, answered)
        .await
        .expect("the stale socket is replaced");
    third.kill().await.unwrap();
}

#[tokio::test]
async fn a_socket_without_a_folder_is_a_start_error_with_a_hint() {
    let folder = Folder::new();
    folder.file(
        "tidegate.toml",
        "[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\ncontrol_socket = \"no/control.sock\"\n",
    );
    let output = timeout(PATIENCE, run(&folder).output())
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("no/control.sock: its folder does not exist; make it"),
        "{said}"
    );
}

#[tokio::test]
async fn a_reload_that_would_let_anybody_in_is_refused() {
    let house = House::new()
        .controlled()
        .user("ann", "secret")
        .listener("name = \"open\"\naddress = \"0.0.0.0:0\"")
        .open()
        .await;
    // Good in itself: but the old address stays until a restart, and would stay without a password.
    house.edit("address = \"0.0.0.0:0\"", "address = \"127.0.0.1:0\"");
    house.edit("required = true", "required = false");
    let (code, _, why) = house.command(&["reload"]).await;
    assert_eq!(code, 78, "{why}");
    assert!(why.contains("would be an open proxy"), "{why}");
    let target = upstream::echo().await;
    assert_eq!(house.client().await.connect(target).await.status, 407);
    house.close().await;
}

#[tokio::test]
async fn a_file_that_lost_its_content_or_became_a_pipe_changes_nothing() {
    let house = House::new().controlled().open().await;
    let file = house.folder.path().join("tidegate.toml");
    let text = fs::read_to_string(&file).unwrap();
    for spoil in [
        |path: &Path| fs::write(path, "# nothing\n").unwrap(),
        |path: &Path| {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        },
    ] {
        spoil(&file);
        let answer = house.control("reload\n").await;
        assert!(answer["complaints"][0].is_string(), "{answer}");
        fs::remove_file(&file).unwrap();
    }
    fs::write(&file, text).unwrap();
    reload(&house, &[], &[]).await;
    house.close().await;
}

fn run(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let config = folder.path().join("tidegate.toml");
    command.args([Path::new("run"), Path::new("--config"), &config]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[tokio::test]
async fn without_a_socket_the_command_says_what_it_needs() {
    // It never turns to the default socket, where another proxy may listen.
    let (code, _, why) = House::new().open().await.command(&["reload"]).await;
    assert_eq!(code, 78);
    assert!(why.contains("sets no admin.control_socket"), "{why}");
}

/// What the service manager is told next.
async fn told(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 4_096];
    let length = timeout(PATIENCE, manager.recv(&mut bytes)).await;
    let length = length.expect("a message").unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[tokio::test]
async fn the_service_manager_is_told() {
    let folder = Folder::new();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut house = House::new()
        .controlled()
        .env("NOTIFY_SOCKET", &path)
        .open()
        .await;
    let ready = told(&manager).await;
    assert!(
        ready.starts_with("READY=1\nSTATUS=serving; configuration "),
        "{ready}"
    );
    for (broken, status) in [
        (false, "serving; configuration "),
        (true, "serving; the last reload was refused"),
    ] {
        if broken {
            house.edit("[admin]", "[admin]\nnothing = 1");
        }
        house.control("reload\n").await;
        let reloading = told(&manager).await;
        let (first, time) = reloading.split_once("\nMONOTONIC_USEC=").unwrap();
        assert_eq!(first, "RELOADING=1");
        assert!(time.trim().parse::<u64>().unwrap() > 0, "{reloading}");
        let ready = told(&manager).await;
        assert!(
            ready.starts_with(&format!("READY=1\nSTATUS={status}")),
            "{ready}"
        );
    }
    house.signal("TERM");
    let stopping = told(&manager).await;
    assert!(
        stopping.starts_with("STOPPING=1\nSTATUS=draining; 0 tunnels open"),
        "{stopping}"
    );
    assert_eq!(house.ended().await.code(), Some(0));
}

#[tokio::test]
async fn many_reloads_at_a_time_take_their_turns() {
    let house = House::new().controlled().open().await;
    let path = house.folder.path().join("control.sock");
    let mut asking = Vec::new();
    for _ in 0..6 {
        let mut socket = UnixStream::connect(&path).await.unwrap();
        socket.write_all(b"reload\n").await.unwrap();
        asking.push(socket);
        house.signal("HUP");
    }
    for mut socket in asking {
        let mut answer = String::new();
        let read = tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer);
        timeout(PATIENCE, read).await.unwrap().unwrap();
        assert!(answer.starts_with("{\"answer\":\"reloaded\""), "{answer}");
    }
    house.close().await;
}

#[tokio::test]
async fn status_lists_what_would_have_been_refused_with_the_lines_to_add() {
    let house = House::new()
        .controlled()
        .set("policy", "unlisted = \"report\"")
        .open()
        .await;
    // There is no such name; the policy was asked before.
    let reply = house.client().await.connect("other.example:443").await;
    assert_eq!(reply.reason(), "name_not_found");
    house.line().await;
    let rows = &house.control("status\n").await["would_refuse"];
    assert_eq!(
        (&rows[0]["client"], &rows[0]["target"], &rows[0]["count"]),
        (&json!("127.0.0.1"), &json!("other.example:443"), &json!(1))
    );
    let (_, text, _) = house.command(&["status"]).await;
    assert!(
        text.contains("1 times 127.0.0.1 → other.example:443 (target_denied)")
            && text.contains("[[destination]]"),
        "{text}"
    );
    // Taken back, it is refused.
    house.edit("unlisted = \"report\"", "unlisted = \"refuse\"");
    reload(&house, &["policy.unlisted: \"report\" → \"refuse\""], &[]).await;
    let reply = house.client().await.connect("other.example:443").await;
    assert_eq!(reply.reason(), "target_denied");
    house.close().await;
}
