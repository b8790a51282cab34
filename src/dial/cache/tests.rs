use std::net::IpAddr;

use super::*;

const NAME: &str = "push.test";

fn terms() -> config::Dns {
    config::Dns {
        servers: Vec::new(),
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_secs(3600),
        negative_ttl: Duration::from_secs(5),
        serve_stale: Duration::from_secs(24 * 3600),
        timeout: Duration::from_secs(1),
        ca: None,
    }
}

fn found() -> Answer {
    Ok([IpAddr::from([192, 0, 2, 1])].into())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A cache that keeps this answer, and since when.
fn cache(answer: &Answer, ttl: Option<u64>) -> (Cache, Instant) {
    let (mut cache, start) = (Cache::new(&terms()), Instant::now());
    cache.keep(
        &NAME.into(),
        Family::V4,
        answer,
        ttl.map(seconds),
        None,
        start,
    );
    (cache, start)
}

/// In a word.
fn look(cache: &mut Cache, max_ttl: Option<u64>, now: Instant) -> &'static str {
    match cache.find(NAME, Family::V4, max_ttl.map(seconds), now) {
        Seen::Good { ask: false, .. } => "good",
        Seen::Good { ask: true, .. } => "good, ask",
        Seen::Stale { ask: false, .. } => "stale",
        Seen::Stale { ask: true, .. } => "stale, ask",
        Seen::Expired => "expired",
        Seen::Unknown => "unknown",
    }
}

#[tokio::test]
async fn answers_live_within_the_caps() {
    let lives = |answer: &Answer, ttl: Option<u64>, max_ttl: Option<u64>| {
        let (mut cache, start) = cache(answer, ttl);
        (0..=7200)
            .find(|age| look(&mut cache, max_ttl, start + seconds(*age)) != "good")
            .expect("not good at last")
    };
    let none = Err(ResolveError::NotFound);
    assert_eq!(lives(&found(), Some(300), None), 300);
    assert_eq!(lives(&found(), Some(0), None), 5, "the floor");
    assert_eq!(lives(&found(), Some(86_400), None), 3600, "the cap");
    assert_eq!(lives(&found(), Some(300), Some(60)), 60, "the asker's cap");
    assert_eq!(
        lives(&found(), Some(300), Some(2)),
        2,
        "wins over the floor"
    );
    assert_eq!(lives(&none, None, None), 5, "a name that does not exist");
    assert_eq!(
        lives(&none, Some(300), None),
        5,
        "its zone may not say more"
    );
    assert_eq!(lives(&none, Some(2), None), 2, "but less");
}

#[tokio::test]
async fn an_expired_answer_waits_for_a_better_one_unless_nobody_answers() {
    let (mut cache, start) = cache(&found(), Some(60));
    let at = |age| start + seconds(age);
    assert_eq!(look(&mut cache, None, at(60)), "expired");
    assert_eq!(
        look(&mut cache, Some(30), at(59)),
        "expired",
        "for this asker"
    );
    cache.asking(NAME, Family::V4, at(60));
    assert_eq!(look(&mut cache, None, at(60)), "expired", "it may come yet");
    assert_eq!(look(&mut cache, None, at(61)), "stale", "it takes too long");
    let due = cache.failed(NAME, Family::V4, ResolveError::TimedOut, at(61));
    assert_eq!(due, Some(at(62)));
    assert_eq!(look(&mut cache, None, at(61)), "stale");
    assert_eq!(look(&mut cache, None, at(62)), "stale, ask", "tried again");
    assert_eq!(look(&mut cache, None, at(62)), "stale", "by one only");
    let failed = |cache: &mut Cache, age, error| {
        let due = cache.failed(NAME, Family::V4, error, at(age));
        due.map(|due| (due - at(age)).as_secs())
    };
    for pause in [2, 4, 8, 16, 30, 30] {
        assert_eq!(failed(&mut cache, 100, ResolveError::Failed), Some(pause));
    }
    assert_eq!(look(&mut cache, None, at(159)), "stale, ask");
    assert_eq!(
        failed(&mut cache, 60 + 86_398, ResolveError::Failed),
        Some(30)
    );
    assert_eq!(look(&mut cache, None, at(60 + 86_399)), "stale");
    assert_eq!(
        look(&mut cache, None, at(60 + 86_400)),
        "unknown",
        "too old"
    );
}

#[tokio::test]
async fn an_old_failure_says_nothing_of_now() {
    let (mut cache, start) = cache(&found(), Some(60));
    cache.failed(
        NAME,
        Family::V4,
        ResolveError::TimedOut,
        start + seconds(70),
    );
    assert_eq!(look(&mut cache, None, start + seconds(129)), "stale, ask");
    cache.failed(
        NAME,
        Family::V4,
        ResolveError::TimedOut,
        start + seconds(130),
    );
    assert_eq!(look(&mut cache, None, start + seconds(190)), "expired");
}

#[tokio::test]
async fn silence_counts_for_every_name_and_a_failure_for_its_own() {
    let other: Arc<str> = "other.test".into();
    for (error, expected) in [
        (ResolveError::TimedOut, "stale, ask"),
        (ResolveError::Unreachable, "stale, ask"),
        (ResolveError::Failed, "expired"),
    ] {
        let (mut cache, start) = cache(&found(), Some(60));
        let now = start + seconds(60);
        cache.failed(&other, Family::V4, error, now);
        assert_eq!(look(&mut cache, None, now), "expired", "never answered");
        cache.keep(&other, Family::V4, &found(), None, None, start);
        cache.failed(&other, Family::V4, error, now);
        assert_eq!(look(&mut cache, None, now), expected, "{error}");
        cache.keep(&other, Family::V6, &found(), None, None, now);
        cache.asking(NAME, Family::V4, now);
        assert_eq!(look(&mut cache, None, now), "expired", "somebody answered");
    }
}

#[tokio::test]
async fn a_family_that_is_never_answered_is_not_waited_for_each_time() {
    let (mut cache, start) = (Cache::new(&terms()), Instant::now());
    let at = |age| start + seconds(age);
    let error = ResolveError::TimedOut;
    assert_eq!(cache.failed(NAME, Family::V6, error, start), None);
    cache.keep(
        &NAME.into(),
        Family::V4,
        &found(),
        Some(seconds(60)),
        None,
        start,
    );
    let mut fail = |age| {
        let due = cache.failed(NAME, Family::V6, error, at(age));
        assert_eq!(due, Some(at(age + 4)), "tried again");
        let mut look = |age| cache.find(NAME, Family::V6, None, at(age));
        let answer = Err(error);
        assert_eq!(look(age + 4), Seen::Good { answer, ask: false });
        assert_eq!(look(age + 5), Seen::Unknown);
    };
    fail(1);
    fail(5);
    assert_eq!(
        look(&mut cache, None, at(60)),
        "expired",
        "no silence of all"
    );
}

#[tokio::test]
async fn that_there_is_no_such_name_ends_staleness() {
    for none in [ResolveError::NotFound, ResolveError::NoAddress] {
        let (mut cache, start) = cache(&found(), Some(60));
        let at = |age| start + seconds(age);
        cache.failed(NAME, Family::V4, ResolveError::TimedOut, at(60));
        assert!(look(&mut cache, None, at(61)).starts_with("stale"));
        let kept = cache.keep(&NAME.into(), Family::V4, &Err(none), None, None, at(62));
        assert!(kept.ends_stale);
        let seen = cache.find(NAME, Family::V4, None, at(63));
        let answer = Err(none);
        assert_eq!(seen, Seen::Good { answer, ask: false });
    }
}

#[tokio::test]
async fn the_journal_hears_once_that_a_name_is_stale_and_once_that_it_is_not() {
    let (mut cache, start) = cache(&found(), Some(60));
    let name: Arc<str> = NAME.into();
    let at = |age| start + seconds(age);
    cache.keep(&name, Family::V6, &found(), Some(seconds(60)), None, start);
    let is_news = |cache: &mut Cache, family, age| {
        let stale = cache.stale(NAME, family, None, at(age));
        stale.expect("not too old").is_news
    };
    assert!(is_news(&mut cache, Family::V4, 70));
    assert!(!is_news(&mut cache, Family::V6, 71), "one line for both");
    let keep = |cache: &mut Cache, family, age| {
        let ttl = Some(seconds(60));
        cache
            .keep(&name, family, &found(), ttl, None, at(age))
            .ends_stale
    };
    assert!(!keep(&mut cache, Family::V4, 80), "the other still is");
    assert!(keep(&mut cache, Family::V6, 80));
    assert!(!is_news(&mut cache, Family::V4, 150), "again, so soon");
    assert!(!keep(&mut cache, Family::V4, 160), "nothing was said");
    assert!(is_news(&mut cache, Family::V4, 400));
    assert_eq!(cache.told, 1);
    cache.forget([&name]);
    assert_eq!(cache.told, 0);
}

#[tokio::test]
async fn how_stale_the_answers_in_use_are() {
    let (mut cache, start) = cache(&found(), Some(60));
    let at = |age| start + seconds(age);
    assert_eq!(cache.stalest(at(1000)), Duration::ZERO, "nobody uses it");
    cache.stale(NAME, Family::V4, None, at(90));
    assert_eq!((cache.stalest(at(100)), cache.told), (seconds(40), 1));
    assert_eq!(cache.stalest(at(150)), Duration::ZERO, "not any more");
    assert_eq!(cache.told, 0);
}

#[tokio::test]
async fn what_is_in_use_is_renewed_before_it_expires() {
    let due = |answer: &Answer, ttl, max_ttl: Option<u64>| {
        let (mut cache, start) = (Cache::new(&terms()), Instant::now());
        let ttl = Some(seconds(ttl));
        let max_ttl = max_ttl.map(seconds);
        let kept = cache.keep(&NAME.into(), Family::V4, answer, ttl, max_ttl, start);
        kept.due.map(|due| (due - start).as_millis())
    };
    assert_eq!(due(&found(), 300, None), Some(240_000));
    assert_eq!(due(&found(), 300, Some(60)), Some(48_000));
    assert_eq!(due(&found(), 1, None), Some(4_000), "the floor is 5 s");
    assert_eq!(
        due(&found(), 9, Some(1)),
        Some(583),
        "a failure is known at 1 s"
    );
    assert_eq!(due(&Err(ResolveError::NoAddress), 300, None), Some(4_000));
    assert_eq!(due(&Err(ResolveError::NotFound), 300, None), None);
    let (mut cache, start) = cache(&found(), Some(300));
    let at = |age| start + seconds(age);
    assert!(cache.is_wanted(NAME, Family::V4, at(240)), "just come");
    assert!(!cache.is_wanted(NAME, Family::V6, at(240)), "unknown");
    cache.asking(NAME, Family::V4, at(240));
    assert!(!cache.is_wanted(NAME, Family::V4, at(240)), "asked already");
    cache.keep(
        &NAME.into(),
        Family::V4,
        &found(),
        Some(seconds(300)),
        None,
        at(241),
    );
    assert!(
        !cache.is_wanted(NAME, Family::V4, at(481)),
        "nobody used it"
    );
    assert_eq!(look(&mut cache, None, at(482)), "good, ask", "in use again");
    assert_eq!(look(&mut cache, None, at(482)), "good");
}

#[tokio::test]
async fn families_are_kept_apart_and_names_are_bounded() {
    let (mut cache, start) = (Cache::new(&terms()), Instant::now());
    for count in 0..NAMES_MAX + 100 {
        let name: Arc<str> = format!("host-{count}.test").into();
        let now = start + Duration::from_millis(count as u64);
        cache.keep(&name, Family::V6, &found(), Some(seconds(60)), None, now);
    }
    assert!(cache.names.len() <= NAMES_MAX, "{}", cache.names.len());
    let mut is_known = |name: &str, family| cache.find(name, family, None, start) != Seen::Unknown;
    let newest = format!("host-{}.test", NAMES_MAX + 99);
    assert!(is_known(&newest, Family::V6));
    assert!(!is_known(&newest, Family::V4));
    assert!(
        !is_known("host-0.test", Family::V6),
        "the oldest went first"
    );
}

#[tokio::test]
async fn what_a_name_answers_in_turns_is_listed_together() {
    let (mut cache, start) = cache(&found(), Some(300));
    let other = || Ok([IpAddr::from([192, 0, 2, 2])].into());
    let mut lately = |answer: &Answer, minutes: u64, look: u64| {
        let at = |minutes: u64| start + seconds(60 * minutes);
        let (ttl, name) = (Some(seconds(300)), NAME.into());
        cache.keep(&name, Family::V4, answer, ttl, None, at(minutes));
        let listed = cache.listed_lately(NAME, Family::V4, at(look));
        listed.map(|listed| listed.len())
    };
    for turn in 1..=30 {
        let answer = if turn % 2 == 0 { found() } else { other() };
        let known = (turn > 19).then_some(2);
        assert_eq!(lately(&answer, 5 * turn, 5 * turn), known, "{turn}");
    }
    // Nobody has asked for a long time: what it lists now is not known.
    assert_eq!(lately(&found(), 155, 161), None);
    // It was taken away for a moment, and an error says nothing of the others.
    assert_eq!(lately(&Err(ResolveError::NotFound), 165, 165), None);
    assert_eq!(lately(&found(), 170, 170), Some(2));
    for turn in 0..20 {
        lately(&found(), 171 + turn, 171 + turn);
    }
    assert_eq!(lately(&found(), 240, 240), Some(1));
}
