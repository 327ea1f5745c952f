//! How things end: owned objects with their owners, and namespaces with all that is in them, against the API server in this
//! process.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, ops::Deref, sync::Arc, time::Duration};

use client::{
    Cache, Caches, Key, Kind,
    objects::{Deployment, Meta, Namespace, Object, Pod},
    reflector,
    requests::{DeleteOptions, Patch, Propagation},
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::cluster::live::{Live, PATIENCE, Part};
use tokio::{sync::Notify, task::JoinSet, time::timeout};

#[derive(Deserialize)]
struct ConfigMap {
    metadata: Meta,
}

impl Object for ConfigMap {
    const KIND: Kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Deserialize)]
struct Sail {
    metadata: Meta,
}

impl Object for Sail {
    const KIND: Kind = Kind::namespaced("shop.example.com", "v1", "Sail", "sails");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

const DEFINITION: Kind =
    Kind::of_cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");

/// An API server with controllers, and the maps that it keeps.
struct Cluster {
    live: Live,
    maps: Arc<Cache<ConfigMap>>,
}

impl Deref for Cluster {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.live
    }
}

impl Cluster {
    async fn start() -> Self {
        let mut live = Live::start(Part::Controllers).await;
        let maps = reflector::follow::<ConfigMap>(&live.requests, "", &mut live.tasks);
        Self { live, maps }
    }

    async fn create(&self, kind: &Kind, namespace: &str, mut object: Value) -> Value {
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = (*kind.kind).into();
        let answer = self.requests.create(kind, namespace, &object).await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    async fn map(&self, namespace: &str, name: &str, owners: &[&Value]) -> Value {
        let owners: Vec<Value> = owners.iter().map(|owner| reference(owner)).collect();
        let metadata = json!({"name": name, "ownerReferences": owners});
        let made = self.create(&ConfigMap::KIND, namespace, json!({ "metadata": metadata })).await;
        self.maps.observe(serde_json::from_value(made.clone()).unwrap());
        made
    }

    async fn delete(&self, kind: &Kind, key: &Key, propagation: Propagation) {
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        self.requests.delete(kind, key, &options).await.unwrap();
    }

    /// Returns once exactly these ConfigMaps are in the namespace.
    async fn until_maps(&self, namespace: &str, names: &[&str]) {
        let news = Arc::new(Notify::new());
        let subscription = self.maps.subscribe(Arc::clone(&news));
        let wanted: BTreeSet<&str> = names.iter().copied().collect();
        let wait = async {
            loop {
                let maps = self.maps.in_namespace(namespace);
                if maps.iter().map(|map| &*map.metadata.name).collect::<BTreeSet<_>>() == wanted {
                    return;
                }
                subscription.changes();
                news.notified().await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            let maps = self.maps.in_namespace(namespace);
            panic!("{:?} remain, not {names:?}", maps.iter().map(|map| &map.metadata.name).collect::<Vec<_>>());
        }
    }

    async fn define_sails(&self) {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "metadata": {"name": "sails.shop.example.com"},
            "spec": {
                "group": "shop.example.com", "scope": "Namespaced",
                "names": {"plural": "sails", "singular": "sail", "kind": "Sail", "listKind": "SailList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            },
        });
        self.create(&DEFINITION, "", definition).await;
        let served = async {
            while self.requests.read::<Value>(&Sail::KIND.collection("")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, served).await.unwrap();
    }
}

fn reference(owner: &Value) -> Value {
    let metadata = &owner["metadata"];
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"],
        "blockOwnerDeletion": true,
    })
}

fn in_default(name: &str) -> Key {
    Key::new("default", name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owned_objects_end_in_every_way() {
    let cluster = Cluster::start().await;
    let family = async |prefix: &str| {
        let owner = cluster.map("default", &format!("{prefix}-owner"), &[]).await;
        let child = cluster.map("default", &format!("{prefix}-child"), &[&owner]).await;
        cluster.map("default", &format!("{prefix}-grandchild"), &[&child]).await;
        owner
    };
    let root = "kube-root-ca.crt";
    let keeper = cluster.map("default", "keeper", &[]).await;
    let background = family("background").await;
    cluster.map("default", "shared", &[&background, &keeper]).await;
    cluster.delete(&ConfigMap::KIND, &in_default("background-owner"), Propagation::Background).await;
    let present = |names: &[&'static str]| -> Vec<&'static str> {
        let mut all = names.to_vec();
        if cluster.maps.find("default", root).is_some() {
            all.push(root);
        }
        all
    };
    cluster.until_maps("default", &present(&["keeper", "shared"])).await;

    family("foreground").await;
    cluster.delete(&ConfigMap::KIND, &in_default("foreground-owner"), Propagation::Foreground).await;
    cluster.until_maps("default", &present(&["keeper", "shared"])).await;

    family("orphan").await;
    cluster.delete(&ConfigMap::KIND, &in_default("orphan-owner"), Propagation::Orphan).await;
    cluster.until_maps("default", &present(&["keeper", "shared", "orphan-child", "orphan-grandchild"])).await;
    let orphan = cluster.maps.find("default", "orphan-child").unwrap();
    assert!(orphan.metadata.owner_references.is_empty(), "{:?}", orphan.metadata.owner_references);
    cluster.delete(&ConfigMap::KIND, &in_default("orphan-child"), Propagation::Background).await;

    // An owner that never was, by its name or by its UID.
    let mut stranger = keeper.clone();
    stranger["metadata"]["uid"] = "another".into();
    cluster.map("default", "claims-a-namesake", &[&stranger]).await;
    stranger["metadata"]["name"] = "nobody".into();
    cluster.map("default", "claims-nobody", &[&stranger]).await;
    cluster.until_maps("default", &present(&["keeper", "shared"])).await;
    cluster.live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_objects_own_and_are_owned() {
    let cluster = Cluster::start().await;
    for round in 0..2 {
        cluster.define_sails().await;
        let sail = cluster.create(&Sail::KIND, "default", json!({"metadata": {"name": "main"}})).await;
        let map = cluster.map("default", &format!("rope-{round}"), &[&sail]).await;
        let owned = json!({"metadata": {"name": "small", "ownerReferences": [reference(&map), reference(&sail)]}});
        cluster.create(&Sail::KIND, "default", owned).await;
        cluster.delete(&Sail::KIND, &in_default("main"), Propagation::Foreground).await;
        let gone = async {
            loop {
                let sails: Value = cluster.requests.read(&Sail::KIND.collection("")).await.unwrap();
                if sails["items"].as_array().unwrap().is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, gone).await.is_ok(), "sails remain in round {round}");
        // Instances go with their definition, and so does what they own.
        let sail = cluster.create(&Sail::KIND, "default", json!({"metadata": {"name": "last"}})).await;
        cluster.map("default", "flag", &[&sail]).await;
        cluster.delete(&DEFINITION, &Key::new("", "sails.shop.example.com"), Propagation::Background).await;
        let root: Vec<&str> =
            cluster.maps.find("default", "kube-root-ca.crt").iter().map(|_| "kube-root-ca.crt").collect();
        cluster.until_maps("default", &root).await;
        let gone = async {
            while cluster.requests.read::<Value>(&DEFINITION.object("", "sails.shop.example.com", "")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, gone).await.is_ok(), "the definition stays");
    }
    cluster.live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_ends_in_the_foreground() {
    let cluster = Cluster::start().await;
    let web = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    });
    cluster.create(&Deployment::KIND, "default", web).await;
    cluster.until("pods", |caches| caches.pods.len() == 3).await;
    cluster.delete(&Deployment::KIND, &in_default("web"), Propagation::Foreground).await;
    cluster
        .until("the end", |caches| {
            let left = [caches.pods.len(), caches.replica_sets.len(), caches.deployments.len()];
            // In this order: what is owned goes first.
            assert!(left[2] == 1 || left == [0, 0, 0], "{left:?}");
            left == [0, 0, 0]
        })
        .await;
    cluster.live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_namespace() {
    let cluster = Cluster::start().await;
    cluster.define_sails().await;
    cluster.create(&Namespace::KIND, "", json!({"metadata": {"name": "shop"}})).await;
    let account = Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts");
    let _ = cluster
        .requests
        .create(
            &account,
            "shop",
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
        )
        .await;
    cluster.map("shop", "settings", &[]).await;
    let pod =
        json!({"metadata": {"name": "web"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    cluster.create(&Pod::KIND, "shop", pod).await;
    let held = json!({"metadata": {"name": "main", "finalizers": ["shop.example.com/hold"]}});
    cluster.create(&Sail::KIND, "shop", held).await;
    let shop = Key::new("", "shop");
    cluster.delete(&Namespace::KIND, &shop, Propagation::Background).await;
    let condition = |caches: &Caches, kind: &str| {
        let namespace = caches.namespaces.find("", "shop").unwrap();
        namespace.status.conditions.iter().find(|condition| *condition.kind == *kind).map(|it| it.message.to_string())
    };
    cluster
        .until("the wait for pods", |caches| {
            condition(caches, "NamespaceContentRemaining")
                .is_some_and(|it| it.contains("pods. has 1 resource instances"))
        })
        .await;
    assert!(cluster.maps.find("shop", "settings").is_some(), "pods go first");
    let at_once = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    cluster.requests.delete(&Pod::KIND, &Key::new("shop", "web"), &at_once).await.unwrap();
    cluster
        .until("the wait for the sail", |caches| {
            condition(caches, "NamespaceFinalizersRemaining")
                .is_some_and(|it| it.contains("shop.example.com/hold in 1"))
        })
        .await;
    let refused = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}});
    let error = cluster.requests.create(&ConfigMap::KIND, "shop", &refused).await.unwrap_err();
    assert!(error.to_string().contains("because it is being terminated"), "{error}");
    let release = json!({"metadata": {"finalizers": null}});
    let sail = Key::new("shop", "main");
    cluster.requests.patch(&Sail::KIND, &sail, "", (Patch::Merge, &release)).await.unwrap();
    cluster.until("the end", |caches| caches.namespaces.find("", "shop").is_none()).await;
    for kind in [ConfigMap::KIND, Sail::KIND, account] {
        let left: Value = cluster.requests.read(&kind.collection("shop")).await.unwrap();
        assert_eq!(left["items"], json!([]), "{}", kind.plural);
    }
    cluster.live.stop().await;
}

/// Many write into a namespace while it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_behind_the_back_of_an_ending_namespace() {
    let cluster = Cluster::start().await;
    for round in 0..5 {
        let name = format!("shop-{round}");
        cluster.create(&Namespace::KIND, "", json!({"metadata": {"name": name}})).await;
        // A cache that has not heard of it yet would take it for gone already.
        cluster.until("news of the namespace", |caches| caches.namespaces.find("", &name).is_some()).await;
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let (requests, name) = (cluster.requests.clone(), name.clone());
            writers.spawn(async move {
                for number in 0.. {
                    let metadata = json!({"name": format!("m-{writer}-{number}")});
                    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
                    if requests.create(&ConfigMap::KIND, &name, &map).await.is_err() {
                        return;
                    }
                }
            });
        }
        cluster.delete(&Namespace::KIND, &Key::new("", &name), Propagation::Background).await;
        while writers.join_next().await.is_some() {}
        cluster.until("the end", |caches| caches.namespaces.find("", &name).is_none()).await;
        let left: Value = cluster.requests.read(&ConfigMap::KIND.collection(&name)).await.unwrap();
        assert_eq!(left["items"], json!([]));
    }
    cluster.live.stop().await;
}
