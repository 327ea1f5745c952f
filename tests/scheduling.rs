//! Pods find their nodes: the scheduler against the API server in this process.
#![allow(clippy::unwrap_used)]

use std::{ops::Deref, time::Duration};

use client::{
    Caches, Key, Kind,
    objects::{Node, Object, Pod},
    requests::Patch,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use testkit::cluster::live::{Live, PATIENCE, Part};
use tokio::time::timeout;

/// An API server with a scheduler; nodes and pods are what the test writes.
struct Cluster(Live);

impl Deref for Cluster {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.0
    }
}

impl Cluster {
    async fn start() -> Self {
        Self(Live::start(Part::Scheduler).await)
    }

    async fn create(&self, kind: &Kind, object: Value) {
        let namespace = if kind.namespaced { "default" } else { "" };
        let answer = self.requests.create(kind, namespace, &object).await.unwrap();
        self.caches.observe_answer(kind, &answer);
        if *kind == Node::KIND {
            // A new node counts as not ready, which somebody else clears.
            let key = Key::new("", object["metadata"]["name"].as_str().unwrap());
            let patch = json!({"spec": {"taints": null}});
            self.requests.patch(kind, &key, "", (Patch::Merge, &patch)).await.unwrap();
        }
    }

    async fn create_all(&self, kind: &Kind, objects: impl Iterator<Item = Value>) {
        stream::iter(objects).for_each_concurrent(32, |object| self.create(kind, object)).await;
    }

    async fn events(&self, name: &str) -> Vec<(String, String)> {
        let list: Value = self.requests.read("/api/v1/namespaces/default/events").await.unwrap();
        let about = |event: &&Value| event["involvedObject"]["name"] == name;
        let told = |event: &Value| {
            (event["reason"].as_str().unwrap().to_owned(), event["message"].as_str().unwrap().to_owned())
        };
        list["items"].as_array().unwrap().iter().filter(about).map(told).collect()
    }

    /// Events come after what they tell of.
    async fn event(&self, name: &str, reason: &str) -> String {
        let found = async {
            loop {
                if let Some((_, message)) = self.events(name).await.into_iter().find(|(told, _)| told == reason) {
                    return message;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, found).await.unwrap()
    }
}

fn node(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "allocatable": {"cpu": cpu, "memory": "64Gi", "pods": "110"},
            "capacity": {"cpu": cpu, "memory": "64Gi", "pods": "110"},
        },
    })
}

fn pod(name: &str, cpu: &str) -> Value {
    let container = json!({"name": "c", "image": "c", "resources": {"requests": {"cpu": cpu}}});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    })
}

fn placed(caches: &Caches, name: &str) -> Option<Box<str>> {
    let pod = caches.pods.find("default", name)?;
    (!pod.spec.node_name.is_empty()).then(|| pod.spec.node_name.clone())
}

#[tokio::test]
async fn a_pod_waits_with_its_reason_and_goes_where_room_comes() {
    let cluster = Cluster::start().await;
    cluster.create(&Node::KIND, node("small", "1")).await;
    cluster.create(&Pod::KIND, pod("web", "2")).await;
    let reason = "0/1 nodes are available: 1 Insufficient cpu. \
                  no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    cluster
        .until("the condition", |caches| {
            let web = caches.pods.find("default", "web").unwrap();
            web.condition("PodScheduled").is_some_and(|told| *told.status == *"False" && *told.message == *reason)
        })
        .await;
    assert_eq!(cluster.event("web", "FailedScheduling").await, reason);
    cluster.create(&Node::KIND, node("large", "4")).await;
    cluster.until("the binding", |caches| placed(caches, "web").as_deref() == Some("large")).await;
    assert_eq!(cluster.event("web", "Scheduled").await, "Successfully assigned default/web to large");
    cluster.0.stop().await;
}

#[tokio::test]
async fn an_important_pod_takes_the_place_of_another() {
    let cluster = Cluster::start().await;
    let classes = Kind::of_cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses");
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000});
    cluster.create(&classes, class).await;
    cluster.create(&Node::KIND, node("only", "2")).await;
    cluster.create(&Pod::KIND, pod("lesser", "2")).await;
    cluster.until("the binding", |caches| placed(caches, "lesser").is_some()).await;
    let mut important = pod("important", "2");
    important["spec"]["priorityClassName"] = json!("high");
    cluster.create(&Pod::KIND, important).await;
    cluster
        .until("the preemption", |caches| {
            placed(caches, "important").is_some() && caches.pods.find("default", "lesser").is_none()
        })
        .await;
    let uid = cluster.caches.pods.find("default", "important").unwrap().metadata.uid.clone();
    assert_eq!(cluster.event("lesser", "Preempted").await, format!("Preempted by pod {uid} on node only"));
    cluster.0.stop().await;
}

#[tokio::test]
async fn no_node_is_ever_overfilled_when_many_pods_come_at_once() {
    let cluster = Cluster::start().await;
    cluster.create_all(&Node::KIND, (0..20).map(|index| node(&format!("node-{index}"), "4"))).await;
    cluster.create_all(&Pod::KIND, (0..100).map(|index| pod(&format!("pod-{index}"), "1"))).await;
    let bound = |caches: &Caches| caches.pods.all().iter().filter(|pod| !pod.spec.node_name.is_empty()).count();
    cluster.until("eighty bindings", |caches| bound(caches) == 80).await;
    let mut nodes: Vec<Box<str>> = cluster.caches.pods.all().iter().map(|pod| pod.spec.node_name.clone()).collect();
    nodes.sort();
    let crowded = nodes.chunk_by(|a, b| a == b).filter(|chunk| !chunk[0].is_empty() && chunk.len() != 4).count();
    assert_eq!(crowded, 0);
    // What goes makes room for one that waits.
    let gone = cluster.caches.pods.all().into_iter().find(|pod| !pod.spec.node_name.is_empty()).unwrap();
    let now = client::requests::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
    cluster.requests.delete(&Pod::KIND, &gone.key(), &now).await.unwrap();
    cluster.until("the next binding", |caches| caches.pods.len() == 99 && bound(caches) == 80).await;
    cluster.0.stop().await;
}

#[tokio::test]
async fn a_gated_pod_waits_for_its_gates() {
    let cluster = Cluster::start().await;
    cluster.create(&Node::KIND, node("only", "2")).await;
    let mut gated = pod("gated", "1");
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
    cluster.create(&Pod::KIND, gated).await;
    cluster.create(&Pod::KIND, pod("free", "1")).await;
    cluster.until("the free pod's binding", |caches| placed(caches, "free").is_some()).await;
    assert_eq!(placed(&cluster.caches, "gated"), None);
    let patch = json!({"spec": {"schedulingGates": null}});
    let key = Key::new("default", "gated");
    cluster.requests.patch(&Pod::KIND, &key, "", (Patch::Merge, &patch)).await.unwrap();
    cluster.until("the gated pod's binding", |caches| placed(caches, "gated").is_some()).await;
    cluster.0.stop().await;
}

#[test]
fn why_says_what_each_node_refuses_and_what_would_have_to_change() {
    let server = testkit::Server::start(env!("CARGO_BIN_EXE_coracle"));
    let clients = server.clients();
    let mut tainted = node("tainted", "4");
    tainted["spec"] = json!({"taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]});
    for object in [node("small", "1"), tainted, pod("web", "2")] {
        clients.kubectl_with(&["create", "-f", "-"], &object.to_string());
    }
    clients.kubectl(&["taint", "nodes", "--all", "node.kubernetes.io/not-ready-"]);
    let why = |arguments: &[&str]| {
        let output = clients.command(env!("CARGO_BIN_EXE_coracle")).arg("why").args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (_, text, errors) = why(&["pod/web"]);
    assert_eq!(
        text,
        "pod default/web: it waits: none of 2 nodes takes it\n\
         small:\n  Insufficient cpu: request at most 1 of cpu (2 is requested), or use a larger node\n\
         tainted:\n  node(s) had untolerated taint(s): tolerate the taint dedicated=gpu:NoSchedule, \
         or remove it (kubectl taint nodes tainted dedicated:NoSchedule-)\n",
        "{errors}"
    );
    let json: Value = serde_json::from_str(&why(&["pod/web", "-o", "json"]).1).unwrap();
    assert_eq!(json["nodes"][0]["refusals"][0]["plugin"], "NodeResourcesFit");
    clients.kubectl(&["taint", "nodes", "tainted", "dedicated-"]);
    assert!(why(&["pod/web"]).1.contains("tainted: would take it, and none is better"), "{}", why(&["pod/web"]).1);
    let (found, _, errors) = why(&["pod/none"]);
    assert!(!found && errors.contains("pods \"none\" not found"), "{errors}");
}
