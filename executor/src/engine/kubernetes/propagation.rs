//! Whether a pod that runs sees what is mounted on its volumes later.
//!
//! Kubernetes promises it (`HostToContainer`), and not every container runtime keeps that: one that runs pods in virtual
//! machines of its own may show them only what was there before. So it is tried, once, by a pod that waits to see something.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};

use super::KubernetesEngine;
use crate::engine::{
    Engine as _, EngineError, Mount, MountSource, NetworkAccess, Sandbox, SandboxLimits, Volume,
    VolumeSource, label,
};

/// How long the trial may take, and after which time one that could not be made is made again.
const TRIAL: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_secs(60);

/// How soon a pod that runs has to see it, and to have been said to have ended.
const SEEN: Duration = Duration::from_secs(8);

/// The name of the trial's volume, and of what appears in it.
const NAME: &str = "grapnel-trial-of-mounts";
const FILE: &str = "seen";

/// What is known of it.
#[derive(Debug, Default)]
pub struct Propagation(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    is_seen: Option<bool>,
    tried: Option<Instant>,
}

impl KubernetesEngine {
    /// Tells whether pods see later mounts, as far as is known: not before it was tried, which the first caller does.
    pub(super) async fn shows_later_mounts(&self, labels: &BTreeMap<String, String>) -> bool {
        // Somebody else tries it now.
        let Ok(mut known) = self.propagation.0.try_lock() else { return false };
        if let Some(is_seen) = known.is_seen {
            return is_seen;
        }
        if known.tried.is_some_and(|tried| tried.elapsed() < AGAIN) {
            return false;
        }
        match self.try_later_mount(labels).await {
            Ok(is_seen) => {
                tracing::info!(is_seen, "it was tried whether pods see what is mounted later");
                known.is_seen = Some(is_seen);
            }
            Err(error) => {
                tracing::warn!(%error, "whether pods see what is mounted later cannot be tried now");
            }
        }
        known.tried = Some(Instant::now());
        known.is_seen.unwrap_or(false)
    }

    async fn try_later_mount(&self, labels: &BTreeMap<String, String>) -> Result<bool, EngineError> {
        let shown = self.config.directory.join("shown");
        let made = fs::create_dir_all(&shown).and_then(|()| fs::write(shown.join(FILE), ""));
        made.map_err(|error| EngineError::Refused(format!("the trial's directory cannot be made: {error}")))?;
        let labels: BTreeMap<_, _> =
            labels.clone().into_iter().filter(|(name, _)| name == label::EXECUTOR).collect();
        let name = format!("{NAME}-{:08x}", rand::random::<u32>());
        self.volumes.reserve(&name, &labels)?;
        let tried = timeout(TRIAL, self.look_for_it(&name, &shown, labels)).await;
        self.remove(&crate::engine::SandboxId(name.clone())).await?;
        self.volumes.remove(&name)?;
        tried.unwrap_or_else(|_| {
            Err(EngineError::Unavailable(format!(
                "the trial's pod does not begin within {} s",
                TRIAL.as_secs()
            )))
        })
    }

    /// Lets a pod begin, mounts something on its volume, and tells whether it has come to see that.
    async fn look_for_it(
        &self,
        name: &str,
        shown: &Path,
        labels: BTreeMap<String, String>,
    ) -> Result<bool, EngineError> {
        let source = MountSource::Volume(name.to_owned());
        let sandbox = Sandbox {
            name: name.to_owned(),
            image: self.config.builder_image.clone(),
            command: ["/bin/sh", "-c", &format!("until [ -e /workspace/{FILE} ]; do sleep 0.05; done")]
                .map(str::to_owned)
                .into(),
            env: BTreeMap::new(),
            working_dir: "/".to_owned(),
            user: (65_534, 65_534),
            mounts: vec![Mount { source, target: "/workspace".to_owned(), read_only: false }],
            network: NetworkAccess::None,
            limits: SandboxLimits { memory_bytes: 64 << 20, milli_cpus: 100, processes: 16, open_files: 256 },
            deadline: TRIAL,
            runtime: None,
            seccomp: None,
            labels: labels.clone(),
        };
        let id = self.start(&sandbox).await?;
        let (waiting, _) = watch::channel(String::new());
        self.begun(&id, &waiting).await?;
        let source = VolumeSource::Directory(shown.to_owned());
        self.volumes.create(&Volume { name: name.to_owned(), source, labels })?;
        match timeout(SEEN, self.wait(&id)).await {
            Ok(exit) => Ok(exit?.code == 0),
            Err(_) => Ok(false),
        }
    }
}
