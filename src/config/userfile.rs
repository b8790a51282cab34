//! The users file: `user:realm:HA1` lines as `htdigest` writes them; 32 hex digits are MD5, 64 are SHA-256.

use super::Secret;
use crate::exchange::UserName;

/// The hash a line was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HashKind {
    Md5,
    Sha256,
}

/// One line. Several lines of one kind for a user are all valid.
#[derive(Debug, Clone)]
pub(crate) struct UserLine {
    pub(crate) user: UserName,
    pub(crate) realm: String,
    pub(crate) kind: HashKind,
    /// Lower-case hex of H(user:realm:password).
    pub(crate) ha1: Secret,
}
