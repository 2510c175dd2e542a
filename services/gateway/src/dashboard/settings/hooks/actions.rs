//! What one button does to a hook.

use axum::{extract::Path, response::Response};
use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::{HookChanges, RevokeHookRequest, UpdateHookRequest};
use prost_types::FieldMask;

use super::hook_of;
use crate::{
    dashboard::{
        forms::Posted,
        page_error::PageError,
        session::SignedIn,
        settings::{
            done,
            section::{Opened, Section},
        },
    },
    hooks_client::answered_to_people as answered,
};

type Named = Path<(String, String)>;

/// `POST …/hooks/{hook}/pause`
pub async fn pause(path: Named, Posted { signed_in, .. }: Posted) -> Result<Response, PageError> {
    set_paused(signed_in, path, true).await
}

/// `POST …/hooks/{hook}/resume`
pub async fn resume(path: Named, Posted { signed_in, .. }: Posted) -> Result<Response, PageError> {
    set_paused(signed_in, path, false).await
}

async fn set_paused(
    signed_in: SignedIn,
    Path((project, hook)): Named,
    paused: bool,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Hooks).await?;
    let hook_id = hook_of(&opened, &hook).await?.id;
    let changes = Some(HookChanges { paused, ..Default::default() });
    let update_mask = Some(FieldMask { paths: vec!["paused".to_owned()] });
    let request = UpdateHookRequest { hook_id, changes, update_mask };
    answered(opened.signed_in.caller.hooks().update_hook(request)).await?;
    Ok(done(&opened.link(), if paused { "hook-paused" } else { "hook-resumed" }))
}

/// `POST …/hooks/{hook}/revoke`
pub async fn revoke(
    Path((project, hook)): Named,
    Posted { signed_in, .. }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Hooks).await?;
    let hook_id = hook_of(&opened, &hook).await?.id;
    answered(opened.signed_in.caller.hooks().revoke_hook(RevokeHookRequest { hook_id })).await?;
    Ok(done(&opened.link(), "hook-revoked"))
}
