//! The environment variables of projects.

use std::collections::HashMap;

use grapnel_domain::{
    Error, Reason,
    id::{ProjectId, TeamId, VariableId},
    variable::{BranchPattern, Variable as NewVariable, VariableName},
};

use super::App;
use crate::{
    model::{Kept, Variable},
    store::{StoreError, projects::ProjectRef},
};

impl App {
    /// Gives a project variables, all of them or none. One of the same name for the same branches gets the new value.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `VARIABLE_LIMIT_REACHED`, `SECRET_KEY_MISSING`.
    pub async fn set_variables(
        &self,
        team: TeamId,
        project: &ProjectRef,
        new: Vec<NewVariable>,
    ) -> Result<Vec<Variable>, Error> {
        let project = self.project(team, project).await?;
        let ids = self.variable_ids(team, project.id).await?;
        let kept = || new.iter().map(|it| self.kept(&ids, it)).collect::<Vec<_>>();
        let mut variables = kept();
        let mut stored = self.store.set_variables(team, project.id, &variables).await;
        if self.has_a_new_key(&stored) {
            variables = kept();
            stored = self.store.set_variables(team, project.id, &variables).await;
        }
        stored.map_err(|error| match error {
            StoreError::TooManyVariables | StoreError::ValuesTooLong => {
                Error::new(Reason::VariableLimitReached, error.to_string())
            }
            other => other.into_error(Reason::ProjectNotFound),
        })?;
        tracing::info!(project.id = %project.id, count = variables.len(), "variables were set");
        Ok(variables)
    }

    /// Lists a project's variables. What is secret stays sealed.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn list_variables(&self, team: TeamId, project: &ProjectRef) -> Result<Vec<Variable>, Error> {
        let project = self.project(team, project).await?;
        let variables = self.store.variables(team, project.id).await;
        variables.map_err(|error| error.into_error(Reason::ProjectNotFound))
    }

    /// Removes a variable.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `VARIABLE_NOT_FOUND`.
    pub async fn delete_variable(
        &self,
        team: TeamId,
        project: &ProjectRef,
        name: &VariableName,
        branches: &BranchPattern,
    ) -> Result<(), Error> {
        let project = self.project(team, project).await?;
        let deleted = self.store.delete_variable(team, project.id, name, branches).await;
        deleted.map_err(|error| error.into_error(Reason::VariableNotFound))?;
        tracing::info!(project.id = %project.id, variable = %name, "a variable was removed");
        Ok(())
    }

    async fn variable_ids(
        &self,
        team: TeamId,
        project: ProjectId,
    ) -> Result<HashMap<(VariableName, BranchPattern), VariableId>, Error> {
        let present = self.store.variables(team, project).await;
        let present = present.map_err(|error| error.into_error(Reason::ProjectNotFound))?;
        Ok(present.into_iter().map(|it| ((it.name, it.branches), it.id)).collect())
    }

    fn kept(&self, ids: &HashMap<(VariableName, BranchPattern), VariableId>, new: &NewVariable) -> Variable {
        let now = self.clock.now();
        let known = ids.get(&(new.name.clone(), new.branches.clone())).copied();
        let id = known.unwrap_or_else(|| self.clock.new_id());
        let value = if new.secret {
            Kept::Sealed(self.sealer.seal(&id.to_string(), &new.value))
        } else {
            Kept::Plain(new.value.expose().to_owned())
        };
        let (name, branches) = (new.name.clone(), new.branches.clone());
        Variable { id, name, branches, value, created_at: now, updated_at: now }
    }
}
