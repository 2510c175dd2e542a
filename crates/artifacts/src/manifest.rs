//! What an artifact holds.

use serde::{Deserialize, Serialize};

/// The list of an artifact's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub version: u32,
    /// The files, sorted by path.
    pub files: Vec<FileEntry>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The path in the artifact, parts separated by `/`.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The SHA-256 in lower-case hexadecimal.
    pub digest: String,
    /// The media type, with its character set where it is text.
    pub content_type: String,
    /// What a bucket keeps its content under, where that is not the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
}

impl FileEntry {
    /// Returns what a bucket keeps its content under.
    pub(crate) fn blob(&self) -> &str {
        self.blob.as_deref().unwrap_or(&self.digest)
    }
}

impl Manifest {
    /// The version that this release writes.
    pub const VERSION: u32 = 1;

    /// Finds a file by its path.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| &self.files[at])
    }

    /// Returns the bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Guesses the media type of a file by its name; text is UTF-8.
pub fn content_type(path: &str) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    let textual = guess.type_() == "text"
        || matches!(
            guess.essence_str(),
            "application/javascript" | "application/json" | "image/svg+xml" | "application/xml"
        );
    if textual && guess.get_param("charset").is_none() {
        format!("{guess}; charset=utf-8")
    } else {
        guess.to_string()
    }
}
