//! Rules that are only tried out: what passes, what it is called, what never passes, and what would allow it.

use super::*;
use crate::exchange::ClientName;

fn house(unlisted: Unlisted) -> Arc<Policy> {
    let strict = destination("strict", &["strict.test", "a.wide.test"], &[(443, 443)]);
    let mut wide = destination("wide", &["*.wide.test"], &[(443, 443), (8000, 8099)]);
    wide.report_only = true;
    let mut late = destination("late", &["*.wide.test"], &[(443, 443), (9000, 9000)]);
    late.report_only = true;
    let own = OwnAddresses {
        bound: vec!["127.0.0.1:443".parse().unwrap()],
    };
    Arc::new(Policy::new(&[strict, wide, late], unlisted, own))
}

fn clear(policy: &Arc<Policy>, allowed: &[&str], target: &str) -> Result<Cleared, Denial> {
    policy.clear(
        &names(allowed),
        &Target::from_connect(target.as_bytes()).unwrap(),
    )
}

/// `verdict`: the destination, with the word of what would have been said behind it; or the word of the denial.
fn check_report(unlisted: Unlisted, allowed: &[&str], target: &str, verdict: &str) {
    let answer = match clear(&house(unlisted), allowed, target) {
        Ok(cleared) => {
            let destination = cleared.destination().name.to_string();
            match cleared.would_refuse(None) {
                None => destination,
                Some(denial) => format!("{destination} {}", denial.reason().token()),
            }
        }
        Err(denial) => denial.reason().token().to_owned(),
    };
    assert_eq!(answer, verdict, "{unlisted:?} {target} for {allowed:?}");
}

#[test]
fn a_destination_that_only_reports_lets_everything_pass() {
    for unlisted in [Unlisted::Refuse, Unlisted::Report] {
        let check = |allowed: &[&str], target: &str, verdict: &str| {
            check_report(unlisted, allowed, target, verdict);
        };
        check(&[], "strict.test:443", "strict");
        check(&[], "strict.test:80", "port_denied");
        check(&["wide"], "strict.test:443", "client_denied");
        check(&[], "b.wide.test:443", "wide");
        check(&[], "b.wide.test:9000", "late");
        check(&[], "b.wide.test:80", "wide port_denied");
        check(&["late"], "b.wide.test:443", "late");
        check(&["strict"], "b.wide.test:443", "wide client_denied");
        // Of two that would let it pass, the one that lacks less.
        check(&["strict"], "b.wide.test:9000", "late client_denied");
        // A strict rule that is closer is heard, and another one that lists the host only reports.
        check(&[], "a.wide.test:80", "wide port_denied");
        check(&["late"], "a.wide.test:80", "wide port_denied");
    }
}

#[test]
fn unlisted_targets_pass_only_while_they_are_reported() {
    check_report(Unlisted::Refuse, &[], "elsewhere.test:443", "target_denied");
    check_report(
        Unlisted::Report,
        &[],
        "elsewhere.test:443",
        "unlisted target_denied",
    );
    check_report(
        Unlisted::Report,
        &["strict"],
        "10.0.0.1:1",
        "unlisted target_denied",
    );
}

/// Whether an address may be dialled, and what would have been said of it; for a host that is listed, and one that
/// is not.
#[test]
fn only_private_addresses_are_reported_and_let_pass() {
    let check = |addr: &str, listed: &str, unlisted: &str| {
        for (target, verdict) in [("b.wide.test", listed), ("elsewhere.test", unlisted)] {
            let addr: SocketAddr = addr.parse().unwrap();
            let target = format!("{target}:{}", addr.port());
            let cleared = clear(&house(Unlisted::Report), &[], &target).unwrap();
            let answer = match cleared.addr(addr) {
                Err(denial) => denial.reason().token(),
                Ok(dialled) => cleared
                    .would_refuse(Some(dialled.socket_addr()))
                    .map_or("-", |denial| denial.reason().token()),
            };
            assert_eq!(answer, verdict, "{target} at {addr}");
        }
    };
    check("8.8.8.8:443", "-", "target_denied");
    for private in [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::10.0.0.1]",
    ] {
        check(&format!("{private}:443"), "address_denied", "target_denied");
    }
    for loopback in [
        "127.0.0.1",
        "127.9.9.9",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
    ] {
        // Another port than our own.
        let addr = format!("{loopback}:8000");
        check(&addr, "address_denied", "address_denied");
        let addr: SocketAddr = addr.parse().unwrap();
        let listed = clear(&house(Unlisted::Report), &[], "b.wide.test:8000").unwrap();
        assert!(listed.addr(addr).is_ok(), "{addr}");
        let unlisted = clear(&house(Unlisted::Report), &[], "elsewhere.test:8000").unwrap();
        assert!(unlisted.addr(addr).is_err(), "{addr}");
    }
    for never in [
        "169.254.169.254",
        "169.254.1.1",
        "168.63.129.16",
        "100.100.100.200",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "[::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "[ff02::1]",
        "[2002:7f00:1::]",
        "[64:ff9b::169.254.169.254]",
    ] {
        check(&format!("{never}:443"), "address_denied", "address_denied");
        let listed = clear(&house(Unlisted::Report), &[], "b.wide.test:443").unwrap();
        let addr = format!("{never}:443").parse().unwrap();
        assert!(listed.addr(addr).is_err(), "{never}");
    }
    check("127.0.0.1:443", "self_target", "address_denied");
}

#[test]
fn the_lines_to_add_say_all_that_is_missing() {
    let check = |allowed: &[&str], target: &str, peer: Option<&str>, lines: &str| {
        let cleared = clear(&house(Unlisted::Report), allowed, target).unwrap();
        let sender = ClientName::new("cluster-1");
        let peer = peer.map(|peer| peer.parse().unwrap());
        assert_eq!(
            lines::of(&[(&cleared.lacking(Some(&sender), peer), 0)]),
            [lines],
            "{target}"
        );
    };
    check(&[], "strict.test:443", None, "");
    check(
        &[],
        "push.example:443",
        Some("8.8.8.8:443"),
        "[[destination]]\nname = \"push.example\"\nhosts = [\"push.example\"]\nrole = \"other\"\nports = [443]\n",
    );
    check(
        &["strict", "wide"],
        "push.example:8443",
        Some("10.1.2.3:8443"),
        "[[destination]]\nname = \"push.example\"\nhosts = [\"push.example\"]\nrole = \"other\"\nports = [8443]\nnetworks = [\"10.1.2.3/32\"]\n\
         # in [[client]] cluster-1:\ndestinations = [\"strict\", \"wide\", \"push.example\"]\n",
    );
    // An address that is listed by itself needs no network, and a name that is taken gets a number.
    check(
        &[],
        "[fd00::1]:443",
        Some("[fd00::1]:443"),
        "[[destination]]\nname = \"fd00--1\"\nhosts = [\"fd00::1\"]\nrole = \"other\"\nports = [443]\n",
    );
    check(
        &[],
        "wide:443",
        None,
        "[[destination]]\nname = \"wide-2\"\nhosts = [\"wide\"]\nrole = \"other\"\nports = [443]\n",
    );
    check(
        &[],
        "b.wide.test:80",
        Some("8.8.8.8:80"),
        "# in [[destination]] wide:\nports = [443, \"8000-8099\", 80]\n",
    );
    check(
        &["strict"],
        "b.wide.test:80",
        Some("127.0.0.9:80"),
        "# in [[destination]] wide:\nports = [443, \"8000-8099\", 80]\nnetworks = [\"127.0.0.9/32\"]\n\
         # in [[client]] cluster-1:\ndestinations = [\"strict\", \"wide\"]\n",
    );
    check(
        &[],
        "b.wide.test:443",
        Some("[fd00::1]:443"),
        "# in [[destination]] wide:\nnetworks = [\"fd00::1/128\"]\n",
    );
    check(
        &["strict"],
        "b.wide.test:443",
        None,
        "# in [[client]] cluster-1:\ndestinations = [\"strict\", \"wide\"]\n",
    );
}

/// Targets that one client asked for, one after the other; what stands with each.
fn together(allowed: &[&str], targets: &[&str]) -> Vec<String> {
    let sender = ClientName::new("cluster-1");
    let policy = house(Unlisted::Report);
    let lacking: Vec<_> = targets
        .iter()
        .map(|target| {
            let cleared = clear(&policy, allowed, target).unwrap();
            cleared.lacking(Some(&sender), None)
        })
        .collect();
    let all: Vec<_> = lacking.iter().zip(1..).collect();
    lines::of(&all)
}

#[test]
fn what_is_missing_in_one_section_is_said_once_and_whole() {
    let check = |allowed: &[&str], targets: &[&str], expected: &[&str]| {
        assert_eq!(together(allowed, targets), expected, "{targets:?}");
    };
    // The last one that asked is the first in the list.
    check(
        &[],
        &[
            "b.wide.test:1",
            "strict.test:443",
            "c.wide.test:2",
            "d.wide.test:2",
        ],
        &[
            "# in [[destination]] wide:\nports = [443, \"8000-8099\", 2, 1]\n",
            "",
            "",
            "",
        ],
    );
    check(
        &["strict"],
        &["push.example:443", "push.example:8443", "b.wide.test:443"],
        &[
            "[[destination]]\nname = \"push.example\"\nhosts = [\"push.example\"]\nrole = \"other\"\nports = [8443, 443]\n\
             # in [[client]] cluster-1:\ndestinations = [\"strict\", \"wide\", \"push.example\"]\n",
            "",
            "",
        ],
    );
}

#[test]
fn hosts_with_one_long_beginning_have_names_of_their_own() {
    let long = "a".repeat(60);
    let targets = [
        format!("{long}.one.test:18001"),
        format!("{long}.two.test:18001"),
    ];
    let all = together(&["strict"], &[&targets[0], &targets[1]]);
    let (first, second) = (&long[..58], format!("{}-2", &long[..58]));
    assert!(
        all[0].contains(&format!(
            "name = \"{first}\"\nhosts = [\"{long}.one.test\"]"
        )),
        "{all:?}"
    );
    assert!(
        all[1].contains(&format!(
            "name = \"{second}\"\nhosts = [\"{long}.two.test\"]"
        )),
        "{all:?}"
    );
    assert!(
        all[0].contains(&format!(
            "destinations = [\"strict\", \"{second}\", \"{first}\"]"
        )),
        "{all:?}"
    );
}
