//! What an executor knows of its attempts when its process was ended at any moment.

use std::{collections::BTreeMap, fs, path::Path};

use grapnel_domain::Reason;
use grapnel_e2e::SmallDisk;
use grapnel_executor::engine::Engine as _;
use grapnel_proto::{
    error::from_status,
    executor::v1::{TriggerDeployRequest, finished::Outcome, trigger_deploy_response::Event},
};

use crate::{
    served::{Served, failure, numbered, outcome, told},
    site::entries,
    support::{lasting, obedient},
};

/// Returns the journal of an attempt.
fn journal(data: &Path, request: &TriggerDeployRequest) -> std::path::PathBuf {
    data.join("journals").join(format!("{}-{}", request.deployment_id, request.attempt))
}

#[tokio::test]
async fn the_next_process_tells_an_attempt_that_has_ended_from_any_event_on() {
    let mut served = Served::start(obedient()).await;
    let request = served.request().await;
    let first = told(served.trigger(&request).await.unwrap()).await;
    numbered(&first);
    assert!(matches!(outcome(&first), Some(Outcome::Ready(_))), "{first:?}");
    served.start_again(|_| {}).await;
    for after in 0..first.len() {
        assert_eq!(served.told_after(&request, after as u64).await, first[after..], "after {after}");
    }
    let beyond = TriggerDeployRequest { after_sequence: first.len() as u64, ..request };
    let refused = from_status(&served.trigger(&beyond).await.unwrap_err(), Reason::Internal);
    assert_eq!(refused.reason, Reason::AttemptNotFound, "who has seen more has seen what is lost");
    assert_eq!(served.engine.started(), 1, "and nothing runs twice");
}

#[tokio::test]
async fn a_journal_torn_at_any_byte_tells_what_it_has_and_how_its_attempt_ended() {
    let mut served = Served::start(obedient()).await;
    let request = served.request().await;
    let whole = told(served.trigger(&request).await.unwrap()).await;
    let path = journal(&served.directory.path().join("data"), &request);
    let bytes = fs::read(&path).unwrap();
    let output = |message: &grapnel_proto::executor::v1::TriggerDeployResponse| match &message.event {
        Some(Event::StepStarted(started)) => started.step() == grapnel_proto::hooks::v1::Step::Output,
        _ => false,
    };
    let cuts = (0..8).map(|at| bytes.len() * at / 8).chain([1, 7, 8, 9, bytes.len() - 1]);
    for cut in cuts {
        let mut torn = bytes[..cut].to_vec();
        // A block that was never written reads as zeros.
        torn.extend([0; 40]);
        served.start_again(|_| fs::write(&path, &torn).unwrap()).await;
        let told = served.told_after(&request, 0).await;
        numbered(&told);
        let same = told.iter().zip(&whole).take_while(|(one, other)| one == other).count();
        assert!(told.len() - same <= 2, "cut at {cut}: only the ends of step and attempt are new: {told:?}");
        if told.iter().any(output) {
            assert!(matches!(outcome(&told), Some(Outcome::Ready(_))), "cut at {cut}: {told:?}");
        } else {
            assert_eq!(failure(&told), "EXECUTOR_LOST", "cut at {cut}");
        }
        let kept = served.told_after(&request, 0).await;
        assert_eq!(kept, told, "and goes on saying so");
    }
    served
        .start_again(|_| fs::write(&path, bytes.iter().map(|byte| !byte).collect::<Vec<_>>()).unwrap())
        .await;
    assert_eq!(failure(&served.told_after(&request, 0).await), "EXECUTOR_LOST", "of another form");
    assert_eq!(served.engine.started(), 1, "none of it runs twice");
}

#[tokio::test]
async fn an_attempt_that_came_to_its_output_without_an_artifact_is_lost() {
    let mut served = Served::start(obedient()).await;
    let request = served.request().await;
    let whole = told(served.trigger(&request).await.unwrap()).await;
    let (path, artifact) = (served.directory.path().join("data"), &request.deployment_id);
    served
        .start_again(|data| {
            let bytes = fs::read(journal(data, &request)).unwrap();
            fs::write(journal(data, &request), &bytes[..bytes.len() - 1]).unwrap();
            fs::remove_dir_all(path.join("artifacts").join(artifact)).unwrap();
        })
        .await;
    let told = served.told_after(&request, 0).await;
    assert_eq!((failure(&told).as_str(), told.len()), ("EXECUTOR_LOST", whole.len()));
}

#[tokio::test]
async fn f13_a_journal_without_room_ends_the_attempt_as_our_fault_and_with_room_again_all_goes_on() {
    let mut served = Served::start(lasting()).await;
    let journals = served.directory.path().join("data/journals");
    let _small = SmallDisk::at(&journals, 64 << 10);
    let fill = journals.join("dpl_fill");
    let mut request = served.request().await;
    let spec = request.spec.as_mut().unwrap();
    spec.settings.as_mut().unwrap().install_command = Some("seq 20000".into());
    let full = told(served.trigger(&request).await.unwrap()).await;
    numbered(&full);
    assert_eq!(failure(&full), "EXECUTOR_DISK_FULL");
    assert!(full.len() > 3, "what had room was told: {full:?}");
    assert_eq!(served.told_after(&request, 0).await, full);

    fs::write(&fill, vec![0; 1 << 20]).unwrap_err();
    let request = served.request().await;
    let none = told(served.trigger(&request).await.unwrap()).await;
    assert_eq!(failure(&none), "EXECUTOR_DISK_FULL", "not even begun: {none:?}");
    assert!(served.engine.list(&BTreeMap::new()).await.unwrap().sandboxes.is_empty());

    for path in entries(&journals) {
        fs::remove_file(path).unwrap();
    }
    let request = served.request().await;
    let room = told(served.trigger(&request).await.unwrap()).await;
    assert!(matches!(outcome(&room), Some(Outcome::Ready(_))), "{room:?}");
    served.start_again(|_| {}).await;
    assert_eq!(served.told_after(&request, 0).await, room);
}

#[tokio::test]
async fn no_secret_of_a_build_stands_in_its_journal() {
    let served = Served::start(obedient()).await;
    let mut request = served.request().await;
    let spec = request.spec.as_mut().unwrap();
    spec.variables.push(grapnel_proto::executor::v1::BuildVariable {
        name: "TOKEN".into(),
        value: "hunter2-hunter2".into(),
        secret: true,
    });
    spec.settings.as_mut().unwrap().install_command = Some("echo $TOKEN".into());
    let told = told(served.trigger(&request).await.unwrap()).await;
    assert!(matches!(outcome(&told), Some(Outcome::Ready(_))), "{told:?}");
    let journal = fs::read(journal(&served.directory.path().join("data"), &request)).unwrap();
    let text = String::from_utf8_lossy(&journal);
    assert!(text.contains("\"***\"") && !text.contains("hunter2"), "{text}");
}
