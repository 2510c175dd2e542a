//! Secrets of a build, found in what it prints and hidden.
//!
//! A value is found as it is, without the white space around it, line by line where it has several, and in the forms in which
//! programs print it most: as a string of JSON and as a part of a URL. What a build does to a value beyond that, such as
//! encoding it in base64, nobody can foresee.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use grapnel_domain::variable::{BuildVariable, SHORTEST_SECRET};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";

/// The fewest characters of one line of a secret that is looked for by itself: shorter ones, such as a brace, stand in
/// much else.
const SHORTEST_LINE: usize = 8;

/// What `encodeURIComponent` of ECMAScript encodes.
const URL_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The secrets of one build.
#[derive(Debug, Default)]
pub struct Mask {
    /// Finds every place of every form; none where there are no secrets.
    forms: Option<AhoCorasick>,
    /// How secrets of several lines begin, up to each of their line ends.
    beginnings: Vec<Vec<u8>>,
    /// The bytes of the longest form.
    longest: usize,
}

impl Mask {
    /// Takes the secret ones among the variables of a build.
    pub fn of(variables: &[BuildVariable]) -> Self {
        let secrets = variables.iter().filter(|variable| variable.secret);
        let mut forms: Vec<String> = secrets.flat_map(|secret| forms(secret.value.expose())).collect();
        forms.sort_unstable();
        forms.dedup();
        let longest = forms.iter().map(String::len).max().unwrap_or(0);
        let beginnings = forms.iter().flat_map(|form| {
            let ends = form.match_indices('\n').map(|(at, _)| at + 1).filter(|end| *end < form.len());
            ends.map(|end| form.as_bytes()[..end].to_vec())
        });
        let beginnings = beginnings.collect();
        // A few hundred values of bounded length are far below what the automaton can hold.
        let forms = (!forms.is_empty())
            .then(|| AhoCorasick::builder().match_kind(MatchKind::Standard).build(&forms).ok())
            .flatten();
        Self { forms, beginnings, longest }
    }

    /// Returns the bytes of the longest form in which a secret is looked for.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Hides the secrets of a text.
    pub fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.show(text.as_bytes(), &self.places(text.as_bytes(), 0))).into_owned()
    }

    /// Finds where a text has secrets, in order, none touching the next; its first `begun` bytes belong to one that began
    /// before it.
    pub fn places(&self, text: &[u8], begun: usize) -> Vec<Range<usize>> {
        let mut places: Vec<Range<usize>> = Vec::new();
        if begun > 0 {
            places.push(0..begun.min(text.len()));
        }
        let Some(forms) = &self.forms else { return places };
        let mut found: Vec<_> = forms.find_overlapping_iter(text).map(|it| it.range()).collect();
        found.sort_unstable_by_key(|place| place.start);
        for place in found {
            match places.last_mut() {
                Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
                _ => places.push(place),
            }
        }
        places
    }

    /// Returns a text with its secrets hidden. Of `places`, those that it has; one may go on behind its end.
    pub fn show(&self, text: &[u8], places: &[Range<usize>]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(text.len());
        let mut at = 0;
        for place in places.iter().filter(|place| place.start < text.len()) {
            shown.extend_from_slice(&text[at..place.start]);
            shown.extend_from_slice(HIDDEN.as_bytes());
            at = place.end.min(text.len());
        }
        shown.extend_from_slice(&text[at..]);
        shown
    }

    /// Returns how many bytes of a text, whole lines, can be told: what follows may be the beginning of a secret of
    /// several lines.
    pub fn ready(&self, text: &[u8]) -> usize {
        let whole = end_of_lines(text);
        let lines = &text[..whole];
        let begins = |beginning: &&Vec<u8>| lines.ends_with(beginning);
        match self.beginnings.iter().filter(begins).map(Vec::len).max() {
            Some(length) => end_of_lines(&lines[..whole - length]),
            None => whole,
        }
    }
}

/// Returns where the last whole line of a text ends.
fn end_of_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Returns the forms in which a value is looked for.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), value.trim().to_owned(), value.replace('\n', "\r\n")];
    let lines = value.lines().map(str::trim).filter(|line| line.chars().count() >= SHORTEST_LINE);
    forms.extend(lines.map(str::to_owned));
    for text in [value, value.trim()] {
        forms.extend(serde_json::to_string(text).ok().map(|json| json.trim_matches('"').to_owned()));
        forms.push(utf8_percent_encode(text, URL_PART).to_string());
    }
    forms.retain(|form| form.trim().chars().count() >= SHORTEST_SECRET);
    forms
}

#[cfg(test)]
mod tests {
    use grapnel_domain::SecretText;

    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let variable = |secret: &&str| BuildVariable {
            name: "SECRET".parse().unwrap(),
            value: SecretText::new(*secret),
            secret: true,
        };
        Mask::of(&secrets.iter().map(variable).collect::<Vec<_>>())
    }

    #[test]
    fn a_secret_is_hidden_in_the_forms_in_which_it_is_printed() {
        let mask = mask(&["p@ss word", "line one\nline two\n"]);
        for (text, shown) in [
            ("a p@ss word b", "a *** b"),
            ("p@ss wordp@ss word", "***"),
            ("https://u:p%40ss%20word@x", "https://u:***@x"),
            ("line one\nline two\n", "***"),
            ("1: line one\n2: line two\n", "1: ***\n2: ***\n"),
            (r#"{"key":"line one\nline two\n"}"#, r#"{"key":"***"}"#),
            ("line one\r\nline two", "***\r\n***"),
            ("nothing of it", "nothing of it"),
        ] {
            assert_eq!(mask.text(text), shown, "{text}");
        }
    }

    #[test]
    fn secrets_that_overlap_are_hidden_as_one() {
        assert_eq!(mask(&["abcdef", "defghi"]).text("xabcdefghix"), "x***x");
        assert_eq!(mask(&["abcd", "abcdefgh"]).text("xabcdefghx"), "x***x");
    }

    #[test]
    fn what_is_plain_is_left_and_so_is_everything_without_secrets() {
        let plain = BuildVariable {
            name: "PLAIN".parse().unwrap(),
            value: SecretText::new("visible"),
            secret: false,
        };
        assert_eq!(Mask::of(&[plain]).text("visible"), "visible");
    }

    #[test]
    fn lines_that_may_be_the_beginning_of_a_secret_are_not_ready() {
        let mask = mask(&["ab\ncd\nef"]);
        for (text, ready) in [
            ("x\n", 2),
            ("x\nab\n", 2),
            ("x\nzab\n", 2),
            ("x\nzab\ncd\n", 2),
            ("x\nab\ncd\ne", 2),
            ("x\nab\ncd\nxx\n", 11),
            ("x\nab\nxx\n", 8),
            ("no line end", 0),
        ] {
            assert_eq!(mask.ready(text.as_bytes()), ready, "{text:?}");
        }
    }
}
