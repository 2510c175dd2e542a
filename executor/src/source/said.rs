//! What git and the servers behind it say when something goes wrong, told apart.
//!
//! Git has one exit code for everything, so its text is all there is. It runs in the C locale, and its own phrases have
//! stood in it for many years. Over ssh it passes on what the server prints, and each kind of server has its own words:
//! those of GitHub, GitLab, Gitea with its relatives, and Bitbucket are in the tests. What nothing fits stays
//! [`SourceError::Git`].

use super::{SourceError, error::Shown};

const FULL: &[&str] = &["No space left on device"];

const TRAP: &[&str] = &["fsck error in packed object"];

/// There is no such repository, or it is hidden: servers do not tell the two apart, and say so.
const MISSING: &[&str] = &[
    "Repository not found",
    "repository not found",
    "could not be found or you don't have permission",
    "Cannot find repository",
    "epository does not exist",
    "either does not exist or you do not have access",
    "no such repository",
    "No such project",
    "does not appear to be a git repository",
    "does not exist",
    "not found",
    "The requested URL returned error: 404",
    "The requested URL returned error: 410",
];

const DENIED: &[&str] = &[
    "Authentication failed",
    "could not read Username",
    "could not read Password",
    "terminal prompts disabled",
    "Permission denied (",
    "Too many authentication failures",
    "access denied",
    "Access denied",
    "is not authorized to read",
    "Your account is suspended",
    "Unauthorized",
    "The requested URL returned error: 401",
    "The requested URL returned error: 403",
];

const UNREACHABLE: &[&str] = &[
    "Could not resolve host",
    "Failed to connect",
    "Couldn't connect",
    "Connection refused",
    "Connection reset",
    "Connection closed by",
    "Connection timed out",
    "Operation timed out",
    "Operation too slow",
    "No route to host",
    "Network is unreachable",
    "kex_exchange_identification",
    "banner exchange",
    "Broken pipe",
    "not responding",
    "early EOF",
    "the remote end hung up unexpectedly",
    "unexpected disconnect",
    "The requested URL returned error: 5",
    "The requested URL returned error: 429",
    "SSL certificate problem",
    "server certificate verification failed",
];

impl SourceError {
    /// Reads what git printed when it failed.
    pub fn from_git(url: &str, shown: &Shown, stderr: &str) -> Self {
        let said = |phrases: &[&str]| phrases.iter().any(|phrase| stderr.contains(phrase));
        let (url, shown) = (url.to_owned(), shown.clone());
        if said(FULL) {
            Self::DiskFull
        } else if said(TRAP) {
            Self::ContentRefused { url, cause: summary(stderr) }
        } else if said(&["Permission denied ("]) {
            // Of ssh itself, which says much else beside it.
            Self::AccessDenied { url, shown }
        } else if said(MISSING) {
            Self::RepositoryNotFound { url, shown }
        } else if said(DENIED) {
            Self::AccessDenied { url, shown }
        } else if said(UNREACHABLE) {
            Self::Unreachable { url, cause: summary(stderr) }
        } else {
            Self::Git(summary(stderr))
        }
    }
}

/// Returns the line of git's that says most, without control characters and without anybody's name and password.
fn summary(stderr: &str) -> String {
    let telling = stderr.lines().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let line = telling.or_else(|| stderr.lines().last()).unwrap_or("it said nothing");
    without_user_info(line).chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Takes users and passwords out of the addresses in a text.
fn without_user_info(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        kept.push_str(before);
        kept.push_str("://");
        let authority = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
        rest = after[..authority].rfind('@').map_or(after, |at| &after[at + 1..]);
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use grapnel_domain::failure::FailureCode;

    use super::*;

    fn code(stderr: &str) -> FailureCode {
        SourceError::from_git("https://e.org/x", &Shown::Nothing, stderr).failure().code
    }

    #[test]
    fn what_git_says_is_told_apart() {
        for (stderr, expected) in [
            ("fatal: repository 'https://e.org/x/' not found", FailureCode::RepositoryNotFound),
            ("fatal: '/srv/x' does not appear to be a git repository", FailureCode::RepositoryNotFound),
            (
                "fatal: could not read Username for 'https://e.org': terminal prompts disabled",
                FailureCode::RepositoryAccessDenied,
            ),
            (
                "git@e.org: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                FailureCode::RepositoryAccessDenied,
            ),
            (
                "fatal: unable to access 'x': Could not resolve host: e.org",
                FailureCode::RepositoryUnreachable,
            ),
            (
                "ssh: connect to host 10.0.0.1 port 22: Connection refused\nfatal: Could not read from remote repository.",
                FailureCode::RepositoryUnreachable,
            ),
            (
                "fatal: unable to access 'x': The requested URL returned error: 502",
                FailureCode::RepositoryUnreachable,
            ),
            (
                "error: object 1: gitmodulesUpdate: disallowed submodule update setting: !x\nfatal: fsck error in packed object",
                FailureCode::RepositoryRefused,
            ),
            ("fatal: write error: No space left on device", FailureCode::ExecutorDiskFull),
            ("fatal: something new", FailureCode::Internal),
        ] {
            assert_eq!(code(stderr), expected, "{stderr}");
        }
    }

    #[test]
    fn what_git_hosts_say_of_repositories_that_are_not_there_or_not_for_us_is_told_apart() {
        let lost = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.";
        for (said, expected) in [
            // GitHub
            ("ERROR: Repository not found.", FailureCode::RepositoryNotFound),
            (
                "remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found",
                FailureCode::RepositoryNotFound,
            ),
            (
                "remote: Invalid username or token. Password authentication is not supported for Git operations.\nfatal: Authentication failed for 'https://github.com/a/b/'",
                FailureCode::RepositoryAccessDenied,
            ),
            (
                "remote: The `a' organization has enabled or enforced SAML SSO.\nfatal: unable to access 'https://github.com/a/b/': The requested URL returned error: 403",
                FailureCode::RepositoryAccessDenied,
            ),
            // GitLab
            (
                "remote: \nremote: ====\nremote: \nremote: ERROR: The project you were looking for could not be found or you don't have permission to view it.\nremote: ",
                FailureCode::RepositoryNotFound,
            ),
            (
                "remote: The project you were looking for could not be found or you don't have permission to view it.\nfatal: repository 'https://gitlab.com/a/b.git/' not found",
                FailureCode::RepositoryNotFound,
            ),
            (
                "remote: HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect.\nfatal: Authentication failed for 'https://gitlab.com/a/b.git/'",
                FailureCode::RepositoryAccessDenied,
            ),
            // Gitea, Forgejo, Gogs
            ("Gitea: Cannot find repository: a/b", FailureCode::RepositoryNotFound),
            ("Forgejo: Cannot find repository: a/b", FailureCode::RepositoryNotFound),
            ("Gogs: Repository does not exist or you do not have access", FailureCode::RepositoryNotFound),
            (
                "Gitea: User: 2:b with Key: 3:k is not authorized to read a/b.",
                FailureCode::RepositoryAccessDenied,
            ),
            ("Gitea: Unauthorized", FailureCode::RepositoryAccessDenied),
            (
                "remote: Not found.\nfatal: repository 'https://codeberg.org/a/b.git/' not found",
                FailureCode::RepositoryNotFound,
            ),
            (
                "fatal: Authentication failed for 'https://codeberg.org/a/b.git/'",
                FailureCode::RepositoryAccessDenied,
            ),
            // Bitbucket
            ("repository access denied.", FailureCode::RepositoryAccessDenied),
            ("conq: repository does not exist.", FailureCode::RepositoryNotFound),
            (
                "remote: The requested repository either does not exist or you do not have access.",
                FailureCode::RepositoryNotFound,
            ),
            (
                "remote: Your credentials lack one or more required privilege scopes.\nfatal: unable to access 'https://bitbucket.org/a/b.git/': The requested URL returned error: 403",
                FailureCode::RepositoryAccessDenied,
            ),
            (
                "Repository does not exist\nThe requested repository does not exist, or you do not have permission to access it.",
                FailureCode::RepositoryNotFound,
            ),
        ] {
            assert_eq!(code(&format!("{said}\n{lost}")), expected, "{said}");
        }
    }

    #[test]
    fn what_to_do_depends_on_whether_a_credential_was_shown() {
        let stderr = "fatal: Authentication failed for 'https://e.org/x/'";
        let none = SourceError::from_git("https://e.org/x", &Shown::Nothing, stderr).to_string();
        assert!(none.contains("has none for it") && none.contains("grapnel credential create"), "{none}");
        let shown = Shown::CredentialOf("https://e.org".into());
        let refused = SourceError::from_git("https://e.org/x", &shown, stderr).to_string();
        assert!(refused.contains("refuses the credential for https://e.org:"), "{refused}");
    }

    #[test]
    fn neither_control_characters_nor_passwords_get_into_our_messages() {
        let error = SourceError::from_git(
            "u",
            &Shown::Nothing,
            "remote: \u{1b}[2Jhi\nfatal: bad \u{1b}[31mthing at https://me:pa@ss@e.org/x and ssh://git@e.org",
        );
        assert_eq!(error, SourceError::Git("fatal: bad [31mthing at https://e.org/x and ssh://e.org".into()));
    }
}
