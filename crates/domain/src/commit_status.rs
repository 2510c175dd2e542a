//! What a git host is told about a commit: where it is told, under which name, and in which words.

mod host;
mod report;

pub use host::{ApiBase, ApiBaseError, GitHost};
pub use report::{Report, ReportState, context, shortened};
