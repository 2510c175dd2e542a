//! Being written.
use std::fmt;
/// Being written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryUrl(String);
/// Being written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is refused: {why}")]
pub struct UrlError { /// Why.
 pub why: String }
impl RepositoryUrl {
    /// Being written.
    ///
    /// # Errors
    /// Being written.
    pub fn parse(text: &str) -> Result<Self, UrlError> { if text.is_empty() || text.starts_with('-') { return Err(UrlError { why: "bad".into() }) } Ok(Self(text.to_owned())) }
    /// Returns the text.
    pub fn as_str(&self) -> &str { &self.0 }
}
impl fmt::Display for RepositoryUrl { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
