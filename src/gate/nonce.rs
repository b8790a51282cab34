//! Nonces that cost nothing to give out: time, chance, and a seal that only our key can make.
//!
//! A nonce is tied to time and key alone, never to a connection, a client or an algorithm: clients answer on new
//! connections, and any replica with the same key accepts what another gave out.
//! `now` comes in as an argument, and nothing is remembered but the keys: which counts were used is for `replay.rs`.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Secret;
use crate::config::noncekey::NonceKey;

/// The layout: version (1 byte), key id (1), Unix milliseconds (6), chance (8), and the seal over all of it.
const VERSION: u8 = 1;
const BODY: usize = 16;
/// HMAC-SHA256, cut to 128 bits as RFC 2104 allows.
const SEAL: usize = 16;
const NONCE: usize = BODY + SEAL;
/// How far ahead another replica's clock may be.
const SKEW_MS: u64 = 60_000;

/// What a nonce is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceState {
    Fresh(NonceId),
    /// Ours, and too old, or from a clock too far ahead.
    Stale,
    /// Not sealed by a key of ours, or no nonce at all.
    Foreign,
}

/// One nonce of ours: its time, then its chance. Older ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NonceId(u128);

impl NonceId {
    #[cfg(test)]
    pub(super) fn new(minted_ms: u64, chance: u64) -> Self {
        Self(u128::from(minted_ms) << 64 | u128::from(chance))
    }

    fn of(body: &[u8]) -> Self {
        // Version and key id stand before it.
        Self(
            body[2..BODY]
                .iter()
                .fold(0, |id, byte| id << 8 | u128::from(*byte)),
        )
    }

    fn minted_ms(self) -> u64 {
        u64::try_from(self.0 >> 64).unwrap_or(u64::MAX)
    }

    /// A number that is spread evenly: chance made it.
    pub(super) fn spread(self) -> usize {
        usize::try_from(self.0 & 0xFFFF).unwrap_or_default()
    }
}

/// Gives nonces out and knows them again.
pub(crate) struct NonceBook {
    /// The first one seals; all are known. Replaced as a whole.
    keys: RwLock<Arc<[Key]>>,
}

#[derive(Clone)]
struct Key {
    id: u8,
    hmac: hmac::Key,
    /// Known so long (Unix milliseconds), if it was replaced.
    until: Option<u64>,
}

impl Key {
    fn new(key: &NonceKey) -> Self {
        Self {
            id: key.id,
            hmac: hmac::Key::new(hmac::HMAC_SHA256, key.key.reveal()),
            until: None,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let seal = |key: &Self| hmac::sign(&key.hmac, b"");
        self.id == other.id && seal(self).as_ref() == seal(other).as_ref()
    }
}

impl NonceBook {
    pub(crate) fn new(keys: &[NonceKey]) -> Self {
        Self {
            keys: RwLock::new(keys.iter().map(Key::new).collect()),
        }
    }

    /// Takes other keys. Those it had are known for one more `lifetime`: nonces that were given out stay good.
    pub(crate) fn rekey(&self, keys: &[NonceKey], lifetime: Duration, now: SystemTime) {
        let mut next: Vec<Key> = keys.iter().map(Key::new).collect();
        let now = unix_ms(now);
        let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let until = now.saturating_add(lifetime);
        for old in self.keys().iter() {
            let known_until = old.until.unwrap_or(until);
            if known_until >= now && !next.iter().any(|key| key.is_same(old)) {
                next.push(Key {
                    until: Some(known_until),
                    ..old.clone()
                });
            }
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = next.into();
    }

    fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A book whose key nobody else has, so its nonces end with this process.
    pub(crate) fn alone() -> Self {
        let mut key = [0; 32];
        rand::fill(&mut key).expect("the system gives random bytes");
        Self::new(&[NonceKey {
            id: 0,
            key: Secret::new(key),
        }])
    }

    /// A nonce of this moment: 43 characters that need no quoting anywhere.
    pub(crate) fn mint(&self, now: SystemTime) -> String {
        let keys = self.keys();
        let key = keys.first().expect("a book has a key");
        let mut nonce = [0; NONCE];
        nonce[0] = VERSION;
        nonce[1] = key.id;
        nonce[2..8].copy_from_slice(&unix_ms(now).to_be_bytes()[2..]);
        rand::fill(&mut nonce[8..BODY]).expect("the system gives random bytes");
        let seal = hmac::sign(&key.hmac, &nonce[..BODY]);
        nonce[BODY..].copy_from_slice(&seal.as_ref()[..SEAL]);
        URL_SAFE_NO_PAD.encode(nonce)
    }

    /// What this nonce is, at this moment.
    pub(crate) fn check(&self, nonce: &[u8], lifetime: Duration, now: SystemTime) -> NonceState {
        let mut bytes = [0; NONCE];
        // One text per nonce: the decoder takes no padding, no other alphabet and no stray bits at the end.
        if !matches!(URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes), Ok(NONCE)) {
            return NonceState::Foreign;
        }
        let (body, seal) = bytes.split_at(BODY);
        let now = unix_ms(now);
        if body[0] != VERSION || !self.sealed(body, seal, now) {
            return NonceState::Foreign;
        }
        let id = NonceId::of(body);
        let minted = id.minted_ms();
        let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        if minted > now.saturating_add(SKEW_MS) || now.saturating_sub(minted) > lifetime {
            return NonceState::Stale;
        }
        NonceState::Fresh(id)
    }

    fn sealed(&self, body: &[u8], seal: &[u8], now: u64) -> bool {
        let keys = self.keys();
        let known = |key: &&Key| key.id == body[1] && key.until.is_none_or(|until| now <= until);
        keys.iter().filter(known).any(|key| {
            let ours = hmac::sign(&key.hmac, body);
            constant_time::verify_slices_are_equal(&ours.as_ref()[..SEAL], seal).is_ok()
        })
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for NonceBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys().iter().map(|key| key.id))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use State::{Foreign, Fresh, Stale};

    /// `NonceState`, whichever nonce it is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum State {
        Fresh,
        Stale,
        Foreign,
    }

    fn ask(book: &NonceBook, nonce: impl AsRef<[u8]>, now: SystemTime) -> State {
        match book.check(nonce.as_ref(), LIFETIME, now) {
            NonceState::Fresh(_) => Fresh,
            NonceState::Stale => Stale,
            NonceState::Foreign => Foreign,
        }
    }

    const LIFETIME: Duration = Duration::from_secs(3600);

    fn key(id: u8, byte: u8) -> NonceKey {
        NonceKey {
            id,
            key: Secret::new([byte; 32]),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    #[track_caller]
    fn check(age: (u64, u64), want: State) {
        let book = NonceBook::new(&[key(1, 7)]);
        let nonce = book.mint(at(age.0));
        assert_eq!(ask(&book, &nonce, at(age.1)), want);
    }

    #[test]
    fn a_nonce_lives_its_lifetime_and_a_minute_of_skew() {
        check((0, 0), Fresh);
        check((0, 3600), Fresh);
        check((0, 3601), Stale);
        check((0, 1_000_000), Stale);
        check((60, 0), Fresh);
        check((61, 0), Stale);
    }

    #[test]
    fn every_key_is_known_and_the_first_one_seals() {
        let old = NonceBook::new(&[key(1, 7)]);
        let both = NonceBook::new(&[key(2, 8), key(1, 7)]);
        let new = NonceBook::new(&[key(2, 8)]);
        let state = |by: &NonceBook, of: &NonceBook| ask(by, of.mint(at(0)), at(0));
        assert_eq!(
            [
                state(&both, &old),
                state(&both, &new),
                state(&new, &both),
                state(&old, &both)
            ],
            [Fresh, Fresh, Fresh, Foreign]
        );
        let same_id = NonceBook::new(&[key(1, 9)]);
        assert_eq!(state(&same_id, &old), Foreign);
        assert_eq!(state(&NonceBook::alone(), &NonceBook::alone()), Foreign);
    }

    #[test]
    fn a_replaced_key_is_known_for_one_more_lifetime() {
        let book = NonceBook::new(&[key(1, 7)]);
        let old = book.mint(at(0));
        book.rekey(&[key(2, 8)], LIFETIME, at(10));
        let state = |nonce: &str, now| ask(&book, nonce, at(now));
        assert_eq!(state(&old, 20), Fresh);
        assert_eq!(state(&book.mint(at(20)), 20), Fresh);
        // Another replica may still give nonces of the old key out for a while.
        let late = NonceBook::new(&[key(1, 7)]).mint(at(3609));
        assert_eq!((state(&late, 3610), state(&late, 3611)), (Fresh, Foreign));
        book.rekey(&[key(2, 8)], LIFETIME, at(3600));
        assert_eq!(
            state(&late, 3611),
            Foreign,
            "the same keys again prolong nothing"
        );
        book.rekey(&[key(1, 7)], LIFETIME, at(7300));
        assert_eq!(book.keys().len(), 2, "what is over is forgotten");
        assert_eq!(
            state(&book.mint(at(9999)), 9999),
            Fresh,
            "a key may come back"
        );
    }

    #[test]
    fn two_nonces_of_one_moment_differ() {
        let book = NonceBook::alone();
        assert_ne!(book.mint(at(0)), book.mint(at(0)));
    }

    #[test]
    fn an_older_nonce_comes_first() {
        let book = NonceBook::alone();
        let id = |seconds| match book.check(book.mint(at(seconds)).as_bytes(), LIFETIME, at(9)) {
            NonceState::Fresh(id) => id,
            other => panic!("{other:?}"),
        };
        let (old, young) = (id(8), id(9));
        assert!(old < young, "{old:?} {young:?}");
        assert_eq!(old.minted_ms(), 1_700_000_008_000);
        assert_ne!(id(9), id(9));
    }

    #[test]
    fn what_is_no_nonce_is_foreign() {
        let book = NonceBook::new(&[key(1, 7)]);
        let nonce = book.mint(at(0));
        for other in [
            "",
            "AA",
            "not base64!",
            &nonce[1..],
            &format!("{nonce}="),
            &format!("{nonce}A"),
        ] {
            let state = ask(&book, other, at(0));
            assert_eq!(state, Foreign, "{other}");
        }
    }

    #[test]
    fn a_nonce_of_another_layout_is_foreign_even_under_our_seal() {
        let book = NonceBook::new(&[key(1, 7)]);
        let mut nonce = URL_SAFE_NO_PAD.decode(book.mint(at(0))).unwrap();
        nonce[0] = VERSION + 1;
        let seal = hmac::sign(&book.keys()[0].hmac, &nonce[..BODY]);
        nonce[BODY..].copy_from_slice(&seal.as_ref()[..SEAL]);
        let nonce = URL_SAFE_NO_PAD.encode(nonce);
        assert_eq!(ask(&book, nonce, at(0)), Foreign);
    }

    proptest! {
        #[test]
        fn a_changed_nonce_is_foreign(place in 0..43usize, byte: u8) {
            let book = NonceBook::new(&[key(1, 7), key(0, 7)]);
            let mut nonce = book.mint(at(0)).into_bytes();
            prop_assume!(nonce[place] != byte);
            nonce[place] = byte;
            prop_assert_eq!(ask(&book, &nonce, at(0)), Foreign);
        }

        #[test]
        fn nothing_panics(nonce: Vec<u8>) {
            NonceBook::alone().check(&nonce, LIFETIME, at(0));
        }
    }
}
