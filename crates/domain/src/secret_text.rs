//! Text that nobody may see by accident.

use zeroize::Zeroizing;

/// A secret text: a variable's value, a password, a private key. It shows itself to nobody who does not ask for it by
/// [`SecretText::expose`], and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Returns the text. Whoever calls this is where to look when one leaks.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let secret = SecretText::new("hunter2-hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "SecretText(…) Some(SecretText(…))");
        assert_eq!(secret.expose(), "hunter2-hunter2");
    }
}
