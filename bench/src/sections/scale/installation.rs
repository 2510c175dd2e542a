//! One hooks service over PostgreSQL, and so many executors.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use grapnel_domain::secret_token::ApiKey;
use grapnel_e2e::{
    Repository,
    grapnel::{Client, binary, docker_lines, free_port},
    new_database,
};
use grapnel_proto::hooks::v1::{
    ListExecutorsRequest, fleet_service_client::FleetServiceClient, hook_service_client::HookServiceClient,
};
use grapnel_runtime::grpc::{self, Bearer};
use tempfile::TempDir;

use super::project_name;
use crate::watching;

/// How long all of it may take to answer.
const START: Duration = Duration::from_secs(60);

/// Processes that end when they are dropped.
pub struct Installation {
    directory: TempDir,
    hooks: u16,
    executors: Vec<u16>,
    processes: Vec<Child>,
}

impl Installation {
    /// Starts it with so many executors, each with so many slots, and waits until all of them are known.
    pub async fn start(executors: usize, slots: usize) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("grapnel-bench-").tempdir()?;
        let executors: Vec<_> = (0..executors).map(|_| free_port()).collect();
        let mut this = Self { directory, hooks: free_port(), executors, processes: Vec::new() };
        for key in ["gateway.key", "executor.key"] {
            let made = Command::new(binary()).args(["key", "generate"]).output()?;
            fs::write(this.path(key), made.stdout)?;
        }
        let ports = this.executors.clone();
        for port in &ports {
            let name = executor_name(*port);
            this.spawn("executor", &name, |command| {
                command
                    .env("GRAPNEL_EXECUTOR_LISTEN", format!("127.0.0.1:{port}"))
                    .env("GRAPNEL_EXECUTOR_NAME", &name)
                    .env("GRAPNEL_EXECUTOR_SLOTS", slots.to_string());
            })?;
        }
        let addresses: Vec<_> = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let database = new_database(&format!("bench-{}-{}", this.hooks, std::process::id()));
        let listen = format!("127.0.0.1:{}", this.hooks);
        this.spawn("hooks", "hooks", |command| {
            command
                .env("GRAPNEL_HOOKS_LISTEN", listen)
                .env("GRAPNEL_EXECUTORS", addresses.join(","))
                .env("GRAPNEL_DATABASE_URL", database);
        })?;
        this.answers().await?;
        Ok(this)
    }

    /// Makes projects whose builds run a command.
    pub async fn create_projects(&self, count: usize, build: &str) -> Result<()> {
        let site = Repository::with(&self.path("git/site"), &[("index.html", "hello")]);
        for number in 0..count {
            let request = watching::project(&project_name(number), &site, build);
            self.client()?.create_project(request).await?;
        }
        Ok(())
    }

    /// Returns a client with the admin key.
    pub fn client(&self) -> Result<Client> {
        let key = ApiKey::parse(fs::read_to_string(self.path("hooks/admin.key"))?.trim())?;
        Ok(HookServiceClient::with_interceptor(self.channel()?, Bearer::new(&key)))
    }

    fn channel(&self) -> Result<tonic::transport::Channel> {
        Ok(grpc::channel(&format!("http://127.0.0.1:{}", self.hooks), None)?)
    }

    /// Waits until the hooks service answers and knows of all executors.
    async fn answers(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Ok(key) = fs::read_to_string(self.path("hooks/admin.key")) {
                let bearer = Bearer::new(&ApiKey::parse(key.trim())?);
                let mut fleet = FleetServiceClient::with_interceptor(self.channel()?, bearer);
                if let Ok(listed) = fleet.list_executors(ListExecutorsRequest::default()).await {
                    let there = listed.into_inner().executors;
                    if there.iter().filter(|it| it.slots > 0).count() == self.executors.len() {
                        return Ok(());
                    }
                }
            }
            if begun.elapsed() > START {
                let log = fs::read_to_string(self.path("hooks.log")).unwrap_or_default();
                bail!("the installation does not start: {log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn spawn(&mut self, service: &str, name: &str, more: impl FnOnce(&mut Command)) -> Result<()> {
        let mut command = Command::new(binary());
        command
            .arg(service)
            .env("GRAPNEL_DATA_DIR", self.path(name))
            .env("GRAPNEL_ARTIFACTS_URL", format!("file://{}", self.path("artifacts").display()))
            .env("GRAPNEL_GATEWAY_KEY_FILE", self.path("gateway.key"))
            .env("GRAPNEL_EXECUTOR_KEY_FILE", self.path("executor.key"))
            .env("GRAPNEL_GIT_ALLOWED_DIRS", self.path("git"))
            .stdout(Stdio::null())
            .stderr(File::create(self.path(&format!("{name}.log")))?);
        more(&mut command);
        let child = command.spawn().with_context(|| format!("{service} does not start"))?;
        self.processes.push(child);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        // As a person does it: nothing is handed over to a next process, since there is none.
        for process in &self.processes {
            let _ = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
        }
        for process in &mut self.processes {
            let _ = process.wait();
        }
        for port in &self.executors {
            let own = format!("label=grapnel.executor={}", executor_name(*port));
            for volume in docker_lines(&["volume", "ls", "--quiet", "--filter", &own]) {
                docker_lines(&["volume", "rm", &volume]);
            }
        }
    }
}

fn executor_name(port: u16) -> String {
    format!("bench-{port}")
}
