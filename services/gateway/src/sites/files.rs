//! From a path to a file of the artifact.

use grapnel_artifacts::{FileEntry, Manifest};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The one name with a dot in front whose files are served: what others look for there is meant to be found (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// What is written as it is in a path that we send somebody to.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A file.
    File(&'a FileEntry),
    /// What is asked for is at another path, which begins with one slash and is encoded.
    Elsewhere(String),
    /// Nothing.
    Nothing,
}

/// Finds what a path means: a file, the index of a directory, or the page behind a clean address.
///
/// A directory's address ends with a slash and a page's does not, because the addresses in them are relative to that.
pub fn find<'a>(manifest: &'a Manifest, path: &str) -> Found<'a> {
    let Some(path) = decoded(path) else {
        return Found::Nothing;
    };
    let is_name = |path: &str| !path.is_empty() && !path.ends_with('/');
    let page = |path: &str| is_name(path).then(|| manifest.file(&format!("{path}.html"))).flatten();
    let index = |directory: &str| manifest.file(&format!("{directory}/index.html"));
    match path.strip_suffix('/') {
        None if path.is_empty() => manifest.file("index.html").map_or(Found::Nothing, Found::File),
        None => match manifest.file(&path).or_else(|| page(&path)) {
            Some(file) => Found::File(file),
            None if index(&path).is_some() => Found::Elsewhere(format!("/{}/", encoded(&path))),
            None => Found::Nothing,
        },
        Some(directory) => match index(directory) {
            Some(file) => Found::File(file),
            None if page(directory).is_some() => Found::Elsewhere(format!("/{}", encoded(directory))),
            None => Found::Nothing,
        },
    }
}

fn encoded(path: &str) -> String {
    utf8_percent_encode(path, PLAIN).to_string()
}

/// Returns the path as the manifest writes it; nothing where no file that is served can have it. A slash that was encoded is
/// part of a name, and no file's name has one. Names that begin with a dot are not served: `..`, and what a repository that is
/// deployed as it is has not meant for its readers.
fn decoded(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    let mut plain = String::with_capacity(path.len());
    for (depth, part) in path.split('/').enumerate() {
        let part = percent_decode_str(part).decode_utf8().ok()?;
        let is_hidden = part.starts_with('.') && !(depth == 0 && part == WELL_KNOWN);
        if is_hidden || part.contains(['/', '\0']) {
            return None;
        }
        if depth > 0 {
            plain.push('/');
        }
        plain.push_str(&part);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut paths = [
            "index.html",
            "about.html",
            "about.txt",
            "docs.html",
            "docs/index.html",
            "docs/guide.html",
            "blog/index.html",
            "blog/a b/index.html",
            "plain",
            "\\evil.example/index.html",
            "käse/index.html",
            "100%.html",
            ".env",
            ".html",
            "blog/.html",
            ".well-known/security.txt",
            ".well-known/.secret",
            "a/.git/config",
            "a/.well-known/x",
            "@/index.html",
            "404.html",
            "both",
            "both.html",
            "empty./index.html",
        ];
        paths.sort_unstable();
        let file = |path: &&str| FileEntry {
            path: (*path).to_owned(),
            size: 0,
            digest: String::new(),
            content_type: String::new(),
            blob: None,
        };
        Manifest { version: 1, files: paths.iter().map(file).collect() }
    }

    #[test]
    fn a_path_is_a_file_an_index_or_a_page_by_its_clean_address() {
        let manifest = manifest();
        for (path, expected) in [
            ("/", "index.html"),
            ("/index.html", "index.html"),
            ("/about", "about.html"),
            ("/about.html", "about.html"),
            ("/about.txt", "about.txt"),
            ("/docs", "docs.html"),
            ("/docs/", "docs/index.html"),
            ("/docs/guide", "docs/guide.html"),
            ("/docs/index", "docs/index.html"),
            ("/blog/", "blog/index.html"),
            ("/blog/a%20b/", "blog/a b/index.html"),
            ("/k%C3%A4se/", "käse/index.html"),
            ("/100%25", "100%.html"),
            ("/100%", "100%.html"),
            ("/%61bout", "about.html"),
            ("/plain", "plain"),
            ("/both", "both"),
            ("/.well-known/security.txt", ".well-known/security.txt"),
            ("/%2ewell-known/security.txt", ".well-known/security.txt"),
        ] {
            match find(&manifest, path) {
                Found::File(file) => assert_eq!(file.path, expected, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_directory_is_at_its_slash_and_a_page_without_one() {
        let manifest = manifest();
        for (path, expected) in [
            ("/blog", "/blog/"),
            ("/about/", "/about"),
            ("/blog/a%20b", "/blog/a%20b/"),
            ("/k%c3%a4se", "/k%C3%A4se/"),
            ("/100%25/", "/100%25"),
            ("/%5cevil.example", "/%5Cevil.example/"),
            ("/@", "/%40/"),
            ("/empty.", "/empty./"),
        ] {
            assert_eq!(find(&manifest, path), Found::Elsewhere(expected.to_owned()), "{path}");
            assert!(matches!(find(&manifest, expected), Found::File(_)), "{expected} is there");
        }
    }

    #[test]
    fn what_no_file_is_called_is_not_there() {
        let manifest = manifest();
        for path in [
            "",
            "*",
            "/nothing",
            "/docs//",
            "//docs",
            "//",
            "//evil.example",
            "///blog",
            "/blog/..",
            "/../index.html",
            "/docs/../index.html",
            "/./index.html",
            "/%2e%2e/index.html",
            "/.%2E/x",
            "/docs%2findex.html",
            "/docs%2Fguide",
            "/..%2findex.html",
            "/docs\\index.html",
            "/docs%5cindex.html",
            "/index.html%00",
            "/%00",
            "/index.html%00.txt",
            "/.env",
            "/%2eenv",
            "/a/.git/config",
            "/a/.well-known/x",
            "/.well-known/.secret",
            "/.html",
            "/blog/.html",
            "/%ff",
            "/index.html/",
            "/plain/",
            "/about.html/",
        ] {
            assert_eq!(find(&manifest, path), Found::Nothing, "{path}");
        }
    }

    #[test]
    fn nobody_is_ever_sent_to_another_host() {
        let manifest = manifest();
        for file in &manifest.files {
            for path in [format!("/{}", file.path), format!("/{}/", file.path)] {
                for path in [path.replace("/index.html", ""), path.replace(".html", "")] {
                    if let Found::Elsewhere(to) = find(&manifest, &path.replace('%', "%25")) {
                        let second = to.chars().nth(1);
                        assert!(to.starts_with('/') && !matches!(second, Some('/' | '\\')), "{path} -> {to}");
                    }
                }
            }
        }
    }
}
