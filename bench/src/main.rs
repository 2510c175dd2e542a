//! Measures what Grapnel exists for, side by side with what a user would pick instead and with the floor beneath it, each
//! pair in one run, and writes the figures as a page, as JSON and as curves.
//!
//! `make bench` runs all of it; `bench/run --only logs,cancel` what is named, `--quick` in its short form.

mod container;
mod database;
mod load;
mod machine;
mod process;
mod report;
mod sections;
mod usage;
mod watching;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::Parser;
use machine::Machine;
use report::Report;
use sections::{Form, SECTIONS};

/// Measures Grapnel beside what one would use instead.
#[derive(Debug, Parser)]
struct Arguments {
    /// The short form: under three minutes, and noisier.
    #[arg(long)]
    quick: bool,
    /// Only these sections.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the results go.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments { quick, only, results } = Arguments::parse();
    if let Some(unknown) = only.iter().find(|name| !SECTIONS.contains(&name.as_str())) {
        bail!("there is no section `{unknown}`; there are {}", SECTIONS.join(", "));
    }
    let form = if quick { Form::Quick } else { Form::Full };
    let mut report = Report {
        day: grapnel_runtime::Clock::system().now().format("%F").to_string(),
        machine: Machine::look(),
        quick,
        sections: Vec::new(),
    };
    for name in SECTIONS {
        if only.is_empty() || only.iter().any(|it| it == name) {
            eprintln!("== {name}");
            // What the one before has written is on the disk: two gigabytes on their way hold up every commit for seconds.
            rustix::fs::sync();
            report.sections.push(sections::measure(name, form).await?);
            // What is measured is kept, should a later section break off.
            report.write(&results)?;
        }
    }
    let missed: Vec<_> =
        report.sections.iter().flat_map(|section| &section.goals).filter(|goal| !goal.is_reached()).collect();
    for goal in &missed {
        eprintln!("missed: {}: {} of {:?}", goal.what, goal.reached, goal.wanted);
    }
    eprintln!("the figures are in {}", results.display());
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
