//! The network of builds: prepared by the engine, and believed only after a sandbox has tried it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineError, Mount, MountSource, NetworkAccess, Sandbox, SandboxLimits, label};

/// Where the runner stands in the sandbox that tries.
const RUNNER: &str = "/run/grapnel/grapnel-run";

/// How often the firewall is put again: somebody may have reloaded the host's.
const PUT_AGAIN: Duration = Duration::from_secs(60);

/// How long a trial is believed.
const BELIEVED: Duration = Duration::from_secs(600);

/// How long a trial may take.
const TRIAL: Duration = Duration::from_secs(30);

/// What stands for the metadata of clouds.
const METADATA: &str = "169.254.169.254:80";

/// The network of an executor's builds. Clones share what has been found out.
#[derive(Clone)]
pub struct BuildNetwork {
    engine: Arc<dyn Engine>,
    /// The executor's name, for labels.
    executor: String,
    runner: PathBuf,
    image: String,
    tried: Arc<Mutex<BTreeMap<NetworkAccess, Instant>>>,
}

impl BuildNetwork {
    /// Takes the engine, the executor's name, the runner's program on the host, and an image to try it with.
    pub fn new(engine: Arc<dyn Engine>, executor: String, runner: PathBuf, image: String) -> Self {
        Self { engine, executor, runner, image, tried: Arc::default() }
    }

    /// Makes sure that the network is as it has to be. A build with a network that is closed to anything only runs after this
    /// said so.
    ///
    /// # Errors
    /// [`EngineError::Network`] where the firewall cannot be placed, or does not hold.
    pub async fn ready(&self, access: NetworkAccess) -> Result<(), EngineError> {
        if access == NetworkAccess::Open {
            return self.engine.prepare_network(access).await.map(|_| ());
        }
        // One at a time: all builds wait for the same answer.
        let mut tried = self.tried.lock().await;
        let closed = self.engine.prepare_network(access).await?;
        if tried.get(&access).is_some_and(|at| at.elapsed() < BELIEVED) || closed.is_empty() {
            return Ok(());
        }
        tried.remove(&access);
        self.try_to_reach(access, closed).await?;
        tried.insert(access, Instant::now());
        Ok(())
    }

    /// Keeps the firewall in place until it is stopped.
    pub async fn watch_over(self, stop: CancellationToken) {
        let mut well = true;
        while !stop.is_cancelled() {
            match self.ready(NetworkAccess::Egress).await {
                Ok(()) => well = true,
                Err(error) if well => {
                    tracing::warn!(%error, "builds with a filtered network cannot run");
                    well = false;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PUT_AGAIN) => {}
            }
        }
    }

    /// Lets a sandbox of the network try to reach what it must not.
    async fn try_to_reach(
        &self,
        access: NetworkAccess,
        mut closed: Vec<SocketAddr>,
    ) -> Result<(), EngineError> {
        closed.extend(own_address().map(|address| SocketAddr::new(address, 1)));
        closed.extend(METADATA.parse::<SocketAddr>());
        let sandbox = self.trial(access, &closed);
        let id = self.engine.start(&sandbox).await?;
        let (waiting, _) = watch::channel(String::new());
        let exit = match self.engine.begun(&id, &waiting).await {
            Ok(()) => timeout(TRIAL, self.engine.wait(&id)).await,
            Err(never) => Ok(Err(never)),
        };
        self.engine.remove(&id).await?;
        let code = match exit {
            Ok(exit) => exit?.code,
            Err(_) => return Err(EngineError::Network("the trial of the firewall does not end".to_owned())),
        };
        match code {
            0 => {
                tracing::info!("the firewall of the builds' network was tried and holds");
                Ok(())
            }
            // One bit for each address, see the runner.
            code @ 1..=63 => {
                let reached = closed.iter().enumerate().filter(|(bit, _)| code >> bit & 1 == 1);
                let reached: Vec<_> = reached.map(|(_, address)| address.ip().to_string()).collect();
                Err(EngineError::Network(format!(
                    "a sandbox reaches {}, which the firewall has to close",
                    reached.join(" and ")
                )))
            }
            code => {
                Err(EngineError::Network(format!("the trial of the firewall failed with exit code {code}")))
            }
        }
    }

    fn trial(&self, access: NetworkAccess, closed: &[SocketAddr]) -> Sandbox {
        let addresses = closed.iter().map(ToString::to_string);
        let command = [RUNNER.to_owned(), "--try".to_owned()].into_iter().chain(addresses);
        Sandbox {
            name: format!("grapnel-try-{:016x}", rand::random::<u64>()),
            image: self.image.clone(),
            command: command.collect(),
            env: BTreeMap::new(),
            working_dir: "/".to_owned(),
            user: (65_534, 65_534),
            mounts: vec![Mount {
                source: MountSource::Host(self.runner.clone()),
                target: RUNNER.to_owned(),
                read_only: true,
            }],
            network: access,
            limits: SandboxLimits {
                memory_bytes: 64 << 20,
                milli_cpus: 1_000,
                processes: 32,
                open_files: 256,
            },
            deadline: TRIAL,
            runtime: None,
            seccomp: None,
            labels: BTreeMap::from([(label::EXECUTOR.to_owned(), self.executor.clone())]),
        }
    }
}

/// Returns the address by which this machine reaches others; nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}
