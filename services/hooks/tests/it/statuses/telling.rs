//! Tellers and a host that does not always do what they want.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use grapnel_runtime::Clock;

use super::{
    host::{Heard, Reply},
    *,
};
use crate::support::on_both;

async fn world_and_host(
    url: &str,
    behaviour: impl FnMut(&Heard) -> Reply + Send + 'static,
) -> (World, GitHost) {
    let host = GitHost::start(behaviour).await;
    let world = World::new(url, Clock::system()).await;
    world.tell_at(&host.api_base()).await;
    (world, host)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_hears_of_a_deployment_from_its_beginning_to_its_end() {
    on_both(async |url| {
        let (world, host) = world_and_host(&url, |_| Reply::Ok).await;
        let _teller = world.teller("one", QUICK);
        let id = world.queued(&commit(1)).await;
        host.asked_for(1).await;
        let attempt = started(&world.app, id).await;
        host.asked_for(2).await;
        finished(&world.app, attempt, failed(FailureCode::BuildFailed)).await;
        host.asked_for(3).await;
        until("it is told", async || world.status(id).await.delivered).await;
        let heard = host.heard();
        assert_eq!(host.states_of(&commit(1)), ["pending", "pending", "failure"]);
        let last = heard.last().unwrap();
        assert_eq!(last.path, format!("/api/v1/repos/team/site/statuses/{}", commit(1)));
        assert_eq!(last.authorization, format!("token {TOKEN}"));
        assert_eq!(
            (last.context.as_str(), last.description.as_str()),
            ("grapnel/harbour", "`npm run build` exited with 1")
        );
        let token = world.app.status_token(id).await.unwrap();
        assert_eq!(last.page, format!("http://localhost/v1/status/{id}/{token}"));
        let status = world.status(id).await;
        assert_eq!((status.tries, status.last_error.as_str(), status.next_try_at), (0, "", None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_says_when_to_come_back_is_left_alone_until_then_by_all_of_the_project() {
    on_both(async |url| {
        let refused = Arc::new(AtomicBool::new(false));
        let seen = refused.clone();
        let (world, host) = world_and_host(&url, move |_| {
            if seen.swap(true, Ordering::SeqCst) { Reply::Ok } else { Reply::Refuse(429, Some(1)) }
        })
        .await;
        let _tellers = (world.teller("one", QUICK), world.teller("two", QUICK));
        let begun = tokio::time::Instant::now();
        let first = world.queued(&commit(1)).await;
        until("it waits", async || world.status(first).await.tries == 1).await;
        let second = world.queued(&commit(2)).await;
        host.asked_for(3).await;
        assert!(begun.elapsed() >= Duration::from_millis(950), "it was asked after {:?}", begun.elapsed());
        until("both are told", async || {
            world.status(first).await.delivered && world.status(second).await.delivered
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_seen_on_the_deployment_and_tried_again_when_the_setting_changes() {
    on_both(async |url| {
        let (world, host) = world_and_host(&url, |_| Reply::Refuse(403, None)).await;
        let _teller = world.teller("one", QUICK);
        let id = world.queued(&commit(1)).await;
        until("it is refused", async || world.status(id).await.gave_up).await;
        let status = world.status(id).await;
        assert!(status.last_error.contains("write:repository"), "{}", status.last_error);
        assert_eq!((status.next_try_at, host.asked()), (None, 1), "it was not tried again");
        let deployment = world.app.deployment(world.team.id, id).await.unwrap();
        assert_eq!(deployment.state, grapnel_domain::deployment::State::Queued, "its result stays as it is");
        host.behave(|_| Reply::Ok);
        world.tell_at(&host.api_base()).await;
        until("it is told", async || world.status(id).await.delivered).await;
        assert!(!world.status(id).await.gave_up);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_in_trouble_is_tried_again_until_patience_ends_and_hears_the_next_state() {
    on_both(async |url| {
        let (world, host) = world_and_host(&url, |_| Reply::Refuse(500, None)).await;
        let _teller = world.teller("one", Patience { give_up: Duration::from_secs(2), ..QUICK });
        let id = world.queued(&commit(1)).await;
        until("it gives up", async || world.status(id).await.gave_up).await;
        let status = world.status(id).await;
        assert!(status.tries > 2 && status.last_error.starts_with("500 "), "{status:?}");
        host.behave(|_| Reply::Ok);
        let attempt = started(&world.app, id).await;
        finished(&world.app, attempt, ready()).await;
        until("it is told", async || world.status(id).await.delivered).await;
        assert_eq!(host.states_of(&commit(1)).last().map(String::as_str), Some("success"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pending_that_arrives_late_does_not_stand() {
    on_both(async |url| {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let (world, host) = world_and_host(&url, move |_| {
            if count.fetch_add(1, Ordering::SeqCst) == 0 { Reply::Late } else { Reply::Ok }
        })
        .await;
        let once_more = Duration::from_millis(700);
        let _teller = world.teller("one", Patience { once_more, ..QUICK });
        let id = world.queued(&commit(1)).await;
        host.asked_for(1).await;
        let attempt = started(&world.app, id).await;
        finished(&world.app, attempt, ready()).await;
        until("the end is told", async || world.status(id).await.delivered).await;
        host.hear_late();
        assert_eq!(
            host.states_of(&commit(1)).last().map(String::as_str),
            Some("pending"),
            "it stands wrong now"
        );
        until("nothing is left to tell", async || world.status(id).await.next_try_at.is_none()).await;
        assert_eq!(host.states_of(&commit(1)).last().map(String::as_str), Some("success"));
    })
    .await;
}
