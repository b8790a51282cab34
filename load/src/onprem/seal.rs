//! Payloads are encrypted with a key made at login; only the phone could open them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// One user's payload key (AES-256).
pub struct SealingKey(RandomizedNonceKey);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(hidden)")
    }
}

impl SealingKey {
    /// A random key, as made at login.
    #[must_use]
    pub fn random() -> Self {
        let mut key = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut key).expect("the system has random bytes");
        Self(RandomizedNonceKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length"))
    }

    /// `A256GCM.<nonce>.<ciphertext and tag>`, the parts in base64url.
    #[must_use]
    pub fn seal(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::empty(), &mut bytes)
            .expect("a payload is far below the cipher's limit");
        let nonce = URL_SAFE_NO_PAD.encode(nonce.as_ref());
        format!("A256GCM.{nonce}.{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_payload_shows_nothing_and_never_looks_the_same() {
        let key = SealingKey::random();
        let (first, second) = (key.seal("call from Ann"), key.seal("call from Ann"));
        assert!(first.starts_with("A256GCM.") && !first.contains("Ann"));
        assert_ne!(first, second);
    }
}
