//! `grapnel cache`.

use std::process::ExitCode;

use grapnel_proto::hooks::v1::{ListCachesRequest, PurgeCacheRequest};
use indicatif::BinaryBytes;

use super::Client;
use crate::{args::CacheCommand, exit::Failure, output::printable};

impl Client {
    pub(super) async fn cache(&mut self, command: CacheCommand) -> Result<ExitCode, Failure> {
        match command {
            CacheCommand::List { project } => {
                let answer =
                    self.answer(self.hooks.clone().list_caches(ListCachesRequest { project })).await?;
                self.printer.message("grapnel.hooks.v1.ListCachesResponse", &answer, |printer| {
                    printer.caches(&answer.caches)
                })?;
            }
            CacheCommand::Purge { project, branch } => {
                let request = PurgeCacheRequest { project, branch: branch.unwrap_or_default() };
                let answer = self.answer(self.hooks.clone().purge_cache(request)).await?;
                self.printer.message("grapnel.hooks.v1.PurgeCacheResponse", &answer, |_| {
                    let line = |it: &grapnel_proto::hooks::v1::PurgedCaches| {
                        let plural = if it.count == 1 { "" } else { "s" };
                        let (executor, bytes) = (printable(&it.executor), BinaryBytes(it.bytes));
                        format!("{executor}: {} cache{plural}, {bytes} dropped", it.count)
                    };
                    answer.purged.iter().map(line).collect::<Vec<_>>().join("\n")
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
