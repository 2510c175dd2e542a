//! Where it was measured, on what, and of which versions.

use std::{fmt, fs, process::Command};

use serde::Serialize;

/// A machine, and what ran on it.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of its cores there are.
    pub cores: usize,
    /// Its memory, in GiB.
    pub memory_gib: u64,
    /// The file system below the measurement's directories.
    pub file_system: String,
    /// The commit of Grapnel's own code.
    pub commit: String,
    /// What else took part, with its version.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    /// Looks at this machine. What cannot be found out is told as `unknown`.
    pub fn look() -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        let temporary = std::env::temp_dir();
        let versions = [
            ("Linux", said("uname", &["-r"])),
            ("Docker", said("docker", &["version", "--format", "{{ .Server.Version }}"])),
            ("git", version("git")),
            ("PostgreSQL", version("psql")),
            ("wrk", first_word_after(&said("sh", &["-c", "wrk -v 2>&1 | head -n 1"]), "wrk")),
            ("webhook", first_word_after(&said("webhook", &["-version"]), "version")),
            ("rustc", version("rustc")),
        ];
        Self {
            processor: processor.unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: memory.map_or(0, |kib| (kib + (1 << 19)) >> 20),
            file_system: last_line(&said("df", &["--output=fstype", &temporary.to_string_lossy()])),
            commit: said("git", &["rev-parse", "--short", "HEAD"]),
            versions: versions.into_iter().map(|(name, version)| (name.to_owned(), version)).collect(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_gib, file_system, commit, versions } = self;
        write!(f, "Measured on {cores} cores ({processor}), {memory_gib} GiB, {file_system}")?;
        for (name, version) in versions {
            write!(f, ", {name} {version}")?;
        }
        write!(f, ", at commit {commit}.")
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// What a program says, where it can be asked.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.filter(|said| !said.is_empty()).unwrap_or_else(unknown)
}

/// The version that a program tells of itself: the first word with a digit.
fn version(program: &str) -> String {
    let said = said(program, &["--version"]);
    let word = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    word.map_or_else(unknown, str::to_owned)
}

fn first_word_after(said: &str, word: &str) -> String {
    let mut words = said.split_whitespace().skip_while(|it| *it != word).skip(1);
    words.next().map_or_else(unknown, str::to_owned)
}

fn last_line(said: &str) -> String {
    said.lines().last().map_or_else(unknown, str::to_owned)
}
