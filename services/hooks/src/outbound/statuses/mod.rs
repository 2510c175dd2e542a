//! What git hosts are told about commits: how it is written for each of them, what their answers mean, and who tells it.

mod bitbucket;
mod gitea;
mod github;
mod gitlab;
mod teller;
mod verdict;

use grapnel_domain::commit_status::{GitHost, Report};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

pub use teller::{Patience, StatusTeller};
pub use verdict::{Verdict, verdict};

use crate::model::StatusDestination;

/// What is to be told, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// To whom.
    pub destination: &'a StatusDestination,
    /// Of which commit.
    pub commit: &'a str,
    /// Under which name.
    pub context: &'a str,
    /// What.
    pub report: &'a Report,
    /// Where more is to be read.
    pub page: &'a str,
}

/// A request as it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to.
    pub url: Url,
    /// With what above the body.
    pub headers: HeaderMap,
    /// The body, JSON.
    pub body: Vec<u8>,
}

/// Why a request cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// The parts make no address.
    #[error("the address of the host's interface and the repository's name make no address")]
    Address,
    /// The token cannot stand in a header.
    #[error("the token has characters that no token has: give it anew")]
    Token,
}

/// Writes a statement as its host wants it.
///
/// # Errors
/// See [`Unwritable`].
pub fn request(statement: &Statement<'_>) -> Result<Request, Unwritable> {
    match statement.destination.host {
        GitHost::GitHub => github::request(statement),
        GitHost::GitLab => gitlab::request(statement),
        GitHost::Gitea => gitea::request(statement),
        GitHost::Bitbucket => bitbucket::request(statement),
    }
}

/// Puts a request together: `path` follows the base of the interface, `authorization` is what opens it.
fn post(
    statement: &Statement<'_>,
    path: &str,
    authorization: &str,
    accept: &'static str,
    body: &Value,
) -> Result<Request, Unwritable> {
    let url = format!("{}/{path}", statement.destination.api_base);
    let url = Url::parse(&url).map_err(|_| Unwritable::Address)?;
    let mut shown = HeaderValue::from_str(authorization).map_err(|_| Unwritable::Token)?;
    shown.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, shown);
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Request { url, headers, body: body.to_string().into_bytes() })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use grapnel_domain::{SecretText, commit_status::ReportState};

    use super::*;

    /// Writes a statement down as it goes over the line.
    fn written(host: GitHost, api_base: &str, repository: &str, token: &str, state: ReportState) -> String {
        let destination = StatusDestination {
            host,
            api_base: api_base.parse().unwrap(),
            repository: repository.into(),
            token: SecretText::new(token),
        };
        let statement = Statement {
            destination: &destination,
            commit: "e10dae226959c2194f2b07b077c07762d93821cf",
            context: "grapnel/harbour/Contentful",
            report: &Report { state, description: "Building".into() },
            page: "https://deploy.example.org/v1/status/dpl_1/aa",
        };
        let request = request(&statement).unwrap();
        let mut text = format!("POST {}\n", request.url);
        for (name, value) in &request.headers {
            writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
        assert!(!format!("{request:?}").contains("hunter2"), "a token prints itself");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        text + &format!("{body:#}\n")
    }

    #[test]
    fn each_host_is_told_in_its_own_way() {
        let all = [
            written(GitHost::GitHub, "https://api.github.com", "team/site", "hunter2", ReportState::Running),
            written(
                GitHost::GitLab,
                "https://gitlab.com/api/v4",
                "a/b/site",
                "hunter2",
                ReportState::Running,
            ),
            written(
                GitHost::Gitea,
                "https://codeberg.org/api/v1",
                "team/site",
                "hunter2",
                ReportState::Success,
            ),
            written(
                GitHost::Bitbucket,
                "https://api.bitbucket.org/2.0",
                "team/site",
                "hunter2",
                ReportState::Failure,
            ),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn a_token_of_bitbucket_with_a_user_is_shown_as_a_password() {
        let text = written(
            GitHost::Bitbucket,
            "https://api.bitbucket.org/2.0",
            "team/site",
            "someone@example.org:hunter2",
            ReportState::Pending,
        );
        assert!(text.contains("authorization: Basic c29tZW9uZUBleGFtcGxlLm9yZzpodW50ZXIy"), "{text}");
    }

    #[test]
    fn a_token_that_would_break_the_header_is_not_sent() {
        let destination = StatusDestination {
            host: GitHost::GitHub,
            api_base: "https://api.github.com".parse().unwrap(),
            repository: "team/site".into(),
            token: SecretText::new("a\r\nx-evil: 1"),
        };
        let report = Report { state: ReportState::Pending, description: String::new() };
        let statement =
            Statement { destination: &destination, commit: "c", context: "x", report: &report, page: "p" };
        assert_eq!(request(&statement).unwrap_err(), Unwritable::Token);
    }
}
