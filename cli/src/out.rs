//! Standard output, written with a look at what comes of it.

use std::io::{ErrorKind, Write as _};

use crate::exit::Failure;

/// Writes text, and waits until it is on its way.
///
/// A reader that has gone away, as in `| head`, ends the command without a word: there is nobody to say anything to.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::unheard(),
        _ => Failure::failed(format!("standard output cannot be written: {error}")),
    })
}

/// Writes a line.
pub fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Tells people something beside the answer. Nobody has to hear it.
pub fn aside(text: &str) {
    let _ = write!(std::io::stderr(), "{text}");
}
