//! The sections that stand once: their keys, defaults and bounds.
//!
//! A table more than logic. Each function takes its keys out by name; what spans two sections is in `agree.rs`.

use std::net::{Ipv4Addr, SocketAddr};

use super::complaint::Wrong;
use super::file::{Section, Written};
use super::item::Item;
use super::listener::{authorities, path};
use super::{
    AccessSink, Admin, Alarms, Authentication, Connect, Dns, Drain, Families, Forward, Grace,
    Intake, Keepalive, Level, Limit, LimitPer, Log, Policy, Rate, Runtime, Tunnel, TunnelLines,
    Unlisted, Upload, endpoint, places, units,
};
use crate::exchange::{Algorithm, Scheme};

pub(super) fn admin(mut section: Section<'_, '_>) -> Written<Admin> {
    let address = section.key(
        "address",
        SocketAddr::from((Ipv4Addr::LOCALHOST, 9128)),
        "",
        |item| endpoint::listening(item.text("127.0.0.1:9128")?),
    );
    let control_socket = path(&mut section, "control_socket", "/run/tidegate/control.sock");
    if let Some(Err(wrong)) = control_socket.as_deref().map(places::control_socket) {
        section.complain("control_socket", wrong);
    }
    section.written(Admin {
        address,
        control_socket,
    })
}

pub(super) fn authentication(mut section: Section<'_, '_>) -> Written<Authentication> {
    const SCHEMES: [(&str, Scheme); 2] = [("digest", Scheme::Digest), ("basic", Scheme::Basic)];
    let required = section.flag("required", false);
    let realm = section.key("realm", String::from("tidegate"), "", realm);
    let schemes = section.full_list(
        "schemes",
        vec![Scheme::Digest, Scheme::Basic],
        r#"offer at least one of "digest" and "basic""#,
        |item| item.word(&SCHEMES),
    );
    twice(&section, "schemes", &schemes, |scheme| scheme.token());
    let basic_requires_tls = section.flag("basic_requires_tls", true);
    let sheet = section.sheet();
    let users_file = section.key("users", sheet.resolve("users.htdigest"), "", |item| {
        item.words("users.htdigest").map(|path| sheet.resolve(path))
    });
    let digest_algorithms = section.full_list(
        "digest_algorithms",
        vec![Algorithm::Md5, Algorithm::Sha256],
        r#"offer at least one of "MD5" and "SHA-256"; to have no digest, leave it out of schemes"#,
        algorithm,
    );
    twice(
        &section,
        "digest_algorithms",
        &digest_algorithms,
        |algorithm| algorithm.token(),
    );
    let userhash = section.flag("userhash", false);
    let nonce_lifetime = section.duration("nonce_lifetime", "4h", "1s", "24h");
    let nonces = section.number("nonces", 100_000, 1_000..=10_000_000);
    let nonce_key_file = path(&mut section, "nonce_key_file", "nonce.key");
    let failure_rate = section.key(
        "failure_rate",
        Rate { per_second: 1.0 },
        r#""1/s""#,
        |item| {
            within(
                units::rate(item.text("1/s")?)?,
                0.001,
                10_000.0,
                r#"from "0.001/s" to "10000/s""#,
            )
        },
    );
    let failure_burst = section.number("failure_burst", 30, 1..=100_000);
    let failure_keys = section.number("failure_keys", 10_000, 100..=1_000_000);
    let next_nonce = section.flag("next_nonce", false);
    section.written(Authentication {
        required,
        realm,
        schemes,
        basic_requires_tls,
        users_file,
        users: Vec::new(),
        digest_algorithms,
        userhash,
        nonce_lifetime,
        nonces,
        nonce_key_file,
        nonce_keys: Vec::new(),
        failure_rate,
        failure_burst,
        failure_keys,
        next_nonce,
    })
}

pub(super) fn policy(mut section: Section<'_, '_>) -> Policy {
    let unlisted = section.word(
        "unlisted",
        "refuse",
        &[("refuse", Unlisted::Refuse), ("report", Unlisted::Report)],
    );
    Policy { unlisted }
}

pub(super) fn dns(mut section: Section<'_, '_>) -> Written<Dns> {
    let ca = path(&mut section, "ca", "dns-ca.pem");
    let ca = authorities(&section, "ca", ca.as_ref());
    let dns = Dns {
        servers: section.list("servers", Vec::new(), |item| {
            endpoint::name_server(item.text("127.0.0.1:5353")?)
        }),
        min_ttl: section.duration("min_ttl", "5s", "0s", "1h"),
        max_ttl: section.duration("max_ttl", "1h", "1s", "1h"),
        negative_ttl: section.duration("negative_ttl", "5s", "0s", "1h"),
        serve_stale: section.duration("serve_stale", "24h", "0s", "7d"),
        timeout: section.duration("timeout", "1s", "50ms", "30s"),
        ca,
    };
    section.written(dns)
}

pub(super) fn connect(mut section: Section<'_, '_>) -> Written<Connect> {
    let connect = Connect {
        budget: section.duration("budget", "1500ms", "100ms", "60s"),
        attempt_delay: section.duration("attempt_delay", "250ms", "10ms", "10s"),
        families: section.word(
            "families",
            "both",
            &[
                ("both", Families::Both),
                ("ipv4", Families::Ipv4),
                ("ipv6", Families::Ipv6),
            ],
        ),
        quarantine: section.duration("quarantine", "30s", "1s", "1h"),
        quarantine_max: section.duration("quarantine_max", "10m", "1s", "24h"),
        peers: section.number("peers", 4096, 64..=1_000_000),
    };
    section.written(connect)
}

pub(super) fn tunnel(mut section: Section<'_, '_>) -> Written<Tunnel> {
    let tunnel = Tunnel {
        idle_timeout: section.duration("idle_timeout", "2h", "100ms", "30d"),
        keepalive: keepalive(section.section("keepalive")),
        unacknowledged_timeout: section.duration("unacknowledged_timeout", "15s", "1s", "10m"),
        confirmation_timeout: section.duration("confirmation_timeout", "5s", "100ms", "60s"),
    };
    section.written(tunnel)
}

fn keepalive(mut section: Section<'_, '_>) -> Keepalive {
    let idle = section.duration("idle", "60s", "1s", "2h");
    let interval = section.duration("interval", "15s", "1s", "10m");
    for (key, duration) in [("idle", idle), ("interval", interval)] {
        if duration.subsec_nanos() != 0 {
            section.complain(
                key,
                Wrong::new(
                    "is no whole number of seconds",
                    "the kernel counts keepalives in seconds",
                ),
            );
        }
    }
    Keepalive {
        idle,
        interval,
        probes: section.number("probes", 4, 1..=20),
    }
}

pub(super) fn forward(mut section: Section<'_, '_>) -> Forward {
    Forward {
        second_address_after: section.duration("second_address_after", "2s", "100ms", "60s"),
        response_timeout: section.duration("response_timeout", "30s", "100ms", "1h"),
        body_timeout: section.duration("body_timeout", "60s", "100ms", "1h"),
        body_max: section.size("body_max", "0", "0", "1TiB"),
        inspect_max: section.size("inspect_max", "64KiB", "0", "1MiB"),
        handshake_timeout: section.duration("handshake_timeout", "5s", "100ms", "5m"),
        idle_connections: section.number("idle_connections", 32, 0..=10_000),
        idle_timeout: section.duration("idle_timeout", "30s", "100ms", "1h"),
    }
}

pub(super) fn intake(mut section: Section<'_, '_>) -> Intake {
    Intake {
        connections: section.number("connections", 0, 0..=10_000_000),
        tunnels: section.number("tunnels", 0, 0..=10_000_000),
        held_refusals: section.number("held_refusals", 0, 0..=10_000_000),
        head_timeout: section.duration("head_timeout", "10s", "100ms", "5m"),
        handshake_timeout: section.duration("handshake_timeout", "10s", "100ms", "5m"),
        head_bytes: section.size("head_bytes", "64KiB", "1KiB", "1MiB"),
        client_idle_timeout: section.duration("client_idle_timeout", "2h", "100ms", "30d"),
    }
}

pub(super) fn limit(mut section: Section<'_, '_>) -> Written<Limit> {
    let name = section.optional("name", |item| item.name("per-cluster").map(str::to_owned));
    if !section.has("name") {
        section.missing("name", r#"its label in metrics: name = "per-cluster""#);
    }
    let per = section.optional("per", |item| {
        item.word(&[
            ("client", LimitPer::Client),
            ("user", LimitPer::User),
            ("address", LimitPer::Address),
            ("destination", LimitPer::Destination),
            ("all", LimitPer::All),
        ])
    });
    if !section.has("per") {
        section.missing("per", r#"what is counted together: per = "client""#);
    }
    let rate = section.optional("rate", |item| {
        within(
            units::rate(item.text("200/s")?)?,
            0.001,
            1e7,
            r#"from "0.001/s" to "10000000/s""#,
        )
    });
    let burst = count(&mut section, "burst");
    let tunnels = count(&mut section, "tunnels");
    let bytes = section.optional("bytes", |item| {
        within(
            units::byte_rate(item.text("10MiB/s")?)?,
            1024.0,
            1e12,
            r#"at least "1KiB/s""#,
        )
    });
    let max_wait = section.duration("max_wait", "500ms", "0s", "10s");
    let keys = section.number("keys", 10_000, 1..=10_000_000);
    let report_only = section.flag("report_only", false);
    if !["rate", "tunnels", "bytes"]
        .iter()
        .any(|key| section.has(key))
    {
        section.missing(
            "rate",
            r#"what it limits: rate = "200/s", tunnels = 2000 or bytes = "10MiB/s""#,
        );
    }
    if section.has("burst") && !section.has("rate") {
        section.complain(
            "burst",
            Wrong::new(
                "without a rate limits nothing",
                r#"set rate = "200/s" beside it"#,
            ),
        );
    }
    section.written(Limit {
        name: name.unwrap_or_default(),
        per: per.unwrap_or(LimitPer::All),
        rate,
        burst,
        tunnels,
        bytes,
        max_wait,
        keys,
        report_only,
    })
}

pub(super) fn log(mut section: Section<'_, '_>) -> Log {
    let level = section.word(
        "level",
        "info",
        &[
            ("error", Level::Error),
            ("warn", Level::Warn),
            ("info", Level::Info),
            ("debug", Level::Debug),
            ("trace", Level::Trace),
        ],
    );
    let sheet = section.sheet();
    let access = section.key("access", AccessSink::Stdout, r#""stdout""#, |item| {
        places::access(item.words("stdout")?, |path| sheet.resolve(path))
    });
    let syslog_ca = path(&mut section, "syslog_ca", "syslog-ca.pem");
    let syslog_ca = authorities(&section, "syslog_ca", syslog_ca.as_ref());
    let queue_lines = section.number("queue_lines", 8192, 1..=1_000_000);
    let lines = section.list("tunnel_lines", vec!["close"], |item| {
        item.word(&[("close", "close"), ("open", "open"), ("hourly", "hourly")])
    });
    twice(&section, "tunnel_lines", &lines, |word| word);
    Log {
        level,
        access,
        syslog_ca,
        queue_lines,
        tunnel_lines: TunnelLines {
            open: lines.contains(&"open"),
            hourly: lines.contains(&"hourly"),
            close: lines.contains(&"close"),
        },
    }
}

pub(super) fn drain(mut section: Section<'_, '_>) -> Drain {
    Drain {
        tunnel_grace: grace(&mut section, "tunnel_grace", "30m"),
        upgrade_grace: grace(&mut section, "upgrade_grace", "unlimited"),
        release_idle_first: section.flag("release_idle_first", false),
    }
}

pub(super) fn runtime(mut section: Section<'_, '_>) -> Runtime {
    Runtime {
        workers: section.number("workers", 0, 0..=1_024),
    }
}

pub(super) fn alarms(mut section: Section<'_, '_>) -> Alarms {
    let mut to = |key, example: &'static str, schemes: &[&str]| {
        section.optional(key, |item| endpoint::url(item.text(example)?, schemes))
    };
    Alarms {
        syslog: to("syslog", "syslog+tls://10.0.0.9:6514", &endpoint::SYSLOG),
        alertmanager: to("alertmanager", "http://127.0.0.1:9093", &["http", "https"]),
        webhook: to("webhook", "https://ops.example/hook", &["http", "https"]),
        upload: section.maybe_section("upload").map(upload),
    }
}

fn upload(mut section: Section<'_, '_>) -> Upload {
    let url = section.optional("url", |item| {
        endpoint::url(item.text("https://ops.example/alarms")?, &["http", "https"])
    });
    if !section.has("url") {
        section.missing("url", r#"where they go: url = "https://…""#);
    }
    let period = section.duration("period", "30m", "5m", "90m");
    let severities =
        ["CRITICAL", "ERROR", "WARNING", "NOTICE", "INFORMATION"].map(|word| (word, word));
    let minimum_severity = section.word("minimum_severity", "ERROR", &severities);
    let personal_data = section.word(
        "personal_data",
        "omit",
        &[("omit", "omit"), ("encrypt", "encrypt")],
    );
    let key_file = path(&mut section, "key_file", "upload.key");
    if personal_data == "encrypt" && !section.has("key_file") {
        section.missing(
            "key_file",
            r#"what to encrypt with: key_file = "upload.key""#,
        );
    }
    Upload {
        url: url.unwrap_or_default(),
        period,
        minimum_severity: minimum_severity.to_owned(),
        personal_data: personal_data.to_owned(),
        key_file,
    }
}

/// Clients quote a realm in several ways, and the users file parts its fields with colons.
fn realm(item: &Item<'_, '_>) -> Result<String, Wrong> {
    let text = item.text("tidegate")?;
    let wrong = |problem: &str, hint: &str| Err(Wrong::new(problem, hint));
    if text.is_empty() {
        wrong("is empty", r#"some clients need one: "tidegate""#)
    } else if text.len() > 128 {
        wrong(
            "is longer than 128 characters",
            "clients show it when they ask for a password",
        )
    } else if text.contains(['"', '\\']) {
        wrong(
            "has a quote or a backslash in it",
            "many clients cannot read it then",
        )
    } else if text.contains(':') {
        wrong(
            "has a colon in it",
            "colons part the fields of the users file",
        )
    } else if !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        wrong(
            "is not printable ASCII",
            "clients disagree about any other character",
        )
    } else {
        Ok(text.to_owned())
    }
}

fn algorithm(item: &Item<'_, '_>) -> Result<Algorithm, Wrong> {
    const ALGORITHMS: [(&str, Algorithm); 4] = [
        ("MD5", Algorithm::Md5),
        ("SHA-256", Algorithm::Sha256),
        ("MD5-sess", Algorithm::Md5Sess),
        ("SHA-256-sess", Algorithm::Sha256Sess),
    ];
    let spelled: String = item
        .text("SHA-256")?
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    if spelled.starts_with("SHA512") {
        return Err(Wrong::new(
            "SHA-512-256 would shut clients out: many give up when they see it, and try nothing else",
            r#"offer "MD5", "SHA-256" or both"#,
        ));
    }
    item.word(&ALGORITHMS)
}

/// "30m" or "unlimited".
fn grace(section: &mut Section<'_, '_>, key: &'static str, default: &str) -> Grace {
    let hint = format!(r#"from "0s" to "30d", or "unlimited"; the default is "{default}""#);
    let value = match default {
        "unlimited" => Grace::Unlimited,
        text => Grace::For(units::duration(text).expect("a default can be read")),
    };
    section.key(key, value, &format!("{default:?}"), |item| {
        if item.text(default) == Ok("unlimited") {
            Ok(Grace::Unlimited)
        } else {
            item.duration("0s", "30d", &hint).map(Grace::For)
        }
    })
}

fn within(rate: Rate, least: f64, most: f64, hint: &str) -> Result<Rate, Wrong> {
    if (least..=most).contains(&rate.per_second) {
        Ok(rate)
    } else {
        Err(Wrong::new("is out of bounds", hint))
    }
}

fn count(section: &mut Section<'_, '_>, key: &'static str) -> Option<u32> {
    section.optional(key, |item| {
        item.number(&(1..=10_000_000), "a whole number from 1 to 10000000")
    })
}

fn twice<T: PartialEq>(
    section: &Section<'_, '_>,
    key: &str,
    list: &[T],
    word: impl Fn(&T) -> &'static str,
) {
    for (place, one) in list.iter().enumerate() {
        if list[..place].contains(one) {
            section.complain(
                key,
                Wrong::new(format!("lists {:?} twice", word(one)), "once is enough"),
            );
        }
    }
}
