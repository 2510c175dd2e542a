//! Programs that are measured beside Grapnel, each a process of its own.

use std::{
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

/// How long a program may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
}

impl Server {
    /// Starts a program that says nothing, and waits until it listens at an address.
    ///
    /// # Errors
    /// It is not there, or ends, or does not listen.
    pub async fn start(command: &mut Command, address: &str) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server =
            Self { process: quiet.spawn().with_context(|| format!("{program} cannot be started"))? };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(server.process.try_wait()?.is_none(), "{program} has ended");
            ensure!(begun.elapsed() < PATIENCE, "{program} does not listen at {address}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked for, so that it ends its own processes.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// Returns an address of this machine at which nobody listens.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", grapnel_e2e::grapnel::free_port())
}

/// Returns a program that was built beside this one.
///
/// # Errors
/// It is not there.
pub fn beside(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(program.is_file(), "{} is missing: build the whole package", program.display());
    Ok(program)
}
