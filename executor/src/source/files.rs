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
    /// Reads regular files of a commit, in the order of `paths`; `None` where there is none. A link is none: where it leads is
    /// known when the commit is checked out.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn files<const N: usize>(
        &self,
        source: Source<'_>,
        commit: &str,
        paths: [&str; N],
        limit: u64,
        cancel: &CancellationToken,
    ) -> Result<[Option<CommittedFile>; N], SourceError> {
        let mirror = self.path_of(source);
        let url = source.url();
        let list = ["ls-tree", "-l", "-z", "--full-tree", "--end-of-options", commit, "--"];
        let output =
            self.git.run(&mirror, Reach::Nothing, list.into_iter().chain(paths), &self.bounds(cancel)).await;
        let output = self.finished(&url, output)?;
        if !output.status.success() {
            return Err(SourceError::from_git(
                &url,
                &Shown::Nothing,
                &String::from_utf8_lossy(&output.stderr),
            ));
        }
        let listed = String::from_utf8_lossy(&output.stdout);
        let mut files = [const { None }; N];
        for (file, path) in files.iter_mut().zip(paths) {
            let Some((object, size)) = listed.split('\0').find_map(|entry| regular(entry, path)) else {
                continue;
            };
            if size > limit {
                *file = Some(CommittedFile::TooLarge);
                continue;
            }
            let show = ["cat-file", "blob", &object];
            let output = self.git.run(&mirror, Reach::Nothing, show, &self.bounds(cancel)).await;
            let text = String::from_utf8_lossy(&self.finished(&url, output)?.stdout).into_owned();
            *file = Some(CommittedFile::Text(text));
        }
        Ok(files)
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

/// Reads one entry of `git ls-tree -l`, where it is of that path: mode, kind, object, size, then the name.
fn regular(entry: &str, path: &str) -> Option<(String, u64)> {
    let (head, _) = entry.split_once('\t').filter(|(_, name)| *name == path)?;
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
        let entry = |mode: &str| format!("{mode} blob 0123456789 {:>7}\tvercel.json", 12);
        let regular = |entry: &str| regular(entry, "vercel.json");
        assert_eq!(regular(&entry("100644")), Some(("0123456789".into(), 12)));
        assert_eq!(regular(&entry("120000")), None);
        assert_eq!(regular("040000 tree 0123456789       -\tvercel.json"), None);
        assert_eq!(regular("100644 blob 0123456789      12\tsite/vercel.json"), None);
        assert_eq!(regular(""), None);
    }
}
