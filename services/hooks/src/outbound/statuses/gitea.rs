//! Gitea and Forgejo: `repoCreateStatus` of the description that every instance serves at `/swagger.v1.json`.

use grapnel_domain::commit_status::{ReportState, shortened};
use serde_json::json;

use super::{Request, Statement, Unwritable, post};

/// The most characters of a text that is shown in a line.
const TEXT: usize = 255;

/// Writes a statement.
pub fn request(statement: &Statement<'_>) -> Result<Request, Unwritable> {
    let state = match statement.report.state {
        ReportState::Pending | ReportState::Running => "pending",
        ReportState::Success => "success",
        ReportState::Failure => "failure",
    };
    let body = json!({
        "state": state,
        "context": shortened(statement.context, TEXT),
        "description": shortened(&statement.report.description, TEXT),
        "target_url": statement.page,
    });
    let destination = statement.destination;
    let path = format!("repos/{}/statuses/{}", destination.repository, statement.commit);
    let shown = format!("token {}", destination.token.expose());
    post(statement, &path, &shown, "application/json", &body)
}
