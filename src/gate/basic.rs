//! Basic (RFC 7617): the password itself came; hash it as the users file did, and compare.
//!
//! Pure. Whether Basic may be used on this listener was asked before.

use std::borrow::Cow;

use super::credentials::{Basic, latin1};
use super::hash::hash;
use super::users::Users;
use crate::config::userfile::HashKind;
use crate::exchange::UserName;

/// Who that is, if the password is right.
pub(crate) fn verify<'a>(users: &'a Users, basic: &Basic, realm: &str) -> Option<&'a UserName> {
    let user = users.named(&basic.user);
    let mut proven = None;
    // No early end: both kinds and both spellings are always tried, whoever it is.
    for password in spellings(basic.password.reveal()) {
        for kind in [HashKind::Md5, HashKind::Sha256] {
            let ours = hash(kind, &[basic.user.as_bytes(), realm.as_bytes(), &password]);
            let found = users.proven(user, kind, |ha1| ours.is(ha1));
            let found = found.map(|found| found.user);
            proven = proven.or(found);
        }
    }
    proven
}

/// The password as it came, and, when that can't be UTF-8, what it would be if it was meant as ISO-8859-1.
fn spellings(password: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let other = match std::str::from_utf8(password) {
        Ok(_) => None,
        Err(_) => Some(Cow::Owned(latin1(password).into_bytes())),
    };
    [Cow::Borrowed(password)].into_iter().chain(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, UserLine};

    fn line(kind: HashKind, password: &[u8]) -> UserLine {
        UserLine {
            user: UserName::new("ann"),
            realm: "push".to_owned(),
            kind,
            ha1: Secret::new(hash(kind, &[b"ann", b"push", password]).as_bytes()),
        }
    }

    #[track_caller]
    fn check(lines: &[UserLine], user: &str, password: &[u8], want: bool) {
        let basic = Basic {
            user: user.to_owned(),
            password: Secret::new(password),
        };
        let users = Users::new(lines);
        let proven = verify(&users, &basic, "push");
        assert_eq!(proven, want.then(|| UserName::new("ann")).as_ref());
    }

    #[test]
    fn either_kind_of_line_will_do() {
        for kind in [HashKind::Md5, HashKind::Sha256] {
            let lines = [line(kind, b"secret"), line(kind, b"older")];
            check(&lines, "ann", b"secret", true);
            check(&lines, "ann", b"older", true);
            check(&lines, "ann", b"Secret", false);
            check(&lines, "ann", b"", false);
            check(&lines, "eve", b"secret", false);
            check(&lines, "", b"secret", false);
        }
    }

    #[test]
    fn both_spellings_of_a_password_are_the_password() {
        let utf8 = [line(HashKind::Md5, "süß".as_bytes())];
        check(&utf8, "ann", "süß".as_bytes(), true);
        check(&utf8, "ann", b"s\xFC\xDF", true);
        check(&utf8, "ann", b"s\xFC\xDE", false);
        // A line that was made of the ISO-8859-1 spelling.
        let latin = [line(HashKind::Sha256, b"s\xFC\xDF")];
        check(&latin, "ann", b"s\xFC\xDF", true);
        check(&latin, "ann", "süß".as_bytes(), false);
    }

    #[test]
    fn the_hash_itself_is_no_password() {
        let ann = line(HashKind::Md5, b"secret");
        let stored = ann.ha1.reveal().to_vec();
        check(&[ann], "ann", &stored, false);
    }
}
