use proptest::prelude::*;

use super::*;

/// A `server_name` extension of these names.
fn server_name(names: &[&str]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        list.push(HOST_NAME);
        list.extend(vector16(name.as_bytes()));
    }
    extension(SERVER_NAME, &vector16(&list))
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), vector16(data)].concat()
}

fn vector16(data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap();
    [&len.to_be_bytes()[..], data].concat()
}

/// A ClientHello message with these extensions; `None`: it ends before them.
fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    if let Some(extensions) = extensions {
        body.extend(vector16(extensions));
    }
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO, len[1], len[2], len[3]][..], &body].concat()
}

/// The message in records of so many bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |fragment: &[u8]| [&[HANDSHAKE, 3, 1][..], &vector16(fragment)].concat();
    message.chunks(size).flat_map(record).collect()
}

/// The bytes of a hello for this name, in one record.
pub(in crate::relay) fn hello(name: Option<&str>) -> Vec<u8> {
    let name = name.map(|name| server_name(&[name])).unwrap_or_default();
    records(&message(Some(&name)), FRAGMENT_MAX)
}

/// Everything at once.
fn judge(bytes: &[u8]) -> Verdict {
    Hello::default().read(bytes)
}

/// In pieces: at these places.
fn judge_in_pieces(bytes: &[u8], cuts: &[usize]) -> Verdict {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let mut hello = Hello::default();
    for pair in cuts.windows(2) {
        let verdict = hello.read(&bytes[pair[0]..pair[1]]);
        if verdict != Verdict::NeedMore {
            return verdict;
        }
    }
    Verdict::NeedMore
}

fn named(name: &str) -> Verdict {
    Verdict::Hello(Some(Host::parse(name.as_bytes()).unwrap()))
}

#[test]
fn names_are_found_in_their_one_spelling() {
    assert_eq!(judge(&hello(Some("push.test"))), named("push.test"));
    assert_eq!(judge(&hello(Some("PUSH.Test."))), named("push.test"));
    assert_eq!(judge(&hello(Some("127.0.0.1"))), named("127.0.0.1"));
    assert_eq!(judge(&hello(None)), Verdict::Hello(None));
    assert_eq!(
        judge(&records(&message(None), FRAGMENT_MAX)),
        Verdict::Hello(None)
    );
    let among = [
        extension(10, &[1, 2, 3]),
        server_name(&["push.test"]),
        extension(43, b"x"),
    ];
    let whole = records(&message(Some(&among.concat())), 3);
    assert_eq!(judge(&whole), named("push.test"));
    // What comes behind the hello belongs to whoever answers it.
    assert_eq!(judge(&[whole, vec![20, 3, 3]].concat()), named("push.test"));
}

#[test]
fn what_is_no_tls() {
    let check = |bytes: &[u8]| assert_eq!(judge(bytes), Verdict::NotTls, "{bytes:?}");
    check(b"GET / HTTP/1.1\r\n");
    check(b"SSH-2.0-x");
    check(b"\x80\x2e\x01\x03\x01");
    check(b"\x16\x02");
    check(b"\x15\x04");
    check(b"\0");
}

#[test]
fn tls_that_is_no_hello_to_rely_on() {
    let check = |bytes: &[u8]| assert_eq!(judge(bytes), Verdict::Malformed, "{bytes:?}");
    check(&[21, 3, 3]);
    check(&[23, 3]);
    check(&[HANDSHAKE, 3, 1, 0, 0]);
    check(&[HANDSHAKE, 3, 1, 0x40, 1]);
    // A ServerHello; a hello that another record interrupts.
    check(&[HANDSHAKE, 3, 1, 0, 9, 2]);
    check(&[HANDSHAKE, 3, 1, 0, 1, 1, 21]);
    check(&[HANDSHAKE, 3, 1, 0, 1, 1, HANDSHAKE, 2]);
    let on = |extensions: &[u8]| check(&records(&message(Some(extensions)), FRAGMENT_MAX));
    on(&server_name(&["push.test", "evil.test"]));
    on(&[server_name(&["push.test"]), server_name(&["evil.test"])].concat());
    on(&server_name(&[""]));
    on(&server_name(&["push..test"]));
    on(&server_name(&["p\u{fc}sh.test"]));
    on(&server_name(&["push.test\0.evil.test"]));
    on(&extension(SERVER_NAME, b""));
    on(&extension(SERVER_NAME, &[0, 5, 0, 0, 9, b'a', b'b']));
    on(&[0, 0, 0]);
    let mut long = message(Some(&server_name(&["push.test"])));
    long[3] += 1;
    long.push(0);
    check(&records(&long, FRAGMENT_MAX));
}

#[test]
fn sixteen_kib_are_a_hello_and_one_byte_more_is_not() {
    let of = |len: usize| {
        let name = server_name(&["push.test"]);
        let fixed = message(Some(&name)).len() + 4;
        message(Some(&[extension(21, &vec![0; len - fixed]), name].concat()))
    };
    assert_eq!(of(MESSAGE_MAX).len(), MESSAGE_MAX);
    for size in [FRAGMENT_MAX, 17] {
        assert_eq!(judge(&records(&of(MESSAGE_MAX), size)), named("push.test"));
        let long = records(&of(MESSAGE_MAX + 1), size);
        // Known from its first four bytes: it is not waited for.
        assert_eq!(judge(&long[..9]), Verdict::TooLong);
    }
    let message = of(RECORDS_MAX);
    assert_eq!(judge(&records(&message, 1)), named("push.test"));
    assert_eq!(judge(&records(&of(RECORDS_MAX + 1), 1)), Verdict::TooLong);
}

/// Bytes that are sometimes a hello, sometimes nearly one, sometimes anything.
fn openings() -> impl Strategy<Value = Vec<u8>> {
    let name = proptest::option::of("[a-z.-]{0,12}");
    let nearly = (
        name,
        1..80usize,
        any::<proptest::sample::Index>(),
        proptest::option::of(any::<u8>()),
    )
        .prop_map(|(name, size, place, byte)| {
            let name = name.map(|name| server_name(&[&name])).unwrap_or_default();
            let mut bytes = records(&message(Some(&name)), size);
            if let Some(byte) = byte {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        });
    prop_oneof![nearly, proptest::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn a_verdict_does_not_hang_on_how_the_bytes_were_cut(
        bytes in openings(),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let whole = judge(&bytes);
        prop_assert_eq!(judge_in_pieces(&bytes, &cuts), whole.clone());
        let every: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(judge_in_pieces(&bytes, &every), whole);
    }

    #[test]
    fn a_verdict_stands_whatever_follows(bytes in openings(), more in openings()) {
        let whole = judge(&bytes);
        if whole != Verdict::NeedMore {
            prop_assert_eq!(judge(&[bytes, more].concat()), whole);
        }
    }

    #[test]
    fn no_more_is_read_than_is_held(size in 1..20usize, len in 0..2000usize) {
        let endless = records(&[&[CLIENT_HELLO, 0, 0x3f, 0xfc][..], &vec![0; MESSAGE_MAX + len]].concat(), size);
        let mut hello = Hello::default();
        let read = endless.iter().take_while(|byte| hello.read(&[**byte]) == Verdict::NeedMore).count();
        prop_assert!(read < WIRE_MAX, "{read}");
    }
}
