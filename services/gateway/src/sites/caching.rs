//! What readers may keep, and for how long.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};

use super::encodings;

/// For what never changes under its name.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// For all else: kept, and asked for again each time, which is answered without content where it is the same.
pub const LOOK_AGAIN: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");

/// Directories whose files the tools that make them never change: Next.js, Astro, SvelteKit.
const NEVER_CHANGED: [&str; 3] = ["_next/static/", "_astro/", "_app/immutable/"];

/// How long hashes in hexadecimal are that tools put into names.
const HEXADECIMAL: [usize; 7] = [8, 10, 12, 16, 20, 32, 40];

/// How long other ones are: those of Vite, Rollup, esbuild and what is built on them.
const LETTERS: usize = 8;

/// Returns what readers are told to do with a file.
pub fn control(path: &str) -> HeaderValue {
    if has_content_in_its_name(path) { FOR_EVER } else { LOOK_AGAIN }
}

/// Tells whether a file's name was made of its content, so that another content would have another name.
///
/// A wrong yes is seen for a year and a wrong no costs one question, so where a name might as well be chosen by somebody
/// the answer is no.
pub fn has_content_in_its_name(path: &str) -> bool {
    let path = encodings::uncompressed(path);
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let name = name.strip_suffix(".map").unwrap_or(name);
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    if matches!(extension, "html" | "htm") {
        return false;
    }
    let below = |place: &str| path.starts_with(place) || path.contains(&format!("/{place}"));
    if NEVER_CHANGED.into_iter().any(below) {
        return true;
    }
    let stem =
        [".chunk", ".min", ".bundle", ".module"].iter().find_map(|it| stem.strip_suffix(it)).unwrap_or(stem);
    let is_code = matches!(extension, "js" | "mjs" | "css") && directory.split('/').any(|it| it == "assets");
    let is_whole = below("_nuxt/") && stem.len() == LETTERS;
    ends_with_hexadecimal(stem) || ends_with_letters(stem, is_code) || (is_whole && is_letters(stem, true))
}

/// Finds `main.8f3a2b1c`, `app-0123456789abcdef0123`, and a hash that is all of the name, if it is long.
fn ends_with_hexadecimal(stem: &str) -> bool {
    let mut parts = stem.rsplit(['.', '-', '_', '~']);
    let hash = parts.next().unwrap_or_default();
    let before = parts.next();
    // A UUID is chosen by somebody, and so is a date.
    let is_uuid = hash.len() == 12 && before.is_some_and(|it| it.len() == 4);
    let is_date = hash.starts_with("19") || hash.starts_with("20");
    let is_date = is_date && hash.bytes().take(LETTERS).all(|byte| byte.is_ascii_digit());
    let is_hexadecimal = hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_alone_and_short = before.is_none() && hash.len() < 16;
    HEXADECIMAL.contains(&hash.len())
        && is_hexadecimal
        && changes(hash) >= 2
        && !is_uuid
        && !is_date
        && !is_alone_and_short
}

/// Finds `index-DwXy3_a1`, `styles-5INURTSO`, `main.DwXy3_a1`; the hash may itself hold what stands before it.
fn ends_with_letters(stem: &str, is_code: bool) -> bool {
    let Some(at) = stem.len().checked_sub(LETTERS).filter(|at| *at > 1 && stem.is_char_boundary(*at)) else {
        return false;
    };
    let (before, hash) = stem.split_at(at);
    before.ends_with(['-', '.']) && is_letters(hash, is_code)
}

/// Tells letters of chance from a word: among them capitals, small letters, digits and signs follow each other.
fn is_letters(hash: &str, is_code: bool) -> bool {
    let has = |of: fn(&u8) -> bool| hash.bytes().any(|byte| of(&byte));
    let is_base64 = hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let is_base32 = hash.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
    let (capital, small) = (has(u8::is_ascii_uppercase), has(u8::is_ascii_lowercase));
    let other = has(|byte| !byte.is_ascii_alphabetic());
    if is_base32 {
        return capital && other;
    }
    let enough = if is_code && other { 3 } else { 4 };
    is_base64 && capital && small && changes(hash) >= enough
}

/// Counts where one kind of letter follows another.
fn changes(text: &str) -> usize {
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        _ => 3,
    };
    text.bytes().zip(text.bytes().skip(1)).filter(|(a, b)| kind(*a) != kind(*b)).count()
}

/// What tells one content from another (RFC 9110, section 8.8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    digest: String,
    is_weak: bool,
}

impl Tag {
    /// Makes one of a digest. What is compressed has a weak one: of the same content there are others.
    pub fn of(digest: &str, is_weak: bool) -> Self {
        Self { digest: digest.to_owned(), is_weak }
    }

    /// Tells whether a value is this tag and both say the same byte for byte.
    pub fn is_strongly(&self, value: &[u8]) -> bool {
        let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        !self.is_weak && unquoted == Some(self.digest.as_bytes())
    }

    /// Tells whether this tag is in a header's list, or all are.
    fn is_among(&self, headers: &HeaderMap, name: header::HeaderName, strongly: bool) -> bool {
        let values = headers.get_all(name);
        let mut values = values.iter().filter_map(|value| value.to_str().ok());
        values.any(|value| {
            value.trim() == "*"
                || tags(value).any(|(weak, tag)| tag == self.digest && !(strongly && (weak || self.is_weak)))
        })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\"{}\"", if self.is_weak { "W/" } else { "" }, self.digest)
    }
}

/// Returns the tags of a list, each with whether it is weak, up to what is none.
fn tags(list: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let strong = rest.strip_prefix("W/");
        let (tag, after) = strong.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        rest = after;
        Some((strong.is_some(), tag))
    })
}

/// What a request's conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is answered.
    Holds,
    /// The reader has it already.
    NotModified,
    /// The reader wanted another content.
    Failed,
}

/// Looks at a request's conditions, in the order of RFC 9110, section 13.2.2. Times are not looked at: what a file's time says
/// nothing about is its content.
pub fn condition(headers: &HeaderMap, tag: &Tag) -> Condition {
    if headers.contains_key(header::IF_MATCH) && !tag.is_among(headers, header::IF_MATCH, true) {
        Condition::Failed
    } else if tag.is_among(headers, header::IF_NONE_MATCH, false) {
        Condition::NotModified
    } else {
        Condition::Holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tools_make_of_contents_are_kept_for_ever() {
        for path in [
            "assets/index-DwXy3_a1.js",
            "assets/index-DwXy3_a1.css",
            "assets/index--wXy3_a1.js",
            "assets/logo-BsLkR94A.svg",
            "assets/vendor-CkxZqWpT.js",
            "assets/inter-latin-Cw3yDX01.woff2",
            "assets/chunk-aB3defgh.js",
            "base/assets/index-DwXy3_a1.js.map",
            "assets/index-DwXy3_a1.js.br",
            "assets/index-DwXy3_a1.css.gz",
            "main.8f3a2b1c.css",
            "static/js/main.8f3a2b1c.chunk.js",
            "static/js/2.0f3a2b1c.min.js",
            "static/media/logo.6ce24c58023cc2f8fd88.svg",
            "runtime~app-0a1b2c3d4e5f60718293.js",
            "framework-c6fae2d1a1b8c3e7.js",
            "8f3a2b1c9d0e1f2a3b4c.png",
            "styles-5INURTSO.css",
            "chunk-F4UJ2GBK.js",
            "entry.DwXy3_a1.js",
            "_nuxt/DwXy3_a1.js",
            "_nuxt/entry.BaTk3H7p.css",
            "_next/static/chunks/main.js",
            "_next/static/f8s0dIvMYAqVzl9SPpfAr/_buildManifest.js",
            "docs/_next/static/css/app.css",
            "_astro/index.css",
            "_app/immutable/entry/start.js",
        ] {
            assert!(has_content_in_its_name(path), "{path}");
        }
    }

    #[test]
    fn names_that_people_choose_are_looked_at_again() {
        for path in [
            "index.html",
            "about-DwXy3_a1.html",
            "_next/static/page.html",
            "main.js",
            "favicon.ico",
            "robots.txt",
            "sw.js",
            "service-worker.js",
            "get-document.js",
            "get-Document.js",
            "assets/logo.png",
            "assets/jquery-MyPlugin.js",
            "assets/team-JohnSmth.png",
            "assets/icon-iPhone15.png",
            "assets/hero-mobile2x.png",
            "assets/bootstrap-5.3.2.min.js",
            "assets/Chapter-Chapter1.pdf",
            "photo-20240115.jpg",
            "photo-20240115a1b2.jpg",
            "photo-2024011512.jpg",
            "photo-cafe2024.jpg",
            "photo-face2face.jpg",
            "a-deadbeef.js",
            "a-12345678.js",
            "8f3a2b1c.js",
            "550e8400-e29b-41d4-a716-4466554400ab.pdf",
            "report-550e8400-e29b-41d4-a716-4466554400ab.pdf",
            "DwXy3_a1.js",
            "DwXy3_a1",
            "a-README10.txt",
            "_nuxt/builds/latest.json",
            "my_next/static/a.js",
            "x_astro/a.js",
            "käse-ü3Xy_a1.js",
            ".js",
            "",
        ] {
            assert!(!has_content_in_its_name(path), "{path}");
        }
    }

    #[test]
    fn conditions_are_looked_at_in_their_order() {
        use Condition::{Failed, Holds, NotModified};
        let (strong, weak) = (Tag::of("abc", false), Tag::of("abc", true));
        let with = |of: &[(header::HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in of {
                headers.append(name, value.parse().unwrap());
            }
            headers
        };
        let (none, only) = (header::IF_NONE_MATCH, header::IF_MATCH);
        for (headers, of_strong, of_weak) in [
            (with(&[]), Holds, Holds),
            (with(&[(none.clone(), "\"abc\"")]), NotModified, NotModified),
            (with(&[(none.clone(), "W/\"abc\"")]), NotModified, NotModified),
            (with(&[(none.clone(), "\"x,y\" , \"abc\"")]), NotModified, NotModified),
            (with(&[(none.clone(), "\"x\""), (none.clone(), "\"abc\"")]), NotModified, NotModified),
            (with(&[(none.clone(), "*")]), NotModified, NotModified),
            (with(&[(none.clone(), "\"abd\", abc, \"abc\"")]), Holds, Holds),
            (with(&[(none.clone(), "abc")]), Holds, Holds),
            (with(&[(none.clone(), "\"abc")]), Holds, Holds),
            (with(&[(only.clone(), "\"abc\"")]), Holds, Failed),
            (with(&[(only.clone(), "W/\"abc\"")]), Failed, Failed),
            (with(&[(only.clone(), "\"abd\"")]), Failed, Failed),
            (with(&[(only.clone(), "*")]), Holds, Holds),
            (with(&[(only, "\"abd\""), (none, "\"abc\"")]), Failed, Failed),
        ] {
            assert_eq!(
                (condition(&headers, &strong), condition(&headers, &weak)),
                (of_strong, of_weak),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn a_tag_is_written_as_it_is_read() {
        assert_eq!(Tag::of("abc", false).to_string(), "\"abc\"");
        assert_eq!(Tag::of("abc", true).to_string(), "W/\"abc\"");
    }
}
