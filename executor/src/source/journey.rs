//! How git gets out to a repository, with what it needs for that and nothing more.

use std::{path::Path, process::Output};

use grapnel_domain::{
    RepositoryUrl,
    repository_url::Transport,
    source::{CredentialSecret, Origin},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Mirrors, Source, SourceError,
    error::Shown,
    git::Reach,
    private::PrivateFiles,
    program::{Bounds, ProgramError},
    ssh::{self, SshCall},
    way_out::{Policy, Trouble, WayOut},
};

impl Mirrors {
    /// Runs git with what it needs to reach a repository. What git printed when it failed has been read then.
    ///
    /// # Errors
    /// See [`SourceError`]. What is secret is gone from the disk when this returns, and when it is dropped.
    pub(super) async fn go_out<const N: usize>(
        &self,
        directory: &Path,
        source: Source<'_>,
        arguments: [String; N],
        bounds: &Bounds,
    ) -> Result<Output, SourceError> {
        let output = match source.repository {
            RepositoryUrl::Local(_) => {
                let output = self.git.run(directory, Reach::Files, arguments, bounds).await;
                self.finished(&source.url(), output)?
            }
            RepositoryUrl::Remote { transport: Transport::Ssh, .. } => {
                self.go_by_ssh(directory, source, arguments, bounds).await?
            }
            RepositoryUrl::Remote { .. } => self.go_by_http(directory, source, arguments, bounds).await?,
        };
        if output.status.success() {
            return Ok(output);
        }
        let stderr = scrubbed(&String::from_utf8_lossy(&output.stderr), source.credential());
        if let Some(branch) = missing_ref(&stderr) {
            return Err(SourceError::BranchNotFound { url: source.url(), branch });
        }
        Err(SourceError::from_git(&source.url(), &shown(source), &stderr))
    }

    async fn go_by_http<const N: usize>(
        &self,
        directory: &Path,
        source: Source<'_>,
        arguments: [String; N],
        bounds: &Bounds,
    ) -> Result<Output, SourceError> {
        let way_out = self.way_out(source).await?;
        let files = self.private_files()?;
        let credentials = match (source.credential(), Origin::of(source.repository)) {
            (Some(secret), Some(origin)) => credential_line(secret, &origin)
                .map(|line| files.write("credentials", &line).map_err(|error| cannot_keep(&error)))
                .transpose()?,
            _ => None,
        };
        let reach = Reach::Http { proxy: way_out.port(), credentials: credentials.as_deref() };
        let output = self.git.run(directory, reach, arguments, bounds).await;
        let output = self.finished(&source.url(), output)?;
        match way_out.trouble() {
            Some(why) if !output.status.success() => Err(trouble(source, why)),
            _ => Ok(output),
        }
    }

    async fn go_by_ssh<const N: usize>(
        &self,
        directory: &Path,
        source: Source<'_>,
        arguments: [String; N],
        bounds: &Bounds,
    ) -> Result<Output, SourceError> {
        let (host, port) = source.host_and_port();
        let files = self.private_files()?;
        let call = self.ssh_call(source, &files).await?;
        let command = call.command();
        let output = self.git.run(directory, Reach::Ssh(&command), arguments, bounds).await;
        let output = self.finished(&source.url(), output)?;
        let known = !ssh::keys_of(&host, port, source.access).is_empty();
        let stderr = String::from_utf8_lossy(&output.stderr);
        match ssh::disbelieved(&stderr, source.repository, known) {
            Some(error) if !output.status.success() => Err(error),
            _ => Ok(output),
        }
    }

    /// Writes what ssh needs for a repository, and looks at the address to which it will go.
    pub(super) async fn ssh_call(
        &self,
        source: Source<'_>,
        files: &PrivateFiles,
    ) -> Result<SshCall, SourceError> {
        let (host, port) = source.host_and_port();
        let address = self.policy(source).address(&host, port).await.map_err(|why| trouble(source, why))?;
        let keys = ssh::keys_of(&host, port, source.access);
        SshCall::prepare(files, source.repository, address, &keys, source.credential())
            .map_err(|error| cannot_keep(&error))
    }

    /// Opens a way out under the policy of a source, and makes sure that its own address may be gone to.
    pub(super) async fn way_out(&self, source: Source<'_>) -> Result<WayOut, SourceError> {
        let (host, port) = source.host_and_port();
        let policy = self.policy(source);
        policy.addresses(&host, port).await.map_err(|why| trouble(source, why))?;
        WayOut::open(policy).await.map_err(|error| SourceError::Git(error.to_string()))
    }

    /// Makes sure that a source may be gone to, where nobody goes because everything is there already.
    pub(super) async fn may_be_reached(&self, source: Source<'_>) -> Result<(), SourceError> {
        self.refuse_directories_not_allowed(source.repository)?;
        if source.repository.host().is_none() {
            return Ok(());
        }
        let (host, port) = source.host_and_port();
        let addresses = self.policy(source).addresses(&host, port).await;
        addresses.map(|_| ()).map_err(|why| trouble(source, why))
    }

    pub(super) fn private_files(&self) -> Result<PrivateFiles, SourceError> {
        self.private.files().map_err(|error| cannot_keep(&error))
    }

    pub(super) fn policy(&self, source: Source<'_>) -> Policy {
        let (host, port) = source.home();
        let only = source.credential().map(|_| source.host_and_port());
        Policy { only, ..Policy::at_home(&host, port, &self.config.closed_networks) }
    }

    /// Reads how a call ended that has nothing to do with what it printed.
    pub(super) fn finished(
        &self,
        url: &str,
        output: Result<Output, ProgramError>,
    ) -> Result<Output, SourceError> {
        output.map_err(|error| match error {
            ProgramError::TimedOut(time) => SourceError::Unreachable {
                url: url.to_owned(),
                cause: format!("no end within {} s", time.as_secs()),
            },
            ProgramError::Canceled => SourceError::Canceled,
            ProgramError::Program(error) => {
                SourceError::Git(format!("the git program cannot be run: {error}"))
            }
        })
    }
}

/// Says whether a credential is there for a source, for messages.
pub(super) fn shown(source: Source<'_>) -> Shown {
    match (source.credential(), Origin::of(source.repository)) {
        (Some(_), Some(origin)) => Shown::CredentialOf(origin.to_string()),
        _ => Shown::Nothing,
    }
}

/// Says why a connection was not made, for a source.
pub(super) fn trouble(source: Source<'_>, why: Trouble) -> SourceError {
    let url = source.url();
    match why {
        Trouble::Refused(address) => SourceError::AddressRefused { url, address },
        Trouble::Elsewhere(host) => SourceError::LedElsewhere { url, host },
        Trouble::Unreachable(cause) => SourceError::Unreachable { url, cause },
    }
}

fn cannot_keep(error: &std::io::Error) -> SourceError {
    SourceError::Git(format!("private files cannot be written: {error}"))
}

/// Writes the line of git's `credential-store` (git-credential-store(1)): it shows it to this origin and to no other.
fn credential_line(secret: &CredentialSecret, origin: &Origin) -> Option<String> {
    let CredentialSecret::Token { user, token } = secret else { return None };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (scheme, authority) =
        origin.to_string().split_once("://").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
    Some(format!("{scheme}://{}:{}@{authority}\n", encoded(user), encoded(token.expose())))
}

/// Takes a credential out of what a server or git printed.
fn scrubbed(text: &str, secret: Option<&CredentialSecret>) -> String {
    let Some(CredentialSecret::Token { token, .. }) = secret else { return text.to_owned() };
    let encoded = utf8_percent_encode(token.expose(), NON_ALPHANUMERIC).to_string();
    match token.expose() {
        "" => text.to_owned(),
        token => text.replace(token, "…").replace(&encoded, "…"),
    }
}

fn missing_ref(stderr: &str) -> Option<String> {
    let (_, after) = stderr.split_once("couldn't find remote ref ")?;
    Some(after.lines().next().unwrap_or_default().trim_start_matches("refs/heads/").to_owned())
}

#[cfg(test)]
mod tests {
    use grapnel_domain::SecretText;

    use super::*;

    #[test]
    fn a_credential_is_written_for_its_origin_with_nothing_in_it_that_could_be_read_otherwise() {
        let secret = CredentialSecret::Token { user: "me@x".into(), token: SecretText::new("a/b:c@d\ne%") };
        for (origin, line) in [
            ("https://a.org", "https://me%40x:a%2Fb%3Ac%40d%0Ae%25@a.org\n"),
            ("http://127.0.0.1:3000", "http://me%40x:a%2Fb%3Ac%40d%0Ae%25@127.0.0.1:3000\n"),
            ("http://[::1]:3000", "http://me%40x:a%2Fb%3Ac%40d%0Ae%25@[::1]:3000\n"),
        ] {
            assert_eq!(credential_line(&secret, &origin.parse().unwrap()).unwrap(), line);
        }
        let key = CredentialSecret::SshKey(SecretText::new("k"));
        assert_eq!(credential_line(&key, &"https://a.org".parse().unwrap()), None);
    }

    #[test]
    fn what_a_server_repeats_of_a_token_is_taken_out() {
        let secret = CredentialSecret::Token { user: "u".into(), token: SecretText::new("hunter/2") };
        let text = scrubbed("remote: hunter/2 at https://u:hunter%2F2@a.org", Some(&secret));
        assert_eq!(text, "remote: … at https://u:…@a.org");
    }
}
