//! `grapnel doctor`: what Grapnel needs, whether it is there, and what to do about what is not.

mod checks;
mod kubernetes;

use std::process::ExitCode;

use serde::Serialize;

use crate::{
    args::{Cli, Format},
    exit::Failure,
    out,
    terminal::{Colour, Terminal},
};

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It is there.
    Ok,
    /// It works, but something is worth knowing.
    Warning,
    /// Grapnel does not work without it.
    Failure,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it went.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What to do; empty where all is well.
    pub advice: String,
}

impl Finding {
    /// Something is as it should be.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, health: Health::Ok, found: found.into(), advice: String::new() }
    }

    /// Something is worth knowing.
    pub fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, health: Health::Warning, found: found.into(), advice: advice.into() }
    }

    /// Something is missing.
    pub fn failure(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, health: Health::Failure, found: found.into(), advice: advice.into() }
    }
}

/// Checks everything, prints what was found, and fails if anything is missing.
pub fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let matches = crate::args::command().get_matches();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let read = crate::serve::validate(crate::serve::load(cli, &matches));
    let findings = runtime.block_on(checks::all(crate::serve::load(cli, &matches), read));
    match cli.output {
        Format::Json => out::line(&serde_json::to_string_pretty(&findings)?)?,
        Format::Table => out::text(&for_people(&findings))?,
    }
    let sound = findings.iter().all(|finding| finding.health != Health::Failure);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn for_people(findings: &[Finding]) -> String {
    let terminal = Terminal::detect();
    let mut lines = String::new();
    for finding in findings {
        let (word, colour) = match finding.health {
            Health::Ok => ("ok", Colour::Good),
            Health::Warning => ("warning", Colour::Worth),
            Health::Failure => ("FAILED", Colour::Bad),
        };
        let word = terminal.painted(Some(colour), &format!("{word:<8}"));
        lines += &format!("{word} {:<16} {}\n", finding.check, finding.found);
        if !finding.advice.is_empty() {
            lines += &format!("{:<25} {}\n", "", finding.advice);
        }
    }
    lines
}
