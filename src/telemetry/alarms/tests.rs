//! Stories of alarms, at any time they like.

use super::*;
use crate::telemetry::guide::Severity;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DEAD: Alarm = Alarm::AllAddressesDead;
const GONE: Alarm = Alarm::PushNotificationInvalidDeviceTokenResponse;

fn seen(text: &str) -> Evidence {
    Evidence {
        exchange: Some(ExchangeId::new(1, 2, 3)),
        text: text.to_owned(),
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
