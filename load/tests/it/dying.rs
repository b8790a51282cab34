//! The failover scenario runs, with tiny numbers. How well the proxy does, is no question of a test.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_tidegate-load"));
    let proxy = program.with_file_name("tidegate");
    assert!(
        proxy.exists(),
        "the proxy is not built: run the tests of the whole workspace, or cargo build first"
    );
    Command::new(program)
        .args(["run", "--scenario", "failover", "--samples", "1"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn every_death_of_addresses_and_of_dns_is_played_and_the_verdict_is_the_exit_code() {
    let output = run(&["--only", "refuse,dns", "--outage", "1", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect(&said);
    let rows = report["rows"].as_array().unwrap();
    // Two lanes with nothing dead, a death of three numbers, five of DNS.
    assert_eq!(rows.len(), 2 + 3 + 5, "{report:#}");
    for row in rows {
        for figures in ["first", "following", "normal"] {
            let of = |name: &str| row[figures][name].as_f64().unwrap();
            assert!(of("exchanges") > 0.0, "{row:#}");
            assert_eq!(of("pushes"), of("exchanges") - of("failed"), "{row:#}");
            assert!(of("p50") <= of("p99") && of("p99") <= of("max"), "{row:#}");
        }
        assert_eq!(row["normal"]["failed"], 0, "{row:#}");
        assert_eq!(row["normal"]["lost"], 0, "{row:#}");
    }
    let missed = rows.iter().any(|row| row["missed"] != Value::Array(vec![]));
    assert_eq!(output.status.code(), Some(i32::from(missed)), "{report:#}");
}

#[test]
fn without_a_proxy_that_works_there_is_no_table() {
    let output = run(&["--only", "refuse", "--proxy", "/bin/false"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("before it was ready"), "{said}");
}

#[test]
fn a_trouble_that_nobody_knows_is_wrong_usage() {
    let output = run(&["--only", "flood"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("none of refuse, hang"), "{said}");
}
