//! Numbered lines: printed by a command, and held against what arrives.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How long a command that prints waits first, until all are there who want to see it.
const GATHER: u64 = 1;

/// What a line says behind its number: together a hundred bytes.
const REST: &str =
    "the quick brown fox jumps over the lazy dog, and once more: the quick brown fox jumps over";

/// Returns a command that prints so many numbered lines as fast as it can, after so many seconds more than a little.
pub fn command(lines: usize, after: u64) -> String {
    let wait = GATHER + after;
    format!("sleep {wait}; awk 'BEGIN {{ for (n = 1; n <= {lines}; n++) printf \"%08d {REST}\\n\", n }}'")
}

/// What somebody has seen of such lines.
#[derive(Debug, Default)]
pub struct Seen {
    count: usize,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Seen {
    /// Takes the next line.
    ///
    /// # Errors
    /// It is another one than the next: one is missing, or came twice, or another way round.
    pub fn take(&mut self, line: &str) -> Result<()> {
        let number = line.split(' ').next().and_then(|number| number.parse().ok());
        ensure!(number == Some(self.count + 1), "after line {} came `{line}`", self.count);
        ensure!(line.ends_with(REST), "line {} is cut: `{line}`", self.count + 1);
        self.count += 1;
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        Ok(())
    }

    /// Returns when the first and the last line came, where all have.
    ///
    /// # Errors
    /// Some have not.
    pub fn all(&self, lines: usize) -> Result<(Instant, Instant)> {
        match (self.first, self.last) {
            (Some(first), Some(last)) if self.count == lines => Ok((first, last)),
            _ => anyhow::bail!("{} of {lines} lines came", self.count),
        }
    }
}

/// Returns lines a second.
pub fn rate(lines: usize, took: Duration) -> f64 {
    lines as f64 / took.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_seen_once_and_in_order_or_not_at_all() {
        let line = |number: usize| format!("{number:08} {REST}");
        let mut seen = Seen::default();
        seen.take(&line(1)).unwrap();
        seen.take(&line(2)).unwrap();
        assert!(seen.take(&line(2)).is_err(), "twice");
        assert!(seen.take(&line(4)).is_err(), "one is missing");
        assert!(seen.take(&line(3)[..50]).is_err(), "cut");
        assert!(seen.all(3).is_err(), "the third one is to come");
        seen.take(&line(3)).unwrap();
        let (first, last) = seen.all(3).unwrap();
        assert!(first <= last);
    }

    #[test]
    fn a_line_has_a_hundred_bytes() {
        assert_eq!("00000001 ".len() + REST.len() + 1, 100);
    }
}
