//! Bitbucket Cloud: <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/>.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use grapnel_domain::commit_status::{ReportState, shortened};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Request, Statement, Unwritable, post};

/// The most characters of a key.
const KEY: usize = 40;

/// The most characters of a name and of a description.
const TEXT: usize = 255;

/// Writes a statement. Statuses with one key take each other's place, so it has to be the context's alone.
pub fn request(statement: &Statement<'_>) -> Result<Request, Unwritable> {
    let state = match statement.report.state {
        ReportState::Pending | ReportState::Running => "INPROGRESS",
        ReportState::Success => "SUCCESSFUL",
        ReportState::Failure => "FAILED",
    };
    let body = json!({
        "state": state,
        "key": key(statement.context),
        "name": shortened(statement.context, TEXT),
        "description": shortened(&statement.report.description, TEXT),
        "url": statement.page,
    });
    let destination = statement.destination;
    let path = format!("repositories/{}/commit/{}/statuses/build", destination.repository, statement.commit);
    let token = destination.token.expose();
    // Tokens of repositories and workspaces stand alone; those of people are passwords, and come with their user.
    let shown = match token.contains(':') {
        true => format!("Basic {}", STANDARD.encode(token)),
        false => format!("Bearer {token}"),
    };
    post(statement, &path, &shown, "application/json", &body)
}

/// Returns the context where it fits, else its beginning with a hash of all of it.
fn key(context: &str) -> String {
    if context.chars().count() <= KEY {
        return context.to_owned();
    }
    let hash = hex::encode(&Sha256::digest(context)[..8]);
    let kept: String = context.chars().take(KEY - hash.len() - 1).collect();
    format!("{kept}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_contexts_have_keys_that_fit_and_differ() {
        assert_eq!(key("grapnel/site/cms"), "grapnel/site/cms");
        let long = |end: &str| format!("grapnel/{}/ein Haken mit einem langen Namen {end}", "x".repeat(40));
        let (one, two) = (key(&long("1")), key(&long("2")));
        assert_eq!((one.chars().count(), two.chars().count()), (KEY, KEY));
        assert_ne!(one, two);
    }
}
