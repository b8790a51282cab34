use super::Accused::{Already, Demoted, NoOther};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn name() -> DestinationName {
    DestinationName::new("push")
}

fn peer(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 443))
}

fn book() -> Arc<HealthBook> {
    let book = HealthBook::new(&config::Connect {
        budget: ms(1_500),
        attempt_delay: ms(250),
        families: config::Families::Both,
        quarantine: 30 * SECOND,
        quarantine_max: 600 * SECOND,
        peers: 64,
    });
    book.configure(&[name()]);
    Arc::new(book)
}

impl HealthBook {
    fn learn(&self, last: u8, outcome: Outcome, took: u64, now: Instant) {
        self.note(&name(), peer(last), outcome, ms(took), now);
    }

    fn standing(&self, last: u8, now: Instant) -> Standing {
        self.standings(&name(), [peer(last)].into_iter(), false, now)
            .each[0]
    }

    fn may_try(self: &Arc<Self>, last: u8, now: Instant) -> Option<Claim> {
        self.claim(&name(), peer(last), now)
    }

    fn shown(&self, last: u8, now: Instant) -> (u32, Option<Duration>) {
        let all = self.view(now).remove(0);
        let mut peers = all.peers.into_iter();
        let one = peers.find(|one| one.peer == peer(last)).unwrap();
        (one.failures, one.quarantine)
    }

    fn is_dead(&self, now: Instant) -> bool {
        self.view(now)[0].dead
    }
}

use Outcome::{Connected, Failed, Overtaken};
use Standing::{Healthy, Quarantined, Unknown};

#[test]
fn the_time_to_connect_is_smoothed_and_begins_anew_after_a_death() {
    let (book, now) = (book(), Instant::now());
    assert_eq!(book.standing(1, now), Unknown);
    book.learn(1, Connected, 40, now);
    book.learn(1, Connected, 80, now);
    assert_eq!(book.standing(1, now), Healthy(ms(50)));
    book.learn(1, Failed, 1, now);
    book.learn(1, Connected, 10, now);
    assert_eq!(book.standing(1, now), Healthy(ms(10)));
}

#[test]
fn a_quarantine_doubles_with_every_failure_after_it_to_the_most() {
    let (book, mut now) = (book(), Instant::now());
    for (failures, seconds) in [30, 60, 120, 240, 480, 600, 600].into_iter().enumerate() {
        book.learn(1, Failed, 1, now);
        let failures = u32::try_from(failures).unwrap() + 1;
        assert_eq!(book.shown(1, now), (failures, Some(seconds * SECOND)));
        now += seconds * SECOND;
    }
    book.learn(1, Connected, 1, now);
    assert_eq!(book.shown(1, now), (0, None));
    book.learn(1, Failed, 1, now);
    assert_eq!(book.shown(1, now), (1, Some(30 * SECOND)));
}

#[test]
fn a_hundred_exchanges_that_meet_the_same_death_count_once() {
    let (book, now) = (book(), Instant::now());
    for n in 0..100 {
        book.learn(1, Failed, 1, now + ms(n));
    }
    assert_eq!(book.shown(1, now), (1, Some(30 * SECOND)));
}

#[test]
fn after_its_quarantine_it_is_still_bad_and_one_trial_at_a_time_may_end_that() {
    let (book, now) = (book(), Instant::now());
    book.learn(1, Failed, 1, now);
    assert!(book.may_try(1, now + 29 * SECOND).is_none());
    let later = now + 30 * SECOND;
    assert_eq!(book.standing(1, later), Quarantined);
    let claim = book.may_try(1, later).expect("it is due");
    assert!(book.may_try(1, later).is_none(), "one at a time");
    claim.note(Connected, ms(5), later);
    drop(claim);
    assert_eq!(book.standing(1, later), Healthy(ms(5)));
    assert!(book.may_try(1, later).is_none(), "nothing to learn");
}

#[test]
fn a_trial_that_is_dropped_leaves_the_next_its_chance() {
    let (book, now) = (book(), Instant::now());
    // One that taught nothing, since the fault was ours, is not made again at once and for ever.
    drop(book.may_try(1, now).expect("unknown is due"));
    assert!(book.may_try(1, now + 29 * SECOND).is_none());
    for round in 1..=2 * TRIALS_MAX as u32 {
        let due = book.may_try(1, now + round * 30 * SECOND);
        drop(due.expect("its place was free"));
    }
    let now = now + 10_000 * SECOND;
    let most: Vec<_> = (0..=255)
        .map_while(|last| book.may_try(last, now))
        .collect();
    assert_eq!(most.len(), TRIALS_MAX);
}

#[test]
fn being_overtaken_puts_last_until_a_trial_knows_more() {
    let (book, now) = (book(), Instant::now());
    book.learn(1, Connected, 5, now);
    book.learn(1, Overtaken, 260, now);
    assert_eq!(book.standing(1, now), Quarantined);
    assert_eq!(
        book.shown(1, now),
        (0, Some(Duration::ZERO)),
        "nothing counted"
    );
    let claim = book.may_try(1, now).expect("due at once");
    claim.note(Connected, ms(300), now + ms(300));
    drop(claim);
    assert_eq!(book.standing(1, now), Healthy(ms(300)), "only slow");
    book.learn(1, Overtaken, 260, now);
    let claim = book.may_try(1, now).expect("due at once");
    claim.note(Failed, ms(1_500), now);
    assert_eq!(book.shown(1, now), (1, Some(30 * SECOND)), "it hangs");
}

#[test]
fn a_slow_measurement_is_made_again_after_the_longest_quarantine() {
    let (book, now) = (book(), Instant::now());
    book.learn(1, Connected, 300, now);
    assert!(book.may_try(1, now + 599 * SECOND).is_none());
    assert!(book.may_try(1, now + 600 * SECOND).is_some());
}

#[test]
fn a_suspect_is_quarantined_although_it_connects() {
    let (book, now) = (book(), Instant::now());
    book.learn(1, Connected, 5, now);
    book.learn(2, Connected, 5, now);
    book.suspect(&name(), peer(1), now);
    book.suspect(&name(), peer(1), now + SECOND);
    book.learn(1, Connected, 5, now + SECOND);
    assert_eq!(book.standing(1, now), Quarantined);
    assert_eq!(book.standing(2, now), Healthy(ms(5)));
    let later = now + 30 * SECOND;
    book.may_try(1, later)
        .expect("due")
        .note(Connected, ms(5), later);
    assert_eq!(book.standing(1, later), Healthy(ms(5)));
    // Silent again, although it connected: longer this time.
    book.suspect(&name(), peer(1), later);
    assert_eq!(book.shown(1, later).1, Some(60 * SECOND));
    let much_later = later + 660 * SECOND;
    book.suspect(&name(), peer(1), much_later);
    assert_eq!(book.shown(1, much_later).1, Some(30 * SECOND));
}

#[test]
fn a_destination_that_nobody_asks_for_is_not_dead_for_ever() {
    let (book, now) = (book(), Instant::now());
    let hour = 3_600 * SECOND;
    book.learn(1, Failed, 5, now);
    book.none_connects(&name(), now);
    assert!(book.is_dead(now + hour - SECOND));
    assert!(!book.is_dead(now + hour));
    book.no_probe_connects(&name(), now + hour);
    assert!(book.is_dead(now + hour));
    // Without probes nobody looks again; an exchange has seen it for itself.
    book.forget_probes();
    assert!(!book.is_dead(now + hour));
    book.no_probe_connects(&name(), now + hour);
    book.none_connects(&name(), now + hour);
    book.forget_probes();
    assert!(book.is_dead(now + hour));
    book.learn(1, Connected, 5, now + hour);
    assert!(!book.is_dead(now + hour));
}

#[test]
fn a_destination_is_dead_when_an_exchange_found_none_that_connects() {
    let (book, now) = (book(), Instant::now());
    book.learn(1, Failed, 5, now);
    assert!(!book.is_dead(now), "others may live that nobody knows yet");
    book.none_connects(&name(), now);
    assert!(book.is_dead(now));
    book.learn(2, Failed, 5, now);
    assert!(book.is_dead(now));
    book.learn(2, Connected, 5, now + SECOND);
    assert!(!book.is_dead(now + SECOND));
    book.learn(3, Connected, 5, now + SECOND);
    assert_eq!(book.suspect(&name(), peer(2), now + SECOND), Demoted);
    assert!(!book.is_dead(now + SECOND), "it connects");
    // Another host's exchange found nobody, and this one's addresses live.
    book.none_connects(&name(), now + SECOND);
    assert!(!book.is_dead(now + SECOND));
    book.learn(3, Failed, 5, now + SECOND);
    book.none_connects(&name(), now + SECOND);
    assert!(book.is_dead(now + SECOND));
}

#[test]
fn the_last_that_could_go_first_is_never_suspect() {
    let (book, now) = (book(), Instant::now());
    book.learn(1, Connected, 5, now);
    assert_eq!(book.suspect(&name(), peer(1), now), NoOther);
    book.learn(2, Connected, 5, now);
    assert_eq!(book.suspect(&name(), peer(1), now), Demoted);
    let is_silent = |now| book.view(now)[0].silent;
    assert_eq!(book.suspect(&name(), peer(2), now), NoOther);
    assert_eq!(book.standing(2, now), Healthy(ms(5)));
    assert!(
        !is_silent(now),
        "one tunnel that is not acknowledged may be an old one"
    );
    book.none_answers(&name(), now);
    assert!(is_silent(now));
    // A connect is no answer; only time, or what is counted elsewhere, speaks for it.
    book.learn(2, Connected, 5, now + SECOND);
    assert!(is_silent(now + 119 * SECOND) && !is_silent(now + 120 * SECOND));
}

#[test]
fn an_accusation_says_whether_the_address_went_last_already() {
    let (book, now) = (book(), Instant::now());
    book.learn(2, Connected, 5, now);
    assert_eq!(book.suspect(&name(), peer(1), now), Demoted, "forgotten");
    assert_eq!(book.standing(1, now), Quarantined);
    assert_eq!(book.suspect(&name(), peer(1), now + SECOND), Already);
    // Whatever the others are like by then.
    book.learn(2, Failed, 5, now + SECOND);
    assert_eq!(book.suspect(&name(), peer(1), now + 2 * SECOND), Already);
    assert_eq!(book.suspect(&name(), peer(1), now + 40 * SECOND), NoOther);
    book.learn(2, Connected, 5, now + 40 * SECOND);
    assert_eq!(book.suspect(&name(), peer(1), now + 40 * SECOND), Demoted);
}

#[test]
fn a_suspect_of_one_destination_is_none_of_another() {
    let (book, now) = (book(), Instant::now());
    let other = DestinationName::new("other");
    book.configure(&[name(), other.clone()]);
    book.learn(1, Connected, 5, now);
    for last in [1, 2] {
        book.note(&other, peer(last), Connected, ms(5), now);
    }
    assert_eq!(book.suspect(&other, peer(1), now), Demoted);
    assert_eq!(book.standing(1, now), Healthy(ms(5)));
    let there = book.standings(&other, [peer(1)].into_iter(), false, now);
    assert_eq!(there.each, [Quarantined]);
}

#[test]
fn deaths_and_lives_are_told_once_and_not_too_often() {
    let (book, now) = (book(), Instant::now());
    let mut book = book.book();
    let mut check = |outcome, at: Duration, turn| {
        let (now, failed) = (now + at, outcome == Failed);
        let noted = book.note(&name(), peer(1), outcome, ms(1), now);
        let told = if failed {
            book.none_connects(&name(), Finder::Exchange, now)
        } else {
            noted
        };
        assert_eq!(told, turn, "{outcome:?} at {at:?}");
    };
    check(Connected, Duration::ZERO, None);
    check(Failed, SECOND, Some(Turn::AllDead));
    check(Failed, 40 * SECOND, None);
    check(Connected, 41 * SECOND, Some(Turn::AliveAgain));
    check(Failed, 42 * SECOND, None);
    check(Failed, 60 * SECOND, None);
    // It was not told a moment after the last word; it is when it lasts.
    check(Failed, 61 * SECOND, Some(Turn::AllDead));
    check(Failed, 200 * SECOND, None);
}

#[test]
fn a_failover_is_told_once_a_minute() {
    let (book, now) = (book(), Instant::now());
    assert!(!book.failed_over(&name(), now), "of a stranger");
    book.learn(1, Overtaken, 260, now);
    let told = [0, 1, 59, 60, 61].map(|at| book.failed_over(&name(), now + at * SECOND));
    assert_eq!(told, [true, false, false, true, false]);
}

#[test]
fn equals_take_turns() {
    let (book, now) = (book(), Instant::now());
    book.learn(1, Connected, 5, now);
    let turn = |first| {
        book.standings(&name(), [peer(1)].into_iter(), first, now)
            .turn
    };
    assert_eq!([turn(true), turn(false), turn(true)], [0, 1, 1]);
}

#[test]
fn the_book_is_bounded_and_forgets_those_that_were_idle_for_longest() {
    let (book, now) = (book(), Instant::now());
    for n in 0..200_u8 {
        book.learn(n, Connected, 5, now + ms(n.into()));
        assert!(book.view(now)[0].peers.len() <= 64);
    }
    assert_eq!(book.standing(199, now), Healthy(ms(5)));
    assert_eq!(book.standing(0, now), Unknown);
}

#[test]
fn what_is_configured_no_longer_is_forgotten_and_the_rest_is_kept() {
    let (book, now) = (book(), Instant::now());
    let other = DestinationName::new("other");
    book.configure(&[name(), other.clone()]);
    book.learn(1, Failed, 5, now);
    book.note(&other, peer(1), Failed, ms(5), now);
    book.configure(&[name()]);
    let shown: Vec<_> = book
        .view(now)
        .into_iter()
        .map(|one| one.destination)
        .collect();
    assert_eq!(shown, [name()]);
    assert_eq!(book.standing(1, now), Quarantined);
    book.configure(&[name(), other.clone()]);
    let there = book.standings(&other, [peer(1)].into_iter(), false, now);
    assert_eq!(there.each, [Unknown]);
}

impl HealthBook {
    /// The name's only answer now.
    fn answer(&self, name_asked: &str, last: &[u8], now: Instant) {
        let ips: Vec<IpAddr> = last.iter().map(|last| peer(*last).ip()).collect();
        self.listed(&name(), &name_asked.into(), Family::V4, &ips.into(), now);
    }

    fn shown_listed(&self, now: Instant) -> Vec<(SocketAddr, bool)> {
        let all = self.view(now).remove(0).peers.into_iter();
        all.map(|one| (one.peer, one.listed)).collect()
    }
}

#[test]
fn what_no_name_has_any_more_keeps_no_destination_alive() {
    let (book, now) = (book(), Instant::now());
    book.answer("push.test", &[1, 2], now);
    book.learn(1, Connected, 5, now);
    book.learn(2, Connected, 5, now);
    // The name moves, and nobody is at home there.
    book.answer("push.test", &[9], now + SECOND);
    book.learn(9, Failed, 5, now + SECOND);
    book.none_connects(&name(), now + SECOND);
    assert!(book.is_dead(now + SECOND));
    let shown = [(peer(1), false), (peer(2), false), (peer(9), true)];
    assert_eq!(book.shown_listed(now), shown);
    // Nor may it go first in the place of a suspect.
    book.learn(9, Connected, 5, now + SECOND);
    assert_eq!(book.suspect(&name(), peer(9), now + SECOND), NoOther);
}

#[test]
fn an_address_that_comes_back_in_its_turn_is_still_known() {
    let (book, now) = (book(), Instant::now());
    book.answer("push.test", &[1, 2], now);
    book.answer("other.test", &[2], now);
    book.learn(1, Failed, 5, now);
    book.learn(2, Connected, 5, now);
    // Of no name: by its address, or by the file.
    book.learn(3, Connected, 5, now);
    book.answer("push.test", &[4], now + SECOND);
    let shown = [(peer(1), false), (peer(2), true), (peer(3), true)];
    assert_eq!(book.shown_listed(now), shown);
    book.answer("push.test", &[1], now + 60 * SECOND);
    assert_eq!(book.shown(1, now), (1, Some(30 * SECOND)));
    assert_eq!(book.shown_listed(now)[0], (peer(1), true));
    // After an hour away it is forgotten.
    book.answer("push.test", &[4], now + 60 * SECOND);
    let later = now + 3_660 * SECOND;
    assert_eq!(
        book.shown_listed(later - SECOND).len(),
        3,
        "not a second before"
    );
    assert_eq!(book.shown_listed(later).len(), 2);
    book.answer("push.test", &[5], later);
    assert_eq!(book.book().peers, 2);
}

#[test]
fn a_name_without_an_address_shows_until_an_address_is_tried() {
    let (book, now) = (book(), Instant::now());
    book.unresolved(&name(), ResolveError::NotFound);
    let shown = |now| book.view(now).remove(0).unresolved;
    assert_eq!(shown(now), Some(ResolveError::NotFound));
    book.learn(1, Failed, 5, now);
    assert_eq!(shown(now), None);
}
