//! The life of a pod on a fake node, told by the steps that follow each other.

use api::registry::{RuntimeConfig, registry};
use document::patch::strategic;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::pod::{Pod, Step, address, number_of, step};

const HOST: &str = "198.18.0.1";
const START: &str = "2026-11-23T12:00:00Z";

fn pod(policy: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "generation": 1, "annotations": annotations},
        "spec": {"nodeName": "fake-0", "restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": START}]},
    })
}

/// Plays a pod for so many seconds from [`START`] and tells what was said of it, and when.
fn play(mut object: Value, seconds: i64) -> Vec<String> {
    let registry = registry(&RuntimeConfig::default());
    let pods = registry.find("", "v1", "pods").unwrap();
    let start: Timestamp = START.parse().unwrap();
    let (mut now, mut told) = (start, Vec::new());
    loop {
        let pod: Pod = serde_json::from_value(object.clone()).unwrap();
        match step(&pod, HOST, || address(7), now) {
            Step::Nothing => return told,
            Step::Delete => {
                told.push("gone".to_owned());
                return told;
            }
            Step::Wait(wait) => {
                now += SignedDuration::try_from(wait).unwrap();
                if now.duration_since(start) > SignedDuration::from_secs(seconds) {
                    return told;
                }
            }
            Step::Report(patch) => {
                strategic::apply(&mut object, patch, pods.root()).unwrap();
                let status = &object["status"];
                let container = &status["containerStatuses"][0];
                let ready = status["conditions"].as_array().unwrap().iter().find(|it| it["type"] == "Ready").unwrap();
                let state: Vec<&str> = container["state"].as_object().unwrap().keys().map(String::as_str).collect();
                told.push(format!(
                    "{:>3} {} {} ready={} restarts={}",
                    now.duration_since(start).as_secs(),
                    status["phase"].as_str().unwrap(),
                    state.join("+"),
                    ready["status"].as_str().unwrap(),
                    container["restartCount"],
                ));
            }
        }
    }
}

#[test]
fn a_pod_runs_until_it_is_deleted() {
    assert_eq!(play(pod("Always", &json!({})), 1000), ["  0 Running running ready=True restarts=0"]);
    let mut ending = pod("Always", &json!({}));
    ending["metadata"]["deletionTimestamp"] = json!("2026-11-23T12:00:30Z");
    ending["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    assert_eq!(play(ending.clone(), 100), ["  0 Failed terminated ready=False restarts=0", "gone"]);
    ending["metadata"]["annotations"] = json!({"fake-node.coracle.dev/stop-seconds": "12"});
    assert_eq!(play(ending.clone(), 100), [" 12 Failed terminated ready=False restarts=0", "gone"]);
    // Never longer than it is granted.
    ending["metadata"]["annotations"] = json!({"fake-node.coracle.dev/stop-seconds": "90"});
    assert_eq!(play(ending, 100), [" 30 Failed terminated ready=False restarts=0", "gone"]);
}

#[test]
fn a_pod_that_is_meant_to_end_does() {
    let ends = ["  0 Running running ready=True restarts=0", "  1 Succeeded terminated ready=False restarts=0"];
    assert_eq!(play(pod("Never", &json!({})), 100), ends);
    assert_eq!(play(pod("OnFailure", &json!({})), 100), ends);
    let slowly = json!({"fake-node.coracle.dev/start-seconds": "3", "fake-node.coracle.dev/run-seconds": "60",
        "fake-node.coracle.dev/exit-code": "1"});
    assert_eq!(
        play(pod("Never", &slowly), 100),
        ["  3 Running running ready=True restarts=0", " 63 Failed terminated ready=False restarts=0"]
    );
}

#[test]
fn a_container_that_fails_starts_again_later_each_time() {
    let failing = json!({"fake-node.coracle.dev/exit-code": "1"});
    for policy in ["OnFailure", "Always"] {
        assert_eq!(
            play(pod(policy, &failing), 40),
            [
                "  0 Running running ready=True restarts=0",
                "  1 Running waiting ready=False restarts=0",
                " 11 Running running ready=True restarts=1",
                " 12 Running waiting ready=False restarts=1",
                " 32 Running running ready=True restarts=2",
                " 33 Running waiting ready=False restarts=2",
            ]
        );
    }
}

#[test]
fn a_pod_is_as_ready_as_it_is_told_and_its_gates_are_open() {
    let unready = play(pod("Always", &json!({"fake-node.coracle.dev/ready": "false"})), 100);
    assert_eq!(unready, ["  0 Running running ready=False restarts=0"]);
    let mut gated = pod("Always", &json!({}));
    gated["spec"]["readinessGates"] = json!([{"conditionType": "example.com/open"}]);
    assert_eq!(play(gated.clone(), 100), ["  0 Running running ready=False restarts=0"]);
    gated["status"]["conditions"] = json!([{"type": "example.com/open", "status": "True"}]);
    assert_eq!(play(gated, 100), ["  0 Running running ready=True restarts=0"]);
}

#[test]
fn addresses_are_the_pods_own() {
    let numbers = [0, 1, 254, 255, 65_534, 65_535, 200_000];
    for number in numbers {
        assert_eq!(number_of(&address(number)), Some(number), "{}", address(number));
    }
    assert_eq!(address(0), "100.64.0.1");
    assert_eq!(number_of("10.0.0.1"), None);
}
