//! Stories of alarms, at any time they like.

use super::*;
use std::time::Duration;

use crate::telemetry::guide::Severity;
use crate::telemetry::subjects::{ADDRESSES_MAX, FLAPS, OTHERS_MAX, OTHERS_QUIET, SUBJECTS_MAX};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DEAD: Alarm = Alarm::AllAddressesDead;
const GONE: Alarm = Alarm::PushNotificationInvalidDeviceTokenResponse;

fn seen(text: &str) -> Evidence {
    Evidence {
        exchange: Some(ExchangeId::new(1, 2, 3)),
        text: text.to_owned(),
        remedy: None,
    }
}

fn raise(board: &AlarmBoard, alarm: Alarm, subject: &str, now: Moment) {
    board.raise(alarm, subject, Origin::Derived, seen("refused"), now);
}

fn state(board: &AlarmBoard, alarm: Alarm) -> AlarmState {
    let all = board.snapshot().into_iter();
    all.filter(|one| one.alarm == alarm).last().unwrap()
}

/// The changes so far, as words.
fn told(board: &AlarmBoard) -> Vec<String> {
    let (changes, _) = board.changes_since(0);
    let words = |one: &Change| {
        let (subject, text) = (&one.subject, &one.evidence.text);
        format!(
            "{} {subject} {}: {text}",
            one.alarm.name(),
            one.state.token()
        )
    };
    changes.iter().map(words).collect()
}

#[test]
fn a_state_holds_until_something_shows_that_it_is_over() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    raise(&board, DEAD, "cisco", start);
    raise(&board, DEAD, "cisco", start + SECOND);
    board.tick(start + 600 * MINUTE);
    let active = state(&board, DEAD);
    assert_eq!(active.state, State::Active);
    assert_eq!((active.raised_total(), active.occurrences), (1, 2));
    assert_eq!(active.since(), Some(start));
    assert_eq!(board.active(), 1);
    assert_eq!(active.latest().unwrap().last_seen, start + SECOND);
    board.clear(DEAD, "apns", "another's", start + MINUTE);
    board.clear(DEAD, "cisco", "10.0.0.1:443 answers", start + MINUTE);
    board.clear(DEAD, "cisco", "again", start + MINUTE);
    let cleared = state(&board, DEAD);
    assert_eq!(cleared.state, State::Cleared);
    assert_eq!(board.active(), 0);
    assert_eq!(cleared.since(), Some(start + MINUTE));
    assert_eq!(cleared.latest().unwrap().evidence, seen("refused"));
    assert_eq!(
        told(&board),
        [
            "TidegateAllAddressesDead cisco active: refused",
            "TidegateAllAddressesDead cisco cleared: 10.0.0.1:443 answers"
        ]
    );
}

#[test]
fn an_occurrence_clears_after_a_quiet_time() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    raise(&board, GONE, "cucm", start);
    raise(&board, GONE, "cucm", start + 9 * MINUTE);
    board.tick(start + 18 * MINUTE);
    assert_eq!(state(&board, GONE).state, State::Active);
    board.tick(start + 19 * MINUTE);
    assert_eq!(state(&board, GONE).state, State::Cleared);
    let last = told(&board).pop().unwrap();
    assert!(last.ends_with("not seen again for 10 min"), "{last}");
}

#[test]
fn what_flaps_is_raised_at_once_and_clears_later_each_time() {
    let (board, mut now) = (AlarmBoard::default(), Moment::now());
    let clears_after = |board: &AlarmBoard, now: &mut Moment| {
        raise(board, DEAD, "cisco", *now);
        board.clear(DEAD, "cisco", "answers", *now + SECOND);
        *now = *now + SECOND;
        let began = *now;
        while state(board, DEAD).state == State::Active {
            *now = *now + SECOND;
            board.tick(*now);
        }
        now.since(began).as_secs()
    };
    let waits: Vec<_> = (0..8).map(|_| clears_after(&board, &mut now)).collect();
    assert_eq!(waits, [0, 30, 60, 120, 240, 480, 600, 600]);
    now = now + FLAPS;
    assert_eq!(clears_after(&board, &mut now), 0, "it was calm for long");
}

#[test]
fn what_comes_back_while_it_settles_has_not_changed() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    raise(&board, DEAD, "cisco", start);
    board.clear(DEAD, "cisco", "answers", start);
    raise(&board, DEAD, "cisco", start + SECOND);
    board.clear(DEAD, "cisco", "answers", start + 2 * SECOND);
    raise(&board, DEAD, "cisco", start + 20 * SECOND);
    board.tick(start + 40 * MINUTE);
    assert_eq!(state(&board, DEAD).state, State::Active);
    assert_eq!(told(&board).len(), 3);
}

#[test]
fn subjects_are_bounded_and_the_last_places_are_shared() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    for number in 0..SUBJECTS_MAX + 10 {
        raise(&board, DEAD, &format!("d{number}"), start);
    }
    let full = state(&board, DEAD);
    assert_eq!(full.subjects.len(), SUBJECTS_MAX + 1);
    let others = full.subjects.iter().find(|one| *one.name == *OTHERS);
    assert_eq!(others.unwrap().occurrences, 10);
    // A place that has become free goes to the next, and others clear when they are quiet.
    board.clear(DEAD, "d7", "answers", start + SECOND);
    raise(&board, DEAD, "new", start + SECOND);
    board.tick(start + OTHERS_QUIET);
    let now = state(&board, DEAD);
    let of = |name: &str| now.subjects.iter().find(|one| *one.name == *name);
    assert_eq!(of("new").unwrap().state, State::Active);
    assert!(of("d7").is_none());
    assert_eq!(of(OTHERS).unwrap().state, State::Cleared);
}

#[test]
fn the_last_of_the_others_clears_them() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    let all: Vec<_> = (0..SUBJECTS_MAX + 3).map(|n| format!("d{n}")).collect();
    for name in &all {
        raise(&board, DEAD, name, start);
    }
    let others = || {
        let all = state(&board, DEAD).subjects;
        all.iter().find(|one| *one.name == *OTHERS).unwrap().state
    };
    assert_eq!(board.active_subjects(DEAD).len(), all.len());
    board.clear(DEAD, "d64", "answers", start + SECOND);
    board.clear(DEAD, "d64", "answers", start + SECOND);
    board.clear(DEAD, "d65", "answers", start + SECOND);
    assert_eq!(others(), State::Active);
    board.clear(DEAD, "d66", "answers", start + SECOND);
    assert_eq!(others(), State::Cleared);
    // A reload keeps those who are still configured, with a place of their own or without.
    raise(&board, DEAD, "d65", start + FLAPS * 2);
    board.clear_others(DEAD, |name| name == "d65", "gone", start + FLAPS * 2);
    assert_eq!(board.active_subjects(DEAD), ["d65".into()]);
}

#[test]
fn one_of_the_others_that_gets_a_place_is_none_of_them_any_more() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    for number in 0..=SUBJECTS_MAX {
        raise(&board, DEAD, &format!("d{number}"), start);
    }
    board.clear(DEAD, "d0", "answers", start + SECOND);
    raise(&board, DEAD, "d64", start + SECOND);
    board.tick(start + 2 * SECOND);
    let last = told(&board).pop().unwrap();
    assert!(last.contains("(others) cleared"), "{last}");
    assert_eq!(board.active_subjects(DEAD).len(), SUBJECTS_MAX);
}

#[test]
fn more_others_than_are_remembered_clear_when_they_are_quiet() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    let all: Vec<_> = (0..SUBJECTS_MAX + OTHERS_MAX + 1)
        .map(|n| format!("d{n}"))
        .collect();
    for name in &all {
        raise(&board, DEAD, name, start);
    }
    for name in &all {
        board.clear(DEAD, name, "answers", start + SECOND);
    }
    board.tick(start + (OTHERS_QUIET - SECOND));
    let found = state(&board, DEAD);
    assert_eq!(*found.latest().unwrap().name, *OTHERS);
    assert_eq!(found.state, State::Active);
    board.tick(start + OTHERS_QUIET);
    assert_eq!(state(&board, DEAD).state, State::Cleared);
}

#[test]
fn whoever_comes_from_many_addresses_takes_no_place_from_those_with_a_name() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    for number in 0..200 {
        raise(&board, DEAD, &format!("127.0.0.{number}"), start);
    }
    for number in 0..ADDRESSES_MAX {
        raise(&board, DEAD, &format!("cucm{number}"), start + SECOND);
    }
    let names: Vec<_> = state(&board, DEAD)
        .subjects
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    let own = names.iter().filter(|name| name.starts_with("cucm")).count();
    assert_eq!((own, names.len()), (ADDRESSES_MAX, SUBJECTS_MAX + 1));
}

#[test]
fn a_cause_is_not_forgotten_when_later_no_answer_comes() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    let raise = |text: &str, remedy| {
        let evidence = Evidence {
            remedy,
            ..seen(text)
        };
        board.raise(DEAD, "ups", Origin::Observed, evidence, start);
    };
    let shown = || {
        let found = state(&board, DEAD);
        let one = found.latest().unwrap();
        let action = one.action(&found.definition);
        let is_extended = action.ends_with(" Look at the way.");
        assert_eq!(is_extended, one.evidence.remedy.is_some(), "{action}");
        one.evidence.text.clone()
    };
    let way = Some("Look at the way.");
    raise("no connection", way);
    assert_eq!(shown(), "no connection");
    raise("answered 400", None);
    assert_eq!(shown(), "answered 400");
    raise("no connection", way);
    raise("no answer", way);
    assert_eq!(shown(), "answered 400; later: no answer");
    board.clear(DEAD, "ups", "works", start);
    raise("no answer", way);
    assert_eq!(shown(), "no answer");
}

#[test]
fn texts_are_cut_and_steer_no_terminal() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    let long = format!("a\nb\u{1b}[2J{}", "ü".repeat(TEXT_BYTES));
    board.raise(DEAD, "cisco", Origin::Observed, seen(&long), start);
    let text = &state(&board, DEAD).subjects[0].evidence.text;
    assert!(
        text.starts_with("a b [2Jü") && text.ends_with("ü…"),
        "{text}"
    );
    assert!(text.len() <= TEXT_BYTES + "…".len());
}

#[test]
fn the_active_come_first_the_worst_before_the_others() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    raise(&board, Alarm::AddressesChanged, "cisco", start);
    raise(&board, GONE, "cucm", start);
    raise(&board, DEAD, "cisco", start);
    board.tick(start + 11 * MINUTE);
    let all = board.snapshot();
    let first: Vec<_> = all.iter().take(4).map(|one| one.alarm).collect();
    let never = Alarm::PushNotificationServiceUnavailable;
    assert_eq!(first, [DEAD, Alarm::AddressesChanged, GONE, never]);
    assert_eq!(all.len(), Alarm::ALL.len());
    assert_eq!(all[0].definition.severity, Severity::Alert);
}

#[test]
fn whoever_was_away_reads_what_has_changed_since() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    let mut watch = board.watch();
    raise(&board, DEAD, "cisco", start);
    assert!(watch.has_changed().unwrap());
    let (changes, seq) = board.changes_since(0);
    assert_eq!((changes.len(), seq, *watch.borrow_and_update()), (1, 1, 1));
    raise(&board, DEAD, "cisco", start);
    assert!(!watch.has_changed().unwrap(), "nothing has changed");
    for number in 0..=CHANGES_MAX {
        let subject = if number % 2 == 0 { "cisco" } else { "apns" };
        board.clear(GONE, subject, "", start);
        raise(&board, GONE, &number.to_string(), start);
        board.clear(GONE, &number.to_string(), "", start);
    }
    let (changes, last) = board.changes_since(seq);
    assert_eq!(changes.len(), CHANGES_MAX);
    assert!(changes[0].seq > seq + 1, "it shows that some are lost");
    assert_eq!(changes.last().unwrap().seq, last);
}

#[test]
fn a_silence_holds_back_deliveries_and_ends_by_itself() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    let mut watch = board.watch();
    board.silence(Some(start + MINUTE));
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    assert_eq!(board.silenced(start + 59 * SECOND), Some(start + MINUTE));
    raise(&board, DEAD, "cisco", start);
    assert_eq!(state(&board, DEAD).state, State::Active);
    assert_eq!(board.silenced(start + MINUTE), None);
    board.silence(None);
    assert_eq!(board.silenced(start), None);
    assert!(watch.has_changed().unwrap());
}

#[test]
fn subjects_that_are_gone_are_cleared() {
    let (board, start) = (AlarmBoard::default(), Moment::now());
    raise(&board, DEAD, "old", start);
    raise(&board, DEAD, "kept", start);
    board.clear_others(
        DEAD,
        |name| name == "kept",
        "not configured any more",
        start,
    );
    let active = board.active_subjects(DEAD);
    assert_eq!(active, ["kept".into()]);
}
