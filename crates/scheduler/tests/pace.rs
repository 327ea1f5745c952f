//! How a decision's cost grows with the cluster: it must not. The core alone, without requests.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr)]

use std::{sync::Arc, time::Instant};

use client::{Caches, caches::Topic};
use jiff::Timestamp;
use scheduler::core::{Core, Decision};
use serde_json::{Value, json};
use stdx::SeededRandom;
use tokio::sync::Notify;

fn node(index: usize) -> Value {
    let name = format!("node-{index:05}");
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", index % 10),
        }},
        "status": {"allocatable": {"cpu": "32", "memory": "256Gi", "pods": "110"}},
    })
}

fn pod(index: usize, spec: &Value) -> Value {
    let name = format!("pod-{index:05}");
    let mut spec = spec.clone();
    spec["containers"] =
        json!([{"name": "c", "image": "c", "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}]);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "default", "name": name, "uid": name, "resourceVersion": "2", "labels": {"app": "web"}},
        "spec": spec,
    })
}

/// Seconds a decision takes.
fn pace(nodes: usize, pods: usize, spec: &Value) -> f64 {
    let caches = Caches::default();
    (0..nodes).map(node).chain((0..pods).map(|index| pod(index, spec))).for_each(|object| {
        assert!(caches.observe(&object).unwrap());
    });
    let news = Arc::new(Notify::new());
    let now = Timestamp::UNIX_EPOCH;
    let mut core = Core::new(Arc::new(SeededRandom::new(1)));
    for topic in [Topic::Node, Topic::Pod] {
        core.apply(&caches.subscribe(topic, &news).changes(), now);
    }
    let started = Instant::now();
    for _ in 0..pods {
        match core.next(now) {
            Some(Decision::Bind(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    started.elapsed().as_secs_f64() / pods as f64
}

fn rules() -> [(&'static str, Value); 5] {
    let selector = json!({"matchLabels": {"app": "web"}});
    let spread = |key: &str, hard: bool| {
        let when = if hard { "DoNotSchedule" } else { "ScheduleAnyway" };
        json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector})
    };
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector});
    let zone = "topology.kubernetes.io/zone";
    [
        ("basic", json!({})),
        ("spread over zones", json!({"topologySpreadConstraints": [spread(zone, true)]})),
        ("spread over hosts", json!({"topologySpreadConstraints": [spread("kubernetes.io/hostname", true)]})),
        (
            "preferred spread",
            json!({"topologySpreadConstraints": [spread(zone, false), spread("kubernetes.io/hostname", false)]}),
        ),
        (
            "anti-affinity",
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}),
        ),
    ]
}

#[test]
fn a_decision_costs_the_same_in_a_large_cluster() {
    for (name, spec) in rules() {
        let (small, large) = (pace(500, 400, &spec), pace(5000, 2000, &spec));
        eprintln!("{name}: {:.1} µs with 500 nodes, {:.1} µs with 5,000", small * 1e6, large * 1e6);
        // Ten times the nodes may not cost ten times as much, the first walk over them included.
        assert!(large < small * 6.0 + 200e-6, "{name}: {small} s, then {large} s");
    }
}
