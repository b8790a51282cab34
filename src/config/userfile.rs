//! The users file: `user:realm:HA1` lines as `htdigest` writes them; 32 hex digits are MD5, 64 are SHA-256.
//!
//! Keeps what it does not understand where it stands, and shows a hash to nobody.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Secret;
use super::disk::{self, Unreadable};
use crate::exchange::UserName;

/// Some hundred thousand users.
const LONGEST: u64 = 32 << 20;

/// The hash a line was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HashKind {
    Md5,
    Sha256,
}

/// One line. Several lines of one kind for a user are all valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserLine {
    pub(crate) user: UserName,
    pub(crate) realm: String,
    pub(crate) kind: HashKind,
    /// Lower-case hex of H(user:realm:password).
    pub(crate) ha1: Secret,
}

/// The lines of one password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PasswordLines {
    pub(crate) utf8: Vec<UserLine>,
    /// Of its ISO-8859-1 spelling, where that is another one. They stand below a remark that says so, since nothing
    /// else tells them from those of an older password.
    pub(crate) latin1: Vec<UserLine>,
}

/// The whole file, line by line. The newest line of a user stands first.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserFile {
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
enum Row {
    User(UserLine),
    /// Blank, or a comment.
    Remark(String),
    /// Kept as it is; it may hold half a hash, so it is as secret as a whole one.
    Bad(Secret, LineError),
}

/// Why a line is no user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineError {
    Fields { found: usize },
    NoUser,
    NoRealm,
    Control,
    Hash { length: usize },
}

/// What `UserFile::retire` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) removed: usize,
}

#[derive(Debug)]
pub(crate) enum UserFileError {
    Unreadable(Unreadable),
    Write { path: PathBuf, source: io::Error },
}

impl UserFile {
    pub(crate) fn parse(text: &str) -> Self {
        let rows = text
            .lines()
            .map(|line| {
                let line = line.trim_end_matches('\r');
                if line.trim().is_empty() || line.starts_with('#') {
                    return Row::Remark(line.to_owned());
                }
                UserLine::parse(line)
                    .map_or_else(|err| Row::Bad(Secret::new(line.as_bytes()), err), Row::User)
            })
            .collect();
        Self { rows }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, UserFileError> {
        disk::read(path, LONGEST)
            .map(|text| Self::parse(&text))
            .map_err(UserFileError::Unreadable)
    }

    /// A file that is not there has no lines.
    pub(crate) fn read_or_empty(path: &Path) -> Result<Self, UserFileError> {
        match Self::read(path) {
            Err(UserFileError::Unreadable(err)) if err.is_missing() => Ok(Self::default()),
            other => other,
        }
    }

    /// Every user's line, of every realm, in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &UserLine> {
        self.rows.iter().filter_map(|row| match row {
            Row::User(line) => Some(line),
            Row::Remark(_) | Row::Bad(..) => None,
        })
    }

    /// The lines that cannot be read, with their numbers.
    pub(crate) fn bad_lines(&self) -> impl Iterator<Item = (usize, LineError)> {
        (1..).zip(&self.rows).filter_map(|(number, row)| match row {
            Row::Bad(_, err) => Some((number, *err)),
            Row::User(_) | Row::Remark(_) => None,
        })
    }

    /// `password` instead of all that `user` has in `realm`, where those stood.
    pub(crate) fn set(&mut self, user: &UserName, realm: &str, password: &PasswordLines) {
        let place = self.place(user, realm);
        let heading = latin1_heading(user, realm);
        self.rows
            .retain(|row| !row.is_of(user, realm) && !row.is_remark(&heading));
        self.put(place, &heading, password);
    }

    /// `password` before those that `user` has in `realm`, which stay valid.
    pub(crate) fn add(&mut self, user: &UserName, realm: &str, password: &PasswordLines) {
        let place = self.place(user, realm);
        self.put(place, &latin1_heading(user, realm), password);
    }

    /// Keeps the newest line of each kind that `user` has in `realm`, and those of the same password's ISO-8859-1
    /// spelling.
    pub(crate) fn retire(&mut self, user: &UserName, realm: &str) -> Retired {
        let heading = latin1_heading(user, realm);
        let mut kept: Vec<HashKind> = Vec::new();
        // Of the newest password's other spelling; `None` where it has none, or none was seen yet.
        let mut kept_latin1: Option<Vec<HashKind>> = None;
        // Whether the row before was one of the newest password's.
        let mut newest = false;
        let mut removed = 0;
        self.rows.retain(|row| {
            let keeps = match row {
                Row::User(line) if row.is_of(user, realm) => {
                    let kinds = match &mut kept_latin1 {
                        Some(kinds) if newest => kinds,
                        _ => &mut kept,
                    };
                    let first = !kinds.contains(&line.kind);
                    if first {
                        kinds.push(line.kind);
                    } else {
                        removed += 1;
                    }
                    first
                }
                Row::Remark(remark) if *remark == heading => {
                    let belongs = newest && kept_latin1.is_none();
                    if belongs {
                        kept_latin1 = Some(Vec::new());
                    }
                    belongs
                }
                Row::User(_) | Row::Remark(_) | Row::Bad(..) => {
                    newest = false;
                    return true;
                }
            };
            newest = keeps;
            keeps
        });
        Retired { removed }
    }

    /// The file's text, hashes and all: for the file alone.
    pub(crate) fn render(&self) -> Secret {
        let mut text = Vec::new();
        for row in &self.rows {
            match row {
                Row::User(line) => {
                    text.extend_from_slice(format!("{}:{}:", line.user, line.realm).as_bytes());
                    text.extend_from_slice(line.ha1.reveal());
                }
                Row::Remark(remark) => text.extend_from_slice(remark.as_bytes()),
                Row::Bad(line, _) => text.extend_from_slice(line.reveal()),
            }
            text.push(b'\n');
        }
        Secret::new(text)
    }

    /// Puts the file in place at once: whoever reads it sees the old lines or the new ones, never half of them.
    pub(crate) fn write(&self, path: &Path) -> Result<(), UserFileError> {
        replace(path, self.render().reveal()).map_err(|source| UserFileError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// Where the first line of `user` in `realm` stands; the end, if there is none.
    fn place(&self, user: &UserName, realm: &str) -> usize {
        self.rows
            .iter()
            .position(|row| row.is_of(user, realm))
            .unwrap_or(self.rows.len())
    }

    fn put(&mut self, place: usize, heading: &str, password: &PasswordLines) {
        let rows =
            |lines: &[UserLine]| -> Vec<Row> { lines.iter().cloned().map(Row::User).collect() };
        let mut new = rows(&password.utf8);
        if !password.latin1.is_empty() {
            new.push(Row::Remark(heading.to_owned()));
            new.extend(rows(&password.latin1));
        }
        self.rows.splice(place..place, new);
    }
}

impl Row {
    fn is_of(&self, user: &UserName, realm: &str) -> bool {
        match self {
            Self::User(line) => line.user == *user && line.realm == realm,
            Self::Remark(_) | Self::Bad(..) => false,
        }
    }

    fn is_remark(&self, text: &str) -> bool {
        matches!(self, Self::Remark(remark) if remark == text)
    }
}

/// The remark above the lines of a password's ISO-8859-1 spelling. Everything that reads such files skips it.
fn latin1_heading(user: &UserName, realm: &str) -> String {
    format!("# {user}:{realm}, the same password in ISO-8859-1:")
}

impl UserLine {
    fn parse(line: &str) -> Result<Self, LineError> {
        let fields: Vec<&str> = line.split(':').collect();
        let [user, realm, hash] = fields[..] else {
            return Err(LineError::Fields {
                found: fields.len(),
            });
        };
        if user.is_empty() {
            return Err(LineError::NoUser);
        }
        if realm.is_empty() {
            return Err(LineError::NoRealm);
        }
        if line.chars().any(char::is_control) {
            return Err(LineError::Control);
        }
        let kind = match hash.len() {
            _ if !hash.bytes().all(|b| b.is_ascii_hexdigit()) => None,
            32 => Some(HashKind::Md5),
            64 => Some(HashKind::Sha256),
            _ => None,
        };
        let kind = kind.ok_or(LineError::Hash { length: hash.len() })?;
        Ok(Self {
            user: UserName::new(user),
            realm: realm.to_owned(),
            kind,
            ha1: Secret::new(hash.to_ascii_lowercase().into_bytes()),
        })
    }
}

/// Writes beside the file and renames, so that a crash leaves the old one. Owner and mode stay as they were; a new
/// file is its owner's alone.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays a link: what it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = match fs::metadata(&path) {
        Ok(old) => Some(old),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(err),
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let done = fill(&file, old.as_ref(), bytes)
        .and_then(|()| fs::rename(&beside, &path))
        .and_then(|()| File::open(folder)?.sync_all());
    if done.is_err() {
        // After the rename it is gone already.
        let _ = fs::remove_file(&beside);
    }
    done
}

fn fill(mut file: &File, old: Option<&fs::Metadata>, bytes: &[u8]) -> io::Result<()> {
    if let Some(old) = old {
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields { found: 1 } => f.write_str("has no colon"),
            Self::Fields { found } => write!(f, "has {found} fields, not three"),
            Self::NoUser => f.write_str("names no user"),
            Self::NoRealm => f.write_str("names no realm"),
            Self::Control => f.write_str("has control characters"),
            Self::Hash { length } => write!(f, "ends in {length} characters that are no hash"),
        }
    }
}

impl std::error::Error for LineError {}

impl fmt::Display for UserFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(err) => err.fmt(f),
            Self::Write { path, .. } => write!(f, "{} cannot be written", path.display()),
        }
    }
}

impl std::error::Error for UserFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(err) => Some(err),
            Self::Write { source, .. } => Some(source),
        }
    }
}

#[cfg(test)]
mod tests;
