//! An installation of processes that can be killed one by one.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use grapnel_domain::secret_token::ApiKey;
use grapnel_proto::hooks::v1::{
    BuildSettings, CreateHookRequest, CreateProjectRequest, address_service_client::AddressServiceClient,
    hook_service_client::HookServiceClient,
};
use grapnel_runtime::grpc::{self, Bearer};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tempfile::TempDir;
use tonic::{codegen::InterceptedService, transport::Channel};

use super::{
    clock::Clock,
    engine::{self, OwnEngine},
    hearers::Hearers,
    line::{Line, Quality},
    parts::{Database, Extra, Part, Place, Shape},
};
use crate::{
    OwnPostgres, Repository, S3Server, SmallDisk,
    grapnel::{Client, binary, free_port, lines_of, without_what_stands_ready},
    http_client,
};

/// How many lines a build prints.
pub const LINES: u32 = 12;

/// How long what is left of builds may take to go: an executor looks for it every half minute, and 10 s later once more.
const REMOVED: Duration = Duration::from_secs(60);

/// What a build does: short, and long enough to be hit.
const BUILD: &str = "for n in $(seq 1 12); do echo line $n; sleep 0.05; done; mkdir -p dist node_modules; cp index.html dist/; date > node_modules/built";

/// Processes with a data directory, and a database server where one is wanted. All of it ends when it is dropped.
pub struct Installation {
    /// Unmounted before the directory is removed that it is mounted in.
    disk: Option<SmallDisk>,
    directory: TempDir,
    name: String,
    shape: Shape,
    postgres: Option<OwnPostgres>,
    bucket: Option<S3Server>,
    hearers: Option<Hearers>,
    lines: Vec<Line>,
    engine: Option<OwnEngine>,
    clocks: BTreeMap<Part, Clock>,
    processes: BTreeMap<Part, Child>,
    projects: Vec<String>,
    /// Of each gateway, each hooks service, each executor, and each gateway's sites.
    ports: [Vec<u16>; 4],
}

impl Installation {
    /// Starts everything, and waits until it answers.
    ///
    /// # Panics
    /// It does not.
    pub async fn start(shape: Shape) -> Self {
        let directory =
            tempfile::Builder::new().prefix("grapnel-").tempdir().expect("a directory can be made");
        let ports = [(); 4].map(|()| (0..shape.of_each).map(|_| free_port()).collect::<Vec<_>>());
        let postgres = match shape.database {
            Database::Sqlite => None,
            Database::Postgres => Some(OwnPostgres::start(&[]).await),
        };
        let bucket = if shape.has_bucket() { Some(S3Server::start().await) } else { None };
        let engine = if shape.has(Extra::OwnEngine) { Some(OwnEngine::start().await) } else { None };
        let disk = shape.small_disk().map(|place| {
            SmallDisk::at(&directory.path().join("data").join(place.directory()), place.bytes())
        });
        let hearers = if shape.has(Extra::Hearers) {
            Some(Hearers::start(&directory.path().join("git")).await)
        } else {
            None
        };
        let mut lines = Vec::new();
        if shape.has(Extra::Lines) {
            for port in &ports[2] {
                lines.push(Line::before(*port).await);
            }
        }
        let mut installation = Self {
            name: format!("faults-{}", ports[0][0]),
            directory,
            shape: shape.clone(),
            postgres,
            bucket,
            hearers,
            lines,
            engine,
            disk,
            clocks: BTreeMap::new(),
            processes: BTreeMap::new(),
            projects: Vec::new(),
            ports,
        };
        for key in ["gateway.key", "executor.key"] {
            let made = Command::new(binary()).args(["key", "generate"]).output().expect("the binary runs");
            fs::write(installation.path(key), made.stdout).expect("a key can be written");
        }
        fs::write(installation.path("token"), "token-of-the-git-host").expect("a token can be written");
        for n in 0..shape.of_each {
            installation.spawn(Part::Executor(n));
            installation.spawn(Part::Hooks(n));
            installation.spawn(Part::Gateway(n));
            // The first hooks service makes the keys that the others share.
            installation.answers(n).await;
        }
        installation
    }

    /// Returns the processes of Grapnel.
    pub fn processes(&self) -> Vec<Part> {
        self.processes.keys().copied().collect()
    }

    /// Returns everything that can be killed.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = self.processes();
        parts.extend(self.postgres.as_ref().map(|_| Part::Postgres));
        parts.extend(self.engine.as_ref().map(|_| Part::Engine));
        parts
    }

    /// Kills a part as nobody can prepare for.
    ///
    /// # Panics
    /// There is no such part.
    pub fn kill(&mut self, part: Part) {
        match (part, &mut self.postgres, &mut self.engine, self.processes.get_mut(&part)) {
            (Part::Postgres, Some(postgres), ..) => postgres.kill(),
            (Part::Engine, _, Some(engine), _) => engine.kill(),
            (.., Some(process)) => {
                let _ = process.kill();
                let _ = process.wait();
            }
            _ => panic!("this installation has no {part}"),
        }
    }

    /// Starts a part again that was killed.
    pub async fn start_again(&mut self, part: Part) {
        match (part, &mut self.postgres, &mut self.engine) {
            (Part::Postgres, Some(postgres), _) => postgres.run().await,
            (Part::Engine, _, Some(engine)) => engine.run().await,
            _ => self.spawn(part),
        }
    }

    /// Kills a process, and starts it again to end where it comes to a crash point.
    pub fn start_again_until(&mut self, part: Part, crash_point: &str) {
        self.kill(part);
        self.spawn_with(part, &[("FAILPOINTS", crash_point)]);
    }

    /// Kills an executor and removes its caches, as if it came back on another machine.
    ///
    /// # Panics
    /// They cannot be removed.
    pub fn forget_caches(&mut self, part: Part) {
        self.kill(part);
        fs::remove_dir_all(self.data(part).join("caches")).expect("its caches can be removed");
    }

    /// Tells how a process has ended by itself.
    ///
    /// # Panics
    /// There is no such process.
    pub fn ended(&mut self, part: Part) -> Option<ExitStatus> {
        let process = self.processes.get_mut(&part).expect("it is a process of Grapnel");
        process.try_wait().expect("it can be waited for")
    }

    /// Returns a process's id.
    ///
    /// # Panics
    /// There is no such process.
    pub fn pid(&self, part: Part) -> u32 {
        self.processes.get(&part).expect("it is a process of Grapnel").id()
    }

    /// Sends a process a signal.
    ///
    /// # Panics
    /// There is no such process.
    pub fn signal(&self, part: Part, signal: Signal) {
        let process = self.processes.get(&part).expect("it is a process of Grapnel");
        // It may have ended.
        let _ = kill_process(Pid::from_child(process), signal);
    }

    /// Has a process open nothing more than it has open, or lets it open as many files as it may.
    ///
    /// # Panics
    /// There is no such process.
    pub fn limit_files(&self, part: Part, none: bool) {
        let process = self.processes.get(&part).expect("it is a process of Grapnel");
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = if none { Some(1) } else { maximum };
        prlimit(Some(Pid::from_child(process)), Resource::Nofile, Rlimit { current, maximum })
            .expect("its limits can be set");
    }

    /// Sets the clock of a process so many seconds ahead of the machine's.
    ///
    /// # Panics
    /// It has none of its own.
    pub fn set_clock(&self, part: Part, seconds: i64) {
        self.clocks.get(&part).expect("it has a clock of its own").set(seconds);
    }

    /// Returns the disk that can be full.
    ///
    /// # Panics
    /// There is none.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("a place has a disk of its own")
    }

    /// Makes the lines to all executors better or worse.
    pub fn make_lines(&self, quality: Quality) {
        for line in &self.lines {
            line.make(quality);
        }
    }

    /// Creates projects with a hook each, and returns the hooks' URLs, in turn of the gateways.
    ///
    /// # Panics
    /// The service refuses.
    pub async fn hooks(&mut self, count: usize) -> Vec<String> {
        let mut urls = Vec::new();
        for n in 0..count {
            let name = format!("site{n}");
            let site = Repository::with(&self.path("git/team").join(&name), &[("index.html", "hello")]);
            let settings = BuildSettings {
                install_command: Some(String::new()),
                build_command: Some(BUILD.to_owned()),
                output_directory: Some("dist".to_owned()),
                ..Default::default()
            };
            let request = CreateProjectRequest {
                name: name.clone(),
                repository_url: self.hearers.as_ref().map_or_else(|| site.path(), |it| it.repository(&name)),
                settings: Some(settings),
                ..Default::default()
            };
            let mut client = self.client();
            client.create_project(request).await.expect("a project can be created");
            let hook = CreateHookRequest { project: name.clone(), name: "cms".into(), ..Default::default() };
            let url = client.create_hook(hook).await.expect("a hook can be created").into_inner().url;
            let [gateways, ..] = &self.ports;
            let gateway = gateways[n % gateways.len()];
            urls.push(url.replace(&format!(":{}/", gateways[0]), &format!(":{gateway}/")));
            for arguments in
                self.hearers.iter().flat_map(|hearers| hearers.introduced_by(&name, &self.path("token")))
            {
                self.cli(&arguments);
            }
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
        let (channel, key) = self.connection();
        HookServiceClient::with_interceptor(channel, key)
    }

    /// Returns a client of the addresses, with the admin key.
    pub fn addresses(&self) -> AddressServiceClient<InterceptedService<Channel, Bearer>> {
        let (channel, key) = self.connection();
        AddressServiceClient::with_interceptor(channel, key)
    }

    fn connection(&self) -> (Channel, Bearer) {
        let channel = grpc::channel(&format!("http://127.0.0.1:{}", self.ports[1][0]), None);
        let key = fs::read_to_string(self.path("data/admin.key")).expect("the admin key is there");
        let key = ApiKey::parse(key.trim()).expect("it is a key");
        (channel.expect("the address is one"), Bearer::new(&key))
    }

    fn cli(&self, arguments: &[String]) {
        let done = Command::new(binary())
            .args(arguments)
            .env("GRAPNEL_URL", format!("http://127.0.0.1:{}", self.ports[1][0]))
            .env("GRAPNEL_KEY_FILE", self.path("data/admin.key"))
            .output()
            .expect("the command runs");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Tells whether every gateway serves a deployment's site.
    pub async fn serves(&self, id: &str) -> bool {
        let mut served = true;
        for port in &self.ports[3] {
            let host = format!("{id}.localhost:{port}");
            let page =
                http_client().get(format!("http://127.0.0.1:{port}/")).header("host", host).send().await;
            served &= match page {
                Ok(page) if page.status() == 200 => page.text().await.is_ok_and(|page| page == "hello"),
                Ok(_) | Err(_) => false,
            };
        }
        served
    }

    /// Returns what its builds have left in the engine and on disk, once that has had time to go.
    pub async fn left_over(&self) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let left = self.look_for_leftovers();
            if left.is_empty() || begun.elapsed() > REMOVED {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn look_for_leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for n in 0..self.shape.of_each {
            let own = format!("label=grapnel.executor={}", self.executor_name(n));
            let mut own_things = self.docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", &own]);
            own_things.extend(self.docker(&["volume", "ls", "--quiet", "--filter", &own]));
            let workspaces = fs::read_dir(self.data(Part::Executor(n)).join("workspaces"));
            let workspaces = workspaces.into_iter().flatten().flatten();
            own_things.extend(workspaces.map(|entry| entry.path().display().to_string()));
            left.extend(without_what_stands_ready(own_things));
        }
        left
    }

    /// Returns what the docker client says.
    fn docker(&self, arguments: &[&str]) -> Vec<String> {
        let mut docker = self.engine.as_ref().map_or_else(|| Command::new("docker"), OwnEngine::docker);
        lines_of(docker.args(arguments))
    }

    fn executor_name(&self, n: usize) -> String {
        format!("{}-{n}", self.name)
    }

    /// Returns a part's data directory. Hooks services share one: it has the keys of secrets.
    fn data(&self, part: Part) -> PathBuf {
        match part {
            Part::Executor(_) | Part::Gateway(_) if self.shape.of_each > 1 => {
                self.path(&format!("data-{part}"))
            }
            _ => self.path("data"),
        }
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
        self.spawn_with(part, &[]);
    }

    fn spawn_with(&mut self, part: Part, more: &[(&str, &str)]) {
        let path = self.path(&format!("{part}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(path).expect("a log can be made");
        let mut command = Command::new(binary());
        command
            .env("GRAPNEL_DATA_DIR", self.data(part))
            .env("GRAPNEL_GATEWAY_KEY_FILE", self.path("gateway.key"))
            .env("GRAPNEL_EXECUTOR_KEY_FILE", self.path("executor.key"))
            .envs(self.bucket_settings())
            .envs(self.engine_settings())
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .stderr(log);
        let [gateways, hooks, executors, sites] = &self.ports;
        let listen = |ports: &[u16], n: usize| format!("127.0.0.1:{}", ports[n]);
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        match part {
            Part::Executor(n) => command
                .arg("executor")
                .env("GRAPNEL_EXECUTOR_LISTEN", listen(executors, n))
                .env("GRAPNEL_EXECUTOR_NAME", self.executor_name(n))
                .env("GRAPNEL_GIT_ALLOWED_DIRS", self.path("git")),
            Part::Hooks(n) => command
                .arg("hooks")
                .env("GRAPNEL_HOOKS_LISTEN", listen(hooks, n))
                .env("GRAPNEL_EXECUTORS", self.reached().iter().map(url).collect::<Vec<_>>().join(","))
                .env("GRAPNEL_PUBLIC_URL", url(&gateways[0]))
                .env("GRAPNEL_SITES_URL", format!("http://localhost:{}", sites[0]))
                .env("GRAPNEL_OUTBOUND_ALLOW", "127.0.0.0/8")
                .env("GRAPNEL_RATE_LIMIT_HOOK", "100000")
                .env("GRAPNEL_RATE_LIMIT_ADDRESS", "100000")
                .env("GRAPNEL_DATABASE_URL", self.database_url()),
            Part::Gateway(n) => command
                .arg("gateway")
                .env("GRAPNEL_GATEWAY_LISTEN", listen(gateways, n))
                .env("GRAPNEL_SITES_LISTEN", listen(sites, n))
                .env("GRAPNEL_HOOKS_URL", url(&hooks[n])),
            Part::Postgres | Part::Engine => panic!("{part} is no process of Grapnel"),
        };
        if self.shape.has(Extra::Clocks) {
            let file = self.path(&format!("{part}.clock"));
            let clock = self.clocks.entry(part).or_insert_with(|| Clock::kept_in(file));
            command.envs(clock.variables());
        }
        let child = command.spawn().expect("the binary starts");
        self.processes.insert(part, child);
    }

    /// Returns the ports by which hooks services reach the executors.
    fn reached(&self) -> Vec<u16> {
        if self.lines.is_empty() {
            self.ports[2].clone()
        } else {
            self.lines.iter().map(Line::port).collect()
        }
    }

    fn database_url(&self) -> String {
        match &self.postgres {
            Some(postgres) => postgres.url(),
            None => {
                let directory = self.path("data").join(Place::Database.directory());
                fs::create_dir_all(&directory).expect("a directory can be made");
                format!("sqlite://{}", directory.join("grapnel.db").display())
            }
        }
    }

    fn engine_settings(&self) -> Vec<(&'static str, String)> {
        let settings = |engine: &OwnEngine| {
            vec![
                ("GRAPNEL_EXECUTOR_DOCKER", engine.socket().display().to_string()),
                ("GRAPNEL_EXECUTOR_NETWORK", "none".to_owned()),
                ("GRAPNEL_BUILDER_IMAGE", engine::IMAGE.to_owned()),
            ]
        };
        self.engine.as_ref().map(settings).unwrap_or_default()
    }

    fn bucket_settings(&self) -> impl Iterator<Item = (String, String)> {
        let settings = self.bucket.as_ref().map(S3Server::settings).unwrap_or_default();
        let shared = self.bucket.as_ref().map(|_| ("CACHE_SHARE".to_owned(), "bucket".to_owned()));
        settings.into_iter().chain(shared).map(|(name, value)| (format!("GRAPNEL_{name}"), value))
    }

    /// Waits until a gateway and its hooks service answer.
    ///
    /// # Panics
    /// They do not within half a minute.
    pub async fn answers(&self, gateway: usize) {
        let health = format!("http://127.0.0.1:{}/healthz", self.ports[0][gateway]);
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
        // A person's signal: nothing is handed over to anybody.
        for process in self.processes.values() {
            let _ = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
        }
        for process in self.processes.values_mut() {
            let _ = process.wait();
        }
        for n in 0..self.shape.of_each {
            let own = format!("label=grapnel.executor={}", self.executor_name(n));
            for volume in self.docker(&["volume", "ls", "--quiet", "--filter", &own]) {
                self.docker(&["volume", "rm", &volume]);
            }
        }
    }
}
