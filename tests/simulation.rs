//! The control plane on one thread under a paused clock: what takes hours takes milliseconds, and what goes wrong goes wrong
//! by a seed.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use client::{
    Caches, Kind,
    objects::{DaemonSet, Deployment, Node, Object, Pod, PodDisruptionBudget},
};
use serde_json::{Value, json};
use testkit::cluster::{
    Cluster, Setup,
    faults::Faults,
    observer::{is_active, is_missed, is_ready},
    seeds, simulate,
};

fn web(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [{"name": "web", "image": "web:1"}], "terminationGracePeriodSeconds": 5,
                },
            },
        },
    })
}

fn is_complete(caches: &Caches, replicas: i32) -> bool {
    let Some(deployment) = caches.deployments.find("default", "web") else { return false };
    let status = &deployment.status;
    let numbers = [status.replicas, status.updated_replicas, status.available_replicas];
    numbers == [replicas; 3]
        && status.observed_generation == deployment.metadata.generation
        && pods_of(caches, "web").len() == replicas as usize
}

fn pods_of(caches: &Caches, app: &str) -> Vec<Arc<Pod>> {
    let all = caches.pods.all();
    all.into_iter().filter(|pod| pod.metadata.labels.get("app") == Some(app)).collect()
}

fn rollout(setup: Setup) -> String {
    let mut trace = String::new();
    let told = &mut trace;
    simulate(setup, |cluster| async move {
        cluster.create(&Deployment::KIND, "default", web(6)).await;
        cluster.until("the first rollout", |caches| is_complete(caches, 6)).await;
        cluster.observer.rule(|world, change| {
            let staying = world.active_pods().count();
            let ready = world.active_pods().filter(|pod| is_ready(pod)).count();
            if is_active(change.new) && !is_active(change.old) && staying > 8 {
                return Err(format!("{staying} pods"));
            }
            if ready < 5 { Err(format!("{ready} pods are ready")) } else { Ok(()) }
        });
        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
        cluster.patch(&Deployment::KIND, "default/web", "", image).await;
        cluster.until("the second rollout", |caches| is_complete(caches, 6)).await;
        for pod in cluster.caches.pods.all() {
            told.push_str(&format!("{} {:?}\n", pod.key(), pod.metadata.creation_timestamp));
        }
        told.push_str(&format!("{} {}", cluster.clock.now(), cluster.store().revision()));
    });
    trace
}

#[test]
fn a_rolling_update_keeps_its_margins_whatever_goes_wrong() {
    for seed in seeds(0..20) {
        rollout(Setup { seed, faults: Faults::many(), nodes: 2 });
    }
}

/// Within six writes, of all controllers and the scheduler together, the server is gone, for up to three seconds.
#[test]
fn a_rolling_update_comes_about_however_often_the_server_is_gone() {
    for seed in seeds(0..3) {
        let faults = Faults { requests_until_restart: Some(6), ..Faults::many() };
        rollout(Setup { seed, faults, nodes: 2 });
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [7, 8, 9] {
        let setup = || Setup { seed, faults: Faults::many(), nodes: 2 };
        assert_eq!(rollout(setup()), rollout(setup()), "seed {seed}");
    }
}

fn log() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "log"},
        "spec": {
            "selector": {"matchLabels": {"app": "log"}},
            "template": {
                "metadata": {"labels": {"app": "log"}},
                "spec": {"containers": [{"name": "log", "image": "log:1"}], "terminationGracePeriodSeconds": 1},
            },
        },
    })
}

fn is_on_every_node(caches: &Caches, nodes: i32) -> bool {
    let Some(set) = caches.daemon_sets.find("default", "log") else { return false };
    let ready = pods_of(caches, "log").into_iter().filter(|pod| pod.is_active() && pod.is_ready()).count();
    [set.status.desired_number_scheduled, set.status.number_available, ready as i32] == [nodes; 3]
}

/// As kubectl does: what a budget refuses is asked for again a little later.
async fn drain(cluster: &Cluster, node: &str) {
    cluster.patch(&Node::KIND, &format!("/{node}"), "", json!({"spec": {"unschedulable": true}})).await;
    loop {
        let pods = pods_of(&cluster.caches, "web").into_iter().filter(|pod| *pod.spec.node_name == *node);
        let pods: Vec<Arc<Pod>> = pods.collect();
        if pods.is_empty() {
            return;
        }
        for pod in pods.iter().filter(|pod| !pod.metadata.is_being_deleted()) {
            let name = &pod.metadata.name;
            let evictions = Kind { plural: format!("pods/{name}/eviction").into(), ..Pod::KIND };
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
            if let Err(error) = cluster.requests.create(&evictions, "default", &eviction).await {
                assert!(matches!(error.reason(), "TooManyRequests" | "NotFound"), "{error}");
            }
        }
        cluster.sleep(Duration::from_secs(5)).await;
    }
}

/// The machine is gone, and one of the next version registers in its place.
async fn replace(cluster: &Cluster, node: &str) {
    let mut object: Value = cluster.requests.read(&Node::KIND.object("", node, "")).await.unwrap();
    object["status"]["nodeInfo"]["kubeletVersion"] = json!("v1.36.1");
    for field in ["resourceVersion", "uid", "creationTimestamp"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    cluster.delete(&Node::KIND, &format!("/{node}")).await;
    cluster.sleep(Duration::from_secs(20)).await;
    // The nodes' process, where it has started anew meanwhile, was first.
    if let Err(error) = cluster.requests.create(&Node::KIND, "", &object).await {
        assert!(error.is_taken(), "{error}");
    }
    cluster.patch(&Node::KIND, &format!("/{node}"), "", json!({"spec": {"unschedulable": null}})).await;
}

#[test]
fn nodes_are_upgraded_one_by_one_within_a_budget_whatever_goes_wrong() {
    for seed in seeds(0..10) {
        simulate(Setup { seed, faults: Faults::many(), nodes: 3 }, |cluster| async move {
            cluster.create(&Deployment::KIND, "default", web(6)).await;
            cluster.create(&DaemonSet::KIND, "default", log()).await;
            let budget = json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
                "spec": {"minAvailable": 5, "selector": {"matchLabels": {"app": "web"}}},
            });
            cluster.create(&PodDisruptionBudget::KIND, "default", budget).await;
            cluster.until("the first pods", |caches| is_complete(caches, 6) && is_on_every_node(caches, 3)).await;
            // A budget binds who drains; of a node that was not heard of for too long it knows only afterwards.
            let missed = AtomicBool::new(false);
            cluster.observer.rule(move |world, change| {
                if change.plural == "nodes" && is_missed(change.new) {
                    missed.store(true, Ordering::Relaxed);
                }
                let web = world.active_pods().filter(|pod| pod["metadata"]["labels"]["app"] == "web");
                let ready = web.filter(|pod| is_ready(pod)).count();
                if ready < 5 && !missed.load(Ordering::Relaxed) {
                    Err(format!("{ready} pods are ready"))
                } else {
                    Ok(())
                }
            });
            for number in 0..3 {
                let node = format!("fake-{number}");
                drain(&cluster, &node).await;
                replace(&cluster, &node).await;
                cluster.until("a whole cluster", |caches| is_complete(caches, 6) && is_on_every_node(caches, 3)).await;
            }
        });
    }
}
