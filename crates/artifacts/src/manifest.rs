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
    if let Some(known) = known_type(path) {
        return known.to_owned();
    }
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    let essence = guess.essence_str();
    let textual = guess.type_() == "text"
        || essence.ends_with("+xml")
        || essence.ends_with("+json")
        || matches!(essence, "application/javascript" | "application/json" | "application/xml");
    if textual && guess.get_param("charset").is_none() {
        format!("{guess}; charset=utf-8")
    } else {
        guess.to_string()
    }
}

/// Knows what is guessed wrong, or not at all. Browsers are told not to look into files themselves, so it matters.
fn known_type(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    // Named so by Apple, and wanted as JSON.
    if name == "apple-app-site-association" {
        return Some("application/json; charset=utf-8");
    }
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "mjs" | "cjs" => "text/javascript; charset=utf-8",
        // Of scripts and styles.
        "map" => "application/json; charset=utf-8",
        "woff" => "font/woff",
        "otf" => "font/otf",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_type_of_its_name_and_text_its_character_set() {
        for (path, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTM", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.cjs", "text/javascript; charset=utf-8"),
            ("a.js.map", "application/json; charset=utf-8"),
            ("a.json", "application/json; charset=utf-8"),
            ("site.webmanifest", "application/manifest+json; charset=utf-8"),
            ("a.jsonld", "application/ld+json; charset=utf-8"),
            ("a.svg", "image/svg+xml; charset=utf-8"),
            ("sitemap.xml", "text/xml; charset=utf-8"),
            ("feed.rss", "application/rss+xml; charset=utf-8"),
            ("feed.atom", "application/atom+xml; charset=utf-8"),
            ("robots.txt", "text/plain; charset=utf-8"),
            ("a.csv", "text/csv; charset=utf-8"),
            ("a.vtt", "text/vtt; charset=utf-8"),
            ("a.md", "text/markdown; charset=utf-8"),
            ("a.wasm", "application/wasm"),
            ("a.woff", "font/woff"),
            ("a.woff2", "font/woff2"),
            ("a.ttf", "font/ttf"),
            ("a.otf", "font/otf"),
            ("a.png", "image/png"),
            ("a.JPG", "image/jpeg"),
            ("a.webp", "image/webp"),
            ("a.avif", "image/avif"),
            ("favicon.ico", "image/x-icon"),
            ("a.mp4", "video/mp4"),
            ("a.webm", "video/webm"),
            ("a.pdf", "application/pdf"),
            ("a.zip", "application/zip"),
            ("a.js.gz", "application/gzip"),
            ("a.js.br", "application/octet-stream"),
            ("a.b/c", "application/octet-stream"),
            ("CNAME", "application/octet-stream"),
            (".well-known/apple-app-site-association", "application/json; charset=utf-8"),
        ] {
            assert_eq!(content_type(path), expected, "{path}");
        }
    }
}
