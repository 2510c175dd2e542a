//! The branches that a repository offers. It is asked by the same journey as a fetch makes, and nothing is kept.

use std::{collections::BTreeMap, time::Duration};

use grapnel_domain::BranchName;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Mirrors, Source, SourceError,
    program::{Bounds, OUTPUT_LIMIT},
};

/// The most branches that are told of.
const LIMIT: usize = 1_000;

/// How many repositories are asked at once: each takes a process, and people have no slots that would bound them.
pub(super) const ASKED_AT_ONCE: usize = 8;

/// How long somebody waits until fewer are asked, and how long git may take: a person looks at it.
const TURN: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// What a repository offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branches {
    /// The branch that a clone would check out, where the repository names one.
    pub default_branch: Option<BranchName>,
    /// The branches by name, each with the full hash of its commit; at most 1,000, the default one among them.
    pub branches: Vec<(BranchName, String)>,
    /// Whether there are more.
    pub truncated: bool,
}

impl Mirrors {
    /// Asks a repository for its branches. An empty one has none. A branch whose name could not be a hook's is left out.
    ///
    /// # Errors
    /// See [`SourceError`]. It takes a minute at most, less where a fetch may take less.
    pub async fn branches(
        &self,
        source: Source<'_>,
        cancel: &CancellationToken,
    ) -> Result<Branches, SourceError> {
        self.refuse_directories_not_allowed(source.repository)?;
        let turn = tokio::select! {
            turn = timeout(TURN, self.asking.acquire()) => turn,
            () = cancel.cancelled() => return Err(SourceError::Canceled),
        };
        let _turn = turn.ok().and_then(Result::ok).ok_or(SourceError::Busy)?;
        let bounds = Bounds { timeout: self.config.timeout.min(ANSWER), cancel: cancel.clone() };
        // Both by pattern: `--heads` would leave out what `HEAD` stands for.
        let url = source.url();
        let list =
            ["ls-remote", "--symref", "--end-of-options", &url, "HEAD", "refs/heads/*"].map(String::from);
        let output = self.go_out(self.git.home(), source, list, &bounds).await?;
        let cut = output.stdout.len() as u64 >= OUTPUT_LIMIT;
        Ok(Branches::read(&output.stdout, cut))
    }
}

impl Branches {
    /// Reads what git prints (git-ls-remote(1)); `cut` says that its end is missing. A server may say anything: what is no
    /// branch is passed over.
    fn read(printed: &[u8], cut: bool) -> Self {
        let mut lines: Vec<&[u8]> = printed.split(|byte| *byte == b'\n').collect();
        if cut {
            lines.pop();
        }
        let (mut default_branch, mut found) = (None, BTreeMap::new());
        for line in lines {
            let Some((what, name)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once('\t'))
            else {
                continue;
            };
            if let Some(target) = what.strip_prefix("ref: ").filter(|_| name == "HEAD") {
                default_branch = branch_of(target);
            } else if is_commit(what)
                && let Some(branch) = branch_of(name)
            {
                found.insert(branch, what.to_owned());
            }
        }
        let default_branch = default_branch.filter(|name| cut || found.contains_key(name));
        let truncated = cut || found.len() > LIMIT;
        let of_default = default_branch.as_ref().and_then(|name| found.get_key_value(name));
        let of_default = of_default.map(|(name, commit)| (name.clone(), commit.clone()));
        let mut branches: Vec<_> = found.into_iter().take(LIMIT).collect();
        if let Some(default) = of_default
            && branches.last().is_some_and(|last| last.0 < default.0)
        {
            branches.truncate(LIMIT - 1);
            branches.push(default);
        }
        Self { default_branch, branches, truncated }
    }
}

fn branch_of(reference: &str) -> Option<BranchName> {
    reference.strip_prefix("refs/heads/").and_then(|name| BranchName::parse(name).ok())
}

/// Tells whether a text is a full hash: SHA-1, or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789012345678901234567890123456789";

    fn names(read: &Branches) -> Vec<&str> {
        read.branches.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn what_a_server_says_that_is_no_branch_is_passed_over() {
        let printed = format!(
            "ref: refs/heads/main\tHEAD\n{HASH}\tHEAD\nref: refs/heads/x\trefs/remotes/origin/HEAD\n\
             {HASH}\trefs/heads/main\n{HASH}\trefs/heads/a/b\n{HASH}\trefs/heads/\x1b[2J\n{HASH}\trefs/heads/--exec=x\n\
             {HASH}\trefs/heads/a..b\nhello\n{HASH}\trefs/tags/v1\n$(id)\trefs/heads/evil\n{HASH}\trefs/heads/\n"
        );
        let mut bytes = printed.into_bytes();
        bytes.extend(HASH.bytes().chain(*b"\trefs/heads/\xff\n"));
        let read = Branches::read(&bytes, false);
        assert_eq!((names(&read), read.truncated), (vec!["a/b", "main"], false));
        assert_eq!(read.default_branch.unwrap().as_str(), "main");
        assert_eq!(Branches::read(b"", false), Branches::default());
        let gone = format!("ref: refs/heads/gone\tHEAD\n{HASH}\trefs/heads/main\n");
        assert_eq!(Branches::read(gone.as_bytes(), false).default_branch, None);
    }

    #[test]
    fn a_thousand_are_told_of_the_default_among_them_and_a_line_that_is_cut_is_not() {
        let all: String = (0..1_500).map(|n| format!("{HASH}\trefs/heads/b{n:04}\n")).collect();
        let printed = format!("ref: refs/heads/b1400\tHEAD\n{HASH}\tHEAD\n{all}");
        let read = Branches::read(printed.as_bytes(), false);
        let told = names(&read);
        assert_eq!((told.len(), told[0], told[998], told[999]), (1_000, "b0000", "b0998", "b1400"));
        assert!(read.truncated);
        let whole: String = (0..1_000).map(|n| format!("{HASH}\trefs/heads/b{n:04}\n")).collect();
        assert!(!Branches::read(whole.as_bytes(), false).truncated);
        let cut = Branches::read(format!("{HASH}\trefs/heads/a\n{HASH}\trefs/heads/b").as_bytes(), true);
        assert_eq!((names(&cut), cut.truncated), (vec!["a"], true));
    }
}
