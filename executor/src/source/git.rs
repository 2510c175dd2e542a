//! The git program, so that nothing but git itself decides what it does.
//!
//! A clean environment, no prompts, no configuration but what stands here, only the transports that the one call
//! needs, never a shell, addresses and names after `--end-of-options`. What is secret reaches it by private files only.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::Output,
};

use super::program::{Bounds, Call, PATH, ProgramError, quoted};

/// The settings of calls by path, in the home directory. There alone do git's helpers see `safe.directory`.
const FILES_CONFIG: &str = "files.gitconfig";

/// What git is told at every call. The source of each: git-config(1).
const CONFIG: &[&str] = &[
    // Nothing of a repository is ever run.
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=true",
    // Names that other file systems would take for `.git`.
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    // Oddities that old tools wrote into many a good repository's history.
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "submodule.recurse=false",
    "credential.helper=",
    "http.followRedirects=initial",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.directory=*",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
    "protocol.allow=never",
];

/// How git may reach a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// Not at all.
    Nothing,
    /// Over https and http.
    Http {
        /// The port of 127.0.0.1 on which the SOCKS5 proxy listens by whose way all goes.
        proxy: u16,
        /// A file of git's own `credential-store`, where there is something to show.
        credentials: Option<&'a Path>,
    },
    /// Over ssh, by this command.
    Ssh(&'a str),
    /// By path: an allowed directory, or a mirror of ours. Whose it is does not matter then.
    Files,
}

/// The git program with a home of its own.
#[derive(Clone, Debug)]
pub struct Git {
    home: PathBuf,
    ca_bundle: Option<PathBuf>,
}

impl Git {
    /// Prepares the program. `home` is a directory of its own.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn prepare(home: PathBuf, ca_bundle: Option<PathBuf>) -> io::Result<Self> {
        std::fs::create_dir_all(&home)?;
        std::fs::write(home.join(FILES_CONFIG), "[safe]\n\tdirectory = *\n")?;
        Ok(Self { home, ca_bundle })
    }

    /// Runs git in `directory` and returns what it printed and how it exited. See [`Call::run`].
    ///
    /// # Errors
    /// The call was ended, or there is no git.
    pub async fn run<A: AsRef<OsStr>>(
        &self,
        directory: &Path,
        reach: Reach<'_>,
        arguments: impl IntoIterator<Item = A>,
        bounds: &Bounds,
    ) -> Result<Output, ProgramError> {
        let given = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        let call = Call {
            program: "git",
            arguments: settings(reach).into_iter().map(Into::into).chain(given).collect(),
            environment: self.environment(reach),
            directory: directory.to_owned(),
        };
        call.run(bounds).await
    }

    /// Returns the directory that is home to programs of ours.
    pub fn home(&self) -> &Path {
        &self.home
    }

    fn environment(&self, reach: Reach<'_>) -> Vec<(&'static str, OsString)> {
        let global = match reach {
            Reach::Files => self.home.join(FILES_CONFIG),
            Reach::Nothing | Reach::Http { .. } | Reach::Ssh(_) => "/dev/null".into(),
        };
        // Without an agent or keys: those of whoever runs the executor are not for everybody's projects.
        let ssh = match reach {
            Reach::Ssh(command) => command,
            Reach::Nothing | Reach::Http { .. } | Reach::Files => "false",
        };
        // Nor is a repository looked for around the mirrors: what it is configured to would be followed.
        let around = self.home.parent().unwrap_or(&self.home);
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("PATH", PATH.into()),
            ("HOME", self.home.clone().into()),
            ("GIT_CEILING_DIRECTORIES", around.into()),
            ("LANG", "C.UTF-8".into()),
            ("LC_ALL", "C".into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            ("GIT_ASKPASS", "true".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_CONFIG_GLOBAL", global.into()),
            ("GIT_ALLOW_PROTOCOL", transports(reach).join(":").into()),
            ("GIT_SSH_COMMAND", ssh.into()),
            ("GIT_SSH_VARIANT", "ssh".into()),
            ("GIT_OPTIONAL_LOCKS", "0".into()),
        ];
        if let Some(bundle) = &self.ca_bundle {
            environment.push(("GIT_SSL_CAINFO", bundle.clone().into()));
        }
        environment
    }
}

fn transports(reach: Reach<'_>) -> &'static [&'static str] {
    match reach {
        Reach::Nothing => &["none"],
        Reach::Http { .. } => &["https", "http"],
        Reach::Ssh(_) => &["ssh"],
        Reach::Files => &["file"],
    }
}

/// Returns the settings of one call, as options.
fn settings(reach: Reach<'_>) -> Vec<String> {
    let mut settings: Vec<String> = CONFIG.iter().map(|setting| (*setting).to_owned()).collect();
    settings.extend(transports(reach).iter().map(|transport| format!("protocol.{transport}.allow=always")));
    if let Reach::Http { proxy, credentials } = reach {
        // The `h` lets the proxy resolve names.
        settings.push(format!("http.proxy=socks5h://127.0.0.1:{proxy}"));
        if let Some(file) = credentials {
            settings.push(format!("credential.helper=store --file={}", quoted(&file.display().to_string())));
        }
    }
    settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
}
