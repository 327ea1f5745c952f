//! What became of a pod's containers.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

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

impl<'de> Deserialize<'de> for ContainerStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Written {
            name: Box<str>,
            restart_count: i32,
            state: State,
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
        let Written { name: container, restart_count, state } = Written::deserialize(deserializer)?;
        let end = |End { exit_code, finished_at }| Box::new(Terminated { container, exit_code, finished_at });
        Ok(Self { restart_count, terminated: state.terminated.map(end) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_running_container_is_a_few_bytes() {
        let running: ContainerStatus = serde_json::from_value(json!({
            "name": "c", "image": "web", "restartCount": 2, "state": {"running": {"startedAt": "2026-11-23T12:00:00Z"}},
            "lastState": {"terminated": {"exitCode": 1}},
        }))
        .unwrap();
        assert_eq!((running.restart_count, running.terminated.is_none()), (2, true));
        assert_eq!(size_of::<ContainerStatus>(), 16);
        let ended: ContainerStatus = serde_json::from_value(json!({
            "name": "c", "restartCount": 0,
            "state": {"terminated": {"exitCode": 3, "finishedAt": "2026-11-23T12:00:00Z", "reason": "Error"}},
        }))
        .unwrap();
        let ended = ended.terminated.unwrap();
        assert_eq!((&*ended.container, ended.exit_code), ("c", 3));
        assert_eq!(ended.finished_at, "2026-11-23T12:00:00Z".parse().ok());
    }
}
