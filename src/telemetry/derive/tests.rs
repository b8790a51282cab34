//! Each rule: what raises, what clears, and what is no sign of anything.

use super::super::refusals::SENDERS_MAX;
use super::*;
use crate::config;
use crate::exchange::{
    Attempt, ClientAddr, ClientName, ExchangeId, ListenerName, PeerAddr, Target,
};
use std::time::{Duration, Instant, SystemTime};

const SECOND: Duration = Duration::from_secs(1);
const PUSH: Alarm = Alarm::PushNotificationServiceUnavailable;
const TOKEN: Alarm = Alarm::PushNotificationServiceAccessTokenUnavailable;
const LOGIN: Alarm = Alarm::ClientNeverAuthenticates;

struct World {
    board: Arc<AlarmBoard>,
    counters: Arc<GuideCounters>,
    derivation: Derivation,
    start: Moment,
}

impl World {
    /// With the destinations of the embedded default.
    fn new() -> Self {
        let start = Moment::now();
        let board = Arc::new(AlarmBoard::default());
        let counters = Arc::new(GuideCounters::new(start.instant));
        let derivation = Derivation::new(Arc::clone(&board), Arc::clone(&counters));
        derivation.configure(&config::load(None).unwrap(), start);
        Self {
            board,
            counters,
            derivation,
            start,
        }
    }

    fn active(&self, alarm: Alarm) -> Vec<Arc<str>> {
        self.board.active_subjects(alarm)
    }

    fn ended(&self, exchange: &Exchange) {
        self.derivation.ended(exchange, self.start);
    }

    fn push_errors(&self) -> u64 {
        let standings = self.counters.standings(self.start.instant);
        let mut standings = standings.iter();
        let name = "NumberOfPushErrorResReceived";
        let one = standings.find(|one| *one.row.name == *name).unwrap();
        let derived = one
            .values
            .iter()
            .find(|(origin, _)| *origin == Origin::Derived);
        derived.unwrap().1
    }
}

fn exchange(destination: Option<&str>, target: &str, reason: Reason) -> Exchange {
    let mut exchange = Exchange::new(
        ExchangeId::new(1, 2, 3),
        SystemTime::now(),
        Instant::now(),
        ListenerName::new("plain"),
        ClientAddr(([10, 0, 0, 7], 40_000).into()),
    );
    exchange.kind = Kind::Tunnel;
    exchange.destination = destination.map(DestinationName::new);
    exchange.target = Some(Target::from_connect(target.as_bytes()).unwrap());
    exchange.reason = reason;
    exchange
}

/// Every address refused.
fn refused(destination: &str, target: &str, addresses: usize, tried: usize) -> Exchange {
    let mut exchange = exchange(Some(destination), target, Reason::ConnectRefused);
    exchange.resolved = (0..addresses)
        .map(|n| [192, 0, 2, n as u8].into())
        .collect();
    let attempt = |ip: &IpAddr| Attempt {
        peer: (*ip, 443).into(),
        took: SECOND,
        error: Some("refused"),
    };
    exchange.attempts = exchange.resolved.iter().take(tried).map(attempt).collect();
    exchange.tried_all = tried == addresses;
    exchange
}

#[test]
fn unreachable_services() {
    let check = |exchange: Exchange, alarm: Alarm, subjects: &[&str]| {
        let world = World::new();
        world.ended(&exchange);
        let target = exchange.target.as_ref().unwrap();
        let active: Vec<_> = world
            .active(alarm)
            .iter()
            .map(|one| one.to_string())
            .collect();
        assert_eq!(active, subjects, "{target} {}", exchange.reason.token());
        assert_eq!(world.board.active(), subjects.len(), "{target}");
    };
    let push = "push.webexconnect.com:443";
    check(
        refused("cisco", push, 2, 2),
        PUSH,
        &["cisco/push.webexconnect.com"],
    );
    let token = "idbroker.webex.com:443";
    check(
        refused("cisco", token, 1, 1),
        TOKEN,
        &["cisco/idbroker.webex.com"],
    );
    // A budget that was over before every address was tried shows nothing of the others.
    check(refused("cisco", push, 3, 2), PUSH, &[]);
    // Of two addresses one could not be dialled: it is of a family that nobody has here.
    let mut other_family = refused("cisco", push, 2, 1);
    other_family.tried_all = true;
    check(other_family, PUSH, &["cisco/push.webexconnect.com"]);
    check(refused("cisco", "fos-a.wbx2.com:443", 1, 1), PUSH, &[]);
    // A parent that gets no further, hangs up, or does no TLS; and of two only one was asked.
    for reason in [
        Reason::Unreachable,
        Reason::UpstreamReset,
        Reason::UpstreamTlsFailed,
        Reason::BadReply,
    ] {
        let behind = |tried| {
            let mut one = refused("cisco", push, 2, tried);
            one.reason = reason;
            one
        };
        check(behind(2), PUSH, &["cisco/push.webexconnect.com"]);
        check(behind(1), PUSH, &[]);
    }
    let no_name = |destination, target| exchange(Some(destination), target, Reason::NameNotFound);
    check(
        no_name("cisco", push),
        PUSH,
        &["cisco/push.webexconnect.com"],
    );
    // A name under a wildcard may never have been.
    check(
        no_name("webpush", "no.such.notify.windows.com:443"),
        PUSH,
        &[],
    );
    let dead = refused("webpush", "a.notify.windows.com:443", 1, 1);
    check(dead, PUSH, &["webpush/*.notify.windows.com"]);
    // A client that left before the dial was over is impatient.
    check(exchange(Some("cisco"), push, Reason::ClientGone), PUSH, &[]);
    check(exchange(None, push, Reason::NameNotFound), PUSH, &[]);
}

#[test]
fn of_two_wildcards_the_closer_one_says_what_a_host_is() {
    let world = World::new();
    let text = "[[destination]]\nname = \"lab\"\nhosts = [\"*.test\", \"*.token.test\"]";
    let mut config = config::parse(text, std::path::Path::new("t.toml")).unwrap();
    config.destinations[0].hosts[1].role = Role::Token;
    world.derivation.configure(&config, world.start);
    world.ended(&refused("lab", "a.token.test:443", 1, 1));
    assert_eq!(*world.active(TOKEN), ["lab/*.token.test".into()]);
    assert_eq!(world.board.active(), 1);
}

#[test]
fn the_next_that_is_connected_clears_it_before_its_tunnel_ends() {
    let world = World::new();
    let target = "push.webexconnect.com:443";
    world.ended(&refused("cisco", target, 1, 1));
    let mut other = exchange(Some("cisco"), "idbroker.webex.com:443", Reason::Dropped);
    other.peer = Some(PeerAddr(([192, 0, 2, 9], 443).into()));
    world.derivation.reached(&other, world.start);
    assert_eq!(world.active(PUSH).len(), 1, "that was the token service");
    let mut good = exchange(Some("cisco"), target, Reason::Dropped);
    good.peer = Some(PeerAddr(([192, 0, 2, 1], 443).into()));
    world.derivation.reached(&good, world.start);
    assert_eq!(world.board.active(), 0);
}

#[test]
fn a_client_that_never_gets_through() {
    use Reason::{BadCredentials, Finished, NoCredentials, StaleNonce, TargetDenied};
    let check = |reasons: &[(Reason, usize)], apart: Duration, raised: bool| {
        let world = World::new();
        let mut now = world.start;
        for (reason, times) in reasons {
            for _ in 0..*times {
                let through = *reason == Finished;
                let destination = through.then_some("cisco");
                let mut one = exchange(destination, "push.webexconnect.com:443", *reason);
                one.opened = now.instant;
                world.derivation.ended(&one, now);
                now = now + apart;
            }
        }
        let active: Vec<_> = world
            .active(LOGIN)
            .iter()
            .map(|one| one.to_string())
            .collect();
        let expected: &[&str] = if raised { &["10.0.0.7"] } else { &[] };
        assert_eq!(active, expected, "{reasons:?}");
    };
    let slowly = 10 * SECOND;
    check(&[(BadCredentials, 3)], Duration::ZERO, true);
    check(&[(BadCredentials, 2)], slowly, false);
    check(
        &[(NoCredentials, 1), (Finished, 1)].repeat(30),
        slowly,
        false,
    );
    // Many connections at once, each with its first request.
    check(&[(NoCredentials, 200)], Duration::ZERO, false);
    check(&[(NoCredentials, 20)], slowly, true);
    check(&[(StaleNonce, 20)], slowly, true);
    check(
        &[(BadCredentials, 2), (Finished, 1), (BadCredentials, 2)],
        slowly,
        false,
    );
    check(&[(BadCredentials, 3), (Finished, 1)], slowly, false);
    // What the policy refuses has passed the login.
    check(&[(BadCredentials, 3), (TargetDenied, 1)], slowly, false);
}

#[test]
fn a_tunnel_that_ends_says_nothing_of_logins_after_it() {
    let world = World::new();
    let target = "push.webexconnect.com:443";
    let mut old = exchange(Some("cisco"), target, Reason::Finished);
    old.opened = world.start.instant;
    let now = world.start + SECOND;
    for _ in 0..2 {
        world
            .derivation
            .ended(&exchange(None, target, Reason::BadCredentials), now);
    }
    world.derivation.ended(&old, now);
    world
        .derivation
        .ended(&exchange(None, target, Reason::BadCredentials), now);
    world.derivation.ended(&old, now + SECOND);
    assert_eq!(world.active(LOGIN).len(), 1);
    // A push that fails has logged in all the same.
    let mut failed = refused("cisco", target, 1, 1);
    failed.opened = (now + SECOND).instant;
    world.derivation.ended(&failed, now + SECOND);
    assert_eq!(world.active(LOGIN).len(), 0);
}

#[test]
fn a_client_that_is_known_by_its_users_is_only_an_address_before_its_login() {
    let world = World::new();
    let target = "push.webexconnect.com:443";
    for n in 0..30 {
        let now = world.start + 10 * n * SECOND;
        let asked = exchange(None, target, Reason::NoCredentials);
        world.derivation.ended(&asked, now);
        let mut good = exchange(Some("cisco"), target, Reason::Finished);
        good.opened = now.instant;
        good.sender = Some(ClientName::new("cluster-1"));
        world.derivation.ended(&good, now);
    }
    assert_eq!(world.active(LOGIN).len(), 0);
}

#[test]
fn a_node_with_a_wrong_password_is_not_hidden_by_another_of_its_client() {
    let world = World::new();
    let from = |node: u8, reason: Reason, now: Moment| {
        let destination = (reason == Reason::Finished).then_some("cisco");
        let mut one = exchange(destination, "push.webexconnect.com:443", reason);
        one.opened = now.instant;
        one.client = ClientAddr(([10, 1, 1, node], 40_000).into());
        one.sender = Some(ClientName::new("cluster"));
        world.derivation.ended(&one, now);
        world.active(LOGIN).len()
    };
    let mut now = world.start;
    for wrong in 1..=30 {
        now = now + SECOND;
        from(5, Reason::NoCredentials, now);
        from(6, Reason::BadCredentials, now);
        let active = from(5, Reason::Finished, now + SECOND);
        assert_eq!(active, usize::from(wrong >= 3), "{wrong}");
    }
    assert_eq!(world.active(LOGIN), ["cluster".into()]);
    let board = world.board.snapshot();
    let text = &board[0].subjects[0].evidence.text;
    assert!(text.starts_with("10.1.1.6 was refused 30 times"), "{text}");
    // It clears when the last of them gets through, or was quiet.
    for _ in 0..3 {
        from(7, Reason::BadCredentials, now);
    }
    now = now + SECOND;
    assert_eq!(from(6, Reason::Finished, now), 1);
    assert_eq!(from(7, Reason::Finished, now), 0);
    for node in [6, 7] {
        for _ in 0..3 {
            from(node, Reason::BadCredentials, now);
        }
        now = now + 3_599 * SECOND;
    }
    world.board.tick(now);
    assert_eq!(from(7, Reason::Finished, now), 1, "it flaps");
    world.board.tick(now + 31 * SECOND);
    assert_eq!(world.active(LOGIN).len(), 0, "the other one was quiet");
}

#[test]
fn clients_that_are_refused_fill_no_memory() {
    let world = World::new();
    for n in 0..5_000_u32 {
        let mut one = exchange(None, "a.test:443", Reason::NoCredentials);
        one.client = ClientAddr((std::net::Ipv4Addr::from_bits(n), 1).into());
        world.ended(&one);
        assert!(world.derivation.known().refusals.len() <= SENDERS_MAX);
    }
}

#[test]
fn handshakes_that_die() {
    let check = |change: &dyn Fn(&mut Exchange), counted: u64| {
        let world = World::new();
        let target = "push.webexconnect.com:443";
        let mut one = exchange(Some("cisco"), target, Reason::Finished);
        one.handshake = Some(Handshake::Died);
        change(&mut one);
        world.ended(&one);
        assert_eq!(world.push_errors(), counted, "{one:?}");
    };
    check(&|_| {}, 1);
    check(&|one| one.reason = Reason::UpstreamReset, 1);
    check(&|one| one.reason = Reason::ClientReset, 1);
    // It came through, or a client lost its patience; no TLS; no tunnel; no push service.
    check(&|one| one.handshake = Some(Handshake::Through), 0);
    check(&|one| one.handshake = Some(Handshake::Begun), 0);
    check(&|one| one.handshake = None, 0);
    check(&|one| one.kind = Kind::Forward, 0);
    let token = Target::from_connect(b"idbroker.webex.com:443").unwrap();
    check(&|one| one.target = Some(token.clone()), 0);
}

#[test]
fn certificates_expire() {
    let world = World::new();
    let alarm = Alarm::CertificateExpiring;
    let check = |days: u64, active: usize| {
        let expires = world.start.wall + Duration::from_secs(days * 24 * 3600);
        let configured = Configured {
            certificates: vec![(ListenerName::new("tls"), expires)],
            ..Configured::default()
        };
        world.derivation.known().configured = Arc::new(configured);
        world.derivation.certificates(world.start);
        assert_eq!(world.active(alarm).len(), active, "{days} days");
    };
    check(15, 0);
    check(13, 1);
    check(0, 1);
    check(365, 0);
}

#[test]
fn dead_destinations_and_tunnels_off_dns() {
    let world = World::new();
    let cisco = DestinationName::new("cisco");
    let look = |dead: bool| {
        let one = (cisco.clone(), dead, "refused".to_owned());
        world
            .derivation
            .destinations([one].into_iter(), world.start);
        world.active(Alarm::AllAddressesDead).len()
    };
    assert_eq!(
        [look(false), look(true), look(true), look(false)],
        [0, 1, 1, 0]
    );
    let off = |tunnels: Option<usize>| {
        let counts = HashMap::from([(cisco.clone(), tunnels)]);
        world.derivation.off_dns(&counts, world.start);
        world.active(Alarm::TunnelsOffDns).len()
    };
    // What ends by itself shows for a look or two.
    let [none, one, two] = [0, 1, 2].map(Some);
    assert_eq!([one, one, none, one, one].map(off), [0; 5]);
    // An answer that nobody holds any more says nothing.
    assert_eq!([None, two, None, two, none].map(off), [0, 1, 1, 1, 0]);
}

#[test]
fn what_is_back_before_it_has_settled_does_not_clear() {
    let world = World::new();
    let cisco = DestinationName::new("cisco");
    let look = |dead: bool, at: Moment| {
        let one = (cisco.clone(), dead, "refused".to_owned());
        world.derivation.destinations([one].into_iter(), at);
        world.board.tick(at);
        world.active(Alarm::AllAddressesDead).len()
    };
    // It flaps: from now on it has to be over for 30 s.
    for (second, dead, active) in [
        (0, true, 1),
        (10, false, 0),
        (20, true, 1),
        (30, false, 1),
        (35, true, 1),
        (70, true, 1),
        (80, false, 1),
        (170, false, 0),
    ] {
        assert_eq!(
            look(dead, world.start + second * SECOND),
            active,
            "{second}"
        );
    }
}

#[test]
fn what_a_reload_takes_away_is_cleared() {
    let world = World::new();
    world.ended(&refused("cisco", "push.webexconnect.com:443", 1, 1));
    world
        .derivation
        .reloaded(Some("bad".to_owned()), world.start);
    assert_eq!(world.board.active(), 2);
    let mut config = config::load(None).unwrap();
    config
        .destinations
        .retain(|one| one.name.as_str() != "cisco");
    world.derivation.configure(&config, world.start);
    world.derivation.reloaded(None, world.start);
    assert_eq!(world.board.active(), 0);
}

#[test]
fn a_host_with_another_role_has_no_alarm_of_the_old_one() {
    for (role, alarm) in [("push", PUSH), ("token", TOKEN)] {
        let world = World::new();
        let configure = |role: &str| {
            let text = format!(
                "[[destination]]\nname = \"lab\"\nhosts = [\"push.test\"]\nrole = \"{role}\""
            );
            let config = config::parse(&text, std::path::Path::new("t.toml")).unwrap();
            world.derivation.configure(&config, world.start);
        };
        configure(role);
        world.ended(&refused("lab", "push.test:443", 1, 1));
        configure(role);
        assert_eq!(world.active(alarm).len(), 1, "{role}");
        configure("other");
        assert_eq!(world.active(alarm).len(), 0, "{role}");
    }
}

#[test]
fn what_is_raised_after_a_reload_took_its_client_away_clears_at_the_next_look() {
    let world = World::new();
    let alarm = Alarm::PushNotificationFailed;
    let text = String::from("a push that was under way");
    world
        .derivation
        .raise(alarm, "gone", None, text, world.start);
    assert_eq!(world.board.active(), 1);
    world.derivation.clear_gone(world.start);
    assert_eq!(world.board.active(), 0);
}

#[test]
fn clients_that_a_reload_takes_away_leave_no_alarm() {
    let world = World::new();
    let configure = |clients: &str| {
        let text = format!("[[destination]]\nname = \"lab\"\nhosts = [\"push.test\"]\n{clients}");
        let config = config::parse(&text, std::path::Path::new("t.toml")).unwrap();
        world.derivation.configure(&config, world.start);
    };
    let client = |name: &str, component: &str| {
        format!(
            "[[client]]\nname = \"{name}\"\nnetworks = [\"10.0.0.1/32\"]\ncomponent = \"{component}\"\n"
        )
    };
    configure(&client("ups", "Cisco XCP Config Manager"));
    let raise = |alarm, subject| {
        let text = String::from("seen");
        world
            .derivation
            .raise(alarm, subject, None, text, world.start);
    };
    let all = [
        Alarm::PushNotificationFailed,
        Alarm::PushNotificationFailedInvalidDeviceToken,
        Alarm::PushNotificationFailedInvalidAccessToken,
        Alarm::AccessTokenFetchFailed,
    ];
    for alarm in all {
        raise(alarm, "ups");
    }
    raise(LOGIN, "ups");
    raise(LOGIN, "10.0.0.9");
    raise(Alarm::CertificateExpiring, "destination lab");
    configure(&client("ups", "Cisco XCP Config Manager"));
    assert_eq!(world.board.active(), all.len() + 3);
    // It is another part of the cluster now: what the old one had is over.
    configure(&client("ups", "Cisco CallManager"));
    assert_eq!(world.board.active(), 3);
    configure("");
    assert_eq!(world.active(LOGIN), ["10.0.0.9".into()]);
    assert_eq!(world.active(Alarm::CertificateExpiring).len(), 1);
}
