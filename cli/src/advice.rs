//! What to type next when something was refused.

use grapnel_domain::Reason;

/// Returns what to do about a refusal, with the command for it; `None` where its message says it all.
pub fn advice(reason: Reason) -> Option<&'static str> {
    let advice = match reason {
        Reason::KeyMissing | Reason::KeyInvalid => {
            "Set GRAPNEL_KEY to an API key, or GRAPNEL_KEY_FILE to a file with one. \
             `grapnel key list` shows those that work, `grapnel key create` makes one."
        }
        Reason::ScopeMissing => {
            "`grapnel key create --scopes …` makes a key with other scopes, with a key that has `admin`."
        }
        Reason::ProjectNotFound => {
            "`grapnel project list` shows the projects, `grapnel project create` makes one."
        }
        Reason::HookNotFound => {
            "`grapnel hook list <project>` shows a project's hooks; a URL has to be used whole."
        }
        Reason::HookRevoked => {
            "`grapnel hook create <project> <name>` makes a new one; put its URL where the old one is used."
        }
        Reason::HookPaused => "`grapnel hook resume <id>` lets it work again.",
        Reason::HookLimitReached => {
            "`grapnel hook list <project>` shows them, `grapnel hook revoke <id>` makes room."
        }
        Reason::HookNameTaken => {
            "Choose another name; `grapnel hook list <project>` shows those that are taken."
        }
        Reason::TokenReplaced => {
            "`grapnel hook show <id>` shows its tokens; rotate again if that is still wanted."
        }
        Reason::MethodRefused => "`grapnel hook update <id> --methods GET,POST` lets the hook take it.",
        Reason::DeploymentNotFound => "`grapnel deployment list` shows the deployments.",
        Reason::DeploymentNotReady => {
            "`grapnel deployment list <project> --state READY` shows those that can be promoted."
        }
        Reason::DeploymentServed => {
            "`grapnel address list <project>` shows what is served; \
             `grapnel deployment promote <id>` lets another one take its place."
        }
        Reason::ArtifactRemoved | Reason::ArtifactMissing => {
            "`grapnel deployment redeploy <id>` builds its commit again."
        }
        Reason::RepositoryUnreadable => {
            "Correct the address, or let it be read: `grapnel credential create <project>`. docs/sources.md says more."
        }
        Reason::ProjectNameTaken => "Choose another name; `grapnel project list` shows those that are taken.",
        Reason::KeyNotFound => "`grapnel key list` shows the keys.",
        Reason::LastAdminKey => "First make another one: `grapnel key create <name> --scopes admin`.",
        Reason::EndpointNotFound => "`grapnel endpoint list` shows the endpoints.",
        Reason::EndpointLimitReached => {
            "`grapnel endpoint list` shows them, `grapnel endpoint delete <id>` makes room."
        }
        Reason::EndpointDisabled => "`grapnel endpoint enable <id>` lets it hear of things again.",
        Reason::EventNotFound => "`grapnel endpoint events <endpoint>` shows what there is.",
        Reason::VariableNotFound => {
            "`grapnel env list <project>` shows them; name the branches as they were set."
        }
        Reason::VariableLimitReached => {
            "`grapnel env list <project>` shows them, `grapnel env unset <project> <name>` makes room."
        }
        Reason::CredentialNotFound => "`grapnel credential list` shows the credentials.",
        Reason::CredentialExists | Reason::CredentialLimitReached => {
            "`grapnel credential list` shows them, `grapnel credential delete <id>` makes room."
        }
        Reason::HostNotTrusted => "`grapnel credential hosts` shows those that are trusted.",
        Reason::HostUnreachable => "Check its name and port, and the network of the executor.",
        Reason::ExecutorNotFound => "`grapnel executor list` shows the executors.",
        Reason::ExecutorUnavailable => "`grapnel executor list` shows which executors answer.",
        Reason::HooksUnavailable => {
            "`grapnel up` starts the service; GRAPNEL_URL says where it is, where it is elsewhere."
        }
        Reason::StoreUnavailable => "Look at the database: `grapnel doctor`, where the service runs.",
        Reason::ShuttingDown => "Try again when the service is back.",
        Reason::RateLimited => "Wait a little, then type it again.",
        Reason::Internal => "Report it, with what the service has logged at this time.",
        Reason::InvalidRequest
        | Reason::InvalidPageToken
        | Reason::TriggerRefused
        | Reason::ServiceKeyRequired
        | Reason::SiteNotFound
        | Reason::AttemptNotFound
        | Reason::DeploymentFinal
        | Reason::SecretKeyMissing
        | Reason::SecretKeyFileReadOnly
        | Reason::ExecutorDraining
        | Reason::ExecutorFull => return None,
    };
    Some(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever renames a command finds the advice that names it.
    #[test]
    fn every_command_that_is_advised_is_there() {
        for reason in Reason::ALL {
            let text = advice(*reason).unwrap_or_default();
            for typed in text.split('`').skip(1).step_by(2).filter_map(|it| it.strip_prefix("grapnel ")) {
                let mut command = crate::args::command();
                for word in typed.split(' ').take_while(|word| word.chars().all(char::is_alphabetic)) {
                    let Some(below) = command.find_subcommand(word) else {
                        assert!(command.get_subcommands().next().is_none(), "{typed}: {word}");
                        break;
                    };
                    command = below.clone();
                }
                for option in typed.split(' ').filter_map(|word| word.strip_prefix("--")) {
                    assert!(
                        command.get_arguments().any(|it| it.get_long() == Some(option)),
                        "{typed}: --{option}"
                    );
                }
            }
        }
    }
}
