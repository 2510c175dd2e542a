//! What is shown to git hosts, and the SSH hosts that teams trust.

use grapnel_domain::{
    id::{CredentialId, ProjectId, TeamId},
    source::KnownHost,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter, QueryOrder, QuerySelect, sea_query::OnConflict,
};

use super::{
    Store, StoreError,
    entity::{credential, project, team, trusted_host},
    rows, sealed,
};
use crate::{
    model::{Credential, TrustedHost},
    sealing::Sealed,
};

/// The most credentials that a team has, those of its projects among them.
pub const CREDENTIALS_LIMIT: u32 = 200;

impl Store {
    /// Stores a credential.
    ///
    /// # Errors
    /// There is one for the origin, the team has too many, or the project is gone.
    pub async fn create_credential(&self, new: &Credential, secret: &Sealed) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // The team's row is the lock that makes counting and inserting one thing.
        let team =
            team::Entity::find_by_id(new.team_id.to_string()).lock_exclusive().one(&transaction).await?;
        team.ok_or(StoreError::NotFound)?;
        if let Some(id) = new.project_id {
            let found = project::Entity::find_by_id(id.to_string())
                .filter(project::Column::TeamId.eq(new.team_id.to_string()))
                .filter(project::Column::DeletedAt.is_null())
                .one(&transaction)
                .await?;
            found.ok_or(StoreError::NotFound)?;
        }
        let used = credential::Entity::find()
            .filter(credential::Column::TeamId.eq(new.team_id.to_string()))
            .count(&transaction)
            .await?;
        if used >= u64::from(CREDENTIALS_LIMIT) {
            return Err(StoreError::TooManyCredentials);
        }
        let row = rows::credential_row(new);
        credential::Entity::insert(row.into_active_model())
            .exec_without_returning(&transaction)
            .await
            .map_err(StoreError::name_taken)?;
        sealed::put(&transaction, &new.id.to_string(), secret).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Reads a team's credentials, the newest first; for a project, those that its sources are fetched with: its own
    /// and the team's.
    ///
    /// # Errors
    /// The database fails.
    pub async fn credentials(
        &self,
        team: TeamId,
        project: Option<ProjectId>,
    ) -> Result<Vec<Credential>, StoreError> {
        let mut query = credential::Entity::find()
            .filter(credential::Column::TeamId.eq(team.to_string()))
            .order_by_desc(credential::Column::Id);
        if let Some(project) = project {
            query = query.filter(
                Condition::any()
                    .add(credential::Column::ProjectId.is_null())
                    .add(credential::Column::ProjectId.eq(project.to_string())),
            );
        }
        query.all(&self.reader).await?.into_iter().map(rows::credential).collect()
    }

    /// Reads a credential of a team.
    ///
    /// # Errors
    /// There is none.
    pub async fn credential(&self, team: TeamId, id: CredentialId) -> Result<Credential, StoreError> {
        let row = credential::Entity::find_by_id(id.to_string())
            .filter(credential::Column::TeamId.eq(team.to_string()))
            .one(&self.reader)
            .await?;
        rows::credential(row.ok_or(StoreError::NotFound)?)
    }

    /// Reads the credentials of a project's sources with what is sealed in them; the project's own before the team's. Without a
    /// project, those of the team itself.
    ///
    /// # Errors
    /// The database fails.
    pub async fn sealed_credentials(
        &self,
        team: TeamId,
        project: Option<ProjectId>,
    ) -> Result<Vec<(Credential, Sealed)>, StoreError> {
        let mut found = self.credentials(team, project).await?;
        // Nobody else's project is shown what is one project's.
        found.retain(|it| it.project_id.is_none() || it.project_id == project);
        found.sort_by_key(|it| it.project_id.is_none());
        let mut sealed = sealed::of(&self.reader, found.iter().map(|it| it.id.to_string())).await?;
        // One that was removed in between is not there any more.
        let with_sealed = |it: Credential| sealed.remove(&it.id.to_string()).map(|sealed| (it, sealed));
        Ok(found.into_iter().filter_map(with_sealed).collect())
    }

    /// Removes a credential of a team.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_credential(&self, team: TeamId, id: CredentialId) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let deleted = credential::Entity::delete_many()
            .filter(credential::Column::Id.eq(id.to_string()))
            .filter(credential::Column::TeamId.eq(team.to_string()))
            .exec(&transaction)
            .await?;
        if deleted.rows_affected == 0 {
            return Err(StoreError::NotFound);
        }
        sealed::remove(&transaction, [id.to_string()]).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Lets a team trust a host by its keys, in the place of those by which it did.
    ///
    /// # Errors
    /// The database fails.
    pub async fn trust_host(&self, team: TeamId, host: &TrustedHost) -> Result<(), StoreError> {
        let KnownHost { host: name, port, keys } = &host.host;
        let lines: Vec<_> = keys.iter().map(ToString::to_string).collect();
        let row = trusted_host::ActiveModel {
            team_id: Set(team.to_string()),
            host: Set(name.clone()),
            port: Set(i32::from(*port)),
            host_keys: Set(lines.join("\n")),
            created_at: Set(host.trusted_at),
        };
        let columns = [trusted_host::Column::TeamId, trusted_host::Column::Host, trusted_host::Column::Port];
        trusted_host::Entity::insert(row)
            .on_conflict(
                OnConflict::columns(columns)
                    .update_columns([trusted_host::Column::HostKeys, trusted_host::Column::CreatedAt])
                    .to_owned(),
            )
            .exec_without_returning(&self.writer)
            .await?;
        Ok(())
    }

    /// Reads the hosts that a team trusts.
    ///
    /// # Errors
    /// The database fails.
    pub async fn trusted_hosts(&self, team: TeamId) -> Result<Vec<TrustedHost>, StoreError> {
        let found = trusted_host::Entity::find()
            .filter(trusted_host::Column::TeamId.eq(team.to_string()))
            .order_by_asc(trusted_host::Column::Host)
            .order_by_asc(trusted_host::Column::Port)
            .all(&self.reader)
            .await?;
        found.into_iter().map(rows::trusted_host).collect()
    }

    /// Lets a team trust a host no longer.
    ///
    /// # Errors
    /// It did not.
    pub async fn distrust_host(&self, team: TeamId, host: &str, port: u16) -> Result<(), StoreError> {
        let deleted = trusted_host::Entity::delete_many()
            .filter(trusted_host::Column::TeamId.eq(team.to_string()))
            .filter(trusted_host::Column::Host.eq(host))
            .filter(trusted_host::Column::Port.eq(i32::from(port)))
            .exec(&self.writer)
            .await?;
        if deleted.rows_affected == 0 { Err(StoreError::NotFound) } else { Ok(()) }
    }
}

/// Removes all credentials of a project.
pub(super) async fn remove_all(
    transaction: &DatabaseTransaction,
    project: ProjectId,
) -> Result<(), StoreError> {
    let own = credential::Column::ProjectId.eq(project.to_string());
    let rows = credential::Entity::find().filter(own.clone()).all(transaction).await?;
    sealed::remove(transaction, rows.into_iter().map(|row| row.id)).await?;
    credential::Entity::delete_many().filter(own).exec(transaction).await?;
    Ok(())
}
