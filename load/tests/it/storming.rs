//! A scenario runs, with tiny numbers. Who is hurt by how much, is no question of a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// One round of a second.
const TINY: &str = r#"
rounds = 1
length = "1s"
calibration = "500ms"
workers = 1

[logins]
share = 0.0625
times = 20
at_once = 8
rests = false

[calls]
share = 0.05
servers = 2

[limit]
times = 2
burst = "50ms"
max_wait = "500ms"

[pass]
p99_times = 1.5
calls = 1
"#;

/// A scenario's file, gone with its owner.
struct Scenario(PathBuf);

impl Scenario {
    fn new(name: &str, text: &str) -> Self {
        let file = format!("tidegate-load-{}-{name}.toml", std::process::id());
        let file = std::env::temp_dir().join(file);
        fs::write(&file, text).unwrap();
        Self(file)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_tidegate-load"));
        let proxy = program.with_file_name("tidegate");
        assert!(
            proxy.exists(),
            "the proxy is not built: run the tests of the whole workspace, or cargo build first"
        );
        Command::new(program)
            .args(["run", "--scenario", self.0.to_str().unwrap()])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What one proxy came to: calls and logins got through, and the exit code is the verdict's.
fn check(side: &Value) {
    for phase in ["quiet", "calls", "storm"] {
        let figures = &side[phase];
        let count = |name: &str| figures[name].as_u64().unwrap();
        assert!(count("ok") > 0, "{phase}: {side:#}");
        assert!(count("begun") <= count("due"), "{phase}: {side:#}");
        let of = |name: &str| figures["setup"][name].as_f64().unwrap();
        assert!(
            0.0 < of("p50") && of("p50") <= of("p99") && of("p99") <= of("max"),
            "{phase}: {side:#}"
        );
    }
    assert_eq!(side["quiet"]["ok"], side["quiet"]["due"], "{side:#}");
    assert!(side["busy"][1].as_f64().unwrap() > 0.0, "{side:#}");
}

#[test]
fn a_storm_without_limits_is_measured() {
    let scenario = Scenario::new("without", TINY);
    let output = scenario.run(&["--without-limits", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["rates"]["capacity"].as_f64().unwrap() > 1.0);
    assert_eq!(report["with"], Value::Null);
    let side = &report["without"];
    check(side);
    assert!(!side["config"].as_str().unwrap().contains("[[limit]]"));
    let passed = i32::from(side["verdict"] != "unharmed");
    assert_eq!(output.status.code(), Some(passed), "{side:#}");
}

#[test]
fn a_scenario_that_makes_no_sense_is_wrong_usage() {
    let text = TINY.replace("at_once = 8", "at_once = 0");
    let output = Scenario::new("senseless", &text).run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("logins.at_once"), "{said}");
}
