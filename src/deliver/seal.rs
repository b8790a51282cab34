//! Encrypts what only the operator may read: JSON Web Encryption (RFC 7516), compact, `dir` with `A256GCM`.
//!
//! A known format, so that any JOSE library opens it; the README says how to do so without one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Secret;

const HEADER: &[u8] = br#"{"alg":"dir","enc":"A256GCM"}"#;

/// `key` has 32 bytes.
pub(super) fn seal(key: &Secret, plain: &[u8]) -> Result<String, Unspecified> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key.reveal())?;
    let header = URL_SAFE_NO_PAD.encode(HEADER);
    let mut text = plain.to_vec();
    let (nonce, tag) = key.seal_in_place_separate_tag(Aad::from(header.as_bytes()), &mut text)?;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    // With `dir` there is no encrypted key: its part is empty.
    Ok(format!(
        "{header}..{}.{}.{}",
        encode(nonce.as_ref()),
        encode(&text),
        encode(tag.as_ref())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::aead::Nonce;

    #[test]
    fn what_is_sealed_opens_with_the_key_and_with_no_other() {
        let open = |key: u8, sealed: &str| -> Option<String> {
            let parts: Vec<&str> = sealed.split('.').collect();
            let [header, "", nonce, text, tag] = parts[..] else {
                panic!("{sealed}");
            };
            let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
            let nonce = Nonce::try_assume_unique_for_key(&decode(nonce)).unwrap();
            let mut text = [decode(text), decode(tag)].concat();
            let key = RandomizedNonceKey::new(&AES_256_GCM, &[key; 32]).unwrap();
            let plain = key.open_in_place(nonce, Aad::from(header.as_bytes()), &mut text);
            plain
                .ok()
                .map(|plain| String::from_utf8(plain.to_vec()).unwrap())
        };
        let seal = || seal(&Secret::new([7; 32]), b"ann was here").unwrap();
        let sealed = seal();
        assert!(!sealed.contains("ann") && sealed != seal(), "{sealed}");
        assert_eq!(open(7, &sealed).as_deref(), Some("ann was here"));
        assert_eq!(open(8, &sealed), None);
        assert_eq!(open(7, &sealed.replacen("eyJ", "eyK", 1)), None);
    }
}
