//! Who is asking. A key is no person, so the user is the key.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::{answer::Refused, caller::Caller, paging::milliseconds};

/// The answer to who is asking.
#[derive(Serialize, ToSchema)]
pub struct UserAnswer {
    user: User,
}

/// Who is asking.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The key's id.
    id: String,
    /// The key's name.
    username: String,
    name: String,
    /// Null: a key is no person.
    #[schema(required)]
    email: Option<String>,
    /// The kind of account that acts for a team and has nothing of its own.
    version: UserVersion,
    /// The key's team.
    default_team_id: String,
    /// What the key may: `read`, `write`, `deploy`, `admin`.
    scopes: Vec<String>,
    /// When the session ends, in milliseconds of Unix time; null where a key was shown.
    #[schema(required)]
    expires_at: Option<i64>,
}

/// A kind of account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserVersion {
    /// One that acts for a team and has nothing of its own.
    Northstar,
}

/// Says who is asking.
#[utoipa::path(
    get,
    path = "/v2/user",
    tag = "account",
    operation_id = "getUser",
    responses((status = 200, description = "Who is asking.", body = UserAnswer), Refused),
    security(("key" = []))
)]
pub async fn get(caller: Caller) -> Json<UserAnswer> {
    let session = caller.session;
    let expires_at = milliseconds(session.expires_at.as_ref());
    Json(UserAnswer {
        user: User {
            id: session.key_id,
            username: session.key_name.clone(),
            name: session.key_name,
            email: None,
            version: UserVersion::Northstar,
            default_team_id: session.team_id,
            scopes: session.scopes,
            expires_at,
        },
    })
}
