//! The hosts that know statuses of commits, and how they are found from a repository's address.

use std::{fmt, str::FromStr};

use url::Url;

use crate::{RepositoryUrl, repository_url::Transport, source::Origin};

/// A kind of host, by the interface that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GitHost {
    /// GitHub, and GitHub Enterprise.
    GitHub,
    /// GitLab, on gitlab.com or one's own.
    GitLab,
    /// Gitea and Forgejo, such as Codeberg.
    Gitea,
    /// Bitbucket Cloud.
    Bitbucket,
}

/// The hosts that everybody knows: the names under which they have repositories, and their interface. The second and
/// further names are those under which they take SSH on port 443.
const KNOWN: &[(&[&str], GitHost, &str)] = &[
    (&["github.com", "ssh.github.com"], GitHost::GitHub, "https://api.github.com"),
    (&["gitlab.com", "altssh.gitlab.com"], GitHost::GitLab, "https://gitlab.com/api/v4"),
    (&["codeberg.org"], GitHost::Gitea, "https://codeberg.org/api/v1"),
    (&["bitbucket.org", "altssh.bitbucket.org"], GitHost::Bitbucket, "https://api.bitbucket.org/2.0"),
];

impl GitHost {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::GitHub, Self::GitLab, Self::Gitea, Self::Bitbucket];

    /// Returns the name as it is stored and given.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::Bitbucket => "bitbucket",
        }
    }

    /// Finds the host of a repository, and its interface; `None` where everybody may have put their own.
    pub fn of(repository: &RepositoryUrl) -> Option<(Self, ApiBase)> {
        let host = repository.host()?;
        let known = KNOWN.iter().find(|(names, ..)| names.contains(&host));
        known.map(|(_, host, base)| (*host, ApiBase((*base).to_owned())))
    }

    /// Returns the origin at which a token for a repository's host is kept, also where git goes there by SSH; `None` for
    /// a host that nobody knows, and where a token would be read on the way.
    pub fn token_origin(repository: &RepositoryUrl) -> Option<Origin> {
        let (name, transport) = match repository {
            RepositoryUrl::Remote { transport, host, .. } => (host, *transport),
            RepositoryUrl::Local(_) => return None,
        };
        let (names, ..) = KNOWN.iter().find(|(names, ..)| names.contains(&name.as_str()))?;
        let host = names.first().copied()?.to_owned();
        (transport != Transport::Http).then_some(Origin { transport: Transport::Https, host, port: 443 })
    }

    /// Returns how the host's interface names a repository: owner and name, or on GitLab all the groups that it is in.
    /// `None` where the address names none.
    pub fn repository_path(self, base: &ApiBase, repository: &RepositoryUrl) -> Option<String> {
        let RepositoryUrl::Remote { url, .. } = repository else {
            return None;
        };
        let url = Url::parse(url).ok()?;
        let path = url.path().trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        if names.len() < 2 || names.iter().any(|name| !name.chars().all(plain)) {
            return None;
        }
        match self {
            Self::GitHub | Self::Gitea | Self::Bitbucket => Some(names[names.len() - 2..].join("/")),
            Self::GitLab => {
                let path = names.join("/");
                // A GitLab may live below a path of its host; then its repositories do too.
                let below = base.path_before("/api/v4").trim_matches('/').to_owned();
                let inner = path.strip_prefix(&format!("{below}/")).filter(|_| !below.is_empty());
                Some(inner.map(str::to_owned).unwrap_or(path))
            }
        }
    }
}

impl fmt::Display for GitHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GitHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|host| host.as_str() == text);
        found.ok_or_else(|| "must be one of github, gitlab, gitea, bitbucket".to_owned())
    }
}

/// Where a host's interface begins, such as `https://git.example.org/api/v1`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApiBase(String);

/// Why a text is not where an interface begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must look like `https://git.example.org/api/v1`, without a user, a query or a fragment")]
pub struct ApiBaseError;

impl ApiBase {
    /// The most bytes that it has.
    pub const LIMIT: usize = 512;

    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn path_before(&self, end: &str) -> String {
        let path = Url::parse(&self.0).map(|url| url.path().to_owned()).unwrap_or_default();
        path.split_once(end).map(|(before, _)| before.to_owned()).unwrap_or_default()
    }
}

impl FromStr for ApiBase {
    type Err = ApiBaseError;

    fn from_str(text: &str) -> Result<Self, ApiBaseError> {
        let url = Url::parse(text).map_err(|_| ApiBaseError)?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let http = matches!(url.scheme(), "https" | "http") && url.has_host();
        if text.len() > Self::LIMIT || !bare || !http {
            return Err(ApiBaseError);
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for ApiBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RepositoryUrl {
        RepositoryUrl::parse(text).unwrap()
    }

    #[test]
    fn a_host_is_found_from_every_form_of_an_address() {
        for (address, found) in [
            ("https://github.com/team/site.git", Some(("github", "https://api.github.com", "team/site"))),
            ("git@github.com:team/site.git", Some(("github", "https://api.github.com", "team/site"))),
            (
                "ssh://git@ssh.github.com:443/team/site",
                Some(("github", "https://api.github.com", "team/site")),
            ),
            (
                "https://gitlab.com/a/b/c/site.git",
                Some(("gitlab", "https://gitlab.com/api/v4", "a/b/c/site")),
            ),
            ("git@gitlab.com:a/b/site.git", Some(("gitlab", "https://gitlab.com/api/v4", "a/b/site"))),
            ("https://codeberg.org/team/site", Some(("gitea", "https://codeberg.org/api/v1", "team/site"))),
            (
                "git@bitbucket.org:team/site.git",
                Some(("bitbucket", "https://api.bitbucket.org/2.0", "team/site")),
            ),
            ("https://github.com.example.org/team/site", None),
            ("https://git.example.org/team/site", None),
            ("/srv/git/site", None),
        ] {
            let repository = url(address);
            let seen = GitHost::of(&repository).map(|(host, base)| {
                let path = host.repository_path(&base, &repository).unwrap();
                (host.to_string(), base.to_string(), path)
            });
            let found = found.map(|(host, base, path)| (host.to_owned(), base.to_owned(), path.to_owned()));
            assert_eq!(seen, found, "{address}");
        }
    }

    #[test]
    fn a_repository_below_a_path_of_its_host_is_found_and_a_strange_one_is_not() {
        let path = |host: GitHost, base: &str, address: &str| {
            host.repository_path(&base.parse().unwrap(), &url(address))
        };
        let below = path(GitHost::GitLab, "https://e.org/lab/api/v4", "https://e.org/lab/a/b/site.git");
        assert_eq!(below.as_deref(), Some("a/b/site"));
        let not_below = path(GitHost::GitLab, "https://e.org/lab/api/v4", "git@e.org:a/b/site.git");
        assert_eq!(not_below.as_deref(), Some("a/b/site"));
        let gitea = path(GitHost::Gitea, "https://e.org/tea/api/v1", "https://e.org/tea/team/site.git");
        assert_eq!(gitea.as_deref(), Some("team/site"));
        for strange in ["https://e.org/site", "https://e.org/a/b%2Fc", "https://e.org/a/b;c", "/srv/a/b"] {
            assert_eq!(path(GitHost::Gitea, "https://e.org/api/v1", strange), None, "{strange}");
        }
    }

    #[test]
    fn a_token_is_looked_for_where_https_would_show_it_and_never_for_a_way_in_clear() {
        let origin = |address: &str| GitHost::token_origin(&url(address)).map(|origin| origin.to_string());
        assert_eq!(origin("git@github.com:team/site.git").as_deref(), Some("https://github.com"));
        assert_eq!(origin("ssh://git@ssh.github.com:443/team/site").as_deref(), Some("https://github.com"));
        assert_eq!(origin("https://codeberg.org/team/site").as_deref(), Some("https://codeberg.org"));
        assert_eq!(origin("http://github.com/team/site"), None);
        assert_eq!(origin("https://git.example.org/team/site"), None);
    }

    #[test]
    fn where_an_interface_begins_is_read_and_nothing_that_hides_something() {
        let base = |text: &str| text.parse::<ApiBase>().map(|base| base.to_string());
        assert_eq!(base("https://git.example.org/api/v1/"), Ok("https://git.example.org/api/v1".to_owned()));
        assert_eq!(base("http://127.0.0.1:3000/api/v1"), Ok("http://127.0.0.1:3000/api/v1".to_owned()));
        for bad in [
            "",
            "git.example.org",
            "ftp://e.org",
            "https://u:p@e.org",
            "https://u@e.org/x",
            "https://e.org/?a=b",
            "https://e.org/#x",
            "file:///etc",
        ] {
            assert_eq!(base(bad), Err(ApiBaseError), "{bad}");
        }
    }
}
