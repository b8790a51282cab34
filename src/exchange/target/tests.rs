use proptest::prelude::*;

use super::*;

/// `verdict` is the target as we write it, or the details of the refusal.
fn check(authority: &str, verdict: &str) {
    let answer = match Target::from_connect(authority.as_bytes()) {
        Ok(target) => target.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(answer, verdict, "{authority:?}");
}

#[test]
fn names_are_lower_case_and_lose_one_trailing_dot() {
    check("push.test:443", "push.test:443");
    check("PUSH.Test:443", "push.test:443");
    check("push.test.:443", "push.test:443");
    check("localhost:1", "localhost:1");
    check("a_b.c-d.test:65535", "a_b.c-d.test:65535");
    check("_dmarc.test:1", "_dmarc.test:1");
    check("xn--bcher-kva.test:443", "xn--bcher-kva.test:443");
    check("3com.test:443", "3com.test:443");
    check("1.2.3.4.test:443", "1.2.3.4.test:443");
    check("0xg:443", "0xg:443");
    check("0x7f000001.test:443", "0x7f000001.test:443");
}

#[test]
fn names_that_dns_cannot_carry_are_refused() {
    check("push.test..:443", "name with an empty label");
    check("push..test:443", "name with an empty label");
    check(".push.test:443", "name with an empty label");
    check(".:443", "name with an empty label");
    check("..:443", "name with an empty label");
    check("-push.test:443", HYPHEN);
    check("push-.test:443", HYPHEN);
    check("push.-:443", HYPHEN);
    let label = "a".repeat(63);
    check(&format!("{label}.test:1"), &format!("{label}.test:1"));
    check(
        &format!("{label}a.test:1"),
        "name with a label over 63 bytes",
    );
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    assert_eq!(longest.len(), 253);
    check(&format!("{longest}:1"), &format!("{longest}:1"));
    check(&format!("{longest}.:1"), &format!("{longest}:1"));
    check(&format!("{longest}b:1"), "name over 253 bytes");
}

#[test]
fn ports_are_needed_and_have_one_spelling() {
    check("push.test", "port missing");
    check("push.test:", "port missing");
    check("127.0.0.1", "port missing");
    check("[::1]", "port missing");
    check("[::1]:", "port missing");
    check("push.test:1", "push.test:1");
    check("push.test:65535", "push.test:65535");
    for port in [
        "0",
        "00",
        "0443",
        "65536",
        "99999",
        "100000",
        "4294967739",
        "12a",
        "a12",
        "+443",
        "-1",
        "4 3",
        " 443",
        "443 ",
        "0x1bb",
        "4.3",
        "\u{664}",
    ] {
        check(&format!("push.test:{port}"), PORT);
        check(&format!("[::1]:{port}"), PORT);
    }
}

#[test]
fn nothing_but_host_and_port_is_a_target() {
    check("", "target empty");
    check(":443", "host missing");
    check("user@push.test:443", "user information in the target");
    check(
        "user:secret@push.test:443",
        "user information in the target",
    );
    check(
        "push.test:443@127.0.0.1:80",
        "user information in the target",
    );
    check("http://user@push.test", "user information in the target");
    check("http://push.test:443", "scheme or path in the target");
    check("push.test/:443", "scheme or path in the target");
    check("push.test:443/", "scheme or path in the target");
    check("push.test:443?a", "scheme or path in the target");
    check("http://push.test", "scheme or path in the target");
    check("push.test#:443", "scheme or path in the target");
    check("a\\b:443", "scheme or path in the target");
    check("/:443", "scheme or path in the target");
    check("push%2etest:443", "percent-encoding in the host");
    check("push.test%00:443", "percent-encoding in the host");
    check("b\u{fc}cher.test:443", "host is not ASCII");
    check("push\u{3002}test:443", "host is not ASCII");
    check("\u{ff11}27.0.0.1:443", "host is not ASCII");
    for text in [
        " push.test:443",
        "push .test:443",
        "push.test :443",
        "push\0.test:443",
        "a,b:443",
        "*.test:443",
    ] {
        check(text, "host has a byte that no name has");
    }
}

#[test]
fn an_ipv4_address_has_one_spelling() {
    check("127.0.0.1:443", "127.0.0.1:443");
    check("255.255.255.255:443", "255.255.255.255:443");
    for text in [
        "2130706433",
        "0x7f000001",
        "0X7F000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "2130706433.",
        "0x7f.1",
        "0x7f.0x0.0x0.0x1",
        "127.0.0.0x1",
        "256.0.0.1",
        "1.2.3.4.5",
        "1.2.3",
        "0x",
        "1.0x",
        "0",
        "00000000177.0.0.1",
        "push.123",
        "push.0x7f",
        "00.0.0.0",
    ] {
        check(&format!("{text}:443"), NUMBER);
    }
}

#[test]
fn brackets_are_for_ipv6_alone() {
    check("[::1]:443", "[::1]:443");
    check("[0:0:0:0:0:0:0:1]:443", "[::1]:443");
    check("[2001:DB8::A]:443", "[2001:db8::a]:443");
    check("[::ffff:127.0.0.1]:443", "127.0.0.1:443");
    check("[::ffff:7f00:1]:443", "127.0.0.1:443");
    check("[[::1]]:443", "not an IPv6 address");
    check("[::127.0.0.1]:443", "[::7f00:1]:443");
    check("[64:ff9b::127.0.0.1]:443", "[64:ff9b::7f00:1]:443");
    for text in [
        "127.0.0.1",
        "push.test",
        "",
        "fe80::1%eth0",
        "fe80::1%25eth0",
        ":::",
        "v1.x",
        " ::1",
        "::1 ",
        "[::1",
    ] {
        check(&format!("[{text}]:443"), "not an IPv6 address");
    }
    for text in [
        "[::1",
        "::1:443",
        "[::1]x:443",
        "[::1]443",
        "x[::1]:443",
        "push.test]:443",
    ] {
        check(text, "brackets are for one IPv6 address");
    }
}

const PORT: &str = "port is not a number from 1 to 65535";
const NUMBER: &str = "host ends in a number and is no dotted IPv4 address";
const HYPHEN: &str = "name with a label that begins or ends with a hyphen";

/// Texts close to targets: pieces that mean something, in any order.
fn near_targets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("push".to_owned()),
        Just("TEST".to_owned()),
        Just("127".to_owned()),
        Just("0x7f".to_owned()),
        Just("::".to_owned()),
        Just("ffff".to_owned()),
        Just("xn--a".to_owned()),
        Just(":443".to_owned()),
        "[.:\\[\\]@/%_ -]",
        "[0-9]{1,5}",
        "[a-zA-Z]{1,3}",
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat().into_bytes())
}

fn check_accepted(authority: &[u8]) -> Result<(), TestCaseError> {
    let Ok(target) = Target::from_connect(authority) else {
        return Ok(());
    };
    let shown = target.to_string();
    prop_assert_eq!(
        Target::from_connect(shown.as_bytes()),
        Ok(target.clone()),
        "{}",
        shown
    );
    prop_assert!(target.port > 0);
    if let Host::Name(name) = &target.host {
        prop_assert!(
            name.len() <= NAME_MAX && !name.ends_with('.') && name.parse::<IpAddr>().is_err()
        );
        prop_assert!(
            name.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')),
            "{}",
            name
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_read_or_refused(authority in prop::collection::vec(any::<u8>(), 0..300)) {
        check_accepted(&authority)?;
    }

    #[test]
    fn what_is_accepted_reads_back_the_same(authority in near_targets()) {
        check_accepted(&authority)?;
    }

    #[test]
    fn every_address_reads_back_the_same(bits in any::<u128>(), port in 1u16..) {
        for addr in [IpAddr::V6(bits.into()), IpAddr::V4((bits as u32).into())] {
            let target = Target { host: Host::Addr(addr.to_canonical()), port };
            prop_assert_eq!(Target::from_connect(target.to_string().as_bytes()), Ok(target));
        }
    }
}
