//! What a repository says of its own deployments: `vercel.json`, and `grapnel.toml`, which says the same in our words
//! and wins. Both stand in the project's root directory. Keys that we do not know are no error.

use grapnel_domain::{
    failure::{Failure, FailureCode},
    project::RelativePath,
};
use serde_json::Value;

/// The file that hosted platforms read.
pub const VERCEL_JSON: &str = "vercel.json";

/// The file in our own words.
pub const GRAPNEL_TOML: &str = "grapnel.toml";

/// Files larger than this are refused unread.
pub const FILE_LIMIT: u64 = 1 << 20;

/// What a repository says. What it does not say is decided as ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// Whether hooks deploy it at all.
    pub disabled: bool,
    /// The command of the install step; empty text skips the step.
    pub install_command: Option<String>,
    /// The command of the build step; empty text skips the step.
    pub build_command: Option<String>,
    /// The directory that is published.
    pub output_directory: Option<RelativePath>,
    /// A command that runs before the install step; when it exits with 0, there is nothing to build.
    pub ignore_command: Option<String>,
}

impl RepositoryConfig {
    /// Reads both files, where they are there.
    ///
    /// # Errors
    /// One of them is broken, or says something of the wrong kind: a fault of the user's that names file and place.
    pub fn read(vercel: Option<&str>, grapnel: Option<&str>) -> Result<Self, Failure> {
        let hosted = vercel.map(from_vercel).transpose()?.unwrap_or_default();
        let own = grapnel.map(from_grapnel).transpose()?.unwrap_or_default();
        Ok(Self {
            disabled: own.enabled.map_or(hosted.disabled, |enabled| !enabled),
            install_command: own.config.install_command.or(hosted.install_command),
            build_command: own.config.build_command.or(hosted.build_command),
            output_directory: own.config.output_directory.or(hosted.output_directory),
            ignore_command: own.config.ignore_command.or(hosted.ignore_command),
        })
    }
}

/// Says that a file is too large to be one of these.
pub fn too_large(file: &str) -> Failure {
    refused(format!("{file} is larger than the {FILE_LIMIT} bytes that are read"))
}

fn from_vercel(text: &str) -> Result<RepositoryConfig, Failure> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root: Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        refused(format!("{VERCEL_JSON} cannot be read: line {line}, column {column}: {error}"))
    })?;
    if !root.is_object() {
        return Err(refused(format!("{VERCEL_JSON} must hold an object")));
    }
    let disabled = match &root["github"]["enabled"] {
        Value::Null | Value::Bool(true) => false,
        Value::Bool(false) => true,
        _ => return Err(refused(format!("{VERCEL_JSON}: `github.enabled` must be true or false"))),
    };
    // `null` is what the platform's own tools write for "as ever".
    let text_of = |key: &str| match &root[key] {
        Value::Null => Ok(None),
        Value::String(text) => usable(VERCEL_JSON, key, text).map(Some),
        _ => Err(refused(format!("{VERCEL_JSON}: `{key}` must be a text or null"))),
    };
    Ok(RepositoryConfig {
        disabled,
        install_command: text_of("installCommand")?,
        build_command: text_of("buildCommand")?,
        output_directory: directory(VERCEL_JSON, "outputDirectory", text_of("outputDirectory")?)?,
        ignore_command: text_of("ignoreCommand")?,
    })
}

/// What `grapnel.toml` says; it may switch on what the other file switches off.
#[derive(Default)]
struct Own {
    enabled: Option<bool>,
    config: RepositoryConfig,
}

fn from_grapnel(text: &str) -> Result<Own, Failure> {
    let root: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        refused(format!("{GRAPNEL_TOML} cannot be read: line {line}, column {column}: {}", error.message()))
    })?;
    let enabled = match root.get("enabled") {
        None => None,
        Some(toml::Value::Boolean(enabled)) => Some(*enabled),
        Some(_) => return Err(refused(format!("{GRAPNEL_TOML}: `enabled` must be true or false"))),
    };
    let text_of = |key: &str| match root.get(key) {
        None => Ok(None),
        Some(toml::Value::String(text)) => usable(GRAPNEL_TOML, key, text).map(Some),
        Some(_) => Err(refused(format!("{GRAPNEL_TOML}: `{key}` must be a text"))),
    };
    let config = RepositoryConfig {
        disabled: false,
        install_command: text_of("install_command")?,
        build_command: text_of("build_command")?,
        output_directory: directory(GRAPNEL_TOML, "output_directory", text_of("output_directory")?)?,
        ignore_command: text_of("ignore_command")?,
    };
    Ok(Own { enabled, config })
}

fn usable(file: &str, key: &str, text: &str) -> Result<String, Failure> {
    if text.contains('\0') {
        return Err(refused(format!("{file}: `{key}` must not contain NUL")));
    }
    Ok(text.to_owned())
}

fn directory(file: &str, key: &str, text: Option<String>) -> Result<Option<RelativePath>, Failure> {
    let read = text.map(|text| RelativePath::parse(&text)).transpose();
    read.map_err(|error| refused(format!("{file}: `{key}` {error}")))
}

fn refused(message: String) -> Failure {
    Failure::new(FailureCode::ConfigInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vercel(text: &str) -> Result<RepositoryConfig, String> {
        RepositoryConfig::read(Some(text), None).map_err(|failure| failure.message)
    }

    #[test]
    fn commands_and_directory_are_read_and_unknown_keys_passed_over() {
        let config = vercel(
            r#"{"framework":"vite","installCommand":"npm ci","buildCommand":null,"outputDirectory":"out/",
                "ignoreCommand":"exit 1","git":{"deploymentEnabled":false},"unknown":[1]}"#,
        );
        let expected = RepositoryConfig {
            disabled: false,
            install_command: Some("npm ci".into()),
            build_command: None,
            output_directory: RelativePath::parse("out").ok(),
            ignore_command: Some("exit 1".into()),
        };
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn github_enabled_false_switches_off_and_our_own_file_wins() {
        let off = r#"{"github":{"enabled":false},"buildCommand":"theirs"}"#;
        assert!(vercel(off).unwrap().disabled);
        assert!(!vercel(r#"{"github":{"enabled":true}}"#).unwrap().disabled);
        let own = "enabled = true\nbuild_command = 'ours'\n[later]\nx = 1\n";
        let config = RepositoryConfig::read(Some(off), Some(own)).unwrap();
        assert_eq!((config.disabled, config.build_command.as_deref()), (false, Some("ours")));
        assert!(RepositoryConfig::read(None, Some("enabled = false")).unwrap().disabled);
    }

    #[test]
    fn what_is_broken_is_named_with_its_place() {
        for (text, says) in [
            ("{\n  \"github\": }", "line 2, column 13"),
            ("{\"a\": 1", "line 1"),
            ("[]", "must hold an object"),
            ("\u{fffd}\u{fffd}{\0", "line 1"),
            (r#"{"installCommand": 5}"#, "`installCommand`"),
            (r#"{"github": {"enabled": "no"}}"#, "`github.enabled`"),
            (r#"{"outputDirectory": "../up"}"#, "`outputDirectory`"),
        ] {
            assert!(vercel(text).unwrap_err().contains(says), "{text}: {:?}", vercel(text));
        }
        assert!(vercel(&"[".repeat(10_000)).unwrap_err().contains("recursion"));
        let own = RepositoryConfig::read(None, Some("enabled = true\nbuild_command = = 1")).unwrap_err();
        assert!(own.message.contains("grapnel.toml") && own.message.contains("line 2, column 17"), "{own}");
        let own = RepositoryConfig::read(None, Some("enabled = 'no'")).unwrap_err();
        assert!(own.message.contains("`enabled`"), "{own}");
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(
            vercel(r#"{"buildCommand":"a","buildCommand":"b"}"#).unwrap().build_command.as_deref(),
            Some("b")
        );
    }
}
