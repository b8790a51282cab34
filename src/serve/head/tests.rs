use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 64 * 1024,
};

fn read(bytes: &[u8]) -> Result<Parsed, HeadError> {
    parse(bytes, &mut Scan::default(), &LIMITS)
}

fn head(text: &str) -> Head {
    match read(text.as_bytes()) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn verdict(answer: &Result<Parsed, HeadError>) -> String {
    match answer {
        Ok(Parsed::Complete(_)) => "whole".to_owned(),
        Ok(Parsed::Partial) => "partial".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// `expected` is "whole", "partial" or the details of the refusal.
fn check(bytes: impl AsRef<[u8]>, expected: &str) {
    let bytes = bytes.as_ref();
    assert_eq!(verdict(&read(bytes)), expected, "{}", bytes.escape_ascii());
}

/// A GET with these field lines between a right request line and the end.
fn check_fields(lines: impl AsRef<[u8]>, expected: &str) {
    let start: &[u8] = b"GET http://h/ HTTP/1.1\r\nHost: h\r\n";
    check([start, lines.as_ref(), b"\r\n"].concat(), expected);
}

#[test]
fn a_head_is_taken_apart() {
    let text = "CONNECT push.test:443 HTTP/1.1\r\nHost: push.test:443\r\nX-Empty:\r\nX-a:  b c \t\r\nx-A: d\r\n\r\nearly";
    let head = head(text);
    assert_eq!(head.method(), "CONNECT");
    assert!(head.is_connect());
    assert_eq!(head.request_target(), b"push.test:443");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.len(), text.len() - "early".len());
    let values: Vec<_> = head.field_values("X-A").collect();
    assert_eq!(values, [&b"b c"[..], b"d"]);
    assert_eq!(head.field_values("x-empty").next(), Some(&b""[..]));
    assert_eq!(head.field_values("x-none").next(), None);
    let names: Vec<_> = head.fields().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"Host"[..], b"X-Empty", b"X-a", b"x-A"]);
}

#[test]
fn real_requests_pass() {
    check("CONNECT push.test:443 HTTP/1.0\r\n\r\n", "whole");
    check(
        "CONNECT push.test:443 HTTP/1.1\r\nHost: 127.0.0.1:3128\r\n\r\n",
        "whole",
    );
    check(
        "CONNECT [::1]:443 HTTP/1.1\r\nhost:[::1]:443\r\n\r\n",
        "whole",
    );
    check(
        "GET http://h/a?b=%7c|{} HTTP/1.1\r\nHost: h\r\n\r\n",
        "whole",
    );
    check(
        "POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "whole",
    );
    check("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "whole");
    check("M-SEARCH * HTTP/1.1\r\nHost: h\r\n\r\n", "whole");
    check("\r\nGET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "whole");
    check_fields(b"X: caf\xe9 \xff\r\n", "whole");
    assert_eq!(head("\r\nGET / HTTP/1.0\r\n\r\n").len(), 20);
    check("connect push.test:443 HTTP/1.1\r\nHost: h\r\n\r\n", "whole");
    assert!(!head("connect push.test:443 HTTP/1.1\r\nHost: h\r\n\r\n").is_connect());
}

#[test]
fn other_protocols_are_known_by_their_first_bytes() {
    check([0x16], "a TLS hello on a plain listener");
    check([0x16, 3, 1, 2, 0, 1], "a TLS hello on a plain listener");
    check([5, 1, 0], "a SOCKS greeting on an HTTP listener");
    check([4, 1, 0], "a SOCKS greeting on an HTTP listener");
    check(
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/2 on an HTTP/1.1 listener",
    );
    check("PRI * HTTP/2", "HTTP/2 on an HTTP/1.1 listener");
    let proxied = "a PROXY protocol header from an address not trusted with it";
    check("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET", proxied);
    check("PROXY UNKNOWN\r\nGET", proxied);
    check("\r\n\r\n\0\r\nQUIT\n", "empty lines before the request");
}

#[test]
fn lines_end_in_crlf_and_in_nothing_else() {
    check("GET / HTTP/1.1\n", "LF without CR");
    check("\n", "LF without CR");
    check("\r\n\n", "LF without CR");
    check("GET / HTTP/1.1\rH", "CR without LF");
    check("\rGET", "CR without LF");
    check("GET / HTTP/1.1\r\r\n", "CR without LF");
    check("GET\n", "LF without CR");
    check("GET /\r ", "CR without LF");
    check("\r\n\r\n", "empty lines before the request");
    check("GET /\0", "NUL byte");
    check("\0", "NUL byte");
    check("GE\0T", "NUL byte");
    check_fields("X: a\nY: b\r\n", "LF without CR");
    check_fields("X: a\rY: b\r\n", "CR without LF");
    check_fields("X: a\r\r\n", "CR without LF");
    check_fields("X: a\rY: b\n", "CR without LF");
    check("GET / HTTP/1.1\r\nHost\rx", "CR without LF");
    check("GET / HTTP/1.1\r\nHost: h\rx", "CR without LF");
    check("GET /\rx", "CR without LF");
    check_fields("X: a\0\r\n", "NUL byte");
    check_fields("X\0: a\r\n", "NUL byte");
    check_fields("\0", "NUL byte");
    check("GET http://h/ HTTP/1.1\r\nHost: h\r\n\n", "LF without CR");
    check("GET http://h/ HTTP/1.1\r\nHost: h\r\n\rX", "CR without LF");
    check("GET http://h/ HTTP/1.1\r\nHost: h\n\r\n", "LF without CR");
}

#[test]
fn a_request_line_has_three_parts_and_two_spaces() {
    let method = "method is not a token of at most 64 bytes";
    check(" GET", method);
    check("\tGET", method);
    check("G(T", method);
    check("GET\t/", method);
    check("\u{e9}", method);
    check("(", method);
    check(format!("{} / HTTP/1.0\r\n\r\n", "G".repeat(64)), "whole");
    check("G".repeat(65), method);
    let target = "request target has a byte that no URI has";
    check("GET /\t", target);
    check("GET /\x7f", target);
    check("GET /\u{e9}", target);
    check("GET \t", target);
    let line = "request line is not method, target and version";
    check("GET  ", line);
    check("GET\r\n", line);
    check("GET /\r\n", line);
    check("GET \r\n", line);
    let version = "version is neither HTTP/1.0 nor HTTP/1.1";
    check("GET / \r\n", version);
    check("GET /  ", version);
    check("GET / HTTP/1.\r\n", version);
    check("GET / HTTP/1.1 ", version);
    check("GET / HTTP/1.10", version);
    check("GET / HTTP/1.2", version);
    check("GET / HTTP/0", version);
    check("GET / HTTP/2", version);
    check("GET / http", version);
    check("GET / ICAP", version);
    check("GET /a b", version);
    check("CONNECT a:1 b:2", version);
}

#[test]
fn field_lines_are_name_colon_value() {
    check_fields(" X: a\r\n", "field line begins with a space");
    check_fields("\tX: a\r\n", "field line begins with a space");
    check_fields("X: a\r\n b\r\n", "field line begins with a space");
    check("GET / HTTP/1.1\r\n ", "field line begins with a space");
    check_fields(" \r\n", "field line begins with a space");
    check_fields("X : a\r\n", "space before a colon");
    check_fields("X\t: a\r\n", "space before a colon");
    check_fields("X y: a\r\n", "space before a colon");
    check_fields(": a\r\n", "field name is not a token");
    check_fields("X(: a\r\n", "field name is not a token");
    check_fields("\u{e9}: a\r\n", "field name is not a token");
    check_fields("X\x7f: a\r\n", "field name is not a token");
    check_fields("X\r\n", "field line without a colon");
    check_fields("X: a\x01\r\n", "control character in a field value");
    check_fields("X: a\x7f\r\n", "control character in a field value");
    check_fields("X: a\x0bb\r\n", "control character in a field value");
    check_fields("X: a\tb: c\r\n", "whole");
    check_fields("X:\r\n", "whole");
    check_fields("X: \t \r\n", "whole");
}

#[test]
fn there_is_one_valid_host() {
    let with = |fields: &str, expected: &str| {
        check(format!("CONNECT a:1 HTTP/1.1\r\n{fields}\r\n"), expected);
    };
    with("", "Host missing");
    with("Host: a\r\nhost: a\r\n", "more than one Host");
    with("Host: a\r\nX: y\r\nHOST: b\r\n", "more than one Host");
    for valid in [
        "a",
        "a.test",
        "a:1",
        "a:",
        "a:65535",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:443",
        "[::ffff:127.0.0.1]",
        "a_b",
        "other.test:1",
        "xn--a",
    ] {
        with(&format!("Host: {valid}\r\n"), "whole");
    }
    for invalid in [
        "", " ", "a b", "a,b c", "a/b", "http://a", "u@a", "a:1:2", "a:x", ":80", "a:123456",
        "[::1", "[::1]x", "[]", "[g::]", "a\u{e9}", "a?b", "a#b", "a\\b", "a\"", "<a>", "::1",
    ] {
        with(&format!("Host: {invalid}\r\n"), "Host invalid");
    }
    check("CONNECT a:1 HTTP/1.0\r\n\r\n", "whole");
    check("CONNECT a:1 HTTP/1.0\r\nHost: a b\r\n\r\n", "Host invalid");
    check(
        "CONNECT a:1 HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        "more than one Host",
    );
}

#[test]
fn connect_has_no_body() {
    for field in [
        "Content-Length: 0",
        "content-length: 5",
        "Transfer-Encoding: chunked",
        "transfer-encoding:",
    ] {
        let fields = format!("Host: a\r\n{field}\r\n\r\n");
        check(
            format!("CONNECT a:1 HTTP/1.1\r\n{fields}"),
            "CONNECT with a body",
        );
        check(format!("POST http://a/ HTTP/1.1\r\n{fields}"), "whole");
    }
}

#[test]
fn a_part_of_a_right_head_is_partial() {
    let text = "\r\nCONNECT a:1 HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n";
    for end in 0..text.len() {
        check(&text[..end], "partial");
    }
    check(text, "whole");
}

#[test]
fn heads_are_limited_as_a_whole_and_by_their_parts() {
    let check = |text: &str, head_bytes, expected: &str, reason: Option<Reason>| {
        let answer = parse(
            text.as_bytes(),
            &mut Scan::default(),
            &HeadLimits { head_bytes },
        );
        assert_eq!(verdict(&answer), expected, "{head_bytes}: {text}");
        assert_eq!(
            answer.err().map(HeadError::reason),
            reason,
            "{head_bytes}: {text}"
        );
    };
    let too_large = Some(Reason::HeadTooLarge);
    let too_long = Some(Reason::UriTooLong);
    let text = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    check(text, text.len(), "whole", None);
    check(&format!("{text}{text}"), text.len(), "whole", None);
    check(text, text.len() - 1, "head too large", too_large);
    check(
        &text[..text.len() - 1],
        text.len() - 1,
        "head too large",
        too_large,
    );
    check(text, 16, "head too large", too_large);
    check(text, 15, "request target too long", too_long);
    check(&text[..14], 15, "partial", None);

    let line = |len| format!("GET {} HTTP/1.0\r\n\r\n", "/".repeat(len));
    check(&line(50), 100, "whole", None);
    check(&line(51), 100, "request target too long", too_long);
    check(
        &line(51)[..4 + 51],
        100,
        "request target too long",
        too_long,
    );
    check(&line(51)[..4 + 50], 100, "partial", None);

    let fields = |count| format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(count));
    check(&fields(200), 64 * 1024, "whole", None);
    check(&fields(256), 64 * 1024, "whole", None);
    check(&fields(257), 64 * 1024, "too many fields", too_large);
    check(&fields(5_000), 64 * 1024, "too many fields", too_large);
    check(
        &format!("GET / HTTP/1.0\r\na: {}", "b".repeat(70_000)),
        64 * 1024,
        "head too large",
        too_large,
    );
    check(
        &format!("GET / HTTP/1.0\r\n{}", "b".repeat(70_000)),
        64 * 1024,
        "head too large",
        too_large,
    );
}

#[test]
fn the_connection_lives_on_when_both_sides_know_it() {
    let check = |version: &str, fields: &str, alive: bool| {
        let head = head(&format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n"));
        assert_eq!(head.keep_alive(), alive, "{version} {fields:?}");
    };
    check("1.1", "", true);
    check("1.1", "Connection: keep-alive\r\n", true);
    check("1.1", "Connection: close\r\n", false);
    check("1.1", "Connection: TE, Close\r\n", false);
    check("1.1", "Connection: TE\r\nConnection: close\r\n", false);
    check("1.1", "Connection: closed\r\n", true);
    check("1.1", "Proxy-Connection: close\r\n", true);
    check("1.0", "", false);
    check("1.0", "Connection: Keep-Alive\r\n", true);
    check("1.0", "Connection: Keep-Alive, TE\r\n", true);
    check("1.0", "Connection: keep-alive, close\r\n", false);
    check("1.0", "Proxy-Connection: keep-alive\r\n", false);
}

#[test]
fn a_shown_head_keeps_its_secrets() {
    let head = head(
        "GET http://h/token HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n",
    );
    let shown = format!("{head:?}");
    assert!(
        !shown.contains("c2VjcmV0") && !shown.contains("99, 50") && !shown.contains("token"),
        "{shown}"
    );
}

#[test]
fn a_head_that_comes_byte_by_byte_is_looked_at_once() {
    let text = format!("GET / HTTP/1.0\r\nx: {}\r\n\r\n", "y".repeat(60_000)).into_bytes();
    let mut scan = Scan::default();
    for end in 1..text.len() {
        assert!(matches!(
            parse(&text[..end], &mut scan, &LIMITS),
            Ok(Parsed::Partial)
        ));
    }
    assert!(matches!(
        parse(&text, &mut scan, &LIMITS),
        Ok(Parsed::Complete(_))
    ));
}

/// Bytes close to heads: pieces that mean something, in any order, most of them right.
fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => Just("GET http://h/ HTTP/1.1\r\n".to_owned()),
        4 => Just("CONNECT h:443 HTTP/1.0\r\n".to_owned()),
        1 => "[A-Z]{1,5} [!-~]{0,20} HTTP/[012.]{1,3}\r?\n",
    ];
    let piece = prop_oneof![
        6 => "[A-Za-z-]{1,8}: [ -~]{0,12}\r\n",
        4 => Just("Host: h\r\n".to_owned()),
        2 => Just("\r\n".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("\r".to_owned()),
        1 => Just(" ".to_owned()),
        1 => Just("\0".to_owned()),
        1 => Just("Content-Length: 3\r\n".to_owned()),
        1 => "\\PC{0,4}",
    ];
    (
        prop::option::weighted(0.1, Just("\r\n")),
        line,
        prop::collection::vec(piece, 0..8),
        any::<bool>(),
    )
        .prop_map(|(blank, line, pieces, end)| {
            let end = if end { "\r\n" } else { "" };
            [blank.unwrap_or_default(), &line, &pieces.concat(), end]
                .concat()
                .into_bytes()
        })
}

/// The verdict on a head, asked again after every cut, as a connection would.
fn read_in_pieces(bytes: &[u8], cuts: &[usize], limits: &HeadLimits) -> String {
    let mut scan = Scan::default();
    for &cut in cuts.iter().filter(|&&cut| cut < bytes.len()) {
        match parse(&bytes[..cut], &mut scan, limits) {
            Ok(Parsed::Partial) => {}
            ended => return verdict(&ended),
        }
    }
    verdict(&parse(bytes, &mut scan, limits))
}

fn check_cuts(bytes: &[u8], mut cuts: Vec<usize>, head_bytes: usize) -> Result<(), TestCaseError> {
    let limits = HeadLimits { head_bytes };
    let whole = verdict(&parse(bytes, &mut Scan::default(), &limits));
    prop_assert_ne!(
        &whole,
        "head malformed",
        "httparse reads {} otherwise",
        bytes.escape_ascii()
    );
    cuts.sort_unstable();
    prop_assert_eq!(read_in_pieces(bytes, &cuts, &limits), whole.clone());
    let every: Vec<_> = (0..bytes.len()).collect();
    prop_assert_eq!(read_in_pieces(bytes, &every, &limits), whole);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_get_the_same_verdict_however_they_are_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(0usize..200, 0..4),
        head_bytes in 0usize..250,
    ) {
        check_cuts(&bytes, cuts, head_bytes)?;
    }

    #[test]
    fn heads_get_the_same_verdict_however_they_are_cut(
        bytes in near_heads(),
        cuts in prop::collection::vec(0usize..200, 0..4),
        head_bytes in 20usize..400,
    ) {
        check_cuts(&bytes, cuts, head_bytes)?;
    }

    #[test]
    fn what_is_accepted_keeps_the_rules(bytes in near_heads()) {
        if let Ok(Parsed::Complete(head)) = read(&bytes) {
            let text = &bytes[..head.len()];
            prop_assert!(text.ends_with(b"\r\n\r\n"));
            let lines = text.iter().filter(|&&byte| byte == b'\n').count();
            prop_assert_eq!(lines, text.windows(2).filter(|pair| pair == b"\r\n").count());
            prop_assert_eq!(lines, text.iter().filter(|&&byte| byte == b'\r').count());
            prop_assert_eq!(head.fields().count() + 2 + usize::from(text.starts_with(b"\r\n")), lines);
            for (name, value) in head.fields() {
                prop_assert!(!name.is_empty());
                prop_assert_eq!(value.trim_ascii(), value);
            }
        }
    }
}
