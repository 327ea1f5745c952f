//! Nodes that fall silent, return and go; namespaces and owned objects that end, whatever goes wrong: on one thread, under a
//! paused clock.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use client::{
    Caches, Key, Kind,
    objects::{Deployment, Namespace, Node, Object, Pod},
    requests::{DeleteOptions, Propagation},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use testkit::cluster::{Cluster, Setup, faults::Faults, seeds, simulate};

const MAPS: Kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
    })
}

fn find(caches: &Caches, name: &str) -> Option<Arc<Pod>> {
    caches.pods.find("default", name)
}

fn is_ready(caches: &Caches, name: &str) -> bool {
    find(caches, name).is_some_and(|pod| pod.is_ready())
}

async fn set_state(cluster: &Cluster, node: &str, state: Value) {
    let patch = json!({"metadata": {"annotations": {"fake-node.coracle.dev/state": state}}});
    cluster.patch(&Node::KIND, &format!("/{node}"), "", patch).await;
}

fn seconds_since(cluster: &Cluster, then: Timestamp) -> i64 {
    cluster.clock.now().duration_since(then).as_secs()
}

fn ready_is(caches: &Caches, node: &str, status: &str) -> bool {
    let node = caches.nodes.find("", node).unwrap();
    node.condition("Ready").is_some_and(|ready| *ready.status == *status)
}

fn quiet(nodes: usize) -> Setup {
    Setup { seed: 1, faults: Faults::default(), nodes }
}

#[test]
fn a_silent_node_loses_its_pods_after_five_minutes_and_no_sooner() {
    simulate(quiet(3), |cluster| async move {
        cluster.create(&Pod::KIND, "default", pod("lost", "fake-1")).await;
        cluster.create(&Pod::KIND, "default", pod("stays", "fake-2")).await;
        cluster.until("pods", |caches| is_ready(caches, "lost") && is_ready(caches, "stays")).await;
        set_state(&cluster, "fake-1", "silent".into()).await;
        let start = cluster.clock.now();
        cluster.until("the node's silence", |caches| ready_is(caches, "fake-1", "Unknown")).await;
        let noticed = seconds_since(&cluster, start);
        assert!((40..=60).contains(&noticed), "noticed after {noticed} s");
        cluster.until("a pod that is not ready", |caches| !is_ready(caches, "lost")).await;
        let start = cluster.clock.now();
        let ends = |caches: &Caches| find(caches, "lost").is_none_or(|pod| pod.metadata.is_being_deleted());
        cluster.until("the eviction", ends).await;
        let borne = seconds_since(&cluster, start);
        assert!((295..=305).contains(&borne), "evicted after {borne} s");
        let lost = find(&cluster.caches, "lost").expect("nobody has ended it");
        let why = lost.condition("DisruptionTarget").expect("it is told why");
        assert_eq!((&*why.status, &*why.reason), ("True", "DeletionByTaintManager"));
        assert!(is_ready(&cluster.caches, "stays"));
        // The node's end is the pod's.
        cluster.delete(&Node::KIND, "/fake-1").await;
        let start = cluster.clock.now();
        cluster.until("the pod's end", |caches| find(caches, "lost").is_none()).await;
        let waited = seconds_since(&cluster, start);
        assert!(waited <= 45, "gone after {waited} s");
    });
}

#[test]
fn a_node_that_returns_in_time_keeps_its_pods() {
    simulate(quiet(3), |cluster| async move {
        cluster.create(&Pod::KIND, "default", pod("web", "fake-1")).await;
        cluster.until("the pod", |caches| is_ready(caches, "web")).await;
        let uid = find(&cluster.caches, "web").unwrap().metadata.uid.clone();
        set_state(&cluster, "fake-1", "silent".into()).await;
        cluster.until("the node's silence", |caches| ready_is(caches, "fake-1", "Unknown")).await;
        cluster.sleep(Duration::from_secs(200)).await;
        let tainted = |caches: &Caches| !caches.nodes.find("", "fake-1").unwrap().spec.taints.is_empty();
        assert!(tainted(&cluster.caches));
        set_state(&cluster, "fake-1", Value::Null).await;
        cluster.until("the node's return", |caches| ready_is(caches, "fake-1", "True") && !tainted(caches)).await;
        cluster.sleep(Duration::from_secs(600)).await;
        let web = find(&cluster.caches, "web").expect("it stays");
        assert!(web.metadata.uid == uid && web.is_active());
    });
}

#[test]
fn when_every_node_falls_silent_no_pod_is_evicted() {
    simulate(quiet(3), |cluster| async move {
        for number in 0..3 {
            cluster.create(&Pod::KIND, "default", pod(&format!("web-{number}"), &format!("fake-{number}"))).await;
            set_state(&cluster, &format!("fake-{number}"), "silent".into()).await;
        }
        cluster.sleep(Duration::from_secs(3600)).await;
        let pods = cluster.caches.pods.all();
        assert!(pods.len() == 3 && pods.iter().all(|pod| !pod.metadata.is_being_deleted()));
    });
}

#[test]
fn while_nothing_happens_nothing_is_written() {
    simulate(quiet(2), |cluster| async move {
        cluster.create(&Pod::KIND, "default", pod("web", "fake-1")).await;
        cluster.until("the pod", |caches| is_ready(caches, "web")).await;
        cluster.sleep(Duration::from_secs(120)).await;
        let states = |caches: &Caches| -> Vec<u64> {
            let nodes = caches.nodes.all().into_iter().map(|node| node.metadata.resource_version);
            let pods = caches.pods.all().into_iter().map(|pod| pod.metadata.resource_version);
            nodes.chain(pods).collect()
        };
        let before = states(&cluster.caches);
        cluster.sleep(Duration::from_secs(240)).await;
        assert_eq!(states(&cluster.caches), before);
    });
}

fn web() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"nodeName": "fake-0", "containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    })
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[test]
fn nothing_is_left_of_a_namespace_whatever_goes_wrong() {
    for seed in seeds(0..10) {
        simulate(Setup { seed, faults: Faults::many(), nodes: 1 }, |cluster| async move {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
            cluster.create(&Namespace::KIND, "", namespace).await;
            for number in 0..5 {
                cluster.create(&MAPS, "shop", map(&format!("m-{number}"))).await;
            }
            cluster.create(&Deployment::KIND, "shop", web()).await;
            cluster.until("some pods", |caches| !caches.pods.in_namespace("shop").is_empty()).await;
            cluster.delete(&Namespace::KIND, "/shop").await;
            cluster.until("the end", |caches| caches.namespaces.find("", "shop").is_none()).await;
            for kind in [MAPS, Pod::KIND, Deployment::KIND] {
                let left: Value = cluster.requests.read(&kind.collection("shop")).await.unwrap();
                assert_eq!(left["items"], json!([]), "{}", kind.plural);
            }
        });
    }
}

#[test]
fn a_deployment_takes_everything_with_it_whatever_goes_wrong() {
    for seed in seeds(0..10) {
        simulate(Setup { seed, faults: Faults::many(), nodes: 1 }, |cluster| async move {
            cluster.create(&Deployment::KIND, "default", web()).await;
            cluster.until("some pods", |caches| !caches.pods.is_empty()).await;
            let propagation = if seed % 2 == 0 { Propagation::Foreground } else { Propagation::Background };
            let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
            cluster.requests.delete(&Deployment::KIND, &Key::new("default", "web"), &options).await.unwrap();
            cluster
                .until("the end", |caches| {
                    caches.deployments.is_empty() && caches.replica_sets.is_empty() && caches.pods.is_empty()
                })
                .await;
        });
    }
}
