//! Private repositories, as somebody has them who begins with the wrong credential.

use grapnel_e2e::{GitServer, Grapnel, Repository, Setup, SshKeyPair, SshServer};
use grapnel_proto::hooks::v1::{
    BuildSettings, CreateProjectRequest, DeploymentState, ProjectChanges, UpdateProjectRequest,
};

/// A project whose deployments are looked at from all sides.
struct House {
    grapnel: Grapnel,
    hook: String,
}

impl House {
    async fn of(grapnel: Grapnel, repository_url: &str) -> Self {
        let settings = BuildSettings { output_directory: Some(".".into()), ..Default::default() };
        let request = CreateProjectRequest {
            name: "site".into(),
            repository_url: repository_url.into(),
            settings: Some(settings),
            ..Default::default()
        };
        let (_, hook) = grapnel.project(request).await;
        Self { grapnel, hook }
    }

    /// Deploys, and makes sure that the failure is told alike by the deployment over gRPC and by the command line.
    async fn fails(&self, code: &str, says: &str) {
        let id = self.grapnel.trigger(&self.hook).await;
        let deployment = self.grapnel.ended(&id).await;
        let failure = deployment.failure.clone().unwrap_or_default();
        assert_eq!(failure.code, code, "{deployment:?}");
        assert!(failure.message.contains(says), "{}", failure.message);
        assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        let shown = self.grapnel.cli(&["deployment", "show", &id]).stdout;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(shown.contains(code) && shown.contains(&failure.message), "{shown}");
    }

    async fn is_ready(&self) {
        let id = self.grapnel.trigger(&self.hook).await;
        let deployment = self.grapnel.ready(&id).await;
        assert_eq!(deployment.state(), DeploymentState::Ready);
        let page = self.grapnel.page("site", "/index.html").await.text().await.unwrap();
        assert_eq!(page, "private");
    }

    async fn change(&self, changes: ProjectChanges, path: &str) {
        let request = UpdateProjectRequest {
            project: "site".into(),
            changes: Some(changes),
            update_mask: Some(prost_types::FieldMask { paths: vec![path.into()] }),
        };
        self.grapnel.client().update_project(request).await.unwrap();
    }

    async fn moves_to(&self, repository_url: &str) {
        self.change(
            ProjectChanges { repository_url: repository_url.into(), ..Default::default() },
            "repository_url",
        )
        .await;
    }

    /// Runs a command that works, and returns what it prints.
    fn runs(&self, arguments: &[&str]) -> String {
        let output = self.grapnel.cli(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Gives the project a token in the place of the one that it has.
    fn shows(&self, token: &str) {
        let listed = self.runs(&["credential", "list", "--project", "site", "--output", "json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        for credential in listed["credentials"].as_array().into_iter().flatten() {
            self.runs(&["credential", "delete", credential["id"].as_str().unwrap()]);
        }
        let file = self.grapnel.repositories().join("token");
        std::fs::write(&file, token).unwrap();
        let file_name = file.to_str().unwrap();
        let create = ["credential", "create", "site", "--user", "deploy", "--token-file", file_name];
        let refused = self.grapnel.cli(&create);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("everybody on the way reads the token"));
        self.runs(&[&create[..], &["--allow-clear-text"]].concat());
        std::fs::remove_file(file).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_repository_over_http_builds_and_every_wrong_credential_says_what_it_is() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let git = grapnel.repositories();
    Repository::with(&git.join("site"), &[("index.html", "private")]);
    let server = GitServer::start(&git).await.unwrap();
    server.protect("site", "deploy", "hunter2-right");
    let house = House::of(grapnel, &server.url("site")).await;
    house.fails("REPOSITORY_ACCESS_DENIED", "`grapnel credential create <project>`").await;
    house.shows("hunter2-wrong");
    house.fails("REPOSITORY_ACCESS_DENIED", &server.origin()).await;
    house.shows("hunter2-right");
    house.is_ready().await;
    house.moves_to(&server.url("nothing")).await;
    house.fails("REPOSITORY_NOT_FOUND", "there is no repository at").await;
    house.moves_to("http://127.0.0.1:9/site.git").await;
    house.fails("REPOSITORY_UNREACHABLE", "cannot be reached").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_repository_over_ssh_builds_with_a_key_of_ours_and_every_refusal_says_what_it_is() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let git = grapnel.repositories();
    let repository = Repository::with(&git.join("site"), &[("index.html", "private")]);
    let mut server = SshServer::start(&git);
    let house = House::of(grapnel, &server.url("site")).await;
    let host = format!("127.0.0.1:{}", server.port());
    house.fails("HOST_KEY_UNKNOWN", &format!("`grapnel credential trust-host {host}`")).await;

    let unasked = house.grapnel.cli(&["credential", "trust-host", &host]);
    let told = String::from_utf8_lossy(&unasked.stderr).into_owned();
    let fingerprint = server.known().keys[0].fingerprint();
    assert!(!unasked.status.success() && told.contains(&fingerprint), "{told}");
    let wrong = house.grapnel.cli(&["credential", "trust-host", &host, "--fingerprint", "SHA256:x"]);
    assert!(!wrong.status.success());
    house.runs(&["credential", "trust-host", &host, "--fingerprint", &fingerprint]);
    house.fails("REPOSITORY_ACCESS_DENIED", "has none for it").await;

    let made = house.runs(&["credential", "create", "site", "--ssh-key", "--output", "json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let public = made["credential"]["publicKey"].as_str().unwrap().to_owned();
    assert!(!made.to_string().contains("PRIVATE"), "{made}");
    house.fails("REPOSITORY_ACCESS_DENIED", &server.origin()).await;
    server.authorise(&SshKeyPair { private: String::new(), public });
    house.is_ready().await;

    // Of a hook whose branch goes away.
    repository.git(&["branch", "--move", "main", "elsewhere"]);
    house.fails("BRANCH_NOT_FOUND", "has no branch `main`").await;
    repository.git(&["branch", "--move", "elsewhere", "main"]);
    server.change_host_key();
    house.fails("HOST_KEY_CHANGED", "HAS CHANGED").await;
    house.runs(&["credential", "trust-host", &host, "--yes"]);
    house.is_ready().await;
    let hosts = house.runs(&["credential", "hosts"]);
    assert!(hosts.contains(&host) && hosts.contains("github.com"), "{hosts}");
}
