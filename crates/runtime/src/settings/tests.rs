use super::*;

const TABLE: &[Setting] = &[
    Setting::new("hooks.listen", "127.0.0.1:7301", "Where."),
    Setting::new("build.timeout", "30m", "How long."),
    Setting::new("build.memory", "2GiB", "How much."),
    Setting::new("git.dirs", "", "Which."),
    Setting::secret("gateway_key", "none", "Which key."),
];

fn sources(flags: &[(&str, &str)], env: &[(&str, &str)]) -> Sources {
    let map =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Sources { flags: map(flags), env: map(env), file: None }
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("grapnel.toml");
    std::fs::write(&file, "[hooks]\nlisten = \"file:3\"\n[build]\nmemory = \"1MiB\"\n").unwrap();
    let read = |flags: &[(&str, &str)], env: &[(&str, &str)], file: Option<&PathBuf>| {
        let sources = Sources { file: file.cloned(), ..sources(flags, env) };
        Settings::load(&[TABLE], &sources).get::<String>("hooks.listen").unwrap()
    };
    let (flag, env) = ([("hooks-listen", "flag:1")], [("GRAPNEL_HOOKS_LISTEN", "env:2")]);
    assert_eq!(read(&flag, &env, Some(&file)), "flag:1");
    assert_eq!(read(&[], &env, Some(&file)), "env:2");
    assert_eq!(read(&[], &[], Some(&file)), "file:3");
    assert_eq!(read(&[], &[], None), "127.0.0.1:7301");
}

#[test]
fn every_complaint_is_told_at_once_and_no_secret_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("grapnel.toml");
    std::fs::write(&file, "[build]\ntimeot = \"1m\"\n").unwrap();
    let env = [
        ("GRAPNEL_BUILD_TIMEOUT", "soon"),
        ("GRAPNEL_HOOKS_LISTE", "x"),
        ("GRAPNEL_GATEWAY_KEY", "hunter2"),
        ("GRAPNEL_KEY", "the command line's own"),
    ];
    let sources = Sources { file: Some(file), ..sources(&[("build-memory", "much")], &env) };
    let mut settings = Settings::load(&[TABLE], &sources);
    settings.duration("build.timeout");
    settings.bytes("build.memory");
    shared::service_key(&mut settings, "gateway_key");
    let text =
        settings.finish().unwrap_err().to_string().replace(&*directory.path().to_string_lossy(), "DIR");
    insta::assert_snapshot!(text);
    assert!(!text.contains("hunter2"));
}

#[test]
fn a_secret_can_come_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "12345\n").unwrap();
    let sources = sources(&[], &[("GRAPNEL_GATEWAY_KEY_FILE", file.to_str().unwrap())]);
    let mut settings = Settings::load(&[TABLE], &sources);
    let secret = settings.secret("gateway_key").unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&secret), "12345");
    settings.finish().unwrap();
}

#[test]
fn units_are_read() {
    let env = [("GRAPNEL_BUILD_TIMEOUT", "90s"), ("GRAPNEL_GIT_DIRS", "/a:/b")];
    let mut settings = Settings::load(&[TABLE], &sources(&[], &env));
    assert_eq!(settings.duration("build.timeout"), Duration::from_secs(90));
    assert_eq!(settings.bytes("build.memory"), 2 << 30);
    assert_eq!(settings.directories("git.dirs"), [PathBuf::from("/a"), PathBuf::from("/b")]);
    settings.finish().unwrap();
}

#[test]
fn a_configuration_file_that_is_named_has_to_be_there() {
    let sources = Sources { file: Some("/nowhere/grapnel.toml".into()), ..Sources::default() };
    let error = Settings::load(&[TABLE], &sources).finish().unwrap_err();
    assert!(error.to_string().contains("/nowhere/grapnel.toml: cannot be read"), "{error}");
}
