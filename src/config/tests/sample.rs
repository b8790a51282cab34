//! The sample is complete, says the defaults, and its examples work.

use std::collections::BTreeSet;

use super::*;
use crate::config::check::{EMBEDDED, read};
use crate::config::sheet::Sheet;
use crate::config::{Config, load, parse};

/// The sample with all its examples in use.
fn uncommented() -> String {
    EMBEDDED
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The sample with one run of example lines in use; one text for each run.
fn one_example_each() -> Vec<String> {
    let lines: Vec<&str> = EMBEDDED.lines().collect();
    let is_example = |place: usize| lines[place].starts_with("# ");
    let starts = (0..lines.len())
        .filter(|place| is_example(*place) && (*place == 0 || !is_example(place - 1)));
    starts
        .map(|start| {
            let end = (start..lines.len())
                .find(|place| !is_example(*place))
                .unwrap_or(lines.len());
            let text = lines.iter().enumerate().map(|(place, line)| {
                if (start..end).contains(&place) {
                    &line[2..]
                } else {
                    line
                }
            });
            text.collect::<Vec<_>>().join("\n")
        })
        .collect()
}

/// A folder with every file that the examples name.
fn furnished() -> Folder {
    let folder = Folder::new();
    let (chain, key) = certificate();
    for name in [
        "alarms-ca.pem",
        "clients.pem",
        "dns-ca.pem",
        "lab-ca.pem",
        "proxy.pem",
        "syslog-ca.pem",
    ] {
        folder.write(name, &chain);
    }
    folder.write("proxy.key", key);
    folder.write(
        "users.htdigest",
        format!("cucm1:tidegate:{}\n", "0".repeat(32)),
    );
    folder.write_private("parent.password", "sesame\n");
    folder.write_private("alarms.secret", "sesame\n");
    folder.write_private("upload.key", &"0f".repeat(32));
    folder
}

/// Everything but where it came from.
fn meaning(config: &Config) -> String {
    let Config {
        source,
        listeners,
        admin,
        authentication,
        clients,
        destinations,
        policy,
        dns,
        connect,
        tunnel,
        forward,
        intake,
        limits,
        log,
        drain,
        runtime,
        alarms,
        probe,
    } = config;
    format!(
        "{:#?}",
        (
            (
                &source.shown,
                listeners,
                admin,
                authentication,
                clients,
                destinations
            ),
            (policy, dns, connect, tunnel, forward, intake),
            (limits, log, drain, runtime, alarms, probe),
        )
    )
}

#[test]
fn the_sample_says_the_defaults() {
    let folder = Folder::new();
    let at = |text: &str| {
        meaning(&parse(text, &folder.path("t.toml")).unwrap_or_else(|all| panic!("{all}")))
    };
    assert_eq!(at(EMBEDDED), at(""));
    // Where no file is named, the sample itself serves.
    let here = meaning(&parse("", Path::new("t.toml")).unwrap());
    assert_eq!(meaning(&load(None).unwrap()), here);
}

#[test]
fn a_changed_default_would_be_noticed() {
    let folder = Folder::new();
    let at = |text: &str| meaning(&parse(text, &folder.path("t.toml")).unwrap());
    let changed = EMBEDDED.replace("queue_lines = 8192", "queue_lines = 8193");
    assert_ne!(at(&changed), at(""));
}

/// Keys that the sections ask for, and whether the text has them.
fn asked(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let folder = furnished();
    let (sheet, table) = Sheet::new(text, &folder.path("t.toml"));
    read(&sheet, sheet.root(table));
    let asked = sheet.asked.borrow();
    let keys = |there: bool| {
        asked
            .iter()
            .filter(|(_, found)| *found == there)
            .map(|(key, _)| key.clone())
            .collect::<BTreeSet<_>>()
    };
    let present = keys(true);
    let missing = keys(false).difference(&present).cloned().collect();
    (present, missing)
}

#[test]
fn no_key_is_missing_from_the_sample() {
    let (present, missing) = asked(&uncommented());
    assert_eq!(missing, BTreeSet::new());
    assert!(present.contains("listener.tls.http2") && present.contains("alarms.upload.key_file"));
    // This test can fail: without one line, its key is missed.
    let without = uncommented().replace("negative_ttl", "negativ_ttl");
    assert_eq!(
        asked(&without).1,
        BTreeSet::from([String::from("dns.negative_ttl")])
    );
}

#[test]
fn everything_that_is_not_built_yet_is_a_key() {
    let (present, _) = asked(&uncommented());
    for key in crate::config::unbuilt::UNBUILT {
        assert!(
            present.contains(*key),
            "{key} is in UNBUILT, and no section takes it"
        );
    }
}

#[test]
fn every_key_that_stands_has_its_default_and_a_reason_before_it() {
    for (place, line) in EMBEDDED.lines().enumerate() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if bare.is_empty() || bare.starts_with('#') || bare.starts_with('[') {
            continue;
        }
        let above = EMBEDDED.lines().nth(place - 1).unwrap();
        let plain_name = bare.starts_with("name = ")
            || bare.starts_with("address = ")
            || bare.starts_with("certificate");
        assert!(
            above.starts_with("## ") || bare.contains(" # ") || plain_name,
            "line {} says no reason: {line}",
            place + 1
        );
    }
}

#[test]
fn every_example_can_be_used() {
    let folder = furnished();
    let mut examples = one_example_each();
    assert!(examples.len() >= 8, "{}", examples.len());
    examples.push(uncommented());
    for text in examples {
        let Err(complaints) = parse(&text, &folder.path("t.toml")) else {
            continue;
        };
        for complaint in complaints.0 {
            assert_eq!(complaint.problem, "not available yet", "{complaint}");
        }
    }
}
