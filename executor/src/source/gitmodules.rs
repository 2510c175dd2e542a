//! What a repository says of its submodules: `.gitmodules`, as git's own reader prints it (gitmodules(5)).
//!
//! Nothing of it is passed on: paths and addresses are read, and those that could lead anywhere are refused.

use grapnel_domain::{RepositoryUrl, repository_url::UrlError};

use super::SourceError;

/// The longest path of a submodule, in bytes.
const PATH_LIMIT: usize = 1024;

/// A submodule, as it is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The name, for nothing but messages.
    pub name: String,
    /// Where it is in the tree.
    pub path: String,
    /// Its address, relative ones as they are.
    pub url: String,
    /// How it would be updated; only `none` means something here.
    pub update: String,
}

/// Reads what `git config -z --list` prints of the file: keys, and values after a line end, each ended by NUL.
pub fn read(listed: &str) -> Vec<Named> {
    let mut found: Vec<Named> = Vec::new();
    for entry in listed.split('\0') {
        let (key, value) = entry.split_once('\n').unwrap_or((entry, ""));
        let Some((name, variable)) = key.strip_prefix("submodule.").and_then(|it| it.rsplit_once('.')) else {
            continue;
        };
        let index = match found.iter().position(|named| named.name == name) {
            Some(index) => index,
            None => {
                found.push(Named { name: name.to_owned(), ..Named::default() });
                found.len() - 1
            }
        };
        // As with git the last one counts.
        match variable {
            "path" => value.clone_into(&mut found[index].path),
            "url" => value.clone_into(&mut found[index].url),
            "update" => value.clone_into(&mut found[index].update),
            _ => {}
        }
    }
    found
}

/// Makes sure that a path leads into the tree and nowhere else, and nowhere that another system would take for git's
/// own.
///
/// # Errors
/// It does not; the message names it.
pub fn check_path(path: &str) -> Result<(), SourceError> {
    let refused = |why: &str| {
        let shown: String = path.chars().filter(|c| !c.is_control()).take(80).collect();
        Err(SourceError::SubmodulesRefused(format!("the submodule at `{shown}` is refused: its path {why}")))
    };
    if path.is_empty() || path.len() > PATH_LIMIT {
        return refused("is empty or too long");
    }
    if path.chars().any(|c| c.is_control() || c == '\\' || c == '\u{fffd}') {
        return refused("holds a control character or a backslash");
    }
    if path.starts_with('-') {
        return refused("begins like an option");
    }
    for part in path.split('/') {
        if part.is_empty() || part == "." || part == ".." {
            return refused("leads out of where it is");
        }
        if is_gits_own(part) {
            return refused("is git's own");
        }
    }
    Ok(())
}

/// Tells whether some file system takes a name for `.git`: case, trailing dots and blanks, the short form of NTFS, what
/// HFS+ leaves out.
fn is_gits_own(part: &str) -> bool {
    let is_ignored = |c: char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let name: String = part.chars().filter(|c| !is_ignored(*c)).collect::<String>().to_lowercase();
    let name = name.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    name == ".git" || name == "git~1"
}

/// Reads the address of a submodule. A relative one begins at its parent's.
///
/// # Errors
/// It is none, of a kind that is not allowed, or leads from a network to a directory of the executor's.
pub fn address(named: &Named, parent: &RepositoryUrl) -> Result<RepositoryUrl, SourceError> {
    let refused = |why: &dyn std::fmt::Display| {
        SourceError::SubmodulesRefused(format!("the submodule at `{}` is refused: its url {why}", named.path))
    };
    let is_relative = named.url.starts_with("./") || named.url.starts_with("../");
    let text = match is_relative {
        true => relative(&parent.to_string(), &named.url)
            .ok_or_else(|| refused(&"leads above the server's own root"))?,
        false => named.url.clone(),
    };
    let url = RepositoryUrl::parse(&text).map_err(|error: UrlError| refused(&error))?;
    match (&url, parent) {
        (RepositoryUrl::Local(_), RepositoryUrl::Remote { .. }) => {
            Err(refused(&"is a path, and the repository that names it is not here"))
        }
        _ => Ok(url),
    }
}

/// Goes from an address along a relative one, as git does (gitmodules(5)).
fn relative(parent: &str, relative: &str) -> Option<String> {
    let (root, path) = match parent.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/')?;
            (format!("{scheme}://{authority}"), path)
        }
        None => (String::new(), parent.strip_prefix('/')?),
    };
    let mut parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let mut rest = relative;
    loop {
        if let Some(after) = rest.strip_prefix("../") {
            parts.pop()?;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else {
            break;
        }
    }
    parts.push(rest);
    Some(format!("{root}/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(url: &str) -> Named {
        Named { name: "x".into(), path: "lib/x".into(), url: url.into(), update: String::new() }
    }

    #[test]
    fn modules_are_read_by_name_and_the_last_of_two_values_counts() {
        let listed = "submodule.a.b.path\nlib/a\0submodule.a.b.url\n../a.git\0core.editor\nsh\0submodule.c.update\n!id\0submodule.a.b.path\nlib/b\0submodule.flag\0";
        let found = read(listed);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].path.as_str(), found[0].url.as_str()), ("lib/b", "../a.git"));
        assert_eq!((found[1].name.as_str(), found[1].update.as_str()), ("c", "!id"));
    }

    #[test]
    fn r3_paths_of_submodules_stay_in_the_tree_and_out_of_git() {
        for good in ["lib", "lib/x", "a b/ü", "..a", ".github/x", "x.git"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/etc",
            "../up",
            "a/../../b",
            "a//b",
            "a/",
            "./a",
            "lib\r",
            "lib\n",
            "a\\b",
            "-x",
            ".git/hooks",
            "a/.GIT/hooks",
            "a/.git ",
            "a/.git.",
            "GIT~1/hooks",
            ".g\u{200c}it/hooks",
            ".git::$INDEX_ALLOCATION/x",
        ] {
            let refused = check_path(bad).unwrap_err().to_string();
            assert!(refused.contains("is refused: its path"), "{bad:?}: {refused}");
        }
    }

    #[test]
    fn relative_addresses_begin_at_the_parents() {
        for (parent, url, expected) in [
            ("https://a.org/team/site.git", "../lib.git", "https://a.org/team/lib.git"),
            ("https://a.org/team/site.git", "../../other/lib.git", "https://a.org/other/lib.git"),
            ("https://a.org:8443/team/site", "./lib", "https://a.org:8443/team/site/lib"),
            ("git@a.org:team/site.git", "../lib.git", "ssh://git@a.org/team/lib.git"),
            ("/srv/git/site", "../lib", "/srv/git/lib"),
            ("https://a.org/team/site.git", "git@b.org:x/y.git", "ssh://git@b.org/x/y.git"),
        ] {
            let parent = RepositoryUrl::parse(parent).unwrap();
            assert_eq!(address(&named(url), &parent).unwrap().to_string(), expected, "{url}");
        }
    }

    #[test]
    fn r3_addresses_of_submodules_have_the_rules_of_every_address() {
        let parent = RepositoryUrl::parse("https://a.org/team/site.git").unwrap();
        for url in [
            "",
            "lib",
            "../../../lib",
            "../a/../../b",
            "ext::sh -c id",
            "-oProxyCommand=id",
            "--upload-pack=id",
            "ssh://-oProxyCommand=id/x",
            "https://u:p@a.org/x",
            "https://a.org/x\r",
            "file:///etc",
            "/etc",
            "http://169.254.169.254/x",
        ] {
            let refused = address(&named(url), &parent).unwrap_err().to_string();
            assert!(refused.contains("`lib/x` is refused: its url"), "{url:?}: {refused}");
        }
    }
}
