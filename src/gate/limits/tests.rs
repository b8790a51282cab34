//! Waiting, without a clock that runs: times are exact, and a future that would wait for ever ends its test.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::config::Rate;
use Priority::{Calls, Messages};

const MS: Duration = Duration::from_millis(1);

/// A limit on all together: ten turns a second, one at a time.
fn ten() -> config::Limit {
    config::Limit {
        name: "ten".into(),
        per: LimitPer::All,
        rate: Some(Rate { per_second: 10.0 }),
        burst: Some(1),
        tunnels: None,
        bytes: None,
        max_wait: 500 * MS,
        keys: 10,
        report_only: false,
    }
}

fn two_tunnels() -> config::Limit {
    config::Limit {
        name: "two".into(),
        rate: None,
        burst: None,
        tunnels: Some(2),
        ..ten()
    }
}

const HELD_MAX: usize = 100;

fn limits_of(all: &[config::Limit]) -> (Limits, Meters) {
    let meters = Meters::new(&[], &[]);
    (Limits::new(all, HELD_MAX, &meters), meters)
}

/// Who asks.
#[derive(Debug, Clone)]
struct Who {
    client: &'static str,
    priority: Priority,
    tunnel: bool,
    budget: Duration,
}

fn of(client: &'static str) -> Who {
    Who {
        client,
        priority: Calls,
        tunnel: false,
        budget: Duration::from_secs(60),
    }
}

fn tunnel(client: &'static str) -> Who {
    Who {
        tunnel: true,
        ..of(client)
    }
}

async fn pass(limits: &Limits, who: Who) -> (Result<Pass, Limited>, Waited) {
    let sender = ClientName::new(who.client);
    let destination = DestinationName::new("lab");
    let asking = Asking {
        sender: Some(&sender),
        user: None,
        address: [127, 0, 0, 1].into(),
        destination: &destination,
        priority: who.priority,
        tunnel: who.tunnel,
        until: Instant::now() + who.budget,
    };
    let mut waited = Waited::default();
    let passed = limits.pass(&asking, &mut waited).await;
    (passed, waited)
}

/// What many that ask at once were told: client, milliseconds, and whether they passed.
#[derive(Debug, Clone, Default)]
struct Told(Rc<RefCell<Vec<Answer>>>);

type Answer = (&'static str, u128, bool);

impl Told {
    fn ask(&self, limits: &Limits, who: Who, begun: Instant) -> JoinHandle<Option<Pass>> {
        let (told, limits) = (self.clone(), limits.clone());
        spawn_local(async move {
            let client = who.client;
            let (passed, _) = pass(&limits, who).await;
            let ms = begun.elapsed().as_millis();
            told.0.borrow_mut().push((client, ms, passed.is_ok()));
            passed.ok()
        })
    }

    fn of(&self, client: &str) -> Vec<u128> {
        let told = self.0.borrow();
        let passed = told.iter().filter(|one| one.0 == client && one.2);
        passed.map(|one| one.1).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_exchange_waits_for_its_turn_and_is_refused_only_where_that_would_come_too_late() {
    LocalSet::new()
        .run_until(async {
            let (limits, _meters) = limits_of(&[ten()]);
            let told = Told::default();
            let begun = Instant::now();
            let asked: Vec<_> = (0..8).map(|_| told.ask(&limits, of("a"), begun)).collect();
            for one in asked {
                one.await.unwrap();
            }
            // The two that could not come in time were told before that was over, but not at once.
            let expected: Vec<_> = [0, 100, 200, 300, 400, 500].map(|ms| (ms, true)).to_vec();
            let (passed, refused): (Vec<_>, Vec<_>) = told
                .0
                .borrow()
                .iter()
                .map(|&(_, ms, passed)| (ms, passed))
                .partition(|&(_, passed)| passed);
            assert_eq!(passed, expected);
            let held: Vec<_> = refused.iter().map(|&(ms, _)| ms).collect();
            assert!(
                held.len() == 2 && held.iter().all(|ms| (250..=500).contains(ms)),
                "{held:?}"
            );
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_there_will_be_a_turn_and_a_wait_is_told() {
    let (limits, meters) = limits_of(&[ten()]);
    let (passed, waited) = pass(&limits, of("a")).await;
    assert!(passed.is_ok() && waited.since.is_none() && waited.limit.is_none());
    let hurried = Who {
        budget: 50 * MS,
        ..of("a")
    };
    let (refused, waited) = pass(&limits, hurried).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.reason(), refused.after),
        (Reason::RateLimited, 50 * MS)
    );
    assert_eq!(waited.took(Instant::now()), Some(50 * MS));
    assert_eq!(waited.limit.as_deref(), Some("ten"));
    let (passed, waited) = pass(&limits, of("a")).await;
    assert!(passed.is_ok());
    assert_eq!(waited.took(Instant::now()), Some(50 * MS));
    meters.upkeep();
    let text = meters.render();
    for line in [
        "tidegate_limit_waits_total{limit=\"ten\"} 1",
        "tidegate_limit_refusals_total{limit=\"ten\"} 1",
        "tidegate_limit_keys{limit=\"ten\"} 1",
        "tidegate_limit_wait_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_costs_its_sender_alone() {
    LocalSet::new()
        .run_until(async {
            let (limits, _meters) = limits_of(&[ten()]);
            let told = Told::default();
            let begun = Instant::now();
            // Twenty times the demand of the other, whose rate is within its half.
            for _ in 0..100 {
                for _ in 0..8 {
                    drop(told.ask(&limits, of("storm"), begun));
                }
                for _ in 0..2 {
                    drop(told.ask(&limits, of("storm"), begun));
                }
                drop(told.ask(&limits, of("calm"), begun));
                sleep(200 * MS).await;
            }
            sleep(1_000 * MS).await;
            let (calm, storm) = (told.of("calm"), told.of("storm"));
            assert_eq!(calm.len(), 100, "{calm:?}");
            for (round, at) in calm.iter().enumerate() {
                let waited = at - 200 * round as u128;
                assert!(waited <= 200, "{waited} ms in round {round}");
            }
            // And nothing is wasted.
            assert!(storm.len() >= 100, "{}", storm.len());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn calls_go_before_messages_that_wait_for_longer() {
    LocalSet::new()
        .run_until(async {
            let (limits, _meters) = limits_of(&[ten()]);
            let told = Told::default();
            let begun = Instant::now();
            pass(&limits, of("first")).await.0.unwrap();
            let chat = Who {
                priority: Messages,
                ..of("chat")
            };
            let mut asked = Vec::new();
            for _ in 0..2 {
                asked.push(told.ask(&limits, chat.clone(), begun));
            }
            yield_now().await;
            advance(10 * MS).await;
            for _ in 0..2 {
                asked.push(told.ask(&limits, of("phone"), begun));
            }
            for one in asked {
                assert!(one.await.unwrap().is_some());
            }
            assert_eq!(told.of("phone"), [100, 200]);
            assert_eq!(told.of("chat"), [300, 400]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_frees_its_turn_and_hands_the_lead_on() {
    LocalSet::new()
        .run_until(async {
            let (limits, _meters) = limits_of(&[ten()]);
            let told = Told::default();
            let begun = Instant::now();
            pass(&limits, of("first")).await.0.unwrap();
            let leads = told.ask(&limits, of("a"), begun);
            let second = told.ask(&limits, of("b"), begun);
            let third = told.ask(&limits, of("c"), begun);
            let fourth = told.ask(&limits, of("d"), begun);
            advance(50 * MS).await;
            yield_now().await;
            leads.abort();
            third.abort();
            assert!(second.await.unwrap().is_some() && fourth.await.unwrap().is_some());
            assert_eq!((told.of("b"), told.of("d")), (vec![100], vec![200]));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_came_and_was_not_looked_at_goes_back() {
    let (limits, _meters) = limits_of(&[ten()]);
    pass(&limits, of("first")).await.0.unwrap();
    let mut one = Box::pin(pass(&limits, of("a")));
    let mut other = Box::pin(pass(&limits, of("b")));
    assert!(timeout(Duration::ZERO, &mut one).await.is_err());
    assert!(timeout(Duration::ZERO, &mut other).await.is_err());
    advance(100 * MS).await;
    // The other looks first, and finds that it is the first one's turn, who never hears of it.
    assert!(timeout(Duration::ZERO, &mut other).await.is_err());
    drop(one);
    let begun = Instant::now();
    other.await.0.unwrap();
    assert!(begun.elapsed() <= MS, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_a_later_limit_refuses_costs_nothing_of_the_first() {
    let client = config::Limit {
        name: "each".into(),
        per: LimitPer::Client,
        rate: Some(Rate { per_second: 0.01 }),
        ..ten()
    };
    // They stand in another order than they are passed in.
    let (limits, _meters) = limits_of(&[two_tunnels(), client]);
    let held = [
        pass(&limits, tunnel("a")).await.0.unwrap(),
        pass(&limits, tunnel("b")).await.0.unwrap(),
    ];
    let (refused, waited) = pass(&limits, tunnel("c")).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::TunnelLimited);
    assert_eq!(waited.limit.as_deref(), Some("two"));
    drop(held);
    pass(&limits, tunnel("c")).await.0.unwrap();
    let (refused, _) = pass(&limits, tunnel("c")).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn tunnels_wait_for_a_place_and_have_it_until_they_end() {
    LocalSet::new()
        .run_until(async {
            let (limits, _meters) = limits_of(&[two_tunnels()]);
            let told = Told::default();
            let begun = Instant::now();
            let first = pass(&limits, tunnel("a")).await.0.unwrap();
            let _second = pass(&limits, tunnel("a")).await.0.unwrap();
            // What needs no place passes.
            pass(&limits, of("a")).await.0.unwrap();
            let storm = told.ask(&limits, tunnel("a"), begun);
            let late = told.ask(&limits, tunnel("b"), begun);
            sleep(300 * MS).await;
            drop(first);
            let third = storm.await.unwrap();
            assert!(third.is_some());
            assert_eq!(told.of("a"), [300]);
            // The other has waited for as long as it may.
            assert!(late.await.unwrap().is_none());
            assert_eq!(begun.elapsed(), 500 * MS);
            drop(third);
            pass(&limits, tunnel("b")).await.0.unwrap();
            assert_eq!(begun.elapsed(), 500 * MS);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_leaves_the_queue_for_a_place_takes_none() {
    let (limits, _meters) = limits_of(&[two_tunnels()]);
    let first = pass(&limits, tunnel("a")).await.0.unwrap();
    let _second = pass(&limits, tunnel("a")).await.0.unwrap();
    let mut waits = Box::pin(pass(&limits, tunnel("b")));
    assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
    // The place has come to it, and it never looks.
    drop(first);
    drop(waits);
    let begun = Instant::now();
    pass(&limits, tunnel("c")).await.0.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_only_tried_out_says_what_it_would_do_and_does_nothing() {
    let try_out = |limit| config::Limit {
        report_only: true,
        ..limit
    };
    let (rate, _meters) = limits_of(&[try_out(ten())]);
    let begun = Instant::now();
    let mut would = Vec::new();
    for _ in 0..8 {
        let (passed, waited) = pass(&rate, of("a")).await;
        assert!(passed.is_ok());
        would.push(waited.would_refuse.map(|(reason, _)| reason));
    }
    // As many as there would be turns for within max_wait.
    let refused = Some(Reason::RateLimited);
    assert_eq!(
        would,
        [None, None, None, None, None, None, refused, refused]
    );
    let (places, _meters) = limits_of(&[try_out(two_tunnels())]);
    let mut held = Vec::new();
    for would in [None, None, Some(Reason::TunnelLimited)] {
        let (passed, waited) = pass(&places, tunnel("a")).await;
        held.push(passed.unwrap());
        assert_eq!(waited.limit.is_some(), would.is_some());
        assert_eq!(waited.would_refuse.map(|(reason, _)| reason), would);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_the_terms_and_keeps_what_is_counted() {
    let (old, meters) = limits_of(&[two_tunnels()]);
    let _first = pass(&old, tunnel("a")).await.0.unwrap();
    let one = config::Limit {
        tunnels: Some(1),
        ..two_tunnels()
    };
    let new = old.renewed(&[one], &meters);
    // Not before it comes into force.
    drop(pass(&new, tunnel("a")).await.0.unwrap());
    new.come_into_force(Instant::now());
    let (refused, _) = pass(&new, tunnel("a")).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::TunnelLimited);
    // Whoever waits by the old terms goes by the new ones.
    let mut waits = Box::pin(pass(&new, tunnel("a")));
    assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
    let begun = Instant::now();
    new.renewed(&[two_tunnels()], &meters)
        .come_into_force(Instant::now());
    let _second = waits.await.0.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // One that counts other things together is another limit.
    let each = config::Limit {
        per: LimitPer::Client,
        ..two_tunnels()
    };
    let new = new.renewed(&[each], &meters);
    new.come_into_force(Instant::now());
    pass(&new, tunnel("a")).await.0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limit_with_another_rate_or_burst_starts_afresh_and_the_lead_learns_of_it() {
    let slow = config::Limit {
        rate: Some(Rate { per_second: 3.0 }),
        ..ten()
    };
    let (limits, meters) = limits_of(&[slow]);
    pass(&limits, of("a")).await.0.unwrap();
    let mut waits = Box::pin(pass(&limits, of("a")));
    assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
    let begun = Instant::now();
    let reload = |limit| {
        let renewed = limits.renewed(&[limit], &meters);
        renewed.come_into_force(Instant::now());
    };
    reload(ten());
    waits.await.0.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    pass(&limits, of("a")).await.0.unwrap();
    assert_eq!(begun.elapsed(), 100 * MS);
    // Nothing that counts has changed.
    reload(config::Limit {
        max_wait: 400 * MS,
        ..ten()
    });
    pass(&limits, of("a")).await.0.unwrap();
    assert_eq!(begun.elapsed(), 200 * MS);
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_those_in_use_are_kept() {
    let each = config::Limit {
        per: LimitPer::Client,
        keys: 2,
        tunnels: Some(1),
        max_wait: Duration::ZERO,
        ..two_tunnels()
    };
    let (limits, meters) = limits_of(&[each]);
    let keys = |expected: &str| {
        let text = meters.render();
        let line = format!("tidegate_limit_keys{{limit=\"two\"}} {expected}\n");
        assert!(text.contains(&line), "{text}");
    };
    keys("0");
    for client in ["a", "b", "c", "d"] {
        pass(&limits, tunnel(client)).await.0.unwrap();
    }
    keys("2");
    let _held = [
        pass(&limits, tunnel("a")).await.0.unwrap(),
        pass(&limits, tunnel("b")).await.0.unwrap(),
    ];
    assert!(pass(&limits, tunnel("a")).await.0.is_err());
    // All others share what one would have.
    let _shared = pass(&limits, tunnel("c")).await.0.unwrap();
    assert!(pass(&limits, tunnel("d")).await.0.is_err());
    keys("3");
    drop(limits);
    drop((_held, _shared));
    keys("0");
}

#[tokio::test(start_paused = true)]
async fn who_is_no_client_is_counted_by_user_and_else_by_address() {
    let destination = DestinationName::new("lab");
    let (sender, user) = (ClientName::new("cluster"), UserName::new("ann"));
    let address: IpAddr = [10, 0, 0, 1].into();
    let check = |sender, user, per, expected| {
        let asking = Asking {
            sender,
            user,
            address,
            destination: &destination,
            priority: Calls,
            tunnel: false,
            until: Instant::now(),
        };
        assert_eq!(asking.key(per), expected);
    };
    let (by_sender, by_user) = (Key::Client(sender.clone()), Key::User(user.clone()));
    let (sender, user) = (Some(&sender), Some(&user));
    check(sender, user, LimitPer::Client, by_sender);
    check(None, user, LimitPer::Client, by_user.clone());
    check(None, None, LimitPer::Client, Key::Address(address));
    check(sender, user, LimitPer::User, by_user);
    check(sender, None, LimitPer::User, Key::Address(address));
    check(sender, user, LimitPer::Address, Key::Address(address));
    let lab = Key::Destination(destination.clone());
    check(sender, user, LimitPer::Destination, lab);
    check(sender, user, LimitPer::All, Key::All);
}

#[test]
fn a_network_that_one_host_can_have_counts_once() {
    let key = |address: &str| Key::Address(network_of(address.parse().unwrap()));
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff:1:2:3"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
}

#[tokio::test(start_paused = true)]
async fn bytes_are_paid_for_by_all_that_share_a_key() {
    let limit = config::Limit {
        rate: None,
        burst: None,
        bytes: Some(Rate {
            per_second: 16_384.0,
        }),
        ..ten()
    };
    let (limits, _meters) = limits_of(&[limit]);
    let one = pass(&limits, tunnel("a")).await.0.unwrap();
    let (one, other) = (one.shares().unwrap(), one.shares().unwrap());
    assert_eq!(one.piece(), 1_024);
    let now = Instant::now();
    // A second's worth at once, and what is more is waited for, whoever moved it.
    assert_eq!(one.pay(16_384, now), now);
    assert_eq!(other.pay(1_024, now), now + Duration::from_micros(62_500));
    assert_eq!(one.pay(1_024, now), now + Duration::from_micros(125_000));
    // Nobody is held for longer than a minute.
    assert_eq!(one.pay(usize::MAX, now), now + Duration::from_secs(60));
    // Where nothing limits bytes, nobody is asked.
    let (unshaped, _meters) = limits_of(&[two_tunnels()]);
    assert!(
        pass(&unshaped, tunnel("a"))
            .await
            .0
            .unwrap()
            .shares()
            .is_none()
    );
}

/// Cores of their own, and clients that leave when they like: nobody is forgotten, and nothing stays.
#[test]
fn all_cores_share_a_limit() {
    let limit = config::Limit {
        rate: Some(Rate {
            per_second: 2_000.0,
        }),
        burst: Some(20),
        tunnels: Some(3),
        max_wait: Duration::from_secs(10),
        ..ten()
    };
    let (limits, _meters) = limits_of(&[limit]);
    let threads: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|client| {
            let limits = limits.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                LocalSet::new().block_on(&runtime, async {
                    let asked: Vec<_> = (0..200)
                        .map(|number| {
                            let limits = limits.clone();
                            let who = Who {
                                tunnel: number % 3 == 0,
                                ..of(client)
                            };
                            spawn_local(async move {
                                let passing = pass(&limits, who);
                                if number % 7 == 0 {
                                    // It may have passed by then.
                                    drop(timeout(MS, passing).await);
                                    true
                                } else {
                                    passing.await.0.is_ok()
                                }
                            })
                        })
                        .collect();
                    for one in asked {
                        assert!(one.await.unwrap());
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let (limit, _) = &limits.all[0];
    let (hold, _) = limit.hold(&Key::All, Instant::now());
    hold.with(|line, _, _| assert!(line.tunnels == 0 && line.waiting.is_none(), "{line:?}"));
}
