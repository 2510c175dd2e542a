//! Sessions of people who sign in with a key, by a clock that the test moves. On both databases, over gRPC.

use std::time::Duration;

use chrono::TimeDelta;
use grapnel_domain::{
    Error, Reason,
    id::KeyId,
    scope::Scope,
    secret_token::{ApiKey, SessionSecret},
};
use grapnel_hooks::{
    model::Asker,
    retention::{Pruned, Pruner, Retention},
    store::sessions::SESSIONS_LIMIT,
};
use grapnel_proto::{
    error::from_status,
    hooks::v1::{
        CreateSessionResponse, GetSessionResponse, Session, WatchDeploymentsRequest,
        WatchDeploymentsResponse, hook_service_client::HookServiceClient,
    },
};
use grapnel_runtime::{CancellationToken, Clock, clock::ClockHand};
use prost::{Message, bytes::Bytes};
use tonic::{Request, Streaming};

use crate::support::{Service, on_both};

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A service, the hand of its clock, and a key of its team beside another one that stays.
struct Bench {
    service: Service,
    hand: ClockHand,
    key: KeyId,
    secret: String,
}

impl Bench {
    async fn new(url: &str) -> Self {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let service = Service::over(url, clock).await;
        service.key(&service.team, &[Scope::Admin]).await;
        let (key, secret) = Self::new_key(&service).await;
        Self { service, hand, key, secret }
    }

    async fn new_key(service: &Service) -> (KeyId, String) {
        let scopes = [Scope::Read, Scope::Deploy].into_iter().collect();
        let (key, secret) = service.app.create_key(service.team.id, "people".into(), scopes).await.unwrap();
        (key.id, secret.expose().to_owned())
    }

    async fn call(&self, method: &str, shown: &str) -> Result<Bytes, Error> {
        let path = format!("/grapnel.hooks.v1.{method}");
        let called = self.service.call(&path, Some(&format!("Bearer {shown}")), &[]).await;
        called.map_err(|status| from_status(&status, Reason::Internal))
    }

    async fn sign_in(&self) -> String {
        self.service.session(&self.secret).await
    }

    /// Says what is answered to who shows this, by a method of sessions and by one that is none.
    async fn works(&self, shown: &str) -> Result<(), Reason> {
        let asked = self.call("SessionService/GetSession", shown).await.map_err(|error| error.reason);
        let listed = self.call("HookService/ListProjects", shown).await.map_err(|error| error.reason);
        assert_eq!(asked.is_ok(), listed.is_ok(), "{asked:?} {listed:?}");
        asked.map(drop)
    }

    fn pruner(&self) -> Pruner {
        let (store, clock) = (self.service.app.store.clone(), self.service.app.clock.clone());
        let retention = Retention {
            triggers: DAY,
            events: DAY,
            deployments: DAY,
            logs: DAY,
            artifacts: DAY,
            keep_ready: 1,
        };
        Pruner::new(store, clock, retention, Duration::ZERO, CancellationToken::new())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_says_who_is_signed_in_and_its_secret_stands_in_no_other_answer() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let opened = bench.call("SessionService/CreateSession", &bench.secret).await.unwrap();
        let opened = CreateSessionResponse::decode(opened).unwrap();
        assert!(!format!("{opened:?}").contains(&opened.secret), "{opened:?}");
        let answer = bench.call("SessionService/GetSession", &opened.secret).await.unwrap();
        assert!(!String::from_utf8_lossy(&answer).contains(&opened.secret));
        let shown = GetSessionResponse::decode(answer).unwrap().session.unwrap();
        assert_eq!(Some(&shown), opened.session.as_ref());
        let Session { team_id, team_name, plan, key_id, key_name, key_last_four, scopes, .. } = &shown;
        assert_eq!(
            (team_id, team_name.as_str(), plan.as_str()),
            (&bench.service.team.id.to_string(), "default", "hobby")
        );
        assert_eq!((key_id, key_name.as_str()), (&bench.key.to_string(), "people"));
        assert_eq!((scopes.join(" ").as_str(), bench.secret.ends_with(key_last_four)), ("read deploy", true));
        let (from, to) = (shown.created_at.unwrap(), shown.expires_at.unwrap());
        assert_eq!(to.seconds - from.seconds, 12 * 3_600);

        let of_key = bench.call("SessionService/GetSession", &bench.secret).await.unwrap();
        let of_key = GetSessionResponse::decode(of_key).unwrap().session.unwrap();
        assert_eq!(of_key, Session { created_at: None, expires_at: None, ..shown });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_a_session_that_was_signed_out_never_works_again_and_no_other_is_touched() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let (here, there) = (bench.sign_in().await, bench.sign_in().await);
        assert_eq!((bench.works(&here).await, bench.works(&there).await), (Ok(()), Ok(())));
        bench.call("SessionService/DeleteSession", &here).await.unwrap();
        for _ in 0..3 {
            assert_eq!(bench.works(&here).await, Err(Reason::KeyInvalid));
        }
        let again = bench.call("SessionService/DeleteSession", &here).await.unwrap_err();
        assert_eq!(again.reason, Reason::KeyInvalid);
        assert_eq!((bench.works(&there).await, bench.works(&bench.secret).await), (Ok(()), Ok(())));
        assert_eq!(bench.works(&bench.sign_in().await).await, Ok(()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_a_session_ends_with_its_key_at_once_and_no_other_keys_does() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let (_, other) = Bench::new_key(&bench.service).await;
        let (ours, others) = (bench.sign_in().await, bench.service.session(&other).await);
        bench.service.app.revoke_key(bench.service.team.id, bench.key).await.unwrap();
        let refused = bench.call("HookService/ListProjects", &ours).await.unwrap_err();
        assert_eq!(refused.reason, Reason::KeyInvalid);
        assert!(refused.message.contains("sign in"), "{refused}");
        assert_eq!((bench.works(&ours).await, bench.works(&others).await), (Err(Reason::KeyInvalid), Ok(())));
        bench.hand.advance(TimeDelta::days(1));
        assert_eq!(
            bench.pruner().pass().await.unwrap().sessions,
            1,
            "the other key's: the key took its own along"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s6_a_session_that_is_opened_while_its_key_is_revoked_does_not_outlive_it() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let app = &bench.service.app;
        for _ in 0..10 {
            let (id, secret) = Bench::new_key(&bench.service).await;
            let key = app.store.key_by_hash(&ApiKey::parse(&secret).unwrap().hash()).await.unwrap().unwrap();
            let opening = tokio::spawn({
                let app = app.clone();
                async move { app.create_session(Asker { key, session: None }).await }
            });
            app.revoke_key(bench.service.team.id, id).await.unwrap();
            match opening.await.unwrap() {
                Ok((_, session)) => assert_eq!(bench.works(session.expose()).await, Err(Reason::KeyInvalid)),
                Err(error) => assert_eq!(error.reason, Reason::KeyInvalid, "{error}"),
            }
        }
        bench.hand.advance(TimeDelta::days(1));
        assert_eq!(bench.pruner().pass().await.unwrap(), Pruned::default(), "and none of them is left");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_a_session_is_over_when_its_time_is_and_then_it_is_removed() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let first = bench.sign_in().await;
        bench.hand.advance(TimeDelta::hours(12) - TimeDelta::seconds(1));
        let second = bench.sign_in().await;
        assert_eq!(bench.works(&first).await, Ok(()), "to its last second");
        assert_eq!(bench.pruner().pass().await.unwrap(), Pruned::default());
        bench.hand.advance(TimeDelta::seconds(1));
        assert_eq!(
            (bench.works(&first).await, bench.works(&second).await),
            (Err(Reason::KeyInvalid), Ok(()))
        );
        assert_eq!(bench.pruner().pass().await.unwrap(), Pruned { sessions: 1, ..Pruned::default() });
        assert_eq!(
            (bench.works(&first).await, bench.works(&second).await),
            (Err(Reason::KeyInvalid), Ok(()))
        );
        assert_eq!(bench.pruner().pass().await.unwrap(), Pruned::default());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_nobody_chooses_a_session_and_a_session_opens_no_other() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        // What somebody has put into another's browser is never taken over by signing in.
        let planted = SessionSecret::generate(&mut rand::rng()).expose().to_owned();
        assert_eq!(bench.works(&planted).await, Err(Reason::KeyInvalid));
        let session = bench.sign_in().await;
        assert_ne!(session, planted);
        assert_eq!(bench.works(&planted).await, Err(Reason::KeyInvalid));

        let refused = bench.call("SessionService/CreateSession", &session).await.unwrap_err();
        assert_eq!(refused.reason, Reason::KeyInvalid);
        assert!(refused.message.contains("key"), "{refused}");
        let refused = bench.call("SessionService/DeleteSession", &bench.secret).await.unwrap_err();
        assert_eq!(refused.reason, Reason::KeyInvalid);
        assert!(refused.message.contains("RevokeKey"), "{refused}");
        assert_eq!((bench.works(&session).await, bench.works(&bench.secret).await), (Ok(()), Ok(())));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_who_is_signed_out_or_whose_time_is_over_watches_no_longer() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let watch = async |session: &str| {
            let mut request = Request::new(WatchDeploymentsRequest::default());
            let shown = format!("Bearer {session}").parse().unwrap();
            request.metadata_mut().insert("authorization", shown);
            let mut client = HookServiceClient::new(bench.service.channel());
            client.watch_deployments(request).await.unwrap().into_inner()
        };
        let end = async |watching: &mut Streaming<WatchDeploymentsResponse>| {
            let ended = tokio::time::timeout(LONG, watching.message()).await.unwrap();
            from_status(&ended.unwrap_err(), Reason::Internal).reason
        };
        let (here, there) = (bench.sign_in().await, bench.sign_in().await);
        let (mut signed_out, mut over) = (watch(&here).await, watch(&there).await);
        bench.call("SessionService/DeleteSession", &here).await.unwrap();
        assert_eq!(end(&mut signed_out).await, Reason::KeyInvalid);
        bench.hand.advance(TimeDelta::hours(12));
        assert_eq!(end(&mut over).await, Reason::KeyInvalid);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_so_many_sessions_and_the_oldest_makes_room() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let (_, other) = Bench::new_key(&bench.service).await;
        let others = bench.service.session(&other).await;
        // One that is over takes nobody's place.
        bench.sign_in().await;
        bench.hand.advance(TimeDelta::hours(13));
        let fresh = bench.service.session(&other).await;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS_LIMIT {
            bench.hand.advance(TimeDelta::milliseconds(1));
            sessions.push(bench.sign_in().await);
        }
        assert_eq!(bench.works(&sessions[0]).await, Ok(()));
        bench.hand.advance(TimeDelta::milliseconds(1));
        sessions.push(bench.sign_in().await);
        assert_eq!(bench.works(&sessions[0]).await, Err(Reason::KeyInvalid), "the oldest");
        for at in [1, 2, sessions.len() - 1] {
            assert_eq!(bench.works(&sessions[at]).await, Ok(()), "{at}");
        }
        assert_eq!(
            (bench.works(&others).await, bench.works(&fresh).await),
            (Err(Reason::KeyInvalid), Ok(()))
        );
        bench.hand.advance(TimeDelta::days(1));
        let pruned = bench.pruner().pass().await.unwrap().sessions;
        assert_eq!(pruned, SESSIONS_LIMIT + 1, "the key's, and one of the other's");
    })
    .await;
}
