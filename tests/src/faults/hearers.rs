//! Who hears from an installation: a git host of its repositories, and an endpoint.

use std::path::Path;

use crate::{GitServer, Receiver};

/// Serves repositories, and takes commit statuses and events.
pub struct Hearers {
    git: GitServer,
    hearing: Receiver,
}

impl Hearers {
    /// Starts with the directory of the repositories.
    ///
    /// # Panics
    /// There is no port left.
    pub async fn start(repositories: &Path) -> Self {
        let git = GitServer::start(repositories).await.expect("a git server can be started");
        Self { git, hearing: Receiver::start().await }
    }

    /// Returns where a repository is.
    pub fn repository(&self, name: &str) -> String {
        self.git.url(&format!("team/{name}"))
    }

    /// Returns the commands that have a project tell them, the git host with the token in a file.
    pub fn introduced_by(&self, project: &str, token: &Path) -> Vec<Vec<String>> {
        let (base, token) = (self.hearing.url(), token.display().to_string());
        [
            vec!["endpoint", "create", &base, "--project", project],
            vec!["status", "set", project, "--host", "gitea", "--api-base", &base, "--token-file", &token],
        ]
        .map(|words| words.into_iter().map(str::to_owned).collect())
        .into()
    }
}
