//! The fields of a hook's form: name, branch, and how it deploys.

use std::time::Duration;

use grapnel_proto::hooks::v1::{Hook, InspectRepositoryRequest, InspectRepositoryResponse, ListHooksRequest};

use crate::{
    dashboard::{
        forms::Fields,
        page_error::sentence,
        settings::{form::Form, input::Input, section::Opened},
    },
    hooks_client::{answered_to_people as answered, answered_within},
};

/// How long a repository may keep a page from being shown. Its branches are a help, and can be typed.
const LOOK: Duration = Duration::from_secs(3);

/// What of a hook is decided by whoever fills in a form.
pub struct Options {
    pub name: String,
    pub branch: String,
    pub build_cache: bool,
    pub quiet_period_ms: u32,
    pub max_wait_ms: Option<u32>,
    pub methods: Vec<String>,
}

impl Options {
    /// Reads a form. What is wrong is the field, and why.
    pub fn read(fields: &Fields) -> Result<Self, (&'static str, &'static str)> {
        let seconds = |name: &'static str| match fields.get(name) {
            "" => Ok(None),
            text => thousandths(text).map(Some).ok_or((name, "must be a number of seconds, at most a day")),
        };
        let methods: Vec<_> = fields.all("methods").map(str::to_owned).collect();
        if methods.is_empty() {
            return Err(("methods", "must be at least one"));
        }
        Ok(Self {
            name: fields.get("name").to_owned(),
            branch: fields.get("branch").to_owned(),
            build_cache: fields.checked("build_cache"),
            quiet_period_ms: seconds("quiet_period_ms")?.unwrap_or_default(),
            max_wait_ms: seconds("max_wait_ms")?,
            methods,
        })
    }
}

/// Reads a number such as `1.5` in thousandths.
pub fn thousandths(text: &str) -> Option<u32> {
    let seconds: f64 = text.parse().ok()?;
    let milliseconds = (seconds * 1_000.0).round();
    let fits = milliseconds >= 0.0 && milliseconds <= f64::from(u32::MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is known to fit")]
    fits.then_some(milliseconds as u32)
}

fn seconds(milliseconds: u32) -> String {
    (f64::from(milliseconds) / 1_000.0).to_string()
}

/// The fields, as a page shows them.
pub struct Inputs {
    pub name: Input,
    pub branch: Input,
    pub build_cache: Input,
    pub quiet_period: Input,
    pub max_wait: Input,
    pub methods: [Input; 2],
    /// What is wrong with the methods.
    pub methods_problem: String,
    /// Why no branch can be chosen; empty where one can.
    pub branches_note: String,
    /// Whether a branch is chosen rather than typed.
    pub is_choice: bool,
}

impl Inputs {
    /// Makes them of a form and a hook; a new one where there is none yet.
    pub fn of(form: &Form, hook: &Hook, branches: &Branches, typed_branch: &str) -> Self {
        let (branch, is_choice) = branch(form, branches, typed_branch);
        let method = |name: &str, label| {
            form.check_of("methods", name, label, hook.methods.iter().any(|it| it == name))
        };
        Self {
            name: form
                .text("name", "Name", &hook.name)
                .required()
                .limit(100)
                .hint("Who calls it, such as the name of the CMS. Builds get it as DEPLOY_HOOK_NAME."),
            branch,
            build_cache: form
                .check("build_cache", "Build with the build cache", hook.build_cache)
                .hint("A request can say otherwise: ?buildCache=false builds from scratch."),
            quiet_period: form
                .number("quiet_period_ms", "Quiet period, in seconds", &seconds(hook.quiet_period_ms))
                .hint("A request waits so long for a further one, so that many edits at once are one deployment."),
            max_wait: form
                .number("max_wait_ms", "Longest wait, in seconds", &seconds(hook.max_wait_ms))
                .hint("However many requests come, a deployment is begun and let finish after this time."),
            methods: [method("GET", "GET"), method("POST", "POST")],
            methods_problem: form.problem("methods").to_owned(),
            branches_note: branches.note.clone(),
            is_choice,
        }
    }
}

fn branch(form: &Form, branches: &Branches, wanted: &str) -> (Input, bool) {
    let is_choice = branches.whole && branches.names.iter().any(|name| name == wanted);
    let input = if is_choice {
        let choices = branches.names.iter().map(|name| (name.clone(), name.clone())).collect();
        form.choice("branch", "Branch", wanted, choices)
    } else {
        form.text("branch", "Branch", wanted).limit(255).known(branches.names.clone())
    };
    (input.required().hint("What the hook deploys: the newest commit of this branch."), is_choice)
}

/// The branches that a hook may be for.
pub struct Branches {
    names: Vec<String>,
    /// Whether these are all that the repository has.
    whole: bool,
    note: String,
}

impl Branches {
    /// Asks the repository; where it does not answer soon, the branches that the project uses have to do.
    pub async fn of(opened: &Opened) -> Self {
        let request =
            InspectRepositoryRequest { project: opened.project.id.clone(), repository_url: String::new() };
        match answered_within(LOOK, opened.signed_in.caller.repositories().inspect_repository(request)).await
        {
            Ok(InspectRepositoryResponse { branches, truncated, .. }) => Self {
                names: branches.into_iter().map(|branch| branch.name).collect(),
                whole: !truncated,
                note: String::new(),
            },
            Err(error) => Self {
                names: used(opened).await,
                whole: false,
                note: format!(
                    "The repository does not tell its branches now, so type one. {}",
                    sentence(&error.message)
                ),
            },
        }
    }
}

async fn used(opened: &Opened) -> Vec<String> {
    let request = ListHooksRequest { project: opened.project.id.clone(), ..Default::default() };
    let hooks = answered(opened.signed_in.caller.hooks().list_hooks(request)).await.unwrap_or_default();
    let mut names: Vec<_> = hooks.hooks.into_iter().map(|hook| hook.branch).collect();
    names.push(opened.project.production_branch.clone());
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_typed_in_seconds() {
        for (text, read) in [("0", Some(0)), ("1.5", Some(1_500)), ("900", Some(900_000)), ("-1", None)] {
            assert_eq!(thousandths(text), read, "{text}");
        }
        for none in ["x", "NaN", "inf", "1e300", ""] {
            assert_eq!(thousandths(none), None, "{none}");
        }
        assert_eq!((seconds(1_500), seconds(900_000)), ("1.5".to_owned(), "900".to_owned()));
    }
}
