//! What was measured, before anybody decides how it looks: sections of tables, curves, and figures that were to be reached.

mod markdown;
mod plot;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::machine::Machine;

/// One thing that Grapnel exists for, measured.
#[derive(Debug, Default, Serialize)]
pub struct Section {
    /// Its name in file names and on the command line.
    pub name: &'static str,
    /// Its heading.
    pub title: String,
    /// What was done beside what, in sentences.
    pub text: String,
    /// The figures.
    pub tables: Vec<Table>,
    /// The same, drawn, where there is a curve in them.
    pub plots: Vec<Plot>,
    /// What is held against what was to be reached.
    pub goals: Vec<Goal>,
}

/// Rows of figures.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    /// What it shows; empty where its section shows nothing else.
    pub caption: String,
    /// The names of its columns, the figures' with their units. The first column names the row.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<Cell>>,
}

/// One field of a table.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// A name.
    Text(String),
    /// A figure, and how many of its decimals are told.
    Figure(f64, usize),
    /// Nothing was measured.
    Nothing,
}

/// Curves over one axis.
#[derive(Debug, Serialize)]
pub struct Plot {
    /// The name of its file, without the ending.
    pub file: String,
    /// What it shows.
    pub title: String,
    /// What the horizontal axis shows, with its unit. It is logarithmic.
    pub x: String,
    /// What the vertical one shows, with its unit. It begins at zero.
    pub y: String,
    /// The curves.
    pub curves: Vec<Curve>,
}

/// One curve.
#[derive(Debug, Serialize)]
pub struct Curve {
    /// What it is of.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// A figure that was to be reached.
#[derive(Debug, Serialize)]
pub struct Goal {
    /// What was measured, with its unit.
    pub what: String,
    /// What was reached.
    pub reached: f64,
    /// What was to be reached.
    pub wanted: Wanted,
}

/// How a figure is held against what was to be reached.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// This, or more.
    AtLeast(f64),
    /// This, or less.
    AtMost(f64),
}

impl Goal {
    /// A figure that should not be below a bound.
    pub fn at_least(bound: f64, what: impl Into<String>, reached: f64) -> Self {
        Self { what: what.into(), reached, wanted: Wanted::AtLeast(bound) }
    }

    /// A figure that should not be above a bound.
    pub fn at_most(bound: f64, what: impl Into<String>, reached: f64) -> Self {
        Self { what: what.into(), reached, wanted: Wanted::AtMost(bound) }
    }

    /// Tells whether it was reached.
    pub fn is_reached(&self) -> bool {
        match self.wanted {
            Wanted::AtLeast(bound) => self.reached >= bound,
            Wanted::AtMost(bound) => self.reached <= bound,
        }
    }
}

impl Cell {
    /// A figure without decimals.
    pub fn whole(figure: f64) -> Self {
        Self::Figure(figure, 0)
    }

    /// A figure with so many decimals.
    pub fn figure(figure: f64, decimals: usize) -> Self {
        Self::Figure(figure, decimals)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// All that one run has measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The day, as `2026-11-28`.
    pub day: String,
    /// Where it ran, on what, and of which versions.
    pub machine: Machine,
    /// Whether it was the short form, whose figures are noisier.
    pub quick: bool,
    /// What was measured, in order.
    pub sections: Vec<Section>,
}

impl Report {
    /// Writes `<day>.md`, `<day>.json` and one SVG for each plot below a directory.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        let name = if self.quick { format!("{}-quick", self.day) } else { self.day.clone() };
        for plot in self.sections.iter().flat_map(|section| &section.plots) {
            let file = directory.join(format!("{name}-{}.svg", plot.file));
            plot::write(plot, &file).with_context(|| format!("{} cannot be drawn", plot.file))?;
        }
        let markdown = markdown::render(self, &name);
        fs::write(directory.join(format!("{name}.md")), markdown)?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        fs::write(directory.join(format!("{name}.json")), json)?;
        Ok(())
    }
}
