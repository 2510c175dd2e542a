//! Builds that go on while the executor's process ends and another one takes its place.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use grapnel_executor::engine::{Engine as _, EngineError, fake::Call};
use grapnel_proto::{
    executor::v1::{
        BuildVariable, CancelDeployRequest, TriggerDeployRequest, TriggerDeployResponse, finished::Outcome,
        trigger_deploy_response::Event,
    },
    hooks::v1::LogStream,
};
use tonic::Streaming;

use crate::{
    served::{ADOPT_WITHIN, Served, failure, numbered, outcome, told},
    site::entries,
    support::lasting,
};

/// Prints, waits in the middle of a line until it is told to go on, and so on.
const INSTALL: &str = "echo one; echo first >&2; printf hunter2-; \
    for n in 1 2 3; do while [ ! -e go-$n ]; do sleep 0.01; done; printf \"mid-$n \"; echo \"err $n\" >&2; done; \
    echo hunter2; echo last >&2";

const STDOUT: [&str; 3] = ["one", "hunter2-mid-1 mid-2 mid-3 hunter2", "built"];
const STDERR: [&str; 5] = ["first", "err 1", "err 2", "err 3", "last"];

/// A build that is under way.
struct Under {
    served: Served,
    request: TriggerDeployRequest,
    told: Vec<TriggerDeployResponse>,
    stream: Streaming<TriggerDeployResponse>,
}

impl Under {
    async fn way(install: &str) -> Self {
        Self::way_with(install, None).await
    }

    async fn way_with(install: &str, secret: Option<&str>) -> Self {
        let served = Served::start(lasting()).await;
        let mut request = served.request().await;
        let spec = request.spec.as_mut().unwrap();
        spec.variables.extend(secret.map(|value| BuildVariable {
            name: "TOKEN".into(),
            value: value.into(),
            secret: true,
        }));
        let settings = spec.settings.as_mut().unwrap();
        settings.install_command = Some(install.into());
        settings.build_command = Some("echo built; mkdir dist && cp index.html dist/".into());
        let stream = served.trigger(&request).await.unwrap();
        Self { served, request, told: Vec::new(), stream }
    }

    /// Reads on until a line was told.
    async fn until(&mut self, line: &str) {
        while !lines(&self.told, None).iter().any(|told| told.contains(line)) {
            let next = tokio::time::timeout(Duration::from_secs(20), self.stream.message()).await;
            let message = next.unwrap_or_else(|_| panic!("no {line}: {:?}", self.told)).unwrap().unwrap();
            if !matches!(message.event, Some(Event::Heartbeat(_))) {
                self.told.push(message);
            }
        }
    }

    fn tell(&self, name: &str) {
        fs::write(self.workspace().join("tree").join(name), "").unwrap();
    }

    fn workspace(&self) -> PathBuf {
        let attempt = format!("{}-{}", self.request.deployment_id, self.request.attempt);
        self.served.directory.path().join("data/workspaces").join(attempt)
    }

    /// Asks the next process to go on.
    async fn attach(&mut self) {
        let after_sequence = self.told.len() as u64;
        let request = TriggerDeployRequest { after_sequence, ..self.request.clone() };
        self.stream = self.served.trigger(&request).await.unwrap();
    }

    /// Reads to the end, and makes sure that nothing is left.
    async fn end(mut self) -> (Served, Vec<TriggerDeployResponse>) {
        self.told.extend(told(self.stream).await);
        numbered(&self.told);
        assert!(self.served.engine.list(&BTreeMap::new()).await.unwrap().sandboxes.is_empty());
        let workspaces = self.served.directory.path().join("data/workspaces");
        let gone = async {
            while !entries(&workspaces).is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
        assert_eq!(self.served.engine.started(), 1, "no attempt was spent");
        (self.served, self.told)
    }
}

/// Returns what was told of a stream, or of all.
fn lines(told: &[TriggerDeployResponse], stream: Option<LogStream>) -> Vec<String> {
    let logs = told.iter().filter_map(|message| match &message.event {
        Some(Event::Log(log)) => Some(log),
        _ => None,
    });
    let lines = logs.flat_map(|log| &log.lines);
    lines.filter(|line| stream.is_none_or(|it| line.stream() == it)).map(|line| line.text.clone()).collect()
}

#[tokio::test]
async fn f30_a_build_goes_on_in_mid_step_through_any_number_of_processes_with_no_gap_and_no_repeat() {
    let mut under = Under::way(INSTALL).await;
    under.until("first").await;
    under.served.start_again(|_| {}).await;
    under.attach().await;
    under.tell("go-1");
    under.until("err 1").await;
    under.served.start_again(|_| {}).await;
    // It goes on while nobody is there, and also while nobody asks for it.
    under.tell("go-2");
    under.attach().await;
    under.until("err 2").await;
    under.tell("go-3");
    under.served.start_again(|_| {}).await;
    under.attach().await;
    let (_, told) = under.end().await;
    assert!(matches!(outcome(&told), Some(Outcome::Ready(_))), "{told:?}");
    assert_eq!(lines(&told, Some(LogStream::Stdout)), STDOUT);
    assert_eq!(lines(&told, Some(LogStream::Stderr)), STDERR);
    let own = lines(&told, Some(LogStream::System));
    let times = |text: &str| own.iter().filter(|line| line.contains(text)).count();
    assert_eq!((times("$ "), times("published"), times("the build goes on")), (2, 1, 3), "{own:?}");
    let steps = |wanted: fn(&Event) -> bool| {
        told.iter().filter(|message| message.event.as_ref().is_some_and(wanted)).count()
    };
    assert_eq!(steps(|event| matches!(event, Event::StepStarted(_))), 5);
    assert_eq!(steps(|event| matches!(event, Event::StepFinished(_))), 5);
}

#[tokio::test]
async fn a_build_goes_on_in_a_process_whose_engine_does_not_answer_when_it_starts() {
    let mut under = Under::way(INSTALL).await;
    under.until("first").await;
    under.served.engine.fail_next(Call::List, EngineError::Unavailable("it restarts".into()));
    under.served.start_again(|_| {}).await;
    under.attach().await;
    for name in ["go-1", "go-2", "go-3"] {
        under.tell(name);
    }
    let (_, told) = under.end().await;
    assert!(matches!(outcome(&told), Some(Outcome::Ready(_))), "{told:?}");
    assert_eq!(lines(&told, Some(LogStream::Stdout)), STDOUT);
}

#[tokio::test]
async fn a_secret_that_the_end_of_a_process_has_cut_stays_hidden() {
    let install = "echo begun; printf 'token %s' ${TOKEN%-*}; while [ ! -e go ]; do sleep 0.01; done; echo -${TOKEN#*-}!";
    let mut under = Under::way_with(install, Some("hunter2-hunter2")).await;
    under.until("begun").await;
    under.served.start_again(|_| {}).await;
    under.tell("go");
    under.attach().await;
    let (served, told) = under.end().await;
    assert!(matches!(outcome(&told), Some(Outcome::Ready(_))), "{told:?}");
    assert_eq!(lines(&told, Some(LogStream::Stdout)), ["begun", "token ***!", "built"]);
    for journal in entries(&served.directory.path().join("data/journals")) {
        assert!(!String::from_utf8_lossy(&fs::read(journal).unwrap()).contains("hunter2"));
    }
}

#[tokio::test]
async fn a_build_that_nobody_asks_for_again_is_ended_and_lost() {
    let mut under = Under::way(INSTALL).await;
    under.until("first").await;
    under.served.start_again(|_| {}).await;
    let begun = std::time::Instant::now();
    let info = under.served.client().get_executor(grapnel_proto::executor::v1::GetExecutorRequest {}).await;
    assert_eq!(info.unwrap().into_inner().running, 1, "it has its slot");
    while !under.served.engine.list(&BTreeMap::new()).await.unwrap().sandboxes.is_empty() {
        assert!(begun.elapsed() < ADOPT_WITHIN * 2);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() >= ADOPT_WITHIN - Duration::from_secs(1));
    under.attach().await;
    let (served, told) = under.end().await;
    assert_eq!(failure(&told), "EXECUTOR_LOST");
    let again = served.request().await;
    let refused = served.trigger(&again).await;
    assert!(refused.is_ok(), "its slot is free");
}

#[tokio::test]
async fn a_build_that_was_taken_up_by_nobody_can_be_canceled() {
    let mut under = Under::way(INSTALL).await;
    under.until("first").await;
    under.served.start_again(|_| {}).await;
    let cancel = CancelDeployRequest { deployment_id: under.request.deployment_id.clone(), attempt: 1 };
    under.served.client().cancel_deploy(cancel).await.unwrap();
    assert!(under.served.engine.list(&BTreeMap::new()).await.unwrap().sandboxes.is_empty());
    under.attach().await;
    let (_, told) = under.end().await;
    assert!(matches!(outcome(&told), Some(Outcome::Canceled(_))), "{told:?}");
}

#[tokio::test]
async fn a_build_whose_variables_have_changed_meanwhile_is_lost() {
    let mut under = Under::way(INSTALL).await;
    under.until("first").await;
    under.served.start_again(|_| {}).await;
    let variable = BuildVariable { name: "TOKEN".into(), value: "another".into(), secret: true };
    under.request.spec.as_mut().unwrap().variables.push(variable);
    under.attach().await;
    let (_, told) = under.end().await;
    assert_eq!(failure(&told), "EXECUTOR_LOST");
}

#[tokio::test]
async fn f18_an_executor_that_is_told_to_stop_hands_its_builds_over() {
    let mut under = Under::way(INSTALL).await;
    under.until("first").await;
    under.served.process.stopping.ask();
    let another = under.served.another(&under.request);
    let begun = std::time::Instant::now();
    // It has one slot, and a moment passes before it knows.
    while under.served.trigger(&another).await.unwrap_err().code() != tonic::Code::Unavailable {
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    let stopped = tokio::time::timeout(Duration::from_secs(20), &mut under.served.process.serving).await;
    stopped.unwrap().unwrap();
    assert_eq!(under.served.engine.list(&BTreeMap::new()).await.unwrap().sandboxes.len(), 1);
    while let Ok(Some(message)) = under.stream.message().await {
        if !matches!(message.event, Some(Event::Heartbeat(_))) {
            under.told.push(message);
        }
    }
    assert_eq!(outcome(&under.told), None, "its end is not told");
    for name in ["go-1", "go-2", "go-3"] {
        under.tell(name);
    }
    under.served.start_again(|_| {}).await;
    under.attach().await;
    let (_, told) = under.end().await;
    assert!(matches!(outcome(&told), Some(Outcome::Ready(_))), "{told:?}");
    assert_eq!(lines(&told, Some(LogStream::Stdout)), STDOUT);
    assert_eq!(lines(&told, Some(LogStream::Stderr)), STDERR);
}

#[tokio::test]
async fn f18_a_build_that_ends_soon_ends_before_its_executor_does() {
    let mut under = Under::way("echo begun; sleep 0.1").await;
    under.until("begun").await;
    under.served.process.stopping.ask();
    let told = told(under.stream).await;
    assert!(matches!(outcome(&told), Some(Outcome::Ready(_))), "{told:?}");
}
