//! The description of the interface, made from the code.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Description,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    addresses, answer::ErrorAnswer, deploy_hooks, deployment, deployments, events, new_deployment,
    new_project, projects, teams, user,
};

/// What the description says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Grapnel",
        description = "Projects, deploy hooks and deployments in the shapes of Vercel's public API, so that tools which \
                       speak it work: `vercel --api <gateway> --token <key>`. Every route takes any version in front \
                       (`/v1/projects` is `/v9/projects`), and `teamId` or `slug` in the query, which have to name the \
                       key's team. Times are in milliseconds of Unix time. Errors have one envelope.",
    ),
    servers((url = "/", description = "This gateway.")),
    paths(
        user::get,
        teams::list,
        teams::get,
        projects::list,
        new_project::add,
        projects::get,
        projects::remove,
        deploy_hooks::create,
        deploy_hooks::revoke,
        addresses::promote,
        addresses::rollback,
        deployments::list,
        new_deployment::create,
        deployment::get,
        deployment::remove,
        deployment::cancel,
        deployment::builds,
        addresses::of_deployment,
        events::read,
    ),
    components(schemas(ErrorAnswer)),
    modifiers(&Keys)
)]
struct Interface;

/// How callers show who they are.
struct Keys;

impl Modify for Keys {
    fn modify(&self, description: &mut Description) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("An API key, `gra_…`.".to_owned());
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}

/// Returns the description.
pub fn description() -> Description {
    Interface::openapi()
}

/// `GET /openapi.json`
pub async fn get() -> Json<Description> {
    Json(description())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env, fs, path::Path};

    use super::*;

    /// The variable that lets the test write the file in place of comparing it.
    const UPDATE: &str = "UPDATE_OPENAPI";

    #[test]
    #[expect(clippy::disallowed_methods, reason = "whoever runs the test says that it is to write")]
    fn the_description_in_the_docs_is_that_of_the_code() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let made = description().to_pretty_json().unwrap() + "\n";
        if env::var_os(UPDATE).is_some() {
            fs::write(&file, &made).unwrap();
        }
        let kept = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            made == kept,
            "docs/openapi.json is another; `{UPDATE}=1 cargo test -p grapnel-gateway` writes it"
        );
    }

    #[test]
    fn every_route_is_described() {
        let routes = include_str!("mod.rs").split(".route(\"").skip(1);
        let routed: BTreeSet<_> = routes.filter_map(|rest| rest.split('"').next()).collect();
        let description = description();
        let mut described: BTreeSet<_> = description.paths.paths.keys().map(String::as_str).collect();
        described.insert("/openapi.json");
        assert_eq!(described, routed);
    }
}
