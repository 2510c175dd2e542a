//! What can be done about deployments.

use axum::{
    extract::Path,
    response::{IntoResponse as _, Redirect, Response},
};
use grapnel_proto::hooks::v1::{
    CancelDeploymentRequest, DeleteDeploymentRequest, Deployment, GetDeploymentRequest,
    PromoteDeploymentRequest, TriggerDeploymentRequest,
};

use crate::{
    caller::Caller,
    dashboard::{forms::Posted, links, notice, page_error::PageError},
    hooks_client::answered_to_people as answered,
};

type Done = Result<Response, PageError>;

/// `POST /projects/{project}/deploy`: deploys a branch.
pub async fn deploy(Path(project): Path<String>, Posted { signed_in, fields }: Posted) -> Done {
    let request = TriggerDeploymentRequest {
        project: project.clone(),
        branch: fields.get("branch").to_owned(),
        build_cache: fields.checked("no-cache").then_some(false),
        ..Default::default()
    };
    begun(&signed_in.caller, &project, request).await
}

/// `POST …/redeploy`: deploys the same commit of the same branch.
pub async fn redeploy(
    Path((project, id)): Path<(String, String)>,
    Posted { signed_in, fields }: Posted,
) -> Done {
    let caller = &signed_in.caller;
    let request = GetDeploymentRequest { deployment_id: id };
    let old = answered(caller.hooks().get_deployment(request)).await?.deployment.unwrap_or_default();
    let request = TriggerDeploymentRequest {
        project: old.project_id.clone(),
        build_cache: fields.checked("no-cache").then_some(false),
        branch: old.branch,
        commit: old.commit,
        title: old.title,
    };
    begun(caller, &project, request).await
}

async fn begun(caller: &Caller, project: &str, request: TriggerDeploymentRequest) -> Done {
    let answer = answered(caller.hooks().trigger_deployment(request)).await?;
    let Deployment { id, .. } = answer.deployment.unwrap_or_default();
    Ok(to_deployment(project, &id, "deployment-begun"))
}

/// `POST …/cancel`
pub async fn cancel(Path((project, id)): Path<(String, String)>, Posted { signed_in, .. }: Posted) -> Done {
    let request = CancelDeploymentRequest { deployment_id: id.clone() };
    answered(signed_in.caller.hooks().cancel_deployment(request)).await?;
    Ok(to_deployment(&project, &id, "deployment-canceled"))
}

/// `POST …/promote`
pub async fn promote(Path((project, id)): Path<(String, String)>, Posted { signed_in, .. }: Posted) -> Done {
    let request = PromoteDeploymentRequest { deployment_id: id.clone() };
    let answer = answered(signed_in.caller.addresses().promote_deployment(request)).await?;
    let held = answer.address.is_some_and(|address| address.held);
    Ok(to_deployment(&project, &id, if held { "deployment-held" } else { "deployment-promoted" }))
}

/// `POST …/delete`
pub async fn delete(Path((project, id)): Path<(String, String)>, Posted { signed_in, .. }: Posted) -> Done {
    let request = DeleteDeploymentRequest { deployment_id: id };
    answered(signed_in.caller.hooks().delete_deployment(request)).await?;
    let to = links::with_query(&links::project(&project), &[(notice::PARAMETER, "deployment-deleted")]);
    Ok(Redirect::to(&to).into_response())
}

fn to_deployment(project: &str, id: &str, did: &str) -> Response {
    let to = links::with_query(&links::deployment(project, id), &[(notice::PARAMETER, did)]);
    Redirect::to(&to).into_response()
}
