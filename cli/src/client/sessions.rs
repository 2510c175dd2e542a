//! `grapnel whoami`.

use std::process::ExitCode;

use grapnel_proto::hooks::v1::GetSessionRequest;

use super::Client;
use crate::exit::Failure;

impl Client {
    pub(super) async fn whoami(&self) -> Result<ExitCode, Failure> {
        let answer = self.answer(self.sessions.clone().get_session(GetSessionRequest {})).await?;
        let session = answer.session.unwrap_or_default();
        self.printer
            .message("grapnel.hooks.v1.Session", &session, |printer| printer.session(&session, &self.url))?;
        Ok(ExitCode::SUCCESS)
    }
}
