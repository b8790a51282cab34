//! Who may log in: a name, and the hashes that stand for its passwords.
//!
//! A name that nobody has gets hashes too, which nobody's password makes, as many as the user with the most: an unknown
//! user costs the same work as a wrong password of anybody, and looks the same.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::rand;

use super::hash::hash;
use crate::config::Secret;
use crate::config::UserLine;
use crate::config::userfile::HashKind;
use crate::exchange::UserName;

/// The users file, ready to be asked.
pub(crate) struct Users {
    by_name: HashMap<String, User>,
    /// `userhash` of RFC 7616: H(user:realm), both kinds, to the name.
    by_hash: HashMap<Vec<u8>, String>,
    nobody: User,
}

/// Who proved it, and with which hash.
#[derive(Debug)]
pub(crate) struct Proven<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) ha1: &'a Secret,
}

pub(crate) struct User {
    /// `None`: nobody.
    name: Option<UserName>,
    md5: Vec<Secret>,
    sha256: Vec<Secret>,
}

impl Users {
    pub(crate) fn new(lines: &[UserLine]) -> Self {
        let mut users = Self {
            by_name: HashMap::new(),
            by_hash: HashMap::new(),
            nobody: User {
                name: None,
                md5: Vec::new(),
                sha256: Vec::new(),
            },
        };
        for line in lines {
            users.add(line);
        }
        for kind in [HashKind::Md5, HashKind::Sha256] {
            let counts = users.by_name.values().map(|user| user.hashes(kind).len());
            let most = counts.max().unwrap_or_default().max(1);
            let padding = (0..most).map(|_| impossible(kind)).collect();
            match kind {
                HashKind::Md5 => users.nobody.md5 = padding,
                HashKind::Sha256 => users.nobody.sha256 = padding,
            }
        }
        users
    }

    fn add(&mut self, line: &UserLine) {
        let name = line.user.as_str();
        let user = self.by_name.entry(name.to_owned()).or_insert_with(|| User {
            name: Some(line.user.clone()),
            md5: Vec::new(),
            sha256: Vec::new(),
        });
        match line.kind {
            HashKind::Md5 => user.md5.push(line.ha1.clone()),
            HashKind::Sha256 => user.sha256.push(line.ha1.clone()),
        }
        let hashed = hash(line.kind, &[name.as_bytes(), line.realm.as_bytes()]);
        self.by_hash
            .entry(hashed.as_bytes().to_vec())
            .or_insert_with(|| name.to_owned());
    }

    /// The user of this name, or nobody.
    pub(crate) fn named(&self, name: &str) -> &User {
        self.by_name.get(name).unwrap_or(&self.nobody)
    }

    /// The user whose name and realm have this hash, or nobody.
    pub(crate) fn hashed(&self, hash: &str) -> &User {
        match self.by_hash.get(hash.as_bytes()) {
            Some(name) => self.named(name),
            None => &self.nobody,
        }
    }

    /// Whether any user could answer with this kind of hash.
    pub(crate) fn any_with(&self, kind: HashKind) -> bool {
        self.by_name.values().any(|user| match kind {
            HashKind::Md5 => !user.md5.is_empty(),
            HashKind::Sha256 => !user.sha256.is_empty(),
        })
    }

    /// `user`, if `proves` holds for one of its hashes of this kind. Where none does, as many are tried as for anybody.
    pub(crate) fn proven<'a>(
        &'a self,
        user: &'a User,
        kind: HashKind,
        proves: impl Fn(&[u8]) -> bool,
    ) -> Option<Proven<'a>> {
        let own = match user.name {
            Some(_) => user.hashes(kind),
            None => &[],
        };
        // All of them are tried, so that the time says nothing about which one it was.
        let held = own.iter().fold(None, |held, ha1| {
            let proven = proves(ha1.reveal());
            if proven { Some(ha1) } else { held }
        });
        match (held, &user.name) {
            (Some(ha1), Some(user)) => Some(Proven { user, ha1 }),
            _ => {
                // Nobody's hashes are random, so only a broken `proves` could accept one; then there is still no name.
                for ha1 in self.nobody.hashes(kind).iter().skip(own.len()) {
                    std::hint::black_box(proves(ha1.reveal()));
                }
                None
            }
        }
    }
}

impl User {
    /// `None`: nobody.
    pub(crate) fn name(&self) -> Option<&UserName> {
        self.name.as_ref()
    }

    fn hashes(&self, kind: HashKind) -> &[Secret] {
        match kind {
            HashKind::Md5 => &self.md5,
            HashKind::Sha256 => &self.sha256,
        }
    }
}

/// A hash that is nobody's, as no password is known to make it.
fn impossible(kind: HashKind) -> Secret {
    let mut chance = [0; 32];
    rand::fill(&mut chance).expect("the system gives random bytes");
    Secret::new(hash(kind, &[&chance]).as_bytes())
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.by_name.len())
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn line(user: &str, kind: HashKind, ha1: &str) -> UserLine {
        UserLine {
            user: UserName::new(user),
            realm: "push".to_owned(),
            kind,
            ha1: Secret::new(ha1.as_bytes()),
        }
    }

    fn users() -> Users {
        Users::new(&[
            line("ann", HashKind::Md5, "new"),
            line("ann", HashKind::Md5, "old"),
            line("ann", HashKind::Sha256, "new256"),
            line("bob", HashKind::Md5, "bob"),
        ])
    }

    /// Who is proven by `secret`, and how many hashes were tried.
    fn ask(user: &str, kind: HashKind, secret: &str) -> (Option<String>, u32) {
        let users = users();
        let tries = Cell::new(0);
        let proven = users.proven(users.named(user), kind, |ha1| {
            tries.set(tries.get() + 1);
            ha1 == secret.as_bytes()
        });
        (proven.map(|proven| proven.user.to_string()), tries.get())
    }

    #[test]
    fn several_lines_of_one_kind_are_all_valid() {
        let ann = || Some("ann".to_owned());
        assert_eq!(ask("ann", HashKind::Md5, "new"), (ann(), 2));
        assert_eq!(ask("ann", HashKind::Md5, "old"), (ann(), 2));
        assert_eq!(ask("ann", HashKind::Sha256, "new256"), (ann(), 1));
        assert_eq!(ask("ann", HashKind::Sha256, "new"), (None, 1));
        assert_eq!(
            ask("bob", HashKind::Md5, "bob"),
            (Some("bob".to_owned()), 1)
        );
    }

    #[test]
    fn an_unknown_user_or_kind_costs_the_same_work_as_any_wrong_password() {
        for user in ["ann", "bob", "eve"] {
            assert_eq!(ask(user, HashKind::Md5, "x"), (None, 2), "{user}");
            assert_eq!(ask(user, HashKind::Sha256, "x"), (None, 1), "{user}");
        }
    }

    #[test]
    fn not_even_a_proof_of_everything_makes_somebody_of_nobody() {
        let users = users();
        for user in [users.named("eve"), users.named("bob"), users.hashed("00")] {
            assert!(users.proven(user, HashKind::Sha256, |_| true).is_none());
        }
    }

    #[test]
    fn a_hashed_name_is_found_by_the_kinds_of_its_lines() {
        let users = users();
        let found = |kind, user: &str| {
            let hashed = hash(kind, &[user.as_bytes(), b"push"]);
            let text = std::str::from_utf8(hashed.as_bytes()).expect("hex is text");
            let user = users.hashed(text);
            user.name.as_ref().map(ToString::to_string)
        };
        assert_eq!(found(HashKind::Md5, "ann").as_deref(), Some("ann"));
        assert_eq!(found(HashKind::Sha256, "ann").as_deref(), Some("ann"));
        assert_eq!(found(HashKind::Sha256, "bob"), None);
        assert_eq!(found(HashKind::Md5, "eve"), None);
    }

    #[test]
    fn debug_shows_no_hash() {
        let users = users();
        let shown = format!("{users:?} {:?}", users.named("bob"));
        assert_eq!(shown, "2 users Some(\"bob\")");
    }
}
