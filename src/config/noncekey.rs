//! The key that nonces are signed with: `keyid hex64` lines, one or two, the first one in use.
//!
//! Two keys let replicas change theirs one after the other. Never logs a key.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::rand;

use super::Secret;
use super::disk::{self, Unreadable};

/// 32 random bytes and the number that a nonce names them by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NonceKey {
    pub(crate) id: u8,
    pub(crate) key: Secret,
}

#[derive(Debug)]
pub(crate) enum NonceKeyError {
    Unreadable(Unreadable),
    Line { line: usize },
    Twice { line: usize, id: u8 },
    Empty,
    TooMany { line: usize },
}

/// The keys of a file; the first one signs, all are accepted.
pub(crate) fn read(path: &Path) -> Result<Vec<NonceKey>, NonceKeyError> {
    let text = disk::read(path, disk::LONGEST).map_err(NonceKeyError::Unreadable)?;
    parse(&text)
}

/// Makes a key file that its owner alone may read. Where another process was faster, its keys are taken.
pub(crate) fn create(path: &Path) -> io::Result<Vec<NonceKey>> {
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    // Linked only when whole: nobody reads half a key, and the link fails where a file is already.
    let made = writeln!(file, "1 {}", hex(&key))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&beside, path));
    let _ = fs::remove_file(&beside);
    match made {
        Ok(()) => Ok(vec![NonceKey {
            id: 1,
            key: Secret::new(key),
        }]),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            read(path).map_err(io::Error::other)
        }
        Err(err) => Err(err),
    }
}

fn parse(text: &str) -> Result<Vec<NonceKey>, NonceKeyError> {
    let mut keys: Vec<NonceKey> = Vec::new();
    for (line, written) in (1..).zip(text.lines()) {
        let written = written.trim();
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        let mut fields = written.split_ascii_whitespace();
        let (Some(id), Some(key), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(NonceKeyError::Line { line });
        };
        let digits = id.bytes().all(|b| b.is_ascii_digit());
        let (Some(id), Some(key)) = (id.parse().ok().filter(|_| digits), unhex(key)) else {
            return Err(NonceKeyError::Line { line });
        };
        if keys.iter().any(|known| known.id == id) {
            return Err(NonceKeyError::Twice { line, id });
        }
        if keys.len() == 2 {
            return Err(NonceKeyError::TooMany { line });
        }
        keys.push(NonceKey { id, key });
    }
    if keys.is_empty() {
        return Err(NonceKeyError::Empty);
    }
    Ok(keys)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Secret> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..32)
        .map(|place| u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok())
        .collect();
    bytes.map(Secret::new)
}

impl NonceKeyError {
    /// The line of the key file that is wrong; 0 for the file as a whole.
    pub(super) fn line(&self) -> usize {
        match self {
            Self::Unreadable(_) | Self::Empty => 0,
            Self::Line { line } | Self::Twice { line, .. } | Self::TooMany { line } => *line,
        }
    }
}

impl fmt::Display for NonceKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(err) => err.fmt(f),
            Self::Line { .. } => {
                f.write_str("is not a number up to 255, a space and 64 hex digits")
            }
            Self::Twice { id, .. } => write!(f, "has the number {id} again"),
            Self::Empty => f.write_str("holds no key"),
            Self::TooMany { .. } => f.write_str("is a third key"),
        }
    }
}

impl std::error::Error for NonceKeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(err) => Some(err),
            Self::Line { .. } | Self::Twice { .. } | Self::Empty | Self::TooMany { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Folder;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn key_files() {
        let key = "0123456789abcdef".repeat(4);
        let check =
            |text: &str, expected: Result<&[u8], (usize, &str)>| match (parse(text), expected) {
                (Ok(keys), Ok(ids)) => {
                    assert_eq!(keys.iter().map(|key| key.id).collect::<Vec<_>>(), ids);
                    assert_eq!(keys[0].key.reveal()[..2], [0x01, 0x23]);
                }
                (Err(err), Err((line, part))) => {
                    assert_eq!(err.line(), line, "{err}");
                    assert!(err.to_string().contains(part), "{err}");
                }
                (found, _) => panic!("{text}: {found:?}"),
            };
        check(&format!("7 {key}\n"), Ok(&[7]));
        check(&format!("# ours\n\n255 {key}\r\n0 {key}\n"), Ok(&[255, 0]));
        check("", Err((0, "no key")));
        check("# nothing\n", Err((0, "no key")));
        check(&format!("256 {key}"), Err((1, "64 hex digits")));
        check(&format!("+1 {key}"), Err((1, "64 hex digits")));
        check(&format!("1 {key}0"), Err((1, "64 hex digits")));
        check(&format!("1 {key} x"), Err((1, "64 hex digits")));
        check(&key, Err((1, "64 hex digits")));
        check(&format!("1 {key}\n1 {key}"), Err((2, "number 1 again")));
        check(&format!("1 {key}\n2 {key}\n3 {key}"), Err((3, "third")));
    }

    #[test]
    fn a_key_is_made_once_and_then_read() {
        let folder = Folder::new();
        let path = folder.path("nonce.key");
        let made = create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap(), made);
        assert_eq!(
            create(&path).unwrap(),
            made,
            "another key instead of the one that is there"
        );
        assert_eq!(folder.names(), ["nonce.key"]);
        assert_ne!(create(&folder.path("other.key")).unwrap(), made);
        assert!(create(&folder.path("no/nonce.key")).is_err());
    }
}
