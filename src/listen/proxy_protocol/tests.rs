use proptest::prelude::*;

use super::*;

/// `wait`, an error's words, `-` for no source, or the source; then how many bytes were taken.
fn told(bytes: &[u8], cuts: &[usize]) -> (String, usize) {
    let mut parser = Parser::default();
    let mut taken = 0;
    let mut begin = 0;
    let ends = cuts.iter().map(|cut| cut % (bytes.len() + 1));
    let mut ends: Vec<_> = ends.chain([bytes.len()]).collect();
    ends.sort_unstable();
    for end in ends {
        match parser.take(&bytes[begin..end]) {
            Err(error) => return (format!("{error:?}"), 0),
            Ok((ours, header)) => {
                taken += ours;
                if let Some(Header { source }) = header {
                    let source = source.map_or_else(|| "-".into(), |source| source.to_string());
                    return (source, taken);
                }
                assert_eq!(ours, end - begin, "what waits was taken whole");
            }
        }
        begin = end;
    }
    ("wait".into(), taken)
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE.as_slice(), &[command, family], &len, rest].concat()
}

const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x9C, 0x40, 0x0C, 0x38];

fn v6(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    [
        source.octets().as_slice(),
        &[0; 16],
        &[0x9C, 0x40, 0x0C, 0x38],
    ]
    .concat()
}

#[test]
fn version_1() {
    let check = |line: &str, wanted: &str| {
        assert_eq!(told(line.as_bytes(), &[]).0, wanted, "{line:?}");
    };
    check(
        "PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128\r\n",
        "192.0.2.7:40000",
    );
    check("PROXY TCP4 192.0.2.7 10.0.0.1 0 65535\r\n", "192.0.2.7:0");
    check(
        "PROXY TCP6 2001:db8::7 ::1 40000 3128\r\n",
        "[2001:db8::7]:40000",
    );
    check("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7:1");
    check("PROXY UNKNOWN\r\n", "-");
    check("PROXY UNKNOWN what ever 1 2\r\n", "-");
    check("PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128", "wait");
    check("PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128\r", "wait");
    for malformed in [
        "PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128\rx",
        "PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128 \r\n",
        "PROXY TCP4  192.0.2.7 10.0.0.1 40000 3128\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 40000 65536\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 040000 1\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 +4 1\r\n",
        "PROXY TCP4 192.0.2.07 10.0.0.1 4 1\r\n",
        "PROXY TCP4 192.0.2.7 ::1 4 1\r\n",
        "PROXY TCP4 ::1 10.0.0.1 4 1\r\n",
        "PROXY TCP6 192.0.2.7 ::1 4 1\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 4 1\r\n",
        "PROXY UDP4 192.0.2.7 10.0.0.1 4 1\r\n",
        "PROXY tcp4 192.0.2.7 10.0.0.1 4 1\r\n",
        "PROXY \r\n",
    ] {
        check(malformed, "Line");
    }
    check(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)), "-");
    check(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)), "TooLong");
    for none in ["GET / HTTP/1.1\r\n", "POST", "PROXy", "PROXY\r\n", "\x16"] {
        check(none, "NoHeader");
    }
}

#[test]
fn version_2() {
    let check = |header: &[u8], wanted: &str| {
        assert_eq!(told(header, &[]).0, wanted, "{header:?}");
    };
    check(&v2(0x21, 0x11, &V4), "192.0.2.7:40000");
    check(&v2(0x21, 0x21, &v6("2001:db8::7")), "[2001:db8::7]:40000");
    check(&v2(0x21, 0x21, &v6("::ffff:192.0.2.7")), "192.0.2.7:40000");
    // Extensions behind the addresses are skipped, whatever they hold.
    let extended = [V4.as_slice(), &[0xFF; 4084]].concat();
    check(&v2(0x21, 0x11, &extended), "192.0.2.7:40000");
    // LOCAL says nothing of whom, whatever family it has.
    check(&v2(0x20, 0x00, &[]), "-");
    check(&v2(0x20, 0x11, &V4), "-");
    check(&v2(0x20, 0x7F, &[1, 2, 3]), "-");
    check(&v2(0x21, 0x00, &[]), "-");
    check(&v2(0x21, 0x00, &[9; 7]), "-");
    check(&v2(0x21, 0x31, &[b'/'; 216]), "-");
    check(&v2(0x21, 0x11, &V4[..11]), "Short");
    check(&v2(0x21, 0x21, &V4), "Short");
    check(&v2(0x21, 0x12, &V4), "Family");
    check(&v2(0x21, 0x41, &V4), "Family");
    check(&v2(0x22, 0x11, &V4), "Command");
    check(&v2(0x11, 0x11, &V4), "Version");
    check(&v2(0x21, 0x11, &[0; 4097]), "TooLong");
    check(b"\r\n\r\n\0\r\nQUIT\r", "NoHeader");
    check(b"\r\n\r\nGET", "NoHeader");
    check(SIGNATURE, "wait");
    check(&v2(0x21, 0x11, &V4)[..27], "wait");
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| {
            let ip = Ipv4Addr::from(ip);
            format!("PROXY TCP4 {ip} 10.0.0.1 {port} 1\r\n").into_bytes()
        }),
        Just(b"PROXY UNKNOWN\r\n".to_vec()),
        (any::<[u8; 12]>(), 0..300usize).prop_map(|(addresses, more)| {
            v2(0x21, 0x11, &[addresses.as_slice(), &vec![7; more]].concat())
        }),
        (any::<[u8; 36]>()).prop_map(|addresses| v2(0x21, 0x21, &addresses)),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|rest| v2(0x20, 0, &rest)),
    ]
}

proptest! {
    #[test]
    fn a_header_is_taken_to_its_last_byte_however_it_is_cut(
        header in header(),
        behind in prop::collection::vec(any::<u8>(), 0..64),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let bytes = [header.as_slice(), &behind].concat();
        let (word, taken) = told(&bytes, &cuts);
        prop_assert_eq!(taken, header.len(), "{}", &word);
        prop_assert_eq!(word, told(&header, &[]).0);
    }

    #[test]
    fn anything_gets_the_same_verdict_however_it_is_cut(
        beginning in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&SIGNATURE[..])],
        rest in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let bytes = [beginning, &rest].concat();
        prop_assert_eq!(told(&bytes, &cuts), told(&bytes, &[]));
    }
}
