//! Whether the engine mounts overlays, found out by trying.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    CacheConfig, new_layer_id,
    stack::{Mark, make_opaque, mark},
};
use crate::engine::{
    Engine, EngineError, Mount, MountSource, NetworkAccess, Sandbox, SandboxLimits, Volume, VolumeSource,
    label,
};

/// How long the trial may take.
const TRIAL: Duration = Duration::from_secs(60);

/// Why layers are copied in place of being mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(String);

impl Unavailable {
    /// Takes the reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The directories of a trial: removed when it is over.
struct Trial {
    root: PathBuf,
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Trial {
    fn new(directory: &Path) -> io::Result<Self> {
        let trial = Self { root: directory.join(format!("trial-{}", new_layer_id())) };
        for name in ["lower", "upper", "work"] {
            fs::create_dir_all(trial.root.join(name))?;
        }
        fs::write(trial.root.join("lower/old"), "old")?;
        Ok(trial)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Tells whether the build's half of the trial has come out as the kernel's documentation says.
    fn worked(&self) -> bool {
        let removed = matches!(mark(&self.at("upper/old")), Ok(Mark::Whiteout));
        removed && self.at("upper/new").exists() && self.at("lower/old").exists()
    }
}

/// Lets a sandbox write to and remove from an overlay of two directories, and looks at what came of it.
///
/// # Errors
/// The engine does not answer, or does not have the image yet: it says nothing about overlays then.
pub async fn probe(
    config: &CacheConfig,
    engine: &dyn Engine,
) -> Result<Result<(), Unavailable>, EngineError> {
    let trial = match Trial::new(&config.directory) {
        Ok(trial) => trial,
        Err(error) => {
            return Ok(Err(Unavailable::new(format!("the trial's directories cannot be made: {error}"))));
        }
    };
    if let Err(error) = make_opaque(&trial.at("upper")) {
        let reason =
            format!("the executor may not set overlay's attributes ({error}); it needs CAP_SYS_ADMIN");
        return Ok(Err(Unavailable::new(reason)));
    }
    // The top of an overlay is never opaque: that was only to see whether we may.
    let _ = rustix::fs::removexattr(trial.at("upper"), "trusted.overlay.opaque");
    let name = format!("grapnel-trial-{}", new_layer_id());
    let labels = BTreeMap::from([(label::EXECUTOR.to_owned(), config.executor.clone())]);
    let volume = Volume {
        name: name.clone(),
        source: VolumeSource::Overlay {
            lower: vec![trial.at("lower")],
            upper: trial.at("upper"),
            work: trial.at("work"),
        },
        labels: labels.clone(),
    };
    let tried = run(config, engine, &volume, labels).await;
    if let Err(error) = engine.remove_volume(&name).await {
        tracing::warn!(volume = name, %error, "the volume of a trial cannot be removed; the next sweep tries again");
    }
    match tried {
        Ok(()) if trial.worked() => {
            tracing::info!("the engine mounts overlays: caches are put in place without copying");
            Ok(Ok(()))
        }
        Ok(()) => Ok(Err(Unavailable::new("an overlay volume of the engine does not behave like one"))),
        Err(error @ (EngineError::Unavailable(_) | EngineError::ImageMissing(_))) => Err(error),
        Err(error) => Ok(Err(Unavailable::new(error.to_string()))),
    }
}

async fn run(
    config: &CacheConfig,
    engine: &dyn Engine,
    volume: &Volume,
    labels: BTreeMap<String, String>,
) -> Result<(), EngineError> {
    engine.create_volume(volume).await?;
    let sandbox = Sandbox {
        name: volume.name.clone(),
        image: config.probe_image.clone(),
        command: ["/bin/sh", "-c", "rm /workspace/old && echo new > /workspace/new"]
            .map(str::to_owned)
            .into(),
        env: BTreeMap::new(),
        working_dir: "/".to_owned(),
        // The trial's directories are root's: this tries mounts, not rights.
        user: (0, 0),
        mounts: vec![Mount {
            source: MountSource::Volume(volume.name.clone()),
            target: "/workspace".to_owned(),
            read_only: false,
        }],
        network: NetworkAccess::None,
        limits: SandboxLimits { memory_bytes: 64 << 20, milli_cpus: 1_000, processes: 16, open_files: 256 },
        deadline: TRIAL,
        runtime: None,
        seccomp: None,
        labels,
    };
    let id = engine.start(&sandbox).await?;
    let ended = tokio::time::timeout(TRIAL, engine.wait(&id)).await;
    engine.remove(&id).await?;
    match ended {
        Ok(exit) => exit.map(|_| ()),
        Err(_) => Err(EngineError::Unavailable("the trial of overlays does not end".to_owned())),
    }
}
