//! Nodes that fall silent, return and go; namespaces and owned objects that end, whatever goes wrong: on one thread, under a
//! paused clock.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use client::{
    Caches, Key, Kind,
    objects::{
        CronJob, DaemonSet, Deployment, Job, Namespace, Node, Object, Pod, PodDisruptionBudget, Service, StatefulSet,
    },
    requests::{DeleteOptions, Propagation},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use stdx::Random;
use testkit::cluster::{
    Cluster, Setup,
    faults::Faults,
    observer::{Change, World},
    seeds, simulate,
};

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

fn owner(object: &Value) -> Option<&str> {
    object["metadata"]["ownerReferences"][0]["uid"].as_str()
}

/// An owner that is deleted in the foreground goes after all it owned then. What its controller was about to make may come
/// too late to be waited for; it is collected after its owner.
fn goes_last(world: &World, change: &Change<'_>) -> Result<(), String> {
    let owned = match change.plural {
        "deployments" => "replicasets",
        "replicasets" => "pods",
        _ => return Ok(()),
    };
    let meta = &change.old["metadata"];
    let was_there = |object: &&Value| {
        let [made, marked] = [&object["metadata"]["creationTimestamp"], &meta["deletionTimestamp"]].map(Value::as_str);
        owner(object) == meta["uid"].as_str() && made < marked
    };
    let left = world.all(owned).filter(was_there).count();
    if change.new.is_null() && left > 0 { Err(format!("gone before {left} {owned}")) } else { Ok(()) }
}

/// What is let go goes on as it is.
fn nothing_ends(_: &World, change: &Change<'_>) -> Result<(), String> {
    let was_there = matches!(change.plural, "pods" | "replicasets") && !change.old.is_null();
    let ends = change.new.is_null() || !change.new["metadata"]["deletionTimestamp"].is_null();
    if was_there && ends { Err("ends".to_owned()) } else { Ok(()) }
}

fn images_of_pods(caches: &Caches) -> BTreeSet<String> {
    let templates =
        caches.pods.all().into_iter().filter_map(|pod| pod.metadata.labels.get("pod-template-hash").map(str::to_owned));
    templates.collect()
}

#[test]
fn a_deployment_ends_in_the_middle_of_a_rollout_as_it_is_asked_to_whatever_goes_wrong() {
    for seed in seeds(0..12) {
        let propagation = [Propagation::Foreground, Propagation::Background, Propagation::Orphan][seed as usize % 3];
        simulate(Setup { seed, faults: Faults::many(), nodes: 1 }, |cluster| async move {
            cluster.create(&Deployment::KIND, "default", web()).await;
            let ready = |caches: &Caches| caches.deployments.find("default", "web").unwrap().status.available_replicas;
            cluster.until("the first rollout", |caches| ready(caches) == 3).await;
            let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
            cluster.patch(&Deployment::KIND, "default/web", "", image).await;
            cluster.until("pods of both", |caches| images_of_pods(caches).len() == 2).await;
            match propagation {
                Propagation::Foreground => cluster.observer.rule(goes_last),
                Propagation::Background => {}
                Propagation::Orphan => {
                    // What was begun is carried out; the controller is to know of the pause.
                    cluster.patch(&Deployment::KIND, "default/web", "", json!({"spec": {"paused": true}})).await;
                    cluster.until("quiet", is_settled).await;
                    cluster.observer.rule(nothing_ends);
                }
            }
            let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
            cluster.requests.delete(&Deployment::KIND, &Key::new("default", "web"), &options).await.unwrap();
            if propagation == Propagation::Orphan {
                is_let_go_and_taken_up_again(&cluster).await;
            } else {
                cluster
                    .until("the end", |caches| {
                        caches.deployments.is_empty() && caches.replica_sets.is_empty() && caches.pods.is_empty()
                    })
                    .await;
            }
        });
    }
}

/// Whether everybody has said and done what they were to.
fn is_settled(caches: &Caches) -> bool {
    let deployment = caches.deployments.find("default", "web").unwrap();
    let sets = caches.replica_sets.all();
    let wanted: i32 = sets.iter().map(|set| set.spec.replicas).sum();
    deployment.status.observed_generation == deployment.metadata.generation
        && sets.iter().all(|set| set.status.available_replicas == set.spec.replicas)
        && caches.pods.len() == wanted as usize
}

async fn is_let_go_and_taken_up_again(cluster: &Cluster) {
    let without_owner = |caches: &Caches| {
        let sets = caches.replica_sets.all();
        caches.deployments.is_empty() && sets.iter().all(|set| set.metadata.owner_references.is_empty())
    };
    cluster.until("sets without an owner", without_owner).await;
    cluster.sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.caches.replica_sets.len(), 2);
    cluster.observer.forget_rules();
    cluster.create(&Deployment::KIND, "default", web()).await;
    cluster
        .until("a deployment that has taken them up", |caches| {
            let deployment = caches.deployments.find("default", "web").unwrap();
            let owned = caches.replica_sets.all().iter().all(|set| !set.metadata.owner_references.is_empty());
            deployment.status.available_replicas == 3 && caches.replica_sets.len() == 2 && owned
        })
        .await;
}

/// One of everything that workloads are made of.
fn everything() -> Vec<(Kind, Value)> {
    let template = json!({
        "metadata": {"labels": {"app": "all"}},
        "spec": {"containers": [{"name": "c", "image": "all:1"}], "terminationGracePeriodSeconds": 5},
    });
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let selector = json!({"matchLabels": {"app": "all"}});
    let claims = json!([{
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }]);
    let hourly = json!({
        "schedule": "* * * * *", "jobTemplate": {"spec": {"template": once}},
    });
    let specs = [
        (Deployment::KIND, json!({"replicas": 3, "selector": selector, "template": template})),
        (
            StatefulSet::KIND,
            json!({
                "replicas": 3, "serviceName": "all", "selector": selector, "template": template,
                "volumeClaimTemplates": claims, "podManagementPolicy": "Parallel",
            }),
        ),
        (DaemonSet::KIND, json!({"selector": selector, "template": template})),
        (Job::KIND, json!({"completions": 6, "parallelism": 2, "completionMode": "Indexed", "template": once})),
        (CronJob::KIND, hourly),
        (Service::KIND, json!({"type": "NodePort", "selector": {"app": "all"}, "ports": [{"port": 80}]})),
        (PodDisruptionBudget::KIND, json!({"minAvailable": 1, "selector": selector})),
    ];
    let objects = specs.into_iter().map(|(kind, spec)| {
        let (version, name) = (kind.api_version(), kind.kind.to_string());
        (kind, json!({"apiVersion": version, "kind": name, "metadata": {"name": "all"}, "spec": spec}))
    });
    objects.collect()
}

/// A pod goes only when its node has said that it is over, or has not begun with it.
fn pods_go_when_over(_: &World, change: &Change<'_>) -> Result<(), String> {
    let status = &change.old["status"];
    let is_over = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
    if change.plural == "pods" && change.new.is_null() && !is_over && !status["startTime"].is_null() {
        return Err("gone before it was over".to_owned());
    }
    Ok(())
}

#[test]
fn nothing_of_a_whole_namespace_is_left_whatever_goes_wrong() {
    for seed in seeds(0..6) {
        simulate(Setup { seed, faults: Faults::many(), nodes: 2 }, |cluster| async move {
            cluster.observer.rule(pods_go_when_over);
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
            cluster.create(&Namespace::KIND, "", namespace).await;
            for (kind, object) in everything() {
                cluster.create(&kind, "shop", object).await;
            }
            cluster.sleep(Duration::from_millis(cluster.random.below(90_000))).await;
            cluster.delete(&Namespace::KIND, "/shop").await;
            let is_gone = |caches: &Caches| caches.namespaces.find("", "shop").is_none();
            cluster.until("the end", is_gone).await;
            // At the very moment, and later.
            for _ in 0..2 {
                let snapshot = cluster.store().snapshot();
                let left = |topic: &&str| snapshot.count(&format!("{topic}/shop/")) > 0;
                assert_eq!(snapshot.topics().filter(left).collect::<Vec<_>>(), Vec::<&str>::new());
                cluster.sleep(Duration::from_secs(120)).await;
            }
            // What lies in no namespace and was for something in this one.
            cluster.until("no volumes", |caches| caches.persistent_volumes.is_empty()).await;
            let addresses: Value = cluster.requests.read("/apis/networking.k8s.io/v1/ipaddresses").await.unwrap();
            let of_shop = |address: &&Value| address["spec"]["parentRef"]["namespace"] == "shop";
            assert_eq!(addresses["items"].as_array().unwrap().iter().find(of_shop), None);
        });
    }
}
