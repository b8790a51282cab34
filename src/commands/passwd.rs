//! `tidegate passwd`: sets, adds or retires a user's password in a users file.
//!
//! Writes hashes only, one line for each digest algorithm, so that a client may pick either.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use super::prompt::{self, PromptError};
use crate::config::userfile::{HashKind, PasswordLines, UserFile, UserFileError};
use crate::config::{self, Secret, UserLine};
use crate::exchange::UserName;
use crate::gate::LONGEST_USER;
use crate::gate::hash::hash;

/// Sets a user's password. It is asked for twice on a terminal, else read as one line from standard input.
#[derive(Debug, clap::Args)]
pub struct Passwd {
    /// The users file; made when missing
    file: PathBuf,
    /// The user's name
    user: String,
    /// The realm of `[authentication]`; other realms' lines stay as they are
    #[arg(long, default_value = "tidegate")]
    realm: String,
    /// Keep the old password valid beside the new one
    #[arg(long, conflicts_with = "retire")]
    add: bool,
    /// Ask for nothing; drop all but the newest password
    #[arg(long)]
    retire: bool,
}

#[derive(Debug)]
enum PasswdError {
    BadName {
        what: &'static str,
        problem: &'static str,
    },
    Password(PromptError),
    Read {
        file: PathBuf,
        cause: UserFileError,
    },
    Write(UserFileError),
    NoSuchUser,
}

impl Passwd {
    /// Does it, says so on `out`, asks and complains on `errors`; gives the exit code.
    pub fn run(&self, out: &mut dyn Write, errors: &mut dyn Write) -> u8 {
        let done = self.change(|| prompt::password(errors));
        // Nobody can be told that nobody can be told.
        let told = match &done {
            Ok(said) => writeln!(out, "{said}"),
            Err(error) => writeln!(errors, "tidegate passwd: {}", chain(error)),
        };
        u8::from(done.is_err() || told.is_err())
    }

    /// Changes the file and says what was done.
    fn change(
        &self,
        ask: impl FnOnce() -> Result<String, PromptError>,
    ) -> Result<String, PasswdError> {
        check_name("user", &self.user)?;
        check_name("realm", &self.realm)?;
        if self.retire {
            return self.retire();
        }
        // Read before the question: who can't be helped is not to type in vain.
        let mut file = UserFile::read_or_empty(&self.file).map_err(|cause| self.unread(cause))?;
        let password = ask().map_err(PasswdError::Password)?;
        let user = UserName::new(&self.user);
        let lines = self.lines(&user, &password);
        if self.add {
            file.add(&user, &self.realm, &lines);
        } else {
            file.set(&user, &self.realm, &lines);
        }
        file.write(&self.file).map_err(PasswdError::Write)?;
        let mut said = format!(
            "{}: password of {user} in realm {} {}",
            self.file.display(),
            self.realm,
            if self.add {
                "added; the older ones stay valid until --retire"
            } else {
                "set"
            }
        );
        if !lines.latin1.is_empty() {
            said.push_str(
                "\nIts ISO-8859-1 spelling has lines of its own, for clients that do not know UTF-8",
            );
        }
        said.push_str(RELOAD);
        Ok(said)
    }

    fn retire(&self) -> Result<String, PasswdError> {
        let mut file = UserFile::read(&self.file).map_err(|cause| self.unread(cause))?;
        let user = UserName::new(&self.user);
        let is_theirs = |line: &UserLine| line.user == user && line.realm == self.realm;
        if !file.lines().any(is_theirs) {
            return Err(PasswdError::NoSuchUser);
        }
        let removed = file.retire(&user, &self.realm).removed;
        if removed == 0 {
            return Ok(format!(
                "{}: {user} has one password in realm {}, nothing to retire",
                self.file.display(),
                self.realm
            ));
        }
        file.write(&self.file).map_err(PasswdError::Write)?;
        Ok(format!(
            "{}: older passwords of {user} in realm {} retired, {removed} lines{RELOAD}",
            self.file.display(),
            self.realm
        ))
    }

    fn unread(&self, cause: UserFileError) -> PasswdError {
        let file = self.file.clone();
        PasswdError::Read { file, cause }
    }

    /// A line for each algorithm; and again for the ISO-8859-1 spelling, where there is one that differs.
    fn lines(&self, user: &UserName, password: &str) -> PasswordLines {
        let parts = [&*self.user, &*self.realm, password];
        let utf8 = parts.map(|part| part.as_bytes().to_vec());
        let latin1 = match parts.map(latin1) {
            [Some(user), Some(realm), Some(password)] => {
                Some([user, realm, password]).filter(|other| *other != utf8)
            }
            _ => None,
        };
        let lines = |parts: &[Vec<u8>; 3]| -> Vec<UserLine> {
            let [user_bytes, realm, password] = parts;
            let line = |kind| UserLine {
                user: user.clone(),
                realm: self.realm.clone(),
                kind,
                ha1: Secret::new(hash(kind, &[user_bytes, realm, password]).as_bytes()),
            };
            [HashKind::Md5, HashKind::Sha256].map(line).into()
        };
        PasswordLines {
            utf8: lines(&utf8),
            latin1: latin1.as_ref().map(lines).unwrap_or_default(),
        }
    }
}

const RELOAD: &str = "\nA running tidegate reads it at `tidegate reload` or SIGHUP";

/// What stands in the users file between colons, and (the realm) in a header field between quotes.
fn check_name(what: &'static str, name: &str) -> Result<(), PasswdError> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > LONGEST_USER {
        "is longer than 256 bytes"
    } else if name.contains(':') {
        "has a colon"
    } else if name.chars().any(char::is_control) {
        "has control characters"
    } else if name.starts_with('#') {
        "begins with #, as comments do"
    } else if name.trim() != name {
        "begins or ends with a blank"
    } else if what == "realm" && name.contains(['"', '\\']) {
        "has a quote or a backslash, which many clients can't read"
    } else {
        return Ok(());
    };
    Err(PasswdError::BadName { what, problem })
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars()
        .map(|letter| u8::try_from(u32::from(letter)).ok())
        .collect()
}

/// An error and its causes, each after a colon.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl fmt::Display for PasswdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName { what, problem } => write!(f, "the {what} {problem}"),
            Self::Password(error) => error.fmt(f),
            Self::Read { file, cause } => write!(f, "{}: {cause}", file.display()),
            Self::Write(error) => {
                error.fmt(f)?;
                match error {
                    UserFileError::Write { path, .. } if !config::folder_exists(path) => {
                        f.write_str(" (its folder does not exist: make it first)")
                    }
                    _ => Ok(()),
                }
            }
            Self::NoSuchUser => f.write_str("this user has no line in this realm"),
        }
    }
}

impl std::error::Error for PasswdError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Password(error) => error.source(),
            Self::Write(error) => error.source(),
            // The cause has said all of it.
            Self::Read { .. } | Self::BadName { .. } | Self::NoSuchUser => None,
        }
    }
}

#[cfg(test)]
mod tests;
