//! Files of variables, as `.env` files are written.
//!
//! A line is `NAME=VALUE`, with or without `export` before it; `#` begins a comment. A value without quotes ends before
//! ` #`. In single quotes and backticks it is taken as it is, in double quotes `\n`, `\r`, `\t`, `\"` and `\\` mean what
//! they mean in most languages; all three may go over several lines. `$` means nothing: what is expanded by some
//! programs and not by others is taken as it is written. The form is that of npm's `dotenv`.

/// A variable of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Why a file cannot be read. It holds nothing of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvFileError {
    /// A line is no variable.
    #[error("line {0} is not NAME=VALUE")]
    NoVariable(usize),
    /// A quote is not closed.
    #[error("the quote that begins on line {0} does not end")]
    Open(usize),
    /// Something stands behind a quote.
    #[error("line {0} has something behind the closing quote")]
    Behind(usize),
    /// A name stands there twice.
    #[error("line {0} sets `{1}` once more")]
    Twice(usize, String),
}

/// Reads a file.
///
/// # Errors
/// See [`EnvFileError`].
pub fn read(text: &str) -> Result<Vec<Entry>, EnvFileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = first.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = after;
            continue;
        }
        let (name, _) = trimmed.split_once('=').ok_or(EnvFileError::NoVariable(line))?;
        let name = name.trim_end();
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(EnvFileError::NoVariable(line));
        }
        let behind = rest.find('=').map_or("", |at| &rest[at + 1..]);
        let (value, after) = value(behind, line)?;
        if entries.iter().any(|entry| entry.name == name) {
            return Err(EnvFileError::Twice(line, name.to_owned()));
        }
        entries.push(Entry { line, name: name.to_owned(), value });
        rest = after;
    }
    Ok(entries)
}

/// Reads the value that a text begins with, and returns what follows its last line.
fn value(text: &str, line: usize) -> Result<(String, &str), EnvFileError> {
    let begun = text.trim_start_matches([' ', '\t']);
    let Some(quote) = begun.chars().next().filter(|first| matches!(first, '"' | '\'' | '`')) else {
        let (first, after) = text.split_once('\n').unwrap_or((text, ""));
        let end = first.find(" #").or_else(|| first.find("\t#")).unwrap_or(first.len());
        let value = first[..end].trim();
        return Ok((if value.starts_with('#') { String::new() } else { value.to_owned() }, after));
    };
    let inside = &begun[1..];
    let end = closing(inside, quote).ok_or(EnvFileError::Open(line))?;
    let (behind, after) = inside[end + 1..].split_once('\n').unwrap_or((&inside[end + 1..], ""));
    let behind = behind.trim();
    if !behind.is_empty() && !behind.starts_with('#') {
        return Err(EnvFileError::Behind(line + inside[..end].matches('\n').count()));
    }
    let inside = inside[..end].replace("\r\n", "\n");
    Ok((if quote == '"' { unescaped(&inside) } else { inside }, after))
}

fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut read = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        let next = if c == '\\' { characters.next() } else { None };
        match (c, next) {
            ('\\', Some('n')) => read.push('\n'),
            ('\\', Some('r')) => read.push('\r'),
            ('\\', Some('t')) => read.push('\t'),
            ('\\', Some(it @ ('"' | '\\'))) => read.push(it),
            ('\\', Some(other)) => read.extend(['\\', other]),
            _ => read.push(c),
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        read(text).unwrap_or_default().into_iter().map(|entry| (entry.name, entry.value)).collect()
    }

    #[test]
    fn a_file_is_read_as_such_files_are_written() {
        let text = "\u{feff}# a comment\n\nA=plain value  # comment\r\nexport B='single $A \\n'\n\
             C=\"two\\nlines \\\"quoted\\\" \\d\" # comment\nKEY=\"-----BEGIN\nabc\n-----END\"\n\
             D=`it's \"both\"`\nE=\n F = spaced \nG=a#b\nH=https://x/?a=b\nI=\"\"\nJ=# nothing";
        let expected = [
            ("A", "plain value"),
            ("B", "single $A \\n"),
            ("C", "two\nlines \"quoted\" \\d"),
            ("KEY", "-----BEGIN\nabc\n-----END"),
            ("D", "it's \"both\""),
            ("E", ""),
            ("F", "spaced"),
            ("G", "a#b"),
            ("H", "https://x/?a=b"),
            ("I", ""),
            ("J", ""),
        ];
        assert_eq!(pairs(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_without_its_value() {
        for (text, error) in [
            ("A=1\nhunter2\n", EnvFileError::NoVariable(2)),
            ("=hunter2", EnvFileError::NoVariable(1)),
            ("A B=hunter2", EnvFileError::NoVariable(1)),
            ("A=1\nB=\"hunter2\nC=2", EnvFileError::Open(2)),
            ("A='1\n2' hunter2", EnvFileError::Behind(2)),
            ("A=1\nA=2", EnvFileError::Twice(2, "A".into())),
        ] {
            let read = read(text).map(drop);
            assert_eq!(read, Err(error.clone()), "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
