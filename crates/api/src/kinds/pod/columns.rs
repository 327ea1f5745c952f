//! What `kubectl get pods` shows.

use serde_json::Value;

use super::container::is_restartable;
use crate::{
    kinds::{
        check::{elements, is_empty, text},
        columns::{self, age, name, seconds, text_or_none, wide},
    },
    resource::Column,
};

pub fn columns() -> Vec<Column> {
    vec![
        name(),
        columns::text("Ready", "Containers that are ready, of all.", |pod, _| Summary::of(pod).ready.into()),
        columns::text("Status", "What the pod is doing, or why it is not running.", |pod, _| {
            Summary::of(pod).reason.into()
        }),
        columns::text("Restarts", "How often containers were restarted, and when last.", |pod, now| {
            Summary::of(pod).restarts(now).into()
        }),
        age(),
        wide(columns::text("IP", "The pod's address.", |pod, _| text_or_none(&pod["status"]["podIPs"][0]["ip"]))),
        wide(columns::text("Node", "The node it runs on.", |pod, _| text_or_none(&pod["spec"]["nodeName"]))),
        wide(columns::text("Nominated Node", "The node on which room is being made for it.", |pod, _| {
            text_or_none(&pod["status"]["nominatedNodeName"])
        })),
        wide(columns::text("Readiness Gates", "Readiness gates that are met, of all.", |pod, _| readiness_gates(pod))),
    ]
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = elements(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return columns::NONE.into();
    }
    let met = gates.iter().filter(|gate| has_condition(pod, text(gate, "conditionType"))).count();
    format!("{met}/{}", gates.len()).into()
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    let condition = elements(&pod["status"]["conditions"]).iter().find(|condition| condition["type"] == kind);
    condition.is_some_and(|condition| condition["status"] == "True")
}

/// The state of a pod in three cells.
struct Summary {
    ready: String,
    reason: String,
    restarts: i64,
    last_restart: Option<i64>,
}

/// Counts the restarts of some of a pod's containers.
#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += container["restartCount"].as_i64().unwrap_or_default();
        self.last = self.last.max(seconds(&container["lastState"]["terminated"]["finishedAt"]));
    }
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let sidecars = elements(&spec["initContainers"]).iter().filter(|container| is_restartable(container)).count();
        let total = elements(&spec["containers"]).len() + sidecars;
        let mut reason = text(status, if is_empty(&status["reason"]) { "phase" } else { "reason" }).to_owned();
        let is_gated =
            |condition: &Value| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated";
        if elements(&status["conditions"]).iter().any(is_gated) {
            reason = "SchedulingGated".to_owned();
        }
        let init = Initialization::of(pod);
        let mut ready = init.ready_sidecars;
        let mut restarts = init.restarts;
        let is_initializing = init.reason.is_some();
        reason = init.reason.unwrap_or(reason);
        if !is_initializing || has_condition(pod, "Initialized") {
            restarts = init.sidecar_restarts;
            ready += running(pod, &mut reason, &mut restarts);
        }
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            if status["reason"] == "NodeLost" {
                reason = "Unknown".to_owned();
            } else if !matches!(text(status, "phase"), "Failed" | "Succeeded") {
                reason = "Terminating".to_owned();
            }
        }
        Self { ready: format!("{ready}/{total}"), reason, restarts: restarts.count, last_restart: restarts.last }
    }

    fn restarts(&self, now_seconds: i64) -> String {
        match self.last_restart.filter(|_| self.restarts != 0) {
            Some(last) => format!("{} ({} ago)", self.restarts, columns::human_duration(now_seconds - last)),
            None => self.restarts.to_string(),
        }
    }
}

struct Initialization {
    /// Why the pod is not initialized yet.
    reason: Option<String>,
    ready_sidecars: usize,
    restarts: Restarts,
    sidecar_restarts: Restarts,
}

impl Initialization {
    fn of(pod: &Value) -> Self {
        let containers = elements(&pod["spec"]["initContainers"]);
        let mut init = Self {
            reason: None,
            ready_sidecars: 0,
            restarts: Restarts::default(),
            sidecar_restarts: Restarts::default(),
        };
        for (status, index) in elements(&pod["status"]["initContainerStatuses"]).iter().zip(0..) {
            let is_sidecar =
                containers.iter().any(|container| container["name"] == status["name"] && is_restartable(container));
            init.restarts.add(status);
            if is_sidecar {
                init.sidecar_restarts.add(status);
            }
            let (terminated, waiting) = (&status["state"]["terminated"], text(&status["state"]["waiting"], "reason"));
            if !terminated.is_null() && exit_code(terminated) == 0 {
                continue;
            }
            if is_sidecar && status["started"] == true {
                init.ready_sidecars += usize::from(status["ready"] == true);
                continue;
            }
            init.reason = Some(if !terminated.is_null() {
                format!("Init:{}", termination(terminated))
            } else if !matches!(waiting, "" | "PodInitializing") {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", containers.len())
            });
            break;
        }
        init
    }
}

fn exit_code(terminated: &Value) -> i64 {
    terminated["exitCode"].as_i64().unwrap_or_default()
}

fn termination(terminated: &Value) -> String {
    match (text(terminated, "reason"), terminated["signal"].as_i64().unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", exit_code(terminated)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// Looks at the regular containers: refines the reason, counts restarts, and gives how many are ready.
fn running(pod: &Value, reason: &mut String, restarts: &mut Restarts) -> usize {
    let mut ready = 0;
    let mut failure = None;
    for status in elements(&pod["status"]["containerStatuses"]).iter().rev() {
        restarts.add(status);
        let state = &status["state"];
        let waiting = text(&state["waiting"], "reason");
        if !waiting.is_empty() {
            waiting.clone_into(reason);
        } else if !state["terminated"].is_null() {
            *reason = termination(&state["terminated"]);
            if exit_code(&state["terminated"]) != 0 {
                failure = Some(reason.clone());
            }
        } else if status["ready"] == true && !state["running"].is_null() {
            ready += 1;
        }
    }
    if reason == "Completed" {
        if ready > 0 && has_condition(pod, "Ready") {
            "Running".clone_into(reason);
        } else if let Some(failure) = failure {
            *reason = failure;
        } else if ready > 0 {
            "NotReady".clone_into(reason);
        }
    }
    ready
}
