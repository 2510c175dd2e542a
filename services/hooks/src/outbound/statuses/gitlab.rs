//! GitLab: <https://docs.gitlab.com/api/commits/#set-commit-pipeline-status>.

use grapnel_domain::commit_status::{ReportState, shortened};
use serde_json::json;

use super::{Request, Statement, Unwritable, post};

/// The most characters of a name and of a description, as its database has them.
const TEXT: usize = 255;

/// Writes a statement. A repository's whole path is one segment of the address.
pub fn request(statement: &Statement<'_>) -> Result<Request, Unwritable> {
    let state = match statement.report.state {
        ReportState::Pending => "pending",
        ReportState::Running => "running",
        ReportState::Success => "success",
        ReportState::Failure => "failed",
    };
    let body = json!({
        "state": state,
        "name": shortened(statement.context, TEXT),
        "description": shortened(&statement.report.description, TEXT),
        "target_url": statement.page,
    });
    let destination = statement.destination;
    let path =
        format!("projects/{}/statuses/{}", destination.repository.replace('/', "%2F"), statement.commit);
    // Tokens of people, projects, groups and of OAuth are all taken in this form.
    let shown = format!("Bearer {}", destination.token.expose());
    post(statement, &path, &shown, "application/json", &body)
}
