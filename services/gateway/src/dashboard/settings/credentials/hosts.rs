//! SSH hosts: each is trusted by its keys, once somebody has compared their fingerprints with what its operator publishes.

use askama::Template;
use axum::{extract::Path, response::Response};
use grapnel_domain::{Error, scope::Scope};
use grapnel_proto::hooks::v1::{
    DistrustHostRequest, HostKey, KnownHost, ListTrustedHostsRequest, ScanHostRequest, TrustHostRequest,
};
use http::StatusCode;

use super::{Forms, page_of};
use crate::{
    dashboard::{
        components::{Action, Moment},
        forms::{Fields, Posted},
        page::{self, Frame},
        page_error::PageError,
        settings::{
            done,
            form::Form,
            input::Input,
            section::{Lacking, Nav, Opened, Section},
        },
    },
    hooks_client::{answered_to_people as answered, answered_within},
};

/// How long a host may take to show its keys. The service gives up before.
const LOOK: std::time::Duration = std::time::Duration::from_secs(30);

/// A host that is trusted.
pub struct Row {
    pub host: String,
    pub keys: Vec<Key>,
    pub well_known: bool,
    pub at: Option<Moment>,
    pub distrust: Option<Action>,
}

/// One key of a host.
pub struct Key {
    pub algorithm: String,
    pub fingerprint: String,
    /// What a form carries of it.
    pub carried: String,
    /// Whether the host is trusted by it already.
    pub trusted: bool,
}

#[derive(Template)]
#[template(path = "settings/host.html")]
struct HostPage {
    frame: Frame,
    nav: Nav,
    host: String,
    port: u32,
    called: String,
    keys: Vec<Key>,
    /// Whether it was trusted by other keys.
    changed: bool,
    lacking: Option<Lacking>,
    trust: String,
    section: String,
}

/// The fields of the form that looks at a host.
pub fn inputs(form: &Form) -> [Input; 2] {
    [
        form.text("host", "Host", "").required().limit(255),
        form.number("port", "Port", "").hint("Nothing: 22."),
    ]
}

/// Lists the hosts that are trusted.
pub async fn rows(opened: &Opened) -> Result<Vec<Row>, PageError> {
    let answer =
        answered(opened.signed_in.caller.credentials().list_trusted_hosts(ListTrustedHostsRequest {}))
            .await?;
    Ok(answer.hosts.iter().map(|host| row(opened, host)).collect())
}

fn row(opened: &Opened, known: &KnownHost) -> Row {
    let called = called(&known.host, known.port);
    let may = opened.signed_in.may(Scope::Admin) && !known.well_known;
    let distrust = || Action {
        to: opened.link_to("distrust"),
        csrf: opened.signed_in.csrf.clone(),
        label: "Distrust",
        title: format!("Trust {called} no longer"),
        fields: vec![("host", known.host.clone()), ("port", known.port.to_string())],
        question: format!("Trust {called} no longer? Nothing is fetched from it then."),
        grave: true,
    };
    Row {
        keys: known.keys.iter().map(|key| key_of(key, None)).collect(),
        well_known: known.well_known,
        at: Moment::of(known.created_at.as_ref(), opened.signed_in.now),
        distrust: may.then(distrust),
        host: called,
    }
}

fn key_of(key: &HostKey, trusted: Option<&KnownHost>) -> Key {
    Key {
        algorithm: key.algorithm.clone(),
        fingerprint: key.fingerprint.clone(),
        carried: format!("{} {}", key.algorithm, key.key),
        trusted: trusted.is_some_and(|host| host.keys.iter().any(|it| it.key == key.key)),
    }
}

fn called(host: &str, port: u32) -> String {
    if port == 0 || port == 22 { host.to_owned() } else { format!("{host}, port {port}") }
}

/// `POST …/credentials/scan`: shows a host's keys. Nothing is trusted by it.
pub async fn scan(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Credentials).await?;
    let Some(port) = port(&fields) else {
        let scan = Form::wrong(fields, "port", "must be from 1 to 65535");
        return page_of(&opened, Forms { scan, ..Forms::default() }, &Fields::default()).await;
    };
    let request = ScanHostRequest { host: fields.get("host").to_owned(), port };
    match answered_within(LOOK, opened.signed_in.caller.credentials().scan_host(request)).await {
        Ok(answer) => Ok(found(&opened, &answer.found.unwrap_or_default(), answer.trusted.as_ref())),
        Err(error) => {
            let scan = Form::refused(fields, error)?;
            page_of(&opened, Forms { scan, ..Forms::default() }, &Fields::default()).await
        }
    }
}

/// Reads a port; 0 where none is typed.
fn port(fields: &Fields) -> Option<u32> {
    match fields.get("port") {
        "" => Some(0),
        text => text.parse::<u16>().ok().map(u32::from),
    }
}

fn found(opened: &Opened, found: &KnownHost, trusted: Option<&KnownHost>) -> Response {
    let keys: Vec<_> = found.keys.iter().map(|key| key_of(key, trusted)).collect();
    let page = HostPage {
        frame: opened.frame_titled("Keys of a host", &Fields::default()),
        nav: opened.nav(),
        called: called(&found.host, found.port),
        host: found.host.clone(),
        port: found.port,
        changed: trusted.is_some() && keys.iter().any(|key| !key.trusted),
        keys,
        lacking: opened.lacking(Scope::Admin),
        trust: opened.link_to("trust"),
        section: opened.link(),
    };
    page::shown(StatusCode::OK, &page)
}

/// `POST …/credentials/trust`: trusts the keys that the page showed, and no others.
pub async fn trust(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Admin, signed_in, &project, Section::Credentials).await?;
    let keys = fields.all("key").filter_map(|key| key.split_once(' ')).map(|(algorithm, key)| HostKey {
        algorithm: algorithm.to_owned(),
        key: key.to_owned(),
        fingerprint: String::new(),
    });
    let port = port(&fields).ok_or_else(PageError::unreadable)?;
    let request = TrustHostRequest { host: fields.get("host").to_owned(), port, keys: keys.collect() };
    if request.keys.is_empty() {
        return Err(Error::invalid_field("keys", "must be at least one").into());
    }
    answered(opened.signed_in.caller.credentials().trust_host(request)).await?;
    Ok(done(&opened.link(), "host-trusted"))
}

/// `POST …/credentials/distrust`
pub async fn distrust(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Admin, signed_in, &project, Section::Credentials).await?;
    let port = port(&fields).ok_or_else(PageError::unreadable)?;
    let request = DistrustHostRequest { host: fields.get("host").to_owned(), port };
    answered(opened.signed_in.caller.credentials().distrust_host(request)).await?;
    Ok(done(&opened.link(), "host-distrusted"))
}
