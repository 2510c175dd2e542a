//! What shares a cache.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What builds have to have in common to find each other's cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The project's id.
    pub project: String,
    /// The branch.
    pub branch: String,
    /// The content-addressed id of the builder image: what was compiled in one may not run in another.
    pub image: String,
    /// The project's root directory; `.` is the top.
    pub root: String,
    /// The user that owns the files.
    pub user: u32,
}

impl Key {
    /// Returns the name under which the snapshot is kept: 24 hexadecimal digits.
    pub fn hash(&self) -> String {
        let Self { project, branch, image, root, user } = self;
        hex::encode(
            &Sha256::digest([project, branch, image, root, &user.to_string()].map(String::as_str).join("\0"))
                [..12],
        )
    }

    /// Tells whether another key differs in nothing but the branch.
    pub fn differs_only_in_branch(&self, other: &Self) -> bool {
        *self == Self { branch: self.branch.clone(), ..other.clone() }
    }

    /// Tells whether another key differs in nothing but the image.
    pub fn differs_only_in_image(&self, other: &Self) -> bool {
        self.image != other.image && *self == Self { image: self.image.clone(), ..other.clone() }
    }
}
