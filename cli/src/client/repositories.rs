//! `grapnel project branches`, and the look at a repository before it becomes a project.

use grapnel_proto::hooks::v1::{InspectRepositoryRequest, InspectRepositoryResponse};

use super::{Client, suggestions::closest};
use crate::exit::Failure;

impl Client {
    pub(super) async fn list_branches(&self, of: String) -> Result<(), Failure> {
        let answer = self.inspect(of).await?;
        self.printer.message("grapnel.hooks.v1.InspectRepositoryResponse", &answer, |printer| {
            printer.branches(&answer)
        })
    }

    /// Returns the branch that a project of a repository deploys, which is read for that: the one that is wanted, or the one
    /// that a clone would check out.
    pub(super) async fn checked(
        &self,
        repository: &str,
        wanted: Option<String>,
    ) -> Result<Option<String>, Failure> {
        let request =
            InspectRepositoryRequest { repository_url: repository.to_owned(), ..Default::default() };
        let found = self.answer(self.repositories.clone().inspect_repository(request)).await?;
        let names = || found.branches.iter().map(|branch| branch.name.as_str());
        let Some(wanted) = wanted else {
            return Ok(Some(found.default_branch.clone()).filter(|name| !name.is_empty()));
        };
        if found.truncated || names().any(|name| name == wanted) {
            return Ok(Some(wanted));
        }
        let failure = Failure::failed(format!("the repository has no branch `{wanted}`"));
        Err(match closest(&wanted, names()) {
            Some(name) => failure.hint(format!("Did you mean `{name}`?")),
            None => failure.hint(format!("`grapnel project branches {repository}` shows its branches.")),
        })
    }

    async fn inspect(&self, of: String) -> Result<InspectRepositoryResponse, Failure> {
        // The name of a project has none of these.
        let is_address = of.contains(['/', ':', '@']);
        let (project, repository_url) = if is_address { (String::new(), of) } else { (of, String::new()) };
        let request = InspectRepositoryRequest { project, repository_url };
        self.answer(self.repositories.clone().inspect_repository(request)).await
    }
}
