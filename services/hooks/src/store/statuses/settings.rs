//! How projects want their commits to be told of.

use chrono::{DateTime, TimeDelta, Utc};
use grapnel_domain::{
    RepositoryUrl,
    commit_status::{ApiBase, GitHost},
    id::{ProjectId, StatusId},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, OnConflict},
};

use super::super::{
    Store, StoreError,
    entity::{commit_status, credential, project, status_setting},
    notices::Rings,
    rows, sealed,
};
use crate::{
    model::{StatusMode, StatusPlan, TokenFrom},
    sealing::Sealed,
};

/// How long ago something may have been given up that is tried again when the setting changes: what is older nobody
/// looks at any more.
const REVIVED: TimeDelta = TimeDelta::days(1);

/// A token that was given for this.
#[derive(Clone, Debug)]
pub struct GivenToken {
    /// Sealed for [`setting_owner`].
    pub sealed: Sealed,
    /// Its last four characters.
    pub last_four: String,
    /// The only interface that it is shown to.
    pub base: ApiBase,
}

/// How a project wants it from now on.
#[derive(Clone, Debug)]
pub enum NewStatusSetting {
    /// Nothing is told. What else was set stays.
    Off,
    /// By the repository's address.
    Automatic {
        /// The token; `None` keeps the one that there is.
        token: Option<GivenToken>,
    },
    /// By hand.
    ByHand {
        /// The kind of host.
        host: GitHost,
        /// Where its interface begins.
        api_base: ApiBase,
        /// The token; `None` keeps the one that there is.
        token: Option<GivenToken>,
    },
}

/// Returns the name of the row that a project's token is sealed for.
pub fn setting_owner(project: ProjectId) -> String {
    StatusId::from_uuid(project.uuid()).to_string()
}

impl Store {
    /// Reads what is told of a project and where. The caller has made sure that the project may be seen; one that was
    /// deleted is found too, since what it came to is told still.
    ///
    /// # Errors
    /// There is no such project.
    pub async fn status_plan(&self, project: ProjectId) -> Result<StatusPlan, StoreError> {
        // What the writer has just written has to be seen.
        let row = project::Entity::find_by_id(project.to_string()).one(&self.writer).await?;
        plan(&self.writer, &row.ok_or(StoreError::NotFound)?).await
    }

    /// Stores how a project wants it. What was given up lately is tried again.
    ///
    /// # Errors
    /// The database fails.
    pub async fn set_status_setting(
        &self,
        project: ProjectId,
        new: NewStatusSetting,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let owner = setting_owner(project);
        let row = status_setting::ActiveModel {
            project_id: Set(project.to_string()),
            id: Set(owner.clone()),
            last_four: Set(String::new()),
            ..Default::default()
        };
        let kept = status_setting::ActiveModel { wait_until: Set(None), updated_at: Set(now), ..row };
        let (changed, token) = match new {
            NewStatusSetting::Off => {
                (status_setting::ActiveModel { mode: Set(StatusMode::Off.as_str().to_owned()), ..kept }, None)
            }
            NewStatusSetting::Automatic { token } => {
                let mode = Set(StatusMode::Automatic.as_str().to_owned());
                let none = (Set(None), Set(None));
                (status_setting::ActiveModel { mode, host: none.0, api_base: none.1, ..kept }, token)
            }
            NewStatusSetting::ByHand { host, api_base, token } => {
                let (host, base) = (Set(Some(host.to_string())), Set(Some(api_base.to_string())));
                let mode = Set(StatusMode::ByHand.as_str().to_owned());
                (status_setting::ActiveModel { mode, host, api_base: base, ..kept }, token)
            }
        };
        ensure_row(&transaction, project, now).await?;
        let changed = status_setting::ActiveModel { last_four: Default::default(), ..changed };
        let changed = match token {
            Some(token) => {
                sealed::put(&transaction, &owner, &token.sealed).await?;
                status_setting::ActiveModel {
                    last_four: Set(token.last_four),
                    token_base: Set(Some(token.base.to_string())),
                    ..changed
                }
            }
            None => changed,
        };
        status_setting::Entity::update(changed).exec(&transaction).await?;
        revive(&transaction, project, now).await?;
        self.commit(transaction, Rings::statuses()).await
    }

    /// Keeps everything of a project back until its host wants to hear of us again.
    ///
    /// # Errors
    /// The database fails.
    pub async fn wait_with_statuses(
        &self,
        project: ProjectId,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        ensure_row(&transaction, project, now).await?;
        let earlier = Condition::any()
            .add(status_setting::Column::WaitUntil.is_null())
            .add(status_setting::Column::WaitUntil.lt(until));
        status_setting::Entity::update_many()
            .col_expr(status_setting::Column::WaitUntil, Expr::value(until))
            .filter(status_setting::Column::ProjectId.eq(project.to_string()))
            .filter(earlier)
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Makes the row that says what is usual, unless there is one.
async fn ensure_row(
    database: &impl ConnectionTrait,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let usual = status_setting::Model {
        project_id: project.to_string(),
        id: setting_owner(project),
        mode: StatusMode::Automatic.as_str().to_owned(),
        host: None,
        api_base: None,
        token_base: None,
        last_four: String::new(),
        wait_until: None,
        updated_at: now,
    };
    let nothing = OnConflict::column(status_setting::Column::ProjectId).do_nothing().to_owned();
    status_setting::Entity::insert(status_setting::ActiveModel::from(usual))
        .on_conflict(nothing)
        .exec_without_returning(database)
        .await?;
    Ok(())
}

async fn revive(
    database: &impl ConnectionTrait,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let again = commit_status::ActiveModel {
        next_try_at: Set(Some(now)),
        gave_up_at: Set(None),
        tries: Set(0),
        wanted_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    commit_status::Entity::update_many()
        .set(again)
        .filter(commit_status::Column::ProjectId.eq(project.to_string()))
        .filter(commit_status::Column::GaveUpAt.gt(now - REVIVED))
        .exec(database)
        .await?;
    Ok(())
}

/// Says what is told of a project and where.
pub(super) async fn plan(
    database: &impl ConnectionTrait,
    row: &project::Model,
) -> Result<StatusPlan, StoreError> {
    let project = rows::project(row)?;
    let setting = status_setting::Entity::find_by_id(&row.id).one(database).await?;
    let mode = match &setting {
        Some(setting) => rows::parse("status_setting", &setting.mode)?,
        None => StatusMode::Automatic,
    };
    let named = setting.as_ref().and_then(|it| Some((it.host.as_ref()?, it.api_base.as_ref()?)));
    let host = match (mode, named) {
        (StatusMode::ByHand, Some((host, base))) => {
            Some((rows::parse("status_setting", host)?, rows::parse("status_setting", base)?))
        }
        _ => GitHost::of(&project.repository),
    };
    let repository = host
        .as_ref()
        .and_then(|(host, base): &(GitHost, ApiBase)| host.repository_path(base, &project.repository));
    let mut plan = StatusPlan { mode, host, repository, token: None, sealed: None };
    let Some((_, base)) = &plan.host else {
        return Ok(plan);
    };
    // A token goes to the interface that it was given for, and nowhere else whatever is changed later.
    if let Some(setting) = setting.filter(|it| it.token_base.as_deref() == Some(base.as_str())) {
        plan.sealed = sealed_for(database, setting.id).await?;
        plan.token = plan.sealed.is_some().then_some(TokenFrom::Given { last_four: setting.last_four });
    }
    if plan.token.is_none() && mode == StatusMode::Automatic {
        plan.sealed = credential_token(database, &row.team_id, &row.id, &project.repository).await?;
        plan.token = plan.sealed.is_some().then_some(TokenFrom::Credential);
    }
    Ok(plan)
}

/// Finds the token with which git would go to the repository's host by HTTPS: the project's, or else its team's.
async fn credential_token(
    database: &impl ConnectionTrait,
    team: &str,
    project: &str,
    repository: &RepositoryUrl,
) -> Result<Option<(String, Sealed)>, StoreError> {
    let Some(origin) = GitHost::token_origin(repository) else {
        return Ok(None);
    };
    let of_project = credential::Column::ProjectId.eq(project);
    let found = credential::Entity::find()
        .filter(credential::Column::TeamId.eq(team))
        .filter(credential::Column::Origin.eq(origin.to_string()))
        .filter(Condition::any().add(of_project).add(credential::Column::ProjectId.is_null()))
        .order_by_asc(credential::Column::Id)
        .all(database)
        .await?;
    let mine = found.iter().find(|it| it.project_id.is_some()).or(found.first());
    match mine {
        Some(credential) => sealed_for(database, credential.id.clone()).await,
        None => Ok(None),
    }
}

async fn sealed_for(
    database: &impl ConnectionTrait,
    owner: String,
) -> Result<Option<(String, Sealed)>, StoreError> {
    let found = sealed::of(database, [owner]).await?;
    Ok(found.into_iter().next())
}
