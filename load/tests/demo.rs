//! The demo around a real proxy process: it loses nothing, and a cloud that swallows one push is found out.
#![allow(
    clippy::print_stdout,
    reason = "what the demo said belongs to a failure"
)]

use std::path::Path;
use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_tidegate-load"));
    let proxy = program.with_file_name("tidegate");
    assert!(
        proxy.exists(),
        "the proxy is not built: run the tests of the whole workspace, or cargo build first"
    );
    let output = Command::new(program)
        .arg("demo")
        .args(arguments)
        .output()
        .expect("the demo starts");
    println!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[test]
fn the_demo_loses_no_push() {
    let output = demo(&[]);
    assert_eq!(output.status.code(), Some(0));
    // The servers' own counters moved: in absolute form as the proxy's did, and in tunnels.
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for label in [
        "NumberOfPushReqSent of Cisco CallManager",
        "NumberOfPushSuccess of Cisco XCP Config Manager",
        "the guide's counters moved by pushes in tunnels",
    ] {
        let mut rests = said.lines().filter_map(|line| line.split_once(label));
        let rest = rests.next().map(|(_, rest)| rest.trim_start());
        let moved = rest.is_some_and(|rest| rest.starts_with(|c| ('1'..='9').contains(&c)));
        assert!(moved, "{label}: {rest:?}");
    }
}

#[test]
fn a_cloud_that_swallows_a_push_is_found_out() {
    let output = demo(&["--break"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lost = said
        .lines()
        .find(|line| line.trim_start().starts_with("lost"));
    assert!(
        lost.is_some_and(|line| line.trim_end().ends_with(" 1")),
        "{said}"
    );
}
