use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::config::{Destination, HostRule, PortRange, Repeat, Role, Sni};
use crate::exchange::Host;

fn destination(name: &str, hosts: &[&str], ports: &[(u16, u16)]) -> Destination {
    let rule = |host: &&str| HostRule {
        pattern: match host.strip_prefix('*') {
            Some(suffix) => HostPattern::Suffix(suffix.into()),
            None => host
                .parse()
                .map_or_else(|_| HostPattern::Name((*host).into()), HostPattern::Addr),
        },
        role: if host.starts_with("token") {
            Role::Token
        } else {
            Role::Push
        },
    };
    let range = |&(first, last): &(u16, u16)| PortRange { first, last };
    Destination {
        name: DestinationName::new(name),
        preset: None,
        hosts: hosts.iter().map(rule).collect(),
        ports: ports.iter().map(range).collect(),
        networks: Vec::new(),
        published: Vec::new(),
        sni: Sni::Off,
        ca: None,
        max_ttl: None,
        addresses: Vec::new(),
        connect_budget: None,
        repeat: Repeat::Safe,
        via: Vec::new(),
        password: None,
        source: Vec::new(),
        report_only: false,
    }
}

fn policy(destinations: &[Destination]) -> Arc<Policy> {
    Arc::new(Policy::new(
        destinations,
        Unlisted::Refuse,
        OwnAddresses::default(),
    ))
}

fn names(names: &[&str]) -> Vec<DestinationName> {
    names
        .iter()
        .map(|name| DestinationName::new(name))
        .collect()
}

/// `verdict` is the destination's name, or the word of the denial.
fn check(policy: &Arc<Policy>, allowed: &[&str], target: &str, verdict: &str) {
    let parsed = Target::from_connect(target.as_bytes()).unwrap();
    let answer = match policy.clear(&names(allowed), &parsed) {
        Ok(cleared) => {
            assert_eq!(cleared.target(), &parsed);
            cleared.destination().name.to_string()
        }
        Err(denial) => denial.reason().token().to_owned(),
    };
    assert_eq!(answer, verdict, "{target} for {allowed:?}");
}

#[test]
fn only_listed_hosts_are_cleared() {
    let policy = policy(&[destination(
        "lab",
        &["push.test", "*.cloud.test", "127.0.0.1", "::1"],
        &[(443, 443)],
    )]);
    for target in [
        "push.test:443",
        "PUSH.test:443",
        "push.test.:443",
        "a.cloud.test:443",
        "A.B.Cloud.test.:443",
        "127.0.0.1:443",
        "[::1]:443",
        "[::ffff:127.0.0.1]:443",
        "[0:0::1]:443",
    ] {
        check(&policy, &[], target, "lab");
    }
    for target in [
        "cloud.test:443",
        "evilcloud.test:443",
        "a.evilcloud.test:443",
        "a.cloud.test.evil:443",
        "xpush.test:443",
        "a.push.test:443",
        "push.tes:443",
        "test:443",
        "127.0.0.2:443",
        "[::2]:443",
        "[::127.0.0.1]:443",
        "[64:ff9b::127.0.0.1]:443",
        "localhost:443",
    ] {
        check(&policy, &[], target, "target_denied");
    }
}

#[test]
fn an_address_is_not_a_name_below_a_suffix() {
    let policy = policy(&[destination("lab", &["*.1", "*.0.0.1"], &[(1, 65535)])]);
    check(&policy, &[], "127.0.0.1:443", "target_denied");
}

#[test]
fn ports_and_ranges_are_kept() {
    let policy = policy(&[
        destination("lab", &["push.test"], &[(443, 443), (8000, 8099)]),
        destination("other", &["other.test"], &[(80, 80)]),
    ]);
    for port in [443, 8000, 8050, 8099] {
        check(&policy, &[], &format!("push.test:{port}"), "lab");
    }
    for port in [1, 80, 442, 444, 7999, 8100, 65535] {
        check(&policy, &[], &format!("push.test:{port}"), "port_denied");
    }
    check(&policy, &[], "unlisted.test:443", "target_denied");
}

#[test]
fn the_closest_rule_decides_and_then_the_first() {
    let policy = policy(&[
        destination("far", &["*.test"], &[(443, 443)]),
        destination("near", &["*.cloud.test"], &[(443, 443)]),
        destination("exact", &["a.cloud.test"], &[(443, 443)]),
        destination("late", &["a.cloud.test", "*.cloud.test"], &[(443, 444)]),
    ]);
    check(&policy, &[], "a.cloud.test:443", "exact");
    check(&policy, &[], "b.cloud.test:443", "near");
    check(&policy, &[], "b.b.cloud.test:443", "near");
    check(&policy, &[], "cloud.test:443", "far");
    // The closest one that has the port.
    check(&policy, &[], "a.cloud.test:444", "late");
    check(&policy, &[], "b.cloud.test:444", "late");
    check(&policy, &[], "cloud.test:444", "port_denied");
}

#[test]
fn a_client_reaches_its_own_destinations_alone() {
    let policy = policy(&[
        destination("exact", &["a.cloud.test"], &[(443, 443)]),
        destination("suffix", &["*.cloud.test"], &[(443, 443)]),
        destination("port", &["*.cloud.test"], &[(8443, 8443)]),
    ]);
    check(&policy, &["exact", "suffix"], "a.cloud.test:443", "exact");
    check(&policy, &["suffix"], "a.cloud.test:443", "suffix");
    check(&policy, &["port"], "a.cloud.test:443", "client_denied");
    check(&policy, &["exact"], "a.cloud.test:8443", "client_denied");
    check(&policy, &["exact"], "b.cloud.test:443", "client_denied");
    check(&policy, &["exact"], "a.cloud.test:80", "port_denied");
    check(&policy, &["exact"], "other.test:443", "target_denied");
    let target = Target::from_connect(b"a.cloud.test:443").unwrap();
    let denial = policy.clear(&names(&["port"]), &target).unwrap_err();
    assert_eq!(denial.destination(), Some(&DestinationName::new("exact")));
}

/// The clearance of `push.test:443` in a destination that lists all this.
fn cleared(networks: &[&str], hosts: &[&str], addresses: &[&str], bound: &[&str]) -> Cleared {
    let mut section = destination("lab", hosts, &[(443, 443)]);
    section.networks = networks.iter().map(|text| text.parse().unwrap()).collect();
    section.addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let own = OwnAddresses {
        bound: bound.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let target = Target::from_connect(b"push.test:443").unwrap();
    Arc::new(Policy::new(&[section], Unlisted::Refuse, own))
        .clear(&[], &target)
        .unwrap()
}

/// `verdict` is the address dialled (with a `?` where the kernel must be asked), or the word of the denial.
fn check_addr(cleared: &Cleared, addr: &str, verdict: &str) {
    let answer = match cleared.addr(addr.parse().unwrap()) {
        Ok(addr) if addr.refuse_if_local() => format!("{}?", addr.socket_addr()),
        Ok(addr) => addr.socket_addr().to_string(),
        Err(denial) => denial.reason().token().to_owned(),
    };
    assert_eq!(answer, verdict, "{addr}");
}

#[test]
fn special_addresses_are_refused_unless_listed() {
    let strict = cleared(&[], &["push.test"], &[], &[]);
    check_addr(&strict, "8.8.8.8:443", "8.8.8.8:443");
    check_addr(&strict, "[2a00::1]:443", "[2a00::1]:443");
    check_addr(&strict, "[::ffff:8.8.8.8]:443", "8.8.8.8:443");
    check_addr(&strict, "[64:ff9b::8.8.8.8]:443", "[64:ff9b::808:808]:443");
    for addr in [
        "127.0.0.1:443",
        "0.0.0.0:443",
        "10.0.0.1:443",
        "169.254.169.254:443",
        "168.63.129.16:443",
        "[::1]:443",
        "[::]:443",
        "[::127.0.0.1]:443",
        "[::ffff:127.0.0.1]:443",
        "[64:ff9b::10.0.0.1]:443",
        "[fd00::1]:443",
        "[fe80::1]:443",
        "[2002:7f00:1::]:443",
        "224.0.0.1:443",
        "255.255.255.255:443",
    ] {
        check_addr(&strict, addr, "address_denied");
    }

    let network = cleared(&["127.0.0.0/8", "fd00::/8"], &["push.test"], &[], &[]);
    check_addr(&network, "127.9.9.9:443", "127.9.9.9:443");
    check_addr(&network, "[::ffff:127.0.0.1]:443", "127.0.0.1:443");
    check_addr(
        &network,
        "[64:ff9b::127.0.0.1]:443",
        "[64:ff9b::7f00:1]:443",
    );
    check_addr(&network, "[fd00::1]:443", "[fd00::1]:443");
    check_addr(&network, "10.0.0.1:443", "address_denied");
    check_addr(&network, "[::1]:443", "address_denied");

    for literal in [
        cleared(&[], &["push.test", "127.0.0.1", "::1"], &[], &[]),
        cleared(&[], &["push.test"], &["127.0.0.1", "::1"], &[]),
        cleared(&[], &["push.test"], &["::ffff:127.0.0.1", "::1"], &[]),
    ] {
        check_addr(&literal, "127.0.0.1:443", "127.0.0.1:443");
        check_addr(&literal, "[::1]:443", "[::1]:443");
        check_addr(&literal, "127.0.0.2:443", "address_denied");
        check_addr(&literal, "[64:ff9b::127.0.0.1]:443", "address_denied");
    }
}

#[test]
fn an_address_is_cleared_for_the_port_of_its_target_alone() {
    let strict = cleared(&[], &["push.test"], &[], &[]);
    check_addr(&strict, "8.8.8.8:444", "port_denied");
}

#[test]
fn our_own_listeners_are_never_dialled() {
    let all = ["0.0.0.0/0", "::/0"];
    let fixed = cleared(
        &all,
        &["push.test"],
        &[],
        &["127.0.0.1:443", "127.0.0.1:9128"],
    );
    check_addr(&fixed, "127.0.0.1:443", "self_target");
    check_addr(&fixed, "[::ffff:127.0.0.1]:443", "self_target");
    check_addr(&fixed, "0.0.0.0:443", "self_target");
    check_addr(&fixed, "127.0.0.2:443", "127.0.0.2:443");
    check_addr(&fixed, "10.0.0.1:443", "10.0.0.1:443");
    let wildcard = cleared(&all, &["push.test"], &[], &["[::]:443"]);
    check_addr(&wildcard, "127.0.0.1:443", "self_target");
    check_addr(&wildcard, "[::1]:443", "self_target");
    check_addr(&wildcard, "10.0.0.1:443", "10.0.0.1:443?");
    // Policy speaks first: what may not be dialled anyway is not called ours.
    let strict = cleared(&[], &["push.test"], &[], &["127.0.0.1:443"]);
    check_addr(&strict, "127.0.0.1:443", "address_denied");
}

/// Addresses from everywhere, most of them in or near special ranges.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let v4 = prop::sample::select(rules::SPECIAL_V4).prop_flat_map(|range| {
        (u32::from(range.net.network()).saturating_sub(2)..=u32::from(range.net.broadcast()))
            .prop_map(|bits| IpAddr::V4(bits.into()))
    });
    let v6 = prop::sample::select(rules::SPECIAL_V6).prop_flat_map(|range| {
        (u128::from(range.net.network()).saturating_sub(2)..=u128::from(range.net.broadcast()))
            .prop_map(|bits| IpAddr::V6(bits.into()))
    });
    let carried = (any::<bool>(), any::<u32>()).prop_map(|(mapped, bits)| {
        let prefix = if mapped {
            0xffff << 32
        } else {
            0x64_ff9b << 96
        };
        IpAddr::V6((prefix | u128::from(bits)).into())
    });
    prop_oneof![
        v4,
        v6,
        carried,
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn no_special_address_is_ever_cleared_unlisted(ip in addresses()) {
        let strict = cleared(&[], &["push.test", "*.test"], &[], &[]);
        if let Ok(addr) = strict.addr(SocketAddr::new(ip, 443)) {
            let dialled = addr.socket_addr().ip();
            prop_assert!(rules::special(dialled).is_none(), "{}", dialled);
            prop_assert!(!dialled.is_loopback() && !dialled.is_multicast() && !dialled.is_unspecified());
            prop_assert_eq!(dialled, ip.to_canonical());
            if let IpAddr::V4(v4) = dialled {
                prop_assert!(!v4.is_private() && !v4.is_link_local() && !v4.is_documentation() && !v4.is_broadcast());
            }
        }
    }

    #[test]
    fn the_table_and_the_rules_name_the_same_as_the_closest(name in "[ab]{0,2}(\\.[ab]){0,3}|10\\.0\\.0\\.[12]") {
        let hosts = ["*.a", "a.b", "*.a.b", "*.b", "*.b.a.b", "*.a", "a.b", "10.0.0.1", "b.a.b"];
        let policy = policy(&[destination("lab", &hosts, &[(1, 65535)])]);
        if let Ok(host) = Host::parse(name.as_bytes()) {
            let rules = &policy.destinations[0].hosts;
            let found = policy.hosts.matching(&host).next().map(|found| &rules[found.rule]);
            let closest = HostRule::closest(rules, &host);
            prop_assert!(found.map(std::ptr::from_ref) == closest.map(std::ptr::from_ref), "{:?} {:?}", found, closest);
        }
    }

    #[test]
    fn a_host_that_no_rule_names_is_never_cleared(name in "[a-z.]{1,20}") {
        let policy = policy(&[destination("lab", &["push.test", "*.cloud.test"], &[(1, 65535)])]);
        if let Ok(target) = Target::from_connect(format!("{name}:443").as_bytes()) {
            let named = match &target.host {
                Host::Name(name) => **name == *"push.test" || name.ends_with(".cloud.test"),
                Host::Addr(_) => false,
            };
            prop_assert_eq!(policy.clear(&[], &target).is_ok(), named);
        }
    }
}

#[test]
fn a_target_goes_by_its_own_name_and_an_address_by_those_of_its_destination() {
    let policy = policy(&[
        destination("a", &["push.test", "127.0.0.1"], &[(443, 443)]),
        destination("b", &["*.test", "::1"], &[(443, 443)]),
    ]);
    let check = |target: &str, name: &str, expected: bool| {
        let target = Target::from_connect(target.as_bytes()).unwrap();
        let cleared = policy.clear(&[], &target).unwrap();
        let name = Host::parse(name.as_bytes()).unwrap();
        assert_eq!(cleared.goes_by(&name), expected, "{target} by {name}");
    };
    check("PUSH.test.:443", "push.TEST", true);
    check("push.test:443", "a.push.test", false);
    check("push.test:443", "test", false);
    check("push.test:443", "127.0.0.1", false);
    // Both names stand in the destination, and still each is its own target.
    check("a.test:443", "b.test", false);
    check("127.0.0.1:443", "push.test", true);
    check("127.0.0.1:443", "a.test", false);
    check("127.0.0.1:443", "127.0.0.1", true);
    check("127.0.0.1:443", "127.0.0.2", false);
    check("[::1]:443", "a.test", true);
    // The name is in b too, by its suffix, though a target of this name would be a's.
    check("[::1]:443", "push.test", true);
}

#[test]
fn only_a_service_that_publishes_ranges_has_addresses_outside_of_them() {
    let mut apns = destination("apns", &["push.test"], &[(443, 443)]);
    apns.published = vec![
        "17.0.0.0/8".parse().unwrap(),
        "2403:300::/32".parse().unwrap(),
    ];
    let silent = destination("silent", &["silent.test"], &[(443, 443)]);
    let policy = policy(&[apns, silent]);
    let check = |target: &str, ip: &str, expected: bool| {
        let target = Target::from_connect(target.as_bytes()).unwrap();
        let cleared = policy.clear(&[], &target).unwrap();
        assert_eq!(
            cleared.is_unpublished(ip.parse().unwrap()),
            expected,
            "{target} at {ip}"
        );
    };
    check("push.test:443", "17.1.2.3", false);
    check("push.test:443", "18.1.2.3", true);
    check("push.test:443", "2403:300::1", false);
    check("push.test:443", "2403:301::1", true);
    check("push.test:443", "::ffff:17.1.2.3", false);
    // Behind DNS64: 17.1.2.3 and 18.1.2.3.
    check("push.test:443", "64:ff9b::1101:203", false);
    check("push.test:443", "64:ff9b::1201:203", true);
    check("silent.test:443", "18.1.2.3", false);
}

mod reporting;
