//! What `deploy/prometheus` says of metrics is true: each one exists, with the labels that are asked for, and promtool
//! agrees with the rules and with their tests.
//!
//! Reads the files as text and the expressions word by word; knows as much of PromQL and YAML as they need.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::promtool::promtool;
use super::root;

type Words = BTreeSet<String>;
/// Each metric's labels.
type Metrics = BTreeMap<String, Words>;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn words<'a>(list: impl IntoIterator<Item = &'a str>) -> Words {
    list.into_iter().map(str::to_owned).collect()
}

/// What stands in double quotes, in order.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

/// The catalogue's metrics and the guide's families, as `/metrics` shows them, and Prometheus' own `up`.
fn metrics() -> Metrics {
    let catalogue = read("src/telemetry/catalogue.rs");
    let mut metrics = Metrics::new();
    for row in catalogue.split(": Row = Row {").skip(1) {
        let field = |name: &str| row.split_once(name).unwrap().1;
        let name = quoted(field("name:")).next().unwrap();
        let labels = field("labels: &[").split_once(']').unwrap().0;
        let labels = words(quoted(labels));
        let is_histogram = field("kind:").trim_start().starts_with("Kind::Histogram");
        if is_histogram {
            for suffix in ["_sum", "_count"] {
                metrics.insert(format!("{name}{suffix}"), labels.clone());
            }
            let mut labels = labels;
            labels.insert("le".into());
            metrics.insert(format!("{name}_bucket"), labels);
        } else {
            metrics.insert(name.into(), labels);
        }
    }
    assert!(metrics.len() > 20, "{metrics:?}");
    for line in read("config/guide/counters.toml").lines() {
        if let Some(family) = line.strip_prefix("prometheus = ") {
            let family = family.trim_matches('"');
            let mut labels = words(["origin"]);
            if family.starts_with("xcp_push_") {
                labels.insert("subscriber_service".into());
            }
            metrics.insert(family.into(), labels);
        }
    }
    metrics.insert("up".into(), Words::new());
    for labels in metrics.values_mut() {
        labels.extend(words(["job", "instance"]));
    }
    metrics
}

/// Words that values of a label may be, where the list of them is closed and stands in a file.
fn values() -> BTreeMap<&'static str, Words> {
    let refusals = read("tests/it/snapshots/refusals.txt");
    let reasons = refusals
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next());
    let guide = read("config/guide/alarms.toml");
    let guide = guide
        .lines()
        .filter_map(|line| line.strip_prefix("name = "));
    let mut alarms = words(guide.map(|name| name.trim_matches('"')));
    let own = read("src/telemetry/alarm.rs");
    alarms.extend(words(
        quoted(&own).filter(|word| word.starts_with("Tidegate") && !word.contains(' ')),
    ));
    assert!(alarms.len() > 15, "{alarms:?}");
    BTreeMap::from([("reason", words(reasons)), ("alarm", alarms)])
}

/// What an expression asks for.
#[derive(Debug, Default, PartialEq)]
struct Query {
    /// Each metric with its matchers: label and value.
    selectors: Vec<(String, Vec<(String, String)>)>,
    /// Labels of `by`, `on` and the like; `None` where there is no aggregation.
    groups: Option<Words>,
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Whether what comes behind a word makes it a function's name: `rate(…)`, `sum by (…) (…)`.
fn is_function(after: &str) -> bool {
    after.starts_with('(') || after.starts_with("by (") || after.starts_with("without (")
}

fn query(expression: &str) -> Query {
    const OPERATORS: [&str; 6] = ["and", "or", "unless", "offset", "bool", "inf"];
    const GROUPINGS: [&str; 6] = [
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
    ];
    let mut query = Query::default();
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        if c == '[' {
            rest = rest.split_once(']').unwrap().1;
        } else if c == '"' {
            rest = rest[1..].split_once('"').unwrap().1;
        } else if c.is_ascii_digit() {
            // Numbers and durations.
            rest = rest.trim_start_matches(|c| is_name(c) || c == '.');
        } else if is_name(c) {
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after.trim_start();
            if GROUPINGS.contains(&word) && rest.starts_with('(') {
                let (list, after) = rest[1..].split_once(')').unwrap();
                let labels = list.split(',').map(str::trim).filter(|l| !l.is_empty());
                query
                    .groups
                    .get_or_insert_default()
                    .extend(labels.map(str::to_owned));
                rest = after;
            } else if !OPERATORS.contains(&word) && !is_function(rest) {
                let mut matchers = Vec::new();
                if let Some(inside) = rest.strip_prefix('{') {
                    let (inside, after) = inside.split_once('}').unwrap();
                    rest = after;
                    for (at, value) in quoted(inside).enumerate() {
                        let before = inside.split('"').step_by(2).nth(at).unwrap();
                        let label = before.trim_matches(|c: char| !is_name(c));
                        matchers.push((label.to_owned(), value.to_owned()));
                    }
                }
                query.selectors.push((word.to_owned(), matchers));
            }
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    query
}

#[test]
fn an_expression_is_understood() {
    let matcher = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    let found = query(
        "sum by (job, le) (rate(a_total{x=~\"1|2\", y!=\"3\"}[5m])) / on (job) b:c > 0.5 and d offset 10m",
    );
    let names: Vec<_> = found
        .selectors
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["a_total", "b:c", "d"]);
    assert_eq!(
        found.selectors[0].1,
        [matcher("x", "1|2"), matcher("y", "3")]
    );
    assert_eq!(found.groups, Some(words(["job", "le"])));
}

/// One rule of the file.
#[derive(Debug)]
struct Rule {
    /// `alert` or `record`.
    kind: String,
    name: String,
    expression: String,
    /// All of its lines.
    text: String,
}

fn rules() -> Vec<Rule> {
    let file = read("deploy/prometheus/tidegate.rules.yml");
    let mut rules: Vec<Rule> = Vec::new();
    let mut in_expression = false;
    for line in file.lines() {
        let trimmed = line.trim_start();
        let begins = ["alert", "record"].iter().find_map(|kind| {
            let name = trimmed.strip_prefix(&format!("- {kind}: "))?;
            Some(((*kind).to_owned(), name.to_owned()))
        });
        if let Some((kind, name)) = begins {
            rules.push(Rule {
                kind,
                name,
                expression: String::new(),
                text: String::new(),
            });
            in_expression = false;
        }
        let Some(rule) = rules.last_mut() else {
            continue;
        };
        if let Some(first) = trimmed.strip_prefix("expr: ") {
            rule.expression = first.trim_start_matches(">-").to_owned();
            in_expression = true;
        } else if in_expression && line.starts_with("          ") {
            rule.expression.push(' ');
            rule.expression.push_str(trimmed);
        } else {
            in_expression = false;
        }
        if !trimmed.starts_with('#') {
            rule.text.push_str(line);
            rule.text.push('\n');
        }
    }
    assert!(rules.len() > 30, "{}", rules.len());
    rules
}

/// Whatever is wrong with an expression: metrics, labels and values that there are not.
fn faults(expression: &str, metrics: &Metrics, values: &BTreeMap<&str, Words>) -> Vec<String> {
    let query = query(expression);
    let mut faults = Vec::new();
    if query.selectors.is_empty() {
        faults.push(format!("no metric in {expression}"));
    }
    let mut known = Words::new();
    for (metric, matchers) in &query.selectors {
        let Some(labels) = metrics.get(metric) else {
            faults.push(format!("there is no metric {metric}"));
            continue;
        };
        known.extend(labels.iter().cloned());
        for (label, value) in matchers {
            if !labels.contains(label) {
                faults.push(format!("{metric} has no label {label}"));
            }
            let closed = values.get(label.as_str()).filter(|_| !value.contains('$'));
            for word in closed.iter().flat_map(|_| value.split('|')) {
                if !closed.unwrap().contains(word) {
                    faults.push(format!("there is no {label} {word}"));
                }
            }
        }
    }
    for label in query.groups.iter().flatten() {
        if !known.contains(label) {
            faults.push(format!("nothing in {expression} has the label {label}"));
        }
    }
    faults
}

/// The labels that the result of an expression has.
fn result_labels(expression: &str, metrics: &Metrics) -> Words {
    let query = query(expression);
    query.groups.unwrap_or_else(|| {
        let labels = query
            .selectors
            .iter()
            .filter_map(|(name, _)| metrics.get(name));
        labels.flatten().cloned().collect()
    })
}

/// What stands between the marks, wherever they are.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| Some(rest.split_once(close)?.0.trim()))
}

#[test]
fn alerts_ask_for_metrics_labels_and_words_that_there_are() {
    let (mut metrics, values) = (metrics(), values());
    let mut wrong = Vec::new();
    for rule in rules() {
        for fault in faults(&rule.expression, &metrics, &values) {
            wrong.push(format!("{}: {fault}", rule.name));
        }
        let labels = result_labels(&rule.expression, &metrics);
        for label in between(&rule.text, "{{ $labels.", "}}") {
            if !labels.contains(label) {
                wrong.push(format!("{}: its result has no label {label}", rule.name));
            }
        }
        // Metrics that the words speak of.
        let spoken = rule.text.split(|c| !is_name(c));
        let spoken = spoken.map(|word| word.trim_end_matches(':'));
        for word in spoken.filter(|word| word.starts_with("tidegate_")) {
            let is_known =
                metrics.contains_key(word) || metrics.contains_key(&format!("{word}_count"));
            if !is_known {
                wrong.push(format!("{}: there is no metric {word}", rule.name));
            }
        }
        if rule.kind == "record" {
            metrics.insert(rule.name, labels);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_alarm_is_heard_and_every_alert_is_tried() {
    let rules = rules();
    let tests = read("deploy/prometheus/tidegate.rules.test.yml");
    let alerts: Vec<_> = rules.iter().filter(|rule| rule.kind == "alert").collect();
    let mut heard: Words = alerts.iter().map(|rule| rule.name.clone()).collect();
    for rule in &alerts {
        for list in between(&rule.expression, "alarm=\"", "\"").chain(between(
            &rule.expression,
            "alarm=~\"",
            "\"",
        )) {
            heard.extend(list.split('|').map(str::to_owned));
        }
        assert!(
            tests.contains(&format!("labels: 'ALERTS{{alertname=\"{}\"", rule.name)),
            "tidegate.rules.test.yml never sees {} fire",
            rule.name
        );
        for key in ["severity: ", "summary: ", "description: "] {
            assert!(rule.text.contains(key), "{} has no {key}", rule.name);
        }
    }
    // The alert for all other alarms leaves out those that have one of their own, and no others.
    let rest = alerts.iter().find(|rule| rule.name == "TidegateAlarm");
    let left_out = between(&rest.unwrap().expression, "alarm!~\"", "\"").next();
    for alarm in left_out.unwrap().split('|') {
        assert!(heard.contains(alarm), "nobody hears of {alarm}");
    }
}

/// Every value of a key, wherever it stands.
fn strings<'a>(value: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                if let (true, Some(text)) = (name == key, value.as_str()) {
                    found.push(text);
                }
                strings(value, key, found);
            }
        }
        serde_json::Value::Array(array) => {
            for value in array {
                strings(value, key, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_labels_and_words_that_there_are() {
    let (metrics, values) = (metrics(), values());
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/prometheus/tidegate.dashboard.json")).unwrap();
    let mut wrong = Vec::new();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked += 1;
            let expression = target["expr"].as_str().unwrap();
            for fault in faults(expression, &metrics, &values) {
                wrong.push(format!("{title}: {fault}"));
            }
            let labels = result_labels(expression, &metrics);
            for label in between(target["legendFormat"].as_str().unwrap(), "{{", "}}") {
                if !labels.contains(label) {
                    wrong.push(format!("{title}: {expression} has no label {label}"));
                }
            }
        }
    }
    assert!(asked > 30, "{asked}");
    let mut variables = Vec::new();
    strings(&dashboard["templating"], "definition", &mut variables);
    for variable in variables {
        let inside = between(variable, "label_values(", ")").next().unwrap();
        let (expression, label) = inside.rsplit_once(", ").unwrap();
        wrong.extend(faults(expression, &metrics, &values));
        if !result_labels(expression, &metrics).contains(label) {
            wrong.push(format!("{variable}: no label {label}"));
        }
    }
    // Whoever imports it chooses where its data come from.
    let mut sources = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        strings(panel, "uid", &mut sources);
    }
    assert!(sources.iter().all(|uid| *uid == "${datasource}"));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn promtool_agrees(words: [&str; 3]) {
    let output = Command::new(promtool())
        .args(words)
        .current_dir(root().join("deploy/prometheus"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "promtool {}:\n{}{}",
        words.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn promtool_takes_the_rules() {
    promtool_agrees(["check", "rules", "tidegate.rules.yml"]);
}

#[test]
fn promtool_takes_the_example_configuration() {
    promtool_agrees(["check", "config", "prometheus.yml"]);
}

#[test]
fn each_alert_fires_when_it_should() {
    promtool_agrees(["test", "rules", "tidegate.rules.test.yml"]);
}
