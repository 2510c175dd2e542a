//! GitHub: <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>.

use grapnel_domain::commit_status::{ReportState, shortened};
use reqwest::header::HeaderValue;
use serde_json::json;

use super::{Request, Statement, Unwritable, post};

/// The most characters of a description, as the interface says when it refuses more.
const DESCRIPTION: usize = 140;

/// What it advises to ask for, and what it describes.
const ACCEPT: &str = "application/vnd.github+json, application/json";

/// The version of the interface that is meant.
const VERSION: HeaderValue = HeaderValue::from_static("2022-11-28");

/// Writes a statement.
pub fn request(statement: &Statement<'_>) -> Result<Request, Unwritable> {
    let state = match statement.report.state {
        ReportState::Pending | ReportState::Running => "pending",
        ReportState::Success => "success",
        ReportState::Failure => "failure",
    };
    let body = json!({
        "state": state,
        "context": statement.context,
        "description": shortened(&statement.report.description, DESCRIPTION),
        "target_url": statement.page,
    });
    let destination = statement.destination;
    let path = format!("repos/{}/statuses/{}", destination.repository, statement.commit);
    let shown = format!("Bearer {}", destination.token.expose());
    let mut request = post(statement, &path, &shown, ACCEPT, &body)?;
    request.headers.insert("x-github-api-version", VERSION);
    Ok(request)
}
