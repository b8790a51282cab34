//! Which challenge of a 407 is answered, and how the answer is remembered for the next CONNECT.
//!
//! No I/O. The cryptography is `http-auth`'s, so that two independent pieces of code must agree.

use http::HeaderMap;
use http::header::PROXY_AUTHENTICATE;
use http_auth::{PasswordClient, PasswordParams};

/// How a client chooses among the challenges it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Taste {
    /// The first Digest it knows, else Basic.
    #[default]
    First,
    /// Digest with MD5 only.
    Md5,
    /// Digest with SHA-256 only.
    Sha256,
    /// Basic, after a challenge.
    Basic,
    /// Basic, sent with the first request, as most push libraries do.
    BasicAtOnce,
}

/// Name and password.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({:?}, password hidden)", self.user)
    }
}

/// The challenge that is answered until a newer one comes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    client: Option<PasswordClient>,
}

/// What can be done about a 407.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learned {
    /// A challenge we can answer; `stale` if it says that only the nonce was too old.
    Challenge { stale: bool },
    /// None that we know and like.
    Nothing,
}

impl Memory {
    pub(super) fn has_challenge(&self) -> bool {
        self.client.is_some()
    }

    /// The `Proxy-Authorization` value for a request, if there is one yet. `uri` is the request's target as it is sent.
    pub(super) fn answer(
        &mut self,
        login: &Login,
        taste: Taste,
        method: &str,
        uri: &str,
    ) -> Option<String> {
        if taste == Taste::BasicAtOnce {
            return Some(http_auth::basic::encode_credentials(
                &login.user,
                &login.password,
            ));
        }
        let params = PasswordParams {
            username: &login.user,
            password: &login.password,
            uri,
            method,
            body: None,
        };
        // It fails only when a nonce count is used up; then we ask for a new nonce by sending none.
        self.client.as_mut()?.respond(&params).ok()
    }

    /// Reads the challenges of a 407 and remembers the one we like.
    pub(super) fn learn(&mut self, headers: &HeaderMap, taste: Taste) -> Learned {
        let lines = headers
            .get_all(PROXY_AUTHENTICATE)
            .iter()
            .filter_map(|line| line.to_str().ok());
        let chosen = lines
            .flat_map(http_auth::ChallengeParser::new)
            .filter_map(Result::ok)
            .filter_map(|challenge| PasswordClient::try_from(&challenge).ok())
            .filter(|client| suits(client, taste))
            // Digest before Basic, else the first.
            .min_by_key(|client| matches!(client, PasswordClient::Basic(_)));
        let stale = matches!(&chosen, Some(PasswordClient::Digest(digest)) if digest.stale());
        self.client = chosen;
        if self.client.is_some() {
            Learned::Challenge { stale }
        } else {
            Learned::Nothing
        }
    }
}

fn suits(client: &PasswordClient, taste: Taste) -> bool {
    use http_auth::digest::Algorithm;
    match (client, taste) {
        (PasswordClient::Digest(_), Taste::First) => true,
        (PasswordClient::Digest(digest), Taste::Md5) => digest.algorithm() == Algorithm::Md5,
        (PasswordClient::Digest(digest), Taste::Sha256) => digest.algorithm() == Algorithm::Sha256,
        (PasswordClient::Basic(_), Taste::First | Taste::Basic) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const MD5: &str = r#"Digest realm="r", nonce="n1", algorithm=MD5, qop="auth""#;
    const SHA: &str = r#"Digest realm="r", nonce="n1", algorithm=SHA-256, qop="auth""#;
    const STALE: &str = r#"Digest realm="r", nonce="n2", algorithm=MD5, qop="auth", stale=true"#;
    const BASIC: &str = r#"Basic realm="r""#;

    fn learned(lines: &[&str], taste: Taste) -> (Memory, Learned) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PROXY_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        let mut memory = Memory::default();
        let learned = memory.learn(&headers, taste);
        (memory, learned)
    }

    fn login() -> Login {
        Login {
            user: "ann".into(),
            password: "secret".into(),
        }
    }

    #[test]
    fn the_challenge_is_chosen_by_taste() {
        let check = |lines: &[&str], taste, expected: Option<&str>| {
            let (mut memory, _) = learned(lines, taste);
            let answer = memory.answer(&login(), taste, "CONNECT", "push.test:443");
            let matches = match (&answer, expected) {
                (None, None) => true,
                (Some(answer), Some(part)) => answer.contains(part),
                _ => false,
            };
            assert!(matches, "{taste:?} {lines:?}: {answer:?}");
        };
        check(&[MD5, SHA, BASIC], Taste::First, Some("algorithm=MD5"));
        check(&[SHA, MD5], Taste::First, Some("algorithm=SHA-256"));
        check(&[BASIC, MD5], Taste::First, Some("algorithm=MD5"));
        check(&[MD5, SHA, BASIC], Taste::Sha256, Some("algorithm=SHA-256"));
        check(&[SHA, MD5], Taste::Md5, Some("algorithm=MD5"));
        check(
            &[MD5, SHA, BASIC],
            Taste::Basic,
            Some("Basic YW5uOnNlY3JldA=="),
        );
        check(&[], Taste::BasicAtOnce, Some("Basic YW5uOnNlY3JldA=="));
        check(&[MD5], Taste::Basic, None);
        check(&["Negotiate"], Taste::First, None);
    }

    #[test]
    fn a_remembered_nonce_is_used_again_with_the_next_count() {
        let (mut memory, _) = learned(&[MD5], Taste::First);
        let first = memory
            .answer(&login(), Taste::First, "CONNECT", "push.test:443")
            .unwrap();
        let second = memory
            .answer(&login(), Taste::First, "CONNECT", "push.test:443")
            .unwrap();
        assert!(first.contains("nc=00000001"), "{first}");
        assert!(second.contains("nc=00000002"), "{second}");
        assert!(second.contains("uri=\"push.test:443\""), "{second}");
    }

    #[test]
    fn stale_is_seen() {
        assert_eq!(
            learned(&[MD5], Taste::First).1,
            Learned::Challenge { stale: false }
        );
        assert_eq!(
            learned(&[STALE], Taste::First).1,
            Learned::Challenge { stale: true }
        );
        assert_eq!(learned(&[], Taste::First).1, Learned::Nothing);
    }
}
