//! Pointers: small files that stand where large ones belong. Their form: `docs/spec.md` of github.com/git-lfs/git-lfs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How many bytes a pointer has at most.
const LIMIT: u64 = 1024;

/// How every pointer begins.
const VERSION: &str = "version https://git-lfs.github.com/spec/v1";

/// A pointer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    /// The SHA-256 of the large file, in lower-case hexadecimal.
    pub oid: String,
    /// Its bytes.
    pub size: u64,
}

impl Pointer {
    /// Reads a pointer; `None` where the text is none, as almost every text is. One that wants an extension, a program
    /// of the developer's machine, is none that could be followed here.
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (version, oid, size) = (lines.next()?, lines.next()?, lines.next()?);
        if version != VERSION || lines.next().is_some() {
            return None;
        }
        let oid = oid.strip_prefix("oid sha256:")?;
        let size = size.strip_prefix("size ")?;
        let is_hash = oid.len() == 64 && oid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_number = size.bytes().all(|byte| byte.is_ascii_digit());
        if !is_hash || !is_number {
            return None;
        }
        Some(Self { oid: oid.to_owned(), size: size.parse().ok()? })
    }
}

/// A pointer in a checkout.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Where it stands.
    pub path: PathBuf,
    /// What it points to.
    pub pointer: Pointer,
}

/// Finds the pointers of a checkout. Links are not followed, and repositories within it are not its own.
///
/// # Errors
/// A directory cannot be read.
pub fn find(checkout: &Path) -> io::Result<Vec<Standing>> {
    let mut found = Vec::new();
    let mut waiting = vec![checkout.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                let is_another = entry.file_name() == ".git" || path.join(".git").symlink_metadata().is_ok();
                if !is_another {
                    waiting.push(path);
                }
            } else if kind.is_file()
                && (1..=LIMIT).contains(&entry.metadata()?.len())
                && let Some(pointer) = fs::read_to_string(&path).ok().as_deref().and_then(Pointer::read)
            {
                found.push(Standing { path, pointer });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    #[test]
    fn a_pointer_is_read_by_its_form_and_nothing_else_is_one() {
        let good = format!("{VERSION}\noid sha256:{OID}\nsize 12345\n");
        assert_eq!(Pointer::read(&good), Some(Pointer { oid: OID.into(), size: 12_345 }));
        for bad in [
            String::new(),
            good.trim_end().to_owned(),
            format!("{good}\n"),
            format!("{good}more\n"),
            good.replace('\n', "\r\n"),
            good.replace("sha256", "md5"),
            good.replace("4d7a", "4D7A"),
            good.replace("4d7a", "../../"),
            good.replace("12345", "-1"),
            good.replace("12345", "99999999999999999999999"),
            good.replace("spec/v1", "spec/v9"),
            format!("oid sha256:{OID}\n{VERSION}\nsize 1\n"),
            format!("{VERSION}\next-0-foo sha256:{OID}\noid sha256:{OID}\nsize 1\n"),
        ] {
            assert_eq!(Pointer::read(&bad), None, "{bad:?}");
        }
    }
}
