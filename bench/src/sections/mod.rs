//! What is measured, one thing a file.

mod builds;
mod cache;
mod cancel;
mod history;
mod logs;
mod rest;
mod scale;
mod serving;
mod triggers;

use anyhow::{Result, bail};

use crate::report::Section;

/// How long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All sections together under three minutes.
    Quick,
    /// Enough rounds and sizes for figures to believe.
    Full,
}

impl Form {
    /// Returns one of two numbers.
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// The sections' names, in their order.
pub const SECTIONS: [&str; 9] =
    ["triggers", "history", "builds", "cache", "logs", "cancel", "scale", "rest", "serving"];

/// Measures one of them.
///
/// # Errors
/// Something that takes part fails: a figure of less than all of it is none.
pub async fn measure(name: &str, form: Form) -> Result<Section> {
    match name {
        "triggers" => triggers::measure(form).await,
        "history" => history::measure(form).await,
        "builds" => builds::measure(form).await,
        "cache" => cache::measure(form).await,
        "logs" => logs::measure(form).await,
        "cancel" => cancel::measure(form).await,
        "scale" => scale::measure(form).await,
        "rest" => rest::measure(form).await,
        "serving" => serving::measure(form).await,
        unknown => bail!("there is no section `{unknown}`"),
    }
}
