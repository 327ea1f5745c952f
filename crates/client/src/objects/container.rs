//! What became of a pod's containers.

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Labels,
    requests::{Given, WrittenResources},
};

/// Small while the container runs: how it ended is kept apart.
#[derive(Debug, Clone, Default)]
pub struct ContainerStatus {
    pub restart_count: i32,
    pub terminated: Option<Box<Terminated>>,
}

/// How a container ended, and which.
#[derive(Debug, Clone)]
pub struct Terminated {
    pub container: Box<str>,
    pub exit_code: i32,
    pub finished_at: Option<Timestamp>,
}

/// As it is sent.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WrittenStatus {
    name: Box<str>,
    restart_count: i32,
    state: State,
    resources: Option<WrittenResources>,
    allocated_resources: Labels,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State {
    terminated: Option<End>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct End {
    exit_code: i32,
    finished_at: Option<Timestamp>,
}

impl WrittenStatus {
    /// The status, and what the container of which name has been given.
    pub fn read(self) -> (ContainerStatus, (Box<str>, Given)) {
        let Self { name, restart_count, state, resources, allocated_resources } = self;
        let given = Given { resources, allocated_resources };
        let end = |End { exit_code, finished_at }| Terminated { container: name.clone(), exit_code, finished_at };
        (ContainerStatus { restart_count, terminated: state.terminated.map(end).map(Box::new) }, (name, given))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_running_container_is_a_few_bytes() {
        let read = |status| serde_json::from_value::<WrittenStatus>(status).unwrap().read().0;
        let running = read(json!({
            "name": "c", "image": "web", "restartCount": 2, "state": {"running": {"startedAt": "2026-11-23T12:00:00Z"}},
            "lastState": {"terminated": {"exitCode": 1}},
        }));
        assert_eq!((running.restart_count, running.terminated.is_none()), (2, true));
        assert_eq!(size_of::<ContainerStatus>(), 16);
        let ended = read(json!({
            "name": "c", "restartCount": 0,
            "state": {"terminated": {"exitCode": 3, "finishedAt": "2026-11-23T12:00:00Z", "reason": "Error"}},
        }));
        let ended = ended.terminated.unwrap();
        assert_eq!((&*ended.container, ended.exit_code), ("c", 3));
        assert_eq!(ended.finished_at, "2026-11-23T12:00:00Z".parse().ok());
    }
}
