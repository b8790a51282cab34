use super::*;

const GONE: &str = "PushNotificationInvalidDeviceTokenResponse";
const UNAVAILABLE: &str = "PushNotificationServiceUnavailable";
const MINUTE: Duration = Duration::from_secs(60);

fn rule(alarm: &str) -> Option<Rule> {
    let quiet = if alarm == GONE { 10 } else { 60 } * MINUTE;
    [GONE, UNAVAILABLE].contains(&alarm).then_some(Rule {
        raised_when: "it is met",
        cleared_when: "it is over",
        quiet,
    })
}

fn row(alarms: &Alarms, name: &str, now: Moment) -> Value {
    let page = alarms.page(now);
    let mut rows = page["alarms"].as_array().unwrap().iter();
    rows.find(|row| row["alarm"] == name).unwrap().clone()
}

#[test]
fn all_exist_and_say_who_raises_them_and_when() {
    let now = Moment::now();
    let page = Alarms::new(rule).page(now);
    let rows = page["alarms"].as_array().unwrap();
    assert_eq!(rows.len(), 13);
    for row in rows {
        assert_eq!(row["state"], "never raised", "{row}");
        assert_eq!(row["origin"], Value::Null, "{row}");
        let by = row["raised_by"].as_array().unwrap();
        assert!(by.contains(&json!("simulator")), "{row}");
        let said = row["raised_when"].as_str().unwrap();
        let is_simulated = rule(row["alarm"].as_str().unwrap()).is_some();
        assert_eq!(said == "it is met", is_simulated, "{row}");
    }
}

#[test]
fn one_server_raises_and_clears_what_another_still_has() {
    let now = Moment::now();
    let alarms = Alarms::new(rule);
    alarms.raise(UNAVAILABLE, "a", "no way", now);
    alarms.raise(UNAVAILABLE, "a", "still\nno way", now + MINUTE);
    alarms.raise(UNAVAILABLE, "b", "no way", now + MINUTE);
    alarms.clear(UNAVAILABLE, "a", "answered", now + 2 * MINUTE);
    let seen = row(&alarms, UNAVAILABLE, now + 2 * MINUTE);
    assert_eq!(seen["state"], "active");
    assert_eq!(
        (&seen["raised"], &seen["occurrences"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(seen["evidence"]["subject"], "b");
    assert_eq!(seen["origin"], "simulated");
    assert_eq!(seen["since"], json!(now + MINUTE));
    assert_eq!(seen["subjects"][1]["cleared"], "answered");
    assert_eq!(seen["subjects"][1]["evidence"]["text"], "still no way");
    assert_eq!(alarms.page(now)["alarms"][0]["alarm"], UNAVAILABLE);

    alarms.clear(UNAVAILABLE, "b", "answered", now + 3 * MINUTE);
    let seen = row(&alarms, UNAVAILABLE, now + 3 * MINUTE);
    assert_eq!(
        (&seen["state"], &seen["raised"]),
        (&json!("cleared"), &json!(2))
    );
    alarms.raise(UNAVAILABLE, "b", "no way", now + 4 * MINUTE);
    let seen = row(&alarms, UNAVAILABLE, now + 4 * MINUTE);
    assert_eq!(
        (&seen["state"], &seen["raised"]),
        (&json!("active"), &json!(3))
    );
}

#[test]
fn what_nobody_can_clear_clears_when_it_was_quiet() {
    let now = Moment::now();
    let alarms = Alarms::new(rule);
    alarms.raise(GONE, "a", "410", now);
    alarms.raise(UNAVAILABLE, "a", "no way", now);
    let later = now + Duration::from_secs(599);
    assert_eq!(row(&alarms, GONE, later)["state"], "active");
    let later = now + 11 * MINUTE;
    let seen = row(&alarms, GONE, later);
    assert_eq!(seen["state"], "cleared");
    assert_eq!(seen["since"], json!(now + 10 * MINUTE));
    assert_eq!(row(&alarms, UNAVAILABLE, later)["state"], "active");
}

#[test]
fn what_many_servers_meet_is_bounded() {
    let now = Moment::now();
    let alarms = Alarms::new(rule);
    for n in 0..SUBJECTS_MAX + 10 {
        let text = "x".repeat(2 * TEXT_BYTES);
        alarms.raise(UNAVAILABLE, &format!("server-{n}"), &text, now);
    }
    let seen = row(&alarms, UNAVAILABLE, now);
    let subjects = seen["subjects"].as_array().unwrap();
    assert_eq!(subjects.len(), SUBJECTS_MAX + 1);
    let others = subjects
        .iter()
        .find(|one| one["subject"] == OTHERS)
        .unwrap();
    assert_eq!(others["occurrences"], 10);
    assert!(seen["evidence"]["text"].as_str().unwrap().len() < 2 * TEXT_BYTES);
}
