//! Single files of a commit, read from its mirror.

use tokio_util::sync::CancellationToken;

use super::{Mirrors, Source, SourceError, error::Shown, git::Reach};

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommittedFile {
    /// Its text; what is no UTF-8 is replaced.
    Text(String),
    /// It is larger than may be read.
    TooLarge,
}

impl Mirrors {
    /// Reads a regular file of a commit; `None` where there is none. A link is none: where it leads is known when the
    /// commit is checked out.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn file(
        &self,
        source: Source<'_>,
        commit: &str,
        path: &str,
        limit: u64,
        cancel: &CancellationToken,
    ) -> Result<Option<CommittedFile>, SourceError> {
        let mirror = self.path_of(source);
        let url = source.url();
        let list = ["ls-tree", "-l", "-z", "--full-tree", "--end-of-options", commit, "--", path];
        let output = self.git.run(&mirror, Reach::Nothing, list, &self.bounds(cancel)).await;
        let output = self.finished(&url, output)?;
        if !output.status.success() {
            return Err(SourceError::from_git(
                &url,
                &Shown::Nothing,
                &String::from_utf8_lossy(&output.stderr),
            ));
        }
        let Some((object, size)) = regular(&String::from_utf8_lossy(&output.stdout)) else {
            return Ok(None);
        };
        if size > limit {
            return Ok(Some(CommittedFile::TooLarge));
        }
        let show = ["cat-file", "blob", &object];
        let output = self.git.run(&mirror, Reach::Nothing, show, &self.bounds(cancel)).await;
        let text = String::from_utf8_lossy(&self.finished(&url, output)?.stdout).into_owned();
        Ok(Some(CommittedFile::Text(text)))
    }
}

impl Mirrors {
    /// Returns the id of a commit's tree: commits with the same files have the same one.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn tree_of(
        &self,
        source: Source<'_>,
        commit: &str,
        cancel: &CancellationToken,
    ) -> Result<String, SourceError> {
        let tree = format!("{commit}^{{tree}}");
        let arguments = ["rev-parse", "--verify", "--end-of-options", &tree];
        let output =
            self.git.run(&self.path_of(source), Reach::Nothing, arguments, &self.bounds(cancel)).await;
        let url = source.url();
        let output = self.finished(&url, output)?;
        if !output.status.success() {
            return Err(SourceError::from_git(
                &url,
                &Shown::Nothing,
                &String::from_utf8_lossy(&output.stderr),
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// Reads one entry of `git ls-tree -l`: mode, kind, object, size, then the name.
fn regular(entry: &str) -> Option<(String, u64)> {
    let (head, _name) = entry.split_once('\t')?;
    let fields: Vec<_> = head.split_whitespace().collect();
    match fields.as_slice() {
        ["100644" | "100755", "blob", object, size] => Some(((*object).to_owned(), size.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_counts() {
        let entry = |mode: &str| format!("{mode} blob 0123456789 {:>7}\tvercel.json\0", 12);
        assert_eq!(regular(&entry("100644")), Some(("0123456789".into(), 12)));
        assert_eq!(regular(&entry("120000")), None);
        assert_eq!(regular("040000 tree 0123456789       -\tvercel.json\0"), None);
        assert_eq!(regular(""), None);
    }
}
