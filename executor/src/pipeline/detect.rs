//! What to run for a project that does not say it all itself.

use grapnel_domain::{
    failure::{Failure, FailureCode},
    project::{BuildSettings, RelativePath},
};
use serde::{Deserialize, Serialize};

use super::project_root::ProjectRoot;
use crate::repository_config::{self, GRAPNEL_TOML, RepositoryConfig, VERCEL_JSON};

/// The directories that are looked for when no output directory is set, in this order.
pub const OUTPUT_CANDIDATES: [&str; 6] = ["dist", "build", "out", "public", "_site", "site"];

/// Manifests and version files larger than this are not read.
const FILE_LIMIT: u64 = 4 << 20;

/// What is run for a build. A step without a command does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The command of the install step.
    pub install: Option<String>,
    /// Whether the install step only brings what the lock file says into `node_modules`.
    pub install_is_plain: bool,
    /// The command of the build step.
    pub build: Option<String>,
    /// The directory that is published; none is looked for.
    pub output: Option<RelativePath>,
    /// The command that says, by exiting with 0, that there is nothing to build.
    pub ignore: Option<String>,
    /// Whether the repository's configuration switches deployments off.
    pub disabled: bool,
    /// The major version of Node.js that the repository asks for.
    pub node_major: Option<u32>,
}

/// Decides by what the repository says of itself, then by the project's settings, then by what is in its root directory.
///
/// # Errors
/// A file that says how to build is there and cannot be read.
pub fn plan(settings: &BuildSettings, root: &ProjectRoot) -> Result<Plan, Failure> {
    let config = configuration(root)?;
    let manifest = manifest(root)?;
    let manager = manifest.as_ref().map(|_| package_manager(root));
    let install = manager.map(|manager| manager.install.to_owned());
    let has_build_script = manifest.as_ref().is_some_and(|manifest| manifest["scripts"]["build"].is_string());
    let build = manager.filter(|_| has_build_script).map(|manager| manager.build.to_owned());
    let install_set = config.install_command.is_some() || settings.install_command.is_some();
    let plain = |it: &serde_json::Value| has_lock_file(root) && installs_only_what_is_locked(it, root);
    let install_is_plain = !install_set && manifest.as_ref().is_some_and(plain);
    let or = |said: Option<String>, set: &Option<String>| said.or_else(|| set.clone());
    Ok(Plan {
        install: chosen(or(config.install_command, &settings.install_command), install),
        install_is_plain,
        build: chosen(or(config.build_command, &settings.build_command), build),
        output: config.output_directory.or_else(|| settings.output_directory.clone()),
        ignore: config.ignore_command.filter(|command| !command.trim().is_empty()),
        disabled: config.disabled,
        node_major: node_major(root, manifest.as_ref()),
    })
}

/// A setting goes before what was found; empty text means that nothing is run.
fn chosen(setting: Option<String>, found: Option<String>) -> Option<String> {
    setting.or(found).filter(|command| !command.trim().is_empty())
}

fn configuration(root: &ProjectRoot) -> Result<RepositoryConfig, Failure> {
    let read = |name: &str| match root.read(name, repository_config::FILE_LIMIT) {
        None if root.has_file(name) => Err(repository_config::too_large(name)),
        text => Ok(text),
    };
    let (vercel, own) = (read(VERCEL_JSON)?, read(GRAPNEL_TOML)?);
    RepositoryConfig::read(vercel.as_deref(), own.as_deref())
}

fn manifest(root: &ProjectRoot) -> Result<Option<serde_json::Value>, Failure> {
    let Some(text) = root.read("package.json", FILE_LIMIT) else {
        return Ok(None);
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    serde_json::from_str(text).map(Some).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = format!("package.json cannot be read: line {line}, column {column}: {error}");
        Failure::new(FailureCode::ConfigInvalid, message)
    })
}

#[derive(Clone, Copy)]
struct PackageManager {
    install: &'static str,
    build: &'static str,
}

/// Chooses by lock file. `npm ci` would delete a cached `node_modules` first, so it is not used.
fn package_manager(root: &ProjectRoot) -> PackageManager {
    if root.has_file("pnpm-lock.yaml") {
        PackageManager { install: "pnpm install --frozen-lockfile", build: "pnpm run build" }
    } else if root.has_file("yarn.lock") {
        let modern = root.has_file(".yarnrc.yml")
            || root.read("yarn.lock", FILE_LIMIT).is_some_and(|lock| lock.contains("__metadata:"));
        let install = if modern { "yarn install --immutable" } else { "yarn install --frozen-lockfile" };
        PackageManager { install, build: "yarn run build" }
    } else if root.has_file("bun.lock") || root.has_file("bun.lockb") {
        PackageManager { install: "bun install --frozen-lockfile", build: "bun run build" }
    } else {
        PackageManager { install: "npm install", build: "npm run build" }
    }
}

const LOCK_FILES: [&str; 6] =
    ["package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb"];

fn has_lock_file(root: &ProjectRoot) -> bool {
    LOCK_FILES.iter().any(|name| root.has_file(name))
}

/// What npm and those after it run of the root manifest when they install.
const LIFECYCLE: [&str; 9] = [
    "preinstall",
    "install",
    "postinstall",
    "preprepare",
    "prepare",
    "postprepare",
    "prepublish",
    "dependencies",
    "pnpm:devPreinstall",
];

/// Tells whether an install touches nothing but `node_modules`: no script of the repository's own runs in it, and no
/// package of the repository's own is built by it.
fn installs_only_what_is_locked(manifest: &serde_json::Value, root: &ProjectRoot) -> bool {
    // Of `binding.gyp` npm makes a script of its own: npm-scripts(7).
    let runs = root.has_file("binding.gyp")
        || LIFECYCLE.iter().any(|script| manifest["scripts"][script].is_string());
    let several = !manifest["workspaces"].is_null()
        || ["pnpm-workspace.yaml", "lerna.json", ".pnpmfile.cjs", ".yarnrc.yml"]
            .iter()
            .any(|name| root.has_file(name));
    let kinds = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];
    let sources = kinds.iter().filter_map(|kind| manifest[kind].as_object()).flat_map(|all| all.values());
    let replaced = ["overrides", "resolutions", "pnpm"].iter().any(|key| names_own_package(&manifest[key]));
    !runs && !several && !replaced && !sources.into_iter().any(|it| !it.is_string() || names_own_package(it))
}

/// Tells whether a package of the repository is named, in a text or anywhere within.
fn names_own_package(source: &serde_json::Value) -> bool {
    match source {
        serde_json::Value::String(source) => is_own_package(source),
        serde_json::Value::Array(all) => all.iter().any(names_own_package),
        serde_json::Value::Object(all) => all.values().any(names_own_package),
        _ => false,
    }
}

/// Reads where a package comes from as npm does: a directory, or a file of that kind that no host has.
fn is_own_package(source: &str) -> bool {
    let beginnings = ["file:", "link:", "portal:", "workspace:", "patch:", ".", "/", "~/"];
    let endings = [".tgz", ".tar.gz", ".tar"];
    beginnings.iter().any(|it| source.starts_with(it))
        || (!source.contains("://") && endings.iter().any(|it| source.to_lowercase().ends_with(it)))
}

/// Finds the wanted Node.js: `.nvmrc`, `.node-version`, then `engines.node`.
fn node_major(root: &ProjectRoot, manifest: Option<&serde_json::Value>) -> Option<u32> {
    let from_file = |name: &str| root.read(name, 1024).and_then(|text| major_of(&text));
    from_file(".nvmrc")
        .or_else(|| from_file(".node-version"))
        .or_else(|| manifest?["engines"]["node"].as_str().and_then(major_of))
}

/// Reads the major version out of `22`, `v22.1.0`, `lts/jod`-like names (none), `^20`, `>=18 <21` (the lowest
/// named). A range is served by its first number: the image's own version is used where that is as good.
fn major_of(text: &str) -> Option<u32> {
    let text = text.trim();
    let start = text.trim_start_matches(['v', '^', '~', '=', '>', '<', ' ']);
    let digits: String = start.chars().take_while(char::is_ascii_digit).collect();
    let major: u32 = digits.parse().ok()?;
    let open_above = text.starts_with(">=") && !text.contains('<');
    (!open_above && (12..100).contains(&major)).then_some(major)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn planned(settings: &BuildSettings, files: &[(&str, &str)]) -> Result<Plan, Failure> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        plan(settings, &ProjectRoot::enter(directory.path(), None).unwrap().unwrap())
    }

    const SITE: (&str, &str) = ("package.json", r#"{"scripts":{"build":"vite build"}}"#);

    #[test]
    fn the_lock_file_chooses_the_package_manager() {
        for (lock, content, install, build) in [
            ("package-lock.json", "{}", "npm install", "npm run build"),
            ("none", "", "npm install", "npm run build"),
            ("pnpm-lock.yaml", "", "pnpm install --frozen-lockfile", "pnpm run build"),
            ("yarn.lock", "# yarn lockfile v1", "yarn install --frozen-lockfile", "yarn run build"),
            ("yarn.lock", "__metadata:\n  version: 8", "yarn install --immutable", "yarn run build"),
            ("bun.lock", "{}", "bun install --frozen-lockfile", "bun run build"),
        ] {
            let plan = planned(&BuildSettings::default(), &[SITE, (lock, content)]).unwrap();
            assert_eq!(
                (plan.install.as_deref(), plan.build.as_deref()),
                (Some(install), Some(build)),
                "{lock}"
            );
        }
    }

    #[test]
    fn a_repository_with_nothing_to_run_runs_nothing() {
        assert_eq!(planned(&BuildSettings::default(), &[("index.html", "hi")]).unwrap(), Plan::default());
        let plan = planned(&BuildSettings::default(), &[("package.json", "{}")]).unwrap();
        assert_eq!(plan.build, None, "no build script");
    }

    #[test]
    fn settings_go_first_and_empty_ones_skip_the_step() {
        let settings = BuildSettings {
            install_command: Some(String::new()),
            build_command: Some("make site".into()),
            ..BuildSettings::default()
        };
        let plan = planned(&settings, &[SITE]).unwrap();
        assert_eq!((plan.install, plan.build.as_deref()), (None, Some("make site")));
    }

    #[test]
    fn what_the_repository_says_of_itself_goes_before_the_settings() {
        let settings = BuildSettings {
            install_command: Some("ours".into()),
            build_command: Some("ours".into()),
            output_directory: RelativePath::parse("ours").ok(),
            ..BuildSettings::default()
        };
        let config = r#"{"installCommand":"","outputDirectory":"theirs","ignoreCommand":"exit 1"}"#;
        let plan = planned(&settings, &[SITE, ("vercel.json", config)]).unwrap();
        assert_eq!((plan.install, plan.build.as_deref()), (None, Some("ours")));
        assert_eq!((plan.output.unwrap().as_str(), plan.ignore.as_deref()), ("theirs", Some("exit 1")));
        let large = format!("{}{{}}", " ".repeat(2 << 20));
        let failure = planned(&settings, &[("vercel.json", &large)]).unwrap_err();
        assert!(failure.message.contains("larger than"), "{failure}");
    }

    #[test]
    fn an_install_that_only_brings_what_is_locked_is_told_apart() {
        let lock = ("package-lock.json", "{}");
        let plain = |manifest: &str, files: &[(&str, &str)]| {
            let files: Vec<_> = files.iter().copied().chain([("package.json", manifest)]).collect();
            planned(&BuildSettings::default(), &files).unwrap().install_is_plain
        };
        assert!(plain(r#"{"dependencies":{"vite":"~8.0.0"},"scripts":{"build":"vite build"}}"#, &[lock]));
        assert!(!plain("{}", &[]), "no lock file");
        assert!(plain(
            r#"{"dependencies":{"x":"https://host/x.tgz"},"overrides":{"a":{"b":"npm:c@1"}}}"#,
            &[lock]
        ));
        assert!(!plain("{}", &[lock, ("pnpm-workspace.yaml", "")]));
        assert!(!plain("{}", &[lock, ("binding.gyp", "{}")]), "npm compiles it");
        for manifest in [
            r#"{"scripts":{"postinstall":"x"}}"#,
            r#"{"scripts":{"prepare":"x"}}"#,
            r#"{"workspaces":["packages/*"]}"#,
            r#"{"dependencies":{"own":"file:./own"}}"#,
            r#"{"devDependencies":{"own":"../own"}}"#,
            r#"{"dependencies":{"own":{}}}"#,
            r#"{"dependencies":{"own":"own-1.0.0.TGZ"}}"#,
            r#"{"overrides":{"theirs":"file:own"}}"#,
            r#"{"overrides":{"theirs":{"deeper":"file:own"}}}"#,
            r#"{"resolutions":{"theirs":"patch:theirs@1#own.patch"}}"#,
            r#"{"pnpm":{"patchedDependencies":{"theirs@1":"./own.patch"}}}"#,
        ] {
            assert!(!plain(manifest, &[lock]), "{manifest}");
        }
        let settings =
            BuildSettings { install_command: Some("npm install".into()), ..BuildSettings::default() };
        assert!(
            !planned(&settings, &[("package.json", "{}"), lock]).unwrap().install_is_plain,
            "a command of their own"
        );
    }

    #[test]
    fn a_broken_manifest_is_told_with_line_and_column() {
        let failure = planned(&BuildSettings::default(), &[("package.json", "{\n  \"a\": }")]).unwrap_err();
        assert_eq!(failure.code, FailureCode::ConfigInvalid);
        assert!(failure.message.contains("line 2, column 8"), "{failure}");
    }

    #[test]
    fn the_wanted_node_is_read_from_version_files_and_engines() {
        for (text, major) in [
            ("22", Some(22)),
            ("v20.11.1\n", Some(20)),
            ("^18.0.0", Some(18)),
            (">=18 <21", Some(18)),
            (">=20", None),
            ("lts/jod", None),
            ("*", None),
            ("9999", None),
            ("$(id)", None),
        ] {
            assert_eq!(major_of(text), major, "{text:?}");
        }
        let engines = ("package.json", r#"{"engines":{"node":"20.x"}}"#);
        let node = |files: &[(&str, &str)]| planned(&BuildSettings::default(), files).unwrap().node_major;
        assert_eq!(node(&[engines]), Some(20));
        assert_eq!(node(&[engines, (".node-version", "22"), (".nvmrc", "24")]), Some(24));
    }
}
