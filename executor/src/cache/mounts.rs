//! Where a sandbox finds its workspace and its tools' caches: in directories of its own, or in volumes of the engine.

use std::{collections::BTreeMap, fs, path::PathBuf};

use grapnel_domain::build::AttemptId;

use super::{CacheError, Caches, Layer, Prepared};
use crate::{
    engine::{EngineError, MountSource, Volume, VolumeSource, label},
    workspace::Workspace,
};

const WORKSPACE: &str = "workspace";
const TOOLS: &str = "tools";

/// Empty places of the engine, so that a sandbox can start before its cache is in place. [`Caches::prepare`] takes them, or
/// [`Caches::give_back`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoints {
    workspace: String,
    tools: String,
}

impl MountPoints {
    /// Returns what is mounted as the workspace.
    pub fn workspace(&self) -> MountSource {
        MountSource::Volume(self.workspace.clone())
    }

    /// Returns what is mounted for the tools' own caches.
    pub fn tools(&self) -> MountSource {
        MountSource::Volume(self.tools.clone())
    }

    fn of(id: AttemptId) -> Self {
        Self { workspace: volume_name(WORKSPACE, id), tools: volume_name(TOOLS, id) }
    }

    /// Returns the names of both volumes.
    pub(super) fn names(&self) -> [&String; 2] {
        [&self.workspace, &self.tools]
    }

    fn name(&self, kind: &str) -> &String {
        if kind == WORKSPACE { &self.workspace } else { &self.tools }
    }
}

/// What is mounted at one of the two places.
struct Mounted<'a> {
    kind: &'static str,
    upper: PathBuf,
    layers: &'a [Layer],
    source: &'a mut MountSource,
}

impl Caches {
    /// Makes the places where the cache of an attempt will be; none where the engine fills none under a sandbox that runs.
    ///
    /// # Errors
    /// The engine fails; nothing is left then.
    pub async fn mount_points(&self, id: AttemptId) -> Result<Option<MountPoints>, EngineError> {
        let points = MountPoints::of(id);
        let reserved = self.reserve(&points, id).await;
        if reserved.is_err() {
            self.give_back(points.clone()).await;
        }
        Ok(reserved?.then_some(points))
    }

    /// Removes places in which nothing was put. The sandbox that mounts them has to be removed already.
    pub async fn give_back(&self, points: MountPoints) {
        self.remove_volumes(points.names()).await;
    }

    /// Takes a cache from under a sandbox that nothing has run in yet, and returns the places for another one; none where it
    /// cannot be taken away, and it is released then. `id` is the one that the places were made for.
    pub async fn take_away(&self, prepared: Prepared, id: AttemptId) -> Option<MountPoints> {
        let emptied = match &prepared.points {
            Some(points) => self.reserve(points, id).await,
            None => Ok(false),
        };
        match emptied {
            Ok(true) => self.release_layers(prepared),
            failed => {
                if let Err(error) = failed {
                    tracing::warn!(%error, "a cache cannot be taken from under its sandbox");
                }
                self.release(prepared).await;
                None
            }
        }
    }

    pub(super) async fn remove_volumes(&self, names: impl IntoIterator<Item = &String>) {
        for volume in names {
            if let Err(error) = self.engine.remove_volume(volume).await {
                tracing::warn!(volume, %error, "a cache's volume cannot be removed; the next sweep tries again");
            }
        }
    }

    /// Makes the volumes of a cache, or fills the places for them. What has no layers needs no volume where there is no place
    /// to fill.
    pub(super) async fn mount(
        &self,
        prepared: &mut Prepared,
        id: AttemptId,
        workspace: &Workspace,
    ) -> Result<(), CacheError> {
        let points = prepared.points.as_ref();
        let of_workspace = Mounted {
            kind: WORKSPACE,
            upper: workspace.tree(),
            layers: &prepared.base.workspace,
            source: &mut prepared.workspace,
        };
        let of_tools = Mounted {
            kind: TOOLS,
            upper: workspace.tools(),
            layers: &prepared.base.tools,
            source: &mut prepared.tools,
        };
        for Mounted { kind, upper, layers, source } in [of_workspace, of_tools] {
            let shows = if prepared.copied || layers.is_empty() {
                VolumeSource::Directory(upper)
            } else {
                let work = workspace.overlay_work(kind);
                fs::create_dir_all(&work)?;
                VolumeSource::Overlay { lower: self.directories(layers), upper, work }
            };
            let name = match (points, &shows) {
                (Some(points), _) => points.name(kind).clone(),
                (None, VolumeSource::Overlay { .. }) => volume_name(kind, id),
                (None, VolumeSource::Directory(_)) => continue,
            };
            if points.is_none() {
                prepared.volumes.push(name.clone());
            }
            *source = MountSource::Volume(name.clone());
            let volume = Volume { name, source: shows, labels: self.labels(id) };
            self.engine.create_volume(&volume).await?;
        }
        Ok(())
    }

    async fn reserve(&self, points: &MountPoints, id: AttemptId) -> Result<bool, EngineError> {
        for name in points.names() {
            if !self.engine.reserve_volume(name, &self.labels(id)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn labels(&self, id: AttemptId) -> BTreeMap<String, String> {
        BTreeMap::from([
            (label::EXECUTOR.to_owned(), self.config.executor.clone()),
            (label::DEPLOYMENT.to_owned(), id.deployment.to_string()),
            (label::ATTEMPT.to_owned(), id.attempt.to_string()),
        ])
    }
}

fn volume_name(kind: &str, id: AttemptId) -> String {
    format!("grapnel-{kind}-{id}")
}
