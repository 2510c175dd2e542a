//! Repositories made by the git program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A repository with a work tree, below a directory of the test's own.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Makes an empty repository.
    pub fn empty(path: &Path) -> Self {
        fs::create_dir_all(path).expect("a test's own directory can be made");
        let repository = Self { path: path.to_owned() };
        repository.git(&["init", "--quiet", "--initial-branch", "main"]);
        repository
    }

    /// Makes a repository with these files in its first commit.
    pub fn with(path: &Path, files: &[(&str, &str)]) -> Self {
        let repository = Self::empty(path);
        for (name, text) in files {
            repository.write(name, text);
        }
        repository.commit("Begin");
        repository
    }

    /// Makes a repository from one of the examples.
    pub fn from_example(path: &Path, example: &str) -> Self {
        let repository = Self::empty(path);
        let source = crate::root().join("examples").join(example);
        let copied = Command::new("cp").arg("-r").arg(source.join(".")).arg(path).status();
        assert!(copied.is_ok_and(|status| status.success()), "the example {example} can be copied");
        repository.commit("Begin");
        repository
    }

    /// Returns where it is.
    pub fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("it is below the repository")).expect("it can be made");
        fs::write(path, text).expect("a test's own file can be written");
    }

    /// Commits everything.
    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    /// Runs git in it.
    pub fn git(&self, arguments: &[&str]) {
        let status = Command::new("git")
            .args(["-c", "user.name=Editor", "-c", "user.email=editor@example.org"])
            .args(arguments)
            .current_dir(&self.path)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "git {arguments:?} works");
    }
}
