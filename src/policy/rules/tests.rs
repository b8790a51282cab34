use super::*;

fn check(addr: &str, range: Option<&str>) {
    let found = special(addr.parse().unwrap());
    assert_eq!(found, range, "{addr}");
}

/// The first and the last address of every range, written out: the table does not vouch for itself.
#[rustfmt::skip]
const ENDS: &[(&str, &str)] = &[
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("169.254.169.254", "169.254.169.254"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.254"),
    ("255.255.255.255", "255.255.255.255"),
    ("::", "::"),
    ("::1", "::1"),
    ("::2", "::ffff:ffff"),
    ("::ffff:0:0:0", "::ffff:0:ffff:ffff"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("64:ff9b::1:0:0", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("100::", "100::ffff:ffff:ffff:ffff"),
    ("100:0:0:1::", "100::1:ffff:ffff:ffff:ffff"),
    ("100:0:0:2::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"),
    ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
];

#[test]
fn every_special_range_is_special_from_first_to_last() {
    for (first, last) in ENDS {
        for addr in [first, last] {
            assert!(special(addr.parse().unwrap()).is_some(), "{addr}");
        }
    }
}

#[test]
fn the_neighbours_of_special_ranges_are_not_special() {
    for addr in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.255",
        "192.0.3.0",
        "192.31.195.255",
        "192.31.197.0",
        "192.52.192.255",
        "192.52.194.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "192.175.47.255",
        "192.175.49.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::",
        "2000:ffff::",
        "2001:200::",
        "2001:db7:ffff::",
        "2001:db9::",
        "2003::",
        "2620:4f:7fff::",
        "2620:4f:8001::",
        "3ffe::",
        "3fff:1000::",
        "2a00:1450::1",
        "2606:4700::1111",
        "8.8.8.8",
        "17.0.0.1",
    ] {
        check(addr, None);
    }
}

#[test]
fn each_address_is_in_the_range_it_is_known_for() {
    check("0.0.0.0", Some("this network (RFC 791)"));
    check("127.0.0.1", Some("loopback (RFC 1122)"));
    check("10.1.2.3", Some("private (RFC 1918)"));
    check("100.64.0.1", Some("carrier-grade NAT (RFC 6598)"));
    check(
        "169.254.169.254",
        Some("platform metadata (RFC 3927, many clouds)"),
    );
    check("169.254.1.1", Some("link-local (RFC 3927)"));
    check("168.63.129.16", Some("platform metadata (Azure)"));
    check("192.0.0.192", Some("protocol assignments (RFC 6890)"));
    check("224.0.0.251", Some("multicast (RFC 5771)"));
    check("240.0.0.1", Some("reserved (RFC 1112)"));
    check("255.255.255.255", Some("broadcast (RFC 919)"));
    check("::", Some("unspecified (RFC 4291)"));
    check("::1", Some("loopback (RFC 4291)"));
    check("::127.0.0.1", Some("IPv4-compatible (RFC 4291)"));
    check("::8.8.8.8", Some("IPv4-compatible (RFC 4291)"));
    check("::ffff:0:127.0.0.1", Some("IPv4-translated (RFC 2765)"));
    check("64:ff9b:1::8.8.8.8", Some("local NAT64 (RFC 8215)"));
    check("100::1", Some("discard (RFC 6666)"));
    check("100:0:0:1::1", Some("dummy prefix (RFC 9780)"));
    check("2001::1", Some("Teredo (RFC 4380)"));
    check("2001:1::1", Some("protocol assignments (RFC 2928)"));
    check("2001:2::1", Some("benchmarking (RFC 5180)"));
    check("2001:10::1", Some("ORCHID (RFC 4843)"));
    check("2001:20::1", Some("ORCHIDv2 (RFC 7343)"));
    check("2001:db8::1", Some("documentation (RFC 3849)"));
    check("2002:808:808::1", Some("6to4 (RFC 3056)"));
    check("3fff::1", Some("documentation (RFC 9637)"));
    check("5f00::1", Some("segment routing (RFC 9602)"));
    check("fd00:ec2::254", Some("unique local (RFC 4193)"));
    check("fe80::1", Some("link-local (RFC 4291)"));
    check("fec0::1", Some("site-local (RFC 3879)"));
    check("ff02::1", Some("multicast (RFC 4291)"));
    check("1::1", Some("reserved (RFC 4291)"));
    check("4000::1", Some("reserved (RFC 4291)"));
    check("fe00::1", Some("reserved (RFC 4291)"));
}

#[test]
fn addresses_that_carry_an_ipv4_address_are_judged_by_it() {
    for prefix in ["::ffff:", "64:ff9b::"] {
        check(&format!("{prefix}8.8.8.8"), None);
        for range in SPECIAL_V4 {
            for addr in [range.net.network(), range.net.broadcast()] {
                let carried = format!("{prefix}{addr}");
                let alone = special(addr.into());
                assert!(alone.is_some(), "{addr}");
                check(&carried, alone);
            }
        }
    }
    check("64:ff9b:0:0:0:1:7f00:1", Some("reserved (RFC 4291)"));
}

#[test]
fn all_but_global_unicast_is_special() {
    // Every /16 of the address space, once.
    for segment in 0..=u16::MAX {
        let addr = Ipv6Addr::new(segment, 0x8000, 1, 2, 3, 4, 5, 6);
        if !(0x2000..0x4000).contains(&segment) {
            assert!(special(addr.into()).is_some(), "{addr}");
        }
    }
}
