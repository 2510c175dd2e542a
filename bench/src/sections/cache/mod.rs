//! The build cache beside what a user would do instead.
//!
//! Restoring is: choosing the snapshot, making the volumes, mounting them with the options that the engine gets, and
//! looking at the first and the last file. Saving is: taking what the build has changed into a new layer and replacing
//! the snapshot. Beside it, `tar` and `tar` with zstd restore and save the same tree, and `cp -a` copies it.

mod tree;

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use grapnel_domain::{
    BranchName, RepositoryUrl,
    build::{AttemptId, BuildSpec},
    event::{CacheAction, CacheOutcome},
    project::BuildSettings,
    source::SourceAccess,
};
use grapnel_executor::{
    cache::{Build, CacheConfig, Caches, Storage},
    engine::{Engine, MountSource, docker::DockerEngine},
    workspace::Workspace,
};
use grapnel_runtime::Clock;

use super::Form;
use crate::{
    load::ms,
    report::{Cell, Curve, Plot, Section, Table},
};

const IMAGE: &str = "grapnel/builder:latest";

/// So many builds, the last ones, do not wait until what is done beside builds is done.
const CROWDED: usize = 10;

const GRAPNEL: &str = "grapnel";
const ZSTD: &str = "tar + zstd";

struct Figure {
    name: String,
    restore: Duration,
    save: Duration,
}

const TEXT: &str = "\
Restore and save of a tree like a `node_modules`, with nothing evicted and the page cache warm. A build of Grapnel's changes
one file. Restoring is choosing the snapshot, making the volumes, mounting them with the options that the engine gets, and
looking at the first and the last file; saving is taking what the build has changed into a new layer and replacing the
snapshot. Beside it, `tar`, `tar` with zstd on all cores and `cp -a` restore and save the same tree.";

/// Files and bytes of a tree.
type Size = (usize, u64);

/// Measures trees of several sizes.
///
/// # Errors
/// The engine mounts no overlays, or the disk is full.
pub async fn measure(form: Form) -> Result<Section> {
    let sizes: &[Size] =
        form.pick(&[(1_000, 30 << 20)], &[(1_000, 30 << 20), (30_000, 1 << 30), (200_000, 2 << 30)]);
    let (mut rows, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for (files, bytes) in sizes {
        let figures = measure_tree(*files, *bytes, form).await?;
        let own = figures.first().map_or(1.0, |it| ms(it.restore + it.save));
        for it in figures {
            let both = ms(it.restore + it.save);
            match it.name.as_str() {
                GRAPNEL => ours.push((*files as f64, both)),
                ZSTD => theirs.push((*files as f64, both)),
                _ => {}
            }
            rows.push(vec![
                Cell::from(format!("{files} files, {} MiB: {}", bytes >> 20, it.name)),
                Cell::figure(ms(it.restore), 1),
                Cell::figure(ms(it.save), 1),
                Cell::figure(both, 1),
                Cell::figure(both / own, 1),
            ]);
        }
    }
    let curve = |name: &str, points| Curve { name: name.to_owned(), points };
    let curves = Some(Plot {
        file: "cache".to_owned(),
        title: "Restoring and saving a cache".to_owned(),
        x: "files".to_owned(),
        y: "milliseconds".to_owned(),
        curves: vec![curve(GRAPNEL, ours), curve(ZSTD, theirs)],
    });
    let columns = ["how", "restore, ms", "save, ms", "both, ms", "times grapnel's"].map(str::to_owned);
    Ok(Section {
        name: "cache",
        title: "The build cache".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![Table { caption: String::new(), columns: columns.to_vec(), rows }],
        plots: curves.into_iter().filter(|_| sizes.len() > 1).collect(),
        goals: Vec::new(),
    })
}

async fn measure_tree(files: usize, bytes: u64, form: Form) -> Result<Vec<Figure>> {
    let directory = tempfile::Builder::new().prefix("grapnel-bench-").tempdir_in(std::env::temp_dir())?;
    let root = directory.path();
    let original = root.join("tree/node_modules");
    tree::make(&original, files, bytes)?;
    // Builds in a row; what is told is the median, and the slowest.
    let builds = form.pick(20, 50);
    let mut figures = grapnel(root, &original, builds).await?;
    for (name, pack, unpack) in [
        ("tar", "tar -cf ../saved node_modules", "tar -xf ../saved"),
        (ZSTD, "tar -I 'zstd -T0 -1' -cf ../saved node_modules", "tar -I zstd -xf ../saved"),
        ("cp -a", "cp -a node_modules ../saved", "cp -a ../saved node_modules"),
    ] {
        figures.push(beside(root, name, pack, unpack)?);
    }
    Ok(figures)
}

/// Builds that each find the cache and change a little of it.
async fn grapnel(root: &Path, original: &Path, builds: usize) -> Result<Vec<Figure>> {
    let engine: Arc<dyn Engine> = Arc::new(DockerEngine::new("/var/run/docker.sock"));
    let clock = Clock::system();
    let config = CacheConfig {
        directory: root.join("caches"),
        executor: format!("bench-{}", std::process::id()),
        probe_image: IMAGE.to_owned(),
        storage: Storage::Auto,
        key_bytes: u64::MAX,
        max_age: Duration::from_secs(3600),
        total_bytes: u64::MAX,
        shared: None,
    };
    let caches = Caches::open(config, engine.clone(), clock.clone())?;
    ensure!(caches.overlays().await?.is_ok(), "the engine mounts no overlays here");
    let project = clock.new_id();
    let (mut restores, mut saves) = (Vec::new(), Vec::new());
    for round in 0..=builds {
        let id = AttemptId { deployment: clock.new_id(), attempt: 1 };
        let spec = spec(id, project)?;
        let workspace = Workspace::create(root.join("workspaces").join(id.to_string()), (0, 0), &[])?;
        let build = Build { spec: &spec, image_name: IMAGE, image_id: "sha256:bench", owner: (0, 0) };
        let begun = Instant::now();
        let prepared = caches.prepare(&build, &workspace, None, None).await?;
        if round == 0 {
            ensure!(prepared.report.outcome == CacheOutcome::Miss, "nothing is kept at first");
            std::fs::rename(original, workspace.tree().join("node_modules")).context("the first build")?;
        } else {
            ensure!(matches!(prepared.workspace, MountSource::Volume(_)), "it is mounted");
            let prepared_in = begun.elapsed();
            // Asking the engine what it was told is the measurement's own, and not counted.
            let options = mount_options(&prepared.workspace)?;
            let merged = root.join("merged");
            std::fs::create_dir_all(&merged)?;
            let begun = Instant::now();
            run("mount", &["-t", "overlay", "overlay", "-o", &options, &merged.to_string_lossy()], root)?;
            tree::touch_ends(&merged.join("node_modules"))?;
            restores.push(prepared_in + begun.elapsed());
            std::fs::write(merged.join("node_modules").join(format!("built-{round}")), "changed")?;
            run("umount", &[&merged.to_string_lossy()], root)?;
        }
        let begun = Instant::now();
        let kept = caches.keep(&prepared, &workspace, None);
        if round > 0 {
            saves.push(begun.elapsed());
        }
        ensure!(kept.action == CacheAction::Kept, "{kept:?}");
        caches.release(prepared).await;
        workspace.remove().await;
        // Builds take seconds, and merging layers is done by then; the last ten come too fast for it.
        if round <= builds - CROWDED {
            caches.settled().await;
        }
    }
    caches.settled().await;
    // The tree goes back to where the others look for it.
    let last = caches.list(None).into_iter().next().context("it is kept")?;
    let layers: Vec<_> =
        last.snapshot.workspace.iter().map(|it| root.join("caches/layers").join(&it.id)).collect();
    let stack = grapnel_executor::cache::Stack::new(layers);
    let found = stack.find(Path::new("node_modules"))?;
    stack.materialise(&found, original, grapnel_executor::cache::How::Copy)?;
    let (quiet, crowded) = (..builds - CROWDED, builds - CROWDED..);
    let middle = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let worst = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    let figure = |name: &str, restore, save| Figure { name: name.to_owned(), restore, save };
    Ok(vec![
        figure(GRAPNEL, middle(&restores[quiet]), middle(&saves[quiet])),
        figure("grapnel, the slowest", worst(&restores[quiet]), worst(&saves[quiet])),
        figure(
            "grapnel, while layers are merged",
            middle(&restores[crowded.clone()]),
            middle(&saves[crowded]),
        ),
    ])
}

/// Returns the options with which the engine mounts a volume when it starts a container.
fn mount_options(source: &MountSource) -> Result<String> {
    let MountSource::Volume(name) = source else { anyhow::bail!("it is no volume") };
    let asked =
        Command::new("docker").args(["volume", "inspect", "--format", "{{.Options.o}}", name]).output()?;
    Ok(String::from_utf8(asked.stdout)?.trim().to_owned())
}

fn beside(root: &Path, name: &str, pack: &str, unpack: &str) -> Result<Figure> {
    let tree = root.join("tree");
    let begun = Instant::now();
    run("sh", &["-ec", pack], &tree)?;
    let save = begun.elapsed();
    let restored = root.join("restored");
    std::fs::create_dir(&restored)?;
    let begun = Instant::now();
    run("sh", &["-ec", unpack], &restored)?;
    tree::touch_ends(&restored.join("node_modules"))?;
    let restore = begun.elapsed();
    run("rm", &["-rf", "saved", "restored"], root)?;
    Ok(Figure { name: name.to_owned(), restore, save })
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> Result<()> {
    let status = Command::new(program).args(arguments).current_dir(directory).status()?;
    ensure!(status.success(), "{program} {arguments:?} failed: {status}");
    Ok(())
}

fn spec(id: AttemptId, project_id: grapnel_domain::id::ProjectId) -> Result<BuildSpec> {
    Ok(BuildSpec {
        id,
        project_id,
        project_name: "bench".parse()?,
        repository: RepositoryUrl::parse("https://example.org/bench.git")?,
        branch: BranchName::parse("main")?,
        commit: "0".repeat(40),
        commit_message: String::new(),
        production: true,
        hook: None,
        trigger_count: 1,
        title: String::new(),
        body: Vec::new(),
        use_cache: true,
        settings: BuildSettings::default(),
        variables: Vec::new(),
        access: SourceAccess::default(),
    })
}
