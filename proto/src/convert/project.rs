//! Build settings.

use grapnel_domain::{
    build::LimitWishes,
    project::{BuildSettings, CACHED_PATHS_LIMIT, NetworkAccess, RelativePath},
};

use super::Violations;
use crate::hooks::v1 as wire;

/// The most bytes of a command.
const COMMAND_LIMIT: usize = 4096;

/// Writes build settings.
pub fn settings_to_wire(settings: &BuildSettings) -> wire::BuildSettings {
    let path = |path: &Option<RelativePath>| path.as_ref().map(|path| path.as_str().to_owned());
    wire::BuildSettings {
        root_directory: path(&settings.root_directory),
        install_command: settings.install_command.clone(),
        build_command: settings.build_command.clone(),
        output_directory: path(&settings.output_directory),
        builder_image: settings.builder_image.clone(),
        limits: Some(wire::BuildLimits {
            timeout_seconds: settings.limits.timeout_seconds,
            memory_bytes: settings.limits.memory_bytes,
            disk_bytes: settings.limits.disk_bytes,
            milli_cpus: settings.limits.milli_cpus,
            processes: settings.limits.processes,
            open_files: settings.limits.open_files,
        }),
        cached_paths: settings.cached_paths.as_ref().map(|paths| wire::CachedPaths {
            paths: paths.iter().map(|path| path.as_str().to_owned()).collect(),
        }),
        network: network_to_wire(settings.network).into(),
        run_as_root: settings.run_as_root,
        submodules: settings.submodules,
        lfs: settings.lfs,
    }
}

/// Reads build settings; `field` is what the request calls them.
pub fn settings_from_wire(
    field: &str,
    settings: Option<wire::BuildSettings>,
    violations: &mut Violations,
) -> BuildSettings {
    let settings = settings.unwrap_or_default();
    BuildSettings {
        root_directory: path(&format!("{field}.root_directory"), settings.root_directory, violations),
        install_command: command(&format!("{field}.install_command"), settings.install_command, violations),
        build_command: command(&format!("{field}.build_command"), settings.build_command, violations),
        output_directory: path(&format!("{field}.output_directory"), settings.output_directory, violations),
        builder_image: image(&format!("{field}.builder_image"), settings.builder_image, violations),
        limits: limits(&format!("{field}.limits"), settings.limits.unwrap_or_default(), violations),
        cached_paths: cached_paths(&format!("{field}.cached_paths"), settings.cached_paths, violations),
        network: network(&format!("{field}.network"), settings.network, violations),
        run_as_root: settings.run_as_root,
        submodules: settings.submodules,
        lfs: settings.lfs,
    }
}

fn limits(field: &str, limits: wire::BuildLimits, violations: &mut Violations) -> LimitWishes {
    let field = |name: &str| format!("{field}.{name}");
    LimitWishes {
        timeout_seconds: at_least(&field("timeout_seconds"), 1, limits.timeout_seconds, violations),
        // The engine refuses less memory than this.
        memory_bytes: at_least(&field("memory_bytes"), 6 << 20, limits.memory_bytes, violations),
        disk_bytes: at_least(&field("disk_bytes"), 1 << 20, limits.disk_bytes, violations),
        milli_cpus: at_least(&field("milli_cpus"), 10, limits.milli_cpus, violations),
        // The runner, a shell, and a little more.
        processes: at_least(&field("processes"), 8, limits.processes, violations),
        open_files: at_least(&field("open_files"), 64, limits.open_files, violations),
    }
}

fn cached_paths(
    field: &str,
    paths: Option<wire::CachedPaths>,
    violations: &mut Violations,
) -> Option<Vec<RelativePath>> {
    let paths = paths?.paths;
    if paths.len() > CACHED_PATHS_LIMIT {
        violations.add(field, format!("must name at most {CACHED_PATHS_LIMIT} paths"));
        return None;
    }
    let read = paths.iter().filter_map(|text| {
        let path = violations.check(field, RelativePath::parse(text))?;
        if path.as_str() == "." || path.as_str().split('/').any(|part| part.eq_ignore_ascii_case(".git")) {
            violations
                .add(field, format!("`{path}` cannot be cached: name directories inside, not git's own"));
            return None;
        }
        Some(path)
    });
    Some(read.collect())
}

fn network_to_wire(network: Option<NetworkAccess>) -> wire::NetworkAccess {
    match network {
        None => wire::NetworkAccess::Unspecified,
        Some(NetworkAccess::None) => wire::NetworkAccess::None,
        Some(NetworkAccess::Egress) => wire::NetworkAccess::Egress,
        Some(NetworkAccess::Open) => wire::NetworkAccess::Open,
    }
}

fn network(field: &str, number: i32, violations: &mut Violations) -> Option<NetworkAccess> {
    match wire::NetworkAccess::try_from(number) {
        Ok(wire::NetworkAccess::Unspecified) => None,
        Ok(wire::NetworkAccess::None) => Some(NetworkAccess::None),
        Ok(wire::NetworkAccess::Egress) => Some(NetworkAccess::Egress),
        Ok(wire::NetworkAccess::Open) => Some(NetworkAccess::Open),
        Err(_) => {
            violations.add(field, "must be one of NONE, EGRESS and OPEN");
            None
        }
    }
}

fn path(field: &str, text: Option<String>, violations: &mut Violations) -> Option<RelativePath> {
    text.and_then(|text| violations.check(field, RelativePath::parse(&text)))
}

fn command(field: &str, text: Option<String>, violations: &mut Violations) -> Option<String> {
    let text = text?;
    if text.len() > COMMAND_LIMIT || text.contains('\0') {
        violations.add(field, format!("must have at most {COMMAND_LIMIT} bytes and no NUL"));
        return None;
    }
    Some(text)
}

/// Image references as the engines read them, without the right to be taken for an option.
fn image(field: &str, text: Option<String>, violations: &mut Violations) -> Option<String> {
    let text = text?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
    let begins_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !begins_well || text.len() > 255 || !text.bytes().all(allowed) {
        violations.add(field, "must be an image's name, such as `debian:bookworm-slim`");
        return None;
    }
    Some(text)
}

fn at_least<T>(field: &str, least: T, value: Option<T>, violations: &mut Violations) -> Option<T>
where
    T: PartialOrd + Copy + std::fmt::Display,
{
    let value = value?;
    if value < least {
        violations.add(field, format!("must be at least {least}"));
        return None;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_the_wire() {
        let settings = BuildSettings {
            root_directory: RelativePath::parse("packages/site").ok(),
            install_command: Some(String::new()),
            build_command: Some("npm run build".into()),
            output_directory: RelativePath::parse("dist").ok(),
            builder_image: Some("registry.local:5000/team/node@sha256:00".into()),
            limits: LimitWishes {
                timeout_seconds: Some(60),
                memory_bytes: Some(1 << 30),
                open_files: Some(256),
                ..LimitWishes::default()
            },
            cached_paths: Some(vec![RelativePath::parse("public").unwrap()]),
            network: Some(NetworkAccess::None),
            run_as_root: true,
            submodules: true,
            lfs: true,
        };
        let mut violations = Violations::default();
        let read = settings_from_wire("settings", Some(settings_to_wire(&settings)), &mut violations);
        violations.finish().unwrap();
        assert_eq!(read, settings);
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let mut violations = Violations::default();
        let wrong = wire::BuildSettings {
            root_directory: Some("../up".into()),
            install_command: Some("a\0b".into()),
            build_command: Some("x".repeat(5000)),
            output_directory: Some("/etc".into()),
            builder_image: Some("--privileged".into()),
            limits: Some(wire::BuildLimits {
                timeout_seconds: Some(0),
                memory_bytes: Some(1),
                disk_bytes: Some(1),
                milli_cpus: Some(1),
                processes: Some(1),
                open_files: Some(1),
            }),
            cached_paths: Some(wire::CachedPaths { paths: vec!["..".into(), "a/.GIT".into(), ".".into()] }),
            network: 9,
            run_as_root: false,
            submodules: false,
            lfs: false,
        };
        settings_from_wire("settings", Some(wrong), &mut violations);
        let error = violations.finish().unwrap_err();
        let fields: Vec<_> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        insta::assert_snapshot!(fields.join("\n"), @r"
        settings.root_directory
        settings.install_command
        settings.build_command
        settings.output_directory
        settings.builder_image
        settings.limits.timeout_seconds
        settings.limits.memory_bytes
        settings.limits.disk_bytes
        settings.limits.milli_cpus
        settings.limits.processes
        settings.limits.open_files
        settings.cached_paths
        settings.cached_paths
        settings.cached_paths
        settings.network
        ");
    }
}
