//! `grapnel hook`.

use std::{process::ExitCode, time::Duration};

use grapnel_proto::{
    convert::time::timestamp,
    hooks::v1::{
        CreateHookRequest, GetHookRequest, Hook, HookChanges, ListHooksRequest, RevokeHookRequest,
        RotateHookTokenRequest, UpdateHookRequest,
    },
};

use super::Client;
use crate::{args::HookCommand, exit::Failure};

/// What people are told beside a URL.
const SHOWN_ONCE: &str =
    "Anyone with this URL can deploy. It is shown once: store it where secrets are stored.";

impl Client {
    pub(super) async fn hook(&mut self, command: HookCommand) -> Result<ExitCode, Failure> {
        match command {
            HookCommand::Create { project, name, branch, no_cache, waiting, created_at } => {
                let request = CreateHookRequest {
                    project,
                    name,
                    branch: branch.unwrap_or_default(),
                    build_cache: no_cache.then_some(false),
                    quiet_period_ms: waiting.quiet_period.map(milliseconds).unwrap_or_default(),
                    max_wait_ms: waiting.max_wait.map(milliseconds),
                    methods: waiting.methods,
                    created_at: created_at.map(timestamp),
                };
                let answer = self.answer(self.hooks.clone().create_hook(request)).await?;
                self.printer.message("grapnel.hooks.v1.CreateHookResponse", &answer, |_| {
                    let id = answer.hook.as_ref().map(|hook| hook.id.clone()).unwrap_or_default();
                    format!("{}\n\n{SHOWN_ONCE}\nThe hook's id is {id}.", answer.url)
                })?;
            }
            HookCommand::List { project } => {
                // The largest plan is far below one page.
                let request = ListHooksRequest { project, page_size: 200, page_token: String::new() };
                let answer = self.answer(self.hooks.clone().list_hooks(request)).await?;
                self.printer.message("grapnel.hooks.v1.ListHooksResponse", &answer, |printer| {
                    printer.hooks(&answer.hooks)
                })?;
            }
            HookCommand::Show { hook } => {
                let answer =
                    self.answer(self.hooks.clone().get_hook(GetHookRequest { hook_id: hook })).await?;
                self.show_hook(&answer.hook.unwrap_or_default())?;
            }
            HookCommand::Update { hook, name, branch, cache, waiting } => {
                let given = [
                    ("name", name.is_some()),
                    ("branch", branch.is_some()),
                    ("build_cache", cache.is_some()),
                    ("quiet_period_ms", waiting.quiet_period.is_some()),
                    ("max_wait_ms", waiting.max_wait.is_some()),
                    ("methods", !waiting.methods.is_empty()),
                ];
                let paths: Vec<_> = given.iter().filter(|(_, given)| *given).map(|(path, _)| *path).collect();
                if paths.is_empty() {
                    return Err(Failure::usage(
                        "nothing to change is given; see `grapnel hook update --help`",
                    ));
                }
                let changes = HookChanges {
                    name: name.unwrap_or_default(),
                    branch: branch.unwrap_or_default(),
                    paused: false,
                    build_cache: cache.unwrap_or_default(),
                    quiet_period_ms: waiting.quiet_period.map(milliseconds).unwrap_or_default(),
                    max_wait_ms: waiting.max_wait.map(milliseconds).unwrap_or_default(),
                    methods: waiting.methods,
                };
                self.update_hook(hook, changes, &paths).await?;
            }
            HookCommand::Pause { hook } => {
                self.update_hook(hook, HookChanges { paused: true, ..HookChanges::default() }, &["paused"])
                    .await?;
            }
            HookCommand::Resume { hook } => {
                self.update_hook(hook, HookChanges::default(), &["paused"]).await?;
            }
            HookCommand::Rotate { hook, grace } => {
                let request =
                    RotateHookTokenRequest { hook_id: hook, grace_seconds: grace, ..Default::default() };
                let answer = self.answer(self.hooks.clone().rotate_hook_token(request)).await?;
                self.printer.message("grapnel.hooks.v1.RotateHookTokenResponse", &answer, |_| {
                    format!("{}\n\n{SHOWN_ONCE}", answer.url)
                })?;
            }
            HookCommand::Revoke { hook } => {
                let answer =
                    self.answer(self.hooks.clone().revoke_hook(RevokeHookRequest { hook_id: hook })).await?;
                self.printer
                    .message("grapnel.hooks.v1.RevokeHookResponse", &answer, |_| "revoked".to_owned())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn update_hook(
        &self,
        hook_id: String,
        changes: HookChanges,
        paths: &[&str],
    ) -> Result<(), Failure> {
        let mask = prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        let request = UpdateHookRequest { hook_id, changes: Some(changes), update_mask: Some(mask) };
        let answer = self.answer(self.hooks.clone().update_hook(request)).await?;
        self.show_hook(&answer.hook.unwrap_or_default())?;
        Ok(())
    }

    fn show_hook(&self, hook: &Hook) -> Result<(), Failure> {
        self.printer.message("grapnel.hooks.v1.Hook", hook, |printer| printer.hook(hook))
    }
}

/// What is too long for the service is told by the service.
fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
