//! What readers may keep, and for how long.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};

use super::names;

/// For what never changes under its name.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// For all else: kept, and asked for again each time, which is answered without content where it is the same.
pub const LOOK_AGAIN: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");

/// Returns what readers are told to do with a file.
pub fn control(path: &str) -> HeaderValue {
    if names::has_content_in_its_name(path) { FOR_EVER } else { LOOK_AGAIN }
}

/// What tells one content from another (RFC 9110, section 8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    digest: &'a str,
    is_weak: bool,
}

impl<'a> Tag<'a> {
    /// Makes one of a digest. What is compressed has a weak one: of the same content there are others.
    pub fn of(digest: &'a str, is_weak: bool) -> Self {
        Self { digest, is_weak }
    }

    /// Tells whether a value is this tag and both say the same byte for byte.
    pub fn is_strongly(self, value: &[u8]) -> bool {
        let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        !self.is_weak && unquoted == Some(self.digest.as_bytes())
    }

    /// Tells whether this tag is in a header's list, or all are.
    fn is_among(self, headers: &HeaderMap, name: header::HeaderName, strongly: bool) -> bool {
        let values = headers.get_all(name);
        let mut values = values.iter().filter_map(|value| value.to_str().ok());
        values.any(|value| {
            value.trim() == "*"
                || tags(value).any(|(weak, tag)| tag == self.digest && !(strongly && (weak || self.is_weak)))
        })
    }
}

impl fmt::Display for Tag<'_> {
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
pub fn condition(headers: &HeaderMap, tag: Tag<'_>) -> Condition {
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
                (condition(&headers, strong), condition(&headers, weak)),
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
