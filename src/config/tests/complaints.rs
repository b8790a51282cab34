//! Each kind of complaint once, with its line, its key and what it says.

use super::*;
use crate::config::parse;

/// Every complaint that `text` must get, in order: line, key, and words of the problem or the hint.
fn check(text: &str, expected: &[(usize, &str, &str)]) {
    let folder = Folder::new();
    let file = folder.path("t.toml");
    let found = match parse(text, &file) {
        Ok(_) => Vec::new(),
        Err(complaints) => complaints.0,
    };
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{text}\n{}", shown.join("\n"));
    for (complaint, (line, key, words)) in found.iter().zip(expected) {
        let said = complaint.to_string();
        assert_eq!(
            (complaint.line, complaint.key.as_str()),
            (*line, *key),
            "{said}"
        );
        assert!(said.contains(words), "{said}\nlacks: {words}");
        assert!(!complaint.hint.is_empty() && !said.contains('\n'), "{said}");
        assert_eq!(complaint.file, file, "{said}");
    }
}

#[test]
fn nothing_is_wrong_with_nothing() {
    check("", &[]);
    check("# only a comment\r\n", &[]);
    check("\u{feff}[dns]\ntimeout = \"2s\"\n", &[]);
}

#[test]
fn everything_at_once_in_the_order_of_the_lines() {
    check(
        "bogus = 1\n[tunnel]\nidle_timeout = \"5m\"\nidel = 1\n[dns]\nmax_ttl = \"1 hour\"\n[limits]\n[[listener]]\nname = \"a\"\naddress = \"0.0.0.0:1\"\n",
        &[
            (1, "bogus", "unknown key (the sections are listener, admin"),
            (3, "tunnel.idle_timeout", "30 minutes"),
            (4, "tunnel.idel", "unknown key"),
            (6, "dns.max_ttl", "is not a duration"),
            (7, "limits", "did you mean limit?"),
            (10, "listener[a].address", "open proxy"),
        ],
    );
}

#[test]
fn text_that_is_not_toml() {
    check("[dns\ntimeout = \"2s\"", &[(1, "syntax", "is not TOML")]);
    check(
        "[dns]\ntimeout = 2s\nmax_ttl = \"1x\"\n[log]\nlevel = info\n[tunnel]\nidle_timeout = \"1s\"\n",
        &[
            (2, "syntax", "is not TOML"),
            (3, "dns.max_ttl", "is not a duration"),
            (5, "syntax", "double quotes"),
            (7, "tunnel.idle_timeout", "30 minutes"),
        ],
    );
    check(
        "[dns]\ntimeout = \"2s\"\ntimeout = \"3s\"\n[log]\n[dns]\n",
        &[(3, "syntax", "stands once"), (5, "syntax", "stands once")],
    );
    // What is missing may be in the broken line.
    check(
        "[[client]]\nname = \"a\"\nusers = [\"x\n",
        &[(3, "syntax", "is not TOML")],
    );
}

#[test]
fn wrong_types() {
    check(
        "[authentication]\nrequired = \"yes\"\nschemes = \"basic\"\nrealm = 1\nfailure_burst = \"30\"\nnonce_lifetime = 4\n[dns]\nservers = [1]\n",
        &[
            (
                2,
                "authentication.required",
                "must be true or false, and is the text \"yes\"",
            ),
            (3, "authentication.schemes", r#"write ["basic"]"#),
            (
                4,
                "authentication.realm",
                "must be a text, and is the number 1",
            ),
            (5, "authentication.failure_burst", "must be a whole number"),
            (6, "authentication.nonce_lifetime", "with its unit"),
            (8, "dns.servers", "must be a text"),
        ],
    );
    check(
        "listener = 3\n",
        &[(1, "listener", "write [[listener]], with two brackets")],
    );
    check(
        "[listener]\nname = \"a\"\n",
        &[(1, "listener", "write [[listener]], with two brackets")],
    );
    check("[[admin]]\n", &[(1, "admin", "write [admin]")]);
    check(
        "dns = true\n",
        &[(1, "dns", "must be a section, and is true")],
    );
    check(
        "[tunnel]\nkeepalive = \"60s\"\n",
        &[(2, "tunnel.keepalive", "must be a section")],
    );
    check("listener = [1]\n", &[(1, "listener", "must be a section")]);
    check(
        "destination = []\n",
        &[(1, "destination", "is an empty list")],
    );
}

#[test]
fn unknown_keys_in_every_section() {
    for section in [
        "admin",
        "authentication",
        "policy",
        "dns",
        "connect",
        "tunnel",
        "tunnel.keepalive",
        "forward",
        "intake",
        "log",
        "drain",
        "runtime",
        "alarms",
    ] {
        let key = format!("{section}.bogus_key_of_mine");
        check(
            &format!("[{section}]\nbogus_key_of_mine = 1\n"),
            &[(2, &key, "unknown key (the keys here are ")],
        );
    }
    check(
        "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nadress = \"x\"\n\"odd \\n key\" = 1\n",
        &[
            (4, "listener[a].adress", "did you mean address?"),
            (5, "listener[a].\"odd \\n key\"", "unknown key"),
        ],
    );
}

#[test]
fn bounds_are_told_with_the_default() {
    let check_key = |section: &str, key: &str, bad: &[&str]| {
        for value in bad {
            let path = format!("{section}.{key}");
            check(
                &format!("[{section}]\n{key} = {value}\n"),
                &[(2, &path, "rom ")],
            );
        }
    };
    check_key(
        "authentication",
        "nonce_lifetime",
        &[r#""999ms""#, r#""25h""#],
    );
    check_key(
        "authentication",
        "failure_rate",
        &[r#""0/s""#, r#""10001/s""#],
    );
    check_key(
        "authentication",
        "failure_burst",
        &["0", "-1", "100001", "99999999999999999999"],
    );
    check_key("dns", "min_ttl", &[r#""2h""#]);
    check_key("dns", "max_ttl", &[r#""61m""#]);
    check_key("dns", "negative_ttl", &[r#""2h""#]);
    check_key("dns", "serve_stale", &[r#""8d""#]);
    check_key("dns", "timeout", &[r#""49ms""#, r#""31s""#]);
    check_key("connect", "budget", &[r#""99ms""#, r#""61s""#]);
    check_key("connect", "attempt_delay", &[r#""9ms""#, r#""11s""#]);
    check_key("connect", "quarantine", &[r#""0s""#, r#""2h""#]);
    check_key("connect", "quarantine_max", &[r#""25h""#]);
    check_key("connect", "peers", &["63", "1000001"]);
    check_key("tunnel", "idle_timeout", &[r#""31d""#]);
    check_key("tunnel", "unacknowledged_timeout", &[r#""0s""#, r#""11m""#]);
    check_key("tunnel", "confirmation_timeout", &[r#""61s""#]);
    check_key("tunnel.keepalive", "idle", &[r#""0s""#, r#""3h""#]);
    check_key("tunnel.keepalive", "interval", &[r#""11m""#]);
    check_key("tunnel.keepalive", "probes", &["0", "21"]);
    check_key("forward", "second_address_after", &[r#""61s""#]);
    check_key("forward", "response_timeout", &[r#""2h""#]);
    check_key("forward", "body_timeout", &[r#""2h""#]);
    check_key("forward", "body_max", &[r#""2TiB""#]);
    check_key("forward", "inspect_max", &[r#""2MiB""#]);
    check_key("forward", "handshake_timeout", &[r#""6m""#]);
    check_key("forward", "idle_connections", &["-1", "10001"]);
    check_key("forward", "idle_timeout", &[r#""2h""#]);
    check_key("intake", "connections", &["10000001", "-1"]);
    check_key("intake", "tunnels", &["10000001"]);
    check_key("intake", "head_timeout", &[r#""0s""#, r#""6m""#]);
    check_key("intake", "handshake_timeout", &[r#""6m""#]);
    check_key("intake", "head_bytes", &[r#""1B""#, r#""2MiB""#]);
    check_key("intake", "client_idle_timeout", &[r#""31d""#]);
    check_key("log", "queue_lines", &["0", "1000001"]);
    check_key("drain", "tunnel_grace", &[r#""31d""#]);
    check_key("runtime", "workers", &["1025"]);
    check(
        "[dns]\ntimeout = \"2m\"\n",
        &[(
            2,
            "dns.timeout",
            r#""2m" is too long (from "50ms" to "30s"; the default is "1s")"#,
        )],
    );
    check(
        "[tunnel.keepalive]\nidle = \"1500ms\"\n",
        &[(2, "tunnel.keepalive.idle", "whole number of seconds")],
    );
}

#[test]
fn words_of_a_closed_list() {
    check(
        "[log]\nlevel = \"warning\"\naccess = \"stdot\"\ntunnel_lines = [\"closed\"]\n[connect]\nfamilies = \"v4\"\n",
        &[
            (2, "log.level", r#"did you mean "warn"?"#),
            (
                3,
                "log.access",
                r#"write "./stdot" for a file of that name"#,
            ),
            (4, "log.tunnel_lines", r#"did you mean "close"?"#),
            (6, "connect.families", r#"it is "both", "ipv4" or "ipv6""#),
        ],
    );
    check(
        "[log]\naccess = \"no/a.log\"\n",
        &[(2, "log.access", "folder of \"no/a.log\" does not exist")],
    );
    check(
        "[log]\naccess = \"./\"\n",
        &[(2, "log.access", "is a folder")],
    );
    check(
        "[log]\naccess = \"syslog:127.0.0.1\"\n",
        &[(2, "log.access", r#"write "syslog://127.0.0.1""#)],
    );
    check(
        "[log]\naccess = \"syslog+tls:/logs.test:6514\"\n",
        &[(2, "log.access", r#"write "syslog+tls://logs.test:6514""#)],
    );
    check(
        "[log]\naccess = \"http://a/\"\n",
        &[(2, "log.access", "begins with syslog://")],
    );
    check(
        "[log]\naccess = \"syslog+tls://logs.test:0\"\nsyslog_ca = \"no.pem\"\ntunnel_lines = [\"open\", \"open\"]\n",
        &[
            (2, "log.access", "no good port"),
            (3, "log.syslog_ca", "there is no such file"),
            (4, "log.tunnel_lines", "lists \"open\" twice"),
        ],
    );
}

#[test]
fn listeners() {
    check(
        "[[listener]]\n",
        &[
            (1, "listener[#1].name", "is missing"),
            (1, "listener[#1].address", "is missing"),
        ],
    );
    check(
        "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\n[[listener]]\nname = \"a\"\naddress = \"localhost:81\"\ndual_stack = true\n",
        &[
            (
                5,
                "listener[a].name",
                "is the name of another listener already (line 2)",
            ),
            (6, "listener[a].address", "not a name"),
        ],
    );
    check(
        "[[listener]]\nname = \"a b\"\naddress = \"127.0.0.1:80\"\ndual_stack = true\nallow_from = [\"10.0.0.1/8\", \"x\"]\n",
        &[
            (2, "listener[#1].name", "cannot be a name"),
            (
                4,
                "listener[#1].dual_stack",
                "means nothing for this address",
            ),
            (
                5,
                "listener[#1].allow_from",
                r#""10.0.0.0/8" for the network"#,
            ),
            (5, "listener[#1].allow_from", "is not a network"),
        ],
    );
    check(
        "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\n[listener.tls]\nmin_version = \"1.1\"\n",
        &[
            (4, "listener[a].tls.certificate", "is missing"),
            (4, "listener[a].tls.private_key", "is missing"),
            (5, "listener[a].tls.min_version", r#"it is "1.2" or "1.3""#),
        ],
    );
}

#[test]
fn two_sockets_with_one_address() {
    let two = |first: &str, second: &str, clash: bool| {
        let text = format!(
            "[authentication]\nrequired = true\nusers = \"/no\"\n[[listener]]\nname = \"a\"\n{first}\n[[listener]]\nname = \"b\"\n{second}\n"
        );
        let mut expected = vec![(3, "authentication.users", "there is no file")];
        if clash {
            expected.push((9, "listener[b].address", "is taken by listener \"a\""));
        }
        check(&text, &expected);
    };
    let at = |address: &str| format!("address = \"{address}\"");
    two(&at("127.0.0.1:80"), &at("127.0.0.1:80"), true);
    two(&at("127.0.0.1:80"), &at("127.0.0.1:81"), false);
    two(&at("127.0.0.1:80"), &at("127.0.0.2:80"), false);
    two(&at("127.0.0.1:0"), &at("127.0.0.1:0"), false);
    two(&at("0.0.0.0:80"), &at("127.0.0.1:80"), true);
    two(&at("127.0.0.1:80"), &at("0.0.0.0:80"), true);
    two(&at("[::]:80"), &at("0.0.0.0:80"), false);
    two(&at("[::]:80"), &at("[::1]:80"), true);
    two(
        "address = \"[::]:80\" # both\ndual_stack = true",
        "address = \"0.0.0.0:81\"",
        false,
    );
    check(
        "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:9128\"\n",
        &[(1, "admin.address", "is taken by listener \"a\"")],
    );
    check(
        "[admin]\naddress = \"127.0.0.1:3128\"\n",
        &[(2, "admin.address", "is taken by listener \"plain\"")],
    );
    check(
        "[[listener]]\nname = \"a\"\naddress = \"[::]:9128\"\ndual_stack = true\nallow_from = [\"10.0.0.0/8\"]\n",
        &[(1, "admin.address", "is taken by listener \"a\"")],
    );
}

#[test]
fn an_open_proxy_is_refused() {
    let listener = |address: &str, more: &str| {
        format!("[[listener]]\nname = \"a\"\naddress = \"{address}\"\n{more}\n")
    };
    let open = (3, "listener[a].address", "would be an open proxy");
    check(&listener("0.0.0.0:80", ""), &[open]);
    check(&listener("[::]:80", ""), &[open]);
    check(&listener("10.1.2.3:80", ""), &[open]);
    check(&listener("127.9.9.9:80", ""), &[]);
    check(&listener("[::1]:80", ""), &[]);
    check(
        &listener("0.0.0.0:80", "allow_from = [\"10.0.0.0/8\"]"),
        &[],
    );
    let everybody = (4, "listener[a].allow_from", "would be an open proxy");
    check(
        &listener("0.0.0.0:80", "allow_from = [\"0.0.0.0/0\"]"),
        &[everybody],
    );
    check(
        &listener("0.0.0.0:80", "allow_from = [\"::/0\"]"),
        &[everybody],
    );
    check(
        &listener(
            "0.0.0.0:80",
            "allow_from = [\"0.0.0.0/1\", \"128.0.0.0/1\"]",
        ),
        &[everybody],
    );
    // Rules that are only tried out make nobody known.
    check(
        &listener("0.0.0.0:80", "[policy]\nunlisted = \"report\""),
        &[open],
    );
    // Whoever comes through a load balancer comes from beyond this machine.
    let balanced = "proxy_protocol_from = [\"127.0.0.0/8\"]";
    check(&listener("127.0.0.1:80", balanced), &[open]);
    check(
        &listener(
            "127.0.0.1:80",
            &format!("{balanced}\nallow_from = [\"10.0.0.0/8\"]"),
        ),
        &[],
    );
    // The admin endpoint reads only.
    check("[admin]\naddress = \"0.0.0.0:9128\"\n", &[]);
}

#[test]
fn a_proxy_protocol_that_everybody_may_speak_is_refused() {
    let listener = |address: &str, from: &str| {
        format!(
            "[[listener]]\nname = \"a\"\naddress = \"{address}\"\nallow_from = [\"10.0.0.0/8\"]\nproxy_protocol_from = {from}\n"
        )
    };
    let anybody = (5, "listener[a].proxy_protocol_from", "everybody");
    check(&listener("0.0.0.0:80", "[\"10.0.0.0/8\"]"), &[]);
    check(&listener("0.0.0.0:80", "[\"0.0.0.0/0\"]"), &[anybody]);
    check(
        &listener("0.0.0.0:80", "[\"::/1\", \"8000::/1\"]"),
        &[anybody],
    );
    check(&listener("127.0.0.1:80", "[\"0.0.0.0/0\"]"), &[]);
    check(
        &listener("0.0.0.0:80", "[\"10.0.0.0/33\"]"),
        &[(5, "listener[a].proxy_protocol_from", "is not a network")],
    );
}

#[test]
fn the_name_of_unlisted_targets_is_taken() {
    check(
        "[[destination]]\nname = \"unlisted\"\nhosts = [\"a.test\"]\n",
        &[(2, "destination[unlisted].name", "choose another name")],
    );
}

#[test]
fn an_exemption_for_everybody_is_an_open_proxy_too() {
    let folder = Folder::new();
    folder.write("users", format!("ann:tidegate:{}\n", "0".repeat(32)));
    let check = |more: &str, expected: Option<&str>| {
        let text = format!(
            "[authentication]\nrequired = true\nusers = \"users\"\n[[client]]\nname = \"c\"\nauthentication = \"none\"\nnetworks = [\"0.0.0.0/0\"]\n[[listener]]\nname = \"a\"\n{more}\n"
        );
        let found = parse(&text, &folder.path("t.toml"))
            .err()
            .map(|all| all.to_string());
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(words)) => assert!(found.contains(words), "{found}"),
            _ => panic!("{more}: {found:?}"),
        }
    };
    check(
        "address = \"0.0.0.0:80\"",
        Some("t.toml:7: client[c].networks: would make an open proxy"),
    );
    check(
        "address = \"0.0.0.0:80\"\nallow_from = [\"10.0.0.0/8\"]",
        None,
    );
    check("address = \"127.0.0.1:80\"", None);
}

#[test]
fn authentication() {
    check(
        "[authentication]\nrealm = \"\"\nschemes = []\ndigest_algorithms = [\"MD5\", \"sha512_256\", \"SHA256\", \"MD5\"]\n",
        &[
            (2, "authentication.realm", "is empty"),
            (3, "authentication.schemes", "offer at least one"),
            (
                4,
                "authentication.digest_algorithms",
                "SHA-512-256 would shut clients out",
            ),
            (
                4,
                "authentication.digest_algorithms",
                r#"did you mean "SHA-256"?"#,
            ),
            (
                4,
                "authentication.digest_algorithms",
                r#"lists "MD5" twice"#,
            ),
        ],
    );
    for spelling in [
        "SHA-512-256",
        "SHA-512/256",
        "sha-512-256-sess",
        "SHA512256",
    ] {
        check(
            &format!("[authentication]\ndigest_algorithms = [\"{spelling}\"]\n"),
            &[(2, "authentication.digest_algorithms", "shut clients out")],
        );
    }
    for (realm, words) in [
        (r#"a\"b"#, "quote"),
        (r"a\\b", "backslash"),
        ("a:b", "colon"),
        ("büro", "ASCII"),
        (r"a\tb", "ASCII"),
    ] {
        check(
            &format!("[authentication]\nrealm = \"{realm}\"\n"),
            &[(2, "authentication.realm", words)],
        );
    }
    check(
        "[authentication]\nschemes = [\"basic\", \"ntlm\"]\nusers = \"\"\n",
        &[
            (2, "authentication.schemes", r#"it is "digest" or "basic""#),
            (3, "authentication.users", "is empty"),
        ],
    );
    check(
        "[authentication]\nrequired = true\nschemes = [\"basic\"]\n",
        &[
            (1, "authentication.users", "required = true needs it"),
            (
                3,
                "authentication.schemes",
                r#"nobody could log in through "plain""#,
            ),
        ],
    );
    check(
        "[authentication]\nnonce_key_file = \"no/n.key\"\n",
        &[(2, "authentication.nonce_key_file", "folder of")],
    );
}

#[test]
fn clients() {
    check(
        "[[client]]\nname = \"a\"\nnetworks = [\"10.0.0.0/8\"]\ndestinations = [\"nowhere\"]\nauthentication = \"none\"\n\
         [[destination]]\nhosts = [\"a.test\"]\nrole = \"other\"\n[[destination]]\npreset = \"apns\"\n[[destination]]\nname = \"x\"\nhosts = [\"x.test\"]\nrole = \"other\"\n",
        &[
            (4, "client[a].destinations", "there are apns or x)"),
            (6, "destination[#1].name", "is missing"),
        ],
    );
    check(
        "[[client]]\nname = \"a\"\n[[client]]\nnetworks = []\n[[client]]\nname = \"a\"\nnetworks = [\"10.0.0.0/8\"]\ndestinations = [\"cisko\", \"x\"]\nauthentication = \"off\"\n",
        &[
            (1, "client[a].users", "say how it is known"),
            (3, "client[#2].name", "is missing"),
            (4, "client[#2].networks", "is an empty list"),
            (6, "client[a].name", "another client already (line 2)"),
            (
                8,
                "client[a].destinations",
                r#"there is no destination "cisko" (did you mean "cisco"?)"#,
            ),
            (
                8,
                "client[a].destinations",
                "there are cisco, apns, fcm or webpush",
            ),
            (9, "client[a].authentication", r#"it is "none""#),
        ],
    );
    check(
        "[[client]]\nname = \"a\"\nusers = [\"x\"]\nauthentication = \"none\"\n",
        &[
            (
                1,
                "authentication.users",
                "a [[client]] with users needs it",
            ),
            (
                4,
                "client[a].authentication",
                "without networks lets nobody in",
            ),
        ],
    );
    check(
        "[[client]]\nname = \"a\"\nnetworks = [\"::1\"]\ndestinations = []\n",
        &[(
            4,
            "client[a].destinations",
            "leave the key out to allow all",
        )],
    );
}

#[test]
fn destinations() {
    check(
        "[[destination]]\n[[destination]]\nname = \"x\"\nhosts = []\nports = []\n[[destination]]\npreset = \"cisko\"\n[[destination]]\npreset = \"fcm\"\n[[destination]]\nname = \"fcm\"\nhosts = [\"a.test\"]\n",
        &[
            (1, "destination[#1].name", "is missing"),
            (1, "destination[#1].hosts", "is missing"),
            (4, "destination[x].hosts", "nothing could be reached"),
            (5, "destination[x].ports", "nothing could be reached"),
            (7, "destination[cisko].preset", r#"did you mean "cisco"?"#),
            (
                11,
                "destination[fcm].name",
                "another destination already (line 9)",
            ),
        ],
    );
    check(
        "[[destination]]\npreset = \"fcm\"\n[[destination]]\npreset = \"fcm\"\n",
        &[(4, "destination[fcm].preset", "another destination already")],
    );
    check(
        "[[destination]]\nname = \"x\"\nhosts = [\n  \"ok.test\",\n  \"127.1\",\n  \"b\u{fc}ro.test\",\n]\nports = [0, 65536, \"9-1\", \"x\", true]\nrole = \"pull\"\nnetworks = [\"10.1.0.0/8\"]\nmax_ttl = \"0s\"\naddresses = [\"a.test\"]\nconnect_budget = \"2m\"\nsni = \"on\"\n",
        &[
            (5, "destination[x].hosts", "another spelling"),
            (6, "destination[x].hosts", "xn--"),
            (8, "destination[x].ports", "0 is no port (from 1 to 65535)"),
            (8, "destination[x].ports", "65536 is no port"),
            (8, "destination[x].ports", r#"write "1-9""#),
            (8, "destination[x].ports", "is not a range of ports"),
            (8, "destination[x].ports", "must be a text"),
            (
                9,
                "destination[x].role",
                r#"it is "push", "token", "onboarding" or "other""#,
            ),
            (10, "destination[x].networks", "bits behind its prefix"),
            (11, "destination[x].max_ttl", "too short"),
            (12, "destination[x].addresses", "is not an address"),
            (13, "destination[x].connect_budget", "too long"),
            (14, "destination[x].sni", r#""off", "match" or "require""#),
        ],
    );
}

#[test]
fn idle_push_tunnels_live_for_half_an_hour() {
    let cited = (
        2,
        "tunnel.idle_timeout",
        "the deployment guide wants idle connections to a push service kept open for 30 minutes",
    );
    check("[tunnel]\nidle_timeout = \"1799s\"\n", &[cited]);
    check("[tunnel]\nidle_timeout = \"30m\"\n", &[]);
    let lab = |role: &str| {
        format!(
            "[tunnel]\nidle_timeout = \"5s\"\n[[destination]]\nname = \"lab\"\nhosts = [\"a.test\"]\n{role}\n"
        )
    };
    check(&lab("role = \"push\""), &[cited]);
    check(&lab(""), &[cited]);
    check(&lab("role = \"other\""), &[]);
}

#[test]
fn values_that_bound_each_other() {
    check(
        "[dns]\nmin_ttl = \"1m\"\nmax_ttl = \"30s\"\n[connect]\nbudget = \"200ms\"\nquarantine = \"30m\"\n",
        &[
            (2, "dns.min_ttl", "min_ttl 1m is more than max_ttl 30s"),
            (5, "connect.budget", "leaves no room in the budget of 200ms"),
            (6, "connect.quarantine", "at most quarantine_max"),
        ],
    );
    check(
        "[dns]\nmax_ttl = \"1s\"\n",
        &[(2, "dns.max_ttl", "min_ttl 5s is more")],
    );
    check(
        "[connect]\nattempt_delay = \"1500ms\"\n",
        &[(2, "connect.attempt_delay", "leaves no room")],
    );
}

#[test]
fn limits_are_checked() {
    check(
        "[[limit]]\nper = \"cluster\"\nburst = 1\n[[limit]]\nname = \"a\"\nper = \"all\"\nrate = \"50/m\"\nbytes = \"1/s\"\nkeys = 0\n",
        &[
            (1, "limit[#1].name", "is missing"),
            (1, "limit[#1].rate", "is missing"),
            (
                2,
                "limit[#1].per",
                r#"it is "client", "user", "address", "destination" or "all""#,
            ),
            (3, "limit[#1].burst", "without a rate"),
            (7, "limit[a].rate", "is not a rate"),
            (8, "limit[a].bytes", "is not a byte rate"),
            (9, "limit[a].keys", "out of bounds"),
        ],
    );
    check(
        "[[limit]]\nname = \"a\"\nper = \"all\"\ntunnels = 1\nmax_wait = \"2s\"\n[connect]\nbudget = \"1s\"\n",
        &[(5, "limit[a].max_wait", "more than the connect budget of 1s")],
    );
    check(
        "[[limit]]\nname = \"a\"\nper = \"all\"\nrate = \"0/s\"\nmax_wait = \"11s\"\n",
        &[
            (4, "limit[a].rate", "out of bounds"),
            (5, "limit[a].max_wait", "is too long"),
        ],
    );
}

#[test]
fn how_much_is_remembered_of_logins() {
    check(
        "[authentication]\nnonces = 999\nfailure_keys = 99\nuserhash = 1\nfailure_burst = 0\n",
        &[
            (2, "authentication.nonces", "out of bounds"),
            (3, "authentication.failure_keys", "out of bounds"),
            (4, "authentication.userhash", "must be true or false"),
            (5, "authentication.failure_burst", "out of bounds"),
        ],
    );
}

#[test]
fn what_is_not_built_yet_is_refused() {
    let check_key = |section: &str, key: &str, value: &str| {
        let path = format!("{section}.{key}");
        check(
            &format!("[{section}]\n{key} = {value}\n"),
            &[(2, &path, "not available yet (leave it out")],
        );
    };
    check_key("drain", "upgrade_grace", r#""1h""#);
    check_key("drain", "release_idle_first", "true");
    check(
        "[[destination]]\npreset = \"fcm\"\nsni = \"off\"\nca = \"no.pem\"\n",
        &[(4, "destination[fcm].ca", "there is no such file")],
    );
}

#[test]
fn a_component_is_one_of_the_guides_that_send_pushes() {
    let client = |component: &str| {
        format!("[[client]]\nname = \"c\"\nnetworks = [\"::1\"]\ncomponent = {component}\n")
    };
    for component in [
        "Cisco CallManager",
        "Cisco XCP Config Manager",
        "Cisco Jabber",
    ] {
        check(&client(&format!("{component:?}")), &[]);
    }
    let check_wrong = |component: &str, says: &str| {
        check(&client(component), &[(4, "client[c].component", says)]);
    };
    check_wrong(
        r#""Cisco CallMonger""#,
        r#"did you mean "Cisco CallManager"?"#,
    );
    check_wrong(r#""X""#, r#"it is "Cisco CallManager", "#);
    check_wrong(r#""tidegate""#, "cannot be");
    check_wrong("1", "a word");
}

#[test]
fn receivers_of_alarms() {
    check(
        "[alarms]\ninstance = \"\"\nsyslog = \"http://h\"\nalertmanager = \"http://am/x?y\"\nwebhook = \"http://ann@h/\"\nca = \"no.pem\"\ntimeout = \"61s\"\nrepeat = \"0s\"\nalertmanager_repeat = \"2h\"\n",
        &[
            (2, "alarms.instance", "is empty"),
            (3, "alarms.syslog", "begins with syslog://"),
            (4, "alarms.alertmanager", "has a query"),
            (
                5,
                "alarms.webhook",
                "there is no password for it (webhook_secret_file",
            ),
            (6, "alarms.ca", "there is no such file"),
            (7, "alarms.timeout", "too long"),
            (8, "alarms.repeat", "too short"),
            (9, "alarms.alertmanager_repeat", "too long"),
        ],
    );
    check(
        "[alarms]\nwebhook_secret_file = \"no\"\n[alarms.upload]\npersonal_data = \"encrypt\"\nperiod = \"1m\"\nminimum_severity = \"ALERT\"\n",
        &[
            (2, "alarms.webhook_secret_file", "is for nobody"),
            (2, "alarms.webhook_secret_file", "there is no such file"),
            (3, "alarms.upload.url", "is missing"),
            (3, "alarms.upload.key_file", "is missing"),
            (5, "alarms.upload.period", r#"from "5m" to "90m""#),
            (6, "alarms.upload.minimum_severity", r#"cannot be "ALERT""#),
        ],
    );
}

#[test]
fn secrets_of_receivers_are_in_good_files() {
    let folder = Folder::new();
    folder.write("open", "sesame\n");
    folder.write_private("secret", "sesame\n");
    folder.write_private("key", &"0F".repeat(32));
    folder.write("open.key", "0f".repeat(32));
    let said = |lines: &str| {
        let parsed = parse(&format!("[alarms]\n{lines}\n"), &folder.path("t.toml"));
        parsed.map_or_else(
            |all| all.to_string(),
            |config| config.source.shown["alarms"].to_string(),
        )
    };
    let check = |lines: &str, of: &str| {
        let said = said(lines);
        assert!(
            said.contains(of) && !said.contains("sesame") && !said.contains("0f0f"),
            "{lines}: {said}"
        );
    };
    check(
        "webhook = \"http://h/\"\nwebhook_secret_file = \"open\"",
        "by everybody",
    );
    check(
        "webhook = \"http://h/sesame\"\nwebhook_secret_file = \"secret\"",
        "http://h:80/***",
    );
    check(
        "alertmanager = \"http://ann@h/am\"\nalertmanager_secret_file = \"secret\"",
        "http://ann@h:80/am",
    );
    let upload = |personal_data: &str, key: &str| {
        format!(
            "[alarms.upload]\nurl = \"http://h/sesame?sesame\"\npersonal_data = \"{personal_data}\"\nkey_file = \"{key}\""
        )
    };
    check(&upload("omit", "key"), "encrypts nothing");
    check(&upload("encrypt", "open.key"), "by everybody");
    check(&upload("encrypt", "secret"), "64 hex digits");
    check(&upload("encrypt", "key"), "\"encrypt\"");
}

#[test]
fn parents_have_users_with_passwords() {
    let folder = Folder::new();
    folder.write("secret", "sesame\n");
    folder.write("two", "sesame\nopen\n");
    let set_mode = |name: &str, mode| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode("two", 0o600);
    let said = |lines: &str| {
        let text = format!("[[destination]]\npreset = \"fcm\"\n{lines}\n");
        let parsed = parse(&text, &folder.path("t.toml"));
        parsed.map_or_else(|all| all.to_string(), |_| String::new())
    };
    let complains = |lines: &str, of: &str| {
        let said = said(lines);
        assert!(
            said.contains(of) && !said.contains("sesame"),
            "{lines}: {said}"
        );
    };
    let via = "via = [\"http://ann@p:1\"]\n";
    complains(via, "there is no password for it");
    complains(
        "password_file = \"secret\"",
        "may be read or written by everybody",
    );
    set_mode("secret", 0o640);
    complains("password_file = \"secret\"", "is for nobody");
    complains(
        &format!("{via}password_file = \"none\""),
        "there is no such file",
    );
    complains(&format!("{via}password_file = \"two\""), "is not one line");
    complains(
        "via = [\"http://p:1\"]\naddresses = [\"10.0.0.1\"]",
        "is never used",
    );
    assert_eq!(said(&format!("{via}password_file = \"secret\"")), "");
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    let folder = Folder::new();
    for text in [
        "[[destination]]\npreset = \"fcm\"\nvia = [\"http://u:sesame@p:1\"]\n",
        "[[destination]]\npreset = \"fcm\"\nvia = \"http://u:sesame@p:1\"\n",
        "[alarms]\nwebhook = \"ftp://u:sesame@p:1\"\n",
        "[alarms]\nwebhook = \"https://u:sesame@p:0\"\n",
        "[alarms]\nwebhook = \"https://p:0/sesame\"\n",
        "[alarms]\nwebhook = \"https://p/sesame#\"\n",
    ] {
        let said = parse(text, &folder.path("t.toml")).unwrap_err().to_string();
        assert!(!said.contains("sesame"), "{said}");
    }
}

#[test]
fn what_would_silently_do_nothing_is_a_complaint() {
    check(
        "[[client]]\nname = \"a\"\nnetworks = [\"10.0.0.0/8\"]\n[[client]]\nname = \"b\"\nnetworks = [\"10.0.0.0/8\"]\nauthentication = \"none\"\n",
        &[(6, "client[b].networks", "belongs to client \"a\" already")],
    );
    check(
        "[connect]\nfamilies = \"ipv6\"\n[[destination]]\nname = \"d\"\nhosts = [\"d.test\"]\naddresses = [\"127.0.0.1\"]\n",
        &[(6, "destination[d].addresses", "connect.families = \"ipv6\"")],
    );
}
