//! An engine without containers: for tests that have to be fast, and for an engine that has to misbehave on request.
//!
//! It keeps every promise of [`Engine`], which the contract suite holds against it as against the real ones, and
//! isolates nothing. What runs in a sandbox is a [`Program`]: a process of this machine, or whatever a test plays.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    net::SocketAddr,
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::{process::Command, runtime::Handle, sync::watch, task::AbortHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Description, Engine, EngineError, Exit, Image, Inventory, MountSource, NetworkAccess, Sandbox, SandboxId,
    Volume, VolumeSource,
};

/// The code of a sandbox that was killed: 128 + SIGKILL.
const KILLED: i64 = 137;

/// Starts what runs in a sandbox. The token asks it to end; who does not is dropped.
pub type Program =
    Arc<dyn Fn(Sandbox, CancellationToken) -> Result<BoxFuture<'static, Exit>, EngineError> + Send + Sync>;

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Engine::image`]
    Image,
    /// [`Engine::reserve_volume`]
    ReserveVolume,
    /// [`Engine::create_volume`]
    CreateVolume,
    /// [`Engine::remove_volume`]
    RemoveVolume,
    /// [`Engine::prepare_network`]
    PrepareNetwork,
    /// [`Engine::start`]
    Start,
    /// [`Engine::wait`]
    Wait,
    /// [`Engine::kill`]
    Kill,
    /// [`Engine::remove`]
    Remove,
    /// [`Engine::list`]
    List,
}

/// The engine. Clones are the same one.
#[derive(Clone)]
pub struct FakeEngine {
    program: Program,
    /// Where sandboxes run: they outlive who starts them.
    host: Handle,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    images: Vec<String>,
    volumes: BTreeMap<String, Volume>,
    /// Where reserved volumes show what they are filled with, if it can do so.
    places: Option<PathBuf>,
    sandboxes: BTreeMap<SandboxId, Running>,
    started: u64,
    faults: VecDeque<(Call, EngineError)>,
}

struct Running {
    sandbox: Sandbox,
    end: CancellationToken,
    exit: watch::Receiver<Option<Exit>>,
    task: AbortHandle,
}

impl FakeEngine {
    /// Makes an engine with these images, whose sandboxes run `program` on the runtime that it is made on.
    pub fn new(images: &[&str], program: Program) -> Self {
        let images = images.iter().map(|&image| image.to_owned()).collect();
        Self {
            program,
            host: Handle::current(),
            state: Arc::new(Mutex::new(State { images, ..State::default() })),
        }
    }

    /// Makes an engine whose sandboxes are processes of this machine, without any isolation.
    pub fn of_processes(images: &[&str]) -> Self {
        Self::new(images, Arc::new(|sandbox, end| process(&sandbox, end)))
    }

    /// Lets it reserve volumes, as links in a directory.
    pub fn reserving_in(&self, directory: PathBuf) {
        self.lock().places = Some(directory);
    }

    /// Lets the next call of a kind fail.
    pub fn fail_next(&self, call: Call, error: EngineError) {
        self.lock().faults.push_back((call, error));
    }

    /// Returns how many sandboxes were ever started.
    pub fn started(&self) -> u64 {
        self.lock().started
    }

    /// Brings an image.
    pub fn add_image(&self, name: &str) {
        self.lock().images.push(name.to_owned());
    }

    /// Takes an image away.
    pub fn forget_image(&self, name: &str) {
        self.lock().images.retain(|image| image != name);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state, unless the call is to fail.
    fn asked(&self, call: Call) -> Result<MutexGuard<'_, State>, EngineError> {
        let mut state = self.lock();
        let fault = state.faults.iter().position(|(to_fail, _)| *to_fail == call);
        match fault.and_then(|at| state.faults.remove(at)) {
            Some((_, error)) => Err(error),
            None => Ok(state),
        }
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn describe(&self) -> Result<Description, EngineError> {
        Ok(Description { kind: "fake".to_owned(), version: "1".to_owned(), api_version: "1".to_owned() })
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, EngineError> {
        let there = self.asked(Call::Image)?.images.iter().any(|image| image == name);
        Ok(there.then(|| Image { id: format!("fake:{name}"), labels: BTreeMap::new() }))
    }

    async fn reserve_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<bool, EngineError> {
        let mut state = self.asked(Call::ReserveVolume)?;
        let Some(place) = state.places.as_ref().map(|places| places.join(name)) else { return Ok(false) };
        clear(&place)?;
        let source = VolumeSource::Directory(place);
        let volume = Volume { name: name.to_owned(), source, labels: labels.clone() };
        state.volumes.insert(name.to_owned(), volume);
        Ok(true)
    }

    async fn create_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        let mut state = self.asked(Call::CreateVolume)?;
        let VolumeSource::Directory(shown) = &volume.source else {
            return Err(EngineError::Unsupported("it mounts nothing".to_owned()));
        };
        match state.volumes.get(&volume.name).map(|reserved| &reserved.source) {
            Some(VolumeSource::Directory(place))
                if state.places.as_ref().is_some_and(|all| place.starts_with(all)) =>
            {
                if !place.exists() {
                    symlink(shown, place).map_err(|error| EngineError::Refused(error.to_string()))?;
                }
            }
            Some(_) => {}
            None => drop(state.volumes.insert(volume.name.clone(), volume.clone())),
        }
        Ok(())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let mut state = self.asked(Call::RemoveVolume)?;
        state.volumes.remove(name);
        state.places.as_ref().map_or(Ok(()), |places| clear(&places.join(name)))
    }

    async fn prepare_network(&self, _: NetworkAccess) -> Result<Vec<SocketAddr>, EngineError> {
        self.asked(Call::PrepareNetwork).map(|_| Vec::new())
    }

    async fn start(&self, sandbox: &Sandbox) -> Result<SandboxId, EngineError> {
        let mut state = self.asked(Call::Start)?;
        if !state.images.contains(&sandbox.image) {
            return Err(EngineError::ImageMissing(sandbox.image.clone()));
        }
        if state.sandboxes.values().any(|running| running.sandbox.name == sandbox.name) {
            return Err(EngineError::Refused(format!("the name {} is taken", sandbox.name)));
        }
        let end = CancellationToken::new();
        let _on_its_own = self.host.enter();
        let program = (self.program)(on_this_machine(sandbox, &state.volumes), end.clone())?;
        let (tell, exit) = watch::channel(None);
        let killed = Killed(tell.clone());
        let task = self.host.spawn(async move {
            let _killed = killed;
            let exit = program.await;
            tell.send_replace(Some(exit));
        });
        state.started += 1;
        let id = SandboxId(format!("fake-{}", state.started));
        let running = Running { sandbox: sandbox.clone(), end, exit, task: task.abort_handle() };
        state.sandboxes.insert(id.clone(), running);
        Ok(id)
    }

    async fn wait(&self, id: &SandboxId) -> Result<Exit, EngineError> {
        let missing = || EngineError::NotFound(id.0.clone());
        let mut exit = self.asked(Call::Wait)?.sandboxes.get(id).ok_or_else(missing)?.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.map_err(|_| missing())?;
        ended.clone().ok_or_else(missing)
    }

    async fn kill(&self, id: &SandboxId, grace: Duration) -> Result<(), EngineError> {
        let Some((end, mut exit, task)) = self
            .asked(Call::Kill)?
            .sandboxes
            .get(id)
            .map(|running| (running.end.clone(), running.exit.clone(), running.task.clone()))
        else {
            return Ok(());
        };
        if !grace.is_zero() {
            end.cancel();
            let _ = timeout(grace, exit.wait_for(Option::is_some)).await;
        }
        task.abort();
        let _ = exit.wait_for(Option::is_some).await;
        Ok(())
    }

    async fn remove(&self, id: &SandboxId) -> Result<(), EngineError> {
        let removed = self.asked(Call::Remove)?.sandboxes.remove(id);
        if let Some(running) = removed {
            running.task.abort();
        }
        Ok(())
    }

    async fn list(&self, labels: &BTreeMap<String, String>) -> Result<Inventory, EngineError> {
        let state = self.asked(Call::List)?;
        let carries =
            |own: &BTreeMap<String, String>| labels.iter().all(|(name, value)| own.get(name) == Some(value));
        let sandboxes =
            state.sandboxes.iter().map(|(id, running)| (id.clone(), running.sandbox.labels.clone()));
        let volumes = state.volumes.values().map(|volume| (volume.name.clone(), volume.labels.clone()));
        Ok(Inventory {
            sandboxes: sandboxes.filter(|(_, own)| carries(own)).collect(),
            volumes: volumes.filter(|(_, own)| carries(own)).collect(),
        })
    }
}

/// Tells that a program was killed when it is dropped before it has told how it ended.
struct Killed(watch::Sender<Option<Exit>>);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.send_if_modified(|exit| exit.is_none() && exit.replace(Exit::with(KILLED)).is_none());
    }
}

/// Takes away what a reserved volume shows.
fn clear(place: &Path) -> Result<(), EngineError> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::Refused(error.to_string())),
        _ => Ok(()),
    }
}

/// Puts the places of this machine where a command names mounted ones.
fn on_this_machine(sandbox: &Sandbox, volumes: &BTreeMap<String, Volume>) -> Sandbox {
    let mounts: Vec<_> = sandbox
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Host(path) => Some((&mount.target, path.clone())),
            MountSource::Volume(name) => match &volumes.get(name)?.source {
                VolumeSource::Directory(path) => Some((&mount.target, path.clone())),
                VolumeSource::Overlay { .. } => None,
            },
            MountSource::Memory { .. } => None,
        })
        .collect();
    let place = |text: &str| {
        let below = |target: &str| Path::new(text).strip_prefix(target).ok();
        let found = mounts.iter().find_map(|(target, path)| Some(path.join(below(target)?)));
        found.map_or_else(|| text.to_owned(), |path| path.to_string_lossy().trim_end_matches('/').to_owned())
    };
    Sandbox {
        command: sandbox.command.iter().map(|argument| place(argument)).collect(),
        working_dir: place(&sandbox.working_dir),
        ..sandbox.clone()
    }
}

fn process(sandbox: &Sandbox, end: CancellationToken) -> Result<BoxFuture<'static, Exit>, EngineError> {
    let (program, arguments) = sandbox
        .command
        .split_first()
        .ok_or_else(|| EngineError::Refused("there is no command".to_owned()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(&sandbox.env)
        .current_dir(&sandbox.working_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| EngineError::Refused(format!("{program}: {error}")))?;
    Ok(Box::pin(async move {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let asked = async {
            end.cancelled().await;
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            std::future::pending::<()>().await;
        };
        let status = tokio::select! {
            status = child.wait() => status,
            () = asked => return Exit::with(KILLED),
        };
        let code = status
            .map_or(255, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
        Exit::with(code.into())
    }))
}
