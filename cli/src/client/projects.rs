//! `grapnel project` and `grapnel limits`.

use std::process::ExitCode;

use grapnel_proto::hooks::v1::{
    BuildLimits, BuildSettings, CachedPaths, CreateProjectRequest, DeleteProjectRequest, GetLimitsRequest,
    GetProjectRequest, ListProjectsRequest, ListProjectsResponse, NetworkAccess, Project, ProjectChanges,
    UpdateProjectRequest,
};

use super::{Client, paged};
use crate::{
    args::{NetworkArg, ProjectCommand, SettingsArgs},
    exit::Failure,
};

impl Client {
    pub(super) async fn project(&mut self, command: ProjectCommand) -> Result<ExitCode, Failure> {
        match command {
            ProjectCommand::Create { name, repo, branch, check, settings } => {
                let branch = if check { self.checked(&repo, branch).await? } else { branch };
                let request = CreateProjectRequest {
                    name,
                    repository_url: repo,
                    production_branch: branch.unwrap_or_default(),
                    settings: Some(to_settings(&settings)),
                };
                let answer = self.answer(self.hooks.clone().create_project(request)).await?;
                self.show_project(&answer.project.unwrap_or_default())?;
            }
            ProjectCommand::List => self.list_projects().await?,
            ProjectCommand::Show { project } => {
                let answer =
                    self.answer(self.hooks.clone().get_project(GetProjectRequest { project })).await?;
                self.show_project(&answer.project.unwrap_or_default())?;
            }
            ProjectCommand::Update { project, name, repo, branch, settings, reset } => {
                let request = update(project, name, repo, branch, &settings, reset)?;
                let answer = self.answer(self.hooks.clone().update_project(request)).await?;
                self.show_project(&answer.project.unwrap_or_default())?;
            }
            ProjectCommand::Branches { of } => self.list_branches(of).await?,
            ProjectCommand::Delete { project } => {
                let answer =
                    self.answer(self.hooks.clone().delete_project(DeleteProjectRequest { project })).await?;
                self.printer
                    .message("grapnel.hooks.v1.DeleteProjectResponse", &answer, |_| "deleted".to_owned())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn limits(&mut self, project: String) -> Result<ExitCode, Failure> {
        let answer = self.answer(self.hooks.clone().get_limits(GetLimitsRequest { project })).await?;
        self.printer.message("grapnel.hooks.v1.GetLimitsResponse", &answer, |_| {
            format!("{} of {} hooks used, on the {} plan", answer.hooks_used, answer.hooks_limit, answer.plan)
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn list_projects(&mut self) -> Result<(), Failure> {
        let (projects, next_page_token) = self.projects(u32::MAX).await?;
        let all = ListProjectsResponse { projects, next_page_token, ..Default::default() };
        self.printer
            .message("grapnel.hooks.v1.ListProjectsResponse", &all, |printer| printer.projects(&all.projects))
    }

    /// Reads the team's projects, at most as many as are wanted.
    pub(super) async fn projects(&self, limit: u32) -> Result<(Vec<Project>, String), Failure> {
        paged(limit, async |page_size, page_token| {
            let request = ListProjectsRequest { page_size, page_token, ..Default::default() };
            let page = self.answer(self.hooks.clone().list_projects(request)).await?;
            Ok((page.projects, page.next_page_token))
        })
        .await
    }

    fn show_project(&self, project: &Project) -> Result<(), Failure> {
        self.printer.message("grapnel.hooks.v1.Project", project, |printer| {
            let settings = project.settings.clone().unwrap_or_default();
            let or_found = |setting: Option<String>| setting.unwrap_or_else(|| "(found out)".to_owned());
            let fetched_too = too(&settings);
            let network = match settings.network() {
                NetworkAccess::Unspecified => "(the installation's)".to_owned(),
                named => named.as_str_name().trim_start_matches("NETWORK_ACCESS_").to_lowercase(),
            };
            let cached =
                settings.cached_paths.map_or_else(|| "(the usual)".to_owned(), |it| it.paths.join(", "));
            printer.fields(&[
                ("project", project.name.clone()),
                ("id", project.id.clone()),
                ("repository", project.repository_url.clone()),
                ("branch", project.production_branch.clone()),
                ("root", settings.root_directory.unwrap_or_else(|| ".".to_owned())),
                ("install", or_found(settings.install_command)),
                ("build", or_found(settings.build_command)),
                ("output", or_found(settings.output_directory)),
                ("image", settings.builder_image.unwrap_or_else(|| "(the installation's)".to_owned())),
                ("cached", cached),
                ("network", network),
                ("fetched too", fetched_too),
                ("site", project.site_url.clone()),
                ("created", printer.ago(project.created_at.as_ref())),
            ])
        })
    }
}

/// Says what is fetched beside the repository itself.
fn too(settings: &BuildSettings) -> String {
    match (settings.submodules, settings.lfs) {
        (false, false) => "nothing else".to_owned(),
        (true, false) => "submodules".to_owned(),
        (false, true) => "files of Git LFS".to_owned(),
        (true, true) => "submodules, files of Git LFS".to_owned(),
    }
}

fn to_settings(args: &SettingsArgs) -> BuildSettings {
    BuildSettings {
        root_directory: args.root.clone(),
        install_command: args.install.clone(),
        build_command: args.build.clone(),
        output_directory: args.output_dir.clone(),
        builder_image: args.image.clone(),
        limits: Some(BuildLimits {
            timeout_seconds: args.timeout,
            memory_bytes: args.memory,
            disk_bytes: args.disk,
            milli_cpus: args.milli_cpus,
            processes: args.processes,
            open_files: args.open_files,
        }),
        cached_paths: (!args.cached_paths.is_empty())
            .then(|| CachedPaths { paths: args.cached_paths.clone() }),
        network: match args.network {
            None => NetworkAccess::Unspecified,
            Some(NetworkArg::None) => NetworkAccess::None,
            Some(NetworkArg::Egress) => NetworkAccess::Egress,
            Some(NetworkArg::Open) => NetworkAccess::Open,
        }
        .into(),
        run_as_root: args.run_as_root.unwrap_or(false),
        submodules: args.submodules.unwrap_or(false),
        lfs: args.lfs.unwrap_or(false),
    }
}

fn update(
    project: String,
    name: Option<String>,
    repo: Option<String>,
    branch: Option<String>,
    settings: &SettingsArgs,
    reset: Vec<String>,
) -> Result<UpdateProjectRequest, Failure> {
    let given = [
        ("name", name.is_some()),
        ("repository_url", repo.is_some()),
        ("production_branch", branch.is_some()),
        ("settings.root_directory", settings.root.is_some()),
        ("settings.install_command", settings.install.is_some()),
        ("settings.build_command", settings.build.is_some()),
        ("settings.output_directory", settings.output_dir.is_some()),
        ("settings.builder_image", settings.image.is_some()),
        ("settings.limits.timeout_seconds", settings.timeout.is_some()),
        ("settings.limits.memory_bytes", settings.memory.is_some()),
        ("settings.limits.disk_bytes", settings.disk.is_some()),
        ("settings.limits.milli_cpus", settings.milli_cpus.is_some()),
        ("settings.limits.processes", settings.processes.is_some()),
        ("settings.limits.open_files", settings.open_files.is_some()),
        ("settings.cached_paths", !settings.cached_paths.is_empty()),
        ("settings.network", settings.network.is_some()),
        ("settings.run_as_root", settings.run_as_root.is_some()),
        ("settings.submodules", settings.submodules.is_some()),
        ("settings.lfs", settings.lfs.is_some()),
    ];
    let mut paths: Vec<String> =
        given.into_iter().filter(|(_, given)| *given).map(|(path, _)| path.to_owned()).collect();
    paths.extend(reset.into_iter().map(|setting| format!("settings.{setting}")));
    if paths.is_empty() {
        return Err(Failure::usage("nothing to change is given; see `grapnel project update --help`"));
    }
    Ok(UpdateProjectRequest {
        project,
        changes: Some(ProjectChanges {
            name: name.unwrap_or_default(),
            repository_url: repo.unwrap_or_default(),
            production_branch: branch.unwrap_or_default(),
            settings: Some(to_settings(settings)),
        }),
        update_mask: Some(prost_types::FieldMask { paths }),
    })
}
