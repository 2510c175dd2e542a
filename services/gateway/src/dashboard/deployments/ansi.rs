//! What a build printed, for readers in a browser: runs of text with the names of their looks, and nothing that acts.
//!
//! Colours are those of ECMA-48 (SGR); those of 256 and more are brought to the nearest of the sixteen that every theme has,
//! since pages carry no styles of their own. All other sequences are left out, links and titles of OSC among them. A
//! carriage return begins the line anew, as a terminal shows it.

use anstyle_parse::{DefaultCharAccumulator, Params, Parser, Perform};
use serde::Serialize;

/// A stretch of a line that looks the same: the names of its look, separated by spaces, and its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run(pub String, pub String);

/// Reads a line that a build printed.
pub fn runs(line: &str) -> Vec<Run> {
    if !line.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return if line.is_empty() { Vec::new() } else { vec![Run(String::new(), line.to_owned())] };
    }
    let mut screen = Screen::default();
    let mut parser = Parser::<DefaultCharAccumulator>::new();
    for byte in line.bytes() {
        parser.advance(&mut screen, byte);
    }
    screen.runs
}

#[derive(Default)]
struct Screen {
    runs: Vec<Run>,
    look: Look,
    /// The next character begins the line anew.
    returned: bool,
}

#[derive(Clone, Copy, Default)]
struct Look {
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
    struck: bool,
    inverse: bool,
    foreground: Option<u8>,
    background: Option<u8>,
}

impl Look {
    fn names(self) -> String {
        let flags = [
            (self.bold, "b"),
            (self.dim, "d"),
            (self.italic, "i"),
            (self.underlined, "u"),
            (self.struck, "s"),
            (self.inverse, "v"),
        ];
        let mut names: Vec<String> =
            flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()).collect();
        names.extend(self.foreground.map(|colour| format!("f{colour}")));
        names.extend(self.background.map(|colour| format!("g{colour}")));
        names.join(" ")
    }

    fn select(&mut self, params: &Params) {
        let mut values = params.iter();
        while let Some(value) = values.next() {
            match value.first().copied().unwrap_or(0) {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underlined = value.get(1) != Some(&0),
                7 => self.inverse = true,
                9 => self.struck = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underlined = false,
                27 => self.inverse = false,
                29 => self.struck = false,
                code @ 30..=37 => self.foreground = Some(low(code - 30)),
                38 => self.foreground = extended(value, &mut values).or(self.foreground),
                39 => self.foreground = None,
                code @ 40..=47 => self.background = Some(low(code - 40)),
                48 => self.background = extended(value, &mut values).or(self.background),
                49 => self.background = None,
                code @ 90..=97 => self.foreground = Some(low(code - 82)),
                code @ 100..=107 => self.background = Some(low(code - 92)),
                _ => {}
            }
        }
    }
}

fn low(code: u16) -> u8 {
    u8::try_from(code).unwrap_or_default()
}

/// Reads `5;n` or `2;r;g;b`, which stand in one parameter with colons or in the following ones.
fn extended<'a>(value: &[u16], more: &mut impl Iterator<Item = &'a [u16]>) -> Option<u8> {
    let inner: Vec<u16> = value.iter().skip(1).copied().collect();
    let mut next = || more.next().and_then(|value| value.first().copied());
    if inner.is_empty() {
        return match next()? {
            5 => next().map(of_256),
            2 => Some(nearest([next()?, next()?, next()?])),
            _ => None,
        };
    }
    match inner.as_slice() {
        [5, colour, ..] => Some(of_256(*colour)),
        // With or without the id of a colour space before the colours.
        [2, red, green, blue] | [2, _, red, green, blue, ..] => Some(nearest([*red, *green, *blue])),
        _ => None,
    }
}

/// Brings one of xterm's 256 colours to one of the sixteen.
fn of_256(colour: u16) -> u8 {
    match colour {
        0..=15 => low(colour),
        16..=231 => {
            let level = |n: u16| if n == 0 { 0 } else { 55 + 40 * n };
            let cube = colour - 16;
            nearest([level(cube / 36), level(cube / 6 % 6), level(cube % 6)])
        }
        _ => {
            let grey = 8 + 10 * (colour.min(255) - 232);
            nearest([grey, grey, grey])
        }
    }
}

/// The sixteen as xterm has them.
const SIXTEEN: [[u16; 3]; 16] = [
    [0, 0, 0],
    [205, 0, 0],
    [0, 205, 0],
    [205, 205, 0],
    [0, 0, 238],
    [205, 0, 205],
    [0, 205, 205],
    [229, 229, 229],
    [127, 127, 127],
    [255, 0, 0],
    [0, 255, 0],
    [255, 255, 0],
    [92, 92, 255],
    [255, 0, 255],
    [0, 255, 255],
    [255, 255, 255],
];

fn nearest(colour: [u16; 3]) -> u8 {
    let distance = |one: &[u16; 3]| -> u32 {
        one.iter().zip(colour).map(|(a, b)| u32::from(a.abs_diff(b.min(255))).pow(2)).sum()
    };
    let found = (0..SIXTEEN.len()).min_by_key(|index| distance(&SIXTEEN[*index]));
    found.and_then(|index| u8::try_from(index).ok()).unwrap_or_default()
}

impl Perform for Screen {
    fn print(&mut self, character: char) {
        if std::mem::take(&mut self.returned) {
            self.runs.clear();
        }
        let names = self.look.names();
        match self.runs.last_mut() {
            Some(run) if run.0 == names => run.1.push(character),
            _ => self.runs.push(Run(names, character.to_string())),
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\t' => self.print('\t'),
            b'\r' => self.returned = true,
            0x08 => {
                if let Some(run) = self.runs.last_mut() {
                    run.1.pop();
                    if run.1.is_empty() {
                        self.runs.pop();
                    }
                }
            }
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _ignore: bool, action: u8) {
        match (action, intermediates) {
            (b'm', []) => self.look.select(params),
            // The whole line is erased: what follows is all there is of it.
            (b'K', []) if params.iter().next().and_then(|value| value.first()) == Some(&2) => {
                self.runs.clear();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let all = runs(line);
        all.iter().map(|Run(names, text)| format!("[{names}|{text}]")).collect()
    }

    #[test]
    fn colours_become_names_and_nothing_else_is_left() {
        for (line, expected) in [
            ("plain", "[|plain]"),
            ("", ""),
            ("\x1b[31mred\x1b[0m rest", "[f1|red][| rest]"),
            ("\x1b[1;92mgood\x1b[22m still", "[b f10|good][f10| still]"),
            ("\x1b[38;5;196mhot\x1b[39m", "[f9|hot]"),
            ("\x1b[38;2;0;0;250mblue", "[f4|blue]"),
            ("\x1b[38:2::0:0:250mblue", "[f4|blue]"),
            ("\x1b[48;5;240;1mgrey", "[b g8|grey]"),
            ("\x1b[mnone", "[|none]"),
            ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "[|link]"),
            ("\x1b]0;title\x07text", "[|text]"),
            ("\x1b[2J\x1b[Hcleared", "[|cleared]"),
            ("10%\r50%\r100%", "[|100%]"),
            ("done\r", "[|done]"),
            ("old\x1b[2Knew", "[|new]"),
            ("ab\x08c", "[|ac]"),
            ("bell\x07 nul\0 tab\t.", "[|bell nul tab\t.]"),
            ("<script>alert(1)</script>", "[|<script>alert(1)</script>]"),
            ("\x1b[38;5mcut short", "[|cut short]"),
            ("\x1b[", ""),
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
    }
}
