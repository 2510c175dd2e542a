//! The artifacts of an executor, listed and removed over gRPC.

use grapnel_domain::{Reason, id::DeploymentId};
use grapnel_proto::{error::from_status, executor::v1::*};
use grapnel_runtime::Clock;

use crate::{
    served::{Served, told},
    support::obedient,
};

async fn listed(served: &Served, page_size: u32) -> Vec<String> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListArtifactsRequest { page_size, page_token };
        let page = served.client().list_artifacts(request).await.unwrap().into_inner();
        assert!(page_size == 0 || page.artifacts.len() <= page_size as usize);
        assert!(page.artifacts.iter().all(|artifact| artifact.published_at.is_some()));
        all.extend(page.artifacts.into_iter().map(|artifact| artifact.deployment_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

async fn remove(served: &Served, deployment_ids: Vec<String>) -> Result<u32, Reason> {
    let removed = served.client().remove_artifacts(RemoveArtifactsRequest { deployment_ids }).await;
    removed.map(|it| it.into_inner().removed).map_err(|error| from_status(&error, Reason::Internal).reason)
}

#[tokio::test]
async fn artifacts_are_listed_by_pages_and_removed_once() {
    let served = Served::start(obedient()).await;
    assert!(listed(&served, 0).await.is_empty(), "nothing was published yet");
    let mut published = Vec::new();
    for _ in 0..3 {
        let request = served.request().await;
        told(served.trigger(&request).await.unwrap()).await;
        published.push(request.deployment_id);
    }
    published.sort();
    for size in [0, 1, 2, 3, 10_000] {
        assert_eq!(listed(&served, size).await, published, "by pages of {size}");
    }
    let unknown: DeploymentId = Clock::system().new_id();
    let asked = vec![published[0].clone(), published[2].clone(), unknown.to_string()];
    assert_eq!(remove(&served, asked.clone()).await, Ok(2));
    assert_eq!(remove(&served, asked).await, Ok(0), "asked again there is nothing to do");
    assert_eq!(listed(&served, 0).await, published[1..2]);
    let store = served.directory.path().join("data/artifacts");
    assert!(!store.join(&published[0]).exists() && store.join(&published[1]).exists());
}

#[tokio::test]
async fn what_is_no_id_is_refused_and_reaches_no_file() {
    let served = Served::start(obedient()).await;
    let outside = served.directory.path().join("data/artifacts/../kept");
    std::fs::create_dir_all(&outside).unwrap();
    for id in ["../kept", "", "dpl_x", "/etc", "."] {
        assert_eq!(remove(&served, vec![id.to_owned()]).await, Err(Reason::InvalidRequest), "{id:?}");
    }
    let id: DeploymentId = Clock::system().new_id();
    assert_eq!(remove(&served, vec![id.to_string(); 1_001]).await, Err(Reason::InvalidRequest));
    let request = ListArtifactsRequest { page_size: 1, page_token: "../kept".into() };
    assert!(served.client().list_artifacts(request).await.is_err());
    assert!(outside.exists());
}
