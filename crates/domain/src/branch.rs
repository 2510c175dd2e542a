//! Being written.
use std::fmt;
/// Being written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BranchName(String);
/// Being written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is refused: {why}")]
pub struct BranchError { /// Why.
 pub why: String }
impl BranchName {
    /// Being written.
    ///
    /// # Errors
    /// Being written.
    pub fn parse(text: &str) -> Result<Self, BranchError> { if text.is_empty() || text.starts_with('-') { return Err(BranchError { why: "bad".into() }) } Ok(Self(text.to_owned())) }
    /// Returns the text.
    pub fn as_str(&self) -> &str { &self.0 }
}
impl fmt::Display for BranchName { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
