//! Tokens of hook URLs, API keys, and the secrets of sessions.
//!
//! All have one form: a prefix that secret scanners can look for, 32 base62 characters from the operating
//! system's generator (190 bits), and the CRC32 of prefix and body in 6 base62 characters, so that a mistyped
//! or cut secret is told apart without asking the database. The prefixes `grh_`, `gra_` and `grs_` must never
//! change: scanners and people know them, and the checksum covers them.

use std::marker::PhantomData;

use rand::{CryptoRng, RngExt as _, distr::Alphanumeric};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

const BODY_LENGTH: usize = 32;
const CHECKSUM_LENGTH: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The kind of a secret: its prefix.
pub trait SecretKind {
    /// What every secret of this kind begins with.
    const PREFIX: &'static str;
}

/// The kind of hook tokens.
#[derive(Clone, Copy, Debug)]
pub struct HookTokenKind;

impl SecretKind for HookTokenKind {
    const PREFIX: &'static str = "grh_";
}

/// The kind of API keys, those that services show each other included.
#[derive(Clone, Copy, Debug)]
pub struct ApiKeyKind;

impl SecretKind for ApiKeyKind {
    const PREFIX: &'static str = "gra_";
}

/// The kind of what people show who have signed in.
#[derive(Clone, Copy, Debug)]
pub struct SessionSecretKind;

impl SecretKind for SessionSecretKind {
    const PREFIX: &'static str = "grs_";
}

/// The secret last segment of a hook URL.
pub type HookToken = Secret<HookTokenKind>;

/// A key to the gRPC and REST interfaces.
pub type ApiKey = Secret<ApiKeyKind>;

/// What is shown in a key's place by somebody who has signed in with it.
pub type SessionSecret = Secret<SessionSecretKind>;

/// A well-formed secret. It does not show itself in `Debug` and is wiped when dropped.
#[derive(Clone)]
pub struct Secret<K> {
    text: SecretString,
    kind: PhantomData<K>,
}

/// Text that is no secret of the kind asked for. It does not say where the text went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not well-formed: a prefix, 32 characters and a checksum are expected")]
pub struct MalformedSecret;

impl<K: SecretKind> Secret<K> {
    /// Makes a new secret from a cryptographically secure generator.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut text = String::with_capacity(K::PREFIX.len() + BODY_LENGTH + CHECKSUM_LENGTH);
        text.push_str(K::PREFIX);
        text.extend((0..BODY_LENGTH).map(|_| char::from(rng.sample(Alphanumeric))));
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Self { text: text.into(), kind: PhantomData }
    }

    /// Reads a secret back from text.
    ///
    /// # Errors
    /// Prefix, length, alphabet or checksum is wrong.
    pub fn parse(text: &str) -> Result<Self, MalformedSecret> {
        let well_formed = text.starts_with(K::PREFIX)
            && text.len() == K::PREFIX.len() + BODY_LENGTH + CHECKSUM_LENGTH
            && text[K::PREFIX.len()..].bytes().all(|b| b.is_ascii_alphanumeric());
        if !well_formed {
            return Err(MalformedSecret);
        }
        let (covered, given) = text.split_at(text.len() - CHECKSUM_LENGTH);
        if checksum(covered) != given {
            return Err(MalformedSecret);
        }
        Ok(Self { text: text.into(), kind: PhantomData })
    }

    /// Shows the secret: for the one answer that hands it out, and for the header that carries it.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// Returns the SHA-256 by which the secret is stored and looked up. The secret's own randomness makes a
    /// slow hash needless.
    pub fn hash(&self) -> SecretHash {
        SecretHash(hex::encode(Sha256::digest(self.expose().as_bytes())))
    }

    /// Returns the last four characters, which lists show so that people can tell secrets apart.
    pub fn last_four(&self) -> &str {
        let text = self.expose();
        &text[text.len() - 4..]
    }
}

impl<K: SecretKind> std::fmt::Debug for Secret<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[REDACTED]", K::PREFIX)
    }
}

/// The SHA-256 of a secret, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretHash(String);

impl SecretHash {
    /// Returns the hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn checksum(covered: &str) -> String {
    let mut rest = crc32fast::hash(covered.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn a_token_has_its_prefix_32_characters_and_a_checksum() {
        let token = HookToken::generate(&mut StdRng::seed_from_u64(1));
        assert!(token.expose().starts_with("grh_"));
        assert_eq!(token.expose().len(), 4 + 32 + 6);
        assert_eq!(HookToken::parse(token.expose()).unwrap().hash(), token.hash());
        assert!(token.expose().ends_with(token.last_four()));
    }

    #[test]
    fn a_token_is_no_key_and_the_other_way_round() {
        let token = HookToken::generate(&mut StdRng::seed_from_u64(2));
        assert_eq!(ApiKey::parse(token.expose()).unwrap_err(), MalformedSecret);
        let swapped = token.expose().replacen("grh_", "gra_", 1);
        assert_eq!(ApiKey::parse(&swapped).unwrap_err(), MalformedSecret, "the checksum covers the prefix");
    }

    #[test]
    fn debug_never_shows_a_secret() {
        let token = HookToken::generate(&mut StdRng::seed_from_u64(3));
        assert_eq!(format!("{token:?}"), "grh_[REDACTED]");
    }

    proptest! {
        #[test]
        fn one_changed_character_is_noticed(seed: u64, at in 4_usize..42, to in "[0-9A-Za-z]") {
            let token = HookToken::generate(&mut StdRng::seed_from_u64(seed));
            let mut text = token.expose().to_owned();
            prop_assume!(text[at..=at] != to);
            text.replace_range(at..=at, &to);
            prop_assert!(HookToken::parse(&text).is_err());
        }

        #[test]
        fn every_shorter_or_other_text_is_refused(seed: u64, length in 0_usize..42, other: String) {
            let token = HookToken::generate(&mut StdRng::seed_from_u64(seed));
            prop_assert!(HookToken::parse(&token.expose()[..length]).is_err());
            prop_assert!(HookToken::parse(&other).is_err());
        }
    }
}
