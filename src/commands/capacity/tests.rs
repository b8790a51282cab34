use super::*;
use crate::commands::check;
use crate::config::tests::Folder;

use clap::Parser;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    capacity: Capacity,
}

/// Exit code, standard output, standard error.
fn ask(options: &str) -> (u8, String, String) {
    let words = std::iter::once("capacity").chain(options.split_whitespace());
    match Line::try_parse_from(words) {
        Ok(line) => {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = line.capacity.run(&mut out, &mut err);
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (code, text(out), text(err))
        }
        Err(error) => (
            u8::try_from(error.exit_code()).unwrap(),
            String::new(),
            error.to_string(),
        ),
    }
}

fn object(options: &str) -> Value {
    let (code, text, err) = ask(&format!("{options} --json"));
    assert_eq!((code, err.as_str()), (0, ""), "{options}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn defaults_are_shown_as_what_they_are() {
    let (code, text, err) = ask("--devices 1.2");
    assert_eq!((code, err.as_str()), (0, ""));
    let line = |what: &str| text.lines().find(|line| line.contains(what)).unwrap();
    assert!(line("push devices").ends_with("1.2  --devices"));
    assert!(line("  users ").ends_with("10000  --users (default)"));
    assert!(line("users who move").ends_with("5000  --moving (default)"));
    assert!(!text.contains("warning"), "{text}");
    let object = object("--devices 1.2");
    assert_eq!(object["assumed"]["devices"]["default"], false);
    assert_eq!(object["assumed"]["relogin_upper"]["default"], true);
    assert_eq!(object["assumed"]["relogin_upper"]["value"], 2075);
}

#[test]
fn every_option_is_in_the_help_with_its_default() {
    let (_, _, help) = ask("--help");
    let help = help.split("Options:").nth(1).unwrap();
    let rows = Line::try_parse_from(["capacity"]).unwrap().capacity;
    let demand = rows.demand();
    for row in rows.rows(&demand) {
        let at = help.find(&format!("--{} ", row.name)).expect(row.name);
        let default = match row.name {
            "moving" => String::from("half of the users, 7500 at most"),
            _ => row.value.to_string().trim_end_matches(".0").to_owned(),
        };
        let next = help[at..].split("--").nth(1).unwrap();
        assert!(next.contains(&format!("[default: {default}]")), "{next}");
    }
}

#[test]
fn a_storm_above_four_a_second_is_warned_of_with_the_remedy() {
    let warnings =
        |options: &str| object(&format!("{options} --connections 100"))["warnings"].to_string();
    assert_eq!(warnings("--users 15000"), "[]", "7,500 / 1,875 is just 4");
    let said = warnings("--users 15000 --relogin-upper 950");
    assert!(
        said.contains("10.0 users a second") && said.contains("timer to 2075 s"),
        "{said}"
    );
    assert_eq!(
        warnings("--users 15000 --moving 7501 --relogin-upper 2076"),
        "[]"
    );
    assert!(warnings("--users 15000 --moving 7501").contains("timer to 2076 s"));
}

#[test]
fn pools_too_small_for_the_busiest_minute_are_warned_of() {
    let said = object("--nodes 1 --pools 1 --connections 1")["warnings"].to_string();
    assert!(said.contains("pushes wait at the servers"), "{said}");
}

#[test]
fn the_pools_to_the_token_host_carry_no_pushes() {
    let check = |options: &str, connections: u64, warns: bool| {
        let object = object(&format!("--users 15000 {options}"));
        assert_eq!(object["push_connections"], connections, "{options}");
        let said = object["warnings"].to_string();
        let words = format!(
            "are busy with pushes at a time, and the pools to Push REST have {connections}:"
        );
        assert_eq!(said.contains(&words), warns, "{options}: {said}");
    };
    // 113 are busy.
    check("", 80, true);
    check("--pools 7", 80, true);
    check("--pools 1", 80, true);
    check("--connections 28", 112, true);
    check("--connections 29", 116, false);
    assert_eq!(object("--users 15000")["tunnels"], 160);
}

#[test]
fn descriptors_beyond_what_the_kernel_allows_are_warned_of() {
    let said = |nodes: u64| {
        let object = object(&format!("--nodes {nodes} --pools 1 --connections 1000"));
        (
            object["file_descriptors"].as_u64().unwrap(),
            object["warnings"].to_string(),
        )
    };
    let (most, warnings) = said(200);
    assert_eq!((most, warnings.contains("fs.nr_open")), (1_048_576, false));
    let (more, warnings) = said(300);
    assert_eq!((more, warnings.contains("fs.nr_open")), (2_097_152, true));
    assert!(warnings.contains("among several proxies"), "{warnings}");
}

#[test]
fn the_suggested_limits_are_a_configuration() {
    for options in [
        "",
        "--users 1 --calls 0.001",
        "--users 1000000 --nodes 400 --clusters 7 --connections 100",
        "--users 20000000 --devices 1 --calls 10 --moving 1 --nodes 10000",
    ] {
        let folder = Folder::new();
        let limits = object(options)["limits_toml"].as_str().unwrap().to_owned();
        let (_, text, _) = ask(options);
        assert!(text.contains(&limits), "{text}");
        let file = folder.write("limits.toml", &limits);
        let mut out = Vec::new();
        let code = check::run(&file, &mut out);
        assert_eq!(code, 0, "{limits}\n{}", String::from_utf8_lossy(&out));
    }
}

#[test]
fn what_is_absurd_is_exit_code_2_and_a_sentence() {
    for (options, words) in [
        ("--users 0", "must be a whole number from 1 to 100000000"),
        ("--users -5", "must be a whole number from 1 to 100000000"),
        (
            "--users 99999999999999999999999",
            "must be a whole number from 1 to 100000000",
        ),
        ("--users many", "must be a whole number"),
        ("--nodes 2.5", "must be a whole number from 1 to 10000"),
        ("--devices 0", "must be a number from 0.01 to 100"),
        ("--devices -1.5", "must be a number from 0.01 to 100"),
        ("--calls 1e400", "must be a number from 0 to 10000"),
        ("--messages NaN", "must be a number from 0 to 100000"),
        ("--background 80", "must be a number from 0 to 1"),
        ("--peak 0.5", "must be a number from 1 to 60"),
        ("--calls 0 --messages 0", "there is nothing to push"),
        ("--relogin-upper 200", "must be above --relogin-lower"),
        ("--users 10 --moving 11", "must not be above --users (10)"),
        ("--clusters 5", "must not be above --nodes (4)"),
        (
            "--users 100000000 --calls 10000 --devices 100",
            "transactions a second",
        ),
        (
            "--nodes 10000 --pools 1000 --connections 100000",
            "share the nodes out",
        ),
    ] {
        let (code, out, err) = ask(options);
        assert_eq!((code, out.as_str()), (2, ""), "{options}: {err}");
        assert!(err.contains(words), "{options}: {err}");
    }
}
