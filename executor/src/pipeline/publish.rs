//! The end of a build's story: its output becomes an artifact.

use std::path::{Path, PathBuf};

use grapnel_artifacts::{ArtifactError, Limits};
use grapnel_domain::{
    event::{Outcome, Step},
    failure::{Failure, FailureCode},
};

use super::{
    detect::{OUTPUT_CANDIDATES, Plan},
    project_root::ProjectRoot,
    stage::Script,
    story::Story,
};
use crate::cache::{How, Shown, Stack};

impl Story<'_> {
    /// Checks the output and publishes it.
    pub(super) async fn publish(&mut self, Script { root, plan, .. }: &Script) -> Result<Outcome, Failure> {
        self.recorder.step_started(Step::Output).await;
        let told = self.try_publish(root, plan).await;
        self.recorder.step_finished(Step::Output, told.is_ok().then_some(0)).await;
        told
    }

    async fn try_publish(&mut self, root: &ProjectRoot, plan: &Plan) -> Result<Outcome, Failure> {
        let output = root.sure(self.output_directory(root, plan))?;
        let path = root.sure(self.real_output(root, &output).await)?;
        // What is published is published: no log may turn out to have a gap afterwards, and whoever goes on with this build
        // has to find that it had come so far.
        if !self.recorder.is_written_down().await {
            return Err(Failure::new(
                FailureCode::ExecutorDiskFull,
                "what the build told cannot be written down",
            ));
        }
        let store = self.pipeline.artifacts.clone();
        let deployment = self.spec.id.deployment;
        let limits = Limits { bytes: self.limits.artifact_bytes, files: self.limits.artifact_files };
        let given_up = self.given_up.clone();
        let publishing = self
            .publishing
            .insert(tokio::spawn(async move { store.publish(deployment, &path, limits, &given_up).await }));
        let published = publishing.await;
        self.publishing = None;
        let manifest = published
            .map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))?
            .map_err(|error| {
                let cause = std::error::Error::source(&error);
                tracing::warn!(%deployment, %error, ?cause, "an output cannot be published");
                publish_failure(&error)
            })?;
        let (files, bytes) = (manifest.files.len() as u64, manifest.bytes());
        let plural = if files == 1 { "" } else { "s" };
        let said = format!("published {files} file{plural}, {bytes} bytes from {output}");
        self.recorder.say(Step::Output, said).await;
        Ok(Outcome::Ready { files, bytes })
    }

    fn output_directory(&self, root: &ProjectRoot, plan: &Plan) -> Result<String, Failure> {
        if let Some(output) = &plan.output {
            return Ok(output.as_str().to_owned());
        }
        let mut found = None;
        for candidate in OUTPUT_CANDIDATES {
            if root.has_directory(candidate) || self.layers_show(root, candidate)? {
                found = Some(candidate);
                break;
            }
        }
        match found {
            Some(candidate) => Ok(candidate.to_owned()),
            None if plan.build.is_none() => Ok(".".to_owned()),
            None => {
                let looked_for = OUTPUT_CANDIDATES.join(", ");
                let message =
                    format!("the build left none of {looked_for}; set the project's output directory");
                Err(Failure::new(FailureCode::OutputMissing, message))
            }
        }
    }

    /// Returns where the output really is. What is partly the build's own and partly in the layers of its cache is put
    /// together first, without copying.
    async fn real_output(&self, root: &ProjectRoot, output: &str) -> Result<PathBuf, Failure> {
        let Some((stack, path)) = self.layers_of(root, output) else {
            return root.real_directory(output).ok_or_else(|| output_missing(output));
        };
        let merged = self.workspace.merged();
        let to = merged.clone();
        let put_together = tokio::task::spawn_blocking(move || {
            // Where another process died while it did this.
            match std::fs::remove_dir_all(&to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            match stack.find(Path::new(&path))? {
                shown @ Shown::Directory(_) => stack.materialise(&shown, &to, How::Link).map(|()| true),
                Shown::Nothing | Shown::File(_) => Ok(false),
            }
        });
        match put_together.await {
            Ok(Ok(true)) => Ok(merged),
            Ok(Ok(false)) => Err(output_missing(output)),
            Ok(Err(error)) => Err(disk_fails(&error)),
            Err(error) => Err(Failure::new(FailureCode::Internal, error.to_string())),
        }
    }

    fn layers_show(&self, root: &ProjectRoot, directory: &str) -> Result<bool, Failure> {
        let Some((stack, path)) = self.layers_of(root, directory) else { return Ok(false) };
        let shown = stack.find(Path::new(&path)).map_err(|error| disk_fails(&error))?;
        Ok(matches!(shown, Shown::Directory(_)))
    }

    /// Returns the layers that a directory of the project may partly come from, and its path from the top.
    fn layers_of(&self, root: &ProjectRoot, directory: &str) -> Option<(Stack, String)> {
        let path = match (root.below(), directory) {
            (".", directory) => directory.to_owned(),
            (below, ".") => below.to_owned(),
            (below, directory) => format!("{below}/{directory}"),
        };
        let stack = self.cache.as_ref()?.layers_below(&path, &self.pipeline.caches, self.workspace)?;
        Some((stack, path))
    }
}

fn disk_fails(error: &std::io::Error) -> Failure {
    Failure::new(FailureCode::ExecutorDiskFull, error.to_string())
}

fn output_missing(output: &str) -> Failure {
    let message = format!(
        "the build left no directory `{output}` inside the repository, the project's output directory"
    );
    Failure::new(FailureCode::OutputMissing, message)
}

fn publish_failure(error: &ArtifactError) -> Failure {
    match error {
        ArtifactError::Refused(refusal) if refusal.is_about_size() => {
            Failure::new(FailureCode::OutputTooLarge, error.to_string())
        }
        ArtifactError::Refused(_) => Failure::new(FailureCode::OutputRefused, error.to_string()),
        ArtifactError::Io(_) => Failure::new(FailureCode::ExecutorDiskFull, error.to_string()),
        ArtifactError::Bucket(_) => Failure::new(FailureCode::ArtifactStoreUnavailable, error.to_string()),
        ArtifactError::GivenUp
        | ArtifactError::NotFound(_)
        | ArtifactError::Corrupt(_)
        | ArtifactError::Manifest(_) => Failure::new(FailureCode::Internal, error.to_string()),
    }
}
