//! What goes wrong, and what is said about it. Each case attacks for real, ends with its own message, and leaves
//! nothing behind.

use std::os::unix::fs::symlink;

use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::{
    BuildLimits, BuildSettings, CreateHookRequest, CreateProjectRequest, Fault, TriggerDeploymentRequest,
};

/// One bad input: how the project is built, and what has to come of it.
struct Case {
    name: &'static str,
    command: &'static str,
    code: &'static str,
    says: &'static str,
}

const BUILDS: [Case; 11] = [
    Case { name: "fails", command: "echo no >&2; exit 3", code: "BUILD_FAILED", says: "exit code 3" },
    Case { name: "no-command", command: "frobnicate", code: "BUILD_FAILED", says: "not found" },
    Case {
        name: "never-ends",
        command: "trap '' TERM INT; while :; do sleep 1; done",
        code: "TIMED_OUT",
        says: "20 s",
    },
    Case {
        name: "forks",
        command: "f() { f | f & }; f; sleep 2; exit 4",
        code: "BUILD_FAILED",
        says: "exit code",
    },
    Case {
        name: "eats-memory",
        command: "exec python3 -c 'x = [bytearray(1 << 24) for _ in range(1000)]'",
        code: "OUT_OF_MEMORY",
        says: "memory",
    },
    Case {
        name: "fills-the-disk",
        command: "head -c 400M /dev/zero > big; sleep 30",
        code: "DISK_LIMIT",
        says: "67108864 bytes",
    },
    Case { name: "no-output", command: "rm -rf dist", code: "OUTPUT_MISSING", says: "`dist`" },
    Case {
        name: "output-link",
        command: "rm -rf dist; ln -s /etc dist",
        code: "OUTPUT_MISSING",
        says: "inside the repository",
    },
    Case {
        name: "output-escapes",
        command: "mkdir -p dist; ln -s /etc/passwd dist/x",
        code: "OUTPUT_REFUSED",
        says: "`x`",
    },
    Case { name: "output-empty", command: "mkdir -p dist", code: "OUTPUT_REFUSED", says: "empty" },
    Case {
        name: "output-fifo",
        command: "mkdir -p dist; mkfifo dist/pipe",
        code: "OUTPUT_REFUSED",
        says: "`pipe`",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_build_ends_with_its_own_message_and_leaves_nothing() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let mut begun = Vec::new();
    for case in BUILDS {
        let settings = BuildSettings {
            build_command: Some(case.command.into()),
            output_directory: Some("dist".into()),
            limits: Some(BuildLimits {
                timeout_seconds: Some(20),
                memory_bytes: Some(1 << 30),
                disk_bytes: Some(64 << 20),
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = CreateProjectRequest {
            name: case.name.into(),
            repository_url: site.path(),
            settings: Some(settings),
            ..Default::default()
        };
        let (_, url) = grapnel.project(request).await;
        begun.push((case, grapnel.trigger(&url).await));
    }
    for (case, id) in begun {
        let failure =
            grapnel.ended(&id).await.failure.unwrap_or_else(|| panic!("{} did not fail", case.name));
        assert_eq!(
            (failure.code.as_str(), failure.fault()),
            (case.code, Fault::User),
            "{}: {}",
            case.name,
            failure.message
        );
        assert!(failure.message.contains(case.says), "{}: {}", case.name, failure.message);
        let shown = String::from_utf8(grapnel.cli(&["deployment", "show", &id]).stdout).unwrap();
        assert!(shown.contains(case.code) && shown.contains(case.says), "{shown}");
    }
    grapnel.nothing_is_left().await;
    let (_, url) = grapnel.project(project("after", site.path())).await;
    grapnel.ready(&grapnel.trigger(&url).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_prints_100_mb_goes_on_and_its_log_is_cut_with_a_notice() {
    let grapnel = Grapnel::start(Setup::default().set("BUILD_LOG", "1MiB")).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let settings = BuildSettings {
        build_command: Some("yes 0123456789 | head -c 100M".into()),
        output_directory: Some(".".into()),
        ..Default::default()
    };
    let request = CreateProjectRequest { settings: Some(settings), ..project("site", site.path()) };
    let (_, url) = grapnel.project(request).await;
    let id = grapnel.trigger(&url).await;
    grapnel.ready(&id).await;
    let log = grapnel.cli(&["deployment", "logs", &id]).stdout;
    assert!(log.len() < 2 << 20, "{} bytes were kept", log.len());
    assert!(String::from_utf8_lossy(&log).contains("over its limit of 1048576 bytes"));
    grapnel.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_source_ends_with_its_own_message() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let below = grapnel.repositories();
    let site = Repository::with(&below.join("site"), &[("index.html", "hi")]);
    Repository::empty(&below.join("empty"));
    let broken = Repository::with(&below.join("broken"), &[("package.json", "{\n  \"a\": }")]);
    let linked = Repository::empty(&below.join("linked"));
    symlink("/etc", below.join("linked/public")).unwrap();
    linked.commit("Begin");
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = Repository::with(outside.path(), &[("index.html", "hi")]);

    let run = async |name: &str, repository: String, branch: &str, settings: BuildSettings| {
        let request = CreateProjectRequest {
            production_branch: branch.into(),
            settings: Some(settings),
            ..project(name, repository)
        };
        let (_, url) = grapnel.project(request).await;
        let failure = grapnel.ended(&grapnel.trigger(&url).await).await.failure.expect(name);
        (failure.code, failure.message)
    };
    let plain = BuildSettings::default;
    let path = |name: &str| below.join(name).display().to_string();
    let rooted = BuildSettings { root_directory: Some("packages/site".into()), ..plain() };
    let own_image = BuildSettings { builder_image: Some("no/such:image".into()), ..plain() };
    for ((code, message), expected, says) in [
        (run("no-branch", site.path(), "nope", plain()).await, "BRANCH_NOT_FOUND", "`nope`"),
        (run("empty", path("empty"), "main", plain()).await, "REPOSITORY_EMPTY", "no commit"),
        (run("missing", path("missing"), "main", plain()).await, "REPOSITORY_NOT_FOUND", "missing"),
        (run("outside", elsewhere.path(), "main", plain()).await, "REPOSITORY_REFUSED", "git.allowed_dirs"),
        (
            run("away", "http://127.0.0.1:1/x.git".into(), "main", plain()).await,
            "REPOSITORY_UNREACHABLE",
            "127.0.0.1:1",
        ),
        (run("no-root", site.path(), "main", rooted).await, "ROOT_DIRECTORY_MISSING", "packages/site"),
        (run("no-image", site.path(), "main", own_image).await, "IMAGE_MISSING", "no/such:image"),
        (run("broken", broken.path(), "main", plain()).await, "CONFIG_INVALID", "line 2"),
        (run("linked", linked.path(), "main", plain()).await, "OUTPUT_REFUSED", "`public`"),
    ] {
        assert_eq!(code, expected, "{message}");
        assert!(message.contains(says), "{message}");
    }
    grapnel.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_request_names_its_fields_in_grpc_and_on_the_command_line() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    grapnel.project(project("site", site.path())).await;
    for (address, says) in [
        ("ext::sh -c id", "white space"),
        ("-oProxyCommand=id", "begin with `-`"),
        ("https://user:secret@example.org/x", "password or token"),
        ("http://169.254.169.254/x", "link-local"),
        ("git://example.org/x", "https, http or ssh"),
    ] {
        let refused = grapnel.client().create_project(project("other", address.into())).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        let error = grapnel_proto::error::from_status(&refused, grapnel_domain::Reason::HooksUnavailable);
        assert_eq!(error.violations[0].field, "repository_url");
        assert!(error.violations[0].description.contains(says), "{error}");
    }
    for branch in ["-x", "--exec=id", "a..b", "@{", "a\nb"] {
        let request = CreateHookRequest {
            project: "site".into(),
            name: "x".into(),
            branch: branch.into(),
            ..Default::default()
        };
        assert_eq!(
            grapnel.client().create_hook(request).await.unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
        let request = TriggerDeploymentRequest {
            project: "site".into(),
            branch: branch.into(),
            build_cache: None,
            ..Default::default()
        };
        assert_eq!(
            grapnel.client().trigger_deployment(request).await.unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
    }
    let output = grapnel.cli(&["project", "create", "No Name", "--repo", "nonsense"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("`name`") && said.contains("`repository_url`"), "{said}");
    let output = grapnel.cli(&["project", "show", "nowhere"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no such project"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_cannot_look_at_or_end_the_runner_and_has_no_rights() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let probe = "kill -9 1; cat /proc/1/environ >/dev/null 2>&1 && echo LEAK; touch /x 2>/dev/null && echo ROOT; \
        grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; id -u; \
        ls /var/run/docker.sock 2>/dev/null; mount -t tmpfs none /tmp 2>/dev/null && echo MOUNT; echo end";
    let settings = BuildSettings { install_command: Some(probe.into()), ..Default::default() };
    let (_, url) = grapnel
        .project(CreateProjectRequest { settings: Some(settings), ..project("site", site.path()) })
        .await;
    let id = grapnel.trigger(&url).await;
    grapnel.ready(&id).await;
    let log = String::from_utf8(grapnel.cli(&["deployment", "logs", &id]).stdout).unwrap();
    let printed: Vec<_> = log.lines().skip_while(|line| !line.starts_with("CapEff")).take(6).collect();
    assert_eq!(
        printed,
        [
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "10001",
            "end"
        ],
        "{log}"
    );
    grapnel.nothing_is_left().await;
}

fn project(name: &str, repository_url: String) -> CreateProjectRequest {
    CreateProjectRequest { name: name.into(), repository_url, ..Default::default() }
}
