//! What each scope opens, shown by a key or by a session of it.

use std::collections::BTreeMap;

use grapnel_domain::scope::Scope;
use tonic::Code;

use super::{Anybody, Gateway, Key, Needs, Session, Things, Trigger, bearer, full};
use crate::support::Service;

#[tokio::test]
async fn every_scope_opens_its_own_methods_and_no_other() {
    every_scope_opens_its_own(false).await;
}

#[tokio::test]
async fn a_session_opens_what_its_key_opens_and_no_more() {
    every_scope_opens_its_own(true).await;
}

/// Calls every method with a key of every scope, or with a session of each such key.
async fn every_scope_opens_its_own(by_session: bool) {
    let service = Service::start().await;
    let things = Things::of(&service).await;
    let mut shown = BTreeMap::new();
    for scope in Scope::ALL {
        let mut secret = service.key(&service.team, &[scope]).await;
        if by_session {
            secret = service.session(&secret).await;
        }
        shown.insert(scope, bearer(&secret));
    }
    let gateway = bearer(service.gateway_key.expose());
    // Whoever may not is refused for every method before anybody who may has changed anything.
    for method in things.methods() {
        let closed = shown.iter().filter(|(scope, _)| !opens(**scope, by_session, method.needs));
        let mut callers: Vec<_> = closed.map(|(_, secret)| secret).collect();
        if !matches!(method.needs, Gateway | Trigger) {
            callers.push(&gateway);
        }
        for caller in callers {
            let refused = service.call(&full(method.path), Some(caller), &method.request).await;
            let expected = match method.needs {
                Key | Session if *caller != gateway => Code::Unauthenticated,
                _ => Code::PermissionDenied,
            };
            assert_eq!(refused.expect_err(method.path).code(), expected, "{}", method.path);
        }
    }
    for method in things.methods() {
        let secret = match method.needs {
            Needs::Scope(scope) => &shown[&scope],
            Trigger => &shown[&Scope::Deploy],
            Gateway => &gateway,
            Key if by_session => continue,
            Session if !by_session => continue,
            Key | Session | Anybody => &shown[&Scope::Read],
        };
        let answer = service.call(&full(method.path), Some(secret), &method.request).await;
        // Nothing is served yet: a gateway that asks is told so.
        let served = if method.needs == Gateway { Code::NotFound } else { Code::Ok };
        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), served, "{}", method.path);
    }
}

fn opens(scope: Scope, by_session: bool, needs: Needs) -> bool {
    match needs {
        Needs::Scope(needed) => scope == needed || scope == Scope::Admin,
        Trigger => matches!(scope, Scope::Deploy | Scope::Admin),
        Gateway => false,
        Key => !by_session,
        Session => by_session,
        Anybody => true,
    }
}
