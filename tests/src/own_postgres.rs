//! A PostgreSQL that a test may kill.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A cluster of the test's own, on a port of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct OwnPostgres {
    directory: TempDir,
    port: u16,
    server: Option<Child>,
    settings: Vec<&'static str>,
}

/// The programs of PostgreSQL, where Debian has them.
fn program(name: &str) -> Command {
    let path = PathBuf::from("/usr/lib/postgresql/15/bin").join(name);
    let path = if path.exists() { path } else { PathBuf::from(name) };
    if !rustix::process::geteuid().is_root() {
        return Command::new(path);
    }
    // It refuses to run as root.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).arg(path);
    command
}

impl OwnPostgres {
    /// Makes a cluster and starts its server, with settings such as `max_connections=10`.
    ///
    /// # Panics
    /// PostgreSQL's programs are not there, or do not start.
    pub async fn start(settings: &[&'static str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        if rustix::process::geteuid().is_root() {
            let chown = Command::new("chown").arg("postgres").arg(directory.path()).status();
            assert!(chown.is_ok_and(|chown| chown.success()), "the directory can be given away");
        }
        let made = program("initdb")
            .args(["--username", "postgres", "--auth", "trust", "--no-sync", "--pgdata"])
            .arg(directory.path().join("data"))
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .status();
        assert!(made.is_ok_and(|made| made.success()), "a cluster can be made");
        let port = crate::grapnel::free_port();
        let mut postgres = Self { directory, port, server: None, settings: settings.to_vec() };
        postgres.run().await;
        postgres
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts the server, and again where the processes of a killed one are not gone yet; returns when it answers.
    ///
    /// # Panics
    /// It does not answer within a minute.
    pub async fn run(&mut self) {
        let begun = Instant::now();
        loop {
            let mut server = self.spawn();
            while server.try_wait().expect("it can be waited for").is_none() {
                if self.answers() {
                    self.server = Some(server);
                    return;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "PostgreSQL does not start");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn spawn(&self) -> Child {
        let mut command = program("postgres");
        command.arg("-D").arg(self.directory.path().join("data")).args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories="].iter().chain(&self.settings)
        {
            command.args(["-c", setting]);
        }
        command.current_dir(self.directory.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("PostgreSQL starts")
    }

    fn answers(&self) -> bool {
        let asked = program("pg_isready")
            .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .current_dir(self.directory.path())
            .status();
        asked.is_ok_and(|asked| asked.success())
    }

    /// Kills it as a power cut does.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.kill().expect("it can be killed");
        server.wait().expect("it can be waited for");
    }

    /// Stops all its processes, or lets them go on: a server that neither answers nor hangs up.
    ///
    /// # Panics
    /// It does not run.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        let server = self.server.as_ref().expect("it runs").id();
        for pid in children_of(server).into_iter().chain([server]) {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("it is a process's id");
            let _ = kill_process(pid, signal);
        }
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
