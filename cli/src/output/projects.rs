//! Projects, what is known of their repositories and caches, for people.

use grapnel_proto::hooks::v1::{BuildCache, InspectRepositoryResponse, Project};
use indicatif::BinaryBytes;

use super::Printer;

impl Printer {
    /// Shows projects.
    pub fn projects(&self, projects: &[Project]) -> String {
        let rows = projects.iter().map(|it| {
            vec![
                it.name.clone(),
                it.production_branch.clone(),
                it.repository_url.clone(),
                it.site_url.clone(),
            ]
        });
        self.table(
            &["NAME", "BRANCH", "REPOSITORY", "SITE"],
            rows,
            "no projects yet; `grapnel project create` makes one",
        )
    }

    /// Shows the branches of a repository.
    pub fn branches(&self, it: &InspectRepositoryResponse) -> String {
        let rows = it.branches.iter().map(|branch| {
            let default = if branch.name == it.default_branch { "default" } else { "" };
            vec![
                branch.name.clone(),
                branch.commit.get(..12).unwrap_or_default().to_owned(),
                default.to_owned(),
            ]
        });
        let shown = self.table(&["BRANCH", "COMMIT", ""], rows, "the repository has no branch yet");
        if it.truncated { format!("{shown}\nThere are more than these.") } else { shown }
    }

    /// Shows build caches.
    pub fn caches(&self, caches: &[BuildCache]) -> String {
        let rows = caches.iter().map(|it| {
            vec![
                if it.shared { format!("{}, bucket", it.executor) } else { it.executor.clone() },
                it.branch.clone(),
                it.root_directory.clone(),
                it.builder_image.clone(),
                it.generation.to_string(),
                it.layers.to_string(),
                BinaryBytes(it.bytes).to_string(),
                self.ago(it.made_at.as_ref()),
                self.ago(it.used_at.as_ref()),
            ]
        });
        self.table(
            &["EXECUTOR", "BRANCH", "ROOT", "IMAGE", "GENERATION", "LAYERS", "SIZE", "MADE", "USED"],
            rows,
            "no build of this project has left a cache yet",
        )
    }
}
