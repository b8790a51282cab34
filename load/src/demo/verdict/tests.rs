use super::*;

/// Ten pushes, all confirmed, one address that dropped two tunnels; both books the same.
fn good() -> Observed {
    let now = Instant::now();
    let ids = (0..10).map(|n| format!("demo-{n:05}"));
    Observed {
        wanted: 10,
        deliveries: ids
            .clone()
            .map(|tracking_id| Delivery {
                tracking_id,
                took: Duration::from_millis(20),
                ended: now,
                word: CONFIRMED,
                why: None,
            })
            .collect(),
        confirmations: ids.map(|id| (id, 1)).collect(),
        death: Death {
            began: now,
            ended: now + Duration::from_millis(100),
            reset: 2,
        },
        reopened: 2,
        open: 8,
        listed: 8,
        keepable: 4,
        servers: Counted {
            established: 20,
            forwarded: 6,
            reached: 4,
            challenged: 7,
            authenticated: 20,
            ..Counted::default()
        },
        proxy: ProxySide {
            established: 20,
            forwarded: 6,
            pushes: 6,
            challenged: 7,
            authenticated: 20,
            failovers: 1,
            ..ProxySide::default()
        },
        guide: vec![GuideCounter {
            what: "NumberOfPushReqSent of Cisco CallManager".into(),
            absolute: 6,
            seen: 6,
            tunnels: 4,
        }],
    }
}

fn check(spoil: impl FnOnce(&mut Observed), expected: &[&str]) {
    let mut observed = good();
    spoil(&mut observed);
    let report = judge(&observed);
    assert_eq!(
        report.faults().len(),
        expected.len(),
        "{:?}",
        report.faults()
    );
    for (fault, part) in report.faults().iter().zip(expected) {
        assert!(fault.contains(part), "{fault:?} lacks {part:?}");
    }
    assert_eq!(report.is_good(), expected.is_empty());
}

fn not_confirmed(observed: &mut Observed, index: usize, word: &'static str) {
    let id = observed.deliveries[index].tracking_id.clone();
    observed.confirmations.remove(&id);
    observed.deliveries[index].word = word;
}

#[test]
fn a_run_without_a_flaw_is_good() {
    check(|_| {}, &[]);
}

#[test]
fn a_push_that_nobody_confirmed_is_lost_and_named() {
    check(
        |o| not_confirmed(o, 3, "unconfirmed"),
        &["1 push, demo-00003 (unconfirmed)"],
    );
    check(
        |o| {
            not_confirmed(o, 3, "unsent");
            o.deliveries[3].why = Some("no tunnel to push.test:443".into());
        },
        &["(unsent: no tunnel to push.test:443)"],
    );
}

#[test]
fn a_push_in_flight_when_the_address_died_is_not_lost() {
    for word in ["cut", "undelivered"] {
        let mut observed = good();
        not_confirmed(&mut observed, 3, word);
        let report = judge(&observed);
        assert!(report.is_good(), "{:?}", report.faults());
        assert_eq!(
            (report.lost, report.in_flight_when_the_address_died),
            (0, 1)
        );
    }
}

#[test]
fn a_push_cut_at_another_time_is_lost() {
    check(
        |o| {
            not_confirmed(o, 3, "cut");
            o.deliveries[3].ended += Duration::from_secs(3);
        },
        &["demo-00003 (cut)"],
    );
}

#[test]
fn a_push_that_was_swallowed_long_before_the_death_is_lost() {
    check(
        |o| {
            not_confirmed(o, 3, "cut");
            o.deliveries[3].took = Duration::from_millis(2500);
        },
        &["demo-00003 (cut)"],
    );
}

#[test]
fn more_pushes_in_flight_than_tunnels_dropped_is_a_fault() {
    check(
        |o| (0..3).for_each(|n| not_confirmed(o, n, "cut")),
        &["3 pushes broke off"],
    );
}

#[test]
fn a_confirmation_that_did_not_arrive_or_came_twice_is_a_fault() {
    check(
        |o| o.deliveries[3].word = "unconfirmed",
        &["the server was not told: 1 push, demo-00003"],
    );
    check(
        |o| *o.confirmations.get_mut("demo-00003").unwrap() = 2,
        &["more than once: 1 push, demo-00003"],
    );
}

#[test]
fn books_that_differ_are_a_fault_each() {
    check(
        |o| o.proxy.established = 19,
        &["differ in CONNECTs answered 200: the servers have 20, the proxy has 19"],
    );
    check(
        |o| o.servers.forwarded = 7,
        &[
            "differ in absolute-form requests answered: the servers have 7, the proxy has 6",
            "pushes seen in these",
        ],
    );
    check(
        |o| {
            o.proxy.challenged = 8;
            o.listed = 9;
        },
        &["407", "open before the end"],
    );
    check(|o| o.proxy.live = 1, &["open after the end"]);
}

#[test]
fn the_guides_counters_agree_where_the_proxy_can_see_and_do_not_move_where_it_cannot() {
    check(
        |o| o.guide[0].seen = 5,
        &["NumberOfPushReqSent of Cisco CallManager: the servers have 6, the proxy has 5"],
    );
    // Those in tunnels as well.
    check(|o| o.guide[0].seen = 10, &["the proxy has 10"]);
}

#[test]
fn a_proxy_that_closes_after_every_forwarded_push_is_found_out() {
    check(
        |o| o.servers.reached = 5,
        &["6 absolute-form requests took 5 connections"],
    );
}

#[test]
fn too_few_pushes_or_nothing_dropped_prove_nothing() {
    check(|o| o.wanted = 11, &["only 10 pushes"]);
    check(|o| o.death.reset = 0, &["nothing was shown"]);
}

#[test]
fn the_table_shows_it_all() {
    let lines = judge(&good()).frame().lines().join("\n");
    for part in [
        "pushes sent",
        "lost",
        "p50",
        "reopened: 2",
        "4 (in the servers' books only)",
        "NumberOfPushReqSent of Cisco CallManager",
        "servers",
        "agree",
    ] {
        assert!(lines.contains(part), "{part} is missing in\n{lines}");
    }
    assert!(!lines.contains("DIFFER"), "{lines}");
}
