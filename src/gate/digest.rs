//! Digest (RFC 7616): is this the answer of someone who knows the password?
//!
//! Pure: a function of what is stored, what came, and what was asked for. The nonce's age is for `nonce.rs`.

use super::credentials::{Digest, Qop};
use super::hash::{Hex, hash};
use super::users::{Proven, User, Users};
use crate::config::userfile::HashKind;
use crate::exchange::Algorithm;

/// The algorithm that a response is to be checked with, of those that are accepted.
///
/// Commons HttpClient 3.1 answers a SHA-256 challenge with MD5 and calls it SHA-256; the length tells.
pub(crate) fn algorithm_of(digest: &Digest<'_>, accepted: &[Algorithm]) -> Option<Algorithm> {
    const MD5_DIGITS: usize = 32;
    let named = digest.algorithm?;
    let meant = match named {
        Algorithm::Sha256
            if digest.response.len() == MD5_DIGITS && accepted.contains(&Algorithm::Md5) =>
        {
            Algorithm::Md5
        }
        Algorithm::Md5 | Algorithm::Sha256 | Algorithm::Md5Sess | Algorithm::Sha256Sess => named,
    };
    accepted.contains(&meant).then_some(meant)
}

/// Whom the credentials mean, by name or by its hash.
pub(crate) fn meant<'a>(users: &'a Users, digest: &Digest<'_>) -> &'a User {
    if digest.userhash {
        users.hashed(&digest.user)
    } else {
        users.named(&digest.user)
    }
}

/// Who that is, if the response is right. `method` is the request's own; the uri was compared before.
pub(crate) fn verify<'a>(
    users: &'a Users,
    digest: &Digest<'_>,
    algorithm: Algorithm,
    method: &str,
) -> Option<Proven<'a>> {
    let user = meant(users, digest);
    users.proven(user, kind(algorithm), |ha1| {
        let ours = response(ha1, digest, algorithm, method);
        ours.is_some_and(|ours| ours.is(&digest.response))
    })
}

/// Our side of it, the `Proxy-Authentication-Info` of RFC 7616 §3.5: we know the password too. `None` where the client
/// has asked for no more than RFC 2069 had, or what it sent is not to be sent back.
pub(crate) fn authentication_info(
    ha1: &[u8],
    digest: &Digest<'_>,
    algorithm: Algorithm,
) -> Option<String> {
    let Qop::Auth { nc, cnonce } = &digest.qop else {
        return None;
    };
    let ours = response(ha1, digest, algorithm, "")?;
    let ours = std::str::from_utf8(ours.as_bytes()).ok()?;
    let nc = std::str::from_utf8(nc).ok()?;
    let cnonce = std::str::from_utf8(cnonce).ok()?;
    let plain = |byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    cnonce
        .bytes()
        .all(plain)
        .then(|| format!("qop=auth, rspauth=\"{ours}\", cnonce=\"{cnonce}\", nc={nc}"))
}

/// What only someone can make who knows `ha1`, the hash of user, realm and password.
fn response(ha1: &[u8], digest: &Digest<'_>, algorithm: Algorithm, method: &str) -> Option<Hex> {
    let kind = kind(algorithm);
    let ha2 = hash(kind, &[method.as_bytes(), &digest.uri]);
    Some(match (&digest.qop, is_session(algorithm)) {
        (Qop::Absent, false) => hash(kind, &[ha1, &digest.nonce, ha2.as_bytes()]),
        (Qop::Auth { nc, cnonce }, session) => {
            let session = session.then(|| hash(kind, &[ha1, &digest.nonce, cnonce]));
            let secret = session.as_ref().map_or(ha1, |key| key.as_bytes());
            hash(
                kind,
                &[secret, &digest.nonce, nc, cnonce, b"auth", ha2.as_bytes()],
            )
        }
        // A session key needs the client's nonce; auth-int we never offer.
        (Qop::Absent, true) | (Qop::Other, _) => return None,
    })
}

/// The count of a response; without one, a nonce is good for one request.
pub(crate) fn count(digest: &Digest<'_>) -> u32 {
    match &digest.qop {
        Qop::Auth { nc, .. } => std::str::from_utf8(nc)
            .ok()
            .and_then(|nc| u32::from_str_radix(nc, 16).ok())
            .unwrap_or(0),
        Qop::Absent | Qop::Other => 1,
    }
}

/// Whether the uri that was hashed is the one that was asked for: the request-target byte for byte or, for a
/// forwarded request, its path and query, as half of the clients have it.
pub(crate) fn uri_matches(uri: &[u8], method: &str, request_target: &[u8]) -> bool {
    if uri == request_target {
        return true;
    }
    if method == "CONNECT" {
        return false;
    }
    let Some(authority) = request_target.windows(3).position(|three| three == b"://") else {
        return false;
    };
    let rest = &request_target[authority + 3..];
    match rest.iter().position(|byte| b"/?".contains(byte)) {
        None => uri == b"/",
        // No path is the path "/" (RFC 9112 §3.2.1).
        Some(end) if rest[end] == b'?' => uri.split_first() == Some((&b'/', &rest[end..])),
        Some(end) => uri == &rest[end..],
    }
}

/// The kind of users' lines that an algorithm is checked against.
pub(crate) fn kind(algorithm: Algorithm) -> HashKind {
    match algorithm {
        Algorithm::Md5 | Algorithm::Md5Sess => HashKind::Md5,
        Algorithm::Sha256 | Algorithm::Sha256Sess => HashKind::Sha256,
    }
}

fn is_session(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Md5 | Algorithm::Sha256 => false,
        Algorithm::Md5Sess | Algorithm::Sha256Sess => true,
    }
}

#[cfg(test)]
mod tests;
