//! The tree keeps its own rules: rooms import only from lower floors, absences stay absent, the README tells the truth.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test fails by panicking, and plays every part of the world"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/prometheus.rs"]
mod prometheus;
#[path = "tidy/promtool.rs"]
mod promtool;

/// Each floor's rooms, the lowest first. A room may import from lower floors only.
const PROXY: &[&[&str]] = &[
    &["exchange", "sys"],
    &["config"],
    &["policy", "telemetry", "lifecycle", "push"],
    &["gate", "dial", "relay"],
    &["serve", "probe", "deliver"],
    &["listen", "admin", "commands"],
    &["app"],
];
const LOAD: &[&[&str]] = &[
    &["scenario", "measure", "control"],
    &["cloud", "names", "onprem", "relay", "child"],
    &["drive", "display"],
    &["demo", "bench", "run", "failover", "turns"],
    &["arguments"],
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, with its path from there and its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in
            fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().to_path_buf(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no sources in {}", folder.display());
    found
}

/// The code before a file's tests, which may look anywhere; comment lines left out.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

fn room(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn floor(floors: &[&[&str]], room: &str) -> Option<usize> {
    floors.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that a piece of code names as `crate::room`, also within `use crate::{a, b::c}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut first = true;
            for (place, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => first = true,
                    c if first && c.is_alphabetic() => {
                        rooms.insert(word(&group[place..]));
                        first = false;
                    }
                    _ => {}
                }
            }
        } else {
            rooms.insert(word(rest));
        }
    }
    rooms
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn climbs(folder: &str, floors: &[&[&str]]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in sources(&root().join(folder)) {
        let own = room(&path);
        if own == "main" || own == "lib" || is_test(&path) {
            continue;
        }
        let Some(own_floor) = floor(floors, &own) else {
            wrong.push(format!(
                "{folder}/{}: the room {own} stands on no floor",
                path.display()
            ));
            continue;
        };
        for import in imports(&code(&text)) {
            match floor(floors, &import) {
                Some(_) if import == own => {}
                Some(other) if other < own_floor => {}
                Some(other) => wrong.push(format!(
                    "{folder}/{}: {own} (floor {own_floor}) imports {import} (floor {other})",
                    path.display()
                )),
                None => {}
            }
        }
    }
    wrong
}

#[test]
fn rooms_import_only_from_lower_floors() {
    let mut wrong = climbs("src", PROXY);
    wrong.extend(climbs("load/src", LOAD));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_stairs_are_seen() {
    let group: Vec<_> = imports("use crate::{admin, config::{self, Config}, relay};")
        .into_iter()
        .collect();
    assert_eq!(group, ["admin", "config", "relay"]);
    assert_eq!(
        imports("crate::serve::reply::refuse()")
            .into_iter()
            .collect::<Vec<_>>(),
        ["serve"]
    );
}

/// What must not stand in the proxy's code, and where it may all the same.
const ABSENT: &[(&str, &[&str])] = &[
    (
        "StatusCode",
        &["serve/reply.rs", "serve/forwarded.rs", "admin/"],
    ),
    ("process::exit", &["main.rs"]),
    ("static mut", &[]),
    ("OnceLock", &[]),
    ("LazyLock", &[]),
    ("metrics::", &["telemetry/"]),
    ("TcpSocket", &["dial/connect.rs"]),
    ("set_tcp_user_timeout", &[]),
    ("unsafe ", &["sys.rs"]),
];

#[test]
fn what_is_absent_stays_absent() {
    let mut wrong = Vec::new();
    for (path, text) in sources(&root().join("src")) {
        if is_test(&path) {
            continue;
        }
        let (code, path) = (code(&text), path.display().to_string());
        for (word, allowed) in ABSENT {
            if code.contains(word) && !allowed.iter().any(|place| path.starts_with(place)) {
                wrong.push(format!("src/{path}: {word}"));
            }
        }
        let room = room(Path::new(&path));
        if ["exchange", "policy"].contains(&room.as_str()) && code.contains("async ") {
            wrong.push(format!("src/{path}: async in a room without"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_load_package_shares_no_code_with_what_it_judges() {
    let manifest = fs::read_to_string(root().join("load/Cargo.toml")).unwrap();
    assert!(
        !manifest
            .lines()
            .any(|line| line.trim_start().starts_with("tidegate ")
                || line.trim_start().starts_with("tidegate=")),
        "{manifest}"
    );
    for (path, text) in sources(&root().join("load/src")) {
        assert!(!text.contains("tidegate::"), "load/src/{}", path.display());
    }
}

#[test]
fn the_readme_has_the_table_of_refusals_and_every_metric() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let refusals = fs::read_to_string(root().join("tests/it/snapshots/refusals.txt")).unwrap();
    for line in refusals.lines() {
        assert!(readme.contains(line.trim_end()), "the README lacks: {line}");
    }
    let catalogue = fs::read_to_string(root().join("src/telemetry/catalogue.rs")).unwrap();
    let metrics: BTreeSet<_> = catalogue
        .split('"')
        .filter(|word| word.starts_with("tidegate_"))
        .collect();
    assert!(metrics.len() > 10, "{metrics:?}");
    for metric in metrics {
        assert!(readme.contains(metric), "the README lacks {metric}");
    }
}

/// Sizes are a feeling for where home is: printed (`cargo test -- --nocapture`), never failed on.
#[test]
fn sizes() {
    let mut sizes: Vec<_> = sources(&root().join("src"))
        .into_iter()
        .map(|(path, text)| (text.lines().count(), path))
        .collect();
    sizes.sort_by(|a, b| b.cmp(a));
    for (lines, path) in sizes.iter().take(10) {
        println!("{lines:5} src/{}", path.display());
    }
}
