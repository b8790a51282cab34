//! A `Proxy-Authorization` value taken apart: who says to be who, and what is offered as proof.
//!
//! Pure, and strict where the RFCs are (7617 for Basic, 7616 for Digest, 8187 for `username*`). Nothing is believed
//! here: whether the proof holds is for `basic.rs` and `digest.rs` to say.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::params::{Params, is_token};
use crate::config::Secret;
use crate::exchange::Algorithm;

/// Longer than any real one (a long user, realm, nonce and uri), short enough to be nobody's lever.
const LONGEST: usize = 8 * 1024;
/// RFC 7616 knows twelve; the check for repeated ones is quadratic.
const MOST_PARAMS: usize = 32;

#[derive(PartialEq, Eq)]
pub(crate) enum Credentials<'a> {
    Basic(Basic),
    Digest(Digest<'a>),
}

#[derive(PartialEq, Eq)]
pub(crate) struct Basic {
    pub(crate) user: String,
    /// The bytes as they came: UTF-8 from most clients, ISO-8859-1 from some.
    pub(crate) password: Secret,
}

#[derive(PartialEq, Eq)]
pub(crate) struct Digest<'a> {
    /// The name, or with `userhash` the hash of name and realm.
    pub(crate) user: String,
    pub(crate) userhash: bool,
    pub(crate) realm: Cow<'a, [u8]>,
    pub(crate) nonce: Cow<'a, [u8]>,
    pub(crate) uri: Cow<'a, [u8]>,
    pub(crate) response: Cow<'a, [u8]>,
    /// MD5 where none is named; `None`: one that we don't know.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) qop: Qop<'a>,
}

/// The quality of protection that the response was made with.
#[derive(PartialEq, Eq)]
pub(crate) enum Qop<'a> {
    /// As RFC 2069 had it; a client may always answer so.
    Absent,
    Auth {
        /// Eight hex digits, hashed as they came.
        nc: Cow<'a, [u8]>,
        cnonce: Cow<'a, [u8]>,
    },
    /// `auth-int`, or a word that we don't know.
    Other,
}

/// Why a value says nothing that could be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialsError {
    TooLong,
    NoScheme,
    /// A scheme that is neither Basic nor Digest.
    UnknownScheme,
    BadBase64,
    NoColon,
    BadParameters,
    TooManyParameters,
    Repeated,
    Missing(&'static str),
    BadValue(&'static str),
}

/// Takes one field value apart.
pub(crate) fn parse(value: &[u8]) -> Result<Credentials<'_>, CredentialsError> {
    if value.len() > LONGEST {
        return Err(CredentialsError::TooLong);
    }
    let value = value.trim_ascii();
    let end = value.iter().position(|byte| !is_token(*byte));
    let (scheme, rest) = value.split_at(end.unwrap_or(value.len()));
    if scheme.is_empty() || rest.first().is_some_and(|byte| *byte != b' ') {
        return Err(CredentialsError::NoScheme);
    }
    if scheme.eq_ignore_ascii_case(b"Basic") {
        basic(rest.trim_ascii_start()).map(Credentials::Basic)
    } else if scheme.eq_ignore_ascii_case(b"Digest") {
        digest(rest).map(Credentials::Digest)
    } else {
        Err(CredentialsError::UnknownScheme)
    }
}

fn basic(token: &[u8]) -> Result<Basic, CredentialsError> {
    let pair = STANDARD
        .decode(token)
        .map_err(|_| CredentialsError::BadBase64)?;
    // A user has no colon, a password may have many.
    let colon = pair.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or(CredentialsError::NoColon)?;
    Ok(Basic {
        user: text(&pair[..colon]),
        password: Secret::new(&pair[colon + 1..]),
    })
}

/// The parameters that we read, as they come. An empty slot was not sent.
#[derive(Default)]
struct Sent<'a> {
    username: Option<Cow<'a, [u8]>>,
    username_ext: Option<Cow<'a, [u8]>>,
    userhash: Option<Cow<'a, [u8]>>,
    realm: Option<Cow<'a, [u8]>>,
    nonce: Option<Cow<'a, [u8]>>,
    uri: Option<Cow<'a, [u8]>>,
    response: Option<Cow<'a, [u8]>>,
    algorithm: Option<Cow<'a, [u8]>>,
    qop: Option<Cow<'a, [u8]>>,
    nc: Option<Cow<'a, [u8]>>,
    cnonce: Option<Cow<'a, [u8]>>,
}

fn digest(list: &[u8]) -> Result<Digest<'_>, CredentialsError> {
    use CredentialsError::{BadValue, Missing};

    let sent = Sent::read(list)?;
    let algorithm = match &sent.algorithm {
        None => Some(Algorithm::Md5),
        Some(name) => algorithm(name),
    };
    let userhash = match sent.userhash.as_deref() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"false") => false,
        Some(word) if word.eq_ignore_ascii_case(b"true") => true,
        Some(_) => return Err(BadValue("userhash")),
    };
    let user = match (&sent.username, &sent.username_ext) {
        (Some(name), None) => text(name),
        (None, Some(name)) if !userhash => extended(name).ok_or(BadValue("username*"))?,
        (None, None) => return Err(Missing("username")),
        // Two names, or a hash in the form for names (RFC 7616 §3.4).
        (_, Some(_)) => return Err(BadValue("username*")),
    };
    let qop = match sent.qop.as_deref() {
        None => Qop::Absent,
        Some(word) if word.eq_ignore_ascii_case(b"auth") => {
            let nc = sent.nc.ok_or(Missing("nc"))?;
            if nc.len() != 8 || !nc.iter().all(u8::is_ascii_hexdigit) {
                return Err(BadValue("nc"));
            }
            let cnonce = sent.cnonce.ok_or(Missing("cnonce"))?;
            Qop::Auth { nc, cnonce }
        }
        Some(_) => Qop::Other,
    };
    Ok(Digest {
        user,
        userhash,
        realm: sent.realm.ok_or(Missing("realm"))?,
        nonce: sent.nonce.ok_or(Missing("nonce"))?,
        uri: sent.uri.ok_or(Missing("uri"))?,
        response: sent.response.ok_or(Missing("response"))?,
        algorithm,
        qop,
    })
}

impl<'a> Sent<'a> {
    fn read(list: &'a [u8]) -> Result<Self, CredentialsError> {
        let mut sent = Self::default();
        let mut names: Vec<&[u8]> = Vec::with_capacity(12);
        for param in Params::new(list) {
            let param = param.map_err(|_| CredentialsError::BadParameters)?;
            if names.len() == MOST_PARAMS {
                return Err(CredentialsError::TooManyParameters);
            }
            if names
                .iter()
                .any(|name| param.name.eq_ignore_ascii_case(name))
            {
                return Err(CredentialsError::Repeated);
            }
            names.push(param.name);
            // An extended value is a token by its grammar (RFC 8187 §3.2.1).
            if param.quoted && param.name.eq_ignore_ascii_case(b"username*") {
                return Err(CredentialsError::BadValue("username*"));
            }
            if let Some(slot) = sent.slot(param.name) {
                *slot = Some(param.value);
            }
        }
        Ok(sent)
    }

    /// Where a parameter belongs; the ones that we don't know, and `opaque`, belong nowhere.
    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<Cow<'a, [u8]>>> {
        let slots: [(&[u8], _); 11] = [
            (b"username", &mut self.username),
            (b"username*", &mut self.username_ext),
            (b"userhash", &mut self.userhash),
            (b"realm", &mut self.realm),
            (b"nonce", &mut self.nonce),
            (b"uri", &mut self.uri),
            (b"response", &mut self.response),
            (b"algorithm", &mut self.algorithm),
            (b"qop", &mut self.qop),
            (b"nc", &mut self.nc),
            (b"cnonce", &mut self.cnonce),
        ];
        let found = slots
            .into_iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
        found.map(|(_, slot)| slot)
    }
}

fn algorithm(name: &[u8]) -> Option<Algorithm> {
    const ALL: [Algorithm; 4] = [
        Algorithm::Md5,
        Algorithm::Sha256,
        Algorithm::Md5Sess,
        Algorithm::Sha256Sess,
    ];
    ALL.into_iter()
        .find(|known| name.eq_ignore_ascii_case(known.token().as_bytes()))
}

/// Text of a client that does not say which encoding it is in: UTF-8 if it can be, else ISO-8859-1, which anything is.
pub(super) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => latin1(bytes),
    }
}

/// ISO-8859-1 is the first 256 characters of Unicode.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// `UTF-8'language'percent-encoded` (RFC 8187 §3.2.1).
fn extended(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let charset = parts.next()?;
    let _language = parts.next()?;
    let coded = parts.next()?;
    if !charset.eq_ignore_ascii_case(b"UTF-8") {
        return None;
    }
    let mut plain = Vec::with_capacity(coded.len());
    let mut bytes = coded.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let high = char::from(*bytes.next()?).to_digit(16)?;
                let low = char::from(*bytes.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            b'*' | b'\'' => return None,
            byte => *byte,
        });
    }
    String::from_utf8(plain).ok()
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic(basic) => basic.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Digest<'_> {
    /// Nonce and response are left out: whoever reads them could use them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest")
            .field("user", &self.user)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("credentials too long"),
            Self::NoScheme => f.write_str("credentials without a scheme"),
            Self::UnknownScheme => f.write_str("unknown authentication scheme"),
            Self::BadBase64 => f.write_str("credentials are not base64"),
            Self::NoColon => f.write_str("no colon between user and password"),
            Self::BadParameters => f.write_str("malformed credentials"),
            Self::TooManyParameters => f.write_str("too many parameters"),
            Self::Repeated => f.write_str("repeated parameter"),
            Self::Missing(name) => write!(f, "no {name}"),
            Self::BadValue(name) => write!(f, "bad {name}"),
        }
    }
}

impl std::error::Error for CredentialsError {}

#[cfg(test)]
mod tests;
