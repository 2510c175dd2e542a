//! Repositories made for one test, with the real git program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The branch that a new repository begins with.
pub const MAIN: &str = "main";

/// A repository in a directory of the test's own.
#[derive(Clone, Debug)]
pub struct GitRepository {
    path: PathBuf,
}

impl GitRepository {
    /// Makes an empty repository.
    ///
    /// # Panics
    /// There is no git, or the directory cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        fs::create_dir_all(&path).expect("a test's directory can be made");
        let repository = Self { path };
        repository.git(&["init", "--quiet", "--initial-branch", MAIN]);
        repository
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes files and commits everything that changed to the branch that is checked out; returns the commit.
    ///
    /// # Panics
    /// git refuses.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            let file = self.path.join(name);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent).expect("a test's directory can be made");
            }
            fs::write(file, content).expect("a test's file can be written");
        }
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// Returns the commit that is checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the repository and returns what it printed, without white space around it.
    ///
    /// # Panics
    /// git refuses.
    pub fn git(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = git(&self.path).args(arguments).output().expect("git is there");
        assert!(status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).trim().to_owned()
    }
}

/// Returns git with nothing of this machine's settings, and the same author and time for every commit.
fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory).env_clear().envs([
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Test"),
        ("GIT_AUTHOR_EMAIL", "test@example.org"),
        ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
        ("GIT_COMMITTER_NAME", "Test"),
        ("GIT_COMMITTER_EMAIL", "test@example.org"),
        ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z"),
    ]);
    command
}
