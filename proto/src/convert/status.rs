//! What git hosts are told.

use grapnel_domain::commit_status::{GitHost, ReportState};

use crate::hooks::v1 as wire;

/// Writes a kind of host.
pub fn git_host_to_wire(host: GitHost) -> wire::GitHost {
    match host {
        GitHost::GitHub => wire::GitHost::Github,
        GitHost::GitLab => wire::GitHost::Gitlab,
        GitHost::Gitea => wire::GitHost::Gitea,
        GitHost::Bitbucket => wire::GitHost::Bitbucket,
    }
}

/// Reads a kind of host; `None` where none is named.
///
/// # Errors
/// The number is none of a host's.
pub fn git_host_from_wire(number: i32) -> Result<Option<GitHost>, String> {
    let host = wire::GitHost::try_from(number);
    Ok(match host.map_err(|_| format!("{number} is not the number of a kind of host"))? {
        wire::GitHost::Unspecified => None,
        wire::GitHost::Github => Some(GitHost::GitHub),
        wire::GitHost::Gitlab => Some(GitHost::GitLab),
        wire::GitHost::Gitea => Some(GitHost::Gitea),
        wire::GitHost::Bitbucket => Some(GitHost::Bitbucket),
    })
}

/// Writes how a commit stands.
pub fn report_state_to_wire(state: ReportState) -> wire::CommitState {
    match state {
        ReportState::Pending => wire::CommitState::Pending,
        ReportState::Running => wire::CommitState::Running,
        ReportState::Success => wire::CommitState::Success,
        ReportState::Failure => wire::CommitState::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_hosts_survive_the_wire() {
        for host in GitHost::ALL {
            assert_eq!(git_host_from_wire(git_host_to_wire(host).into()), Ok(Some(host)));
        }
        assert_eq!(git_host_from_wire(0), Ok(None));
        assert!(git_host_from_wire(99).is_err());
    }

    #[test]
    fn a_request_with_a_token_does_not_print_it() {
        let request = wire::SetCommitStatusesRequest { token: "hunter2".into(), ..Default::default() };
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}
