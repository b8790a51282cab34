use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::config::{Secret, UserLine};
use crate::exchange::UserName;
use crate::gate::credentials::{self, Credentials};

const ALL: [Algorithm; 4] = [
    Algorithm::Md5,
    Algorithm::Sha256,
    Algorithm::Md5Sess,
    Algorithm::Sha256Sess,
];

fn users(user: &str, realm: &str, password: &str) -> Users {
    let parts = [user.as_bytes(), realm.as_bytes(), password.as_bytes()];
    let line = |kind| UserLine {
        user: UserName::new(user),
        realm: realm.to_owned(),
        kind,
        ha1: Secret::new(hash(kind, &parts).as_bytes()),
    };
    Users::new(&[line(HashKind::Md5), line(HashKind::Sha256)])
}

#[track_caller]
fn digest_of(value: &str) -> Digest<'_> {
    match credentials::parse(value.as_bytes()) {
        Ok(Credentials::Digest(digest)) => digest,
        other => panic!("{other:?}"),
    }
}

/// Mufasa's answer to `GET /dir/index.html`, as the RFCs print it.
#[track_caller]
fn check_vector(realm: &str, password: &str, rest: &str, want: Option<Algorithm>) {
    let value =
        format!("Digest username=\"Mufasa\", realm=\"{realm}\", uri=\"/dir/index.html\", {rest}");
    let digest = digest_of(&value);
    let users = users("Mufasa", realm, password);
    let algorithm = algorithm_of(&digest, &ALL).expect("a known algorithm");
    let proven = verify(&users, &digest, algorithm, "GET").map(|_| algorithm);
    assert_eq!(proven, want, "{rest}");
    assert!(verify(&users, &digest, algorithm, "POST").is_none());
}

#[test]
fn the_vectors_of_the_rfcs() {
    let rfc7616 = r#"nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth"#;
    let (md5, sha256) = (
        "response=\"8ca523f5e9506fed4657c9700eebdbec\"",
        "response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\"",
    );
    let check = |password: &str, answer: String, want| {
        let rest = format!("{rfc7616}, {answer}");
        check_vector("http-auth@example.org", password, &rest, want);
    };
    let circle = "Circle of Life";
    check(
        circle,
        format!("algorithm=MD5, {md5}"),
        Some(Algorithm::Md5),
    );
    check(circle, md5.to_owned(), Some(Algorithm::Md5));
    check(
        circle,
        format!("algorithm=SHA-256, {sha256}"),
        Some(Algorithm::Sha256),
    );
    // MD5 that says it is SHA-256.
    check(
        circle,
        format!("algorithm=\"SHA-256\", {md5}"),
        Some(Algorithm::Md5),
    );
    check(circle, format!("algorithm=MD5, {sha256}"), None);
    check("Circle Of Life", format!("algorithm=MD5, {md5}"), None);

    let rfc2617 = r#"nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=auth, nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
    check_vector(
        "testrealm@host.com",
        "Circle Of Life",
        rfc2617,
        Some(Algorithm::Md5),
    );
    // RFC 2069 §2.4 as its erratum 749 corrects it.
    let rfc2069 = r#"nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", response="1949323746fe6a43ef61f9606e7febea""#;
    check_vector(
        "testrealm@host.com",
        "CircleOfLife",
        rfc2069,
        Some(Algorithm::Md5),
    );
}

#[test]
fn the_proof_of_our_own_side() {
    let (nc, cnonce) = (
        "nc=00000001",
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    );
    let check = |algorithm: Algorithm, rspauth: &str| {
        let value = format!(
            r#"Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", response="", {nc}, cnonce="{cnonce}", qop=auth"#
        );
        let kind = kind(algorithm);
        let ha1 = hash(
            kind,
            &[b"Mufasa", b"http-auth@example.org", b"Circle of Life"],
        );
        let info = authentication_info(ha1.as_bytes(), &digest_of(&value), algorithm);
        let want = format!(r#"qop=auth, rspauth="{rspauth}", cnonce="{cnonce}", {nc}"#);
        assert_eq!(info, Some(want));
    };
    check(Algorithm::Md5, "9b712497bc9f91499fbcca1dfc5f09a5");
    check(
        Algorithm::Sha256,
        "86d3b25618d41854ca5039a5d7e53ff6355d5134a9b1fb088a78ac3c462195a0",
    );
    // What cannot stand in a field of ours is not sent back, and RFC 2069 knows nothing to be proved.
    let mut digest = answer(Algorithm::Md5, true, "secret");
    assert!(authentication_info(b"", &digest, Algorithm::Md5).is_some());
    for cnonce in [&b"a\"b"[..], b"a\\b", b"\xFF", b"a\rb"] {
        if let Qop::Auth { cnonce: slot, .. } = &mut digest.qop {
            *slot = Cow::Borrowed(cnonce);
        }
        assert_eq!(authentication_info(b"", &digest, Algorithm::Md5), None);
    }
    let old = answer(Algorithm::Md5, false, "secret");
    assert_eq!(authentication_info(b"", &old, Algorithm::Md5), None);
}

/// RFC 7616 §3.9.2, whose user has a name beyond ASCII and is sent as a hash.
#[test]
fn the_user_of_the_rfc_who_hides_his_name() {
    let with = |algorithm: &str, user: &str, response: &str| {
        format!(
            r#"Digest username="{user}", realm="api@example.org", uri="/doe.json", algorithm={algorithm}, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", nc=00000001, cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm", qop=auth, response="{response}", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGChXYjwrI2QmXDnsOS", userhash=true"#
        )
    };
    // As it is printed, with SHA-512-256, it is read and not accepted.
    let printed = with(
        "SHA-512-256",
        "488869477bf257147b804c45308cd62ac4e25eb717b12b298c79e62dcea254ec",
        "ae66e67d6b427bd3f120414a82e4acff38e8ecd9101d6c861229025f607a79dd",
    );
    assert_eq!(algorithm_of(&digest_of(&printed), &ALL), None);
    // The same exchange with the two algorithms that we know.
    let users = users("J\u{e4}s\u{f8}n Doe", "api@example.org", "Secret, or not?");
    let check = |algorithm, user, response| {
        let value = with(Algorithm::token(algorithm), user, response);
        let digest = digest_of(&value);
        let proven = verify(&users, &digest, algorithm, "GET");
        assert_eq!(
            proven.map(|proven| proven.user.as_str()),
            Some("J\u{e4}s\u{f8}n Doe")
        );
        assert_eq!(
            meant(&users, &digest).name().map(UserName::as_str),
            Some("J\u{e4}s\u{f8}n Doe")
        );
    };
    check(
        Algorithm::Md5,
        "2e063fa2c54dea1c36808b7a6e3b14c9",
        "f33f35281ddf05582b8faae5b8014ef5",
    );
    check(
        Algorithm::Sha256,
        "5a1a8a47df5c298551b9b42ba9b05835174a5bd7d511ff7fe9191d8e946fc4e7",
        "06d0c14162099f487a92ebceaf71097534ee5f90d858386449c337ab69f7f6b8",
    );
}

#[test]
fn counts() {
    let count_of = |digits: &'static [u8]| {
        let mut digest = answer(Algorithm::Md5, true, "secret");
        if let Qop::Auth { nc, .. } = &mut digest.qop {
            *nc = Cow::Borrowed(digits);
        }
        count(&digest)
    };
    assert_eq!(count_of(b"00000001"), 1);
    assert_eq!(count_of(b"0000000a"), 10);
    assert_eq!(count_of(b"FFFFFFFF"), u32::MAX);
    assert_eq!(count(&answer(Algorithm::Md5, false, "secret")), 1);
}

/// What an honest client answers.
fn answer(algorithm: Algorithm, qop: bool, password: &str) -> Digest<'static> {
    let kind = kind(algorithm);
    let (nonce, uri) = ("1700000000abc", "push.test:443");
    let (nc, cnonce) = ("00000001", "9f8e7d");
    let ha1 = hash(kind, &[b"ann", b"push", password.as_bytes()]);
    let ha1 = if is_session(algorithm) {
        hash(kind, &[ha1.as_bytes(), nonce.as_bytes(), cnonce.as_bytes()])
    } else {
        ha1
    };
    let ha2 = hash(kind, &[b"CONNECT", uri.as_bytes()]);
    let response = if qop {
        let parts = [
            ha1.as_bytes(),
            nonce.as_bytes(),
            nc.as_bytes(),
            cnonce.as_bytes(),
            b"auth",
            ha2.as_bytes(),
        ];
        hash(kind, &parts)
    } else {
        hash(kind, &[ha1.as_bytes(), nonce.as_bytes(), ha2.as_bytes()])
    };
    Digest {
        user: "ann".to_owned(),
        userhash: false,
        realm: Cow::Borrowed(b"push"),
        nonce: Cow::Borrowed(nonce.as_bytes()),
        uri: Cow::Borrowed(uri.as_bytes()),
        response: Cow::Owned(response.as_bytes().to_vec()),
        algorithm: Some(algorithm),
        qop: if qop {
            Qop::Auth {
                nc: Cow::Borrowed(nc.as_bytes()),
                cnonce: Cow::Borrowed(cnonce.as_bytes()),
            }
        } else {
            Qop::Absent
        },
    }
}

fn proven(digest: &Digest<'_>, algorithm: Algorithm) -> bool {
    verify(
        &users("ann", "push", "secret"),
        digest,
        algorithm,
        "CONNECT",
    )
    .is_some()
}

#[test]
fn every_algorithm_proves_a_password() {
    for algorithm in ALL {
        assert!(proven(&answer(algorithm, true, "secret"), algorithm));
        assert!(!proven(&answer(algorithm, true, "Secret"), algorithm));
        let without_qop = proven(&answer(algorithm, false, "secret"), algorithm);
        assert_eq!(without_qop, !is_session(algorithm));
        let unknown_qop = Digest {
            qop: Qop::Other,
            ..answer(algorithm, false, "secret")
        };
        assert!(!proven(&unknown_qop, algorithm));
    }
}

#[test]
fn a_hashed_user_name_proves_the_same() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let hashed = hash(kind(algorithm), &[b"ann", b"push"]);
        let mut digest = answer(algorithm, true, "secret");
        digest.user = String::from_utf8(hashed.as_bytes().to_vec()).expect("hex is text");
        assert!(!proven(&digest, algorithm));
        digest.userhash = true;
        assert!(proven(&digest, algorithm));
    }
}

#[track_caller]
fn check_algorithm(
    named: Option<Algorithm>,
    digits: usize,
    accepted: &[Algorithm],
    want: Option<Algorithm>,
) {
    let digest = Digest {
        algorithm: named,
        response: Cow::Owned(vec![b'0'; digits]),
        ..answer(Algorithm::Md5, true, "secret")
    };
    assert_eq!(algorithm_of(&digest, accepted), want);
}

#[test]
fn the_algorithm_is_the_one_named_unless_the_length_tells_otherwise() {
    use Algorithm::{Md5, Md5Sess, Sha256, Sha256Sess};
    check_algorithm(Some(Md5), 32, &[Md5, Sha256], Some(Md5));
    check_algorithm(Some(Sha256), 64, &[Md5, Sha256], Some(Sha256));
    check_algorithm(Some(Sha256), 32, &[Md5, Sha256], Some(Md5));
    check_algorithm(Some(Sha256), 32, &[Sha256], Some(Sha256));
    check_algorithm(Some(Md5), 32, &[Sha256], None);
    check_algorithm(Some(Sha256), 64, &[Md5], None);
    check_algorithm(Some(Md5Sess), 32, &[Md5, Sha256], None);
    check_algorithm(Some(Sha256Sess), 32, &[Md5, Sha256Sess], Some(Sha256Sess));
    check_algorithm(None, 32, &[Md5, Sha256], None);
}

#[track_caller]
fn check_uri(uri: &str, method: &str, request_target: &str, want: bool) {
    let got = uri_matches(uri.as_bytes(), method, request_target.as_bytes());
    assert_eq!(got, want, "{uri} for {method} {request_target}");
}

#[test]
fn uris() {
    check_uri("push.test:443", "CONNECT", "push.test:443", true);
    check_uri("Push.test:443", "CONNECT", "push.test:443", false);
    check_uri("push.test", "CONNECT", "push.test:443", false);
    check_uri("/", "CONNECT", "push.test:443", false);
    check_uri("/", "CONNECT", "http://push.test", false);
    check_uri("", "CONNECT", "push.test:443", false);
    check_uri("http://a/b?c", "GET", "http://a/b?c", true);
    check_uri("/b?c", "GET", "http://a/b?c", true);
    check_uri("/b", "GET", "http://a/b?c", false);
    check_uri("b?c", "GET", "http://a/b?c", false);
    check_uri("/", "GET", "http://a", true);
    check_uri("/", "GET", "http://a/", true);
    check_uri("/?c", "GET", "http://a?c", true);
    check_uri("?c", "GET", "http://a?c", false);
    check_uri("//x", "GET", "http://a?c/x", false);
    check_uri("/c", "GET", "http://a/b/c", false);
    check_uri("http://a/b", "GET", "http://A/b", false);
    check_uri("", "GET", "http://a/", false);
    check_uri("/", "OPTIONS", "*", false);
}

/// Which part of an answer a mutation changes.
#[derive(Debug, Clone, Copy)]
enum Part {
    Response,
    Nonce,
    Uri,
    Nc,
    Cnonce,
    User,
}

fn change(digest: &mut Digest<'static>, part: Part, place: usize, byte: u8) -> bool {
    let edit = |text: &mut Cow<'static, [u8]>| {
        let text = text.to_mut();
        let place = place % text.len();
        std::mem::replace(&mut text[place], byte) != byte
    };
    match (part, &mut digest.qop) {
        (Part::Response, _) => edit(&mut digest.response),
        (Part::Nonce, _) => edit(&mut digest.nonce),
        (Part::Uri, _) => edit(&mut digest.uri),
        (Part::Nc, Qop::Auth { nc, .. }) => edit(nc),
        (Part::Cnonce, Qop::Auth { cnonce, .. }) => edit(cnonce),
        (Part::User, _) => {
            let letter = char::from(byte);
            digest.user.insert(place % 4, letter);
            true
        }
        (Part::Nc | Part::Cnonce, Qop::Absent | Qop::Other) => false,
    }
}

proptest! {
    #[test]
    fn a_changed_answer_never_passes(
        algorithm in proptest::sample::select(&ALL[..]),
        qop: bool,
        part in proptest::sample::select(vec![
            Part::Response, Part::Nonce, Part::Uri, Part::Nc, Part::Cnonce, Part::User,
        ]),
        place: usize,
        byte: u8,
    ) {
        let mut digest = answer(algorithm, qop, "secret");
        prop_assume!(change(&mut digest, part, place, byte));
        prop_assert!(!proven(&digest, algorithm));
    }

    #[test]
    fn a_cut_or_lengthened_response_never_passes(cut in 0..64usize, more: Vec<u8>) {
        let mut digest = answer(Algorithm::Sha256, true, "secret");
        let response = digest.response.to_mut();
        response.truncate(cut);
        prop_assert!(!proven(&digest, Algorithm::Sha256));
        let mut digest = answer(Algorithm::Sha256, true, "secret");
        prop_assume!(!more.is_empty());
        digest.response.to_mut().extend(more);
        prop_assert!(!proven(&digest, Algorithm::Sha256));
    }

    #[test]
    fn no_uri_panics(uri: Vec<u8>, request_target: Vec<u8>) {
        uri_matches(&uri, "GET", &request_target);
    }
}
