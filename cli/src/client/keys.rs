//! `grapnel key`.

use std::process::ExitCode;

use grapnel_proto::hooks::v1::{CreateKeyRequest, ListKeysRequest, RevokeKeyRequest};

use super::Client;
use crate::{args::KeyCommand, exit::Failure};

impl Client {
    pub(super) async fn key(&mut self, command: KeyCommand) -> Result<ExitCode, Failure> {
        match command {
            KeyCommand::Create { name, scopes } => {
                let request = CreateKeyRequest { name, scopes };
                let answer = self.answer(self.keys.clone().create_key(request)).await?;
                self.printer.message("grapnel.hooks.v1.CreateKeyResponse", &answer, |_| {
                    format!("{}\n\nIt is shown once: store it where secrets are stored.", answer.secret)
                })?;
            }
            KeyCommand::List => {
                let request = ListKeysRequest { page_size: 200, page_token: String::new() };
                let answer = self.answer(self.keys.clone().list_keys(request)).await?;
                self.printer.message("grapnel.hooks.v1.ListKeysResponse", &answer, |printer| {
                    printer.keys(&answer.keys)
                })?;
            }
            KeyCommand::Revoke { key } => {
                let answer =
                    self.answer(self.keys.clone().revoke_key(RevokeKeyRequest { key_id: key })).await?;
                self.printer
                    .message("grapnel.hooks.v1.RevokeKeyResponse", &answer, |_| "revoked".to_owned())?;
            }
            KeyCommand::Generate => return super::generate_key(),
        }
        Ok(ExitCode::SUCCESS)
    }
}
