//! What a fake node says of a pod next: a pure step from the pod as it is known.

use std::time::Duration;

use client::{
    Kind, Shared,
    objects::{Condition, Labels, Meta, Object, seconds},
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use stdx::clock::until;

use crate::PREFIX;

/// The index by node.
pub const NODE: &str = "node";
/// The pause before a container that failed starts again, doubled each time, as the kubelet's.
const FIRST_BACK_OFF: i64 = 10;
const LONGEST_BACK_OFF: i64 = 300;
/// What a process ends with that is asked to go (128 + SIGTERM).
const TERMINATED: i64 = 143;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    pub node_name: Box<str>,
    pub restart_policy: RestartPolicy,
    pub host_network: bool,
    pub containers: Shared<Container>,
    pub init_containers: Shared<Container>,
    pub readiness_gates: Shared<Gate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
pub enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    pub name: Box<str>,
    pub image: Box<str>,
    /// `Always` for a sidecar, which runs beside the containers.
    pub restart_policy: Option<RestartPolicy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gate {
    pub condition_type: Box<str>,
}

client::common!(Container, Gate);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    pub phase: Box<str>,
    #[serde(rename = "podIP")]
    pub pod_ip: Box<str>,
    pub start_time: Option<Timestamp>,
    pub conditions: Shared<Condition>,
    pub container_statuses: Box<[ContainerStatus]>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    pub restart_count: i64,
    pub state: ContainerState,
    /// As it is written: a report says all of a container again.
    pub last_state: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub running: Option<Running>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Running {
    pub started_at: Option<Timestamp>,
}

impl Object for Pod {
    const KIND: Kind = Kind::namespaced("", "v1", "Pod", "pods");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        add(NODE, &self.spec.node_name);
    }
}

/// What annotations say about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// `start-seconds`: how long it takes to start.
    start: SignedDuration,
    /// `run-seconds`: how long its containers run. Without it those of a pod that is never to end do so for ever, others for
    /// a second.
    run: Option<SignedDuration>,
    /// `exit-code`: how its containers end when they do.
    exit_code: i64,
    /// `ready`: whether it ever gets ready.
    ready: bool,
    /// `stop-seconds`: how long it takes to end when it is deleted, within its time of grace.
    stop: SignedDuration,
}

impl Behaviour {
    fn of(annotations: &Labels, policy: RestartPolicy) -> Self {
        let text = |name: &str| annotations.get(&format!("{PREFIX}{name}"));
        let seconds = |name: &str| {
            let seconds: f64 = text(name)?.parse().ok().filter(|seconds: &f64| (0.0..1e9).contains(seconds))?;
            SignedDuration::try_from_secs_f64(seconds).ok()
        };
        let exit_code = text("exit-code").and_then(|text| text.parse().ok());
        let ends = policy != RestartPolicy::Always || exit_code.is_some();
        Self {
            start: seconds("start-seconds").unwrap_or_default(),
            run: seconds("run-seconds").or(ends.then_some(SignedDuration::from_secs(1))),
            exit_code: exit_code.unwrap_or(0),
            ready: text("ready") != Some("false"),
            stop: seconds("stop-seconds").unwrap_or_default(),
        }
    }
}

#[derive(Debug, PartialEq)]
pub enum Step {
    Nothing,
    Wait(Duration),
    /// A strategic patch of the status.
    Report(Value),
    Delete,
}

/// What is next about a pod, on a node of this address. `address` is asked once, when the pod gets its own.
pub fn step(pod: &Pod, host: &str, address: impl FnOnce() -> String, now: Timestamp) -> Step {
    let behaviour = Behaviour::of(&pod.metadata.annotations, pod.spec.restart_policy);
    let is_over = matches!(&*pod.status.phase, "Succeeded" | "Failed");
    let place = (host, address);
    if let Some(due) = pod.metadata.deletion_timestamp {
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0));
        let end = due.checked_sub(grace - behaviour.stop.min(grace)).unwrap_or(due);
        return match () {
            () if is_over => Step::Delete,
            () if end > now => Step::Wait(until(end, now)),
            () => report(pod, State::Over { exit_code: TERMINATED }, place, now),
        };
    }
    if is_over {
        return Step::Nothing;
    }
    if pod.status.start_time.is_none() {
        // One that was made for its node was never scheduled.
        let bound = pod.condition("PodScheduled").and_then(|bound| bound.last_transition_time);
        let bound = bound.or(pod.metadata.creation_timestamp).unwrap_or(now);
        return at(bound, behaviour.start, now, || report(pod, State::Running(behaviour.ready), place, now));
    }
    let first = pod.status.container_statuses.first();
    let started = first.and_then(|first| first.state.running.as_ref()).map(|running| running.started_at.unwrap_or(now));
    let Some(started) = started else {
        // It failed, and waits for its next start.
        let ended = first.and_then(|first| first.last_state["terminated"]["finishedAt"].as_str()?.parse().ok());
        let ended = ended.unwrap_or(now);
        let pause = back_off(first.map_or(0, |first| first.restart_count));
        return at(ended, pause, now, || report(pod, State::Restarted(behaviour.ready), place, now));
    };
    let ends = || match pod.spec.restart_policy {
        RestartPolicy::Never => State::Over { exit_code: behaviour.exit_code },
        RestartPolicy::OnFailure if behaviour.exit_code == 0 => State::Over { exit_code: 0 },
        _ => State::Crashed { exit_code: behaviour.exit_code },
    };
    match behaviour.run.and_then(|run| started.checked_add(run).ok()) {
        Some(end) if end <= now => report(pod, ends(), place, now),
        end => {
            let ready = behaviour.ready && pod.gates_are_open();
            let said = |kind: &str| pod.condition(kind).is_some_and(|condition| *condition.status == *"True");
            if said("Ready") != ready || said("ContainersReady") != behaviour.ready {
                return report(pod, State::Running(behaviour.ready), place, now);
            }
            end.map_or(Step::Nothing, |end| Step::Wait(until(end, now)))
        }
    }
}

fn at(since: Timestamp, wait: SignedDuration, now: Timestamp, then: impl FnOnce() -> Step) -> Step {
    match since.checked_add(wait) {
        Ok(due) if due > now => Step::Wait(until(due, now)),
        _ => then(),
    }
}

fn back_off(restarts: i64) -> SignedDuration {
    let doubled = FIRST_BACK_OFF.saturating_mul(1 << restarts.clamp(0, 30));
    SignedDuration::from_secs(doubled.min(LONGEST_BACK_OFF))
}

impl Pod {
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| *condition.kind == *kind)
    }

    fn gates_are_open(&self) -> bool {
        let is_open = |gate: &Gate| self.condition(&gate.condition_type).is_some_and(|open| *open.status == *"True");
        self.spec.readiness_gates.iter().all(is_open)
    }
}

/// What is to be said of a pod's containers; true where they are ready.
#[derive(Clone, Copy)]
enum State {
    Running(bool),
    Restarted(bool),
    Crashed { exit_code: i64 },
    Over { exit_code: i64 },
}

fn report(pod: &Pod, state: State, (host, address): (&str, impl FnOnce() -> String), now: Timestamp) -> Step {
    let (containers_ready, phase) = match state {
        State::Running(ready) | State::Restarted(ready) => (ready, "Running"),
        State::Crashed { .. } => (false, "Running"),
        State::Over { exit_code: 0 } => (false, "Succeeded"),
        State::Over { .. } => (false, "Failed"),
    };
    let ip = match &*pod.status.pod_ip {
        "" if pod.spec.host_network => host.to_owned(),
        "" => address(),
        known => known.to_owned(),
    };
    let is_over = matches!(state, State::Over { .. });
    let why_not = if is_over && phase == "Succeeded" { "PodCompleted" } else { "ContainersNotReady" };
    let conditions = [
        ("PodReadyToStartContainers", !is_over, ""),
        ("Initialized", true, ""),
        ("ContainersReady", containers_ready, why_not),
        (
            "Ready",
            containers_ready && pod.gates_are_open(),
            if containers_ready { "ReadinessGatesNotReady" } else { why_not },
        ),
    ];
    let conditions: Vec<Value> = conditions.iter().map(|said| condition(pod, *said, now)).collect();
    let containers: Vec<Value> =
        pod.spec.containers.iter().map(|container| container_status(pod, container, state, now)).collect();
    let sidecars: Vec<Value> = pod
        .spec
        .init_containers
        .iter()
        .map(|container| match container.restart_policy {
            Some(RestartPolicy::Always) => container_status(pod, container, state, now),
            _ => container_status(pod, container, State::Over { exit_code: 0 }, now),
        })
        .collect();
    let mut status = json!({
        "phase": phase, "hostIP": host, "hostIPs": [{"ip": host}], "podIP": ip, "podIPs": [{"ip": ip}],
        "startTime": seconds(pod.status.start_time.unwrap_or(now)),
        "observedGeneration": pod.metadata.generation,
        "conditions": conditions, "containerStatuses": containers,
    });
    if !sidecars.is_empty() {
        status["initContainerStatuses"] = sidecars.into();
    }
    Step::Report(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

fn condition(pod: &Pod, (kind, holds, why_not): (&str, bool, &str), now: Timestamp) -> Value {
    let status = if holds { "True" } else { "False" };
    let known = pod.condition(kind).filter(|known| *known.status == *status);
    let since = known.and_then(|known| known.last_transition_time).unwrap_or(now);
    let since = seconds(since);
    let mut said = json!({
        "type": kind, "status": status, "lastTransitionTime": since, "observedGeneration": pod.metadata.generation,
    });
    said["reason"] = if holds || why_not.is_empty() { Value::Null } else { why_not.into() };
    said
}

fn container_status(pod: &Pod, container: &Container, state: State, now: Timestamp) -> Value {
    let now = seconds(now);
    let known = pod.status.container_statuses.first();
    let started = known.and_then(|known| known.state.running.as_ref()?.started_at).map_or(now.clone(), seconds);
    let id = format!("fake://{}-{}", pod.metadata.uid, container.name);
    let ended = |exit_code: i64| {
        json!({
            "exitCode": exit_code, "reason": if exit_code == 0 { "Completed" } else { "Error" },
            "startedAt": started, "finishedAt": now, "containerID": id,
        })
    };
    let restarts = known.map_or(0, |known| known.restart_count);
    let mut last = known.map_or(Value::Null, |known| known.last_state.clone());
    let (ready, restarts, state) = match state {
        State::Running(ready) => (ready, restarts, json!({"running": {"startedAt": started}})),
        State::Restarted(ready) => (ready, restarts + 1, json!({"running": {"startedAt": now}})),
        State::Crashed { exit_code } => {
            let pause = back_off(restarts).as_secs();
            let message = format!("back-off {pause}s restarting failed container={}", container.name);
            last = json!({"terminated": ended(exit_code)});
            (false, restarts, json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}}))
        }
        State::Over { exit_code } => (false, restarts, json!({"terminated": ended(exit_code)})),
    };
    let mut status = json!({
        "name": container.name, "image": container.image, "imageID": container.image, "containerID": id,
        "ready": ready, "started": state["running"].is_object(), "restartCount": restarts, "state": state,
    });
    if last.is_object() {
        status["lastState"] = last;
    }
    status
}

/// The address of the pod of this number, in 100.64.0.0/10, which no service range uses by default.
pub fn address(number: u32) -> String {
    let number = (number + 1) & 0x3f_ffff;
    format!("100.{}.{}.{}", 64 + (number >> 16), (number >> 8) & 0xff, number & 0xff)
}

/// The number of the pod that has this address.
pub fn number_of(address: &str) -> Option<u32> {
    let [100, second @ 64..128, third, fourth] = address.parse::<std::net::Ipv4Addr>().ok()?.octets() else {
        return None;
    };
    (u32::from_be_bytes([0, second - 64, third, fourth])).checked_sub(1)
}
