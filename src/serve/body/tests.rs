use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 1024 };

fn framing(fields: &str, version: &str) -> String {
    let head = format!("POST http://a.test/ HTTP/{version}\r\nHost: a.test\r\n{fields}\r\n");
    match head::parse(head.as_bytes(), &mut Scan::default(), &LIMITS) {
        Ok(head::Parsed::Complete(head)) => match Framing::of(&head) {
            Ok(framing) => format!("{framing:?}"),
            Err(error) => format!("{error:?}"),
        },
        other => format!("{other:?}"),
    }
}

#[test]
fn framings() {
    for (fields, want) in [
        ("", "None"),
        ("Content-Length: 0\r\n", "Length(0)"),
        ("Content-Length: 12\r\n", "Length(12)"),
        ("content-length:\t12 \r\n", "Length(12)"),
        (
            "Content-Length: 18446744073709551615\r\n",
            "Length(18446744073709551615)",
        ),
        ("Content-Length: 18446744073709551616\r\n", "LengthInvalid"),
        ("Content-Length: +1\r\n", "LengthInvalid"),
        ("Content-Length: -1\r\n", "LengthInvalid"),
        ("Content-Length: 1, 1\r\n", "LengthInvalid"),
        ("Content-Length: 0x1\r\n", "LengthInvalid"),
        ("Content-Length: 1 1\r\n", "LengthInvalid"),
        ("Content-Length:\r\n", "LengthInvalid"),
        (
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "LengthDoubled",
        ),
        (
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "LengthDoubled",
        ),
        ("Transfer-Encoding: chunked\r\n", "Chunked"),
        ("transfer-encoding: CHUNKED\r\n", "Chunked"),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "TwoFramings",
        ),
        (
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            "TwoFramings",
        ),
        ("Transfer-Encoding: gzip, chunked\r\n", "TransferEncoding"),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            "TransferEncoding",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "TransferEncoding",
        ),
        ("Transfer-Encoding: xchunked\r\n", "TransferEncoding"),
        ("Transfer-Encoding: chunked;q=1\r\n", "TransferEncoding"),
        ("Transfer-Encoding: identity\r\n", "TransferEncoding"),
        ("Transfer-Encoding:\r\n", "TransferEncoding"),
        ("Transfer-Encoding: \u{b}chunked\r\n", "Err(FieldValue)"),
    ] {
        assert_eq!(framing(fields, "1.1"), want, "{fields}");
    }
    assert_eq!(
        framing("Transfer-Encoding: chunked\r\n", "1.0"),
        "ChunkedTooEarly"
    );
}

/// Body, trailers and what is left; or the error.
fn read(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, String, Vec<u8>), BodyError> {
    let mut decoder = Decoder::new(framing, LIMITS);
    let mut body = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let mut at = 0;
        loop {
            let (done, what) = decoder.read(&piece[at..])?;
            match what {
                Piece::Data(range) => body.extend_from_slice(&piece[at..][range]),
                Piece::More => break,
                Piece::End(trailers) => {
                    let mut left = piece[at + done..].to_vec();
                    left.extend(pieces[number + 1..].concat());
                    let told = trailers.map_or_else(|| "-".to_owned(), |map| format!("{map:?}"));
                    return Ok((body, told, left));
                }
            }
            at += done;
        }
    }
    Ok((body, "unfinished".to_owned(), Vec::new()))
}

fn told(framing: Framing, bytes: &str) -> String {
    match read(framing, &[bytes.as_bytes()]) {
        Ok((body, trailers, left)) => format!(
            "{} {trailers} {}",
            String::from_utf8_lossy(&body),
            String::from_utf8_lossy(&left)
        ),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn lengths_take_what_is_theirs() {
    assert_eq!(told(Framing::Length(3), "abcGET"), "abc - GET");
    assert_eq!(told(Framing::Length(0), "GET"), " - GET");
    assert_eq!(told(Framing::None, "GET"), " - GET");
    assert_eq!(told(Framing::Length(5), "abc"), "abc unfinished ");
}

#[test]
fn chunks() {
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(EXTENSION_BYTES + 1));
    for (bytes, want) in [
        ("0\r\n\r\nGET", " - GET"),
        ("3\r\nabc\r\n0\r\n\r\nGET", "abc - GET"),
        ("A\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\n", "0123456789x - "),
        ("3;name=value\r\nabc\r\n0;last\r\n\r\n", "abc - "),
        (
            "1\r\na\r\n0\r\nX-Sum: 1\r\n\r\nGET",
            "a {\"x-sum\": \"1\"} GET",
        ),
        ("3\r\nabc", "abc unfinished "),
        ("3\r\nabcd\r\n", "ChunkEnd"),
        ("3\nabc\r\n", "BareLf"),
        ("3\r\nabc\n0\r\n\r\n", "BareLf"),
        ("3\rabc", "BareCr"),
        ("3\r\nabc\rx", "BareCr"),
        ("3 \r\nabc\r\n", "ChunkSize"),
        (" 3\r\nabc\r\n", "ChunkSize"),
        ("+3\r\nabc\r\n", "ChunkSize"),
        ("0x3\r\nabc\r\n", "ChunkSize"),
        ("\r\n", "ChunkSize"),
        (";x\r\n", "ChunkSize"),
        ("g\r\n", "ChunkSize"),
        ("00000000000000003\r\nabc\r\n", "ChunkSize"),
        ("fffffffffffffffff\r\n", "ChunkSize"),
        ("3;a\nb\r\nabc\r\n", "BareLf"),
        ("3;a\0b\r\nabc\r\n", "Extension"),
        ("0\r\nX-Sum : 1\r\n\r\n", "Trailer(SpaceBeforeColon)"),
        ("0\r\n folded\r\n\r\n", "Trailer(ObsFold)"),
        ("0\r\nX: 1\n\r\n", "Trailer(BareLf)"),
        (&long, "Extension"),
    ] {
        assert_eq!(told(Framing::Chunked, bytes), want, "{bytes:.80}");
    }
    let endless = format!("0\r\n{}", "X: 1\r\n".repeat(1000));
    assert_eq!(told(Framing::Chunked, &endless), "Trailer(TooLarge)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn how_it_is_cut_changes_nothing(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..5),
        trailer in any::<bool>(),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend(format!("{:x};e\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n");
        if trailer {
            bytes.extend(b"X-Sum: 1\r\n");
        }
        bytes.extend(b"\r\nGET / HTTP/1.1");
        let clean = noise.is_empty();
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = read(Framing::Chunked, &[&bytes]);
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces: Vec<_> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&read(Framing::Chunked, &pieces), &whole);
        if clean {
            let (body, _, left) = whole.expect("well-formed");
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(left, b"GET / HTTP/1.1");
        }
    }
}
