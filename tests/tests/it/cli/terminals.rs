//! What people see: on a terminal, which `script` makes (util-linux, on every Debian).

use std::process::{Command, Output, Stdio};

use grapnel_e2e::{Grapnel, Repository, Setup, grapnel::binary};

/// Runs a command on a terminal of 90 columns.
fn on_terminal(grapnel: &Grapnel, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let quoted: Vec<_> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
    let line = format!("stty cols 90 rows 30; exec '{}' {}", binary().display(), quoted.join(" "));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
    command.env("GRAPNEL_URL", format!("http://{}", grapnel.grpc())).env("GRAPNEL_KEY", grapnel.key());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm-256color").env("SHELL", "/bin/sh").envs(env.iter().copied()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_gets_what_fits_in_colour_and_a_pipe_gets_all_of_it_plain() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    assert!(grapnel.cli(&["project", "create", "harbour", "--repo", &site.path()]).status.success());
    let branch = "a-branch-that-is-not-there-and-has-a-name-that-fits-into-no-terminal-of-ninety-columns";
    let waited = on_terminal(&grapnel, &["deploy", "harbour", "--branch", branch, "--wait"], &[]);
    assert_eq!(waited.status.code(), Some(1), "{}", text(&waited));
    assert!(text(&waited).contains("BRANCH_NOT_FOUND"), "{}", text(&waited));
    assert!(text(&waited).contains("\u{1b}[31mERROR\u{1b}[0m"), "{:?}", text(&waited));

    let list = ["deployment", "list", "harbour"];
    let shown = text(&on_terminal(&grapnel, &list, &[]));
    assert!(shown.contains(" ago"), "{shown:?}");
    assert!(shown.contains("\u{1b}[38;5;9m"), "an error is red: {shown:?}");
    assert!(shown.contains('…') && !shown.contains(branch), "{shown:?}");

    for plain in [("NO_COLOR", "1"), ("TERM", "dumb"), ("CLICOLOR", "0")] {
        let shown = text(&on_terminal(&grapnel, &list, &[plain]));
        assert!(!shown.contains('\u{1b}'), "{plain:?}: {shown:?}");
        assert!(shown.contains("dpl_"), "{plain:?}: {shown:?}");
        for line in shown.lines() {
            assert!(line.trim_end().chars().count() <= 90, "{plain:?}: {line:?}");
        }
    }

    let piped = text(&grapnel.cli(&list));
    assert!(piped.contains(branch) && !piped.contains(" ago") && !piped.contains('\u{1b}'), "{piped:?}");
    let forced = grapnel.command(&list).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(text(&forced).contains("\u{1b}[38;5;9m"), "{forced:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_is_for_terminals_and_is_gone_in_the_end() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let build = ["--build", "echo built; sleep 2", "--output-dir", "."];
    let path = site.path();
    let create = [&["project", "create", "harbour", "--repo", &path], &build[..]].concat();
    assert!(grapnel.cli(&create).status.success());

    let waited = on_terminal(&grapnel, &["deploy", "harbour", "--wait"], &[]);
    let shown = text(&waited);
    assert!(waited.status.success(), "{shown:?}");
    assert!(shown.contains("BUILDING, build"), "the step that runs is told: {shown:?}");
    assert!(shown.contains("built\r\n"), "{shown:?}");
    assert!(shown.contains("https://") || shown.contains("http://"), "{shown:?}");

    let quiet = grapnel.cli(&["deploy", "harbour", "--wait"]);
    assert!(quiet.status.success());
    assert!(quiet.stderr.is_empty(), "{quiet:?}");
    let dumb = text(&on_terminal(&grapnel, &["deploy", "harbour", "--wait"], &[("TERM", "dumb")]));
    assert!(!dumb.contains('\u{1b}') && dumb.contains("[READY]"), "{dumb:?}");
}
