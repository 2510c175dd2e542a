//! Parts of files (RFC 9110, section 14).

use http::{HeaderMap, header};

use super::caching::Tag;

/// What is to be sent of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// So many bytes from the first on.
    Part {
        /// The first.
        first: u64,
        /// How many, at least one.
        length: u64,
    },
    /// A part that it does not have, or several, which are not sent together.
    Impossible,
}

/// Returns what a request wants of a file with a size and a tag.
pub fn wanted(headers: &HeaderMap, size: u64, tag: Tag<'_>) -> Wanted {
    let mut ranges = headers.get_all(header::RANGE).iter();
    let Some(range) = ranges.next() else {
        return Wanted::Whole;
    };
    if headers.get(header::IF_RANGE).is_some_and(|known| !tag.is_strongly(known.as_bytes())) {
        return Wanted::Whole;
    }
    match (range.to_str(), ranges.next()) {
        (Ok(range), None) => part(range, size),
        _ => Wanted::Impossible,
    }
}

fn part(range: &str, size: u64) -> Wanted {
    let Some((unit, range)) = range.split_once('=') else {
        return Wanted::Whole;
    };
    // Other units are not ours, and what is not understood is passed over.
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let ends = range.trim().split_once('-').map(|(first, last)| (number(first), number(last)));
    let (first, end) = match ends {
        Some((Given::Number(first), Given::Number(last))) if first <= last => {
            (first, size.min(last.saturating_add(1)))
        }
        Some((Given::Number(first), Given::Nothing)) => (first, size),
        Some((Given::Nothing, Given::Number(last))) => (size.saturating_sub(last), size),
        _ => return Wanted::Impossible,
    };
    match end.checked_sub(first) {
        None | Some(0) => Wanted::Impossible,
        Some(length) => Wanted::Part { first, length },
    }
}

enum Given {
    Number(u64),
    Nothing,
    Nonsense,
}

/// Reads a number; one that is larger than any file is as good as the largest.
fn number(text: &str) -> Given {
    if text.is_empty() {
        Given::Nothing
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        Given::Number(text.parse().unwrap_or(u64::MAX))
    } else {
        Given::Nonsense
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_of_it_the_file_has() {
        let of = |first, length| Wanted::Part { first, length };
        for (range, size, expected) in [
            ("bytes=0-0", 10, of(0, 1)),
            ("bytes=0-", 10, of(0, 10)),
            ("bytes=2-5", 10, of(2, 4)),
            ("bytes=5-99", 10, of(5, 5)),
            ("bytes=-3", 10, of(7, 3)),
            ("bytes=-99", 10, of(0, 10)),
            ("Bytes=9-18446744073709551615", 10, of(9, 1)),
            ("bytes=0-99999999999999999999999", 10, of(0, 10)),
            ("bytes=10-", 10, Wanted::Impossible),
            ("bytes=99999999999999999999999-", 10, Wanted::Impossible),
            ("bytes=5-4", 10, Wanted::Impossible),
            ("bytes=-0", 10, Wanted::Impossible),
            ("bytes=0-0", 0, Wanted::Impossible),
            ("bytes=-1", 0, Wanted::Impossible),
            ("bytes=0-1,4-5", 10, Wanted::Impossible),
            ("bytes=", 10, Wanted::Impossible),
            ("bytes=-", 10, Wanted::Impossible),
            ("bytes=a-b", 10, Wanted::Impossible),
            ("bytes=+1-2", 10, Wanted::Impossible),
            ("bytes=1--2", 10, Wanted::Impossible),
            ("lines=1-2", 10, Wanted::Whole),
            ("bytes", 10, Wanted::Whole),
        ] {
            assert_eq!(part(range, size), expected, "{range} of {size}");
        }
    }

    #[test]
    fn a_part_of_another_edition_is_not_sent() {
        let (strong, weak) = (Tag::of("abc", false), Tag::of("abc", true));
        let with = |if_range: &str| {
            HeaderMap::from_iter([
                (header::RANGE, "bytes=1-1".parse().unwrap()),
                (header::IF_RANGE, if_range.parse().unwrap()),
            ])
        };
        let part = Wanted::Part { first: 1, length: 1 };
        assert_eq!(wanted(&with("\"abc\""), 10, strong), part);
        for other in ["\"abd\"", "W/\"abc\"", "abc", "Wed, 21 Oct 2015 07:28:00 GMT", ""] {
            assert_eq!(wanted(&with(other), 10, strong), Wanted::Whole, "{other}");
        }
        assert_eq!(wanted(&with("W/\"abc\""), 10, weak), Wanted::Whole);
    }

    #[test]
    fn ranges_in_two_headers_are_several() {
        let mut headers = HeaderMap::new();
        headers.append(header::RANGE, "bytes=0-1".parse().unwrap());
        headers.append(header::RANGE, "bytes=4-5".parse().unwrap());
        assert_eq!(wanted(&headers, 10, Tag::of("abc", false)), Wanted::Impossible);
    }
}
