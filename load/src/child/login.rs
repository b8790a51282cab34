//! A login that the proxy knows: the line of its users file, written as its manual says.

use std::fmt::Write as _;

use md5::{Digest as _, Md5};

/// `user:realm:HA1` with MD5 and with SHA-256.
#[must_use]
pub fn user_lines(user: &str, realm: &str, password: &str) -> String {
    let secret = format!("{user}:{realm}:{password}");
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let md5 = hex(&Md5::digest(&secret));
    format!(
        "{user}:{realm}:{md5}\n{user}:{realm}:{}\n",
        hex(sha256.as_ref())
    )
}

/// 32 hex digits that nobody can guess.
#[must_use]
pub fn random_hex() -> String {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random bytes");
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_written_with_both_hashes() {
        // md5sum and sha256sum of "Mufasa:tidegate demo:Circle of Life".
        assert_eq!(
            user_lines("Mufasa", "tidegate demo", "Circle of Life"),
            "Mufasa:tidegate demo:4ea9bbe499da6e002184c13cab6632d8\nMufasa:tidegate demo:b5a43ca04e30e146ad2bc4c919b411fcc3911adf394cab374a76d6c326828a70\n"
        );
    }
}
