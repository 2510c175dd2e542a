//! A git server over SSH: OpenSSH's own daemon, with keys of the test's own, that does nothing but serve repositories.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use grapnel_domain::source::{HostKey, KnownHost};
use tempfile::TempDir;

/// Where Debian has the daemon; it insists on being started by its whole path.
const SSHD: &str = "/usr/sbin/sshd";

/// A server of the repositories below a directory, for whoever has an authorised key. It ends when dropped.
#[derive(Debug)]
pub struct SshServer {
    directory: TempDir,
    port: u16,
    daemon: Child,
}

/// A key of a client.
#[derive(Clone, Debug)]
pub struct SshKeyPair {
    /// In the form of OpenSSH, without a passphrase.
    pub private: String,
    /// In one line.
    pub public: String,
}

impl SshKeyPair {
    /// Makes an ed25519 key.
    pub fn generate() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let file = directory.path().join("key");
        generate(&file);
        let read = |path: PathBuf| fs::read_to_string(path).expect("the key was made");
        Self { private: read(file.clone()), public: read(file.with_extension("pub")).trim().to_owned() }
    }
}

impl SshServer {
    /// Serves what is below `root`, on a free port of 127.0.0.1, for nobody yet.
    ///
    /// # Panics
    /// There is no OpenSSH server, or it does not start.
    pub fn start(root: &Path) -> Self {
        assert!(Path::new(SSHD).exists(), "{SSHD} is missing; `make test` installs it (openssh-server)");
        // Run by root, the daemon wants this directory, which is otherwise made when the machine starts.
        let _ = fs::create_dir_all("/run/sshd");
        let directory = tempfile::tempdir().expect("a directory can be made");
        let below = |name: &str| directory.path().join(name);
        let port = crate::grapnel::free_port();
        generate(&below("host_key"));
        fs::write(below("authorized_keys"), "").expect("it can be written");
        fs::write(below("serve"), script(root, directory.path())).expect("it can be written");
        fs::set_permissions(below("serve"), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {key}\nPidFile none\nUsePAM no\nStrictModes no\n\
             AuthorizedKeysFile {authorized}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nAllowTcpForwarding no\nX11Forwarding no\nPermitTTY no\n\
             ForceCommand {serve}\nMaxStartups 100\n",
            key = below("host_key").display(),
            authorized = below("authorized_keys").display(),
            serve = below("serve").display(),
        );
        fs::write(below("config"), config).expect("it can be written");
        let daemon = daemon(directory.path(), port);
        Self { directory, port, daemon }
    }

    /// Lets whoever has a key read every repository.
    pub fn authorise(&self, key: &SshKeyPair) {
        let line = format!("{}\n", key.public);
        fs::write(self.directory.path().join("authorized_keys"), line).expect("it can be written");
    }

    /// Returns the address of a repository by its name below the root.
    pub fn url(&self, name: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}/{name}/.git", own_user(), self.port)
    }

    /// Returns the origin of all its repositories.
    pub fn origin(&self) -> String {
        format!("ssh://127.0.0.1:{}", self.port)
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server with the key by which it is known now.
    pub fn known(&self) -> KnownHost {
        let line = fs::read_to_string(self.directory.path().join("host_key.pub")).expect("it is there");
        let key: HostKey = line.parse().expect("it is a host key");
        KnownHost { host: "127.0.0.1".to_owned(), port: self.port, keys: vec![key] }
    }

    /// Starts the server again with another host key.
    pub fn change_host_key(&mut self) {
        self.end();
        let key = self.directory.path().join("host_key");
        fs::remove_file(&key).expect("it is there");
        generate(&key);
        self.daemon = daemon(self.directory.path(), self.port);
    }

    /// Sets what `git-lfs-authenticate` answers; without it the server does not know the command.
    pub fn answer_lfs(&self, json: &str) {
        fs::write(self.directory.path().join("lfs"), json).expect("it can be written");
    }

    /// Sets what the server says, and fails with, in place of serving.
    pub fn refuse_with(&self, text: &str) {
        fs::write(self.directory.path().join("refusal"), text).expect("it can be written");
    }

    /// Lets every request wait until [`SshServer::release`].
    pub fn hold(&self) {
        fs::write(self.directory.path().join("hold"), "").expect("it can be written");
    }

    /// Serves the requests that wait.
    pub fn release(&self) {
        let _ = fs::remove_file(self.directory.path().join("hold"));
    }

    fn end(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.release();
        self.end();
    }
}

/// The forced command: it takes apart what the client wants, and serves what is below the root and nothing else.
fn script(root: &Path, state: &Path) -> String {
    format!(
        r#"#!/bin/sh
state='{state}'
while [ -e "$state/hold" ]; do sleep 0.05; done
if [ -e "$state/refusal" ]; then cat "$state/refusal" >&2; exit 1; fi
wanted=${{SSH_ORIGINAL_COMMAND#* }}
name=$(printf %s "${{wanted%% download}}" | tr -d "'")
case "$SSH_ORIGINAL_COMMAND" in
    "git-upload-pack "*)
        case "$name" in *..*) exit 1 ;; esac
        if [ ! -d '{root}'"/$name" ]; then
            echo 'ERROR: Repository not found.' >&2
            exit 1
        fi
        exec git -c 'safe.directory=*' upload-pack '{root}'"/$name"
        ;;
    "git-lfs-authenticate "*" download") [ -e "$state/lfs" ] && exec cat "$state/lfs" ;;
esac
echo 'Invalid command' >&2
exit 127
"#,
        state = state.display(),
        root = root.display(),
    )
}

fn daemon(directory: &Path, port: u16) -> Child {
    let log = fs::File::create(directory.join("log")).expect("a log can be made");
    let mut command = Command::new(SSHD);
    command.arg("-D").arg("-e").arg("-f").arg(directory.join("config"));
    let mut daemon = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the OpenSSH server starts");
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
        assert!(daemon.try_wait().is_ok_and(|ended| ended.is_none()), "sshd ended: {}", log());
        assert!(begun.elapsed() < Duration::from_secs(20), "sshd does not listen: {}", log());
        std::thread::yield_now();
    }
    daemon
}

fn generate(file: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(file)
        .status();
    assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes a key");
}

fn own_user() -> String {
    let name = Command::new("id").arg("-un").output().expect("`id` runs").stdout;
    String::from_utf8_lossy(&name).trim().to_owned()
}
