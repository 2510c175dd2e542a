//! When an install step may be left out, because it would do nothing.
//!
//! It is the default command of a package manager with a lock file, the root manifest has no lifecycle scripts, no
//! workspaces and no packages of the repository itself, `node_modules` is kept, and everything the step was given is
//! what it was given when the cache was made.

use sha2::{Digest as _, Sha256};

use super::{environment, stage::Script, story::Story};
use crate::{cache::Installed, engine::Image, source::Source};

/// What the log says of a step that is left out.
pub const LEFT_OUT: &str = "left out: the files, the image, the command and the variables are those with which the \
     cache was made (install.skip_unchanged = false turns this off)";

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
    let tree = match tree {
        Some(tree) => tree,
        None => tree_of(story).await?,
    };
    let mut given = Sha256::new();
    for part in [&tree, &image.id, &request.command, &request.directory] {
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
