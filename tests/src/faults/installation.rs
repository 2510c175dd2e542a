//! An installation of processes that can be killed one by one.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use grapnel_domain::secret_token::ApiKey;
use grapnel_proto::hooks::v1::{
    BuildSettings, CreateHookRequest, CreateProjectRequest, hook_service_client::HookServiceClient,
};
use grapnel_runtime::grpc::{self, Bearer};
use tempfile::TempDir;

use crate::{
    OwnPostgres, Repository,
    grapnel::{Client, binary, docker_lines, free_port},
    http_client,
};

/// How many lines a build prints.
pub const LINES: u32 = 12;

/// What a build does: short, and long enough to be hit.
const BUILD: &str =
    "for n in $(seq 1 12); do echo line $n; sleep 0.05; done; mkdir -p dist; cp index.html dist/";

/// Where an installation keeps what it must not lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite,
    /// A server of the case's own.
    Postgres,
}

/// What can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The hooks service.
    Hooks,
    /// The gateway.
    Gateway,
    /// The executor.
    Executor,
    /// The database server.
    Postgres,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hooks => "hooks",
            Self::Gateway => "gateway",
            Self::Executor => "executor",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// Processes with a data directory, and a database server where one is wanted. All of it ends when it is dropped.
pub struct Installation {
    directory: TempDir,
    name: String,
    postgres: Option<OwnPostgres>,
    processes: BTreeMap<Part, Child>,
    projects: Vec<String>,
    gateway: u16,
    hooks: u16,
    executor: u16,
    sites: u16,
}

impl Installation {
    /// Starts everything, and waits until it answers.
    ///
    /// # Panics
    /// It does not.
    pub async fn start(database: Database) -> Self {
        let directory =
            tempfile::Builder::new().prefix("grapnel-").tempdir().expect("a directory can be made");
        let [gateway, hooks, executor, sites] = [(); 4].map(|()| free_port());
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(OwnPostgres::start(&[]).await),
        };
        let mut installation = Self {
            name: format!("faults-{hooks}"),
            directory,
            postgres,
            processes: BTreeMap::new(),
            projects: Vec::new(),
            gateway,
            hooks,
            executor,
            sites,
        };
        for key in ["gateway.key", "executor.key"] {
            let made = Command::new(binary()).args(["key", "generate"]).output().expect("the binary runs");
            fs::write(installation.path(key), made.stdout).expect("a key can be written");
        }
        for part in [Part::Executor, Part::Hooks, Part::Gateway] {
            installation.spawn(part);
        }
        installation.answers().await;
        installation
    }

    /// Kills a part as nobody can prepare for.
    pub fn kill(&mut self, part: Part) {
        match (part, &mut self.postgres, self.processes.get_mut(&part)) {
            (Part::Postgres, Some(postgres), _) => postgres.kill(),
            (_, _, Some(process)) => {
                let _ = process.kill();
                let _ = process.wait();
            }
            _ => panic!("this installation has no {part}"),
        }
    }

    /// Starts a part again that was killed.
    pub async fn start_again(&mut self, part: Part) {
        match (part, &mut self.postgres) {
            (Part::Postgres, Some(postgres)) => postgres.run().await,
            _ => self.spawn(part),
        }
    }

    /// Creates projects with a hook each, and returns the hooks' URLs.
    ///
    /// # Panics
    /// The service refuses.
    pub async fn hooks(&mut self, count: usize) -> Vec<String> {
        let mut urls = Vec::new();
        for n in 0..count {
            let name = format!("site{n}");
            let site = Repository::with(&self.path("git").join(&name), &[("index.html", "hello")]);
            let settings = BuildSettings {
                install_command: Some(String::new()),
                build_command: Some(BUILD.to_owned()),
                output_directory: Some("dist".to_owned()),
                ..Default::default()
            };
            let request = CreateProjectRequest {
                name: name.clone(),
                repository_url: site.path(),
                settings: Some(settings),
                ..Default::default()
            };
            let mut client = self.client();
            client.create_project(request).await.expect("a project can be created");
            let hook = CreateHookRequest { project: name.clone(), name: "cms".into(), ..Default::default() };
            urls.push(client.create_hook(hook).await.expect("a hook can be created").into_inner().url);
            self.projects.push(name);
        }
        urls
    }

    /// Returns the names of its projects.
    pub fn projects(&self) -> &[String] {
        &self.projects
    }

    /// Returns a client with the admin key.
    pub fn client(&self) -> Client {
        let channel = grpc::channel(&format!("http://127.0.0.1:{}", self.hooks), None);
        let key = fs::read_to_string(self.path("data/admin.key")).expect("the admin key is there");
        let key = ApiKey::parse(key.trim()).expect("it is a key");
        HookServiceClient::with_interceptor(channel.expect("the address is one"), Bearer::new(&key))
    }

    /// Tells whether a deployment's site is served.
    pub async fn serves(&self, id: &str) -> bool {
        let host = format!("{id}.localhost:{}", self.sites);
        let url = format!("http://127.0.0.1:{}/", self.sites);
        let page = http_client().get(url).header("host", host).send().await;
        match page {
            Ok(page) if page.status() == 200 => page.text().await.is_ok_and(|page| page == "hello"),
            Ok(_) | Err(_) => false,
        }
    }

    /// Returns what its builds have left in the engine and on disk, once that has had time to go.
    pub async fn left_over(&self) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let left = self.look_for_leftovers();
            if left.is_empty() || begun.elapsed() > Duration::from_secs(20) {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn look_for_leftovers(&self) -> Vec<String> {
        let own = format!("label=grapnel.executor={}", self.name);
        let mut left = docker_lines(&["ps", "--all", "--quiet", "--filter", &own]);
        left.extend(docker_lines(&["volume", "ls", "--quiet", "--filter", &own]));
        let workspaces = fs::read_dir(self.path("data/workspaces")).into_iter().flatten().flatten();
        left.extend(workspaces.map(|entry| entry.path().display().to_string()));
        left
    }

    /// Returns what its processes have logged.
    pub fn logs(&self) -> String {
        let log = |part: &Part| fs::read_to_string(self.path(&format!("{part}.log"))).unwrap_or_default();
        self.processes.keys().map(log).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn spawn(&mut self, part: Part) {
        let path = self.path(&format!("{part}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(path).expect("a log can be made");
        let listen = |port: u16| format!("127.0.0.1:{port}");
        let key = |name: &str| self.path(name).display().to_string();
        let mut command = Command::new(binary());
        command.env("GRAPNEL_DATA_DIR", self.path("data")).stdout(Stdio::null()).stderr(log);
        match part {
            Part::Executor => command
                .arg("executor")
                .env("GRAPNEL_EXECUTOR_LISTEN", listen(self.executor))
                .env("GRAPNEL_EXECUTOR_NAME", &self.name)
                .env("GRAPNEL_EXECUTOR_KEY_FILE", key("executor.key"))
                .env("GRAPNEL_GIT_ALLOWED_DIRS", self.path("git")),
            Part::Hooks => command
                .arg("hooks")
                .env("GRAPNEL_HOOKS_LISTEN", listen(self.hooks))
                .env("GRAPNEL_EXECUTORS", format!("http://127.0.0.1:{}", self.executor))
                .env("GRAPNEL_GATEWAY_KEY_FILE", key("gateway.key"))
                .env("GRAPNEL_EXECUTOR_KEY_FILE", key("executor.key"))
                .env("GRAPNEL_PUBLIC_URL", format!("http://127.0.0.1:{}", self.gateway))
                .env("GRAPNEL_SITES_URL", format!("http://localhost:{}", self.sites))
                .env("GRAPNEL_RATE_LIMIT_HOOK", "100000")
                .env("GRAPNEL_RATE_LIMIT_ADDRESS", "100000")
                .envs(self.postgres.as_ref().map(|postgres| ("GRAPNEL_DATABASE_URL", postgres.url()))),
            Part::Gateway => command
                .arg("gateway")
                .env("GRAPNEL_GATEWAY_LISTEN", listen(self.gateway))
                .env("GRAPNEL_SITES_LISTEN", listen(self.sites))
                .env("GRAPNEL_HOOKS_URL", format!("http://127.0.0.1:{}", self.hooks))
                .env("GRAPNEL_GATEWAY_KEY_FILE", key("gateway.key")),
            Part::Postgres => panic!("the database server starts by itself"),
        };
        let child = command.spawn().expect("the binary starts");
        self.processes.insert(part, child);
    }

    async fn answers(&self) {
        let health = format!("http://127.0.0.1:{}/healthz", self.gateway);
        let begun = Instant::now();
        let client = http_client();
        while !client.get(&health).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not start: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        for process in self.processes.values_mut().rev() {
            let _ = Command::new("kill").arg(process.id().to_string()).status();
            let _ = process.wait();
        }
        let own = format!("label=grapnel.executor={}", self.name);
        for volume in docker_lines(&["volume", "ls", "--quiet", "--filter", &own]) {
            docker_lines(&["volume", "rm", &volume]);
        }
    }
}
