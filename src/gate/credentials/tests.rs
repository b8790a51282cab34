use proptest::prelude::*;

use super::CredentialsError::{
    BadBase64, BadParameters, BadValue, Missing, NoColon, NoScheme, Repeated, TooLong,
    TooManyParameters, UnknownScheme,
};
use super::*;

const DIGEST: &str = r#"username="ann", realm="push", nonce="n", uri="push.test:443", response="r", algorithm=MD5, qop=auth, nc=00000001, cnonce="c""#;

#[track_caller]
fn basic_of(value: &[u8]) -> Basic {
    match parse(value) {
        Ok(Credentials::Basic(basic)) => basic,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn digest_of(value: &str) -> Digest<'_> {
    match parse(value.as_bytes()) {
        Ok(Credentials::Digest(digest)) => digest,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_basic(value: &str, user: &str, password: &[u8]) {
    let basic = basic_of(value.as_bytes());
    assert_eq!(
        (basic.user.as_str(), basic.password.reveal()),
        (user, password)
    );
}

#[test]
fn basic_credentials() {
    check_basic(
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "Aladdin",
        b"open sesame",
    );
    check_basic(
        "basic   QWxhZGRpbjpvcGVuIHNlc2FtZQ==  ",
        "Aladdin",
        b"open sesame",
    );
    check_basic("BASIC YTpiOmM=", "a", b"b:c");
    check_basic("Basic Og==", "", b"");
    // RFC 7617 §2.1: UTF-8.
    check_basic("Basic dGVzdDoxMjPCow==", "test", "123£".as_bytes());
    // The same in ISO-8859-1: the password stays as it came, a user becomes text.
    check_basic("Basic dGVzdDoxMjOj", "test", b"123\xA3");
    check_basic("Basic 5Dp4", "ä", b"x");
}

#[track_caller]
fn check_error(value: &str, want: CredentialsError) {
    assert_eq!(parse(value.as_bytes()), Err(want), "{value}");
}

#[test]
fn what_says_nothing() {
    check_error("", NoScheme);
    check_error("   ", NoScheme);
    check_error("\"Basic\" YTpi", NoScheme);
    check_error("Basic,YTpi", NoScheme);
    check_error("Basic\tYTpi", NoScheme);
    check_error(&format!("Basic {}", "A".repeat(LONGEST)), TooLong);
    check_error("Bearer abc", UnknownScheme);
    check_error("NTLM", UnknownScheme);
    check_error("Negotiate YII=", UnknownScheme);
}

#[test]
fn broken_basic() {
    check_error("Basic", NoColon);
    check_error("Basic YTpi YTpi", BadBase64);
    check_error("Basic YTpiYw", BadBase64);
    check_error("Basic YTpiYw=", BadBase64);
    check_error("Basic YTpi====", BadBase64);
    check_error("Basic YTpi_-", BadBase64);
    check_error("Basic YWI=", NoColon);
}

/// The valid credentials with one parameter set, replaced, or (`""`) left out.
fn with(name: &str, param: &str) -> String {
    let kept = DIGEST
        .split(", ")
        .filter(|kept| !kept.starts_with(&format!("{name}=")));
    let list: Vec<_> = kept.chain([param]).collect();
    format!("Digest {}", list.join(", "))
}

#[test]
fn broken_digest() {
    for name in [
        "username", "realm", "nonce", "uri", "response", "nc", "cnonce",
    ] {
        let value = with(name, "");
        assert_eq!(parse(value.as_bytes()), Err(Missing(name)));
    }
    check_error("Digest", Missing("username"));
    check_error("Digest realm=\"a", BadParameters);
    check_error(&with("none", "realm=\"push\""), Repeated);
    check_error(&with("none", "REALM=\"other\""), Repeated);
    check_error(&with("none", "x=1, x=2"), Repeated);
    check_error(&with("nc", "nc=1"), BadValue("nc"));
    check_error(&with("nc", "nc=0000000g"), BadValue("nc"));
    check_error(&with("nc", "nc=000000001"), BadValue("nc"));
    check_error(&with("none", "userhash=maybe"), BadValue("userhash"));
    let many: Vec<_> = (0..33).map(|n| format!("p{n}=1")).collect();
    check_error(&format!("Digest {}", many.join(",")), TooManyParameters);
}

#[track_caller]
fn check_user(params: &str, want: Result<&str, CredentialsError>) {
    let value = with("username", params);
    let got = parse(value.as_bytes());
    let got = got.map(|credentials| match credentials {
        Credentials::Basic(basic) => basic.user,
        Credentials::Digest(digest) => digest.user,
    });
    assert_eq!(got, want.map(str::to_owned), "{params}");
}

#[test]
fn user_names() {
    let bad = Err(BadValue("username*"));
    check_user("username=ann", Ok("ann"));
    check_user(r#"username="a\"n\\n""#, Ok(r#"a"n\n"#));
    check_user("username*=UTF-8''J%C3%A4s%C3%B8n%20Doe", Ok("Jäsøn Doe"));
    check_user("username*=utf-8'en'ann", Ok("ann"));
    check_user("username*=ISO-8859-1''J%E4s", bad);
    check_user("username*=UTF-8''J%E4s", bad);
    check_user("username*=UTF-8''J%C", bad);
    check_user("username*=UTF-8''J%zz", bad);
    check_user("username*=UTF-8'ann", bad);
    check_user("username*=UTF-8''a'b", bad);
    check_user("username*=\"UTF-8''ann\"", bad);
    check_user("username=ann, username*=UTF-8''ann", bad);
    check_user("username*=UTF-8''ann, userhash=true", bad);
    check_user("username=0123, userhash=true", Ok("0123"));
    check_user("userhash=true", Err(Missing("username")));
}

#[test]
fn algorithms_and_qop() {
    let algorithm = |param: &str| digest_of(&with("algorithm", param)).algorithm;
    assert_eq!(algorithm(""), Some(Algorithm::Md5));
    assert_eq!(algorithm("algorithm=\"sha-256\""), Some(Algorithm::Sha256));
    assert_eq!(algorithm("algorithm=MD5-sess"), Some(Algorithm::Md5Sess));
    assert_eq!(algorithm("algorithm=SHA-512-256"), None);
    assert!(digest_of(&with("qop", "qop=auth-int")).qop == Qop::Other);
    // As ncat and old clients answer; a count without qop means nothing.
    assert!(digest_of(&with("qop", "")).qop == Qop::Absent);
}

#[test]
fn a_latin_1_user_becomes_text() {
    let value = [b"Digest ", &DIGEST.as_bytes().replace_ann(b"J\xE4s")[..]].concat();
    match parse(&value) {
        Ok(Credentials::Digest(digest)) => assert_eq!(digest.user, "Jäs"),
        other => panic!("{other:?}"),
    }
}

trait ReplaceAnn {
    fn replace_ann(&self, name: &[u8]) -> Vec<u8>;
}

impl ReplaceAnn for [u8] {
    fn replace_ann(&self, name: &[u8]) -> Vec<u8> {
        let at = self
            .windows(3)
            .position(|window| window == b"ann")
            .expect("ann is there");
        [&self[..at], name, &self[at + 3..]].concat()
    }
}

#[test]
fn debug_shows_no_secret() {
    let basic = format!("{:?}", basic_of(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    assert_eq!(basic, r#"Basic { user: "Aladdin", .. }"#);
    let value = with("response", "response=\"5ec3e7\"").replace("nonce=\"n\"", "nonce=\"1a2b3c\"");
    let digest = format!("{:?}", digest_of(&value));
    assert!(
        !digest.contains("5ec3e7") && !digest.contains("1a2b3c"),
        "{digest}"
    );
}

/// Every byte that may be escaped is, by chance.
fn quoted(value: &str, escapes: &[bool]) -> String {
    let mut text = String::from("\"");
    for (place, letter) in value.chars().enumerate() {
        if escapes[place % escapes.len()] && letter.is_ascii() {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
    text
}

proptest! {
    #[test]
    fn no_bytes_panic(value: Vec<u8>) {
        let _ = parse(&value);
    }

    #[test]
    fn no_parameters_panic(list in r#"(Digest|Basic) ([a-z*]{1,8}=("?[ -~]{0,12}"?),? ?){0,12}"#) {
        let _ = parse(list.as_bytes());
    }

    #[test]
    fn order_quoting_and_case_change_nothing(
        order in Just(DIGEST.split(", ").collect::<Vec<_>>()).prop_shuffle(),
        quotes in proptest::collection::vec(any::<bool>(), 9),
        escapes in proptest::collection::vec(any::<bool>(), 1..9),
        upper: bool,
        separator in "[ \t]{0,2},[ \t,]{0,3}",
    ) {
        let spelt = order.iter().zip(&quotes).map(|(param, quote)| {
            let (name, value) = param.split_once('=').expect("a parameter has a value");
            let plain = value.trim_matches('"');
            let name = if upper { name.to_uppercase() } else { name.to_owned() };
            // A uri is no token, so it is always quoted.
            if *quote || plain.contains(':') {
                format!("{name}={}", quoted(plain, &escapes))
            } else {
                format!("{name} = {plain}")
            }
        });
        let spelt: Vec<_> = spelt.collect();
        let scheme = if upper { "DIGEST" } else { "digest" };
        let value = format!("{scheme} {}", spelt.join(&separator));
        let plain = format!("Digest {DIGEST}");
        prop_assert!(digest_of(&value) == digest_of(&plain), "{value}");
    }

    #[test]
    fn basic_gives_back_what_went_in(user in "[^:]{0,20}", password: Vec<u8>) {
        let pair = [user.as_bytes(), b":", &password].concat();
        let value = format!("Basic {}", STANDARD.encode(pair));
        let basic = basic_of(value.as_bytes());
        prop_assert_eq!(basic.user, user);
        prop_assert_eq!(basic.password.reveal(), password);
    }
}
