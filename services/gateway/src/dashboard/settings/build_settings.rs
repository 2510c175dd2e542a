//! The form of a project's build settings. A field that stays empty is found out from the repository, or the operator's.

use grapnel_proto::hooks::v1::{BuildLimits, BuildSettings, CachedPaths, NetworkAccess};

use super::{form::Form, input::Input};
use crate::dashboard::forms::Fields;

/// What can be set, as the service's masks name it.
const PATHS: [&str; 14] = [
    "settings.root_directory",
    "settings.install_command",
    "settings.build_command",
    "settings.output_directory",
    "settings.builder_image",
    "settings.cached_paths",
    "settings.network",
    "settings.submodules",
    "settings.lfs",
    "settings.limits.timeout_seconds",
    "settings.limits.memory_bytes",
    "settings.limits.milli_cpus",
    "settings.limits.disk_bytes",
    "settings.limits.processes",
];

/// What only the scope `admin` may set.
const ROOT: &str = "settings.run_as_root";

const NETWORKS: [(NetworkAccess, &str, &str); 4] = [
    (NetworkAccess::Unspecified, "", "The operator's choice"),
    (NetworkAccess::None, "none", "None: a build reaches nothing but itself"),
    (NetworkAccess::Egress, "egress", "Internet: no private address, no other build"),
    (NetworkAccess::Open, "open", "Open: whatever the host reaches"),
];

const MEBIBYTE: u64 = 1 << 20;

/// Returns the paths that a form changes.
pub fn paths(admin: bool) -> Vec<&'static str> {
    PATHS.into_iter().chain(admin.then_some(ROOT)).collect()
}

/// The fields.
pub struct Inputs {
    pub commands: Vec<Input>,
    pub sources: Vec<Input>,
    pub limits: Vec<Input>,
}

impl Inputs {
    /// Makes them of a form and what is set.
    pub fn of(form: &Form, settings: &BuildSettings, admin: bool) -> Self {
        Self {
            commands: commands(form, settings),
            sources: sources(form, settings, admin),
            limits: limits(form, &settings.limits.unwrap_or_default()),
        }
    }
}

fn commands(form: &Form, settings: &BuildSettings) -> Vec<Input> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let skipped = |value: &Option<String>| value.as_deref() == Some("");
    vec![
        form.text("settings.root_directory", "Root directory", &text(&settings.root_directory))
            .limit(1_000)
            .hint("Where the site lives in the repository, if not at its top."),
        form.text("settings.install_command", "Install command", &text(&settings.install_command))
            .limit(4_096)
            .hint("Nothing: by the lock file."),
        form.check("skip_install", "Skip the install step", skipped(&settings.install_command)),
        form.text("settings.build_command", "Build command", &text(&settings.build_command))
            .limit(4_096)
            .hint("Nothing: the “build” script, where there is one."),
        form.check("skip_build", "Skip the build step", skipped(&settings.build_command)),
        form.text("settings.output_directory", "Output directory", &text(&settings.output_directory))
            .limit(1_000)
            .hint("Nothing: the first of dist, build, out, public, _site, site."),
    ]
}

fn sources(form: &Form, settings: &BuildSettings, admin: bool) -> Vec<Input> {
    let cached = settings.cached_paths.as_ref();
    let network = NETWORKS.iter().find(|(access, ..)| *access == settings.network());
    let networks = NETWORKS.map(|(_, word, called)| (word.to_owned(), called.to_owned())).into();
    let image = settings.builder_image.clone().unwrap_or_default();
    let mut inputs = vec![
        form.text("settings.builder_image", "Builder image", &image)
            .limit(500)
            .hint("Nothing: the installation's."),
        form.area(
            "settings.cached_paths",
            "Cached paths",
            &cached.map_or(String::new(), |it| it.paths.join("\n")),
        )
        .hint("One a line, below the root directory, such as node_modules. Nothing: the usual places."),
        form.check(
            "cache_nothing",
            "Cache only tools’ own caches",
            cached.is_some_and(|it| it.paths.is_empty()),
        ),
        form.choice("settings.network", "Network", network.map_or("", |(_, word, _)| word), networks)
            .hint("No project exceeds what the operator allows."),
        form.check("settings.submodules", "Check out submodules", settings.submodules),
        form.check("settings.lfs", "Fetch files of Git LFS", settings.lfs),
    ];
    if admin {
        inputs.push(
            form.check("settings.run_as_root", "Run builds as the sandbox’s root", settings.run_as_root)
                .hint("Still without any capability. It takes the scope “admin”."),
        );
    }
    inputs
}

fn limits(form: &Form, limits: &BuildLimits) -> Vec<Input> {
    let whole = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let cpus = limits.milli_cpus.map(|milli| (f64::from(milli) / 1_000.0).to_string()).unwrap_or_default();
    let mebibytes = |bytes: Option<u64>| whole(bytes.map(|bytes| bytes / MEBIBYTE));
    vec![
        form.number(
            "settings.limits.timeout_seconds",
            "Time, in seconds",
            &whole(limits.timeout_seconds.map(Into::into)),
        ),
        form.number("settings.limits.memory_bytes", "Memory, in MiB", &mebibytes(limits.memory_bytes)),
        form.number("settings.limits.milli_cpus", "CPUs", &cpus),
        form.number("settings.limits.disk_bytes", "Disk, in MiB", &mebibytes(limits.disk_bytes)),
        form.number("settings.limits.processes", "Processes", &whole(limits.processes.map(Into::into))),
    ]
}

/// Reads a form. What is wrong is the field, and why.
pub fn read(fields: &Fields) -> Result<BuildSettings, (&'static str, &'static str)> {
    let text = |name: &str| Some(fields.get(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    let command =
        |name: &str, skip: &str| if fields.checked(skip) { Some(String::new()) } else { text(name) };
    let network = NETWORKS.iter().find(|(_, word, _)| *word == fields.get("settings.network"));
    Ok(BuildSettings {
        root_directory: text("settings.root_directory"),
        install_command: command("settings.install_command", "skip_install"),
        build_command: command("settings.build_command", "skip_build"),
        output_directory: text("settings.output_directory"),
        builder_image: text("settings.builder_image"),
        limits: Some(read_limits(fields)?),
        cached_paths: read_cached(fields),
        network: network.map_or(0, |(access, ..)| (*access).into()),
        run_as_root: fields.checked("settings.run_as_root"),
        submodules: fields.checked("settings.submodules"),
        lfs: fields.checked("settings.lfs"),
    })
}

fn read_cached(fields: &Fields) -> Option<CachedPaths> {
    if fields.checked("cache_nothing") {
        return Some(CachedPaths::default());
    }
    let lines = fields.get("settings.cached_paths").lines().map(str::trim).filter(|line| !line.is_empty());
    let paths: Vec<_> = lines.map(str::to_owned).collect();
    (!paths.is_empty()).then_some(CachedPaths { paths })
}

fn read_limits(fields: &Fields) -> Result<BuildLimits, (&'static str, &'static str)> {
    let large = |name: &'static str, unit: u64| match fields.get(name) {
        "" => Ok(None),
        text => {
            let number = text.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
            number.map(Some).ok_or((name, "must be a whole number"))
        }
    };
    let small = |name: &'static str| {
        let number = large(name, 1)?.map(u32::try_from).transpose();
        number.map_err(|_| (name, "must be a smaller number"))
    };
    let cpus = match fields.get("settings.limits.milli_cpus") {
        "" => None,
        text => Some(milli(text).ok_or(("settings.limits.milli_cpus", "must be a number such as 1.5"))?),
    };
    Ok(BuildLimits {
        timeout_seconds: small("settings.limits.timeout_seconds")?,
        memory_bytes: large("settings.limits.memory_bytes", MEBIBYTE)?,
        disk_bytes: large("settings.limits.disk_bytes", MEBIBYTE)?,
        milli_cpus: cpus,
        processes: small("settings.limits.processes")?,
        open_files: None,
    })
}

fn milli(text: &str) -> Option<u32> {
    super::hooks::thousandths(text)
}

/// Says what is set, to those who may not change it.
pub fn facts(settings: &BuildSettings) -> Vec<(&'static str, String)> {
    let or = |value: &Option<String>, nothing: &str| match value.as_deref() {
        None => nothing.to_owned(),
        Some("") => "Skipped".to_owned(),
        Some(text) => text.to_owned(),
    };
    vec![
        ("Root directory", or(&settings.root_directory, "The repository’s top")),
        ("Install command", or(&settings.install_command, "By the lock file")),
        ("Build command", or(&settings.build_command, "The “build” script")),
        ("Output directory", or(&settings.output_directory, "Found out")),
        ("Builder image", or(&settings.builder_image, "The installation’s")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_empty_is_not_set_and_a_skipped_step_is_empty() {
        let read = |text: &str| read(&Fields::parse(text.as_bytes()));
        let settings = read("settings.build_command=&settings.install_command=x&skip_install=1").unwrap();
        assert_eq!((settings.build_command, settings.install_command.as_deref()), (None, Some("")));
        assert_eq!(settings.cached_paths, None);
        assert_eq!(read("cache_nothing=1").unwrap().cached_paths, Some(CachedPaths::default()));
        let paths = read("settings.cached_paths=a%0D%0A%0D%0Ab").unwrap().cached_paths.unwrap().paths;
        assert_eq!(paths, ["a", "b"]);
    }

    #[test]
    fn limits_are_typed_in_units_of_people() {
        let read = |text: &str| read_limits(&Fields::parse(text.as_bytes()));
        let limits = read("settings.limits.memory_bytes=512&settings.limits.milli_cpus=1.5").unwrap();
        assert_eq!((limits.memory_bytes, limits.milli_cpus), (Some(512 << 20), Some(1_500)));
        for wrong in
            ["memory_bytes=-1", "memory_bytes=x", "memory_bytes=99999999999999999999", "processes=5000000000"]
        {
            assert!(read(&format!("settings.limits.{wrong}")).is_err(), "{wrong}");
        }
    }
}
