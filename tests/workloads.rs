//! Deployments from their creation to the next template and back, against the API server in this process. The test is
//! the node: it reports pods as ready when it likes.
#![allow(clippy::unwrap_used)]

use std::{ops::Deref, sync::Arc};

use client::{
    Caches, Key, Kind,
    caches::Topic,
    objects::{Deployment, Object, Pod, ReplicaSet},
    requests::Patch,
};
use serde_json::{Value, json};
use testkit::cluster::live::{Live, PATIENCE, Part};
use tokio::{sync::Notify, time::timeout};

/// An API server with controllers, whose nodes are the test.
struct Cluster(Live);

impl Deref for Cluster {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.0
    }
}

impl Cluster {
    async fn start() -> Self {
        Self(Live::start(Part::Controllers).await)
    }

    fn deployment(&self) -> Arc<Deployment> {
        self.caches.deployments.find("default", "web").unwrap()
    }

    async fn patch(&self, kind: Kind, name: &str, subresource: &str, patch: Value) {
        let key = Key::new("default", name);
        let answer = self.requests.patch(&kind, &key, subresource, (Patch::Merge, &patch)).await.unwrap();
        // Or what is waited for next might be found in the past.
        self.caches.observe_answer(&kind, &answer);
    }

    /// Reports every pod as running and ready, and lets those go that are to go, until `done`.
    async fn run_pods(&self, what: &str, done: impl Fn(&Caches) -> bool, check: impl Fn(&Caches)) {
        let news = Arc::new(Notify::new());
        let subscriptions: Vec<_> = Topic::ALL.iter().map(|topic| self.caches.subscribe(*topic, &news)).collect();
        let work = async {
            loop {
                for subscription in &subscriptions {
                    subscription.changes();
                }
                check(&self.caches);
                if done(&self.caches) {
                    return;
                }
                for pod in self.caches.pods.all() {
                    if pod.metadata.is_being_deleted() {
                        let now = client::requests::DeleteOptions {
                            grace_period_seconds: Some(0),
                            ..client::requests::DeleteOptions::default()
                        };
                        let _ = self.requests.delete(&Pod::KIND, &pod.key(), &now).await;
                    } else if !pod.is_ready() {
                        let ready =
                            json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
                        let status = json!({"status": {"phase": "Running", "conditions": [ready]}});
                        let _ = self.requests.patch(&Pod::KIND, &pod.key(), "status", (Patch::Merge, &status)).await;
                    }
                }
                news.notified().await;
            }
        };
        if timeout(PATIENCE, work).await.is_err() {
            panic!("{what} did not come about: {:?}, {} pods", self.deployment().status, self.caches.pods.len());
        }
    }
}

fn web(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}], "terminationGracePeriodSeconds": 5},
            },
        },
    })
}

fn is_complete(caches: &Caches, replicas: i32, sets: usize) -> bool {
    let deployment = caches.deployments.find("default", "web").unwrap();
    let status = &deployment.status;
    let numbers = [status.replicas, status.updated_replicas, status.available_replicas];
    numbers == [replicas; 3]
        && status.observed_generation == deployment.metadata.generation
        && caches.replica_sets.len() == sets
        && caches.pods.len() == replicas as usize
}

fn condition<'d>(deployment: &'d Deployment, kind: &str) -> (&'d str, &'d str) {
    let condition = deployment.status.conditions.iter().find(|condition| *condition.kind == *kind).unwrap();
    (&condition.status, &condition.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_scales_and_rolls_back() {
    let cluster = Cluster::start().await;
    let no_check = |_: &Caches| {};
    cluster.requests.create(&Deployment::KIND, "default", &web(6)).await.unwrap();
    let made = |caches: &Caches| caches.pods.len() == 6 && caches.deployments.len() == 1;
    cluster.until("pods", made).await;
    assert_eq!(condition(&cluster.deployment(), "Available"), ("False", "MinimumReplicasUnavailable"));
    cluster.run_pods("the first rollout", |caches| is_complete(caches, 6, 1), no_check).await;
    assert_eq!(condition(&cluster.deployment(), "Available"), ("True", "MinimumReplicasAvailable"));

    // Another template: never more than 8 pods that stay, never fewer than 5 that are ready.
    let image =
        |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}});
    cluster.patch(Deployment::KIND, "web", "", image("web:2")).await;
    let within_margins = |caches: &Caches| {
        let pods = caches.pods.all();
        let staying: Vec<_> = pods.iter().filter(|pod| pod.is_active()).collect();
        let ready = staying.iter().filter(|pod| pod.is_ready()).count();
        assert!(staying.len() <= 8, "{} pods", staying.len());
        assert!(ready >= 5, "{ready} pods are ready");
    };
    cluster.run_pods("the second rollout", |caches| is_complete(caches, 6, 2), within_margins).await;
    assert_eq!(cluster.deployment().metadata.annotations.get("deployment.kubernetes.io/revision"), Some("2"));
    assert_eq!(condition(&cluster.deployment(), "Progressing"), ("True", "NewReplicaSetAvailable"));

    cluster.patch(Deployment::KIND, "web", "", json!({"spec": {"replicas": 2}})).await;
    cluster.run_pods("fewer pods", |caches| is_complete(caches, 2, 2), no_check).await;

    // Back: the first set is taken up again, under a new number.
    cluster.patch(Deployment::KIND, "web", "", image("web:1")).await;
    cluster.run_pods("the rollback", |caches| is_complete(caches, 2, 2), no_check).await;
    assert_eq!(cluster.deployment().metadata.annotations.get("deployment.kubernetes.io/revision"), Some("3"));
    cluster.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_told_of_in_the_conditions() {
    let cluster = Cluster::start().await;
    let quotas = Kind::namespaced("", "v1", "ResourceQuota", "resourcequotas");
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "2"}}, "status": {"hard": {"pods": "2"}}});
    cluster.requests.create(&quotas, "default", &quota).await.unwrap();
    cluster.requests.create(&Deployment::KIND, "default", &web(4)).await.unwrap();
    cluster
        .until("the failure", |caches| {
            let told = |deployment: Arc<Deployment>| {
                deployment.status.conditions.iter().any(|condition| {
                    *condition.kind == *"ReplicaFailure" && condition.message.contains("exceeded quota: few")
                })
            };
            caches.pods.len() == 2 && caches.deployments.find("default", "web").is_some_and(told)
        })
        .await;
    let key = |name: &str| Key::new("default", name);
    cluster.requests.delete(&quotas, &key("few"), &client::requests::DeleteOptions::default()).await.unwrap();
    cluster.until("the rest of the pods", |caches| caches.pods.len() == 4).await;
    let recovered = |caches: &Caches| {
        let sets: Vec<Arc<ReplicaSet>> = caches.replica_sets.all();
        sets.iter().all(|set| set.status.replicas == 4 && set.status.conditions.is_empty())
    };
    cluster.until("the end of the failure", recovered).await;
    cluster.0.stop().await;
}
