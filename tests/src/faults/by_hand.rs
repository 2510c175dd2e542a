//! What a person does to an installation under load: goes back to an older deployment, and deletes one.

use std::time::{Duration, Instant};

use grapnel_proto::hooks::v1::{
    DeleteDeploymentRequest, DeploymentState, ListDeploymentsRequest, PromoteDeploymentRequest,
    TriggerDeploymentRequest,
};

use super::Installation;

/// How long a service that has been started may take to do what is asked of it.
const DONE: Duration = Duration::from_secs(90);

impl Installation {
    /// Waits until a build has just begun: for a moment in which none goes on, and then for one in which one does.
    ///
    /// # Panics
    /// None begins.
    pub async fn begins_to_build(&self) {
        let begun = Instant::now();
        for wanted in [false, true] {
            while self.builds().await != wanted {
                assert!(begun.elapsed() < DONE, "no build begins: {}", self.logs());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn builds(&self) -> bool {
        for project in self.projects() {
            if !self.newest(project, DeploymentState::Building).await.is_empty() {
                return true;
            }
        }
        false
    }

    /// Goes back to the deployment before the newest in every project that has one, as far as the service answers.
    pub async fn go_back(&self) {
        for project in self.projects() {
            if let [_, older, ..] = self.newest(project, DeploymentState::Ready).await.as_slice() {
                self.promote(older).await;
            }
        }
    }

    /// Promotes the newest deployment of every project, so that their addresses are held no longer.
    ///
    /// # Panics
    /// The service does not come to it.
    pub async fn let_go(&self) {
        let begun = Instant::now();
        for project in self.projects() {
            loop {
                // Another one may get READY in between.
                let held = match self.newest(project, DeploymentState::Ready).await.first() {
                    Some(newest) => self.promote(newest).await,
                    None => None,
                };
                if held == Some(false) {
                    break;
                }
                assert!(begun.elapsed() < DONE, "the address of {project} is held: {}", self.logs());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Deploys a project without its hook, and deletes that deployment, as far as the service answers.
    pub async fn delete_one(&self) {
        let Some(project) = self.projects().first() else { return };
        let deploy = TriggerDeploymentRequest { project: project.clone(), ..Default::default() };
        let Ok(asked) = self.client().trigger_deployment(deploy).await else { return };
        let Some(deployment) = asked.into_inner().deployment else { return };
        let delete = DeleteDeploymentRequest { deployment_id: deployment.id };
        let _ = self.client().delete_deployment(delete).await;
    }

    /// Returns the newest deployments of a project in a state; none where the service does not answer.
    async fn newest(&self, project: &str, state: DeploymentState) -> Vec<String> {
        let request = ListDeploymentsRequest {
            project: project.to_owned(),
            state: state.into(),
            page_size: 2,
            ..Default::default()
        };
        let listed = self.client().list_deployments(request).await.map(tonic::Response::into_inner);
        listed.map_or_else(|_| Vec::new(), |page| page.deployments.into_iter().map(|it| it.id).collect())
    }

    /// Promotes a deployment; returns whether its address is held then, where the service says so.
    async fn promote(&self, id: &str) -> Option<bool> {
        let request = PromoteDeploymentRequest { deployment_id: id.to_owned() };
        let answer = self.addresses().promote_deployment(request).await.ok()?;
        answer.into_inner().address.map(|address| address.held)
    }
}
