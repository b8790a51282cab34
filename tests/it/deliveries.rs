//! Where alarms go: syslog, Alertmanager, a webhook and the upload; receivers that refuse, hang, go away and come back.
//!
//! The alarm of these stories is that of a refused reload, which a good one clears.

use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tidegate_load::cloud::ca::ThrowAwayCa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::collector::{Datagrams, Listening, Message};
use crate::house::{Folder, House, PATIENCE, Plan};
use crate::receiver::Receiver;

/// Any port of an address that no other test uses: nobody takes the port while it is free.
const QUIET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 97)), 0);

const ALARM: &str = "TidegateReloadRefused";

fn house_with(alarms: &str) -> Plan {
    House::new()
        .controlled()
        .set("alarms", "instance = \"proxy-1\"")
        .set("alarms", alarms)
}

/// Raises the alarm.
async fn spoil(house: &House) {
    house.edit("[admin]", "[admin]\nnothing = 1");
    assert_eq!(house.control("reload\n").await["answer"], "refused");
}

/// Clears it.
async fn mend(house: &House) {
    house.edit("[admin]\nnothing = 1", "[admin]");
    assert_eq!(house.control("reload\n").await["answer"], "reloaded");
}

fn check(message: &Message, level: u32, state: &str) {
    assert_eq!(message.priority, 16 * 8 + level);
    assert_eq!((&*message.app_name, &*message.id), ("tidegate", ALARM));
    for part in [
        "[tidegate@32473 ",
        "alarm=\"TidegateReloadRefused\"",
        "component=\"tidegate\"",
        "severity=\"ERROR\"",
        "subject=\"configuration\"",
        "origin=\"derived\"",
        &format!("state=\"{state}\""),
        "instance=\"proxy-1\"",
    ] {
        assert!(message.data.contains(part), "{message:?} lacks {part}");
    }
    assert!(message.text.contains("A reload was refused"), "{message:?}");
}

#[tokio::test]
async fn syslog_over_udp_has_a_datagram_for_each_change() {
    let collector = Datagrams::listen().await;
    let house = house_with(&format!("syslog = \"syslog://{}\"", collector.address()))
        .open()
        .await;
    spoil(&house).await;
    check(&collector.message().await, 3, "active");
    mend(&house).await;
    check(&collector.message().await, 5, "cleared");
    house
        .metric_becomes(
            "tidegate_alarm_deliveries_total{sink=\"syslog\",result=\"ok\"}",
            2.0,
        )
        .await;
    house.close().await;
}

#[tokio::test]
async fn a_syslog_collector_that_comes_back_is_told_what_is_active() {
    let collector = Listening::on(QUIET).await;
    let address = collector.address();
    let house = house_with(&format!("syslog = \"syslog+tcp://{address}\""))
        .open()
        .await;
    spoil(&house).await;
    let mut connection = collector.accept().await;
    check(&connection.message().await, 3, "active");
    drop((connection, collector));
    house.journal_says("alarms cannot be delivered").await;
    let collector = Listening::on(address).await;
    let mut connection = collector.accept().await;
    check(&connection.message().await, 3, "active");
    mend(&house).await;
    check(&connection.message().await, 5, "cleared");
    house.close().await;
    connection.ends().await;
}

#[tokio::test]
async fn where_nobody_takes_a_datagram_none_counts_as_delivered() {
    // Bound for a moment: a port where nobody listens.
    let nobody = Datagrams::on(QUIET).await.address();
    takes_nothing(&format!("syslog://{nobody}")).await;
}

#[tokio::test]
async fn a_collector_that_closes_each_connection_at_once_has_taken_nothing() {
    let collector = Listening::on(QUIET).await;
    let to = format!("syslog+tcp://{}", collector.address());
    let refuse = async {
        loop {
            drop(collector.accept().await);
        }
    };
    tokio::select! {
        () = takes_nothing(&to) => {}
        () = refuse => {}
    }
}

/// Several tries fail, and that is one line in the journal.
async fn takes_nothing(to: &str) {
    let house = house_with(&format!("syslog = \"{to}\"")).open().await;
    spoil(&house).await;
    let count = async |result: &str| {
        let labels = format!("sink=\"syslog\",result=\"{result}\"");
        let series = format!("tidegate_alarm_deliveries_total{{{labels}}}");
        house.metric(&series).await
    };
    let several = async { while count("unreachable").await < 5.0 {} };
    timeout(PATIENCE, several).await.expect("it is tried again");
    assert_eq!(count("ok").await, 0.0);
    let said = house.everything_said();
    let times = |words: &str| said.matches(words).count();
    assert_eq!(times("alarms cannot be delivered"), 1, "{said}");
    assert_eq!(times("alarms are delivered again"), 0, "{said}");
    house.close().await;
}

#[tokio::test]
async fn syslog_over_tls_is_spoken_to_the_right_collector_alone() {
    let collector = Listening::anywhere().await;
    let port = collector.address().port();
    let (ours, other) = (
        ThrowAwayCa::new("ours").unwrap(),
        ThrowAwayCa::new("other").unwrap(),
    );
    let house = house_with(&format!("syslog = \"syslog+tls://logs.test:{port}\""))
        .set("alarms", "ca = \"alarms-ca.pem\"")
        .file("alarms-ca.pem", &ours.pem())
        .name("logs.test", ["127.0.0.1".parse().unwrap()])
        .open()
        .await;
    spoil(&house).await;
    assert!(collector.accept_tls(&other, "logs.test").await.is_err());
    house.journal_says("alarms cannot be delivered").await;
    let mut connection = collector.accept_tls(&ours, "logs.test").await.unwrap();
    check(&connection.message().await, 3, "active");
    house.close().await;
    connection.ends().await;
}

#[tokio::test]
async fn a_webhook_that_refuses_hangs_and_then_works_loses_no_change() {
    let receiver = Receiver::anywhere().await;
    let to = format!("webhook = \"http://{}/T0/hidden\"", receiver.address());
    let house = house_with(&to)
        .set(
            "alarms",
            "webhook_secret_file = \"token\"\ntimeout = \"1s\"",
        )
        .file("token", "sesame\n")
        .open()
        .await;
    spoil(&house).await;
    let posted = receiver.posted().await;
    let head = posted.head.to_ascii_lowercase();
    assert!(head.starts_with("post /t0/hidden http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer sesame"), "{head}");
    assert_eq!(posted.alarms("changes"), [format!("{ALARM} active")]);
    posted.answer(503).await;
    house.journal_says("it answered 503").await;
    receiver.posted().await.hang().await;
    // Meanwhile it is over: the newest state is what is told.
    let waiting = receiver.posted().await;
    mend(&house).await;
    waiting.answer(500).await;
    let posted = loop {
        let posted = receiver.posted().await;
        if posted.alarms("active").is_empty() {
            break posted;
        }
        posted.answer(500).await;
    };
    assert_eq!(posted.json["version"], 1);
    assert_eq!(posted.json["instance"], "proxy-1");
    assert_eq!(posted.alarms("changes"), [format!("{ALARM} cleared")]);
    posted.answer(204).await;
    house.journal_says("alarms are delivered again").await;
    for (result, least) in [("refused", 2.0), ("timeout", 1.0), ("ok", 1.0)] {
        let series =
            format!("tidegate_alarm_deliveries_total{{sink=\"webhook\",result=\"{result}\"}}");
        assert!(house.metric(&series).await >= least, "{series}");
    }
    let (_, config) = house.admin("/config").await;
    let said = house.everything_said() + &config;
    for secret in ["sesame", "hidden"] {
        assert!(!said.contains(secret), "{said}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_reload_adds_a_receiver_that_is_told_what_is_active() {
    let receiver = Receiver::anywhere().await;
    let first = Receiver::anywhere().await;
    let house = house_with(&format!("webhook = \"http://{}\"", first.address()))
        .open()
        .await;
    spoil(&house).await;
    first.posted().await.answer(200).await;
    house.edit("[admin]\nnothing = 1", "[admin]");
    let (from, to) = (first.address().to_string(), receiver.address().to_string());
    house.edit(&from, &to);
    house.edit("instance = \"proxy-1\"", "instance = \"proxy-2\"");
    let answer = house.control("reload\n").await;
    let keys: Vec<&str> = answer["applied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["alarms.instance", "alarms.webhook"], "{answer}");
    assert!(answer["needs_restart"].as_array().unwrap().is_empty());
    spoil(&house).await;
    let posted = receiver.posted().await;
    assert_eq!(posted.json["instance"], "proxy-2");
    assert_eq!(posted.alarms("active"), [format!("{ALARM} active")]);
    posted.answer(200).await;
    house.close().await;
}

#[tokio::test]
async fn a_silence_holds_deliveries_back_until_it_is_called_off() {
    let receiver = Receiver::anywhere().await;
    let house = house_with(&format!("webhook = \"http://{}\"", receiver.address()))
        .open()
        .await;
    assert_ne!(house.control("silence 1h\n").await["until"], Value::Null);
    spoil(&house).await;
    mend(&house).await;
    spoil(&house).await;
    assert_eq!(house.control("silence off\n").await["until"], Value::Null);
    // The first that it hears of it is the second time.
    let posted = receiver.posted().await;
    assert_eq!(posted.alarms("changes"), [format!("{ALARM} active")]);
    assert_eq!(posted.json["changes"][0]["times"], 2);
    posted.answer(200).await;
    house.close().await;
}

#[tokio::test]
async fn an_upload_on_demand_says_what_happened_and_leaves_personal_data_out() {
    let receiver = Receiver::anywhere().await;
    let house = house_with("")
        .also(&format!(
            "[alarms.upload]\nurl = \"http://agent@{}/in?key=hidden\"\nsecret_file = \"token\"",
            receiver.address()
        ))
        .file("token", "sesame\n")
        .open()
        .await;
    let (code, out, _) = house.command(&["upload"]).await;
    assert_eq!(code, 0);
    assert!(
        out.contains("no alarm of at least ERROR is active"),
        "{out}"
    );
    spoil(&house).await;
    let serve = async {
        let posted = receiver.posted().await;
        let login = base64::engine::general_purpose::STANDARD.encode("agent:sesame");
        assert!(posted.head.contains(&login), "{}", posted.head);
        let alarm = posted.json["alarms"][0].clone();
        posted.answer(200).await;
        alarm
    };
    // The file is spoilt, and so is what the command could learn from it.
    let socket = house.folder.path().join("control.sock");
    let words = ["upload", "--socket", socket.to_str().unwrap()];
    let upload = tidegate(&words);
    let ((code, out), alarm) = tokio::join!(upload, serve);
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("uploaded 1 alarm to http://agent@127.0.0.1:"));
    assert_eq!(alarm["alarm"], ALARM);
    assert_eq!(alarm["subject"], "configuration");
    assert_eq!(alarm["state"], "active");
    assert_eq!(
        (&alarm["text"], &alarm["personal"]),
        (&Value::Null, &Value::Null)
    );
    let upload = tidegate(&words);
    let refuse = async { receiver.posted().await.answer(403).await };
    let ((code, out), ()) = tokio::join!(upload, refuse);
    assert_eq!(code, 1);
    assert!(out.contains("it answered 403"), "{out}");
    assert!(!(out + &house.everything_said()).contains("hidden"));
    house.close().await;
}

#[tokio::test]
async fn personal_data_is_uploaded_under_the_operators_key() {
    let receiver = Receiver::anywhere().await;
    let house = house_with("")
        .also(&format!(
            "[alarms.upload]\nurl = \"http://{}\"\npersonal_data = \"encrypt\"\nkey_file = \"upload.key\"",
            receiver.address()
        ))
        .file("upload.key", &"07".repeat(32))
        .open()
        .await;
    spoil(&house).await;
    let upload = house.control("upload\n");
    let serve = async {
        let posted = receiver.posted().await;
        let alarm = posted.json["alarms"][0].clone();
        posted.answer(202).await;
        alarm
    };
    let (answer, alarm) = tokio::join!(upload, serve);
    assert_eq!(answer["alarms"], 1, "{answer}");
    let opened = open(alarm["personal"].as_str().unwrap(), &[7; 32]);
    assert_eq!(opened["subject"], "configuration");
    let text = opened["text"].as_str().unwrap();
    assert!(text.contains("is not a good configuration"), "{text}");
    house.close().await;
}

#[tokio::test]
async fn without_a_receiver_there_is_nothing_to_upload_to() {
    let house = house_with("").open().await;
    let answer = house.control("upload\n").await;
    assert_eq!(answer["why"], "alarms.upload is not configured");
    house.close().await;
}

/// The real one, of the Debian package.
#[tokio::test]
async fn alertmanager_takes_and_shows_an_alarm_until_it_is_cleared() {
    let manager = Alertmanager::start();
    let house = house_with(&format!("alertmanager = \"http://{}\"", manager.address))
        .set("alarms", "alertmanager_repeat = \"1s\"")
        .open()
        .await;
    spoil(&house).await;
    let alerts = manager.shows(1).await;
    let labels = &alerts[0]["labels"];
    assert_eq!(labels["alertname"], ALARM);
    assert_eq!(labels["severity"], "ERROR");
    assert_eq!(labels["component"], "tidegate");
    assert_eq!(labels["subject"], "configuration");
    assert_eq!(labels["instance"], "proxy-1");
    let annotations = &alerts[0]["annotations"];
    for (name, part) in [
        ("summary", "A reload was refused"),
        ("description", "is not a good configuration"),
        ("action", "tidegate check"),
    ] {
        let text = annotations[name].as_str().unwrap();
        assert!(text.contains(part), "{name}: {text}");
    }
    mend(&house).await;
    manager.shows(0).await;
    house.close().await;
}

/// A process that ends with its test.
struct Alertmanager {
    child: Child,
    address: String,
    _folder: Folder,
}

impl Alertmanager {
    fn start() -> Self {
        let folder = Folder::new();
        let config = folder.file(
            "alertmanager.yml",
            "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n",
        );
        let storage = folder.path().join("data");
        let mut child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", storage.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the package prometheus-alertmanager");
        let said = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut lines = said.lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, address) = line.split_once("address=127.0.0.1:")?;
            let port = address.split_whitespace().next()?.to_owned();
            (port != "0").then(|| format!("127.0.0.1:{port}"))
        });
        // It must not be hindered by a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            address: address.expect("it says where it listens"),
            child,
            _folder: folder,
        }
    }

    /// Waits until it shows so many alerts.
    async fn shows(&self, count: usize) -> Vec<Value> {
        let look = async {
            loop {
                let mut tcp = TcpStream::connect(&self.address).await.unwrap();
                let ask = "GET /api/v2/alerts HTTP/1.0\r\n\r\n";
                tcp.write_all(ask.as_bytes()).await.unwrap();
                let mut reply = String::new();
                tcp.read_to_string(&mut reply).await.unwrap();
                let (_, body) = reply.split_once("\r\n\r\n").unwrap();
                let alerts: Vec<Value> = serde_json::from_str(body).unwrap();
                if alerts.len() == count {
                    return alerts;
                }
                tokio::task::yield_now().await;
            }
        };
        let shown = timeout(PATIENCE, look).await;
        shown.unwrap_or_else(|_| panic!("it never shows {count} alerts"))
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit code, and all that it says.
async fn tidegate(words: &[&str]) -> (i32, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(words)
        .output();
    let output = timeout(PATIENCE, output).await.expect("it ends").unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

/// Opens a compact JWE (RFC 7516) of `dir` and `A256GCM`.
fn open(sealed: &str, key: &[u8; 32]) -> Value {
    let parts: Vec<&str> = sealed.split('.').collect();
    let [header, "", nonce, text, tag] = parts[..] else {
        panic!("{sealed}");
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let nonce = Nonce::try_assume_unique_for_key(&decode(nonce)).unwrap();
    let mut text = [decode(text), decode(tag)].concat();
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).unwrap();
    let plain = key.open_in_place(nonce, Aad::from(header.as_bytes()), &mut text);
    serde_json::from_slice(plain.unwrap()).unwrap()
}
