//! StatefulSets, DaemonSets and disruption budgets against the API server: their promises at every moment, whatever goes
//! wrong, and what evictions make of budgets.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use client::{
    ApiError, Caches, Key, Kind,
    objects::{DaemonSet, Node, Object, Pod, PodDisruptionBudget, ReplicationController, StatefulSet},
    requests::Patch,
};
use serde_json::{Value, json};
use testkit::cluster::{
    Cluster, Setup,
    faults::Faults,
    observer::{Change, World, is_active, is_missed, is_ready},
    seeds, simulate,
};

/// What a pod's fake node reads: it starts and ends neither at once nor faster than a controller looks.
fn slowly() -> Value {
    json!({"fake-node.coracle.dev/start-seconds": "3", "fake-node.coracle.dev/stop-seconds": "2"})
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}, "annotations": slowly()},
        "spec": {
            "nodeName": "fake-0", "containers": [{"name": "web", "image": image}], "terminationGracePeriodSeconds": 5,
        },
    })
}

fn set(replicas: i32, policy: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "serviceName": "web", "podManagementPolicy": policy,
            "selector": {"matchLabels": {"app": "web"}}, "template": template("web:1"),
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
        },
    })
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
}

fn is_complete(caches: &Caches, replicas: i32) -> bool {
    let Some(set) = caches.stateful_sets.find("default", "web") else { return false };
    let status = &set.status;
    let numbers = [status.replicas, status.updated_replicas, status.available_replicas, status.current_replicas];
    numbers == [replicas; 4]
        && status.current_revision == status.update_revision
        && status.observed_generation == set.metadata.generation
        && caches.pods.len() == replicas as usize
}

fn ordinal(pod: &Value) -> i32 {
    pod["metadata"]["name"].as_str().unwrap().rsplit_once('-').unwrap().1.parse().unwrap()
}

/// A pod is made only beside ready ones of every lower ordinal.
fn made_in_order(world: &World, change: &Change<'_>) -> Result<(), String> {
    if change.plural != "pods" || !change.old.is_null() {
        return Ok(());
    }
    let mut before: Vec<i32> = world
        .active_pods()
        .filter(|pod| is_ready(pod))
        .map(ordinal)
        .filter(|other| *other < ordinal(change.new))
        .collect();
    before.sort_unstable();
    let wanted: Vec<i32> = (0..ordinal(change.new)).collect();
    if before == wanted { Ok(()) } else { Err(format!("made beside {before:?}")) }
}

/// A pod is given up only when none of a higher ordinal is left.
fn given_up_in_order(world: &World, change: &Change<'_>) -> Result<(), String> {
    if !is_active(change.old) || change.old.is_null() || is_active(change.new) && !change.new.is_null() {
        return Ok(());
    }
    let higher: Vec<i32> = world.all("pods").map(ordinal).filter(|other| *other > ordinal(change.old)).collect();
    if higher.is_empty() { Ok(()) } else { Err(format!("given up before {higher:?}")) }
}

fn no_more_than_one_down(replicas: usize) -> impl Fn(&World, &Change<'_>) -> Result<(), String> + Send {
    move |world, _| {
        let ready = world.active_pods().filter(|pod| is_ready(pod)).count();
        if ready + 1 >= replicas { Ok(()) } else { Err(format!("{ready} pods are ready")) }
    }
}

fn stateful_set_through_its_life(seed: u64, policy: &'static str) {
    simulate(Setup { seed, faults: Faults::many(), nodes: 1 }, |cluster| async move {
        let ordered = policy == "OrderedReady";
        if ordered {
            cluster.observer.rule(made_in_order);
        }
        cluster.create(&StatefulSet::KIND, "default", set(4, policy)).await;
        cluster.until("four pods", |caches| is_complete(caches, 4)).await;
        assert_eq!(cluster.caches.persistent_volume_claims.len(), 4);

        cluster.observer.rule(no_more_than_one_down(4));
        cluster.patch(&StatefulSet::KIND, "default/web", "", image("web:2")).await;
        cluster.until("an update", |caches| is_complete(caches, 4)).await;
        cluster.patch(&StatefulSet::KIND, "default/web", "", image("web:1")).await;
        cluster.until("the way back", |caches| is_complete(caches, 4)).await;
        assert_eq!(cluster.caches.controller_revisions.len(), 2);

        cluster.observer.forget_rules();
        if ordered {
            cluster.observer.rule(given_up_in_order);
        }
        cluster.patch(&StatefulSet::KIND, "default/web", "", json!({"spec": {"replicas": 1}})).await;
        cluster.until("one pod", |caches| is_complete(caches, 1)).await;
        let owners = |ordinal: i32| {
            let claim = cluster.caches.persistent_volume_claims.find("default", &format!("data-web-{ordinal}"));
            claim
                .map(|claim| claim.metadata.owner_references.iter().map(|owner| owner.kind.clone()).collect::<Vec<_>>())
        };
        assert_eq!(owners(0), Some(vec!["StatefulSet".into()]));
        // Those of pods that are gone went with them, or are about to.
        for claim in (1..4).filter_map(owners) {
            assert_eq!(claim, ["Pod".into()]);
        }
    });
}

#[test]
fn stateful_sets_keep_their_order_whatever_goes_wrong() {
    for seed in seeds(0..10) {
        stateful_set_through_its_life(seed, "OrderedReady");
    }
}

#[test]
fn stateful_sets_in_parallel_update_one_pod_at_a_time() {
    for seed in seeds(100..110) {
        stateful_set_through_its_life(seed, "Parallel");
    }
}

/// Binds every pod that asks for a node by name, as the scheduler does.
async fn bind_pinned(cluster: Arc<Cluster>) {
    let bindings = Kind::namespaced("", "v1", "Binding", "bindings");
    loop {
        for pod in cluster.caches.pods.all() {
            if pod.spec.node_name.is_empty() && !pod.spec.pinned_to.is_empty() && !pod.metadata.is_being_deleted() {
                let target = json!({"apiVersion": "v1", "kind": "Node", "name": pod.spec.pinned_to});
                let binding = json!({
                    "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.metadata.name}, "target": target,
                });
                let result = cluster.requests.create(&bindings, &pod.metadata.namespace, &binding).await;
                assert!(
                    result.as_ref().map_or_else(|error| matches!(error.reason(), "Conflict" | "NotFound"), |_| true),
                    "{result:?}"
                );
            }
        }
        cluster.sleep(Duration::from_millis(100)).await;
    }
}

fn daemons(update: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "log"},
        "spec": {
            "selector": {"matchLabels": {"app": "log"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": update},
            "template": {
                "metadata": {"labels": {"app": "log"}, "annotations": slowly()},
                "spec": {"containers": [{"name": "web", "image": "log:1"}], "terminationGracePeriodSeconds": 5},
            },
        },
    })
}

fn is_on_every_node(caches: &Caches, nodes: i32) -> bool {
    let Some(set) = caches.daemon_sets.find("default", "log") else { return false };
    let status = &set.status;
    let numbers = [status.desired_number_scheduled, status.updated_number_scheduled, status.number_available];
    numbers == [nodes; 3]
        && status.observed_generation == set.metadata.generation
        && caches.pods.len() == nodes as usize
}

async fn taint(cluster: &Cluster, node: usize, taints: Value) {
    let (key, patch) = (Key::new("", &format!("fake-{node}")), json!({"spec": {"taints": taints}}));
    cluster.requests.patch(&Node::KIND, &key, "", (Patch::Merge, &patch)).await.unwrap();
}

/// The nodes without a pod that is ready, and how many were missed once. Nobody answers for those: a pod there may have
/// been given up, and replaced at once, and what is said of it comes late.
fn nodes_without(world: &World, missed: &mut BTreeSet<String>) -> (Vec<String>, usize) {
    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let unheard = world.all("nodes").filter(|node| is_missed(node));
    missed.extend(unheard.map(|node| name(&node["metadata"]["name"])));
    let served: BTreeSet<String> =
        world.active_pods().filter(|pod| is_ready(pod)).map(|pod| name(&pod["spec"]["nodeName"])).collect();
    let nodes = world.all("nodes").map(|node| name(&node["metadata"]["name"]));
    (nodes.filter(|node| !served.contains(node) && !missed.contains(node)).collect(), missed.len())
}

fn daemon_set_through_its_life(seed: u64, update: Value) {
    let surges = update["maxSurge"] == 1;
    simulate(Setup { seed, faults: Faults::many(), nodes: 5 }, |cluster| async move {
        let work = async {
            for node in 0..5 {
                // Nodes are tainted as not ready until somebody sees that they are.
                taint(&cluster, node, Value::Null).await;
            }
            cluster.create(&DaemonSet::KIND, "default", daemons(update)).await;
            cluster.until("a pod on every node", |caches| is_on_every_node(caches, 5)).await;
            let (missed, [most_without, most_pods]) = (Mutex::default(), if surges { [0, 6] } else { [1, 5] });
            cluster.observer.rule(move |world, _| {
                let (without, missed) = nodes_without(world, &mut missed.lock().unwrap());
                let active = world.active_pods().count();
                if without.len() <= most_without && active <= most_pods + missed {
                    return Ok(());
                }
                Err(format!("{active} pods, none that is ready on {without:?}"))
            });
            cluster.patch(&DaemonSet::KIND, "default/log", "", image("log:2")).await;
            cluster.until("an update", |caches| is_on_every_node(caches, 5)).await;
            cluster.observer.forget_rules();
            taint(&cluster, 1, json!([{"key": "maintenance", "effect": "NoExecute"}])).await;
            cluster.until("one node less", |caches| is_on_every_node(caches, 4)).await;
        };
        tokio::select! {
            () = work => {}
            () = bind_pinned(Arc::clone(&cluster)) => {}
        }
    });
}

#[test]
fn daemon_sets_leave_no_more_than_one_node_without_a_pod() {
    for seed in seeds(0..8) {
        daemon_set_through_its_life(seed, json!({"maxUnavailable": 1, "maxSurge": 0}));
    }
}

#[test]
fn a_surging_daemon_set_leaves_no_node_without_a_pod() {
    for seed in seeds(0..8) {
        daemon_set_through_its_life(seed, json!({"maxUnavailable": 0, "maxSurge": 1}));
    }
}

async fn evict(cluster: &Cluster, pod: &str) -> Result<(), ApiError> {
    let evictions = Kind { plural: format!("pods/{pod}/eviction").into(), ..Pod::KIND };
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    cluster.requests.create(&evictions, "default", &eviction).await.map(drop)
}

fn controller(replicas: i32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"app": "web"}, "template": template("web:1")},
    })
}

fn budget(cluster: &Cluster) -> Arc<PodDisruptionBudget> {
    cluster.caches.pod_disruption_budgets.find("default", "web").unwrap()
}

#[test]
fn evictions_keep_to_a_budget_once_it_has_been_observed() {
    simulate(Setup { seed: 1, nodes: 1, ..Setup::default() }, |cluster| async move {
        cluster.create(&ReplicationController::KIND, "default", controller(3)).await;
        let ready = |caches: &Caches, count: usize| {
            caches.pods.all().iter().filter(|pod| pod.is_ready() && pod.is_active()).count() == count
        };
        cluster.until("three pods", |caches| ready(caches, 3)).await;
        let object = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
        });
        // Nobody is there to look at it yet.
        cluster.crash();
        cluster.sleep(Duration::from_millis(1)).await;
        cluster.create(&PodDisruptionBudget::KIND, "default", object).await;
        let name = |at: usize| cluster.caches.pods.all()[at].metadata.name.clone();
        let first = name(0);
        let refused = evict(&cluster, &first).await.unwrap_err();
        assert_eq!(refused.reason(), "TooManyRequests", "{refused}");
        cluster.until("a budget", |_| budget(&cluster).status.disruptions_allowed == 1).await;
        evict(&cluster, &first).await.unwrap();
        let second = name(1);
        assert_ne!(first, second);
        let refused = evict(&cluster, &second).await.unwrap_err();
        assert_eq!(refused.reason(), "TooManyRequests", "{refused}");
        cluster
            .until("another pod in its place", |caches| {
                let status = &budget(&cluster).status;
                ready(caches, 3) && status.disruptions_allowed == 1 && status.disrupted_pods.is_empty()
            })
            .await;
        evict(&cluster, &second).await.unwrap();
        let written: Value =
            cluster.requests.read("/apis/policy/v1/namespaces/default/poddisruptionbudgets/web").await.unwrap();
        for field in ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"] {
            assert!(written["status"][field].is_i64(), "{written}");
        }
    });
}

#[test]
fn a_budget_asks_an_owner_of_any_kind_for_its_scale() {
    simulate(Setup { seed: 1, nodes: 1, ..Setup::default() }, |cluster| async move {
        let definitions =
            Kind::of_cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
        let databases = Kind::namespaced("example.com", "v1", "Database", "databases");
        let schema = json!({"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}},
        }});
        let version = json!({
            "name": "v1", "served": true, "storage": true, "schema": schema,
            "subresources": {
                "status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
            },
        });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "databases.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "versions": [version],
                "names": {"kind": "Database", "plural": "databases", "singular": "database"},
            },
        });
        cluster.requests.create(&definitions, "", &definition).await.unwrap();
        let database = json!({
            "apiVersion": "example.com/v1", "kind": "Database", "metadata": {"name": "db"}, "spec": {"replicas": 4},
        });
        let made: Value = loop {
            match cluster.requests.create(&databases, "default", &database).await {
                Ok(answer) => break serde_json::from_slice(&answer).unwrap(),
                Err(error) => assert!(error.is_not_found(), "{error}"),
            }
            cluster.sleep(Duration::from_millis(100)).await;
        };
        for name in ["db-a", "db-b", "db-c"] {
            let owner = json!({
                "apiVersion": "example.com/v1", "kind": "Database", "name": "db", "uid": made["metadata"]["uid"],
                "controller": true,
            });
            let mut pod = template("db:1");
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            pod["metadata"]["name"] = json!(name);
            pod["metadata"]["ownerReferences"] = json!([owner]);
            cluster.create(&Pod::KIND, "default", pod).await;
        }
        let object = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
            "spec": {"maxUnavailable": "50%", "selector": {"matchLabels": {"app": "web"}}},
        });
        cluster.create(&PodDisruptionBudget::KIND, "default", object).await;
        cluster
            .until("a budget", |_| {
                let status = &budget(&cluster).status;
                [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed]
                    == [4, 2, 3, 1]
            })
            .await;
    });
}
