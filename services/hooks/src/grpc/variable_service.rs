//! The calls of `grapnel.hooks.v1.VariableService`.

use std::collections::BTreeSet;

use grapnel_domain::{
    Error, SecretText,
    scope::Scope,
    variable::{BranchPattern, VARIABLES_LIMIT, Variable as NewVariable, VariableName},
};
use grapnel_proto::{
    convert::{Violations, checked, time::timestamp},
    hooks::v1::{variable_service_server::VariableService, *},
};
use tonic::Request;

use super::{Answer, auth::Auth, convert::project_ref};
use crate::{
    app::App,
    model::{self, Kept},
};

/// The handlers.
pub struct VariableHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl VariableService for VariableHandlers {
    async fn set_variables(&self, request: Request<SetVariablesRequest>) -> Answer<SetVariablesResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let request = request.into_inner();
            let project = project_ref(&request.project)?;
            let new = new_variables(request.variables)?;
            let set = self.app.set_variables(team, &project, new).await?;
            Ok(SetVariablesResponse { variables: set.into_iter().map(variable).collect() })
        })
    }

    async fn list_variables(&self, request: Request<ListVariablesRequest>) -> Answer<ListVariablesResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let project = project_ref(&request.into_inner().project)?;
            let variables = self.app.list_variables(team, &project).await?;
            Ok(ListVariablesResponse { variables: variables.into_iter().map(variable).collect() })
        })
    }

    async fn delete_variable(
        &self,
        request: Request<DeleteVariableRequest>,
    ) -> Answer<DeleteVariableResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let request = request.into_inner();
            let project = project_ref(&request.project)?;
            let mut violations = Violations::default();
            let name = violations.check("name", request.name.parse());
            let branches = violations.check("branches", BranchPattern::parse(&request.branches));
            violations.finish()?;
            self.app.delete_variable(team, &project, &checked(name)?, &checked(branches)?).await?;
            Ok(DeleteVariableResponse {})
        })
    }
}

/// Reads variables on their way in. What is wrong is told by position and name; a value is in no error.
fn new_variables(values: Vec<VariableValue>) -> Result<Vec<NewVariable>, Error> {
    let mut violations = Violations::default();
    if values.is_empty() {
        violations.add("variables", "must not be empty");
    }
    if values.len() > VARIABLES_LIMIT {
        violations.add("variables", format!("must be at most {VARIABLES_LIMIT}"));
        violations.finish()?;
        return Ok(Vec::new());
    }
    let mut read = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, it) in values.into_iter().enumerate() {
        let field = |part: &str| format!("variables[{index}].{part}");
        let name = violations.check(&field("name"), it.name.parse::<VariableName>());
        let branches = violations.check(&field("branches"), BranchPattern::parse(&it.branches));
        violations.check(&field("value"), NewVariable::check_value(&it.value, it.secret));
        if let (Some(name), Some(branches)) = (name, branches) {
            if !seen.insert((name.clone(), branches.clone())) {
                violations.add(&field("name"), format!("must not be `{name}` twice for the same branches"));
            }
            read.push(NewVariable { name, value: SecretText::new(it.value), secret: it.secret, branches });
        }
    }
    violations.finish()?;
    Ok(read)
}

fn variable(variable: model::Variable) -> Variable {
    let (value, secret) = match variable.value {
        Kept::Plain(value) => (value, false),
        Kept::Sealed(_) => (String::new(), true),
    };
    Variable {
        id: variable.id.to_string(),
        name: variable.name.to_string(),
        value,
        secret,
        branches: variable.branches.as_str().to_owned(),
        created_at: Some(timestamp(variable.created_at)),
        updated_at: Some(timestamp(variable.updated_at)),
    }
}
