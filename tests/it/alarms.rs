//! What is wrong shows on every view: as an alarm, with its evidence, until something shows that it is over.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::md5;
use crate::house::{House, PATIENCE, Plan};
use crate::origin::{OK, Origin};
use crate::sni::hello;
use crate::upstream::{self, LOCALHOST};

const PUSH: &str = "PushNotificationServiceUnavailable";
const TOKEN: &str = "PushNotificationServiceAccessTokenUnavailable";
const DEAD: &str = "TidegateAllAddressesDead";
const LOGIN: &str = "TidegateClientNeverAuthenticates";
const CALL_MANAGER: &str = "Cisco CallManager";

/// A push service and a token service, both on loopback, and forgotten at once when they fail.
fn cloud() -> Plan {
    let destination = |name, host, role| {
        format!(
            "name = \"{name}\"\nhosts = [\"{host}\"]\nports = [\"1-65535\"]\nrole = \"{role}\"\nnetworks = [\"127.0.0.0/8\"]\nsni = \"match\""
        )
    };
    House::new()
        .controlled()
        .destination(&destination("cloud", "push.test", "push"))
        .destination(&destination("tokens", "token.test", "token"))
        .name("push.test", [LOCALHOST])
        .name("token.test", [LOCALHOST])
}

async fn page(house: &House, path: &str) -> Value {
    let (status, text) = house.admin(path).await;
    assert_eq!(status, 200, "{path}");
    serde_json::from_str(&text).unwrap()
}

/// One alarm as `/alarms` shows it.
async fn alarm(house: &House, name: &str) -> Value {
    let page = page(house, "/alarms").await;
    let mut all = page["alarms"].as_array().unwrap().iter();
    all.find(|one| one["alarm"] == name).cloned().unwrap()
}

async fn becomes(house: &House, name: &str, state: &str) -> Value {
    let poll = async {
        loop {
            let alarm = alarm(house, name).await;
            if alarm["state"] == state {
                return alarm;
            }
            tokio::task::yield_now().await;
        }
    };
    match timeout(PATIENCE, poll).await {
        Ok(alarm) => alarm,
        Err(_) => panic!("{name} is not {state}: {}", alarm(house, name).await),
    }
}

fn gauge(alarm: &Value) -> String {
    let word = |field: &str| alarm[field].as_str().unwrap().to_owned();
    format!(
        "tidegate_alarm_active{{alarm=\"{}\",component=\"{}\",severity=\"{}\"}}",
        word("alarm"),
        word("component"),
        word("severity")
    )
}

fn subject_gauge(alarm: &Value, subject: &str) -> String {
    // A client's address is nothing for a label.
    let is_address = subject.parse::<std::net::IpAddr>().is_ok();
    let subject = if is_address { "(unnamed)" } else { subject };
    gauge(alarm)
        .replace("_active{", "_subject_active{")
        .replace('}', &format!(",subject=\"{subject}\"}}"))
}

/// It is raised once, derived, and says so on all three views.
async fn raised(house: &House, name: &str, subject: &str) -> Value {
    let active = becomes(house, name, "active").await;
    assert_eq!(active["subjects"][0]["subject"], subject, "{active}");
    assert_eq!(active["origin"], "derived", "{active}");
    assert_eq!(active["raised"], 1, "{active}");
    house.metric_becomes(&gauge(&active), 1.0).await;
    let gauge = subject_gauge(&active, subject);
    house.metric_becomes(&gauge, 1.0).await;
    let total = format!("tidegate_alarms_raised_total{{alarm=\"{name}\",origin=\"derived\"}}");
    house.metric_becomes(&total, 1.0).await;
    let words = format!("alarm raised alarm=\"{name}\"");
    let said = house.journal_says(&words).await;
    assert!(said.contains(&format!("subject=\"{subject}\"")), "{said}");
    active
}

async fn cleared(house: &House, name: &str) {
    let over = becomes(house, name, "cleared").await;
    house.metric_becomes(&gauge(&over), 0.0).await;
    let (_, metrics) = house.admin("/metrics").await;
    let gauge = format!("_subject_active{{alarm=\"{name}\"");
    assert!(!metrics.contains(&gauge), "{metrics}");
    house
        .journal_says(&format!("alarm cleared alarm=\"{name}\""))
        .await;
}

/// Every value of `/counters` that moved, by name and origin.
async fn moved(house: &House) -> Vec<(String, String, u64)> {
    let page = page(house, "/counters").await;
    let mut moved = Vec::new();
    for (_, counters) in page.as_object().unwrap() {
        for (name, values) in counters.as_object().unwrap() {
            for one in values.as_array().unwrap() {
                let origin = one["origin"].as_str().unwrap();
                let value = one["value"].as_u64();
                assert_eq!(value.is_none(), origin == "not observable", "{name}");
                if let Some(value) = value.filter(|value| *value > 0) {
                    moved.push((name.clone(), origin.to_owned(), value));
                }
            }
        }
    }
    moved
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_an_alarm_until_one_exchange_gets_there() {
    for (name, host, subject, destination) in [
        (PUSH, "push.test", "cloud/push.test", "cloud"),
        (TOKEN, "token.test", "tokens/token.test", "tokens"),
    ] {
        let house = cloud().set("connect", "quarantine = \"1s\"").open().await;
        let nobody = upstream::refusing().await;
        let target = format!("{host}:{}", nobody.port());
        assert_eq!(house.client().await.connect(&target).await.status, 502);
        let line = house.line().await;
        let active = raised(&house, name, subject).await;
        assert_eq!(active["evidence"]["exchange"], line["id"]);
        let text = active["evidence"]["text"].as_str().unwrap();
        assert!(text.contains(&format!("{nobody} refused")), "{text}");
        assert_eq!(active["component"], CALL_MANAGER);
        raised(&house, DEAD, destination).await;
        let shown = page(&house, "/alarms").await;
        let first: Vec<_> = (0..3)
            .map(|n| shown["alarms"][n]["state"].clone())
            .collect();
        assert_eq!(first, ["active", "active", "never raised"]);

        // The tunnel stays: it is the connecting that clears.
        upstream::echo_at(nobody).await;
        let mut client = house.client().await;
        client.tunnel(&target).await;
        cleared(&house, name).await;
        cleared(&house, DEAD).await;
        drop(client);
        house.close().await;
    }
}

#[tokio::test]
async fn a_service_that_its_parent_proxy_cannot_reach_is_an_alarm() {
    let (parent, address) = upstream::listener().await;
    let asked = tokio::spawn(async move {
        let (mut tcp, _) = parent.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        let no = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n";
        tcp.write_all(no).await.unwrap();
        tcp
    });
    let destination = format!(
        "name = \"cloud\"\nhosts = [\"push.test\"]\nrole = \"push\"\nvia = [\"http://{address}\"]"
    );
    let house = House::new().destination(&destination).open().await;
    let reply = house.client().await.connect("push.test:443").await;
    assert_eq!((reply.status, reply.reason()), (502, "unreachable"));
    drop(asked.await.unwrap());
    let active = raised(&house, PUSH, "cloud/push.test").await;
    let text = active["evidence"]["text"].as_str().unwrap();
    assert!(text.contains("parent_failed"), "{text}");
    // The parent did its part.
    assert_eq!(alarm(&house, DEAD).await["state"], "never raised");
    house.close().await;
}

#[tokio::test]
async fn a_connection_kept_from_before_clears_nothing_until_it_answers() {
    let house = cloud().set("runtime", "workers = 1").open().await;
    let origin = Origin::start().await;
    let (target, warm, again) = (
        origin.authority(),
        origin.get("/warm"),
        origin.get("/again"),
    );
    let mut client = house.client().await;
    client.send(warm).await;
    let (mut call, _) = origin.reached(&mut client).await;
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    // Nobody is let in any more.
    drop(origin);
    assert_eq!(house.client().await.connect(&target).await.status, 502);
    raised(&house, PUSH, "cloud/push.test").await;
    client.send(again).await;
    assert_eq!(call.asked_by(&mut client).await.line, "GET /again HTTP/1.1");
    assert_eq!(alarm(&house, PUSH).await["state"], "active");
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    cleared(&house, PUSH).await;
    drop((client, call));
    house.close().await;
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_an_alarm() {
    let house = cloud()
        .destination("name = \"gone\"\nhosts = [\"gone.test\"]\nrole = \"push\"")
        .open()
        .await;
    assert_eq!(
        house.client().await.connect("gone.test:443").await.status,
        502
    );
    let active = raised(&house, PUSH, "gone/gone.test").await;
    let text = active["evidence"]["text"].as_str().unwrap();
    assert!(text.contains("name_not_found"), "{text}");
    house.close().await;
}

#[tokio::test]
async fn a_wrong_password_again_and_again_is_an_alarm_and_a_challenge_is_none() {
    let target = upstream::echo().await;
    let house = cloud().user("ann", "secret").open().await;
    let target = format!("push.test:{}", target.port());
    let login = async |password: &str| {
        let mut client = house.client().await;
        let challenged = client.connect(&target).await;
        assert_eq!(challenged.status, 407);
        let challenge = challenged.field("proxy-authenticate").unwrap().to_owned();
        let nonce = challenge.split("nonce=\"").nth(1).unwrap();
        let nonce = nonce.split('"').next().unwrap();
        let (one, two) = (
            md5(&format!("ann:tidegate:{password}")),
            md5(&format!("CONNECT:{target}")),
        );
        let response = md5(&format!("{one}:{nonce}:00000001:0a0a:auth:{two}"));
        let credentials = format!(
            "Proxy-Authorization: Digest username=\"ann\", realm=\"tidegate\", nonce=\"{nonce}\", uri=\"{target}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"0a0a\", response=\"{response}\""
        );
        client.connect_with(&target, &credentials).await.status
    };
    for _ in 0..30 {
        assert_eq!(login("secret").await, 200);
    }
    for _ in 0..2 {
        assert_eq!(login("wrong").await, 407);
        house.line_with_reason("bad_credentials").await;
    }
    assert_eq!(alarm(&house, LOGIN).await["state"], "never raised");
    assert_eq!(login("wrong").await, 407);
    let active = raised(&house, LOGIN, "127.0.0.1").await;
    let text = active["evidence"]["text"].as_str().unwrap();
    assert!(text.contains("bad_credentials"), "{text}");
    assert_eq!(login("secret").await, 200);
    cleared(&house, LOGIN).await;
    house.close().await;
}

#[tokio::test]
async fn a_handshake_that_dies_in_a_tunnel_is_derived_and_tunnels_move_nothing_that_is_observed() {
    let (listener, address) = upstream::listener().await;
    let house = cloud().open().await;
    let hello = hello("push.test");
    let open = async || {
        let mut client = house.client().await;
        client.tunnel(format!("push.test:{}", address.port())).await;
        client.send(&hello).await;
        let (mut far, _) = listener.accept().await.unwrap();
        upstream::read(&mut far, hello.len()).await;
        (client, far)
    };
    let record = |kind: u8, len: u16| {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend(len.to_be_bytes());
        bytes.resize(5 + usize::from(len), 0);
        bytes
    };
    let flight = [record(22, 122), record(20, 1), record(23, 2_000)].concat();
    // A push goes well, as far as anybody can see; and a client loses its patience.
    let (mut client, mut far) = open().await;
    far.write_all(&flight).await.unwrap();
    client.read(flight.len()).await;
    let accepts = [record(20, 1), record(23, 53), record(23, 400)].concat();
    client.send(&accepts).await;
    upstream::read(&mut far, accepts.len()).await;
    drop((client, far));
    assert_eq!(house.line().await["reason"], "finished");
    let (client, mut far) = open().await;
    drop(client);
    // It has seen the end, and was not the first to go.
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    drop(far);
    assert_eq!(house.line().await["closed_by"], "client");
    assert_eq!(moved(&house).await, []);

    // The server answers the hello with an alert.
    let (mut client, mut far_again) = open().await;
    far_again.write_all(&[21, 3, 3, 0, 2, 2, 40]).await.unwrap();
    drop(far_again);
    client.read_to_end().await.unwrap();
    drop(client);
    assert_eq!(house.line().await["closed_by"], "upstream");
    let series = "callmanager_push_error_responses_total{origin=\"derived\"}";
    house.metric_becomes(series, 1.0).await;
    // The server hangs up in the middle of it.
    let (mut client, mut far) = open().await;
    far.write_all(&flight[..700]).await.unwrap();
    drop(far);
    client.read_to_end().await.unwrap();
    drop(client);
    house.metric_becomes(series, 2.0).await;
    // The client does not like the certificate: an alert under the keys of the handshake.
    let (mut client, mut far) = open().await;
    far.write_all(&flight).await.unwrap();
    client.read(flight.len()).await;
    client.send(record(23, 19)).await;
    upstream::read(&mut far, 24).await;
    drop((client, far));
    house.metric_becomes(series, 3.0).await;
    let name = "NumberOfPushErrorResReceived";
    assert_eq!(moved(&house).await, [(name.into(), "derived".into(), 3)]);
    house.close().await;
}

#[tokio::test]
async fn a_certificate_that_expires_soon_is_an_alarm_until_another_is_in_its_place() {
    let in_three_days =
        std::time::SystemTime::now() + std::time::Duration::from_secs(3 * 24 * 3600);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    certificate.not_after = in_three_days.into();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    let house = cloud()
        .listener("name = \"secure\"\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = \"soon.pem\"\nprivate_key = \"soon.key\"")
        .file("soon.pem", &certificate)
        .file("soon.key", &key.serialize_pem())
        .open()
        .await;
    raised(&house, "TidegateCertificateExpiring", "secure").await;
    let (certificate, key) = crate::house::self_signed("localhost");
    house.folder.file("soon.pem", &certificate);
    house.folder.file("soon.key", &key);
    house.control("reload\n").await;
    cleared(&house, "TidegateCertificateExpiring").await;
    house.close().await;
}

#[tokio::test]
async fn a_refused_reload_is_an_alarm_until_one_is_carried_out() {
    let name = "TidegateReloadRefused";
    let house = cloud().open().await;
    house.edit("name = \"cloud\"", "nome = \"cloud\"");
    assert_eq!(house.control("reload\n").await["answer"], "refused");
    let active = raised(&house, name, "configuration").await;
    let text = active["evidence"]["text"].as_str().unwrap();
    assert!(text.contains("tidegate.toml:5"), "{text}");
    house.edit("nome = \"cloud\"", "name = \"cloud\"");
    assert_eq!(house.control("reload\n").await["answer"], "reloaded");
    cleared(&house, name).await;
    house.close().await;
}

#[tokio::test]
async fn addresses_that_come_are_an_alarm() {
    let target = upstream::echo().await;
    let house = cloud()
        .set("dns", "min_ttl = \"0s\"\nmax_ttl = \"1s\"")
        .open()
        .await;
    let target = format!("push.test:{}", target.port());
    house.client().await.tunnel(&target).await;
    house
        .names
        .set("push.test", [LOCALHOST, [127, 0, 0, 9].into()]);
    // The old answer holds for a second.
    let poll = async {
        while alarm(&house, "TidegateAddressesChanged").await["state"] == "never raised" {
            house.client().await.tunnel(&target).await;
        }
    };
    timeout(PATIENCE, poll).await.expect("it is seen");
    let active = raised(&house, "TidegateAddressesChanged", "cloud").await;
    let text = active["evidence"]["text"].as_str().unwrap();
    assert!(text.contains("127.0.0.9"), "{text}");
    house.close().await;
}

#[tokio::test]
async fn a_silence_is_shown_and_can_be_called_off() {
    let house = cloud().open().await;
    let (code, out, _) = house.command(&["silence", "2h"]).await;
    assert_eq!(code, 0);
    assert!(out.starts_with("silence until 20"), "{out}");
    let shown = page(&house, "/alarms").await;
    let until = shown["silenced_until"].as_str().unwrap();
    assert!(out.contains(until), "{out} {until}");
    let said = house.journal_says("action=\"silence\"").await;
    assert!(said.contains("uid="), "{said}");
    let (_, status, _) = house.command(&["status"]).await;
    assert!(status.contains(&format!("until {until}")), "{status}");
    let status = house.control("status\n").await;
    assert_eq!(status["silenced_until"], until);
    // What is raised meanwhile is shown all the same.
    house.edit("name = \"cloud\"", "nome = \"cloud\"");
    house.control("reload\n").await;
    raised(&house, "TidegateReloadRefused", "configuration").await;
    assert_eq!(house.control("silence\n").await["active"], 1);
    for wrong in ["silence 8d\n", "silence soon\n", "silence 0s\n"] {
        assert_eq!(house.control(wrong).await["answer"], "refused", "{wrong}");
    }
    assert_eq!(house.control("silence off\n").await["until"], Value::Null);
    assert_eq!(page(&house, "/alarms").await["silenced_until"], Value::Null);
    house.close().await;
}

#[tokio::test]
async fn every_counter_and_alarm_stands_there_from_the_start() {
    let house = cloud().open().await;
    let counters = page(&house, "/counters").await;
    let counters = counters.as_object().unwrap();
    let names = counters.values().map(|one| one.as_object().unwrap().len());
    assert_eq!(names.sum::<usize>(), 47);
    let sessions = &counters["Cisco XCP Push"]["PushEnabledSessionsFcmDev"][0];
    assert_eq!(sessions["value"], Value::Null);
    assert_eq!(sessions["origin"], "not observable");
    let alarms = page(&house, "/alarms").await;
    let alarms = alarms["alarms"].as_array().unwrap();
    assert_eq!(alarms.len(), 21);
    assert!(alarms.iter().all(|one| one["state"] == "never raised"));
    let (_, metrics) = house.admin("/metrics").await;
    let data = include_str!("../../config/guide/counters.toml");
    let families = data
        .lines()
        .filter_map(|line| line.strip_prefix("prometheus = "));
    for family in families {
        let family = family.trim_matches('"');
        assert!(metrics.contains(&format!("# TYPE {family} ")), "{family}");
    }
    assert!(
        !metrics.contains("\nxcp_push_enabled_sessions"),
        "no sample"
    );
    house.close().await;
}

#[tokio::test]
async fn a_start_that_fails_says_so_under_the_guides_name() {
    let house = cloud().open().await;
    let folder = crate::house::Folder::new();
    let file = folder.file("second.toml", &format!("[[listener]]\nname = \"plain\"\naddress = \"{}\"\n[admin]\naddress = \"127.0.0.1:0\"\n", house.address("plain")));
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("--config")
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("alarm=\"StartFailed\""), "{said}");
    assert!(said.contains("severity=\"CRITICAL\""), "{said}");
    house.close().await;
}
