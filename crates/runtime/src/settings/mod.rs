//! Settings: a flag, an environment variable, a key of `grapnel.toml`, a default, in that order.
//!
//! Each crate that runs as a process lists its settings in a table of [`Setting`]s and reads them through one
//! [`Settings`], which notes everything that is wrong and tells it all at once.

mod source;

pub mod shared;

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

use secrecy::SecretString;
pub use source::{Origin, Sources};

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The key in `grapnel.toml`, such as `hooks.listen`.
    pub key: &'static str,
    /// What holds where nothing is set.
    pub default: Fallback,
    /// What it means, with its unit.
    pub help: &'static str,
    /// Whether the value is a secret, which can also come from the file that `…_FILE` names and is never shown.
    pub secret: bool,
}

/// What holds where a setting is not set.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// This text.
    Text(&'static str),
    /// Something that is found out; said in words.
    Computed(&'static str),
}

impl Setting {
    /// Describes a setting with a default.
    pub const fn new(key: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { key, default: Fallback::Text(default), help, secret: false }
    }

    /// Describes a setting whose default is found out.
    pub const fn computed(key: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { key, default: Fallback::Computed(default), help, secret: false }
    }

    /// Describes a secret.
    pub const fn secret(key: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { key, default: Fallback::Computed(default), help, secret: true }
    }

    /// Returns the environment variable: `GRAPNEL_HOOKS_LISTEN`.
    pub fn env(&self) -> String {
        format!("GRAPNEL_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// Returns the flag without its dashes: `hooks-listen`.
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the settings are wrong:\n  {}", .0.join("\n  "))]
pub struct SettingsError(pub Vec<String>);

/// The settings of a process, as they were given.
#[derive(Debug)]
pub struct Settings {
    tables: Vec<Setting>,
    given: BTreeMap<&'static str, (String, Origin)>,
    complaints: Vec<String>,
}

impl Settings {
    /// Puts the sources together. What is wrong with them is told by [`Settings::finish`].
    pub fn load(tables: &[&[Setting]], sources: &Sources) -> Self {
        let mut known = BTreeMap::new();
        for setting in tables.iter().copied().flatten() {
            known.entry(setting.key).or_insert(*setting);
        }
        let tables: Vec<Setting> = known.into_values().collect();
        let mut complaints = Vec::new();
        let given = sources.gather(&tables, &mut complaints);
        Self { tables, given, complaints }
    }

    /// Reads a setting.
    ///
    /// Returns `None` where it is not set and has no default in text, or where its value is wrong, which is noted.
    pub fn get<T>(&mut self, key: &str) -> Option<T>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        self.read(key, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// Reads a setting that has to have a value; `fallback` only keeps the types happy until
    /// [`Settings::finish`] refuses.
    pub fn require<T>(&mut self, key: &str, fallback: T) -> T
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        self.get(key).unwrap_or(fallback)
    }

    /// Reads a span of time such as `90s`, `15m` or `24h`.
    pub fn duration(&mut self, key: &str) -> Duration {
        let read = |text: &str| {
            humantime::parse_duration(text)
                .map_err(|error| format!("is no span of time such as `90s`: {error}"))
        };
        self.read(key, read).unwrap_or_default()
    }

    /// Reads a size such as `512MiB` or `2GiB`, in bytes.
    pub fn bytes(&mut self, key: &str) -> u64 {
        let read = |text: &str| {
            text.parse::<bytesize::ByteSize>()
                .map(|size| size.as_u64())
                .map_err(|error| format!("is no size such as `512MiB`: {error}"))
        };
        self.read(key, read).unwrap_or_default()
    }

    /// Reads `true` or `false`.
    pub fn bool(&mut self, key: &str) -> bool {
        self.read(key, |text| text.parse::<bool>().map_err(|_| "must be `true` or `false`".to_owned()))
            .unwrap_or_default()
    }

    /// Reads a list whose entries are separated by commas; empty text is an empty list.
    pub fn list(&mut self, key: &str) -> Vec<String> {
        let text: String = self.get(key).unwrap_or_default();
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }

    /// Reads a list whose entries are separated by commas; `what` says what each has to be, such as `an address`.
    pub fn list_of<T: FromStr>(&mut self, key: &str, what: &str) -> Vec<T> {
        let mut read = Vec::new();
        for entry in self.list(key) {
            match entry.parse() {
                Ok(it) => read.push(it),
                Err(_) => self.complain(key, format!("`{entry}` is not {what}")),
            }
        }
        read
    }

    /// Reads a list of directories separated by colons, as `PATH` is.
    pub fn directories(&mut self, key: &str) -> Vec<PathBuf> {
        let text: String = self.get(key).unwrap_or_default();
        text.split(':').filter(|entry| !entry.is_empty()).map(PathBuf::from).collect()
    }

    /// Reads a path.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.get::<String>(key).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    /// Reads a secret.
    pub fn secret(&mut self, key: &str) -> Option<SecretString> {
        self.get::<String>(key).filter(|text| !text.is_empty()).map(SecretString::from)
    }

    /// Notes that the value of `key` is wrong, where only its reader can tell.
    pub fn complain(&mut self, key: &str, what: impl std::fmt::Display) {
        let complaint = match (self.given.get(key), self.tables.iter().find(|setting| setting.key == key)) {
            (Some((text, origin)), Some(setting)) if !setting.secret => {
                format!("{origin} = `{text}`: {what}")
            }
            (Some((_, origin)), _) => format!("{origin}: {what}"),
            (None, Some(setting)) => format!("{} ({}): {what}", setting.key, setting.env()),
            (None, None) => format!("{key}: {what}"),
        };
        // Some settings are read by more than one service of a process.
        if !self.complaints.contains(&complaint) {
            self.complaints.push(complaint);
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Something is wrong; all of it is told.
    pub fn finish(self) -> Result<(), SettingsError> {
        if self.complaints.is_empty() { Ok(()) } else { Err(SettingsError(self.complaints)) }
    }

    fn read<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let Some(setting) = self.tables.iter().find(|setting| setting.key == key).copied() else {
            self.complaints.push(format!("{key} stands in no table of settings"));
            return None;
        };
        let text = match (self.given.get(key), setting.default) {
            (Some((text, _)), _) => text.clone(),
            (None, Fallback::Text(text)) => text.to_owned(),
            (None, Fallback::Computed(_)) => return None,
        };
        match read(&text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.complain(key, what);
                None
            }
        }
    }
}

/// Writes the table of settings as an example for an environment file.
pub fn env_example(tables: &[&[Setting]]) -> String {
    let mut seen = BTreeMap::new();
    for setting in tables.iter().copied().flatten() {
        seen.entry(setting.key).or_insert(setting);
    }
    let mut text = String::from(
        "# Every setting of Grapnel, with its default. Each is also a flag (`--hooks-listen`) and a key of\n\
         # grapnel.toml (`hooks.listen`); a flag goes before the environment, the environment before the file.\n",
    );
    for setting in seen.values() {
        text += "\n";
        text += &setting.help.lines().map(|line| format!("# {line}\n")).collect::<String>();
        match setting.default {
            Fallback::Text(default) => text += &format!("#{}={default}\n", setting.env()),
            Fallback::Computed(default) => text += &format!("# Default: {default}\n#{}=\n", setting.env()),
        }
        if setting.secret {
            text += &format!("#{}_FILE=\n", setting.env());
        }
    }
    text
}

#[cfg(test)]
mod tests;
