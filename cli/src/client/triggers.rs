//! `grapnel triggers`.

use std::{process::ExitCode, time::Duration};

use grapnel_domain::trigger::Decision;
use grapnel_proto::{
    convert::{time::timestamp, trigger::decision_to_wire},
    hooks::v1::ListTriggersRequest,
};
use grapnel_runtime::Clock;

use super::Client;
use crate::exit::Failure;

impl Client {
    pub(super) async fn triggers(
        &mut self,
        project: String,
        hook: Option<String>,
        decision: Option<Decision>,
        since: Option<Duration>,
        limit: i32,
    ) -> Result<ExitCode, Failure> {
        let request = ListTriggersRequest {
            project,
            hook_id: hook.unwrap_or_default(),
            decision: decision.map(|decision| decision_to_wire(decision).into()).unwrap_or_default(),
            since: since.map(|ago| timestamp(Clock::system().now() - ago)),
            page_size: limit,
            ..ListTriggersRequest::default()
        };
        let answer = self.answer(self.hooks.clone().list_triggers(request)).await?;
        self.printer.message("grapnel.hooks.v1.ListTriggersResponse", &answer, |printer| {
            printer.triggers(&answer.triggers)
        });
        Ok(ExitCode::SUCCESS)
    }
}
