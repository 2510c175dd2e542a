//! How answers are printed: tables for people, the JSON mapping of the messages for programs.

mod deployments;
mod endpoints;
mod hooks;
mod keys;
mod projects;
mod text;

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Row, Table, presets};
use grapnel_proto::{convert::time::datetime, json::to_json};
use grapnel_runtime::Clock;
use prost::Message;

pub use deployments::{colour_of_state, state_name};
pub use text::{log_line, printable};

use crate::{
    args::Format,
    exit::Failure,
    out,
    terminal::{Colour, Terminal},
};

/// The columns whose cells are typed into the next command, and so are never cut.
const WHOLE: [&str; 4] = ["ID", "DEPLOYMENT", "EVENT", "SERVES"];

/// The columns whose cells say how something stands.
const STANDING: [&str; 3] = ["STATE", "DECISION", "OUTCOME"];

/// Prints answers in one format.
#[derive(Clone, Debug)]
pub struct Printer {
    format: Format,
    terminal: Terminal,
    now: DateTime<Utc>,
}

impl Printer {
    /// Takes the format.
    pub fn new(format: Format) -> Self {
        Self { format, terminal: Terminal::detect(), now: Clock::system().now() }
    }

    /// Prints one message: as JSON, or as `people` has it.
    pub fn message(
        &self,
        name: &str,
        message: &impl Message,
        people: impl FnOnce(&Self) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => out::line(&pretty(&to_json(name, message))),
            Format::Table => out::line(people(self).trim_end()),
        }
    }

    /// Tells people beside a list that it goes on, where there is a token of what comes next.
    pub fn more(&self, next_page_token: &str) {
        if self.terminal.people && self.for_people() && !next_page_token.is_empty() {
            out::aside("There are more; `--limit` shows them.\n");
        }
    }

    /// Tells whether people are to read it.
    pub fn for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// Returns what it prints to.
    pub fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// Says how long ago something was, or how long it is until then; when exactly, where it goes to a file or a program.
    pub fn ago(&self, at: Option<&prost_types::Timestamp>) -> String {
        let Some(at) = datetime(at) else {
            return String::new();
        };
        if !self.terminal.people {
            return at.to_rfc3339_opts(SecondsFormat::Secs, true);
        }
        let seconds = (self.now - at).num_seconds();
        let span = match seconds.unsigned_abs() {
            0..60 => format!("{} s", seconds.abs()),
            60..3_600 => format!("{} min", seconds.abs() / 60),
            3_600..172_800 => format!("{} h", seconds.abs() / 3_600),
            _ => format!("{} d", seconds.abs() / 86_400),
        };
        if seconds < 0 { format!("in {span}") } else { format!("{span} ago") }
    }

    /// Prints names with their values.
    pub fn fields(&self, fields: &[(&str, String)]) -> String {
        let line = |(name, value): &(&str, String)| {
            let colour = if *name == "state" { colour_of(value) } else { None };
            format!("{name:<13} {}\n", self.terminal.painted(colour, &printable(value)))
        };
        fields.iter().map(line).collect()
    }

    /// Lays rows out below their heads, within the terminal; `empty` is said where there are none. What does not fit is cut,
    /// but for ids; to a file or a program everything goes whole.
    pub fn table(&self, head: &[&str], rows: impl Iterator<Item = Vec<String>>, empty: &str) -> String {
        let rows: Vec<Row> = rows.map(|cells| self.row(head, &cells)).collect();
        if rows.is_empty() {
            return empty.to_owned();
        }
        let mut table = Table::new();
        // What the streams are was looked at already.
        table.force_no_tty().load_preset(presets::NOTHING).set_header(head).add_rows(rows);
        if self.terminal.colours {
            table.enforce_styling();
            table.style_text_only();
        }
        match self.terminal.width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
                table.set_truncation_indicator("…");
                for (at, _) in head.iter().enumerate().filter(|(_, name)| WHOLE.contains(name)) {
                    if let Some(column) = table.column_mut(at) {
                        column.set_constraint(ColumnConstraint::ContentWidth);
                    }
                }
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        table.trim_fmt()
    }

    fn row(&self, head: &[&str], cells: &[String]) -> Row {
        let cell = |(at, text): (usize, &String)| {
            let cell = Cell::new(printable(text));
            let stands = head.get(at).is_some_and(|name| STANDING.contains(name));
            match colour_of(text).filter(|_| stands && self.terminal.colours) {
                Some(colour) => cell.fg(in_table(colour)),
                None => cell,
            }
        };
        let mut row = Row::from(cells.iter().enumerate().map(cell).collect::<Vec<_>>());
        if self.terminal.width.is_some() {
            row.max_height(1);
        }
        row
    }
}

/// Returns the colour of a word that says how something stands.
fn colour_of(standing: &str) -> Option<Colour> {
    match standing.split(' ').next().unwrap_or_default() {
        "READY" | "ACCEPTED" | "DELIVERED" | "active" | "ready" => Some(Colour::Good),
        "BUILDING" | "QUEUED" | "PENDING" | "WAITING" | "MERGED" | "REPLAYED" => Some(Colour::Going),
        "RATE_LIMITED" | "PAUSED" | "paused" | "failing" | "draining" => Some(Colour::Worth),
        "ERROR" | "FAILED" | "REVOKED" | "UNKNOWN_TOKEN" | "REFUSED" | "disabled" | "away" => {
            Some(Colour::Bad)
        }
        "CANCELED" | "PREFETCH_IGNORED" => Some(Colour::Faint),
        _ => None,
    }
}

fn in_table(colour: Colour) -> Color {
    match colour {
        Colour::Good => Color::Green,
        Colour::Going => Color::Cyan,
        Colour::Worth => Color::Yellow,
        Colour::Bad => Color::Red,
        Colour::Faint => Color::DarkGrey,
    }
}

fn pretty(json: &serde_json::Value) -> String {
    serde_json::to_string_pretty(json).unwrap_or_default()
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "dpl_01hzy8c5v9e6r8k3m2n4p5q6r7";

    fn printer(terminal: Terminal) -> Printer {
        let now = DateTime::parse_from_rfc3339("2026-05-01T12:00:00Z").unwrap().to_utc();
        Printer { format: Format::Table, terminal, now }
    }

    fn rows() -> impl Iterator<Item = Vec<String>> {
        let long = "a-branch-with-a-name-that-goes-on-and-on-and-on-and-on";
        [["READY", long], ["ERROR BUILD_FAILED", "main"]]
            .into_iter()
            .map(|[state, branch]| vec![ID.to_owned(), state.to_owned(), branch.to_owned()])
    }

    #[test]
    fn a_table_fits_the_terminal_and_cuts_no_id() {
        for width in [60, 80, 120] {
            let wide = printer(Terminal { people: true, width: Some(width), ..Terminal::none() });
            let table = wide.table(&["ID", "STATE", "BRANCH"], rows(), "none");
            assert_eq!(table.lines().count(), 3, "{table}");
            assert_eq!(table.matches(ID).count(), 2, "{table}");
            assert!(table.lines().all(|line| line.chars().count() <= width.into()), "{width}: {table}");
        }
    }

    #[test]
    fn at_a_pipe_nothing_is_cut_painted_or_told_relative() {
        let piped = printer(Terminal::none());
        let table = piped.table(&["ID", "STATE", "BRANCH"], rows(), "none");
        assert!(table.contains("goes-on-and-on-and-on-and-on"), "{table}");
        assert!(!table.contains('\u{1b}'), "{table}");
        assert_eq!(piped.table(&["ID"], std::iter::empty(), "none"), "none");
        let at = prost_types::Timestamp { seconds: 1_777_636_800, nanos: 5 };
        assert_eq!(piped.ago(Some(&at)), "2026-05-01T12:00:00Z");
    }

    #[test]
    fn colours_say_how_things_stand() {
        let colourful = printer(Terminal { colours: true, ..Terminal::none() });
        let table = colourful.table(&["ID", "STATE", "BRANCH"], rows(), "none");
        assert!(table.contains("\u{1b}[38;5;10m"), "{table:?}");
        assert!(colourful.fields(&[("state", "READY".into())]).contains("\u{1b}[32mREADY"));
        assert!(!colourful.fields(&[("branch", "READY".into())]).contains('\u{1b}'));
    }

    #[test]
    fn people_are_told_how_long_ago_it_was() {
        let people = printer(Terminal { people: true, ..Terminal::none() });
        let ago = |seconds: i64| {
            people.ago(Some(&prost_types::Timestamp { seconds: 1_777_636_800 - seconds, nanos: 0 }))
        };
        assert_eq!(people.ago(None), "");
        assert_eq!([ago(0), ago(59), ago(60)], ["0 s ago", "59 s ago", "1 min ago"]);
        assert_eq!([ago(7_300), ago(172_800), ago(-90)], ["2 h ago", "2 d ago", "in 1 min"]);
    }
}
