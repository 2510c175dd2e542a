//! A Docker engine of a case's own, that can be killed: the machine's engine has others who build with it.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The image that its builds run in: small, since it has to be copied into it.
pub const IMAGE: &str = "grapnel/base:bookworm";

/// An engine with images, containers and a containerd of its own. It ends when it is dropped. Its containers have no network.
#[derive(Debug)]
pub struct OwnEngine {
    directory: TempDir,
    daemon: Option<Child>,
}

impl OwnEngine {
    /// Starts it, with [`IMAGE`] in it.
    ///
    /// # Panics
    /// It does not start, or the machine's engine has no such image.
    pub async fn start() -> Self {
        let directory =
            tempfile::Builder::new().prefix("engine-").tempdir().expect("a directory can be made");
        let mut engine = Self { directory, daemon: None };
        engine.run().await;
        let mut saved = Command::new("docker")
            .args(["save", IMAGE])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the docker client runs");
        let image = saved.stdout.take().expect("it is piped");
        let loaded = engine.docker().arg("load").stdin(image).stdout(Stdio::null()).status();
        assert!(loaded.is_ok_and(|loaded| loaded.success()), "{IMAGE} can be loaded: {}", engine.log());
        let _ = saved.wait();
        engine
    }

    /// Returns the path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// Returns a call of the docker client that reaches it.
    pub fn docker(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("--host").arg(format!("unix://{}", self.socket().display()));
        docker
    }

    /// Starts the daemon, and returns when it answers.
    ///
    /// # Panics
    /// It does not within a minute.
    pub async fn run(&mut self) {
        let begun = Instant::now();
        loop {
            // The kernel has killed containerd with the daemon. Where nobody takes note of its end, as in many containers, the
            // next daemon takes it for alive and waits 15 s for it.
            let _ = fs::remove_file(self.directory.path().join("run/containerd/containerd.pid"));
            let mut daemon = self.spawn();
            while daemon.try_wait().expect("it can be waited for").is_none() {
                if self.answers() {
                    self.daemon = Some(daemon);
                    return;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "no engine: {}", self.log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Its containerd is not gone yet.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn spawn(&self) -> Child {
        let path = |name: &str| self.directory.path().join(name);
        let log = fs::OpenOptions::new().create(true).append(true).open(path("log"));
        let own = self.directory.path().file_name().map(|name| name.to_string_lossy().into_owned());
        let own = own.unwrap_or_default();
        // In a network of its own: a daemon without a bridge removes the bridge of the machine's.
        Command::new("unshare")
            .args(["--net", "dockerd"])
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("run"))
            .arg("--pidfile")
            .arg(path("pid"))
            // Where the machine has a containerd of its own, both engines use it.
            .args([
                "--containerd-namespace",
                &own,
                "--containerd-plugins-namespace",
                &format!("{own}-plugins"),
            ])
            .args(["--bridge", "none", "--iptables=false"])
            .stdout(Stdio::null())
            .stderr(log.expect("a log can be made"))
            .spawn()
            .expect("dockerd is installed")
    }

    fn answers(&self) -> bool {
        let asked = self.docker().arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|asked| asked.success())
    }

    /// Kills the daemon. Its containers are left to themselves.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        daemon.kill().expect("it can be killed");
        daemon.wait().expect("it can be waited for");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        if let Some(pid) = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = daemon.wait();
        // What those that were killed have left: who watched over their containers, and their mounts.
        let directory = self.directory.path().display().to_string();
        let _ = Command::new("pkill").args(["-KILL", "--full", &directory]).status();
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let paths = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for path in paths.filter(|path| path.starts_with(&directory)) {
            let _ = Command::new("umount").args(["--lazy", path]).status();
        }
    }
}
