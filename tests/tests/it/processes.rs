//! Hooks, gateway and executor as processes of their own: over PostgreSQL, and with certificates between them.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use grapnel_e2e::{
    Repository,
    grapnel::{binary, free_port},
    http_client, told,
};
use grapnel_proto::executor::v1::{GetExecutorRequest, executor_service_client::ExecutorServiceClient};
use grapnel_runtime::grpc::client_channel;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// How to start them.
#[derive(Default)]
pub struct Manner {
    pub with_tls: bool,
    /// Whether each has a data directory of its own, as on machines of their own.
    pub apart: bool,
    /// Settings of all three beside those that every test has.
    pub settings: Vec<(String, String)>,
}

/// The three processes, each in charge of its own. They are stopped when it is dropped.
pub struct Processes {
    directory: TempDir,
    running: BTreeMap<&'static str, Child>,
    settings: BTreeMap<&'static str, Vec<(&'static str, String)>>,
    manner: Manner,
    pub name: String,
    scheme: &'static str,
    gateway: u16,
    hooks: u16,
    executor: u16,
    sites: u16,
}

impl Processes {
    pub async fn start(manner: Manner) -> Self {
        let with_tls = manner.with_tls;
        let directory = tempfile::Builder::new().prefix("grapnel-").tempdir().unwrap();
        let [gateway, hooks, executor, sites] = [(); 4].map(|()| free_port());
        let scheme = if with_tls { "https" } else { "http" };
        // A port may have been another test's before, whose database is still there.
        let name = format!("processes-{hooks}-{}", std::process::id());
        let (running, settings) = (BTreeMap::new(), BTreeMap::new());
        let mut this =
            Self { directory, running, settings, manner, name, scheme, gateway, hooks, executor, sites };
        for key in ["gateway.key", "executor.key"] {
            let made = Command::new(binary()).args(["key", "generate"]).output().unwrap();
            fs::write(this.path(key), made.stdout).unwrap();
        }
        if with_tls {
            this.make_certificates();
        }
        let listen = |port: u16| format!("127.0.0.1:{port}");
        let url = |port: u16| format!("{scheme}://127.0.0.1:{port}");
        let (gateway_key, executor_key) = (this.text("gateway.key"), this.text("executor.key"));
        this.settings.insert(
            "executor",
            vec![
                ("EXECUTOR_LISTEN", listen(executor)),
                ("EXECUTOR_NAME", this.name.clone()),
                ("EXECUTOR_KEY_FILE", executor_key.clone()),
                ("EXECUTOR_STOP_WITHIN", "500ms".to_owned()),
                ("GIT_ALLOWED_DIRS", this.text("git")),
            ],
        );
        this.settings.insert(
            "hooks",
            vec![
                ("HOOKS_LISTEN", listen(hooks)),
                ("DATABASE_URL", grapnel_e2e::new_database(&this.name)),
                ("EXECUTORS", url(executor)),
                ("GATEWAY_KEY_FILE", gateway_key.clone()),
                ("EXECUTOR_KEY_FILE", executor_key),
                ("PUBLIC_URL", format!("http://127.0.0.1:{gateway}")),
                ("SITES_URL", format!("http://localhost:{sites}")),
            ],
        );
        this.settings.insert(
            "gateway",
            vec![
                ("GATEWAY_LISTEN", listen(gateway)),
                ("SITES_LISTEN", listen(sites)),
                ("HOOKS_URL", url(hooks)),
                ("GATEWAY_KEY_FILE", gateway_key),
            ],
        );
        for service in ["executor", "hooks"] {
            this.spawn(service);
        }
        this.start_gateway().await;
        this
    }

    pub async fn start_gateway(&mut self) {
        self.spawn("gateway");
        self.answers().await;
    }

    /// Returns the data directory of a process.
    pub fn data(&self, service: &str) -> PathBuf {
        if self.manner.apart { self.path(&format!("data-{service}")) } else { self.path("data") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Starts one of the three, with the settings that it has always had.
    pub fn spawn(&mut self, service: &'static str) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path(&format!("{service}.log")));
        let mut command = self.command(&[service]);
        command.env("GRAPNEL_DATA_DIR", self.data(service)).stdout(Stdio::null()).stderr(log.unwrap());
        for (name, value) in &self.manner.settings {
            command.env(format!("GRAPNEL_{name}"), value);
        }
        if self.scheme == "https" {
            command
                .env("GRAPNEL_TLS_CERT", self.path("cert.pem"))
                .env("GRAPNEL_TLS_KEY", self.path("key.pem"));
        }
        for (name, value) in &self.settings[service] {
            command.env(format!("GRAPNEL_{name}"), value);
        }
        self.running.insert(service, command.spawn().unwrap());
    }

    /// Sends a signal to one of the three.
    pub fn signal(&self, service: &str, signal: &str) {
        let pid = self.running[service].id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits until one of the three has ended, and returns its exit code.
    pub fn ended(&mut self, service: &str) -> Option<i32> {
        self.running.get_mut(service).unwrap().wait().unwrap().code()
    }

    /// Ends one of the three as nobody can prepare for.
    pub fn kill(&mut self, service: &str) {
        self.signal(service, "-KILL");
        self.ended(service);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env_remove("GRAPNEL_TEST_CA_BUNDLE")
            .env_remove("GRAPNEL_TEST_GRPCURL")
            .env_remove("GRAPNEL_TEST_PRISM");
        if self.scheme == "https" {
            command.env("GRAPNEL_TLS_CA", self.path("ca.pem"));
        }
        command
    }

    /// Runs a client command with the admin key.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.client(arguments).env("GRAPNEL_KEY_FILE", self.data("hooks").join("admin.key")).output().unwrap()
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("GRAPNEL_URL", format!("{}://127.0.0.1:{}", self.scheme, self.hooks));
        command
    }

    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.cli(&[arguments, &["--output", "json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}\n{}", self.logs());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn answers(&self) {
        let health = format!("http://127.0.0.1:{}/healthz", self.gateway);
        let ready = async {
            let client = http_client();
            while !client.get(&health).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), ready).await.is_ok(), "{}", self.logs());
    }

    pub fn logs(&self) -> String {
        let log = |name: &&str| fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        ["executor", "hooks", "gateway"].iter().map(log).collect()
    }

    /// Makes an authority, and one certificate for all three: they are all on 127.0.0.1.
    fn make_certificates(&self) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        fs::write(self.path("ca.pem"), authority.pem()).unwrap();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
    }

    /// Requests a hook's URL and returns the deployment's id.
    pub async fn trigger(&self, url: &str) -> String {
        let answer = http_client().post(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", self.logs());
        let job: serde_json::Value = answer.json().await.unwrap();
        job["job"]["id"].as_str().unwrap().to_owned()
    }

    /// Creates a project and a hook, requests its URL, and waits until the site is there.
    async fn deploys(&self) {
        self.deploy(&[("index.html", "from afar")]).await;
        assert_eq!(self.page("/").send().await.unwrap().text().await.unwrap(), "from afar");
        assert!(!self.logs().contains("grh_"), "a token is in a log");
    }

    /// Creates the project `site` with these files and a hook, requests its URL, and waits until it is READY.
    pub async fn deploy(&self, files: &[(&str, &str)]) {
        let site = Repository::with(&self.path("git/site"), files);
        self.json(&["project", "create", "site", "--repo", &site.path()]);
        let url = self.json(&["hook", "create", "site", "cms"])["url"].as_str().unwrap().to_owned();
        let id = self.trigger(&url).await;
        let followed = self.cli(&["deployment", "logs", "--follow", &id]);
        let log = String::from_utf8_lossy(&followed.stdout).into_owned();
        assert!(followed.status.success(), "{log}\n{}", self.logs());
    }

    /// Begins a request for a page of the site.
    pub fn page(&self, path: &str) -> reqwest::RequestBuilder {
        let page = format!("http://127.0.0.1:{}{path}", self.sites);
        http_client().get(page).header("host", format!("site.localhost:{}", self.sites))
    }
}

impl Processes {
    /// Has the executor finish and end.
    fn drains(&mut self) {
        let listed = self.json(&["executor", "list"]);
        assert_eq!(listed["executors"][0]["name"], self.name.as_str(), "{listed}");
        assert_eq!(listed["executors"][0]["state"], "EXECUTOR_STATE_READY", "{listed}");
        let stranger = self.cli(&["executor", "drain", "nobody"]);
        assert_eq!(stranger.status.code(), Some(1));
        let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
        assert!(said.contains("no executor that answers is called `nobody`"), "{said}");
        let drained = self.cli(&["executor", "drain", &self.name, "--wait"]);
        assert!(drained.status.success(), "{}", self.logs());
        let said = String::from_utf8_lossy(&drained.stdout).into_owned();
        assert!(said.contains("has finished and is gone"), "{said}");
        assert_eq!(self.ended("executor"), Some(0));
        assert_eq!(self.json(&["executor", "list"])["executors"][0]["state"], "EXECUTOR_STATE_AWAY");
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for process in self.running.values_mut() {
            // A person's signal: nothing is handed over to anybody.
            let _ = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
            let _ = process.wait();
        }
        let label = format!("label=grapnel.executor={}", self.name);
        let listed = Command::new("docker").args(["volume", "ls", "--quiet", "--filter", &label]).output();
        for volume in String::from_utf8_lossy(&listed.unwrap().stdout).lines() {
            let _ = Command::new("docker").args(["volume", "rm", volume]).output();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_over_postgresql_deploy_a_site() {
    let mut processes = Processes::start(Manner::default()).await;
    processes.deploys().await;
    processes.drains();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_certificates_every_process_proves_who_it_is() {
    let processes = Processes::start(Manner { with_tls: true, ..Manner::default() }).await;
    processes.deploys().await;

    // Whoever speaks no TLS, or trusts another authority, gets nowhere.
    let plain = processes
        .client(&["project", "list"])
        .env("GRAPNEL_URL", format!("http://127.0.0.1:{}", processes.hooks))
        .env("GRAPNEL_KEY_FILE", processes.path("data/admin.key"))
        .output()
        .unwrap();
    assert_eq!(plain.status.code(), Some(3), "{}", String::from_utf8_lossy(&plain.stderr));
    let distrustful = processes
        .client(&["project", "list"])
        .env("GRAPNEL_TLS_CA", told("GRAPNEL_TEST_CA_BUNDLE"))
        .env("GRAPNEL_KEY_FILE", processes.path("data/admin.key"))
        .output()
        .unwrap();
    assert_eq!(distrustful.status.code(), Some(3), "{}", String::from_utf8_lossy(&distrustful.stderr));

    // An executor does not speak at all with who has no certificate, whatever key it shows.
    let ca = fs::read(processes.path("ca.pem")).unwrap();
    let channel = client_channel(&format!("https://127.0.0.1:{}", processes.executor), Some(&ca)).unwrap();
    let refused = ExecutorServiceClient::new(channel).get_executor(GetExecutorRequest {}).await.unwrap_err();
    assert_ne!(refused.code(), tonic::Code::Unauthenticated, "it got as far as the keys: {refused:?}");
}
