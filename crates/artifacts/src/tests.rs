use std::os::unix::fs::symlink;

use super::*;

const LIMITS: Limits = Limits { bytes: 1 << 20, files: 100 };

struct Fixture {
    _directory: tempfile::TempDir,
    output: PathBuf,
    store: ArtifactStore,
    artifacts: PathBuf,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("dist");
    let artifacts = directory.path().join("artifacts");
    fs::create_dir_all(output.join("assets")).unwrap();
    fs::write(output.join("index.html"), "<h1>hi</h1>").unwrap();
    fs::write(output.join("assets/site.css"), "h1{}").unwrap();
    fs::write(directory.path().join("secret"), "outside").unwrap();
    Fixture { store: ArtifactStore::new(&artifacts), output, artifacts, _directory: directory }
}

fn deployment() -> DeploymentId {
    "dpl_01h455vb4pex5vsknk084sn02q".parse().unwrap()
}

#[test]
fn an_artifact_is_found_by_its_manifest_with_types_and_digests() {
    let f = fixture();
    f.store.publish(deployment(), &f.output, LIMITS, &|| false).unwrap();
    let artifact = f.store.open(deployment()).unwrap();
    let file = artifact.file("assets/site.css").unwrap();
    assert_eq!((file.size, file.content_type.as_str()), (4, "text/css; charset=utf-8"));
    assert_eq!(fs::read(artifact.path_of(file)).unwrap(), b"h1{}");
    assert_eq!(file.digest.len(), 64);
    for outside in ["", "assets", "../secret", "/etc/passwd", "assets/../index.html", "index.html/"] {
        assert!(artifact.file(outside).is_none(), "{outside:?}");
    }
}

#[test]
fn publishing_again_changes_nothing() {
    let f = fixture();
    let first = f.store.publish(deployment(), &f.output, LIMITS, &|| false).unwrap();
    fs::write(f.output.join("index.html"), "other").unwrap();
    assert_eq!(f.store.publish(deployment(), &f.output, LIMITS, &|| false).unwrap(), first);
}

#[test]
fn links_to_files_inside_are_copied_and_links_that_lead_out_are_refused() {
    let f = fixture();
    symlink("index.html", f.output.join("home.html")).unwrap();
    let manifest = f.store.publish(deployment(), &f.output, LIMITS, &|| false).unwrap();
    assert_eq!(manifest.file("home.html").unwrap().digest, manifest.file("index.html").unwrap().digest);
    for target in ["../secret", "/etc/passwd", "nowhere", "assets", "/proc/self/root/etc/passwd"] {
        let f = fixture();
        symlink(target, f.output.join("link")).unwrap();
        let error = f.store.publish(deployment(), &f.output, LIMITS, &|| false).unwrap_err();
        assert!(
            matches!(error, ArtifactError::Refused(Refusal::Link(ref name)) if name == "link"),
            "{target}: {error}"
        );
    }
}

#[test]
fn an_output_that_is_a_link_a_file_or_empty_is_refused() {
    let f = fixture();
    let link = f.output.with_file_name("link");
    symlink("/etc", &link).unwrap();
    for (output, refusal) in [
        (link.clone(), Refusal::NoDirectory),
        (f.output.join("index.html"), Refusal::NoDirectory),
        (f.output.join("missing"), Refusal::NoDirectory),
    ] {
        let error = f.store.publish(deployment(), &output, LIMITS, &|| false).unwrap_err();
        assert!(matches!(error, ArtifactError::Refused(ref r) if *r == refusal), "{error}");
    }
    let empty = f.output.join("empty");
    fs::create_dir(&empty).unwrap();
    let error = f.store.publish(deployment(), &empty, LIMITS, &|| false).unwrap_err();
    assert!(matches!(error, ArtifactError::Refused(Refusal::Empty)), "{error}");
}

#[test]
fn size_count_and_kind_are_limited_and_nothing_is_left_behind() {
    let refused = |prepare: &dyn Fn(&Path)| {
        let f = fixture();
        prepare(&f.output);
        let error = f.store.publish(deployment(), &f.output, LIMITS, &|| false).unwrap_err();
        assert_eq!(fs::read_dir(&f.artifacts).unwrap().count(), 0, "something is left behind");
        match error {
            ArtifactError::Refused(refusal) => refusal,
            other => panic!("{other}"),
        }
    };
    let sparse = |output: &Path| {
        fs::File::create(output.join("big")).unwrap().set_len(1 << 40).unwrap();
    };
    assert_eq!(refused(&sparse), Refusal::TooLarge(LIMITS.bytes));
    let many = |output: &Path| (0..200).for_each(|n| fs::write(output.join(n.to_string()), "").unwrap());
    assert_eq!(refused(&many), Refusal::TooMany(LIMITS.files));
    let pipe = |output: &Path| {
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, output.join("pipe"), kind, mode, 0).unwrap();
    };
    assert_eq!(refused(&pipe), Refusal::Special("pipe".into()));
    let name = |output: &Path| fs::write(output.join("a\nb"), "").unwrap();
    assert_eq!(refused(&name), Refusal::Name("a\\nb".into()));
}

#[test]
fn what_a_dead_publisher_left_is_swept_and_never_seen() {
    let f = fixture();
    let staging = f.artifacts.join(format!(".{}.staging", deployment()));
    fs::create_dir_all(staging.join("files")).unwrap();
    assert!(matches!(f.store.open(deployment()), Err(ArtifactError::NotFound(_))));
    f.store.sweep().unwrap();
    assert!(!staging.exists());
}

#[test]
fn what_is_published_is_listed_in_order_and_nothing_else_is() {
    let f = fixture();
    assert_eq!(f.store.list().unwrap(), [], "there is no directory yet");
    let (first, second) = (deployment(), "dpl_01h455vb4pex5vsknk084sn02r".parse().unwrap());
    for id in [second, first] {
        f.store.publish(id, &f.output, LIMITS, &|| false).unwrap();
    }
    fs::create_dir(f.artifacts.join(format!(".{first}.staging"))).unwrap();
    fs::create_dir(f.artifacts.join("lost+found")).unwrap();
    let listed =
        |store: &ArtifactStore| store.list().unwrap().into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(listed(&f.store), [first, second]);
    f.store.remove(first).unwrap();
    assert_eq!(listed(&f.store), [second]);
}
