//! What a good file means.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::config::{
    AccessSink, Config, DnsServer, Grace, HostPattern, Level, Role, Sni, Transport, load, parse,
};

fn read(text: &str) -> Config {
    parse(text, Path::new("t.toml")).unwrap_or_else(|complaints| panic!("{complaints}"))
}

#[test]
fn an_empty_file_is_the_built_in_default() {
    let config = read("");
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(
        config.listeners[0].address,
        "127.0.0.1:3128".parse().unwrap()
    );
    assert_eq!(config.admin.address, "127.0.0.1:9128".parse().unwrap());
    assert!(!config.authentication.required);
    let names: Vec<&str> = config
        .destinations
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["cisco", "apns", "fcm", "webpush"]);
    assert_eq!(config.tunnel.idle_timeout, Duration::from_secs(7_200));
    assert!(load(None).is_ok());
}

#[test]
fn every_working_key_reaches_its_field() {
    let folder = Folder::new();
    folder.write("users", format!("ann:lab:{}\n", "0".repeat(32)));
    let text = r#"
[[listener]]
name = "six"
address = "[::]:3130"
dual_stack = true
allow_from = ["10.0.0.0/8", "::1"]
[admin]
address = "127.0.0.1:0"
[authentication]
required = true
realm = "lab"
schemes = ["basic", "digest"]
basic_requires_tls = false
users = "users"
digest_algorithms = ["SHA-256-sess", "MD5-sess"]
nonce_lifetime = "1h"
nonce_key_file = "nonce.key"
[[client]]
name = "c"
users = ["ann"]
networks = ["10.1.0.0/16"]
destinations = ["lab"]
authentication = "none"
[[destination]]
name = "lab"
hosts = ["Push.TEST.", "*.cloud.test", "127.0.0.1"]
ports = [8443, "8000-8099"]
role = "other"
networks = ["127.0.0.0/8"]
max_ttl = "30s"
addresses = ["127.0.0.2", "[::1]"]
connect_budget = "5s"
[dns]
servers = ["127.0.0.1:5353", "10.0.0.53"]
min_ttl = "1s"
max_ttl = "10m"
negative_ttl = "2s"
timeout = "3s"
[connect]
budget = "2s"
attempt_delay = "100ms"
families = "ipv4"
[tunnel]
idle_timeout = "10s"
keepalive = { idle = "30s", probes = 3 }
[intake]
connections = 100
tunnels = 50
head_timeout = "1s"
handshake_timeout = "2s"
head_bytes = "16KiB"
client_idle_timeout = "3s"
[log]
level = "debug"
access = "access.log"
queue_lines = 16
[drain]
tunnel_grace = "unlimited"
[runtime]
workers = 2
"#;
    let config = parse(text, &folder.path("t.toml")).unwrap_or_else(|all| panic!("{all}"));
    let listener = &config.listeners[0];
    assert!(listener.dual_stack);
    assert_eq!(
        listener.allow_from,
        ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]
    );
    let authentication = &config.authentication;
    assert_eq!(authentication.users.len(), 1);
    assert_eq!(
        authentication.nonce_key_file,
        Some(folder.path("nonce.key"))
    );
    assert!(authentication.nonce_keys.is_empty() && !authentication.basic_requires_tls);
    assert!(config.clients[0].exempt);
    let lab = &config.destinations[0];
    assert_eq!(lab.hosts[0].pattern, HostPattern::Name("push.test".into()));
    assert_eq!(
        lab.hosts[1].pattern,
        HostPattern::Suffix(".cloud.test".into())
    );
    assert_eq!(
        lab.hosts[2].pattern,
        HostPattern::Addr("127.0.0.1".parse().unwrap())
    );
    assert!(lab.hosts.iter().all(|rule| rule.role == Role::Other));
    assert_eq!((lab.ports[0].first, lab.ports[1].last), (8443, 8099));
    assert_eq!((lab.sni, lab.addresses.len()), (Sni::Off, 2));
    assert_eq!(
        config.dns.servers[1],
        DnsServer::Plain("10.0.0.53:53".parse().unwrap())
    );
    assert_eq!(config.tunnel.keepalive.interval, Duration::from_secs(15));
    assert_eq!(config.tunnel.keepalive.probes, 3);
    assert_eq!(
        (config.intake.connections, config.intake.head_bytes.0),
        (100, 16_384)
    );
    assert_eq!(config.log.level, Level::Debug);
    assert_eq!(
        config.log.access,
        AccessSink::File(folder.path("access.log"))
    );
    assert_eq!(config.drain.tunnel_grace, Grace::Unlimited);
    // The same once more, as the operator is shown it.
    let shown = &config.source.shown;
    assert_eq!(shown["listener"][0]["address"], "[::]:3130");
    assert_eq!(
        shown["authentication"]["schemes"],
        serde_json::json!(["basic", "digest"])
    );
    assert_eq!(shown["client"][0]["authentication"], "none");
    assert_eq!(shown["destination"][0]["hosts"][1], "*.cloud.test");
    assert_eq!(
        shown["destination"][0]["ports"],
        serde_json::json!([8443, "8000-8099"])
    );
    assert_eq!(shown["tunnel"]["keepalive"]["idle"], "30s");
    assert_eq!(shown["intake"]["head_bytes"], "16KiB");
    assert_eq!(shown["drain"]["tunnel_grace"], "unlimited");
    assert!(
        !shown.to_string().contains(&"0".repeat(32)),
        "a hash is shown"
    );
}

#[test]
fn what_is_set_beside_a_preset_replaces_only_that() {
    let config = read(
        "[[destination]]\npreset = \"cisco\"\nname = \"webex\"\nports = [8443]\nnetworks = [\"127.0.0.0/8\"]\nsni = \"match\"\n\
         [[destination]]\npreset = \"apns\"\nhosts = [\"api.push.apple.com\", \"apns.test\"]\nmax_ttl = \"5s\"\n\
         [[destination]]\npreset = \"fcm\"\nrole = \"other\"\n\
         [[destination]]\nname = \"bare\"\nhosts = [\"a.test\", \"A.test.\"]\n",
    );
    let [webex, apns, fcm, bare] = &config.destinations[..] else {
        panic!("{:?}", config.destinations);
    };
    assert_eq!(
        (webex.name.as_str(), webex.preset.as_deref()),
        ("webex", Some("cisco"))
    );
    assert_eq!(
        (webex.hosts.len(), webex.ports[0].first, webex.ports.len()),
        (3, 8443, 1)
    );
    assert_eq!(
        (apns.hosts.len(), apns.ports.len(), apns.published.len()),
        (2, 2, 10)
    );
    assert_eq!(apns.max_ttl, Some(Duration::from_secs(5)));
    assert!(fcm.hosts.iter().all(|rule| rule.role == Role::Other) && fcm.hosts.len() == 4);
    assert_eq!(
        (bare.hosts.len(), bare.hosts[0].role, bare.ports[0].first),
        (1, Role::Push, 443)
    );
}

/// Every key of a destination, with a value that no preset has.
const BESIDE_A_PRESET: &[(&str, &str)] = &[
    ("name", r#""apple""#),
    ("hosts", r#"["api.push.apple.com"]"#),
    ("ports", "[2197]"),
    ("role", r#""other""#),
    ("networks", r#"["127.0.0.0/8"]"#),
    ("sni", r#""require""#),
    ("ca", r#""ca.pem""#),
    ("max_ttl", r#""30s""#),
    ("addresses", r#"["127.0.0.1"]"#),
    ("connect_budget", r#""5s""#),
    ("repeat", r#""never""#),
    ("via", r#"["http://parent:3128"]"#),
    // Alone it is for nobody.
    ("password_file", r#""parent.password""#),
    ("source", r#"["127.0.0.1"]"#),
    ("report_only", "true"),
];

#[test]
fn every_key_may_stand_beside_a_preset_and_replaces_only_its_own() {
    let folder = Folder::new();
    folder.write("ca.pem", certificate().0);
    folder.write_private("parent.password", "sesame\n");
    let alone = "[[destination]]\npreset = \"apns\"\n";
    let shown = |text: &str| {
        let shown = parse(text, &folder.path("t.toml")).map(|config| config.source.shown);
        shown.map(|shown| shown["destination"][0].clone())
    };
    let preset = shown(alone).unwrap();
    for (key, value) in BESIDE_A_PRESET {
        match shown(&format!("{alone}{key} = {value}\n")) {
            Ok(changed) => {
                let set: Value = serde_json::from_str(value).unwrap();
                // A file is shown with its whole path.
                assert!(
                    changed[*key] == set || *key == "ca",
                    "{key}: {}",
                    changed[*key]
                );
                let fields = preset.as_object().unwrap().keys();
                let fields = fields.chain(changed.as_object().unwrap().keys());
                let mut differ: Vec<&String> = fields
                    .filter(|field| changed[*field] != preset[*field])
                    .collect();
                differ.dedup();
                assert_eq!(differ.first(), Some(&&String::from(*key)), "{key}");
                assert!(differ.iter().all(|field| field == key), "{key}: {differ:?}");
            }
            Err(complaints) => {
                let said = complaints.to_string();
                assert!(
                    said.contains("no parent in via has a user") && !said.contains('\n'),
                    "{key}: {said}"
                );
            }
        }
    }
    // The table is complete.
    let keys: Vec<&str> = BESIDE_A_PRESET.iter().map(|(key, _)| *key).collect();
    let bogus = parse(
        &format!("{alone}bogus_key_of_mine = 1\n"),
        &folder.path("t.toml"),
    );
    let said = bogus.unwrap_err().to_string();
    assert!(
        said.contains(&format!("the keys here are preset, {}", keys.join(", "))),
        "{said}"
    );
}

#[test]
fn an_access_log_may_go_to_a_collector() {
    let folder = Folder::new();
    folder.write("ca.pem", certificate().0);
    let text = "[log]\naccess = \"syslog+tls://logs.test\"\nsyslog_ca = \"ca.pem\"\ntunnel_lines = [\"hourly\", \"open\"]\n";
    let config = parse(text, &folder.path("t.toml")).unwrap();
    let AccessSink::Syslog(collector) = &config.log.access else {
        panic!("{:?}", config.log.access);
    };
    assert_eq!(
        (collector.transport, collector.port),
        (Transport::Tls, 6514)
    );
    let ca = config.log.syslog_ca.as_ref().unwrap();
    assert_eq!(
        (&ca.path, ca.certificates.len()),
        (&folder.path("ca.pem"), 1)
    );
    let lines = config.log.tunnel_lines;
    assert_eq!((lines.open, lines.hourly, lines.close), (true, true, false));
    let shown = &config.source.shown["log"];
    assert_eq!(shown["access"], "syslog+tls://logs.test:6514");
    assert_eq!(shown["tunnel_lines"], serde_json::json!(["open", "hourly"]));
    assert!(parse("[log]\ntunnel_lines = []\n", &folder.path("t.toml")).is_ok());
}

#[test]
fn keys_at_their_default_are_welcome_whether_built_or_not() {
    read(
        "[authentication]\nfailure_rate = \"1/s\"\nnext_nonce = false\n[forward]\nbody_max = \"0B\"\n[drain]\nupgrade_grace = \"unlimited\"\n\
         [log]\ntunnel_lines = [\"close\"]\n[[client]]\nname = \"c\"\nnetworks = [\"::1\"]\npriority = \"messages\"\n\
         [[destination]]\nname = \"a\"\nhosts = [\"a.test\"]\nsni = \"off\"\nvia = []\nsource = []\nreport_only = false\nrepeat = \"safe\"\n",
    );
}

#[test]
fn the_hash_is_of_the_text() {
    // SHA-256 of nothing, from FIPS 180-4's own examples.
    assert_eq!(
        read("").source.hash,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(read("").source.path.as_deref(), Some(Path::new("t.toml")));
    assert_eq!(load(None).unwrap().source.path, None);
}

#[test]
fn any_text_is_read_or_complained_of() {
    use proptest::prelude::*;
    let words = prop_oneof![
        Just("[[listener]]\n"),
        Just("[listener.tls]\n"),
        Just("[tunnel]\n"),
        Just("[tunnel.keepalive]\n"),
        Just("[[destination]]\n"),
        Just("hosts = "),
        Just("name = "),
        Just("\"a\""),
        Just("[\"b\"]"),
        Just("= "),
        Just("\n"),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just("\"\"\""),
        Just("keepalive."),
        Just("1"),
        Just("\u{e9}"),
    ];
    proptest!(|(words in proptest::collection::vec(words, 0..24))| {
        let text: String = words.concat();
        if let Err(complaints) = parse(&text, Path::new("t.toml")) {
            let lines = 1 + text.matches('\n').count();
            prop_assert!(!complaints.0.is_empty());
            prop_assert!(complaints.0.iter().all(|one| (1..=lines).contains(&one.line)), "{complaints}");
        }
    });
}
