//! Large files of a checkout (Git LFS).
//!
//! The `git-lfs` program is not run here: it passes by a proxy for what is on this machine, and follows what a repository
//! says of its server. What a pointer names is asked for at the repository's own server, fetched under the rules of
//! every address, verified, and put in the pointer's place.

mod client;
mod pointer;
mod store;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use client::{Client, Endpoint, LfsError};
use grapnel_domain::{RepositoryUrl, repository_url::Transport, source::CredentialSecret};
use percent_encoding::percent_decode_str;
use pointer::{Pointer, Standing};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use store::LargeFiles;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Mirrors, Source, SourceError,
    journey::{shown, trouble},
    program::quoted,
    ssh::user_of,
    submodules::CheckedOut,
    way_out::{Policy, WayOut},
};

impl Mirrors {
    /// Puts the large files of a checkout where their pointers stand, and returns what the people of the project should
    /// read of it.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub(super) async fn place_large_files(
        &self,
        source: Source<'_>,
        checkout: &CheckedOut,
        reference: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, SourceError> {
        let directory = checkout.directory.clone();
        let standing = blocking(move || pointer::find(&directory)).await?;
        let mut notes = Vec::new();
        if checkout.directory.join(".lfsconfig").symlink_metadata().is_ok() {
            notes.push(
                "`.lfsconfig` is not followed: large files come from the repository's own server".into(),
            );
        }
        if standing.is_empty() {
            return Ok(notes);
        }
        let within = source.leads_to(&checkout.repository);
        let mut wanted: Vec<Pointer> = standing.iter().map(|it| it.pointer.clone()).collect();
        wanted.sort();
        wanted.dedup();
        let bytes = wanted.iter().fold(0_u64, |sum, pointer| sum.saturating_add(pointer.size));
        if bytes > self.config.size_limit {
            return Err(SourceError::TooLarge { url: within.url(), limit: self.config.size_limit });
        }
        let files =
            LargeFiles::open(self.path_of(within).with_extension("lfs")).map_err(|error| not_kept(&error))?;
        let fetched = self.fetch_large_files(within, reference, &wanted, &files, cancel).await;
        fetched.map_err(|error| self.told(within, checkout, &standing, error))?;
        notes.push(format!("{} of {} bytes in all", large_files(standing.len()), bytes));
        blocking(move || files.place(&standing)).await?;
        Ok(notes)
    }

    /// Fetches what is not here. One at a time for a repository; dropping the future leaves nothing half.
    async fn fetch_large_files(
        &self,
        source: Source<'_>,
        reference: Option<&str>,
        wanted: &[Pointer],
        files: &LargeFiles,
        cancel: &CancellationToken,
    ) -> Result<(), Ended> {
        let lock = self.lock_of(&self.path_of(source).with_extension("lfs"));
        let _one_at_a_time = lock.lock().await;
        let missing: Vec<_> = wanted.iter().filter(|pointer| !files.has(pointer)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        files.make_room(wanted, self.config.size_limit);
        let fetch = async {
            let endpoint = self.endpoint(source, cancel).await.map_err(Ended::Source)?;
            let way_out = self.way_out_to(source, &endpoint).await.map_err(Ended::Source)?;
            let client = Client::new(way_out, self.config.ca_bundle.as_deref());
            let client = client.map_err(|error| Ended::Source(SourceError::Git(error)))?;
            client.fetch(&endpoint, reference, &missing, files).await.map_err(Ended::Lfs)
        };
        tokio::select! {
            fetched = fetch => fetched,
            () = cancel.cancelled() => Err(Ended::Source(SourceError::Canceled)),
            () = tokio::time::sleep(self.config.timeout) => Err(Ended::Source(SourceError::Unreachable {
                url: source.url(),
                cause: format!("no end of its large files within {} s", self.config.timeout.as_secs()),
            })),
        }
    }

    /// Says where the large files of a repository are asked for: at its own server, whatever the repository says.
    async fn endpoint(
        &self,
        source: Source<'_>,
        cancel: &CancellationToken,
    ) -> Result<Endpoint, SourceError> {
        match source.repository {
            RepositoryUrl::Remote { transport: Transport::Ssh, .. } => {
                match self.authenticated(source, cancel).await? {
                    Some(endpoint) => Ok(endpoint),
                    None => {
                        let over_https = over_https(source.repository).ok_or_else(|| no_server(source))?;
                        of_address(source.leads_to(&over_https)).ok_or_else(|| no_server(source))
                    }
                }
            }
            RepositoryUrl::Remote { .. } => of_address(source).ok_or_else(|| no_server(source)),
            RepositoryUrl::Local(_) => Err(no_server(source)),
        }
    }

    /// Asks an SSH host where its large files are, and what is to be shown there; `None` where it does not know.
    async fn authenticated(
        &self,
        source: Source<'_>,
        cancel: &CancellationToken,
    ) -> Result<Option<Endpoint>, SourceError> {
        let files = self.private_files()?;
        let ssh = self.ssh_call(source, &files).await?;
        let path = Url::parse(&source.url()).map(|url| url.path().to_owned()).unwrap_or_default();
        let path = percent_decode_str(path.trim_start_matches('/')).decode_utf8_lossy().into_owned();
        let command = format!("git-lfs-authenticate {} download", quoted(&path));
        let (host, port) = source.host_and_port();
        let call = ssh.call(self.git.home(), &user_of(source.repository), &host, port, &command);
        let output = self.finished(&source.url(), call.run(&self.bounds(cancel)).await)?;
        let Ok(answer) = serde_json::from_slice::<client::Action>(&output.stdout) else { return Ok(None) };
        let url = answer.href.parse().map_err(|_| no_server(source))?;
        Ok(Some(Endpoint { url, headers: client::named(&answer.header) }))
    }

    /// Opens a way out to a server of large files, and to wherever it leads that is not private.
    async fn way_out_to(&self, source: Source<'_>, endpoint: &Endpoint) -> Result<WayOut, SourceError> {
        let (home, port) = source.home();
        let mut policy = Policy::at_home(&home, port, &self.config.closed_networks);
        // Over ssh it is the same host on another port, and the host is the one that its key says it is.
        let host = endpoint.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if source.host_and_port() == source.home() && host.eq_ignore_ascii_case(&home) {
            policy.homes.extend(endpoint.url.port_or_known_default().map(|port| (home.clone(), port)));
        }
        WayOut::open(policy).await.map_err(|error| SourceError::Git(error.to_string()))
    }

    fn told(
        &self,
        source: Source<'_>,
        checkout: &CheckedOut,
        standing: &[Standing],
        ended: Ended,
    ) -> SourceError {
        let error = match ended {
            Ended::Source(error) => return error,
            Ended::Lfs(error) => error,
        };
        let first = standing.first().map(|it| it.pointer.clone());
        let path_of = |pointer: Option<&Pointer>| {
            let at = standing.iter().find(|it| Some(&it.pointer) == pointer);
            let below = at.and_then(|it| it.path.strip_prefix(&checkout.directory).ok());
            let below = below.map(|path| path.display().to_string()).unwrap_or_default();
            if checkout.path.is_empty() { below } else { format!("{}/{below}", checkout.path) }
        };
        match error {
            LfsError::Trouble(why) => trouble(source, why),
            LfsError::Denied => SourceError::AccessDenied { url: source.url(), shown: shown(source) },
            LfsError::File(pointer, cause) => SourceError::LargeFile { path: path_of(Some(&pointer)), cause },
            LfsError::Server(cause) => SourceError::LargeFile { path: path_of(first.as_ref()), cause },
            LfsError::Io(error) => not_kept(&error),
        }
    }
}

/// Why there are no large files.
enum Ended {
    Source(SourceError),
    Lfs(LfsError),
}

/// Returns the server of an address, with the credential for its origin.
fn of_address(source: Source<'_>) -> Option<Endpoint> {
    let repository = source.url();
    let repository = repository.trim_end_matches('/');
    let dot_git = if repository.ends_with(".git") { "" } else { ".git" };
    let mut headers = HeaderMap::new();
    if let Some(CredentialSecret::Token { user, token }) = source.credential() {
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{}", token.expose())));
        let mut basic = HeaderValue::from_str(&basic).ok()?;
        basic.set_sensitive(true);
        headers.insert(AUTHORIZATION, basic);
    }
    Some(Endpoint { url: format!("{repository}{dot_git}/info/lfs").parse().ok()?, headers })
}

/// Returns where a repository over ssh is over https, on most servers.
fn over_https(repository: &RepositoryUrl) -> Option<RepositoryUrl> {
    let url = Url::parse(&repository.to_string()).ok()?;
    RepositoryUrl::parse(&format!("https://{}{}", url.host_str()?, url.path())).ok()
}

fn no_server(source: Source<'_>) -> SourceError {
    SourceError::LargeFile {
        path: source.url(),
        cause: "the repository's address says of no server that has large files".to_owned(),
    }
}

fn large_files(count: usize) -> String {
    if count == 1 { "1 large file".to_owned() } else { format!("{count} large files") }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, SourceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SourceError::Git(error.to_string()))?.map_err(|error| not_kept(&error))
}

fn not_kept(error: &std::io::Error) -> SourceError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        SourceError::DiskFull
    } else {
        SourceError::Git(format!("large files cannot be kept: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use grapnel_domain::source::SourceAccess;

    use super::*;

    #[test]
    fn the_server_of_large_files_is_the_repositorys_own() {
        let access = SourceAccess::default();
        for (repository, server) in [
            ("https://a.org/team/site.git", "https://a.org/team/site.git/info/lfs"),
            ("https://a.org/team/site", "https://a.org/team/site.git/info/lfs"),
            ("http://127.0.0.1:3000/site/", "http://127.0.0.1:3000/site.git/info/lfs"),
        ] {
            let repository = RepositoryUrl::parse(repository).unwrap();
            assert_eq!(of_address(Source::new(&repository, &access)).unwrap().url.as_str(), server);
        }
        let ssh = RepositoryUrl::parse("git@a.org:team/site.git").unwrap();
        assert_eq!(over_https(&ssh).unwrap().to_string(), "https://a.org/team/site.git");
    }
}
