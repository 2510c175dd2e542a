//! `grapnel endpoint`.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use grapnel_proto::{
    convert::endpoint::event_state_to_wire,
    hooks::v1::{
        CreateEndpointRequest, DeleteEndpointRequest, Endpoint, EndpointChanges, Event, GetEndpointRequest,
        ListDeliveriesRequest, ListDeliveriesResponse, ListEndpointsRequest, ListEndpointsResponse,
        ListEventsRequest, ListEventsResponse, RedeliverEventRequest, RotateEndpointSecretRequest,
        SendTestEventRequest, UpdateEndpointRequest,
    },
};

use super::{Client, paged};
use crate::{args::EndpointCommand, exit::Failure};

/// What people are told beside a secret.
const SHOWN_ONCE: &str = "Whoever has this secret can write events that look like Grapnel's. It is shown once: give it to the receiver.";

impl Client {
    pub(super) async fn endpoint(&mut self, command: EndpointCommand) -> Result<ExitCode, Failure> {
        match command {
            EndpointCommand::Create { address, project, events, description, secret_file } => {
                let request = CreateEndpointRequest {
                    project: project.unwrap_or_default(),
                    url: address,
                    types: events.into_iter().map(|kind| kind.to_string()).collect(),
                    description,
                    secret: secret(secret_file)?,
                };
                let answer = self.answer(self.endpoints.clone().create_endpoint(request)).await?;
                self.printer.message("grapnel.hooks.v1.CreateEndpointResponse", &answer, |_| {
                    let id = answer.endpoint.as_ref().map(|it| it.id.clone()).unwrap_or_default();
                    format!("{}\n\n{SHOWN_ONCE}\nThe endpoint's id is {id}.", answer.secret)
                })?;
            }
            EndpointCommand::List { project } => self.list_endpoints(project.unwrap_or_default()).await?,
            EndpointCommand::Show { endpoint } => {
                let request = GetEndpointRequest { endpoint_id: endpoint };
                let answer = self.answer(self.endpoints.clone().get_endpoint(request)).await?;
                self.show_endpoint(&answer.endpoint.unwrap_or_default())?;
            }
            EndpointCommand::Update { endpoint, address, events, description } => {
                self.update_what_is_given(endpoint, address, events, description).await?;
            }
            EndpointCommand::Enable { endpoint } => self.set_disabled(endpoint, false).await?,
            EndpointCommand::Disable { endpoint } => self.set_disabled(endpoint, true).await?,
            EndpointCommand::Delete { endpoint } => {
                let request = DeleteEndpointRequest { endpoint_id: endpoint };
                let answer = self.answer(self.endpoints.clone().delete_endpoint(request)).await?;
                self.printer
                    .message("grapnel.hooks.v1.DeleteEndpointResponse", &answer, |_| "deleted".to_owned())?;
            }
            EndpointCommand::Rotate { endpoint, grace, secret_file } => {
                let request = RotateEndpointSecretRequest {
                    endpoint_id: endpoint,
                    grace_seconds: grace,
                    secret: secret(secret_file)?,
                };
                let answer = self.answer(self.endpoints.clone().rotate_endpoint_secret(request)).await?;
                self.printer.message("grapnel.hooks.v1.RotateEndpointSecretResponse", &answer, |_| {
                    format!("{}\n\n{SHOWN_ONCE}", answer.secret)
                })?;
            }
            EndpointCommand::Test { endpoint } => {
                let request = SendTestEventRequest { endpoint_id: endpoint };
                let answer = self.answer(self.endpoints.clone().send_test_event(request)).await?;
                self.show_event(&answer.event.unwrap_or_default())?;
            }
            EndpointCommand::Events { endpoint, deployment, state, limit } => {
                let state = state.map(|state| event_state_to_wire(state).into()).unwrap_or_default();
                self.events(endpoint, deployment.unwrap_or_default(), state, limit).await?;
            }
            EndpointCommand::Deliveries { of, limit } => self.deliveries(of, limit).await?,
            EndpointCommand::Resend { event } => {
                let request = RedeliverEventRequest { event_id: event };
                let answer = self.answer(self.endpoints.clone().redeliver_event(request)).await?;
                self.show_event(&answer.event.unwrap_or_default())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn list_endpoints(&self, project: String) -> Result<(), Failure> {
        let (endpoints, next_page_token) = paged(u32::MAX, async |page_size, page_token| {
            let request = ListEndpointsRequest { project: project.clone(), page_size, page_token };
            let page = self.answer(self.endpoints.clone().list_endpoints(request)).await?;
            Ok((page.endpoints, page.next_page_token))
        })
        .await?;
        let all = ListEndpointsResponse { endpoints, next_page_token };
        self.printer.message("grapnel.hooks.v1.ListEndpointsResponse", &all, |printer| {
            printer.endpoints(&all.endpoints)
        })
    }

    async fn events(
        &self,
        endpoint_id: String,
        deployment_id: String,
        state: i32,
        limit: u32,
    ) -> Result<(), Failure> {
        let (events, next_page_token) = paged(limit, async |page_size, page_token| {
            let (endpoint_id, deployment_id) = (endpoint_id.clone(), deployment_id.clone());
            let request = ListEventsRequest { endpoint_id, deployment_id, state, page_size, page_token };
            let page = self.answer(self.endpoints.clone().list_events(request)).await?;
            Ok((page.events, page.next_page_token))
        })
        .await?;
        let answer = ListEventsResponse { events, next_page_token };
        self.printer.message("grapnel.hooks.v1.ListEventsResponse", &answer, |printer| {
            printer.events(&answer.events)
        })?;
        self.printer.more(&answer.next_page_token);
        Ok(())
    }

    async fn update_what_is_given(
        &self,
        endpoint: String,
        url: Option<String>,
        events: Option<Vec<String>>,
        description: Option<String>,
    ) -> Result<(), Failure> {
        let given =
            [("url", url.is_some()), ("types", events.is_some()), ("description", description.is_some())];
        let paths: Vec<_> = given.iter().filter(|(_, given)| *given).map(|(path, _)| *path).collect();
        if paths.is_empty() {
            return Err(Failure::usage("nothing to change is given; see `grapnel endpoint update --help`"));
        }
        let types = events.unwrap_or_default();
        let all = types.len() == 1 && types[0] == "all";
        let changes = EndpointChanges {
            url: url.unwrap_or_default(),
            types: if all { Vec::new() } else { types },
            description: description.unwrap_or_default(),
            disabled: false,
        };
        self.update_endpoint(endpoint, changes, &paths).await
    }

    async fn set_disabled(&self, endpoint: String, disabled: bool) -> Result<(), Failure> {
        let changes = EndpointChanges { disabled, ..Default::default() };
        self.update_endpoint(endpoint, changes, &["disabled"]).await
    }

    async fn update_endpoint(
        &self,
        endpoint_id: String,
        changes: EndpointChanges,
        paths: &[&str],
    ) -> Result<(), Failure> {
        let mask = prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        let request = UpdateEndpointRequest { endpoint_id, changes: Some(changes), update_mask: Some(mask) };
        let answer = self.answer(self.endpoints.clone().update_endpoint(request)).await?;
        self.show_endpoint(&answer.endpoint.unwrap_or_default())?;
        Ok(())
    }

    async fn deliveries(&self, of: String, limit: u32) -> Result<(), Failure> {
        let (endpoint_id, event_id) =
            if of.starts_with("ep_") { (of, String::new()) } else { (String::new(), of) };
        let (deliveries, next_page_token) = paged(limit, async |page_size, page_token| {
            let (endpoint_id, event_id) = (endpoint_id.clone(), event_id.clone());
            let request = ListDeliveriesRequest { endpoint_id, event_id, page_size, page_token };
            let page = self.answer(self.endpoints.clone().list_deliveries(request)).await?;
            Ok((page.deliveries, page.next_page_token))
        })
        .await?;
        let answer = ListDeliveriesResponse { deliveries, next_page_token };
        self.printer.message("grapnel.hooks.v1.ListDeliveriesResponse", &answer, |printer| {
            printer.deliveries(&answer.deliveries)
        })?;
        self.printer.more(&answer.next_page_token);
        Ok(())
    }

    fn show_endpoint(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        self.printer.message("grapnel.hooks.v1.Endpoint", endpoint, |printer| printer.endpoint(endpoint))
    }

    fn show_event(&self, event: &Event) -> Result<(), Failure> {
        self.printer.message("grapnel.hooks.v1.Event", event, |printer| printer.event(event))
    }
}

/// Reads a secret of one's own; none is empty.
fn secret(file: Option<PathBuf>) -> Result<String, Failure> {
    let Some(file) = file else {
        return Ok(String::new());
    };
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(&file)
    };
    let text =
        read.map_err(|error| Failure::failed(format!("{} cannot be read: {error}", file.display())))?;
    // An empty one would be taken for none.
    match text.trim() {
        "" => Err(Failure::usage(format!("{} is empty", file.display()))),
        text => Ok(text.to_owned()),
    }
}
