//! Watching one pod, for as long as it is there and whoever is away meanwhile.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Event as PodEvent, Pod};
use kube::{
    Api, Client,
    api::ListParams,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::time::{Duration, Instant};

use super::{
    IMAGE, answered,
    config::KubernetesConfig,
    said::{self, Standing, Trouble},
};
use crate::engine::{EngineError, Exit, SandboxId};

/// How often it is looked for what is in the way of a pod that nothing is heard of.
const LOOK: Duration = Duration::from_secs(1);

/// Why a sandbox ended whose pod was told to go. Where it was us nobody asks.
const DELETED: &str = "somebody deleted its pod";

/// A pod, as it changes.
pub struct Watching {
    events: Pin<Box<dyn Stream<Item = watcher::Result<Event<Pod>>> + Send>>,
    is_over: bool,
    /// Whether the pod was seen since the watch began, or began again.
    found: bool,
    uid: Option<String>,
    /// Whether its first process was seen running.
    has_run: bool,
}

impl Watching {
    /// Begins to watch the pod of a sandbox.
    pub fn of(pods: Api<Pod>, id: &SandboxId) -> Self {
        let named = watcher::Config::default().fields(&format!("metadata.name={}", id.0));
        let events = watcher(pods, named).default_backoff().boxed();
        Self { events, is_over: false, found: false, uid: None, has_run: false }
    }

    /// Returns the pod as it is, and whenever it has changed; none once it is gone, after what was last said of it. An API
    /// server that is away is waited for.
    pub async fn next(&mut self) -> Option<Pod> {
        while !self.is_over {
            match self.events.next().await? {
                Ok(Event::Init) => self.found = false,
                Ok(Event::InitApply(pod) | Event::Apply(pod)) if self.is_the_same(&pod) => {
                    self.found = true;
                    self.has_run |= said::standing(&pod) == Standing::Runs;
                    return Some(pod);
                }
                // Another one of that name has come after it.
                Ok(Event::InitApply(_) | Event::Apply(_)) => self.is_over = true,
                Ok(Event::InitDone) => self.is_over = !self.found,
                Ok(Event::Delete(pod)) => {
                    self.is_over = true;
                    return Some(pod);
                }
                Err(error) => tracing::debug!(%error, "a pod is watched again"),
            }
        }
        None
    }

    /// Tells whether its first process was seen running.
    pub fn has_run(&self) -> bool {
        self.has_run
    }

    /// Returns how the sandbox of a pod that came from here ended; none where it has not.
    ///
    /// Some kubelets forget how a container ended that was told to, and say that it is on its way once more.
    pub fn exit(&self, pod: &Pod) -> Option<Exit> {
        let forgotten = self.has_run
            && pod.metadata.deletion_timestamp.is_some()
            && said::standing(pod) != Standing::Runs;
        let mut exit = exit(pod).or_else(|| forgotten.then(|| Exit::with(said::KILLED)))?;
        if pod.metadata.deletion_timestamp.is_some() {
            exit.taken_away.get_or_insert_with(|| DELETED.to_owned());
        }
        Some(exit)
    }

    fn is_the_same(&mut self, pod: &Pod) -> bool {
        let uid = self.uid.get_or_insert_with(|| pod.metadata.uid.clone().unwrap_or_default());
        pod.metadata.uid.as_deref().unwrap_or_default() == uid
    }
}

/// Returns how the sandbox of a pod ended; none where that is not said.
fn exit(pod: &Pod) -> Option<Exit> {
    match said::standing(pod) {
        Standing::Ended(exit) => Some(exit),
        Standing::NeverBegan(why) => Some(Exit { taken_away: Some(why), ..Exit::with(said::KILLED) }),
        Standing::Coming | Standing::Waits(_) | Standing::Runs => None,
    }
}

/// Returns how the sandbox of a pod ended that was deleted before anybody said so.
pub fn exit_of_gone(pod: &Pod) -> Exit {
    let ended = exit(pod).unwrap_or_else(|| Exit::with(said::KILLED));
    Exit { taken_away: ended.taken_away.or_else(|| Some(DELETED.to_owned())), ..ended }
}

/// A pod on its way to its first process.
pub struct Beginning<'a> {
    config: &'a KubernetesConfig,
    client: Client,
    watching: Watching,
    id: SandboxId,
    pod: Option<Pod>,
    since: Instant,
    /// Since when its image does not come.
    without_image: Option<Instant>,
    trouble: String,
}

impl<'a> Beginning<'a> {
    /// Begins to watch the pod of a sandbox.
    pub fn of(client: Client, config: &'a KubernetesConfig, id: &SandboxId) -> Self {
        let pods = Api::namespaced(client.clone(), &config.namespace);
        Self {
            config,
            client,
            watching: Watching::of(pods, id),
            id: id.clone(),
            pod: None,
            since: Instant::now(),
            without_image: None,
            trouble: String::new(),
        }
    }

    /// Returns the pod as it was last seen.
    pub fn pod(&self) -> &Pod {
        static NONE: std::sync::OnceLock<Pod> = std::sync::OnceLock::new();
        self.pod.as_ref().unwrap_or_else(|| NONE.get_or_init(Pod::default))
    }

    /// Returns how far it has come, when that has changed and every second while it waits.
    ///
    /// # Errors
    /// It never begins: its image does not come, or it has waited as long as it may, or is gone.
    pub async fn next(&mut self) -> Result<Standing, EngineError> {
        let changed = tokio::time::timeout(LOOK, self.watching.next()).await;
        let nothing_new = changed.is_err();
        match changed {
            Ok(Some(pod)) => self.pod = Some(pod),
            Ok(None) => return Err(EngineError::NotFound(self.id.0.clone())),
            Err(_) => {}
        }
        let mut standing = said::standing(self.pod());
        if standing == Standing::Coming
            && nothing_new
            && let Some(uid) = self.pod().metadata.uid.clone()
            && let Some(warning) = warning(&self.client, &self.config.namespace, &uid).await
        {
            standing = Standing::Waits(Trouble::Other(warning));
        }
        if let Standing::Waits(trouble) = &standing {
            trouble.text().clone_into(&mut self.trouble);
        }
        self.give_up(&standing)?;
        Ok(standing)
    }

    fn give_up(&mut self, standing: &Standing) -> Result<(), EngineError> {
        let image = |cause: &str| {
            let containers = self.pod.as_ref().and_then(|pod| pod.spec.as_ref()).map(|spec| &spec.containers);
            let image = containers.and_then(|all| all.first()?.image.clone()).unwrap_or_default();
            Err(EngineError::ImageUnavailable { image, cause: cause.to_owned() })
        };
        match standing {
            Standing::Waits(Trouble::NoImage(cause)) => return image(cause),
            Standing::Waits(Trouble::Image(cause)) => {
                let since = *self.without_image.get_or_insert_with(Instant::now);
                if since.elapsed() >= IMAGE {
                    return image(cause);
                }
            }
            _ => self.without_image = None,
        }
        let has_begun = matches!(standing, Standing::Runs | Standing::Ended(_) | Standing::NeverBegan(_));
        if !has_begun && self.since.elapsed() >= self.config.start_within {
            let within = self.config.start_within.as_secs();
            let trouble = if self.trouble.is_empty() { "nobody says why" } else { &self.trouble };
            return Err(EngineError::NeverBegun(format!(
                "its pod has not begun within {within} s: {trouble}"
            )));
        }
        Ok(())
    }
}

/// Returns what the cluster warns of, about a pod.
async fn warning(client: &Client, namespace: &str, uid: &str) -> Option<String> {
    let events: Api<PodEvent> = Api::namespaced(client.clone(), namespace);
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
    said::warning(&answered(events.list(&about)).await.ok()?.ok()?.items)
}
