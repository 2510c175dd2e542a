//! What stands behind standard output and standard error, and what it may be shown.

use std::{collections::BTreeMap, io::IsTerminal as _};

use grapnel_runtime::settings::Sources;
use rustix::fs::{FileType, fstat};

/// A table on a terminal that says it is narrower than this is laid out as if there were none: it does not know its width.
const NARROWEST: u16 = 20;

/// What the two streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Whether people read standard output as it comes.
    pub people: bool,
    /// Whether standard output may have colours.
    pub colours: bool,
    /// Whether standard error may have something that moves.
    pub progress: bool,
    /// How many columns standard output has, where that is known.
    pub width: Option<u16>,
}

impl Terminal {
    /// Looks at the process's streams and at what the environment says of them.
    pub fn detect() -> Self {
        let env = Sources::from_process().env;
        let people = std::io::stdout().is_terminal();
        let progress = std::io::stderr().is_terminal() && !is_dumb(&env) && !is_pipe();
        let width = comfy_table::Table::new().width().filter(|width| people && *width >= NARROWEST);
        Self { people, colours: colours(people, &env), progress, width }
    }

    /// What a program on the other side of a pipe gets.
    #[cfg(test)]
    pub fn none() -> Self {
        Self { people: false, colours: false, progress: false, width: None }
    }

    /// Returns text in a colour (ECMA-48, SGR), where there are colours.
    pub fn painted(self, colour: Option<Colour>, text: &str) -> String {
        match colour {
            Some(colour) if self.colours => format!("\u{1b}[{}m{text}\u{1b}[0m", colour.code()),
            _ => text.to_owned(),
        }
    }
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// It went well.
    Good,
    /// It goes on.
    Going,
    /// It is worth knowing.
    Worth,
    /// It went wrong.
    Bad,
    /// It matters less.
    Faint,
}

impl Colour {
    fn code(self) -> u8 {
        match self {
            Self::Good => 32,
            Self::Going => 36,
            Self::Worth => 33,
            Self::Bad => 31,
            Self::Faint => 2,
        }
    }
}

/// The customs of <https://no-color.org> and <https://bixense.com/clicolors>, as the help texts have them too.
fn colours(terminal: bool, env: &BTreeMap<String, String>) -> bool {
    let said = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(String::as_str);
    if said("NO_COLOR").is_some() {
        return false;
    }
    if said("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    terminal && said("CLICOLOR") != Some("0") && !is_dumb(env)
}

fn is_dumb(env: &BTreeMap<String, String>) -> bool {
    env.get("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Whoever reads a pipe may write to the same terminal, and would write into what moves there.
fn is_pipe() -> bool {
    fstat(std::io::stdout()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_somebody_says_otherwise() {
        for (terminal, env, expected) in [
            (true, "TERM=xterm", true),
            (false, "TERM=xterm", false),
            (true, "TERM=dumb", false),
            (true, "", false),
            (true, "TERM=xterm NO_COLOR=1", false),
            (true, "TERM=xterm NO_COLOR=", true),
            (true, "TERM=xterm CLICOLOR=0", false),
            (false, "CLICOLOR_FORCE=1", true),
            (false, "CLICOLOR_FORCE=0", false),
            (true, "TERM=dumb CLICOLOR_FORCE=1", true),
            (true, "TERM=xterm NO_COLOR=1 CLICOLOR_FORCE=1", false),
        ] {
            let pairs = env.split_whitespace().filter_map(|pair| pair.split_once('='));
            let read = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(colours(terminal, &read), expected, "{terminal} {env}");
        }
    }

    #[test]
    fn text_is_painted_only_where_there_are_colours() {
        assert_eq!(Terminal::none().painted(Some(Colour::Bad), "x"), "x");
        let colourful = Terminal { colours: true, ..Terminal::none() };
        assert_eq!(colourful.painted(Some(Colour::Bad), "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(colourful.painted(None, "x"), "x");
    }
}
