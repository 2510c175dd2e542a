//! Teams. A key has one.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answer::Refused,
    asked::Named,
    caller::{Caller, no_such_team},
    paging::{Pagination, milliseconds},
};
use crate::error::HttpError;

/// The teams of whoever asks.
#[derive(Serialize, ToSchema)]
pub struct TeamsAnswer {
    teams: Vec<Team>,
    pagination: Pagination,
}

/// A team.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Team {
    /// `team_` and 26 characters.
    pub id: String,
    /// Its name in addresses.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// In milliseconds of Unix time.
    #[schema(required)]
    pub created_at: Option<i64>,
    /// Null: teams have no picture.
    #[schema(required)]
    pub avatar: Option<String>,
    /// What whoever asks is in it.
    pub membership: Membership,
    /// What limits it.
    pub billing: Billing,
}

/// What whoever asks is in a team.
#[derive(Serialize, ToSchema)]
pub struct Membership {
    /// Always true.
    pub confirmed: bool,
    /// By what the key may.
    pub role: Role,
}

/// What somebody is in a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// A key with the scope `admin`.
    Owner,
    /// A key with the scope `write`.
    Member,
    /// A key with the scope `deploy`.
    Developer,
    /// Any other key.
    Viewer,
}

/// What limits a team.
#[derive(Serialize, ToSchema)]
pub struct Billing {
    /// `hobby`, `pro` or `enterprise`.
    pub plan: String,
}

impl From<&Caller> for Team {
    fn from(caller: &Caller) -> Self {
        let session = &caller.session;
        Self {
            id: session.team_id.clone(),
            slug: caller.team_slug(),
            name: session.team_name.clone(),
            created_at: milliseconds(session.team_created_at.as_ref()),
            avatar: None,
            membership: Membership { confirmed: true, role: role(&session.scopes) },
            billing: Billing { plan: session.plan.clone() },
        }
    }
}

fn role(scopes: &[String]) -> Role {
    let may = |scope: &str| scopes.iter().any(|it| it == scope);
    match () {
        () if may("admin") => Role::Owner,
        () if may("write") => Role::Member,
        () if may("deploy") => Role::Developer,
        () => Role::Viewer,
    }
}

/// Lists the teams of whoever asks: the key's.
#[utoipa::path(
    get,
    path = "/v2/teams",
    tag = "account",
    operation_id = "getTeams",
    responses((status = 200, description = "The key's team.", body = TeamsAnswer), Refused),
    security(("key" = []))
)]
pub async fn list(caller: Caller) -> Json<TeamsAnswer> {
    let team = Team::from(&caller);
    let pagination = Pagination { count: 1, next: None, prev: team.created_at };
    Json(TeamsAnswer { teams: vec![team], pagination })
}

/// Reads a team by its id or its name in addresses.
#[utoipa::path(
    get,
    path = "/v2/teams/{team}",
    tag = "account",
    operation_id = "getTeam",
    params(("team" = String, Path, description = "The team's id or its name in addresses.")),
    responses((status = 200, description = "The team.", body = Team), Refused),
    security(("key" = []))
)]
pub async fn get(caller: Caller, Named(team): Named<String>) -> Result<Json<Team>, HttpError> {
    if caller.is_team(&team) { Ok(Json(Team::from(&caller))) } else { Err(no_such_team()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_the_most_that_the_key_may() {
        for (scopes, expected) in [
            (&["read"][..], Role::Viewer),
            (&["read", "deploy"], Role::Developer),
            (&["write", "deploy"], Role::Member),
            (&["read", "write", "deploy", "admin"], Role::Owner),
        ] {
            let scopes: Vec<_> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            assert_eq!(role(&scopes), expected);
        }
    }
}
