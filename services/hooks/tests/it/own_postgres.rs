//! A PostgreSQL that a test may kill.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sea_orm::{ConnectOptions, Database};
use tempfile::TempDir;

/// A cluster of the test's own, on a port of its own.
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
    pub async fn start(settings: &[&'static str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            let chown = Command::new("chown").arg("postgres").arg(directory.path()).status().unwrap();
            assert!(chown.success());
        }
        let made = program("initdb")
            .args(["--username", "postgres", "--auth", "trust", "--no-sync", "--pgdata"])
            .arg(directory.path().join("data"))
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut postgres = Self { directory, port, server: None, settings: settings.to_vec() };
        postgres.run().await;
        postgres
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts the server, and again where the processes of a killed one are not gone yet.
    pub async fn run(&mut self) {
        let begun = Instant::now();
        loop {
            let mut command = program("postgres");
            command.arg("-D").arg(self.directory.path().join("data")).args(["-p", &self.port.to_string()]);
            for setting in
                ["listen_addresses=127.0.0.1", "unix_socket_directories="].iter().chain(&self.settings)
            {
                command.args(["-c", setting]);
            }
            command.current_dir(self.directory.path()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut server = command.spawn().unwrap();
            while server.try_wait().unwrap().is_none() {
                let mut options = ConnectOptions::new(self.url());
                options.connect_timeout(Duration::from_secs(1)).acquire_timeout(Duration::from_secs(1));
                if let Ok(database) = Database::connect(options).await {
                    database.close().await.unwrap();
                    self.server = Some(server);
                    return;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "PostgreSQL does not start");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Kills it as a power cut does.
    pub fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Stops all its processes, or lets them go on: a server that neither answers nor hangs up.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        let server = self.server.as_ref().unwrap().id();
        for pid in children_of(server).into_iter().chain([server]) {
            let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
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
