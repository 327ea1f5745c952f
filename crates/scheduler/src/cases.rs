//! Golden cases: where a pod goes, or why nowhere, as data. Adding one needs no Rust.
//!
//! Every file `cases/<topic>/<name>.yaml` has a `state` (the objects that are known), the `pod` that is looked at, and what is
//! expected: the `best` nodes (all being equally good), or the `message` of the event with what each node refuses and
//! the `remedies`; `nominated`, `victims` and `displaced` where room is made. `UPDATE_CASES=1` writes down what is decided now, to be
//! read before it is committed.

use std::{fs, path::PathBuf, sync::Arc};

use client::{Caches, Key, objects::Object};
use document::{Encoding, decode, yaml};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use stdx::SeededRandom;
use tokio::sync::Notify;

use crate::{
    core::{Core, Decision, Waiting},
    run::TOPICS,
};

#[test]
fn every_case_is_decided_as_it_says() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let rewriting = std::env::var_os("UPDATE_CASES").is_some();
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .flat_map(|topic| fs::read_dir(topic.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut failures = String::new();
    for file in &files {
        let case = decode(&fs::read(file).unwrap(), Encoding::Yaml, 1 << 20)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(case.strict_errors, Vec::<String>::new(), "{}", file.display());
        let case = case.value.as_object().unwrap().clone();
        let decided = decide(&case, &file.display().to_string());
        let mut asked = Map::new();
        for field in ["state", "pod"] {
            asked.extend(case.get(field).map(|value| (field.to_owned(), value.clone())));
        }
        if rewriting {
            asked.extend(decided);
            fs::write(file, yaml::encode(&asked.into())).unwrap();
            continue;
        }
        let expected: Map<String, Value> = case.into_iter().filter(|(name, _)| !asked.contains_key(name)).collect();
        if decided != expected {
            let (expected, decided) = (yaml::encode(&expected.into()), yaml::encode(&decided.into()));
            failures += &format!("\n== {}\n-- expected\n{expected}-- decided\n{decided}", file.display());
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(files.len() >= 100, "only {} cases: were files lost?", files.len());
}

/// A case is short: what every object has is filled in.
fn complete(object: &Value) -> Value {
    let mut object = object.clone();
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let kind = object["kind"].as_str().unwrap_or("Pod").to_owned();
    let version = match &*kind {
        "ReplicaSet" | "StatefulSet" => "apps/v1",
        "PodDisruptionBudget" => "policy/v1",
        "StorageClass" | "CSINode" | "CSIDriver" | "CSIStorageCapacity" => "storage.k8s.io/v1",
        _ => "v1",
    };
    (object["kind"], object["apiVersion"]) = (json!(kind), json!(version));
    let metadata = object["metadata"].as_object_mut().unwrap();
    let of_cluster = ["Node", "Namespace", "PersistentVolume", "StorageClass", "CSINode", "CSIDriver"];
    if !of_cluster.contains(&&*kind) {
        metadata.entry("namespace").or_insert(json!("default"));
    }
    metadata.entry("uid").or_insert(json!(format!("{kind}-{name}")));
    metadata.entry("resourceVersion").or_insert(json!("1"));
    if kind == "Node" {
        let labels = metadata.entry("labels").or_insert(json!({}));
        labels.as_object_mut().unwrap().entry("kubernetes.io/hostname").or_insert(json!(name));
        let usual = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        let status = object.as_object_mut().unwrap().entry("status").or_insert(json!({}));
        let allocatable = status.as_object_mut().unwrap().entry("allocatable").or_insert(json!({}));
        for (name, quantity) in usual.as_object().unwrap() {
            allocatable.as_object_mut().unwrap().entry(name.clone()).or_insert(quantity.clone());
        }
    }
    object
}

fn decide(case: &Map<String, Value>, file: &str) -> Map<String, Value> {
    let caches = Caches::default();
    let pod = complete(&case["pod"]);
    for object in case["state"].as_array().expect("a state").iter().map(complete).chain([pod.clone()]) {
        let read = caches.observe(&object).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(read, "{file}: not a kind that is kept: {object}");
    }
    let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let mut core = Core::new(Arc::new(SeededRandom::new(1)));
    let news = Arc::new(Notify::new());
    for topic in TOPICS {
        core.apply(&caches.subscribe(*topic, &news).changes(), now);
    }
    let metadata = &pod["metadata"];
    let key = Key::new(metadata["namespace"].as_str().unwrap(), metadata["name"].as_str().unwrap());
    let known = caches.pods.get(&key).expect("the pod is known");
    let explanation = core.explain(&known);
    let mut decided = Map::new();
    if !explanation.best.is_empty() {
        decided.insert("best".to_owned(), json!(explanation.best));
    }
    let remedies: Map<String, Value> = explanation
        .nodes
        .iter()
        .filter(|verdict| !verdict.refusals.is_empty())
        .map(|verdict| {
            let remedies: Vec<&str> = verdict.refusals.iter().map(|reason| &*reason.remedy).collect();
            (verdict.node.to_string(), json!(remedies))
        })
        .collect();
    if !remedies.is_empty() {
        decided.insert("remedies".to_owned(), remedies.into());
    }
    let about = |decision: &Decision| match decision {
        Decision::Bind(binding) => binding.pod.key() == key,
        Decision::Wait(waiting) => waiting.pod.key() == key,
    };
    // Others may have their turn first.
    match std::iter::from_fn(|| core.next(now)).find(about) {
        None => drop(decided.insert("summary".to_owned(), json!(explanation.summary))),
        Some(Decision::Bind(binding)) => {
            assert!(explanation.best.contains(&binding.node), "{file}: {} is not explained", binding.node);
            let steps: Vec<Value> = binding
                .steps
                .iter()
                .map(|step| json!({"patch": format!("{} {}", step.resource, step.key), "with": step.patch}))
                .collect();
            if !steps.is_empty() {
                decided.insert("steps".to_owned(), json!(steps));
            }
        }
        Some(Decision::Wait(waiting)) => waits(&waiting, &mut decided),
    }
    decided
}

fn waits(waiting: &Waiting, decided: &mut Map<String, Value>) {
    decided.insert("message".to_owned(), json!(waiting.message));
    if let Some(node) = &waiting.nominated {
        decided.insert("nominated".to_owned(), json!(node));
    }
    if !waiting.victims.is_empty() {
        let victims: Vec<&str> = waiting.victims.iter().map(|victim| &*victim.metadata.name).collect();
        decided.insert("victims".to_owned(), json!(victims));
    }
    if !waiting.displaced.is_empty() {
        let displaced: Vec<&str> = waiting.displaced.iter().map(|pod| &*pod.metadata.name).collect();
        decided.insert("displaced".to_owned(), json!(displaced));
    }
}
