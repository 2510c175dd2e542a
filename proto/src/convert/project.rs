//! Build settings.

use grapnel_domain::{
    build::LimitWishes,
    project::{BuildSettings, RelativePath},
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
        }),
    }
}

/// Reads build settings; `field` is what the request calls them.
pub fn settings_from_wire(
    field: &str,
    settings: Option<wire::BuildSettings>,
    violations: &mut Violations,
) -> BuildSettings {
    let settings = settings.unwrap_or_default();
    let limits = settings.limits.unwrap_or_default();
    BuildSettings {
        root_directory: path(&format!("{field}.root_directory"), settings.root_directory, violations),
        install_command: command(&format!("{field}.install_command"), settings.install_command, violations),
        build_command: command(&format!("{field}.build_command"), settings.build_command, violations),
        output_directory: path(&format!("{field}.output_directory"), settings.output_directory, violations),
        builder_image: image(&format!("{field}.builder_image"), settings.builder_image, violations),
        limits: LimitWishes {
            timeout_seconds: at_least(
                &format!("{field}.limits.timeout_seconds"),
                1,
                limits.timeout_seconds,
                violations,
            ),
            // The engine refuses less memory than this.
            memory_bytes: at_least(
                &format!("{field}.limits.memory_bytes"),
                6 << 20,
                limits.memory_bytes,
                violations,
            ),
            disk_bytes: at_least(
                &format!("{field}.limits.disk_bytes"),
                1 << 20,
                limits.disk_bytes,
                violations,
            ),
        },
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
            limits: LimitWishes { timeout_seconds: Some(60), memory_bytes: Some(1 << 30), disk_bytes: None },
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
            }),
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
        ");
    }
}
