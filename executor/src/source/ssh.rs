//! OpenSSH, for one host: which keys it is known by, which key we show it, and to which address we really go.
//!
//! Nothing is read from the machine's own configuration or agent. The name is looked at and resolved once, and ssh goes
//! to the address that was looked at; under which name its key is known does not depend on that.

use std::{
    ffi::OsString,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use grapnel_domain::{
    RepositoryUrl,
    source::{CredentialSecret, HostKey, KnownHost, SourceAccess, well_known_hosts},
};
use tokio_util::sync::CancellationToken;

use super::{
    Mirrors, SourceError,
    private::PrivateFiles,
    program::{Bounds, Call, PATH, quoted},
    way_out::{Policy, Trouble},
};

/// Under which name ssh looks for the host's key: there is no other host in the file.
const ALIAS: &str = "the-host";

/// Whose repositories it is where an address names nobody.
const USER: &str = "git";

/// How long a host may take to show its keys, in seconds.
const SCAN: u64 = 10;

/// The kinds of keys that are asked for; see [`HostKey`].
const SCANNED: &str = "ed25519,ecdsa,rsa";

/// What never changes. Source: ssh_config(5).
const OPTIONS: &[&str] = &[
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "VerifyHostKeyDNS=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "ClearAllForwardings=yes",
    "ControlMaster=no",
    "ControlPath=none",
    "PermitLocalCommand=no",
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
];

/// How ssh is called for one repository. The private files have to live for as long as it is used.
#[derive(Debug)]
pub struct SshCall {
    options: Vec<String>,
    known_hosts: PathBuf,
    key: Option<PathBuf>,
}

impl SshCall {
    /// Writes what a call needs into its private files.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn prepare(
        files: &PrivateFiles,
        repository: &RepositoryUrl,
        address: IpAddr,
        keys: &[HostKey],
        credential: Option<&CredentialSecret>,
    ) -> io::Result<Self> {
        let lines: String = keys.iter().map(|key| format!("{ALIAS} {key}\n")).collect();
        let known_hosts = files.write("known_hosts", &lines)?;
        let key = match credential {
            // Without a line end after its last line OpenSSH cannot read it.
            Some(CredentialSecret::SshKey(key)) => {
                Some(files.write("key", &format!("{}\n", key.expose().trim_end()))?)
            }
            Some(CredentialSecret::Token { .. }) | None => None,
        };
        let mut options: Vec<String> = OPTIONS.iter().map(|option| (*option).to_owned()).collect();
        options.push(format!("HostName={address}"));
        options.push(format!("HostKeyAlias={ALIAS}"));
        if user_of(repository) == USER {
            options.push(format!("User={USER}"));
        }
        Ok(Self { options, known_hosts, key })
    }

    /// Returns the command for git, which gives it to a shell: the paths in it are quoted, for the shell and for ssh.
    pub fn command(&self) -> String {
        let mut command = "ssh -F/dev/null".to_owned();
        for option in &self.options {
            command += &format!(" -o{option}");
        }
        command += &format!(" -oUserKnownHostsFile={}", quoted(&for_ssh(&self.known_hosts)));
        match &self.key {
            Some(key) => command + &format!(" -oIdentityFile={}", quoted(&for_ssh(key))),
            None => command + " -oIdentityFile=none",
        }
    }

    /// Returns the arguments for ssh itself.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["-F/dev/null".into()];
        arguments.extend(self.options.iter().map(|option| format!("-o{option}").into()));
        arguments.push(format!("-oUserKnownHostsFile={}", for_ssh(&self.known_hosts)).into());
        let key = self.key.as_deref().map_or("none".to_owned(), for_ssh);
        arguments.push(format!("-oIdentityFile={key}").into());
        arguments
    }

    /// Describes a call of a command on the host.
    pub fn call(&self, home: &Path, user: &str, host: &str, port: u16, command: &str) -> Call {
        let mut arguments = self.arguments();
        arguments.extend(["-p".into(), port.to_string().into(), "-l".into(), user.into()]);
        arguments.extend(["--".into(), host.into(), command.into()]);
        Call { program: "ssh", arguments, environment: environment(home), directory: home.to_owned() }
    }
}

/// Quotes a path for ssh's own reading of its options, where a percent sign means something.
fn for_ssh(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}

fn environment(home: &Path) -> Vec<(&'static str, OsString)> {
    vec![("PATH", PATH.into()), ("HOME", home.as_os_str().to_owned()), ("LC_ALL", "C".into())]
}

/// Returns the keys by which a host is known: those of the team, else those that everybody knows.
pub fn keys_of(host: &str, port: u16, access: &SourceAccess) -> Vec<HostKey> {
    let well_known = well_known_hosts();
    let named = |it: &&KnownHost| it.host.eq_ignore_ascii_case(host) && it.port == port;
    let of_team = access.known_hosts.iter().find(named);
    of_team.or_else(|| well_known.iter().find(named)).map(|it| it.keys.clone()).unwrap_or_default()
}

/// Returns the user of an ssh repository: the one that its address names, else `git`.
pub fn user_of(repository: &RepositoryUrl) -> String {
    let text = repository.to_string();
    let authority = text.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    authority.rsplit_once('@').map_or(USER, |(user, _)| user).to_owned()
}

/// Why a host shows no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It leads where nobody is led.
    #[error("leads to {0}, an address that is not connected to")]
    Refused(String),
    /// It does not answer, or shows nothing that is believed.
    #[error("{0}")]
    Unreachable(String),
}

impl Mirrors {
    /// Asks an SSH host for its keys. Nothing is believed by this.
    ///
    /// # Errors
    /// The host leads to a refused address, or does not answer within 10 s.
    pub async fn scan_host(
        &self,
        host: &str,
        port: u16,
        cancel: &CancellationToken,
    ) -> Result<Vec<HostKey>, ScanError> {
        // Whoever names the host may mean a private one.
        let policy = Policy::at_home(host, port, &self.config.closed_networks);
        let address = policy.address(host, port).await.map_err(|trouble| match trouble {
            Trouble::Refused(address) | Trouble::Elsewhere(address) => ScanError::Refused(address),
            Trouble::Unreachable(cause) => ScanError::Unreachable(cause),
        })?;
        let arguments = ["-T", "5", "-t", SCANNED, "-p", &port.to_string(), "--", &address.to_string()];
        let call = Call {
            program: "ssh-keyscan",
            arguments: arguments.iter().map(Into::into).collect(),
            environment: environment(self.git.home()),
            directory: self.git.home().to_owned(),
        };
        let bounds = Bounds { timeout: Duration::from_secs(SCAN), cancel: cancel.clone() };
        let silent = || ScanError::Unreachable(format!("{host}:{port} does not answer as an SSH host"));
        let output = call.run(&bounds).await.map_err(|_| silent())?;
        let keys = scanned(&String::from_utf8_lossy(&output.stdout));
        if keys.is_empty() { Err(silent()) } else { Ok(keys) }
    }
}

/// Reads what ssh-keyscan prints: lines as `known_hosts` has them, and comments.
fn scanned(text: &str) -> Vec<HostKey> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut keys: Vec<HostKey> =
        lines.filter_map(|line| line.split_once(' ').and_then(|(_, key)| key.parse().ok())).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Tells from what ssh said whether it did not believe the host; `known` says whether there were keys to believe.
pub fn disbelieved(stderr: &str, repository: &RepositoryUrl, known: bool) -> Option<SourceError> {
    let said = |phrase: &str| stderr.contains(phrase);
    if !said("Host key verification failed") && !said("no matching host key type found") {
        return None;
    }
    let host = format!("{}:{}", repository.host().unwrap_or_default(), repository.port());
    Some(if known { SourceError::HostKeyChanged { host } } else { SourceError::HostKeyUnknown { host } })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn a_teams_keys_of_a_host_take_the_place_of_those_that_everybody_knows() {
        let nobody = SourceAccess::default();
        assert_eq!(keys_of("gitlab.com", 22, &nobody).len(), 2);
        assert!(keys_of("gitlab.com", 2222, &nobody).is_empty(), "another port is another host");
        let own = KnownHost { host: "gitlab.com".into(), port: 22, keys: vec![KEY.parse().unwrap()] };
        let access = SourceAccess { known_hosts: vec![own], ..SourceAccess::default() };
        assert_eq!(keys_of("GitLab.com", 22, &access), [KEY.parse().unwrap()]);
    }

    #[test]
    fn keys_are_read_from_what_a_scan_prints_and_nothing_else_is() {
        let text =
            format!("# 127.0.0.1:22 SSH-2.0-OpenSSH_9.2\n[127.0.0.1]:22 {KEY}\nx ssh-dss AAAA\n\nx {KEY}\n");
        assert_eq!(scanned(&text), [KEY.parse().unwrap()]);
        assert!(scanned("").is_empty());
    }

    #[test]
    fn the_user_is_the_addresss_or_git() {
        for (url, user) in
            [("ssh://a.org/x", "git"), ("deploy@a.org:x", "deploy"), ("ssh://a.org:22/x@y", "git")]
        {
            assert_eq!(user_of(&RepositoryUrl::parse(url).unwrap()), user);
        }
    }
}
