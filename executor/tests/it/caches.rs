//! The build cache over the real engine: what the next build finds, whatever the last one did.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use grapnel_domain::{
    BranchName,
    build::BuildSpec,
    event::{BuildEvent, CacheAction, CacheOutcome, CacheReport, Outcome, Step},
    failure::FailureCode,
    project::RelativePath,
};
use grapnel_executor::{
    cache::{How, Shown, Stack, Storage},
    disk,
    engine::Engine,
};
use sha2::{Digest as _, Sha256};

use crate::site::{Site, entries};

/// Leaves something in the usual places, in a configured one, and in the tools' cache.
pub const FIRST: &str = "mkdir -p node_modules/a node_modules/b public dist \
    && echo one > node_modules/a/index.js && echo two > node_modules/b/index.js && ln -s ../a node_modules/b/a \
    && echo page > public/page && echo tool > /cache/tool";

impl<E: Engine + Clone> Site<E> {
    pub fn running(&self, build: &str) -> BuildSpec {
        let mut spec = self.spec();
        spec.settings.install_command = Some(String::new());
        spec.settings.build_command =
            Some(format!("( {build}\n) && mkdir -p dist && echo site > dist/index.html"));
        spec
    }

    /// Runs a build that has to be READY, and returns what it told of its cache.
    pub async fn ready(&self, spec: &BuildSpec) -> (CacheReport, CacheReport) {
        let (outcome, events) = self.build(spec, |_, _| {}).await;
        assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?} {events:#?}");
        let reports = reports(&events);
        let [restored, kept] = reports.as_slice() else { panic!("{reports:?}") };
        assert_eq!(restored.action, CacheAction::Restored);
        (restored.clone(), kept.clone())
    }

    pub fn caches_directory(&self) -> PathBuf {
        self.directory.path().join("caches")
    }

    /// The digests of everything that the next build of the branch finds.
    pub fn found_by_the_next(&self) -> BTreeMap<String, String> {
        let listed = self.pipeline.caches.list(None);
        let [only] = listed.as_slice() else { panic!("{listed:?}") };
        let layer = |id: &String| self.caches_directory().join("layers").join(id);
        let mut found = BTreeMap::new();
        for (name, layers) in [("workspace", &only.snapshot.workspace), ("tools", &only.snapshot.tools)] {
            let stack = Stack::new(layers.iter().map(|it| layer(&it.id)).collect());
            let into = tempfile::tempdir_in(self.directory.path()).unwrap();
            if let Shown::Directory(places) = stack.find(Path::new("")).unwrap() {
                stack.fill(&places, into.path(), How::Link).unwrap();
            }
            digests(into.path(), name, &mut found);
        }
        found
    }

    /// Makes sure that what lies on the disk is what is listed, and nothing else.
    pub fn nothing_is_orphaned(&self) {
        let listed = self.pipeline.caches.list(None);
        let mut named: Vec<String> = listed.iter().flat_map(|it| it.snapshot.layers().cloned()).collect();
        named.sort();
        named.dedup();
        let names = |below: &str| {
            let mut names: Vec<String> = entries(&self.caches_directory().join(below))
                .iter()
                .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names("layers"), named);
        assert_eq!(names("trash"), Vec::<String>::new());
        assert_eq!(names("snapshots").len(), listed.len());
        let mut names = names("");
        // It says what was purged, to builds that go on when the executor starts again.
        names.retain(|name| name != "purges.json");
        assert_eq!(names, ["layers", "snapshots", "trash"]);
    }
}

pub fn reports(events: &[BuildEvent]) -> Vec<CacheReport> {
    let cache = |event: &BuildEvent| match event {
        BuildEvent::Cache(report) => Some(report.clone()),
        _ => None,
    };
    events.iter().filter_map(cache).collect()
}

pub fn log(events: &[BuildEvent]) -> String {
    let mut log = String::new();
    for event in events {
        if let BuildEvent::Log { lines, .. } = event {
            lines.iter().for_each(|line| log.extend([line.text.as_str(), "\n"]));
        }
    }
    log
}

fn digests(directory: &Path, name: &str, into: &mut BTreeMap<String, String>) {
    for path in entries(directory) {
        let meta = path.symlink_metadata().unwrap();
        let name = format!("{name}/{}", path.file_name().unwrap().to_string_lossy());
        let content = if meta.is_dir() {
            digests(&path, &name, into);
            "directory".to_owned()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().to_string_lossy().into_owned()
        } else if meta.is_file() {
            hex::encode(Sha256::digest(fs::read(&path).unwrap()))
        } else {
            format!("{:?}", meta.file_type().is_char_device())
        };
        into.insert(name, format!("{:o} {} {content}", meta.mode(), meta.uid()));
    }
}

#[tokio::test]
async fn the_next_build_finds_what_the_last_one_left_changed_and_removed() {
    let site = Site::real(|_| {}).await;
    let (restored, kept) = site.ready(&site.running(FIRST)).await;
    assert_eq!((restored.outcome, restored.layers), (CacheOutcome::Miss, 0));
    assert_eq!((kept.action, kept.layers), (CacheAction::Kept, 2), "one of the workspace, one of the tools");
    assert_eq!(kept.bytes, disk::usage(&site.caches_directory().join("layers")).await.unwrap() - 4096);

    let second = "test ! -e public && cat node_modules/a/index.js node_modules/b/a/index.js /cache/tool \
        && rm node_modules/a/index.js && mv node_modules/b node_modules/c && echo three > node_modules/d";
    let (restored, _) = site.ready(&site.running(second)).await;
    assert_eq!((restored.outcome, restored.layers, restored.bytes), (CacheOutcome::Hit, 2, kept.bytes));

    let third = "ls -R node_modules && test -d node_modules/a && test ! -e node_modules/a/index.js && test ! -e node_modules/b \
        && test $(cat node_modules/c/index.js) = two && test $(cat node_modules/d) = three \
        && rm -rf node_modules /cache/tool && mkdir node_modules dist && echo four > node_modules/e \
        && echo site > dist/index.html";
    site.ready(&site.running(third)).await;
    let fourth = "test \"$(ls node_modules)\" = e && test ! -e /cache/tool";
    site.ready(&site.running(fourth)).await;
    site.nothing_is_left().await;
    site.nothing_is_orphaned();
}

#[tokio::test]
async fn a_build_that_is_not_ready_leaves_the_next_one_the_old_snapshot_byte_for_byte() {
    let site = Site::real(|_| {}).await;
    site.ready(&site.running(FIRST)).await;
    let before = site.found_by_the_next();
    assert!(before.contains_key("workspace/node_modules/b/index.js") && before.contains_key("tools/tool"));
    let spoil = "echo spoiled > node_modules/a/index.js; rm -rf node_modules/b /cache/*; \
        chmod 000 node_modules; truncate -s 0 /cache/tool; touch node_modules/x";

    let (outcome, _) = site.build(&site.running(&format!("{spoil}; exit 1")), |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Failed { ref failure } if failure.code == FailureCode::BuildFailed));
    assert_eq!(site.found_by_the_next(), before, "failed");

    let (outcome, _) = site
        .build(&site.running(&format!("{spoil}; echo spoiled all; sleep 1000")), |event, cancel| {
            if log(std::slice::from_ref(event)).contains("spoiled all") {
                cancel.cancel();
            }
        })
        .await;
    assert_eq!(outcome, Outcome::Canceled);
    assert_eq!(site.found_by_the_next(), before, "cancelled");

    let (outcome, _) =
        site.build(&site.running(&format!("{spoil}; mkdir dist; ln -s /etc dist/etc")), |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Failed { ref failure } if failure.code == FailureCode::OutputRefused));
    assert_eq!(site.found_by_the_next(), before, "its output is refused");

    // The next one still builds with it, and is the one that may change it.
    let next = "cat node_modules/a/index.js node_modules/b/index.js /cache/tool && true";
    let (restored, _) = site.ready(&site.running(next)).await;
    assert_eq!(restored.outcome, CacheOutcome::Hit);
    site.nothing_is_left().await;
    site.nothing_is_orphaned();
}

#[tokio::test]
async fn what_we_merge_is_what_the_kernel_shows() {
    let site = Site::real(|_| {}).await;
    // Renames within and across directories, of what lower layers have, over what was there, again and again.
    let steps = [
        "mkdir -p node_modules/{a,b,c}/{x,y}/deep && for d in node_modules/*/*/deep; do echo $d > $d/file; done",
        "mv node_modules/a node_modules/z && mv node_modules/b/x node_modules/c/from-b && rm -r node_modules/c/y",
        "mv node_modules/z/x node_modules/a && mkdir node_modules/b/x && echo new > node_modules/b/x/new",
        "rm -r node_modules/a && mkdir node_modules/a && mv node_modules/c/from-b node_modules/a/again && echo file > node_modules/c/y",
        "mkdir .cache && mv node_modules .cache/old && mkdir node_modules && mv .cache/old/a node_modules/a",
        "touch node_modules/touched && chmod 750 .cache/old && ln -s nowhere .cache/link",
    ];
    for step in steps {
        let list = "cd /workspace && find node_modules .cache -printf '%p %y %m %l\\n' 2>/dev/null | sort; \
            find node_modules .cache -type f 2>/dev/null | sort | xargs -r sha256sum";
        let spec = site.running(&format!("bash -ec '{}' && echo BEGIN && {list}", step.replace('\'', "")));
        let (outcome, events) = site.build(&spec, |_, _| {}).await;
        assert!(matches!(outcome, Outcome::Ready { .. }), "{step}: {outcome:?}\n{}", log(&events));
        let listed = site.pipeline.caches.list(None);
        let layers =
            listed[0].snapshot.workspace.iter().map(|it| site.caches_directory().join("layers").join(&it.id));
        let merged = tempfile::tempdir_in(site.directory.path()).unwrap();
        let stack = Stack::new(layers.collect());
        if let Shown::Directory(places) = stack.find(Path::new("")).unwrap() {
            stack.fill(&places, merged.path(), How::Link).unwrap();
        }
        let ours = std::process::Command::new("sh")
            .args(["-c", &list.replace("cd /workspace", "true")])
            .current_dir(merged.path())
            .output()
            .unwrap();
        let theirs = log(&events);
        let theirs = theirs.split("BEGIN\n").nth(1).unwrap().split("published ").next().unwrap();
        assert_eq!(String::from_utf8_lossy(&ours.stdout), theirs, "{step}");
    }
}

#[tokio::test]
async fn a_build_without_cache_finds_nothing_and_begins_a_new_generation() {
    let site = Site::real(|_| {}).await;
    site.ready(&site.running(FIRST)).await;
    let fresh = "test ! -e node_modules && test ! -e /cache/tool && mkdir -p node_modules dist && echo new > node_modules/new";
    let without = BuildSpec { use_cache: false, ..site.running(fresh) };
    let (restored, kept) = site.ready(&without).await;
    assert_eq!((restored.outcome, kept.action), (CacheOutcome::Off, CacheAction::Kept));
    site.ready(&site.running("test \"$(ls node_modules)\" = new && test ! -e /cache/tool")).await;
    site.nothing_is_orphaned();
}

#[tokio::test]
async fn a_new_branch_starts_from_the_production_branch_and_changes_nothing_of_it() {
    let site = Site::real(|_| {}).await;
    site.ready(&site.running(FIRST)).await;
    let before = site.found_by_the_next();
    let branch = BranchName::parse("feature").unwrap();
    let on_branch =
        |build: &str| BuildSpec { branch: branch.clone(), production: false, ..site.running(build) };
    let spoil = "test -e node_modules/a/index.js && rm -rf node_modules/* && echo ours > node_modules/ours";
    let (restored, _) = site.ready(&on_branch(spoil)).await;
    assert_eq!(restored.outcome, CacheOutcome::Hit);
    assert!(restored.detail.contains("starts from the cache of `main`"), "{}", restored.detail);
    let (restored, _) = site.ready(&on_branch("test \"$(ls node_modules)\" = ours")).await;
    assert!(restored.detail.contains("branch's last READY build"), "{}", restored.detail);
    assert_eq!(site.pipeline.caches.list(None).len(), 2);
    let project = site.project.to_string();
    assert_eq!(site.pipeline.caches.purge(&project, Some("feature")).0, 1);
    site.pipeline.caches.settled().await;
    assert_eq!(site.found_by_the_next(), before);
    site.nothing_is_orphaned();
}

#[tokio::test]
async fn what_the_repository_has_in_a_cached_place_is_the_repositorys() {
    let site = Site::real(|_| {}).await;
    let mut spec =
        site.running("mkdir -p public dist && echo built > public/built && echo hi > dist/index.html");
    spec.settings.cached_paths = Some(vec![RelativePath::parse("public").unwrap()]);
    site.ready(&spec).await;
    site.repository.write("public/own", "own");
    site.repository.commit("Have public");
    site.bring_up_to_date(&mut spec).await;
    spec.settings.build_command = Some("test \"$(ls public)\" = own && echo x > public/x".into());
    let (restored, _) = site.ready(&spec).await;
    assert_eq!(restored.outcome, CacheOutcome::Hit);
    spec.id = site.spec().id;
    site.ready(&spec).await;
}

#[tokio::test]
async fn an_output_in_a_cached_place_is_published_whole() {
    let site = Site::real(|_| {}).await;
    let mut spec = site.running("");
    spec.settings.build_command = Some(
        "mkdir -p public/assets && echo one > public/one && echo a > public/assets/a && echo gone > public/gone".into(),
    );
    spec.settings.cached_paths = Some(vec![RelativePath::parse("public").unwrap()]);
    site.ready(&spec).await;
    spec.id = site.spec().id;
    spec.settings.build_command =
        Some("echo two > public/two && echo b > public/assets/b && rm public/gone".into());
    site.ready(&spec).await;
    let artifact = site.pipeline.artifacts.open(spec.id.deployment).await.unwrap();
    let files: Vec<_> = artifact.files.iter().map(|file| file.path.clone()).collect();
    assert_eq!(files, ["assets/a", "assets/b", "one", "two"]);
    // Also where the build itself has left it as it was.
    spec.id = site.spec().id;
    spec.settings.build_command = Some("true".into());
    site.ready(&spec).await;
    assert_eq!(site.pipeline.artifacts.open(spec.id.deployment).await.unwrap().files.len(), 4);
}

#[tokio::test]
async fn links_that_a_repository_puts_in_the_way_of_a_cached_place_lead_nowhere() {
    for storage in [Storage::Auto, Storage::Copy] {
        let site = Site::real(|config| config.storage = storage).await;
        let mut spec = site.running("mkdir -p vendor/bundle && echo planted > vendor/bundle/file");
        spec.settings.cached_paths = Some(vec![RelativePath::parse("vendor/bundle").unwrap()]);
        site.ready(&spec).await;
        let outside = site.directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, site.directory.path().join("git/site/vendor")).unwrap();
        site.repository.commit("Put a link in the way");
        site.bring_up_to_date(&mut spec).await;
        spec.settings.build_command = Some("mkdir -p dist && echo hi > dist/index.html".into());
        site.build(&spec, |_, _| {}).await;
        assert!(entries(&outside).is_empty(), "{storage:?}");
    }
}

#[tokio::test]
async fn links_in_the_way_of_a_cached_place_lead_nowhere() {
    let site = Site::real(|_| {}).await;
    let mut spec = site.running("mkdir dist && ln -s / vendor && ln -s ../../../../ up && ln -s /etc .cache");
    let paths = ["vendor/etc", "up/caches", ".cache"];
    spec.settings.cached_paths = Some(paths.iter().map(|path| RelativePath::parse(path).unwrap()).collect());
    let (_, kept) = site.ready(&spec).await;
    assert_eq!((kept.action, kept.layers), (CacheAction::Kept, 1));
    assert!(Path::new("/etc/passwd").exists() && site.caches_directory().join("layers").exists());
    assert_eq!(site.found_by_the_next().keys().collect::<Vec<_>>(), ["workspace/.cache"], "the link itself");
}

#[tokio::test]
async fn an_install_that_would_do_nothing_is_left_out_and_said_to_be() {
    let site = Site::real(|_| {}).await;
    site.repository.write("package.json", r#"{"name":"site","scripts":{"build":"mkdir -p dist && ls node_modules && echo hi > dist/index.html"}}"#);
    site.repository
        .write("package-lock.json", r#"{"name":"site","lockfileVersion":3,"packages":{"":{"name":"site"}}}"#);
    // Without any dependency npm makes no directory of its own.
    site.repository.write("before", "");
    site.repository.commit("Use npm");
    let mut spec = site.spec();
    spec.settings.install_command = None;
    spec.settings.build_command = Some("mkdir -p node_modules dist && echo $(ls node_modules | wc -l) > dist/index.html; touch node_modules/x".into());
    let branch = BranchName::parse("main").unwrap();
    let build = async |spec: &mut BuildSpec| {
        let resolved = site
            .pipeline
            .mirrors
            .resolve(
                grapnel_executor::source::Source::new(&spec.repository, &spec.access),
                &branch,
                &grapnel_runtime::CancellationToken::new(),
            )
            .await;
        spec.commit = resolved.unwrap().commit;
        spec.id = site.spec().id;
        let (outcome, events) = site.build(spec, |_, _| {}).await;
        assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?} {}", log(&events));
        let log = log(&events);
        (log.contains("left out"), log.contains("$ npm install"))
    };
    assert_eq!(build(&mut spec).await, (false, true), "nothing is kept yet");
    assert_eq!(build(&mut spec).await, (true, false), "nothing has changed");
    site.repository.write("before", "changed");
    site.repository.commit("Change what npm does not go by");
    assert_eq!(build(&mut spec).await, (true, false), "a text was edited");
    for (file, text) in [
        ("package.json", r#"{"name":"site","description":"another"}"#),
        (
            "package-lock.json",
            r#"{"name":"site","lockfileVersion":3,"packages":{"":{"name":"site","license":"MIT"}}}"#,
        ),
        (".npmrc", "fund=false"),
    ] {
        site.repository.write(file, text);
        site.repository.commit("Change what npm goes by");
        assert_eq!(build(&mut spec).await, (false, true), "{file} has changed");
        assert_eq!(build(&mut spec).await, (true, false), "{file} has not");
    }
    spec.use_cache = false;
    assert_eq!(build(&mut spec).await, (false, true), "nothing is found");
    spec.use_cache = true;
    let emptying = spec
        .settings
        .build_command
        .replace("mkdir -p dist && echo hi > dist/index.html && rm -rf node_modules".into());
    assert_eq!(build(&mut spec).await, (true, false));
    spec.settings.build_command = emptying;
    assert_eq!(build(&mut spec).await, (false, true), "the last build removed what the step had brought");
    let step = |event: &BuildEvent| matches!(event, BuildEvent::StepStarted { step: Step::Install, .. });
    let (_, events) = site.build(&BuildSpec { id: site.spec().id, ..spec.clone() }, |_, _| {}).await;
    assert!(events.iter().any(step), "the step is told of, also when it is left out");
}
