//! The benchmarks run, with tiny numbers. How fast anything is, is no question of a test.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const ROUNDS: usize = 2;

fn bench(arguments: &[&str]) -> Value {
    let program = Path::new(env!("CARGO_BIN_EXE_tidegate-load"));
    let proxy = program.with_file_name("tidegate");
    assert!(
        proxy.exists(),
        "the proxy is not built: run the tests of the whole workspace, or cargo build first"
    );
    let output = Command::new(program)
        .arg("bench")
        .args(arguments)
        .args(["--json", "--rounds", "2"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said, "", "progress is for terminals");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every subject has a sane figure for every round, and the spread is theirs.
fn check(report: &Value, subjects: &[&str], sane: std::ops::Range<f64>) {
    assert_eq!(report["errors"], 0, "{report:#}");
    let rows = report["rows"].as_array().unwrap();
    let named: Vec<_> = rows.iter().map(|row| &row["subject"]).collect();
    assert_eq!(named, subjects);
    for row in rows {
        let values = row["values"].as_array().unwrap();
        assert_eq!(values.len(), ROUNDS, "{row:#}");
        for value in values {
            assert!(sane.contains(&value.as_f64().unwrap()), "{row:#}");
        }
        let of = |name: &str| row["spread"][name].as_f64().unwrap();
        assert!(
            of("min") <= of("median") && of("median") <= of("max"),
            "{row:#}"
        );
    }
    assert!(
        report["aim"]["reached"].as_f64().unwrap() > 0.0,
        "{report:#}"
    );
}

#[test]
fn cpu_per_transaction_is_measured() {
    let report = bench(&["connect", "--transactions", "60", "--concurrency", "4"]);
    check(
        &report,
        &["relay", "proxy", "proxy_digest", "proxy_full"],
        1.0..1e6,
    );
    assert_eq!(report["rows"][0]["ratio"], Value::Null);
    assert!(report["rows"][1]["ratio"]["median"].as_f64().unwrap() > 0.1);
}

#[test]
fn names_of_several_addresses_are_measured_beside_names_of_one() {
    let report = bench(&["connect", "--addresses", "4", "--transactions", "60"]);
    let subjects = ["relay", "proxy_one_address", "proxy_addresses"];
    check(&report, &subjects, 1.0..1e6);
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.starts_with("4 addresses beside 1: "), "{note}");
}

#[test]
fn memory_per_idle_tunnel_is_measured() {
    let report = bench(&["idle", "--tunnels", "120"]);
    check(&report, &["relay", "proxy", "proxy_tls"], 0.0..1e6);
}

#[test]
fn a_proxy_that_is_not_there_is_said() {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-load"))
        .args(["bench", "idle", "--proxy", "/nonexistent/tidegate"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("no tidegate program at /nonexistent"),
        "{said}"
    );
}
