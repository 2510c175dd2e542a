//! What others wrote, made fit for a terminal.

/// Returns text without what would steer a terminal, or show the rest of it in another order than it has.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{FFFD}' } else { c }).collect()
}

/// Returns a log line for a terminal: colours pass where there are any, everything else that steers it does not.
pub fn log_line(text: &str, colours: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(steers) {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(length) = colour_sequence(rest) {
            if colours {
                shown.push_str(&rest[..length]);
            }
            rest = &rest[length..];
            continue;
        }
        let mut characters = rest.chars();
        if characters.next() == Some('\t') {
            shown.push('\t');
        }
        rest = characters.as_str();
    }
    shown.push_str(rest);
    if colours && shown.contains('\u{1b}') {
        shown.push_str("\u{1b}[0m");
    }
    shown
}

/// Control characters, and those that turn the direction of text.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Returns the length of the colour sequence (ECMA-48, SGR) that the text begins with.
fn colour_sequence(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_does_not_reach_it() {
        for (written, shown) in [
            ("a\u{1b}[2Jb\u{7}c\td", "a[2Jbc\td"),
            ("\u{1b}]0;title\u{7}x", "]0;titlex"),
            ("\u{1b}[32mok\u{1b}[0m", "ok"),
            ("\u{9b}2Jx\u{85}y", "2Jxy"),
            ("abc\u{202e}fed", "abcfed"),
        ] {
            assert_eq!(log_line(written, false), shown);
        }
        assert_eq!(printable("a\nb\u{202e}\u{9b}"), "a\u{FFFD}b\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn colours_pass_where_there_are_any_and_end_with_their_line() {
        assert_eq!(log_line("\u{1b}[32mok", true), "\u{1b}[32mok\u{1b}[0m");
        assert_eq!(log_line("\u{1b}[2Jok", true), "[2Jok");
        assert_eq!(colour_sequence("\u{1b}[1;32mx"), Some(7));
    }
}
