//! How secrets are kept at rest: sealed under a key that is not in the database.
//!
//! A file holds the keys, one a line, 32 bytes in base64; the first seals, all of them open. A value is sealed with
//! XChaCha20-Poly1305 under a random nonce of 24 bytes, together with the name of the row that it belongs to, so that a
//! sealed value that was copied below another row does not open there.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use grapnel_domain::SecretText;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::private_file;

/// The bytes of a key.
const KEY: usize = 32;

/// The bytes of a nonce.
const NONCE: usize = 24;

/// The bytes that sealing adds beside the nonce.
const TAG: usize = 16;

/// What stands above the keys.
const HEADER: &str = "# The keys of Grapnel's secrets. The first seals, all of them open. Keep this file apart from backups of the database:\n\
     # whoever has both reads every secret, and whoever loses it loses them all.\n";

/// Why secrets cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or made.
    #[error("the secret key file {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A line of it is no key.
    #[error(
        "the secret key file {0} has a line that is no key: each is 32 bytes in base64, or begins with `#`"
    )]
    Malformed(PathBuf),
    /// There is nothing in it.
    #[error("the secret key file {0} has no key: `head -c 32 /dev/urandom | base64` makes one")]
    Empty(PathBuf),
    /// Others can read it.
    #[error("the secret key file {0} can be read by others than its owner: `chmod 600` it")]
    Open(PathBuf),
}

/// Why a sealed value does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was sealed under a key that we do not have.
    #[error("it is sealed under a key that is not in the secret key file")]
    UnknownKey,
    /// It was changed, or belongs to something else.
    #[error("it was changed since it was sealed")]
    Changed,
}

/// Seals and opens. Clones share the keys.
#[derive(Clone)]
pub struct Sealer {
    file: Arc<PathBuf>,
    keys: Arc<RwLock<Vec<SealingKey>>>,
}

#[derive(Clone)]
struct SealingKey {
    id: String,
    bytes: Zeroizing<[u8; KEY]>,
}

/// A value that was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The key under which it was.
    pub key_id: String,
    /// Nonce and ciphertext, in base64.
    pub text: String,
}

impl Sealed {
    /// Returns how many bytes were sealed.
    pub fn bytes(&self) -> usize {
        (self.text.len() / 4 * 3).saturating_sub(NONCE + TAG)
    }
}

impl Sealer {
    /// Reads the keys of a file, after making it with a first key where `make` says that there may be none yet.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn open(file: PathBuf, make: bool) -> Result<Self, KeyFileError> {
        let keys = match read(&file) {
            Err(KeyFileError::File { cause, .. }) if make && cause.kind() == io::ErrorKind::NotFound => {
                let keys = vec![SealingKey::generate()];
                // Over PostgreSQL nobody has made the data directory yet.
                let made = file.parent().map_or(Ok(()), fs::create_dir_all);
                made.map_err(|cause| KeyFileError::File { path: file.clone(), cause })?;
                write(&file, &keys)?;
                tracing::info!(file = %file.display(), "a key for secrets was made");
                keys
            }
            other => other?,
        };
        Ok(Self { file: Arc::new(file), keys: Arc::new(RwLock::new(keys)) })
    }

    /// Returns the id of the key that seals.
    pub fn current(&self) -> String {
        self.with_keys(|keys| keys.first().map(|key| key.id.clone()).unwrap_or_default())
    }

    /// Returns the ids of all keys, the one that seals first.
    pub fn key_ids(&self) -> Vec<String> {
        self.with_keys(|keys| keys.iter().map(|key| key.id.clone()).collect())
    }

    /// Seals a text for the row that `owner` names.
    pub fn seal(&self, owner: &str, text: &SecretText) -> Sealed {
        let nonce: [u8; NONCE] = rand::rng().random();
        self.with_keys(|keys| {
            // There is always one: a file without any does not open.
            let key = &keys[0];
            let payload = Payload { msg: text.expose().as_bytes(), aad: owner.as_bytes() };
            let sealed = key.cipher().encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
            let text = STANDARD.encode([&nonce[..], &sealed].concat());
            Sealed { key_id: key.id.clone(), text }
        })
    }

    /// Opens what was sealed for the row that `owner` names.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn unseal(&self, owner: &str, sealed: &Sealed) -> Result<SecretText, OpenError> {
        if !self.key_ids().contains(&sealed.key_id) {
            // Another process may have rotated it meanwhile.
            self.read_again();
        }
        self.with_keys(|keys| {
            let key = keys.iter().find(|key| key.id == sealed.key_id).ok_or(OpenError::UnknownKey)?;
            let bytes = STANDARD.decode(&sealed.text).map_err(|_| OpenError::Changed)?;
            let (nonce, sealed) = bytes.split_at_checked(NONCE).ok_or(OpenError::Changed)?;
            let nonce = XNonce::try_from(nonce).map_err(|_| OpenError::Changed)?;
            let payload = Payload { msg: sealed, aad: owner.as_bytes() };
            let text = key.cipher().decrypt(&nonce, payload).map_err(|_| OpenError::Changed)?;
            String::from_utf8(text).map(SecretText::from).map_err(|_| OpenError::Changed)
        })
    }

    /// Puts a new key in front of the others, in the file first.
    ///
    /// # Errors
    /// The file cannot be written; then the keys are those that they were.
    pub fn add_key(&self) -> Result<(), KeyFileError> {
        self.replace(|keys| keys.insert(0, SealingKey::generate()))
    }

    /// Takes all keys but the first out of the file.
    ///
    /// # Errors
    /// The file cannot be written; then the keys are those that they were.
    pub fn drop_old_keys(&self) -> Result<(), KeyFileError> {
        self.replace(|keys| keys.truncate(1))
    }

    /// Reads the file again; what is wrong with it now leaves the keys as they were.
    pub fn read_again(&self) {
        match read(&self.file) {
            Ok(keys) => *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys,
            Err(error) => tracing::warn!(%error, "the secret key file cannot be read again"),
        }
    }

    fn replace(&self, change: impl FnOnce(&mut Vec<SealingKey>)) -> Result<(), KeyFileError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = keys.clone();
        change(&mut new);
        write(&self.file, &new)?;
        *keys = new;
        Ok(())
    }

    fn with_keys<T>(&self, use_them: impl FnOnce(&[SealingKey]) -> T) -> T {
        use_them(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("file", &self.file).field("keys", &self.key_ids()).finish()
    }
}

impl SealingKey {
    fn new(bytes: [u8; KEY]) -> Self {
        Self { id: hex::encode(&Sha256::digest(bytes)[..4]), bytes: Zeroizing::new(bytes) }
    }

    fn generate() -> Self {
        Self::new(rand::rng().random())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.bytes).into())
    }
}

fn read(path: &Path) -> Result<Vec<SealingKey>, KeyFileError> {
    let refused = |cause| KeyFileError::File { path: path.to_owned(), cause };
    // A key that others could read all along is no secret any more.
    let mode = fs::metadata(path).map_err(refused)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(KeyFileError::Open(path.to_owned()));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(refused)?);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key = |line: &str| {
        let bytes = STANDARD.decode(line).ok().and_then(|bytes| <[u8; KEY]>::try_from(bytes).ok());
        bytes.map(SealingKey::new).ok_or_else(|| KeyFileError::Malformed(path.to_owned()))
    };
    let keys = lines.map(key).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(KeyFileError::Empty(path.to_owned())) } else { Ok(keys) }
}

fn write(path: &Path, keys: &[SealingKey]) -> Result<(), KeyFileError> {
    let mut text = Zeroizing::new(HEADER.to_owned());
    for key in keys {
        text.push_str(&STANDARD.encode(*key.bytes));
        text.push('\n');
    }
    private_file::write(path, &text).map_err(|cause| KeyFileError::File { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> (tempfile::TempDir, Sealer) {
        let directory = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(directory.path().join("secret.key"), true).unwrap();
        (directory, sealer)
    }

    #[test]
    fn a_value_opens_for_its_own_row_and_for_no_other() {
        let (_directory, sealer) = sealer();
        let sealed = sealer.seal("var_1", &SecretText::new("hunter2"));
        assert!(!sealed.text.contains("hunter2"));
        assert_eq!(sealer.unseal("var_1", &sealed).unwrap().expose(), "hunter2");
        assert_eq!(sealer.unseal("var_2", &sealed), Err(OpenError::Changed));
        let mut bytes = STANDARD.decode(&sealed.text).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let changed = Sealed { text: STANDARD.encode(bytes), ..sealed.clone() };
        assert_eq!(sealer.unseal("var_1", &changed), Err(OpenError::Changed));
        for text in ["", "!", "AAAA"] {
            let broken = Sealed { text: text.into(), ..sealed.clone() };
            assert_eq!(sealer.unseal("var_1", &broken), Err(OpenError::Changed));
        }
        assert_ne!(
            sealer.seal("var_1", &SecretText::new("hunter2")).text,
            sealed.text,
            "the nonce is new each time"
        );
    }

    #[test]
    fn a_first_key_is_made_where_there_is_not_even_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("data/secret.key");
        assert!(Sealer::open(file.clone(), false).is_err());
        let made = Sealer::open(file.clone(), true).unwrap();
        assert_eq!(Sealer::open(file, false).unwrap().current(), made.current());
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_opens_until_it_is_dropped() {
        let (directory, sealer) = sealer();
        let old = sealer.seal("x", &SecretText::new("old"));
        sealer.add_key().unwrap();
        let new = sealer.seal("x", &SecretText::new("new"));
        assert_ne!(old.key_id, new.key_id);
        // As a process that starts now.
        let again = Sealer::open(directory.path().join("secret.key"), false).unwrap();
        assert_eq!(again.unseal("x", &old).unwrap().expose(), "old");
        sealer.drop_old_keys().unwrap();
        assert_eq!(sealer.unseal("x", &old), Err(OpenError::UnknownKey));
        assert_eq!(sealer.unseal("x", &new).unwrap().expose(), "new");
    }

    #[test]
    fn a_process_that_runs_finds_a_key_that_another_one_has_made() {
        let (directory, sealer) = sealer();
        let other = Sealer::open(directory.path().join("secret.key"), false).unwrap();
        other.add_key().unwrap();
        let sealed = other.seal("x", &SecretText::new("new"));
        assert_eq!(sealer.unseal("x", &sealed).unwrap().expose(), "new");
    }

    #[test]
    fn a_file_that_is_not_right_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret.key");
        let opened = |make| Sealer::open(file.clone(), make).map(drop).unwrap_err().to_string();
        assert!(opened(false).contains("No such file"));
        for (text, says) in [("# nothing\n", "has no key"), ("abc\n", "no key: each is 32 bytes")] {
            private_file::write(&file, text).unwrap();
            assert!(opened(true).contains(says), "{}", opened(true));
        }
        fs::remove_file(&file).unwrap();
        Sealer::open(file.clone(), true).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(opened(true).contains("chmod 600"));
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let (_directory, sealer) = sealer();
        let key = sealer.with_keys(|keys| STANDARD.encode(*keys[0].bytes));
        assert!(!format!("{sealer:?}").contains(&key));
    }
}
