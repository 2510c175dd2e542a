//! Where settings come from.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

use super::Setting;

/// Variables that begin like settings and are none: the command line's own.
const OTHER_VARIABLES: [&str; 4] = ["GRAPNEL_CONFIG", "GRAPNEL_KEY", "GRAPNEL_KEY_FILE", "GRAPNEL_URL"];

/// How the names of variables begin that tell tests where things are.
const OF_TESTS: &str = "GRAPNEL_TEST_";

/// Where one value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag(String),
    /// An environment variable.
    Env(String),
    /// The file that an environment variable names.
    SecretFile(String, PathBuf),
    /// A key of the configuration file.
    File(PathBuf, String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Env(name) => f.write_str(name),
            Self::SecretFile(name, path) => write!(f, "{name} ({})", path.display()),
            Self::File(path, key) => write!(f, "{key} in {}", path.display()),
        }
    }
}

/// All that was given to a process.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Flags without their dashes, with their values.
    pub flags: BTreeMap<String, String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The configuration file; it has to be there when named.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// Returns the process's environment as a source.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn from_process() -> Self {
        let mut env = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                env.insert(name, value);
            }
        }
        Self { env, ..Self::default() }
    }

    pub(super) fn gather(
        &self,
        tables: &[Setting],
        complaints: &mut Vec<String>,
    ) -> BTreeMap<&'static str, (String, Origin)> {
        let from_file = self.read_file(tables, complaints);
        self.refuse_unknown_variables(tables, complaints);
        let mut given = BTreeMap::new();
        for setting in tables {
            let found = self
                .flag(setting)
                .or_else(|| self.variable(setting))
                .or_else(|| self.secret_file(setting, complaints))
                .or_else(|| from_file.get(setting.key).cloned());
            if let Some(found) = found {
                given.insert(setting.key, found);
            }
        }
        given
    }

    fn flag(&self, setting: &Setting) -> Option<(String, Origin)> {
        let flag = setting.flag();
        self.flags.get(&flag).map(|text| (text.clone(), Origin::Flag(flag)))
    }

    fn variable(&self, setting: &Setting) -> Option<(String, Origin)> {
        let name = setting.env();
        self.env.get(&name).map(|text| (text.clone(), Origin::Env(name)))
    }

    fn secret_file(&self, setting: &Setting, complaints: &mut Vec<String>) -> Option<(String, Origin)> {
        if !setting.secret {
            return None;
        }
        let name = format!("{}_FILE", setting.env());
        let path = PathBuf::from(self.env.get(&name)?);
        match fs::read_to_string(&path) {
            Ok(text) => {
                Some((text.trim_end_matches(['\r', '\n']).to_owned(), Origin::SecretFile(name, path)))
            }
            Err(error) => {
                complaints.push(format!("{name} = `{}`: cannot be read: {error}", path.display()));
                None
            }
        }
    }

    fn refuse_unknown_variables(&self, tables: &[Setting], complaints: &mut Vec<String>) {
        for name in self.env.keys().filter(|name| name.starts_with("GRAPNEL_")) {
            let known = OTHER_VARIABLES.contains(&name.as_str())
                || name.starts_with(OF_TESTS)
                || tables.iter().any(|setting| {
                    *name == setting.env() || (setting.secret && *name == format!("{}_FILE", setting.env()))
                });
            if !known {
                let names = tables.iter().map(Setting::env);
                complaints.push(format!("{name}: there is no such setting{}", suggestion(name, names)));
            }
        }
    }

    fn read_file(
        &self,
        tables: &[Setting],
        complaints: &mut Vec<String>,
    ) -> BTreeMap<&'static str, (String, Origin)> {
        let Some(path) = &self.file else {
            return BTreeMap::new();
        };
        let table = fs::read_to_string(path)
            .map_err(|error| format!("{}: cannot be read: {error}", path.display()))
            .and_then(|text| {
                text.parse::<toml::Table>().map_err(|error| format!("{}: {error}", path.display()))
            });
        let table = match table {
            Ok(table) => table,
            Err(complaint) => {
                complaints.push(complaint);
                return BTreeMap::new();
            }
        };
        let mut flat = Vec::new();
        flatten("", table, &mut flat);
        let mut given = BTreeMap::new();
        for (key, value) in flat {
            let Some(setting) = tables.iter().find(|setting| setting.key == key) else {
                let keys = tables.iter().map(|setting| setting.key.to_owned());
                complaints.push(format!(
                    "{key} in {}: there is no such setting{}",
                    path.display(),
                    suggestion(&key, keys)
                ));
                continue;
            };
            given.insert(setting.key, (value, Origin::File(path.clone(), key)));
        }
        given
    }
}

/// Writes nested tables as dotted keys and every value as the text that an environment variable would have.
fn flatten(prefix: &str, table: toml::Table, into: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(table) => flatten(&key, table, into),
            toml::Value::String(text) => into.push((key, text)),
            toml::Value::Array(values) => {
                let texts = values.into_iter().map(|value| match value {
                    toml::Value::String(text) => text,
                    other => other.to_string(),
                });
                into.push((key, texts.collect::<Vec<_>>().join(",")));
            }
            other => into.push((key, other.to_string())),
        }
    }
}

/// Names the known word that shares the longest beginning, when it shares enough to be meant.
fn suggestion(word: &str, known: impl Iterator<Item = String>) -> String {
    let shared = |other: &str| word.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    known
        .max_by_key(|other| shared(other))
        .filter(|other| shared(other) * 3 >= word.len() * 2)
        .map(|other| format!("; did you mean {other}?"))
        .unwrap_or_default()
}
