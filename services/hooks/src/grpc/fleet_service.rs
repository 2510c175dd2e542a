//! The calls of `grapnel.hooks.v1.FleetService`.

use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::{fleet_service_server::FleetService, *};
use tonic::Request;

use super::{Answer, auth::Auth};
use crate::{
    app::App,
    model::{self, ExecutorInfo},
};

/// The handlers.
pub struct FleetHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl FleetService for FleetHandlers {
    async fn list_executors(&self, request: Request<ListExecutorsRequest>) -> Answer<ListExecutorsResponse> {
        answer!({
            self.auth.team(&request, Scope::Admin).await?;
            let executors = self.app.executors.list().into_iter().map(executor).collect();
            Ok(ListExecutorsResponse { executors })
        })
    }

    async fn drain_executor(&self, request: Request<DrainExecutorRequest>) -> Answer<DrainExecutorResponse> {
        answer!({
            self.auth.team(&request, Scope::Admin).await?;
            let drained = self.app.executors.drain(&request.into_inner().name).await?;
            Ok(DrainExecutorResponse { executor: Some(executor(drained)) })
        })
    }
}

fn executor(info: ExecutorInfo) -> Executor {
    let ExecutorInfo { address, name, version, state, slots, running } = info;
    let state = match state {
        model::ExecutorState::Ready => ExecutorState::Ready,
        model::ExecutorState::Draining => ExecutorState::Draining,
        model::ExecutorState::Away => ExecutorState::Away,
    };
    Executor { address, name, version, state: state.into(), slots, running }
}
