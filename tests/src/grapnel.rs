//! The real binary, started for one test.

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use grapnel_domain::secret_token::ApiKey;
use grapnel_proto::hooks::v1::{
    CreateHookRequest, CreateProjectRequest, Deployment, DeploymentState, GetDeploymentRequest, Project,
    hook_service_client::HookServiceClient,
};
use grapnel_runtime::grpc::{self, Bearer};
use tempfile::TempDir;
use tonic::{codegen::InterceptedService, transport::Channel};

/// The label of everything that an executor makes in the engine.
const LABEL: &str = "label=grapnel.executor";

/// How many sandboxes an executor has ready ahead of builds, unless a test says otherwise.
const PRESTART: usize = 2;

/// A client with a key.
pub type Client = HookServiceClient<InterceptedService<Channel, Bearer>>;

/// How to start it.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Settings beside those that every test has.
    pub settings: Vec<(String, String)>,
    /// Whether it is the embedded database that is tried, whatever others are tried over.
    pub embedded: bool,
}

impl Setup {
    /// Keeps to the embedded database.
    #[must_use]
    pub fn embedded(mut self) -> Self {
        self.embedded = true;
        self
    }

    /// Adds a setting by its environment variable without the prefix.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((format!("GRAPNEL_{name}"), value.to_owned()));
        self
    }
}

/// A `grapnel up` of the test's own. When it is dropped it is stopped, and nothing of it may be left in the engine or
/// among the workspaces.
#[derive(Debug)]
pub struct Grapnel {
    directory: TempDir,
    process: Child,
    settings: Vec<(String, String)>,
    executor: u16,
    name: String,
    gateway: u16,
    hooks: u16,
    sites: u16,
}

impl Grapnel {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// It does not start; its log is told.
    pub async fn start(setup: Setup) -> Self {
        let mut grapnel = Self::prepare(setup);
        grapnel.start_again().await;
        grapnel
    }

    /// Makes its directory and finds its ports, and starts nothing.
    ///
    /// # Panics
    /// No directory can be made.
    pub fn prepare(setup: Setup) -> Self {
        let directory =
            tempfile::Builder::new().prefix("grapnel-").tempdir().expect("a directory can be made");
        let [gateway, hooks, executor, sites] = [(); 4].map(|()| free_port());
        let name = format!("test-{hooks}");
        let placeholder = Command::new("true").spawn().expect("a process can be started");
        let mut settings = setup.settings;
        if crate::over_postgres() && !setup.embedded {
            let database = crate::new_database(&format!("up-{hooks}-{}", std::process::id()));
            settings.push(("GRAPNEL_DATABASE_URL".to_owned(), database));
        }
        let mut grapnel =
            Self { directory, process: placeholder, settings, executor, name, gateway, hooks, sites };
        let _ = grapnel.process.wait();
        grapnel
    }

    /// Kills the process as nobody can prepare for.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Has the process end as a person does, and waits until it has: nothing is handed over to a next process.
    pub fn stop(&mut self) {
        if !matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        let _ = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }

    /// Starts it over the same data directory and waits until it answers.
    ///
    /// # Panics
    /// It does not start; its log is told.
    pub async fn start_again(&mut self) {
        self.spawn();
        let health = self.url("/healthz");
        let ready = async {
            let client = crate::http_client();
            while !client.get(&health).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(60), ready).await.is_err() {
            let _ = self.process.kill();
            panic!("it does not start: {}", self.log());
        }
    }

    /// Starts it over its data directory, and waits for nothing.
    ///
    /// # Panics
    /// There is no binary.
    pub fn spawn(&mut self) {
        let listen = |port: u16| format!("127.0.0.1:{port}");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.path().join("log"));
        let mut command = Command::new(binary());
        command
            .arg("up")
            .env("GRAPNEL_DATA_DIR", self.data())
            .env("GRAPNEL_EXECUTOR_NAME", &self.name)
            .env("GRAPNEL_GATEWAY_LISTEN", listen(self.gateway))
            .env("GRAPNEL_HOOKS_LISTEN", listen(self.hooks))
            .env("GRAPNEL_EXECUTOR_LISTEN", listen(self.executor))
            .env("GRAPNEL_SITES_LISTEN", listen(self.sites))
            .env("GRAPNEL_GIT_ALLOWED_DIRS", self.directory.path().join("git"))
            .env("GRAPNEL_CA_BUNDLE", crate::told("GRAPNEL_TEST_CA_BUNDLE"))
            .env_remove("GRAPNEL_TEST_CA_BUNDLE")
            .env_remove("GRAPNEL_TEST_GRPCURL")
            .env_remove("GRAPNEL_TEST_PRISM")
            .envs(self.settings.iter().cloned())
            .stdout(Stdio::null())
            .stderr(log.expect("a log can be made"));
        self.process = command.spawn().expect("the binary starts; `make test` builds it first");
    }

    /// Returns the data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Returns the directory of the test's repositories, which the operator allows.
    pub fn repositories(&self) -> PathBuf {
        self.directory.path().join("git")
    }

    /// Returns an address of the gateway.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.gateway)
    }

    /// Returns the port on which it serves sites.
    pub fn sites_port(&self) -> u16 {
        self.sites
    }

    /// Returns the address of gRPC, without a scheme.
    pub fn grpc(&self) -> String {
        format!("127.0.0.1:{}", self.hooks)
    }

    /// Returns the executor's name and its address.
    pub fn executor(&self) -> (&str, String) {
        (&self.name, format!("http://127.0.0.1:{}", self.executor))
    }

    /// Returns the process's id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns what it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Returns the admin key.
    pub fn key(&self) -> String {
        let file = self.directory.path().join("data/admin.key");
        fs::read_to_string(file).expect("the admin key is there").trim().to_owned()
    }

    /// Returns a client with the admin key.
    pub fn client(&self) -> Client {
        let channel = grpc::channel(&format!("http://{}", self.grpc()), None).expect("the address is one");
        HookServiceClient::with_interceptor(
            channel,
            Bearer::new(&ApiKey::parse(&self.key()).expect("it is a key")),
        )
    }

    /// Runs a client command.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command runs")
    }

    /// Returns a client command, to be run as the test wants it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments);
        command.env("GRAPNEL_URL", format!("http://{}", self.grpc())).env("GRAPNEL_KEY", self.key());
        command
    }

    /// Creates a project and a hook, and returns them with the hook's URL.
    pub async fn project(&self, request: CreateProjectRequest) -> (Project, String) {
        let mut client = self.client();
        let created = client.create_project(request).await.expect("the project can be created");
        let project = created.into_inner().project.expect("it is answered");
        let hook =
            CreateHookRequest { project: project.id.clone(), name: "cms".into(), ..Default::default() };
        let url = client.create_hook(hook).await.expect("the hook can be created").into_inner().url;
        (project, url)
    }

    /// Requests a hook's URL and returns the deployment's id.
    pub async fn trigger(&self, url: &str) -> String {
        let answer = crate::http_client().post(url).send().await.expect("the gateway answers");
        assert_eq!(answer.status(), 200);
        let answer: serde_json::Value = answer.json().await.expect("it answers JSON");
        answer["job"]["id"].as_str().expect("with a job").to_owned()
    }

    /// Reads a deployment.
    pub async fn deployment(&self, id: &str) -> Deployment {
        let request = GetDeploymentRequest { deployment_id: id.to_owned() };
        let answer = self.client().get_deployment(request).await.expect("it can be read");
        answer.into_inner().deployment.expect("it is answered")
    }

    /// Waits until a deployment has ended.
    ///
    /// # Panics
    /// It does not within two minutes.
    pub async fn ended(&self, id: &str) -> Deployment {
        self.until(id, |deployment| deployment.finished_at.is_some()).await
    }

    /// Waits until a deployment is as it should be.
    ///
    /// # Panics
    /// It is not within two minutes.
    pub async fn until(&self, id: &str, wanted: impl Fn(&Deployment) -> bool) -> Deployment {
        let begun = Instant::now();
        loop {
            let deployment = self.deployment(id).await;
            if wanted(&deployment) {
                return deployment;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{deployment:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Waits until a deployment is READY.
    ///
    /// # Panics
    /// It ends in another state.
    pub async fn ready(&self, id: &str) -> Deployment {
        let deployment = self.ended(id).await;
        let log = String::from_utf8_lossy(&self.cli(&["deployment", "logs", id]).stdout).into_owned();
        assert_eq!(deployment.state(), DeploymentState::Ready, "{deployment:?}\n{log}");
        deployment
    }

    /// Fetches a page of a site by the first label of its host.
    pub async fn page(&self, label: &str, path: &str) -> reqwest::Response {
        self.page_request(label, path).send().await.expect("the sites' listener answers")
    }

    /// Waits until a page of a site has a text in it: a gateway believes an address for a second.
    ///
    /// # Panics
    /// It has not after a minute.
    pub async fn page_says(&self, label: &str, path: &str, wanted: &str) {
        let begun = Instant::now();
        loop {
            let page = self.page(label, path).await.text().await.expect("the page comes whole");
            if page.contains(wanted) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{label} says: {page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes a request for a page of a site, which follows no redirect.
    ///
    /// # Panics
    /// TLS cannot be set up.
    pub fn page_request(&self, label: &str, path: &str) -> reqwest::RequestBuilder {
        let host = format!("{label}.localhost:{}", self.sites);
        let url = format!("http://127.0.0.1:{}{path}", self.sites);
        let client = crate::http().redirect(reqwest::redirect::Policy::none()).build();
        client.expect("a client can be made").get(url).header("host", host)
    }

    /// Waits until nothing of its builds is left but caches.
    ///
    /// # Panics
    /// Something is left after a minute.
    pub async fn nothing_is_left(&self) {
        let begun = Instant::now();
        loop {
            let left = self.leftovers();
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "left over: {left:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn leftovers(&self) -> Vec<String> {
        let own = format!("{LABEL}={}", self.name);
        let mut left = docker_lines(&["ps", "--all", "--format", "{{.Names}}", "--filter", &own]);
        left.extend(docker_lines(&["volume", "ls", "--quiet", "--filter", &own]));
        // The bridges of all builds stay for as long as there are executors.
        let networks = docker_lines(&["network", "ls", "--format", "{{.Name}}", "--filter", "name=grapnel"]);
        let is_a_bridge = |network: &String| network.starts_with("grapnel-eg") || network == "grapnel-open";
        left.extend(networks.into_iter().filter(|network| !is_a_bridge(network)));
        let workspaces = fs::read_dir(self.directory.path().join("data/workspaces")).expect("it is there");
        left.extend(workspaces.flatten().map(|entry| entry.path().display().to_string()));
        without_what_stands_ready(left)
    }
}

/// Takes out of names what stands ready ahead of builds, where it is not more than an executor may have.
pub fn without_what_stands_ready(mut names: Vec<String>) -> Vec<String> {
    let made_ahead =
        |name: &str| name.rfind("dpl_").filter(|_| name.ends_with("-0")).map(|at| name[at..].to_owned());
    let ready: HashSet<_> = names.iter().filter_map(|name| made_ahead(name)).collect();
    if ready.len() <= PRESTART {
        names.retain(|name| made_ahead(name).is_none());
    }
    names
}

impl Drop for Grapnel {
    fn drop(&mut self) {
        self.stop();
        let own = format!("{LABEL}={}", self.name);
        for volume in docker_lines(&["volume", "ls", "--quiet", "--filter", &own]) {
            docker_lines(&["volume", "rm", &volume]);
        }
    }
}

/// Runs the docker client and returns the lines that it prints.
///
/// # Panics
/// There is none.
pub fn docker_lines(arguments: &[&str]) -> Vec<String> {
    lines_of(Command::new("docker").args(arguments))
}

/// Runs a command and returns the lines that it printed.
///
/// # Panics
/// It cannot be started.
pub fn lines_of(command: &mut Command) -> Vec<String> {
    let output = command.output().expect("the command can be started");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Returns a port that is free now, and that stays so until it is listened at, even between a kill and the next start:
/// Linux gives those from 32768 on to connections and to whoever asks for any.
///
/// # Panics
/// A thousand ports are all taken.
pub fn free_port() -> u16 {
    let any = || rand::random_range(11_000..32_000);
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(any).take(1_000).find(free).expect("a port is free")
}

/// Returns the binary that was built beside this test.
pub fn binary() -> PathBuf {
    let this = std::env::current_exe().expect("a program knows where it is");
    // Tests stand in deps/, programs beside it.
    let binary = this.ancestors().skip(1).take(2).map(|directory| directory.join("grapnel"));
    binary.clone().find(|binary| binary.is_file()).unwrap_or_else(|| {
        panic!("{:?} are missing: run `cargo build --workspace` first", binary.collect::<Vec<_>>())
    })
}
