//! A snapshot: an immutable generation of a cache, and the file that names it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Key, shared::Packed};

/// The form of snapshot files. One of another form is dropped: a cache can always be made again.
const FORM: u32 = 1;

/// A generation of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub(super) form: u32,
    /// What shares it.
    pub key: Key,
    /// The builder image's name.
    pub image_name: String,
    /// Whether it was made on the project's production branch.
    pub production: bool,
    /// Counts the snapshots of a key, from 1.
    pub generation: u64,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// The paths, below the workspace, that its builds cache.
    pub paths: Vec<String>,
    /// The layers of the workspace, topmost first.
    pub workspace: Vec<Layer>,
    /// The layers of the tools' caches, topmost first.
    pub tools: Vec<Layer>,
    /// What the install step was given when it made this; none where it cannot be left out.
    pub install: Option<String>,
    /// The run of the machine in which it was made; none once all of it has reached the disk.
    pub boot: Option<String>,
    /// Whether the bucket of shared caches has it.
    #[serde(default)]
    pub sent: bool,
}

/// One read-only layer: a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The directory's name.
    pub id: String,
    /// The bytes it takes on disk.
    pub bytes: u64,
    /// The cached paths that it says something about.
    pub paths: Vec<String>,
    /// Those of them for which nothing below it is seen any more.
    pub hides: Vec<String>,
    /// Whether it goes on under another name in the layers below: those have to stay then.
    pub redirects: bool,
    /// What it is as a file, once that has been made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Packed>,
}

impl Snapshot {
    /// Makes the first generation of a key, without any layer.
    pub fn empty(key: Key, image_name: &str, production: bool, paths: &[String], now: DateTime<Utc>) -> Self {
        Self {
            form: FORM,
            key,
            image_name: image_name.to_owned(),
            production,
            generation: 0,
            made_at: now,
            paths: paths.to_owned(),
            workspace: Vec::new(),
            tools: Vec::new(),
            install: None,
            boot: None,
            sent: false,
        }
    }

    /// Tells whether it is a generation of which another executor, or an earlier process, may know it differently laid out.
    pub fn is_generation_of(&self, other: &Self) -> bool {
        (&self.key, self.generation, self.made_at) == (&other.key, other.generation, other.made_at)
    }

    /// Returns its stacks of layers.
    pub fn stacks(&self) -> impl Iterator<Item = &Vec<Layer>> {
        [&self.workspace, &self.tools].into_iter()
    }

    /// Returns the names of all its layers.
    pub fn layers(&self) -> impl Iterator<Item = &String> {
        self.stacks().flatten().map(|layer| &layer.id)
    }

    /// Returns how many bytes its layers take on disk.
    pub fn bytes(&self) -> u64 {
        self.stacks().flatten().map(|layer| layer.bytes).sum()
    }

    /// Reads a snapshot's file; `None` where it is not of this form.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        Ok(Self::parse(&fs::read(path)?))
    }

    /// Understands the text of a snapshot; `None` where it is not of this form.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let read: Result<Self, _> = serde_json::from_slice(text);
        read.ok().filter(|snapshot| snapshot.form == FORM)
    }

    /// Returns its text.
    pub fn text(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::other)
    }

    /// Writes a snapshot's file in place of an older one.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&self.text()?)?;
        fs::rename(&new, path)
    }
}

/// Returns what names this run of the machine. What was written and not yet brought to the disk is lost with it.
pub fn this_boot() -> String {
    grapnel_runtime::boot::id()
}
