//! `grapnel triggers`.

use std::{process::ExitCode, time::Duration};

use grapnel_domain::trigger::Decision;
use grapnel_proto::{
    convert::{time::timestamp, trigger::decision_to_wire},
    hooks::v1::{ListTriggersRequest, ListTriggersResponse},
};
use grapnel_runtime::Clock;

use super::{Client, paged};
use crate::exit::Failure;

impl Client {
    pub(super) async fn triggers(
        &mut self,
        project: String,
        hook: Option<String>,
        decision: Option<Decision>,
        since: Option<Duration>,
        limit: u32,
    ) -> Result<ExitCode, Failure> {
        let hook_id = self.hook_of(Some(&project), hook).await?;
        let decision = decision.map(|decision| decision_to_wire(decision).into()).unwrap_or_default();
        let since = since.map(|ago| timestamp(Clock::system().now() - ago));
        let (triggers, next_page_token) = paged(limit, async |page_size, page_token| {
            let request = ListTriggersRequest {
                project: project.clone(),
                hook_id: hook_id.clone(),
                decision,
                since,
                page_size,
                page_token,
                ..ListTriggersRequest::default()
            };
            let page = self.answer(self.hooks.clone().list_triggers(request)).await?;
            Ok((page.triggers, page.next_page_token))
        })
        .await?;
        let answer = ListTriggersResponse { triggers, next_page_token };
        self.printer.message("grapnel.hooks.v1.ListTriggersResponse", &answer, |printer| {
            printer.triggers(&answer.triggers)
        })?;
        self.printer.more(&answer.next_page_token);
        Ok(ExitCode::SUCCESS)
    }
}
