//! Putting a cache in place for a build.

use std::{fs, path::Path, time::Instant};

use chrono::{DateTime, Utc};
use grapnel_domain::{
    build::BuildSpec,
    event::{CacheAction, CacheOutcome, CacheReport},
    project::DEFAULT_CACHED_PATHS,
};
use grapnel_runtime::crash_point;
use serde::{Deserialize, Serialize};

use super::{
    CacheError, Caches, How, Key, MountPoints, Shown, Snapshot, Stack,
    index::{InUse, Index},
    layer, parent, report,
    stack::make_opaque,
};
use crate::{engine::MountSource, workspace::Workspace};

/// What a cache is put in place for.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    /// The build.
    pub spec: &'a BuildSpec,
    /// The builder image's name.
    pub image_name: &'a str,
    /// The builder image's content-addressed id.
    pub image_id: &'a str,
    /// The user and group of its files.
    pub owner: (u32, u32),
}

/// A cache that is in place. Its layers stay for as long as this is held; what was read back from a text holds nothing
/// until [`Caches::adopt`] has taken it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// What is told about it.
    pub report: CacheReport,
    /// What is mounted as the workspace.
    pub workspace: MountSource,
    /// What is mounted for the tools' own caches.
    pub tools: MountSource,
    /// What the install step was given when the snapshot was made; none where it has to run.
    pub installed: Option<String>,
    pub(super) base: Snapshot,
    /// Which snapshot it is of.
    #[serde(default)]
    found: Option<Found>,
    /// The cached paths that the repository has no files in.
    pub(super) kept: Vec<String>,
    /// Whether the build works on a copy of the layers in place of above them.
    pub(super) copied: bool,
    /// When it began, on the index's counter of purges.
    pub(super) began: u64,
    pub(super) volumes: Vec<String>,
    /// The places that it was put in, where there are some.
    #[serde(skip)]
    pub(super) points: Option<MountPoints>,
    #[serde(skip)]
    in_use: InUse,
}

/// One generation of a snapshot: what it says never changes, whatever its layers are merged into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    key: Key,
    generation: u64,
    made_at: DateTime<Utc>,
}

impl Found {
    fn of(snapshot: &Snapshot) -> Self {
        Self { key: snapshot.key.clone(), generation: snapshot.generation, made_at: snapshot.made_at }
    }
}

impl Caches {
    /// Puts the cache of a build in place: its branch's, else the production branch's, else an empty one. The checkout
    /// has to be there, and nothing may run in the workspace yet, which a sandbox may have mounted already by way of `points`.
    /// What there is to tell of a [`Fetching`](super::Fetching) is told with it. [`Caches::release`] gives back what this
    /// makes in the engine, and the places; where it fails it leaves nothing.
    ///
    /// # Errors
    /// The disk or the engine fails.
    pub async fn prepare(
        &self,
        build: &Build<'_>,
        workspace: &Workspace,
        points: Option<MountPoints>,
        fetched: Option<String>,
    ) -> Result<Prepared, CacheError> {
        let began = Instant::now();
        let mut prepared = self.choose(build, workspace);
        if let Some(fetched) = fetched {
            prepared.report.detail.extend(["; ", &fetched]);
        }
        prepared.volumes = points.iter().flat_map(MountPoints::names).cloned().collect();
        prepared.points = points;
        if let Err(error) = self.put_in_place(&mut prepared, build, workspace).await {
            self.release(prepared).await;
            return Err(error);
        }
        prepared.report.took = began.elapsed();
        crash_point("cache.prepared");
        Ok(prepared)
    }

    async fn put_in_place(
        &self,
        prepared: &mut Prepared,
        build: &Build<'_>,
        workspace: &Workspace,
    ) -> Result<(), CacheError> {
        prepared.copied = self.overlays().await?.is_err();
        self.set_aside_what_the_repository_has(prepared, workspace)?;
        let owner = build.owner;
        fs::create_dir_all(workspace.tools())?;
        std::os::unix::fs::chown(workspace.tools(), Some(owner.0), Some(owner.1))?;
        if prepared.copied {
            self.copy(prepared, workspace).await?;
        }
        self.mount(prepared, build.spec.id, workspace).await
    }

    /// Brings what was put in place ahead of its build up to the moment in which that begins. Tells whether it is what the
    /// build would find now; where it is not it can only be released.
    pub fn renew(&self, prepared: &mut Prepared, build: &Build<'_>) -> bool {
        let began = Instant::now();
        let root = root_of(build.spec);
        let key = key_of(build, root);
        let now = self.clock.now();
        let mut index = self.index();
        let (found, outcome, detail) =
            find(&index, &key, build.spec.use_cache, &cached_paths(build.spec, root));
        let base = &prepared.base;
        let same = base.key == key && base.production == build.spec.production;
        if !same || found.as_ref().map(Found::of) != prepared.found {
            return false;
        }
        if let Some(found) = &found {
            self.touch(&mut index, found, now);
        }
        prepared.began = index.now();
        prepared.report.outcome = outcome;
        prepared.report.detail = detail;
        prepared.report.took = began.elapsed();
        true
    }

    /// Takes over what another process has put in place.
    pub fn adopt(&self, prepared: Prepared) -> Prepared {
        let in_use = self.index().use_layers(prepared.base.layers());
        Prepared { in_use, ..prepared }
    }

    /// Gives back what [`Caches::prepare`] made in the engine. The sandbox has to be removed already.
    pub async fn release(&self, prepared: Prepared) {
        self.remove_volumes(&prepared.volumes).await;
        self.release_layers(prepared);
    }

    /// Returns the places that a cache was put in; they are the caller's.
    pub(super) fn release_layers(&self, prepared: Prepared) -> Option<MountPoints> {
        let Prepared { base, in_use, points, .. } = prepared;
        drop(in_use);
        let free = self.index().unused(base.layers());
        self.throw_away(free);
        points
    }

    /// Decides which snapshot a build starts from.
    fn choose(&self, build: &Build<'_>, workspace: &Workspace) -> Prepared {
        let spec = build.spec;
        let root = root_of(spec);
        let key = key_of(build, root);
        let paths = cached_paths(spec, root);
        let now = self.clock.now();
        let mut index = self.index();
        let (found, outcome, detail) = find(&index, &key, spec.use_cache, &paths);
        if let Some(found) = &found {
            self.touch(&mut index, found, now);
        }
        let empty = Snapshot::empty(key.clone(), build.image_name, spec.production, &paths, now);
        let told = CacheReport {
            action: CacheAction::Restored,
            outcome,
            key: key.hash(),
            detail,
            layers: 0,
            bytes: 0,
            took: std::time::Duration::ZERO,
        };
        let base = match &found {
            Some(found) => {
                Snapshot { workspace: found.workspace.clone(), tools: found.tools.clone(), ..empty }
            }
            None => empty,
        };
        Prepared {
            report: report(told, found.as_ref()),
            found: found.as_ref().map(Found::of),
            workspace: MountSource::Host(workspace.tree()),
            tools: MountSource::Host(workspace.tools()),
            installed: found.and_then(|found| found.install),
            in_use: index.use_layers(base.layers()),
            began: index.now(),
            kept: paths,
            base,
            copied: false,
            volumes: Vec::new(),
            points: None,
        }
    }

    /// Notes that a snapshot is used now.
    fn touch(&self, index: &mut Index, found: &Snapshot, now: DateTime<Utc>) {
        index.touch(&found.key, now);
        let file = fs::File::open(self.snapshot_path(&found.key.hash()));
        // Only the order in which caches go away depends on it.
        let _ = file.and_then(|file| file.set_modified(now.into()));
    }

    /// What the repository itself has is the repository's: it is neither kept nor mixed with what an older build left.
    fn set_aside_what_the_repository_has(
        &self,
        prepared: &mut Prepared,
        workspace: &Workspace,
    ) -> Result<(), CacheError> {
        let tree = workspace.tree();
        let mut kept = Vec::new();
        for path in std::mem::take(&mut prepared.kept) {
            match layer::has(&tree, &path)? {
                None => kept.push(path),
                Some(true) if !prepared.copied && !prepared.base.workspace.is_empty() => {
                    make_opaque(&tree.join(path))?;
                }
                Some(_) => {}
            }
        }
        prepared.kept = kept;
        Ok(())
    }

    async fn copy(&self, prepared: &Prepared, workspace: &Workspace) -> Result<(), CacheError> {
        let (tree, tools) = (workspace.tree(), workspace.tools());
        let below_tree = Stack::new(self.directories(&prepared.base.workspace));
        let below_tools = Stack::new(self.directories(&prepared.base.tools));
        let paths = prepared.kept.clone();
        let copied = tokio::task::spawn_blocking(move || {
            for path in paths {
                let (found, to) = (below_tree.find(Path::new(&path))?, tree.join(&path));
                if !matches!(found, Shown::Nothing) {
                    copy_parents(&below_tree, Path::new(&path), &tree)?;
                    below_tree.materialise(&found, &to, How::Copy)?;
                }
            }
            match below_tools.find(Path::new(""))? {
                Shown::Directory(places) => below_tools.fill(&places, &tools, How::Copy),
                Shown::Nothing | Shown::File(_) => Ok(()),
            }
        });
        copied.await.map_err(std::io::Error::other)??;
        Ok(())
    }
}

impl Prepared {
    /// Returns what the workspace shows at a path of it, where a part of it may come from the layers; none where all
    /// of it is the build's own.
    pub fn layers_below(&self, path: &str, caches: &Caches, workspace: &Workspace) -> Option<Stack> {
        if self.copied {
            return None;
        }
        let meets = |cached: &str| path == "." || within(cached, path) || within(path, cached);
        let meets = self.base.workspace.iter().flat_map(|layer| &layer.paths).any(|cached| meets(cached));
        meets.then(|| {
            let mut layers = vec![workspace.tree()];
            layers.extend(caches.directories(&self.base.workspace));
            Stack::new(layers)
        })
    }

    /// Tells whether the engine did not know the image's id when the cache was put in place.
    pub fn is_of_unknown_image(&self) -> bool {
        self.base.key.image.is_empty()
    }

    /// Returns the image's name.
    pub fn image_name(&self) -> &str {
        &self.base.image_name
    }

    /// Says which image it was: the next build finds what is kept by that.
    pub fn name_image(&mut self, id: String) {
        self.base.key.image = id;
        self.report.key = self.base.key.hash();
    }

    /// Tells whether [`Caches::take_away`] may be able to take it from under a sandbox.
    pub fn can_be_taken_away(&self) -> bool {
        self.points.is_some()
    }

    /// Tells whether what the build leaves at a path will be found again.
    pub fn keeps(&self, path: &str) -> bool {
        self.kept.iter().any(|kept| within(path, kept))
    }
}

/// Tells whether a path is another one or below it.
fn within(path: &str, of: &str) -> bool {
    Path::new(path).starts_with(of)
}

fn copy_parents(stack: &Stack, path: &Path, tree: &Path) -> std::io::Result<()> {
    let mut at = std::path::PathBuf::new();
    for part in parent(path).components() {
        at.push(part);
        if !tree.join(&at).exists()
            && let Shown::Directory(places) = stack.find(&at)?
        {
            stack.like_directory(&places, &tree.join(&at))?;
        }
    }
    Ok(())
}

/// Returns the project's root directory, `.` for the top.
fn root_of(spec: &BuildSpec) -> &str {
    spec.settings.root_directory.as_ref().map_or(".", |path| path.as_str())
}

/// Returns what a build shares its cache by.
fn key_of(build: &Build<'_>, root: &str) -> Key {
    Key {
        project: build.spec.project_id.to_string(),
        branch: build.spec.branch.to_string(),
        image: build.image_id.to_owned(),
        root: root.to_owned(),
        user: build.owner.0,
    }
}

/// Returns what a build shares its cache by, and the paths that it caches.
pub fn wanted(build: &Build<'_>) -> (Key, Vec<String>) {
    let root = root_of(build.spec);
    (key_of(build, root), cached_paths(build.spec, root))
}

/// Returns the paths that a project's builds cache, from the top of the workspace, none inside another.
fn cached_paths(spec: &BuildSpec, root: &str) -> Vec<String> {
    let below = |path: &str| if root == "." { path.to_owned() } else { format!("{root}/{path}") };
    let mut paths: Vec<String> = match &spec.settings.cached_paths {
        Some(paths) => paths.iter().map(|path| below(path.as_str())).collect(),
        None => DEFAULT_CACHED_PATHS.iter().map(|path| below(path)).collect(),
    };
    // The packages of a repository with several often lie at its top.
    if root != "." && spec.settings.cached_paths.is_none() {
        paths.push("node_modules".to_owned());
    }
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| !all.iter().any(|other| other != path && within(path, other)));
    paths
}

/// Looks for the snapshot to start from, and says why there is none.
fn find(
    index: &Index,
    key: &Key,
    use_cache: bool,
    paths: &[String],
) -> (Option<Snapshot>, CacheOutcome, String) {
    if !use_cache {
        let detail = "this build was asked for without a cache; what it leaves begins a new one";
        return (None, CacheOutcome::Off, detail.to_owned());
    }
    let others = || index.snapshots().map(|(_, kept)| &kept.snapshot);
    let production = others().find(|it| it.production && it.key.differs_only_in_branch(key));
    match index.get(key).or(production) {
        Some(found) if found.paths != paths => {
            (None, CacheOutcome::Miss, "the project's cached paths have changed".to_owned())
        }
        Some(found) if found.key.branch == key.branch => {
            let detail = "the cache of the branch's last READY build".to_owned();
            (Some(found.clone()), CacheOutcome::Hit, detail)
        }
        Some(found) => {
            let branch = &found.key.branch;
            let detail = format!("the first build of this branch starts from the cache of `{branch}`");
            (Some(found.clone()), CacheOutcome::Hit, detail)
        }
        None if others().any(|other| other.key.differs_only_in_image(key)) => {
            let detail = "the builder image has changed since the cache was kept";
            (None, CacheOutcome::Miss, detail.to_owned())
        }
        None => {
            let detail = "nothing is kept for this branch with this image and root directory";
            (None, CacheOutcome::Miss, detail.to_owned())
        }
    }
}
