//! What was probably meant by a name that is none.

use grapnel_domain::Reason;
use grapnel_proto::hooks::v1::{Hook, ListHooksRequest};

use super::{Client, PAGE};
use crate::exit::Failure;

/// How many projects are looked through for a hook: enough for most, quick for all.
const PROJECTS: u32 = 50;

impl Client {
    /// Adds to a refusal what was probably meant. What cannot be found out is not missed.
    pub(super) async fn suggest(
        &self,
        failure: Failure,
        project: Option<&str>,
        hook: Option<&str>,
    ) -> Failure {
        let meant = match (failure.reason(), project, hook) {
            (Some(Reason::ProjectNotFound), Some(typed), _) => self.meant_project(typed).await,
            (Some(Reason::HookNotFound), project, Some(typed)) => self.meant_hook(project, typed).await,
            _ => None,
        };
        match meant {
            Some(meant) => failure.hint_first(&format!("Did you mean {meant}?")),
            None => failure,
        }
    }

    async fn meant_project(&self, typed: &str) -> Option<String> {
        let (projects, _) = self.projects(PAGE).await.ok()?;
        let names = projects.iter().map(|project| project.name.as_str());
        closest(typed, names).map(|name| format!("`{name}`"))
    }

    /// Hooks are named by their ids, which nobody knows by heart: somebody who types a name is told the id.
    async fn meant_hook(&self, project: Option<&str>, typed: &str) -> Option<String> {
        if typed.contains("://") {
            return None;
        }
        let projects = match project {
            Some(project) => vec![project.to_owned()],
            None => self.projects(PROJECTS).await.ok()?.0.into_iter().map(|project| project.name).collect(),
        };
        let mut hooks = Vec::new();
        for project in projects {
            let of_project = self.hooks_of(&project).await.ok()?;
            hooks.extend(of_project.into_iter().map(|hook| (project.clone(), hook)));
        }
        let names = hooks.iter().flat_map(|(_, hook)| [hook.name.as_str(), hook.id.as_str()]);
        let meant = closest(typed, names)?;
        let (project, hook) = hooks.iter().find(|(_, hook)| hook.name == meant || hook.id == meant)?;
        Some(format!("`{}`, which is `{}` of {project}", hook.id, hook.name))
    }

    /// Returns the id of a hook that is named by its id, or by its name in a project; empty where none is named.
    pub(super) async fn hook_of(
        &self,
        project: Option<&str>,
        named: Option<String>,
    ) -> Result<String, Failure> {
        let (named, project) = match (named, project) {
            (None, _) => return Ok(String::new()),
            (Some(id), _) if id.starts_with("hook_") => return Ok(id),
            (Some(name), Some(project)) => (name, project),
            (Some(_), None) => {
                return Err(Failure::usage("a hook is named by its id, `hook_…`, where no project is given"));
            }
        };
        let hooks = self.hooks_of(project).await?;
        let found = hooks.into_iter().find(|hook| hook.name == named).map(|hook| hook.id);
        let message = || format!("the project has no hook that is called `{named}`");
        found.ok_or_else(|| Failure::refused(Reason::HookNotFound, message()))
    }

    async fn hooks_of(&self, project: &str) -> Result<Vec<Hook>, Failure> {
        // The largest plan is far below one page.
        let request = ListHooksRequest {
            project: project.to_owned(),
            page_size: PAGE.cast_signed(),
            page_token: String::new(),
        };
        Ok(self.answer(self.hooks.clone().list_hooks(request)).await?.hooks)
    }
}

/// How many characters of a name have to be typed before the rest of it is taken as meant.
const BEGINNING: usize = 3;

/// Returns the name that is so close to what was typed, or begins so, that it may have been meant.
pub fn closest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let allowed = 1 + typed.chars().count() / 4;
    let begins = |name: &str| typed.chars().count() >= BEGINNING && name.starts_with(&typed);
    names
        .map(|name| (name.to_lowercase(), name))
        .map(|(lower, name)| (strsim::osa_distance(&typed, &lower), begins(&lower), name))
        .filter(|(distance, begins, _)| *distance <= allowed || *begins)
        .map(|(distance, _, name)| (distance, name))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let meant = |typed| closest(typed, ["harbour", "lighthouse", "cms"].into_iter());
        assert_eq!(meant("harbor"), Some("harbour"));
        assert_eq!(meant("Harbour"), Some("harbour"));
        assert_eq!(meant("lihgthouse"), Some("lighthouse"));
        assert_eq!(meant("csm"), Some("cms"));
        assert_eq!(meant("light"), Some("lighthouse"), "as far as it was typed");
        assert_eq!(meant("website"), None);
        assert_eq!(closest("x", std::iter::empty()), None);
    }
}
