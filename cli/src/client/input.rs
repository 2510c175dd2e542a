//! Values that do not belong on a command line.

use std::io::{IsTerminal as _, Read as _};

use crate::{args::Input, exit::Failure, out};

/// Reads a file, or standard input, whole.
pub fn read(input: &Input) -> Result<String, Failure> {
    match input {
        Input::File(path) => std::fs::read_to_string(path)
            .map_err(|error| Failure::failed(format!("{} cannot be read: {error}", path.display()))),
        Input::Stdin => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::failed(format!("standard input cannot be read: {error}")))?;
            Ok(text)
        }
    }
}

/// Reads a secret from where it is said to be; else asks for it on a terminal, without showing it, and reads standard input
/// where there is none. One line ending at its end is not part of it.
pub fn secret(input: Option<&Input>, what: &str) -> Result<String, Failure> {
    let text = match input {
        Some(input) => read(input)?,
        None if std::io::stdin().is_terminal() => rpassword::prompt_password(format!("{what}: "))
            .map_err(|error| Failure::failed(format!("{what} cannot be read: {error}")))?,
        None => read(&Input::Stdin)?,
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Asks a question on a terminal; `None` where there is none.
pub fn confirmed(question: &str) -> Result<Option<bool>, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    out::aside(&format!("{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
}
