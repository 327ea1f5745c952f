//! Services and volumes while the control plane suffers: whatever goes wrong, in the end what is told is what is so.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use client::{
    Caches, Key,
    objects::{Deployment, Object, PersistentVolume, PersistentVolumeClaim, Service, StatefulSet},
};
use serde_json::{Value, json};
use testkit::cluster::{
    Setup,
    faults::Faults,
    observer::{Change, World},
    seeds, simulate,
};

const PODS: i32 = 110;

fn web(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "nodeName": "fake-0", "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "web", "image": "web:1"}],
                },
            },
        },
    })
}

/// Every pod stands in exactly one slice, and in the list of old, as ready as it is; no slice holds more than a hundred.
fn are_told(caches: &Caches, pods: i32) -> bool {
    let ready: Vec<String> = caches
        .pods
        .all()
        .iter()
        .filter(|pod| pod.is_active() && pod.is_ready())
        .map(|pod| pod.metadata.name.to_string())
        .collect();
    let slices = caches.endpoint_slices.of_service(&Key::new("default", "web"));
    let mut told: Vec<String> = slices
        .iter()
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.conditions.ready == Some(true))
        .map(|endpoint| endpoint.target_ref.as_ref().unwrap().name.to_string())
        .collect();
    told.sort();
    let listed: BTreeSet<String> = caches
        .endpoints
        .find("default", "web")
        .iter()
        .flat_map(|endpoints| &endpoints.subsets)
        .flat_map(|subset| &subset.addresses)
        .map(|address| address.target_ref.as_ref().unwrap().name.to_string())
        .collect();
    ready.len() == pods as usize
        && caches.pods.len() == ready.len()
        && told == ready
        && listed.into_iter().eq(ready.iter().cloned())
        && slices.iter().all(|slice| slice.endpoints.len() <= 100)
}

#[test]
fn what_is_behind_a_service_is_told_whatever_goes_wrong() {
    for seed in seeds(0..6) {
        simulate(Setup { seed, faults: Faults::many(), nodes: 2 }, |cluster| async move {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
            });
            cluster.create(&Service::KIND, "default", service).await;
            cluster.create(&Deployment::KIND, "default", web(PODS)).await;
            cluster.until("all pods behind the service", |caches| are_told(caches, PODS)).await;
            cluster.patch(&Deployment::KIND, "default/web", "", json!({"spec": {"replicas": 40}})).await;
            cluster.until("fewer pods behind the service", |caches| are_told(caches, 40)).await;
            cluster.patch(&Deployment::KIND, "default/web", "", json!({"spec": {"replicas": 0}})).await;
            let empty = |caches: &Caches| {
                let slices = caches.endpoint_slices.of_service(&Key::new("default", "web"));
                are_told(caches, 0) && slices.len() == 1
            };
            cluster.until("one empty slice", empty).await;
        });
    }
}

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
}

/// Whether every claim has a volume of its own, which knows it.
fn are_bound(caches: &Caches, count: usize) -> bool {
    let claims = caches.persistent_volume_claims.all();
    let bound = claims.iter().all(|claim| {
        let volume = caches.persistent_volumes.find("", &claim.spec.volume_name);
        *claim.status.phase == *"Bound"
            && volume.is_some_and(|volume| volume.is_for(claim) && *volume.status.phase == *"Bound")
    });
    claims.len() == count && bound && caches.persistent_volumes.len() == count
}

#[test]
fn claims_are_bound_and_leave_nothing_behind_whatever_goes_wrong() {
    const CLAIMS: usize = 12;
    for seed in seeds(0..20) {
        simulate(Setup { seed, faults: Faults::many(), nodes: 2 }, |cluster| async move {
            cluster.until("the default class", |caches| caches.storage_classes.default_class().is_some()).await;
            for number in 0..CLAIMS {
                cluster.create(&PersistentVolumeClaim::KIND, "default", claim(&format!("data-{number}"))).await;
            }
            // As the scheduler would.
            let chosen = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "fake-1"}}});
            for number in 0..CLAIMS {
                let key = format!("default/data-{number}");
                cluster.patch(&PersistentVolumeClaim::KIND, &key, "", chosen.clone()).await;
            }
            cluster.until("all claims bound", |caches| are_bound(caches, CLAIMS)).await;
            for number in 0..CLAIMS {
                cluster.delete(&PersistentVolumeClaim::KIND, &format!("default/data-{number}")).await;
            }
            cluster.until("nothing left", |caches| are_bound(caches, 0)).await;
            let left = cluster.requests.read::<Value>(&PersistentVolume::KIND.collection("")).await.unwrap();
            assert_eq!(left["items"], json!([]));
        });
    }
}

/// The policies under which claims are kept: when the set is deleted, and when it is scaled down.
const RETENTION: [[&str; 2]; 4] =
    [["Retain", "Retain"], ["Retain", "Delete"], ["Delete", "Retain"], ["Delete", "Delete"]];

fn set_in_parallel([when_deleted, when_scaled]: [&str; 2]) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {
            "replicas": 4, "serviceName": "db", "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}, "annotations": {
                    "fake-node.coracle.dev/start-seconds": "3", "fake-node.coracle.dev/stop-seconds": "2",
                }},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [{"name": "db", "image": "db:1"}]},
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": when_deleted, "whenScaled": when_scaled},
        },
    })
}

/// A pod goes only when its node has said that it is over, so that there are never two of an ordinal; a claim keeps its
/// volume, which is nobody else's, and outlives its pod, and those of ordinals below `kept` stay.
fn keeps_what_is_its_own(world: &World, change: &Change<'_>, kept: u32) -> Result<(), String> {
    let (old, new) = (change.old, change.new);
    let is_gone = new.is_null();
    match change.plural {
        "pods" => {
            let is_over = matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            if is_gone && !is_over && !old["status"]["startTime"].is_null() {
                return Err("gone before it was over".into());
            }
        }
        "persistentvolumeclaims" if is_gone => {
            let pod = old["metadata"]["name"].as_str().unwrap().strip_prefix("data-").unwrap();
            let ordinal: u32 = pod.rsplit_once('-').unwrap().1.parse().unwrap();
            if world.all("pods").any(|other| other["metadata"]["name"] == pod) {
                return Err("gone before its pod".into());
            }
            if ordinal < kept {
                return Err("gone".into());
            }
        }
        "persistentvolumeclaims" => {
            let [before, now] = [old, new].map(|claim| &claim["spec"]["volumeName"]);
            if before.is_string() && before != now {
                return Err(format!("bound to {before}, then to {now}"));
            }
            let mut claims = world.all("persistentvolumeclaims");
            if now.is_string() && claims.any(|other| other["spec"]["volumeName"] == *now && other != new) {
                return Err(format!("bound to {now}, as another"));
            }
        }
        _ => {}
    }
    Ok(())
}

#[test]
fn sets_in_parallel_keep_their_claims_as_they_are_told_whatever_goes_wrong() {
    for seed in seeds(0..8) {
        let retention @ [when_deleted, when_scaled] = RETENTION[seed as usize % 4];
        simulate(Setup { seed, faults: Faults::many(), nodes: 2 }, |cluster| async move {
            let kept = Arc::new(AtomicU32::new(if when_scaled == "Retain" { u32::MAX } else { 2 }));
            let held = Arc::clone(&kept);
            let rule = move |world: &World, change: &Change<'_>| {
                keeps_what_is_its_own(world, change, held.load(Ordering::Relaxed))
            };
            cluster.observer.rule(rule);
            cluster.until("the default class", |caches| caches.storage_classes.default_class().is_some()).await;
            cluster.create(&StatefulSet::KIND, "default", set_in_parallel(retention)).await;
            let ready = |caches: &Caches, count: i32| {
                let set = caches.stateful_sets.find("default", "db").unwrap();
                set.status.observed_generation == set.metadata.generation
                    && set.status.available_replicas == count
                    && caches.pods.len() == count as usize
            };
            cluster.until("four pods", |caches| ready(caches, 4)).await;
            for replicas in [6, 2, 5] {
                cluster.patch(&StatefulSet::KIND, "default/db", "", json!({"spec": {"replicas": replicas}})).await;
                if replicas != 2 || seed % 8 < 4 {
                    cluster.until("as many as wanted", |caches| ready(caches, replicas)).await;
                }
            }
            if when_deleted == "Delete" {
                kept.store(0, Ordering::Relaxed);
            }
            cluster.delete(&StatefulSet::KIND, "default/db").await;
            let left = match retention {
                ["Delete", _] => 0,
                [_, "Delete"] => 5,
                _ => 6,
            };
            cluster.until("the claims that stay", |caches| caches.pods.is_empty() && are_bound(caches, left)).await;
            cluster.sleep(Duration::from_secs(300)).await;
            assert!(are_bound(&cluster.caches, left));
        });
    }
}
