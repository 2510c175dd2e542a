//! What Kubernetes says of a pod, and what that means for the sandbox in it. Pure: goes by reasons, which are a closed
//! vocabulary, and hands texts on as they are.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Event, Pod, PodStatus};

use crate::engine::Exit;

/// How far a sandbox has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is on its way, with nothing in it.
    Coming,
    /// Something is in the way of its beginning, which may pass.
    Waits(Trouble),
    /// Its first process has begun.
    Runs,
    /// It has ended.
    Ended(Exit),
    /// It has ended without having begun.
    NeverBegan(String),
}

/// What is in the way of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No place for it: no node that fits has room, or is allowed.
    Place(String),
    /// Its image does not come.
    Image(String),
    /// The image's name is none, or it is not there and nobody fetches it: that does not pass.
    NoImage(String),
    /// Anything else.
    Other(String),
}

impl Trouble {
    /// Returns what is told of it.
    pub fn text(&self) -> &str {
        let (Self::Place(text) | Self::Image(text) | Self::NoImage(text) | Self::Other(text)) = self;
        text
    }
}

/// The code of a container that was killed: 128 + SIGKILL.
pub const KILLED: i64 = 137;

/// Returns how far the sandbox of a pod has come.
pub fn standing(pod: &Pod) -> Standing {
    let Some(status) = &pod.status else { return Standing::Coming };
    if let Some(ended) = ended(pod) {
        return ended;
    }
    let state = status.container_statuses.iter().flatten().next().and_then(|it| it.state.as_ref());
    if state.is_some_and(|state| state.running.is_some()) {
        return Standing::Runs;
    }
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let text = told(reason, waiting.message.as_deref());
        match reason {
            "" | "ContainerCreating" | "PodInitializing" => {}
            "ErrImageNeverPull" | "InvalidImageName" => return Standing::Waits(Trouble::NoImage(text)),
            "ErrImagePull"
            | "ImagePullBackOff"
            | "RegistryUnavailable"
            | "ImageInspectError"
            | "SignatureValidationFailed" => return Standing::Waits(Trouble::Image(text)),
            _ => return Standing::Waits(Trouble::Other(text)),
        }
    }
    match condition(status, "PodScheduled") {
        Some((false, text)) => Standing::Waits(Trouble::Place(text)),
        _ => Standing::Coming,
    }
}

/// Tells whether the first process of a pod may have begun by now: what a kubelet says of it is a second old. A pod that has no
/// node, or no image, has no process.
pub fn may_have_begun(pod: &Pod) -> bool {
    let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let has_none = matches!(standing(pod), Standing::NeverBegan(_) | Standing::Waits(_));
    has_node && !has_none
}

/// How a pod ended; none where it has not.
fn ended(pod: &Pod) -> Option<Standing> {
    let status = pod.status.as_ref()?;
    let container = status.container_statuses.iter().flatten().next();
    let terminated = container.and_then(|it| it.state.as_ref()).and_then(|state| state.terminated.as_ref());
    let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if terminated.is_none() && !is_over {
        return None;
    }
    // Evicted, DeadlineExceeded, Preempting, Shutdown, NodeLost, and what a kubelet does not admit.
    let why = status.reason.as_deref().map(|reason| told(reason, status.message.as_deref()));
    let why = match condition(status, "DisruptionTarget") {
        Some((true, text)) => Some(why.map_or_else(|| text.clone(), |why| format!("{why}; {text}"))),
        _ => why,
    };
    Some(match terminated {
        Some(terminated) if never_began(terminated) => Standing::NeverBegan(told(
            terminated.reason.as_deref().unwrap_or_default(),
            terminated.message.as_deref(),
        )),
        Some(terminated) => Standing::Ended(Exit {
            code: terminated.exit_code.into(),
            out_of_memory: terminated.reason.as_deref() == Some("OOMKilled"),
            taken_away: why,
        }),
        None => match why {
            Some(why) => Standing::NeverBegan(why),
            None => Standing::Ended(Exit::with(KILLED)),
        },
    })
}

/// The container runtime could not start the first process: Docker's word, and containerd's.
fn never_began(terminated: &ContainerStateTerminated) -> bool {
    matches!(terminated.reason.as_deref(), Some("ContainerCannotRun" | "StartError"))
}

/// Returns whether a condition holds, and what is told of it.
fn condition(status: &PodStatus, kind: &str) -> Option<(bool, String)> {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == kind)?;
    let text = told(condition.reason.as_deref().unwrap_or_default(), condition.message.as_deref());
    Some((condition.status == "True", text))
}

/// Returns the newest warning among events.
pub fn warning(events: &[Event]) -> Option<String> {
    let warnings = events.iter().filter(|event| event.type_.as_deref() == Some("Warning"));
    let newest = warnings.max_by_key(|event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        (last.or(event.event_time.as_ref().map(|time| time.0)), event.count)
    })?;
    Some(told(newest.reason.as_deref().unwrap_or_default(), newest.message.as_deref()))
}

/// A reason and its text in one line.
fn told(reason: &str, message: Option<&str>) -> String {
    let message = message.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    match (reason, message.as_str()) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// Returns the content-addressed id of the image that a pod runs, as its kubelet tells it.
pub fn image_id(pod: &Pod) -> Option<(&str, &str)> {
    let image = pod.spec.as_ref()?.containers.first()?.image.as_deref()?;
    let status = pod.status.as_ref()?.container_statuses.iter().flatten().next()?;
    (!status.image_id.is_empty()).then_some((image, status.image_id.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: &Value) -> Standing {
        standing(&serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())
    }

    fn with(phase: &str, state: &Value) -> Value {
        let container = json!({"name": "build", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        json!({"phase": phase, "containerStatuses": [container]})
    }

    #[test]
    fn a_pod_stands_where_its_kubelet_and_its_scheduler_say() {
        let waiting = |reason: &str, message: &str| {
            with("Pending", &json!({"waiting": {"reason": reason, "message": message}}))
        };
        let unschedulable = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/2 nodes are available:\n  2 Insufficient cpu."});
        for (status, stands) in [
            (json!({}), Standing::Coming),
            (json!({"phase": "Pending"}), Standing::Coming),
            (
                json!({"phase": "Pending", "conditions": [unschedulable]}),
                Standing::Waits(Trouble::Place(
                    "Unschedulable: 0/2 nodes are available: 2 Insufficient cpu.".to_owned(),
                )),
            ),
            (waiting("ContainerCreating", ""), Standing::Coming),
            (
                waiting("ErrImagePull", "not found"),
                Standing::Waits(Trouble::Image("ErrImagePull: not found".to_owned())),
            ),
            (
                waiting("ImagePullBackOff", "Back-off"),
                Standing::Waits(Trouble::Image("ImagePullBackOff: Back-off".to_owned())),
            ),
            (
                waiting("ErrImageNeverPull", ""),
                Standing::Waits(Trouble::NoImage("ErrImageNeverPull".to_owned())),
            ),
            (
                waiting("CreateContainerError", "no"),
                Standing::Waits(Trouble::Other("CreateContainerError: no".to_owned())),
            ),
            (with("Running", &json!({"running": {}})), Standing::Runs),
        ] {
            assert_eq!(of(&status), stands, "{status}");
        }
    }

    #[test]
    fn who_ended_a_sandbox_is_told_from_how() {
        let over = |code: i32, reason: &str| {
            with("Failed", &json!({"terminated": {"exitCode": code, "reason": reason}}))
        };
        let told = |mut status: Value, more: Value| {
            status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            status
        };
        let exit = |code, out_of_memory, taken_away: Option<&str>| {
            Standing::Ended(Exit { code, out_of_memory, taken_away: taken_away.map(str::to_owned) })
        };
        let never = |why: &str| Standing::NeverBegan(why.to_owned());
        let preempted = json!({"conditions": [{"type": "DisruptionTarget", "status": "True",
            "reason": "PreemptionByScheduler", "message": "preempting to accommodate a higher priority pod"}]});
        for (status, stands) in [
            (over(7, "Error"), exit(7, false, None)),
            (over(0, "Completed"), exit(0, false, None)),
            (over(137, "OOMKilled"), exit(137, true, None)),
            (over(127, "ContainerCannotRun"), never("ContainerCannotRun")),
            (
                told(
                    over(137, "Error"),
                    json!({"reason": "Evicted", "message": "The node was low on resource: memory."}),
                ),
                exit(137, false, Some("Evicted: The node was low on resource: memory.")),
            ),
            (
                told(
                    over(143, "Error"),
                    json!({"reason": "DeadlineExceeded", "message": "Pod was active too long"}),
                ),
                exit(143, false, Some("DeadlineExceeded: Pod was active too long")),
            ),
            (
                told(over(137, "Error"), preempted),
                exit(
                    137,
                    false,
                    Some("PreemptionByScheduler: preempting to accommodate a higher priority pod"),
                ),
            ),
            // A kubelet that does not admit a pod runs nothing of it.
            (
                json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource: cpu"}),
                never("OutOfcpu: Node didn't have enough resource: cpu"),
            ),
            (json!({"phase": "Failed"}), exit(137, false, None)),
            // The kubelet has told of the container, and not yet of the pod.
            (
                with("Running", &json!({"terminated": {"exitCode": 3, "reason": "Error"}})),
                exit(3, false, None),
            ),
        ] {
            assert_eq!(of(&status), stands, "{status}");
        }
    }

    #[test]
    fn the_newest_warning_is_told() {
        let event = |kind: &str, reason: &str, at: &str| {
            json!({"metadata": {}, "involvedObject": {}, "type": kind,
            "reason": reason, "message": "it  says\nso", "lastTimestamp": at})
        };
        let events = json!([
            event("Warning", "FailedMount", "2026-11-29T10:00:02Z"),
            event("Warning", "FailedScheduling", "2026-11-29T10:00:01Z"),
            event("Normal", "Pulling", "2026-11-29T10:00:03Z"),
        ]);
        let events: Vec<Event> = serde_json::from_value(events).unwrap();
        assert_eq!(warning(&events), Some("FailedMount: it says so".to_owned()));
        assert_eq!(warning(&events[2..]), None);
    }
}
