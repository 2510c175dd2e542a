//! Kubernetes, 1.20 and newer: a sandbox is a pod on the executor's own node.
//!
//! The API server is asked to start and to end pods, and is in no build's data path: output and exit codes come by the runner.
//! While it is away, sandboxes run on, and who waits for one goes on waiting. Directories and overlays are the node's, see
//! [`volumes`].

pub mod config;
mod ended;
mod ending;
mod error;
mod images;
mod pod;
mod propagation;
mod said;
mod volumes;
mod watching;

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use ended::EndedSandboxes;
use error::{status, translate};
use images::Images;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, Config,
    api::{GetParams, ListParams, PostParams},
};
use propagation::Propagation;
use said::Standing;
use tokio::{
    sync::{OnceCell, watch},
    time::timeout,
};
use volumes::Volumes;
use watching::Watching;

use self::config::KubernetesConfig;
use super::{
    Description, Engine, EngineError, Exit, Image, Inventory, NetworkAccess, Sandbox, SandboxId, Volume,
};

/// How long the API server may take to answer a request, and to take a connection.
const ANSWER: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);

/// The port of every kubelet.
const KUBELET: u16 = 10_250;

/// How long an image may not come before it is given up: a registry may be away for a moment.
const IMAGE: Duration = Duration::from_secs(60);

/// What is done in the cluster: whether in the namespace of builds, with what, and what with it.
const NEEDED: &[(bool, &str, &[&str])] = &[
    (true, "pods", &["get", "list", "watch", "create", "delete"]),
    (true, "events", &["list"]),
    (false, "nodes", &["get"]),
];

/// The label of images that have our tools, which Kubernetes does not tell of any image.
const TOOLS: &str = "dev.grapnel.tools";

/// A Kubernetes cluster, as the executor of one node uses it.
pub struct KubernetesEngine {
    config: KubernetesConfig,
    client: OnceCell<Client>,
    volumes: Volumes,
    ended: EndedSandboxes,
    images: Images,
    /// The pods that were asked for, and nobody has said whether they were made.
    unanswered: Mutex<HashSet<SandboxId>>,
    propagation: Propagation,
}

impl KubernetesEngine {
    /// Takes what the operator has decided. The cluster is the one that this process runs in, or that of `KUBECONFIG`; it need
    /// not answer yet.
    pub fn new(config: KubernetesConfig) -> Self {
        let (volumes, ended) = (config.directory.join("volumes"), config.directory.join("ended"));
        let images = Images::read(config.directory.join("images.json"));
        Self {
            config,
            client: OnceCell::new(),
            volumes: Volumes::new(volumes),
            ended: EndedSandboxes::new(ended),
            images,
            unanswered: Mutex::default(),
            propagation: Propagation::default(),
        }
    }

    async fn client(&self) -> Result<Client, EngineError> {
        let client = self.client.get_or_try_init(async || {
            let unusable = |error: &dyn ToString| {
                EngineError::Unavailable(format!("no cluster is known: {}", error.to_string()))
            };
            let mut config = Config::infer().await.map_err(|error| unusable(&error))?;
            config.connect_timeout = Some(CONNECT);
            Client::try_from(config).map_err(|error| unusable(&error))
        });
        client.await.cloned()
    }

    async fn pods(&self) -> Result<Api<Pod>, EngineError> {
        Ok(Api::namespaced(self.client().await?, &self.config.namespace))
    }

    async fn node(&self) -> Result<Node, EngineError> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        // As the API server remembers it: every node's executor asks every few seconds.
        let remembered = GetParams::at("0");
        let node = answered(nodes.get_with(&self.config.node, &remembered)).await?;
        node.map_err(|error| translate(&error, &self.config.node))
    }

    /// Tells of everything that is done in the cluster whether this process may do it.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn permissions(&self) -> Result<Vec<(String, bool)>, EngineError> {
        let mut all = Vec::new();
        for (namespace, resource, verbs) in NEEDED {
            for verb in *verbs {
                let namespace = namespace.then(|| self.config.namespace.clone());
                let what = match &namespace {
                    Some(namespace) => format!("{verb} {resource} in {namespace}"),
                    None => format!("{verb} {resource}"),
                };
                all.push((what, self.may(namespace, verb, resource).await?));
            }
        }
        Ok(all)
    }

    /// Tells whether what the executor mounts is seen by the node, and so by its pods.
    ///
    /// # Errors
    /// The mounts cannot be read.
    pub fn mounts_are_shared(&self) -> std::io::Result<bool> {
        volumes::is_shared(&self.config.directory)
    }

    async fn may(&self, namespace: Option<String>, verb: &str, resource: &str) -> Result<bool, EngineError> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace,
                    verb: Some(verb.to_owned()),
                    resource: Some(resource.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client().await?);
        let review = answered(reviews.create(&PostParams::default(), &review)).await?;
        let review = review.map_err(|error| translate(&error, "access review"))?;
        Ok(review.status.is_some_and(|status| status.allowed))
    }

    /// Says why a pod may not be made: by us never, or not now, because the namespace's quota is used up, say.
    async fn why_forbidden(&self, said: String) -> EngineError {
        match self.may(Some(self.config.namespace.clone()), "create", "pods").await {
            Ok(true) => EngineError::NoPlace(said),
            _ => EngineError::Refused(said),
        }
    }

    fn unanswered(&self) -> MutexGuard<'_, HashSet<SandboxId>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: &SandboxId) -> Result<(), EngineError> {
        self.unanswered().remove(id);
        let removed = self.ended.remove(id);
        removed.map_err(|error| {
            EngineError::Refused(format!("what is known of {} cannot be removed: {error}", id.0))
        })
    }

    fn learn_image(&self, pod: &Pod) {
        if let Some((name, id)) = said::image_id(pod) {
            self.images.learn(name, id);
        }
    }
}

#[async_trait]
impl Engine for KubernetesEngine {
    async fn describe(&self) -> Result<Description, EngineError> {
        let client = self.client().await?;
        let version = answered(client.apiserver_version()).await?;
        let version = version.map_err(|error| translate(&error, "version"))?;
        Ok(Description {
            kind: "kubernetes".to_owned(),
            version: version.git_version,
            api_version: format!("{}.{}", version.major, version.minor),
        })
    }

    async fn is_cordoned(&self) -> Result<bool, EngineError> {
        Ok(self.node().await?.spec.and_then(|spec| spec.unschedulable).unwrap_or(false))
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, EngineError> {
        let has_tools = (name == self.config.builder_image).then(|| (TOOLS.to_owned(), String::new()));
        Ok(Some(Image {
            id: self.images.id(name).unwrap_or_default(),
            labels: has_tools.into_iter().collect(),
        }))
    }

    /// Where the node does not share what is mounted on it, or its runtime does not show it, nothing would be seen in a pod that
    /// runs.
    async fn reserve_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<bool, EngineError> {
        let is_seen = self.mounts_are_shared().unwrap_or(false) && self.shows_later_mounts(labels).await;
        if is_seen {
            self.volumes.reserve(name, labels)?;
        }
        Ok(is_seen)
    }

    async fn create_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        self.volumes.create(volume)
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.volumes.remove(name)
    }

    /// A NetworkPolicy, which the operator has placed, closes networks by the label of a pod; where the cluster's network plugin
    /// knows none it closes nothing. So each but the open one is to be tried.
    async fn prepare_network(&self, access: NetworkAccess) -> Result<Vec<SocketAddr>, EngineError> {
        if access == NetworkAccess::Open {
            return Ok(Vec::new());
        }
        let node = self.node().await?;
        let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
        let own = addresses.iter().filter(|address| address.type_ == "InternalIP");
        let own = own.filter_map(|address| Some(SocketAddr::new(address.address.parse().ok()?, KUBELET)));
        let unknown = |error: &dyn ToString| {
            EngineError::Network(format!("the API server's address is not known: {}", error.to_string()))
        };
        let server = Config::infer().await.map_err(|error| unknown(&error))?.cluster_url;
        let port = server.port_u16().unwrap_or(443);
        let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
        let servers = tokio::net::lookup_host((host, port)).await.map_err(|error| unknown(&error))?;
        Ok(servers.take(1).chain(own.take(2)).collect())
    }

    async fn start(&self, sandbox: &Sandbox) -> Result<SandboxId, EngineError> {
        let pod = pod::pod(sandbox, &self.config, |name| self.volumes.place(name))?;
        let id = SandboxId(pod::name(&sandbox.name));
        if self.ended.get(&id).is_some() {
            return Err(EngineError::Refused(format!("the name {} is taken", id.0)));
        }
        volumes::close(&pod::closed(&self.config), pod::LAST_WORD).map_err(|error| {
            EngineError::Refused(format!("the directory that is closed to builds cannot be made: {error}"))
        })?;
        let pods = self.pods().await.map_err(no_place)?;
        let asked_before = self.unanswered().remove(&id);
        let refused = match answered(pods.create(&PostParams::default(), &pod)).await {
            Ok(Ok(_)) => return Ok(id),
            // It was made after all.
            Ok(Err(error)) if status(&error) == Some(409) && asked_before => return Ok(id),
            Ok(Err(error)) if status(&error) == Some(403) => {
                self.why_forbidden(translated_text(&error, &id)).await
            }
            Ok(Err(error)) => translate(&error, &id.0),
            Err(no_answer) => no_answer,
        };
        if let EngineError::Unavailable(_) = refused {
            self.unanswered().insert(id);
        }
        Err(no_place(refused))
    }

    async fn begun(&self, id: &SandboxId, waiting: &watch::Sender<String>) -> Result<(), EngineError> {
        let mut beginning = watching::Beginning::of(self.client().await?, &self.config, id);
        loop {
            match beginning.next().await? {
                Standing::Runs | Standing::Ended(_) => {
                    self.learn_image(beginning.pod());
                    return Ok(());
                }
                Standing::NeverBegan(why) => return Err(EngineError::NeverBegun(why)),
                Standing::Coming => {}
                Standing::Waits(trouble) => {
                    waiting.send_if_modified(|told| {
                        let is_new = told != trouble.text();
                        trouble.text().clone_into(told);
                        is_new
                    });
                }
            }
        }
    }

    async fn wait(&self, id: &SandboxId) -> Result<Exit, EngineError> {
        let mut watching = Watching::of(self.pods().await?, id);
        let mut last = None;
        while let Some(pod) = watching.next().await {
            self.learn_image(&pod);
            if let Some(exit) = watching.exit(&pod) {
                return Ok(exit);
            }
            last = Some(pod);
        }
        if let Some(ended) = self.ended.get(id) {
            return Ok(ended.exit);
        }
        match last {
            // Whoever has told the pod to end may be about to write down how it did.
            Some(pod) => Ok(watching::exit_of_gone(&pod)),
            None => Err(EngineError::NotFound(id.0.clone())),
        }
    }

    async fn kill(&self, id: &SandboxId, grace: Duration) -> Result<(), EngineError> {
        let Some(ended) = self.end(id, grace).await? else { return Ok(()) };
        let written = self.ended.write(id, &ended);
        written.map_err(|error| {
            EngineError::Refused(format!("how {} ended cannot be written down: {error}", id.0))
        })
    }

    async fn remove(&self, id: &SandboxId) -> Result<(), EngineError> {
        self.end(id, Duration::ZERO).await?;
        self.forget(id)
    }

    async fn remove_ended(&self, id: &SandboxId) -> Result<(), EngineError> {
        self.delete(id, Duration::ZERO).await?;
        self.forget(id)
    }

    async fn list(&self, labels: &BTreeMap<String, String>) -> Result<Inventory, EngineError> {
        let selector: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}={}", pod::label(value))).collect();
        let pods = self.pods().await?;
        let listed = answered(pods.list(&ListParams::default().labels(&selector.join(",")))).await?;
        let listed = listed.map_err(|error| translate(&error, "pods"))?;
        let carries =
            |own: &BTreeMap<String, String>| labels.iter().all(|(name, value)| own.get(name) == Some(value));
        let mut sandboxes = self.ended.list();
        let named = listed.items.iter().filter_map(|pod| {
            let id = SandboxId(pod.metadata.name.clone()?);
            Some((id, labels_of(pod)))
        });
        sandboxes.extend(named);
        sandboxes.retain(|_, own| carries(own));
        let mut volumes = self.volumes.list();
        volumes.retain(|(_, own)| carries(own));
        Ok(Inventory { sandboxes: sandboxes.into_iter().collect(), volumes })
    }
}

/// A cluster that is away has no place for a sandbox now.
fn no_place(error: EngineError) -> EngineError {
    match error {
        EngineError::Unavailable(why) => EngineError::NoPlace(why),
        other => other,
    }
}

fn translated_text(error: &kube::Error, id: &SandboxId) -> String {
    match translate(error, &id.0) {
        EngineError::Refused(text) => text,
        other => other.to_string(),
    }
}

/// Returns the labels that a sandbox was given.
fn labels_of(pod: &Pod) -> BTreeMap<String, String> {
    let written = pod.metadata.annotations.as_ref().and_then(|all| all.get(pod::LABELS));
    let written = written.and_then(|text| serde_json::from_str(text).ok());
    written.or_else(|| pod.metadata.labels.clone()).unwrap_or_default()
}

async fn answered<T>(request: impl Future<Output = T>) -> Result<T, EngineError> {
    timeout(ANSWER, request)
        .await
        .map_err(|_| EngineError::Unavailable(format!("no answer within {} s", ANSWER.as_secs())))
}

#[cfg(test)]
mod tests;
