//! When an install step may be left out, because it would do nothing.
//!
//! It is the default command of a package manager with a lock file, the root manifest has no lifecycle scripts, no
//! workspaces and no packages of the repository itself, `node_modules` is kept, and everything the step was given is
//! what it was given when the cache was made. What that is of the repository depends on the package manager: npm goes by four
//! files and nothing else, of the others it is the whole tree.

use sha2::{Digest as _, Sha256};

use super::{environment, stage::Script, story::Story};
use crate::{cache::Installed, engine::Image, source::Source};

/// What the log says of a step that is left out.
pub const LEFT_OUT: &str = "left out: the files that it goes by, the image, the command and the variables are those with \
     which the cache was made (install.skip_unchanged = false turns this off)";

/// What npm goes by, in the directory in which it runs: npm-install(1), package-lock-json(5), npmrc(5).
const OF_NPM: [&str; 4] = ["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"];

/// The largest of those files, in bytes. By one that is larger the whole tree is meant.
const FILE_LIMIT: u64 = 32 << 20;

/// Returns what an install step is given, where a build that is given the same may leave it out.
/// `tree` is the hash of the commit's tree, where it is known already.
pub async fn record(
    story: &Story<'_>,
    script: &Script,
    image: &Image,
    tree: Option<String>,
) -> Option<Installed> {
    let request = story.request(script.plan.install.as_deref()?, script);
    let modules = match script.root.below() {
        "." => "node_modules".to_owned(),
        below => format!("{below}/node_modules"),
    };
    story.cache.as_ref().filter(|cache| cache.keeps(&modules))?;
    let files = match (of_npm(script), tree) {
        (Some(files), _) => files,
        (None, Some(tree)) => tree,
        (None, None) => tree_of(story).await?,
    };
    let node = script.node.map_or_else(String::new, |major| major.to_string());
    let mut given = Sha256::new();
    for part in [&files, &image.id, &node, &request.command, &request.directory] {
        given.update(part);
        given.update([0]);
    }
    // What is checked out beside the tree itself.
    given.update([story.spec.settings.submodules.into(), story.spec.settings.lfs.into()]);
    for (name, value) in request.environment.iter().filter(|(name, _)| environment::lasts(name)) {
        given.update(format!("{name}={value}\0"));
    }
    Some(Installed { given: hex::encode(given.finalize()), modules })
}

/// Returns the hash of the commit's tree.
pub async fn tree_of(story: &Story<'_>) -> Option<String> {
    let source = Source::new(&story.spec.repository, &story.spec.access);
    story.pipeline.mirrors.tree_of(source, &story.spec.commit, &story.given_up).await.ok()
}

/// Returns the hash of what `npm install` goes by, where nothing else of the repository has a say: at its top, since npm takes a
/// directory below it for a workspace of a manifest above.
fn of_npm(script: &Script) -> Option<String> {
    if script.plan.install.as_deref() != Some("npm install") || script.root.below() != "." {
        return None;
    }
    let mut files = Sha256::new();
    for name in OF_NPM {
        let text = script.root.read(name, FILE_LIMIT);
        if text.is_none() && script.root.has_file(name) {
            return None;
        }
        let length = text.as_ref().map_or(-1, |text| text.len() as i128);
        files.update(format!("{name} {length}\0{}", text.unwrap_or_default()));
    }
    Some(hex::encode(files.finalize()))
}
