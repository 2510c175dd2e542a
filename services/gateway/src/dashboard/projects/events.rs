//! `/projects/events`: what changes in a page of the list.

use std::collections::VecDeque;

use axum::response::Response;
use futures_util::{Stream, stream};
use grapnel_domain::Error;
use grapnel_proto::hooks::v1::{
    CancelReason, Deployment, GetProjectRequest, Project, WatchDeploymentsRequest, WatchDeploymentsResponse,
    watch_deployments_response::Change as Told,
};
use tonic::Streaming;

use super::{
    list::{ask, with_latest},
    row::Row,
};
use crate::{
    dashboard::{
        forms::{Asked, Fields},
        live::{self, Change},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// `GET /projects/events`, with the query of the page.
pub async fn stream(
    axum::extract::State(interface): axum::extract::State<Interface>,
    signed_in: SignedIn,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    // Watched before it is read: what changes in between is told.
    let request = WatchDeploymentsRequest { project: String::new() };
    let told = answered(signed_in.caller.hooks().watch_deployments(request)).await?;
    let mut list = List {
        interface,
        signed_in: signed_in.clone(),
        asked,
        projects: Vec::new(),
        waiting: VecDeque::new(),
    };
    list.read().await?;
    let ids: Vec<String> = list.projects.iter().map(|(project, _)| project.id.clone()).collect();
    Ok(live::answer(signed_in, &ids, list.changes(told)))
}

fn ended_with_its_project(deployment: &Deployment) -> bool {
    deployment.cancellation.as_ref().is_some_and(|it| it.reason() == CancelReason::ProjectDeleted)
}

/// The page of the list, as its browser has it.
struct List {
    interface: Interface,
    signed_in: SignedIn,
    asked: Fields,
    projects: Vec<(Project, Option<Deployment>)>,
    /// What the browser is to be sent next.
    waiting: VecDeque<Change>,
}

impl List {
    fn changes(
        self,
        told: Streaming<WatchDeploymentsResponse>,
    ) -> impl Stream<Item = Change> + Send + 'static {
        stream::unfold((self, told), async |(mut list, mut told)| {
            loop {
                if let Some(change) = list.waiting.pop_front() {
                    return Some((change, (list, told)));
                }
                // An end, or a break, is the browser's to come back from.
                let change = told.message().await.ok().flatten()?.change?;
                list.take(change).await.ok()?;
            }
        })
    }

    async fn take(&mut self, told: Told) -> Result<(), Error> {
        match told {
            Told::Deployment(deployment) if ended_with_its_project(&deployment) => self.read().await,
            Told::Deployment(deployment) => self.put(deployment).await,
            Told::DeletedId(id) => {
                let shown =
                    self.projects.iter().any(|(_, latest)| latest.as_ref().is_some_and(|it| it.id == id));
                if shown { self.read().await } else { Ok(()) }
            }
        }
    }

    async fn put(&mut self, deployment: Deployment) -> Result<(), Error> {
        let place = match self.projects.iter().position(|(project, _)| project.id == deployment.project_id) {
            Some(place) => place,
            // A project that was made since is the newest: it has its place on the first page.
            None if self.asked.get("search").is_empty() && self.asked.get("page").is_empty() => {
                let request = GetProjectRequest { project: deployment.project_id.clone() };
                let asked = answered(self.signed_in.caller.hooks().get_project(request)).await?;
                let Some(project) = asked.project.filter(|project| self.is_newer(project)) else {
                    return Ok(());
                };
                self.projects.insert(0, (project, None));
                0
            }
            None => return Ok(()),
        };
        let (_, latest) = &mut self.projects[place];
        // Ids sort by time.
        if latest.as_ref().is_none_or(|it| it.id <= deployment.id) {
            *latest = Some(deployment);
            self.tell(place);
        }
        Ok(())
    }

    fn is_newer(&self, project: &Project) -> bool {
        self.projects.first().is_none_or(|(first, _)| first.id < project.id)
    }

    /// Reads the page anew, and tells all of it.
    async fn read(&mut self) -> Result<(), Error> {
        let answer = ask(&self.signed_in, &self.asked).await?;
        let goes = |project: &Project| !answer.projects.iter().any(|it| it.id == project.id);
        let gone = self.projects.iter().map(|(project, _)| project).filter(|project| goes(project));
        self.waiting.extend(gone.map(|project| Change::gone(&project.id)));
        self.projects =
            with_latest(&answer).map(|(project, latest)| (project.clone(), latest.cloned())).collect();
        for place in 0..self.projects.len() {
            self.tell(place);
        }
        Ok(())
    }

    fn tell(&mut self, place: usize) {
        let (project, latest) = &self.projects[place];
        let row = Row::of(project, latest.as_ref(), self.interface.clock.now());
        self.waiting.extend(Change::shown(project.id.clone(), &row));
    }
}
