//! The secrets by which events prove where they come from.

use std::time::Duration;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use rand::{CryptoRng, RngExt as _};
use zeroize::Zeroizing;

use crate::SecretText;

/// How many secrets of an endpoint sign at once: the new one, and the one that it takes the place of.
pub const MAX_LIVE_SECRETS: usize = 2;

/// How long a secret that is replaced signs on, where nothing else is said.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// What every secret begins with.
const PREFIX: &str = "whsec_";

/// The bytes of a secret that is made here.
const MADE: usize = 32;

/// The bytes that a secret has to have (Standard Webhooks 1.0.0, "Symmetric").
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// An endpoint's secret: `whsec_` and the base64 of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSecret(SecretText);

/// Why a text is no secret. It does not say where the text went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be `whsec_` and the base64 of 24 to 64 bytes")]
pub struct SecretError;

impl EndpointSecret {
    /// Makes a new secret from a cryptographically secure generator.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let key: Zeroizing<[u8; MADE]> = Zeroizing::new(rng.random());
        Self(SecretText::new(format!("{PREFIX}{}", STANDARD.encode(*key))))
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &SecretText) -> Result<Self, SecretError> {
        let secret = Self(text.clone());
        if BYTES.contains(&secret.key().ok_or(SecretError)?.len()) { Ok(secret) } else { Err(SecretError) }
    }

    /// Returns the whole text. Whoever calls this is where to look when one leaks.
    pub fn text(&self) -> &SecretText {
        &self.0
    }

    /// Returns the last four characters before any padding, to tell secrets apart.
    pub fn last_four(&self) -> String {
        let text = self.0.expose().trim_end_matches('=');
        text[text.len().saturating_sub(4)..].to_owned()
    }

    /// Returns the key that signs; `None` where the text is no base64, which a secret that was read is.
    pub fn key(&self) -> Option<Zeroizing<Vec<u8>>> {
        let encoded = self.0.expose().strip_prefix(PREFIX)?.trim_end_matches('=');
        STANDARD_NO_PAD.decode(encoded).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<EndpointSecret, SecretError> {
        EndpointSecret::parse(&SecretText::new(text))
    }

    #[test]
    fn a_secret_that_was_made_reads_back_and_no_two_are_alike() {
        let secret = EndpointSecret::generate(&mut rand::rng());
        assert_eq!(EndpointSecret::parse(secret.text()), Ok(secret.clone()));
        assert_eq!(secret.key().unwrap().len(), MADE);
        assert_ne!(secret, EndpointSecret::generate(&mut rand::rng()));
    }

    #[test]
    fn secrets_of_the_wrong_length_or_alphabet_are_refused() {
        let of = |bytes: usize| read(&format!("{PREFIX}{}", STANDARD.encode(vec![7_u8; bytes]))).is_ok();
        assert_eq!([23, 24, 64, 65].map(of), [false, true, true, false]);
        let key = STANDARD_NO_PAD.encode([7_u8; 32]);
        assert!(read(&format!("whsec_{key}")).is_ok(), "without its padding too");
        for text in ["", "whsec_", &key, &format!("WHSEC_{key}"), &format!("whsec_{key} "), "whsec_ä"] {
            assert_eq!(read(text), Err(SecretError), "{text}");
        }
    }

    #[test]
    fn a_secret_shows_its_last_four_characters_and_no_more() {
        let secret = read(&format!("whsec_{}", STANDARD.encode([7_u8; 32]))).unwrap();
        assert_eq!(format!("{secret:?}"), "EndpointSecret(SecretText(…))");
        assert_eq!(secret.last_four(), "HBwc");
    }
}
