use super::*;

#[test]
fn the_built_in_storm_is_one() {
    let storm = Scenario::storm();
    assert_eq!(storm.logins.times, 20.0);
    assert_eq!(storm.pass.p99_times, 1.5);
    // Faster than the proxy can be, or limits would have nothing to do.
    assert!(storm.logins.share * storm.logins.times > 1.0);
}

#[test]
fn shares_become_rates() {
    let rates = Scenario::storm().rates(8000.0);
    let expected = Rates {
        capacity: 8000.0,
        normal: 500.0,
        storm: 10_000.0,
        calls: 240.0,
        limit: 1000,
        burst: 50,
    };
    assert_eq!(rates, expected);
}

#[test]
fn a_slow_machine_still_has_a_limit_that_lets_something_through() {
    let rates = Scenario::storm().rates(2.0);
    assert_eq!((rates.limit, rates.burst), (1, 1));
}

#[test]
fn what_makes_no_sense_is_said() {
    let check = |from: &str, to: &str, part: &str| {
        assert!(STORM.contains(from), "{from}");
        let error = Scenario::parse(&STORM.replacen(from, to, 1)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(part), "{from} as {to}: {said}");
    };
    check("length = \"3s\"", "length = \"12\"", "no duration");
    check("length = \"3s\"", "length = \"500ms\"", "length is from");
    check("rounds = 6", "rounds = 0", "rounds");
    check("workers = 1", "workers = 0", "workers");
    check("workers = 1", "worker = 1", "unknown field");
    check("share = 0.0625", "share = nan", "logins.share");
    check("share = 0.0625", "share = 1.5", "logins.share");
    check("times = 20", "times = 0.5", "logins.times");
    check("at_once = 1024", "at_once = 0", "logins.at_once");
    check("share = 0.03", "share = 0.0", "calls.share is above");
    check("share = 0.03", "share = 0.12", "calls would be limited");
    check("servers = 8", "servers = 0", "calls.servers");
    check("times = 2 ", "times = 0.9", "limit.times");
    check("burst = \"50ms\"", "burst = \"0s\"", "limit.burst");
    check(
        "max_wait = \"500ms\"",
        "max_wait = \"2m\"",
        "limit.max_wait",
    );
    check("p99_times = 1.5", "p99_times = nan", "pass.p99_times");
}

#[test]
fn all_complaints_come_at_once() {
    let text = STORM
        .replace("workers = 1", "workers = 0")
        .replace("servers = 8", "servers = 0");
    let said = Scenario::parse(&text).unwrap_err().to_string();
    assert!(
        said.contains("workers") && said.contains("servers"),
        "{said}"
    );
}

#[test]
fn durations_have_units() {
    let check = |text, expected: Option<u64>| {
        assert_eq!(
            duration(text),
            expected.map(Duration::from_millis),
            "{text}"
        );
    };
    check("250ms", Some(250));
    check("12s", Some(12_000));
    check("2m", Some(120_000));
    check("12", None);
    check("s", None);
    check("1.5s", None);
    check("", None);
}
