//! Updates by field mask.

use std::time::Duration;

use grapnel_domain::{
    BranchName, Error, RepositoryUrl, hook::Methods, id::TokenId, project::BuildSettings,
    trigger::LONGEST_WAIT,
};
use grapnel_proto::{
    convert::{Violations, project::settings_from_wire},
    hooks::v1 as wire,
};

use crate::app::{HookChanges, ProjectChanges};

/// The longest that a replaced token works on: 30 days.
const LONGEST_GRACE: u32 = 30 * 24 * 60 * 60;

/// Copies one setting from the new settings to the present ones.
type CopySetting = fn(&mut BuildSettings, &BuildSettings);

const SETTINGS: [(&str, CopySetting); 17] = [
    ("settings.root_directory", |to, from| {
        to.root_directory.clone_from(&from.root_directory);
    }),
    ("settings.install_command", |to, from| {
        to.install_command.clone_from(&from.install_command);
    }),
    ("settings.build_command", |to, from| {
        to.build_command.clone_from(&from.build_command);
    }),
    ("settings.output_directory", |to, from| {
        to.output_directory.clone_from(&from.output_directory);
    }),
    ("settings.builder_image", |to, from| {
        to.builder_image.clone_from(&from.builder_image);
    }),
    ("settings.limits", |to, from| to.limits = from.limits),
    ("settings.limits.timeout_seconds", |to, from| {
        to.limits.timeout_seconds = from.limits.timeout_seconds;
    }),
    ("settings.limits.memory_bytes", |to, from| {
        to.limits.memory_bytes = from.limits.memory_bytes;
    }),
    ("settings.limits.disk_bytes", |to, from| {
        to.limits.disk_bytes = from.limits.disk_bytes;
    }),
    ("settings.limits.milli_cpus", |to, from| {
        to.limits.milli_cpus = from.limits.milli_cpus;
    }),
    ("settings.limits.processes", |to, from| {
        to.limits.processes = from.limits.processes;
    }),
    ("settings.limits.open_files", |to, from| {
        to.limits.open_files = from.limits.open_files;
    }),
    ("settings.cached_paths", |to, from| {
        to.cached_paths.clone_from(&from.cached_paths);
    }),
    ("settings.network", |to, from| to.network = from.network),
    ("settings.run_as_root", |to, from| to.run_as_root = from.run_as_root),
    ("settings.submodules", |to, from| to.submodules = from.submodules),
    ("settings.lfs", |to, from| to.lfs = from.lfs),
];

/// Reads what is to be changed of a project.
pub fn project(
    changes: Option<wire::ProjectChanges>,
    mask: Option<prost_types::FieldMask>,
) -> Result<ProjectChanges, Error> {
    let new = changes.unwrap_or_default();
    let paths = paths(mask)?;
    let mut violations = Violations::default();
    let settings = settings_from_wire("changes.settings", new.settings, &mut violations);
    let mut changed = ProjectChanges::default();
    let mut copied: Vec<CopySetting> = Vec::new();
    for path in &paths {
        match path.as_str() {
            "name" => changed.name = violations.check("changes.name", new.name.parse()),
            "repository_url" => {
                changed.repository =
                    violations.check("changes.repository_url", RepositoryUrl::parse(&new.repository_url));
            }
            "production_branch" => {
                changed.production_branch =
                    violations.check("changes.production_branch", branch_or_main(&new.production_branch));
            }
            "settings" => copied.push(Clone::clone_from),
            other => match SETTINGS.iter().find(|(name, _)| *name == other) {
                Some((_, copy)) => copied.push(*copy),
                None => unknown_path(other, &mut violations),
            },
        }
    }
    violations.finish()?;
    if !copied.is_empty() {
        changed.settings = Some(Box::new(move |mut present| {
            copied.iter().for_each(|copy| copy(&mut present, &settings));
            present
        }));
    }
    Ok(changed)
}

/// Reads what is to be changed of a hook.
pub fn hook(
    changes: Option<wire::HookChanges>,
    mask: Option<prost_types::FieldMask>,
) -> Result<HookChanges, Error> {
    let new = changes.unwrap_or_default();
    let mut violations = Violations::default();
    let mut changed = HookChanges::default();
    for path in paths(mask)? {
        match path.as_str() {
            "name" => changed.name = violations.check("changes.name", new.name.parse()),
            "branch" => changed.branch = violations.check("changes.branch", BranchName::parse(&new.branch)),
            "paused" => changed.paused = Some(new.paused),
            "build_cache" => changed.build_cache = Some(new.build_cache),
            "quiet_period_ms" => {
                changed.quiet_period = violations.check("changes.quiet_period_ms", wait(new.quiet_period_ms));
            }
            "max_wait_ms" => {
                changed.max_wait = violations.check("changes.max_wait_ms", wait(new.max_wait_ms));
            }
            "methods" => changed.methods = violations.check("changes.methods", methods(&new.methods)),
            other => unknown_path(other, &mut violations),
        }
    }
    violations.finish()?;
    Ok(changed)
}

/// Reads how long a hook waits.
pub fn wait(milliseconds: u32) -> Result<Duration, String> {
    let wait = Duration::from_millis(milliseconds.into());
    if wait > LONGEST_WAIT {
        return Err(format!("must be at most {}, which is a day", LONGEST_WAIT.as_millis()));
    }
    Ok(wait)
}

/// Reads the methods of a hook.
pub fn methods(names: &[String]) -> Result<Methods, String> {
    Methods::parse(names.iter().map(String::as_str))
}

/// Reads for how long a replaced token works on.
pub fn grace(seconds: Option<u32>) -> Result<Option<Duration>, Error> {
    match seconds {
        Some(seconds) if seconds > LONGEST_GRACE => Err(Error::invalid_field(
            "grace_seconds",
            format!("must be at most {LONGEST_GRACE}, which is 30 days"),
        )),
        seconds => Ok(seconds.map(|seconds| Duration::from_secs(seconds.into()))),
    }
}

/// Reads which token is to be replaced; none given is whichever is current.
pub fn expected_token(text: &str) -> Result<Option<TokenId>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::invalid_field("expected_token_id", "must be the id of a token"))
}

/// Reads a production branch; none given is `main`.
pub fn branch_or_main(text: &str) -> Result<BranchName, grapnel_domain::branch::BranchError> {
    BranchName::parse(if text.is_empty() { "main" } else { text })
}

/// Reads a branch, where none means every one.
pub fn branch_or_all(text: &str) -> Result<Option<BranchName>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut violations = Violations::default();
    let branch = violations.check("branch", BranchName::parse(text));
    violations.finish()?;
    Ok(branch)
}

/// Reads what is to be changed.
pub fn paths(mask: Option<prost_types::FieldMask>) -> Result<Vec<String>, Error> {
    let paths = mask.unwrap_or_default().paths;
    if paths.is_empty() {
        return Err(Error::invalid_field("update_mask", "must name what to change"));
    }
    Ok(paths)
}

/// Notes a name that cannot be changed.
pub fn unknown_path(path: &str, violations: &mut Violations) {
    let shown: String = path.chars().take(50).collect();
    violations.add("update_mask", format!("names `{shown}`, which cannot be changed"));
}
