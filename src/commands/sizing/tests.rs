use super::*;

/// The guide's example: a pair of nodes with 15,000 users.
fn pair() -> Demand {
    Demand {
        users: 15_000,
        devices: 2.0,
        calls: 6.0,
        messages: 12.0,
        background: 0.5,
        peak: 2.0,
        clusters: 1,
        nodes: 2,
        pools: 1,
        connections: 10,
        answer: 0.5,
        moving: 7_500,
        lower: 200,
        upper: 2_075,
    }
}

#[test]
fn a_call_wakes_every_device_and_a_message_those_in_background() {
    let sizing = size(&pair()).unwrap();
    // 15,000 × 6 × 2 / 3,600 and 15,000 × 12 × 2 × 0.5 / 3,600
    assert_eq!((sizing.calls, sizing.messages), (50.0, 50.0));
    assert_eq!((sizing.mean, sizing.peak), (100.0, 200.0));
    assert_eq!(sizing.busy, 100);
    let quiet = size(&Demand {
        background: 0.0,
        ..pair()
    });
    assert_eq!(quiet.unwrap().mean, 50.0);
}

#[test]
fn re_logins_come_by_the_guides_formula() {
    for (moving, lower, upper, rate) in [
        (7_500, 200, 2_075, 4.0),
        (7_500, 200, 950, 10.0),
        (1_000, 0, 1_000, 1.0),
        (15_000, 200, 201, 15_000.0),
    ] {
        let sizing = size(&Demand {
            moving,
            lower,
            upper,
            ..pair()
        });
        let sizing = sizing.unwrap();
        assert_eq!(sizing.relogins, rate, "{moving} {lower} {upper}");
        assert_eq!(sizing.storm, 200.0 + 2.0 * rate);
    }
}

#[test]
fn who_moves_and_how_slowly() {
    for (users, moves) in [
        (1, 1),
        (3, 2),
        (10_000, 5_000),
        (15_000, 7_500),
        (100_000, 7_500),
    ] {
        assert_eq!(moving(users), moves, "{users}");
    }
    for (moves, lower, upper) in [(7_500, 200, 2_075), (1, 200, 201), (10, 0, 3)] {
        assert_eq!(upper_for(moves, lower), upper, "{moves}");
    }
}

#[test]
fn tunnels_descriptors_and_memory_follow_the_pools() {
    for (nodes, pools, connections, tunnels, descriptors) in [
        (1, 1, 1, 1, 4_096),
        (4, 2, 10, 80, 4_096),
        (10, 2, 100, 2_000, 16_384),
        (100, 10, 1_000, 1_000_000, 8_388_608),
    ] {
        let sizing = size(&Demand {
            nodes,
            pools,
            connections,
            ..pair()
        });
        let sizing = sizing.unwrap();
        assert_eq!(sizing.tunnels, tunnels);
        assert_eq!(sizing.descriptors, descriptors, "{tunnels}");
        assert_eq!(
            sizing.plain_bytes,
            (64 << 20) + 2 * tunnels * (2_004 + 8_192)
        );
        assert_eq!(sizing.tls_bytes - sizing.plain_bytes, 2 * tunnels * 7_914);
    }
}

#[test]
fn the_limits_are_twice_the_storm_and_share_it_among_clusters() {
    let sizing = size(&Demand {
        clusters: 2,
        ..pair()
    });
    let sizing = sizing.unwrap();
    assert_eq!(sizing.storm, 208.0);
    let limit = |rate, burst, tunnels| Limit {
        rate,
        burst,
        tunnels,
    };
    assert_eq!(sizing.together, limit(416, 832, 40));
    assert_eq!(sizing.per_cluster, limit(208, 416, 20));
    // Of three nodes one of the two clusters has two, and two thirds of the users.
    let uneven = size(&Demand {
        clusters: 2,
        nodes: 3,
        ..pair()
    });
    assert_eq!(uneven.unwrap().per_cluster, limit(278, 556, 40));
    // Few users behind many connections: they may all be opened at once.
    let idle = size(&Demand {
        users: 1,
        moving: 1,
        connections: 500,
        ..pair()
    });
    assert_eq!(idle.unwrap().together, limit(1, 2_000, 2_000));
}

#[test]
fn what_is_absurd_is_said() {
    let check = |demand: Demand, words: &str| {
        let said = size(&demand).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    };
    check(
        Demand {
            calls: 0.0,
            messages: 0.0,
            ..pair()
        },
        "nothing to push",
    );
    check(
        Demand {
            upper: 200,
            ..pair()
        },
        "must be above --relogin-lower (200 s)",
    );
    check(
        Demand {
            moving: 15_001,
            ..pair()
        },
        "--moving (15001) must not be above --users (15000)",
    );
    check(
        Demand {
            clusters: 3,
            ..pair()
        },
        "--clusters (3) must not be above --nodes (2)",
    );
    check(
        Demand {
            users: 100_000_000,
            calls: 10_000.0,
            ..pair()
        },
        "transactions a second",
    );
    check(
        Demand {
            nodes: 10_000,
            pools: 1_000,
            connections: 100_000,
            ..pair()
        },
        "1000000000000 tunnels",
    );
}
