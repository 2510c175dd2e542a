//! Requests over HTTP as fast as they are answered, by wrk.

use std::{
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::NamedTempFile;

/// What wrk is to do.
#[derive(Debug)]
pub struct Load<'a> {
    /// The server, as `127.0.0.1:7300`.
    pub server: &'a str,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The paths, one after the other, again and again.
    pub paths: &'a [String],
    /// How many connections ask at once.
    pub connections: usize,
    /// How long it asks.
    pub lasting: Duration,
    /// The `Host` that is asked for, where it is not the server's own.
    pub host: Option<&'a str>,
}

/// How it was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// How many answers came.
    pub answers: u64,
    /// Answers a second.
    pub rate: f64,
    /// Half of the answers came within this, in milliseconds.
    pub p50: f64,
    /// 99 of 100 came within this, in milliseconds.
    pub p99: f64,
}

impl Load<'_> {
    /// Asks, and returns how it was answered.
    ///
    /// # Errors
    /// wrk is missing, or not every answer was a good one.
    pub fn run(&self) -> Result<Answered> {
        let script = self.script()?;
        let seconds = format!("{}s", self.lasting.as_secs().max(1));
        let mut wrk = Command::new("wrk");
        // One thread: the server shares the cores.
        wrk.args([
            "-t1",
            "--latency",
            "--timeout",
            "10s",
            "-d",
            &seconds,
            "-c",
            &self.connections.to_string(),
        ]);
        if let Some(host) = self.host {
            wrk.args(["-H", &format!("Host: {host}")]);
        }
        wrk.arg("-s").arg(script.path()).arg(format!("http://{}/", self.server));
        let output = wrk.output().context("wrk cannot be started")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk failed: {said}{}", String::from_utf8_lossy(&output.stderr));
        ensure!(
            !said.contains("Non-2xx") && !said.contains("Socket errors"),
            "{} did not answer all: {said}",
            self.server
        );
        figures(&said).with_context(|| format!("wrk told no figures: {said}"))
    }

    /// Asks for the paths in turn, and tells figures that need not be read out of a table.
    fn script(&self) -> Result<NamedTempFile> {
        let mut script = tempfile::Builder::new().suffix(".lua").tempfile()?;
        writeln!(script, "local method, paths, requests, at = '{}', {{", self.method)?;
        for path in self.paths {
            writeln!(script, "  '{path}',")?;
        }
        write!(
            script,
            "}}, {{}}, 0
init = function() for n, path in ipairs(paths) do requests[n] = wrk.format(method, path) end end
request = function() at = at % #requests + 1; return requests[at] end
done = function(summary, latency)
  print(string.format('figures %d %d %d %d', summary.requests, summary.duration, latency:percentile(50), latency:percentile(99)))
end
"
        )?;
        script.flush()?;
        Ok(script)
    }
}

/// Reads the line that our script has wrk tell: answers, and microseconds.
fn figures(said: &str) -> Option<Answered> {
    let line = said.lines().find_map(|line| line.strip_prefix("figures "))?;
    let figures: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [answers, lasted, p50, p99] = figures[..] else { return None };
    let rate = answers as f64 / lasted as f64 * 1e6;
    Some(Answered { answers, rate, p50: p50 as f64 / 1e3, p99: p99 as f64 / 1e3 })
}

/// Returns the middle one.
pub fn median(figures: &[f64]) -> f64 {
    percentile(figures, 0.5)
}

/// Returns the figure below which a share of them lies.
pub fn percentile(figures: &[f64], share: f64) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let at = ((figures.len().max(1) - 1) as f64 * share).round() as usize;
    figures.get(at).copied().unwrap_or_default()
}

/// Returns the milliseconds since then.
pub fn ms_since(begun: Instant) -> f64 {
    ms(begun.elapsed())
}

/// Returns a time in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_tells_is_read() {
        let said = "Running 2s test\n  Latency Distribution\nfigures 24000 2000000 5120 11042\n";
        let Answered { answers, rate, p50, p99 } = figures(said).expect("they are there");
        assert_eq!((answers, rate, p50, p99), (24_000, 12_000.0, 5.12, 11.042));
        assert!(figures("figures 1 2 3\n").is_none(), "one is missing");
    }

    #[test]
    fn a_median_is_one_of_the_figures() {
        assert!((median(&[9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
        assert!((median(&[]) - 0.0).abs() < f64::EPSILON);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&hundred, 0.99) - 99.0).abs() < f64::EPSILON);
    }
}
