//! Volumes that are directories of a node, made for claims of the class `local-path`.
//!
//! Not here: the directories. A node makes one when a pod first mounts it, and removes it after its volume.

use std::time::Duration;

use client::{
    Caches, Key, Requests,
    caches::{Changes, Topic},
    objects::{
        Node, Object, PersistentVolume, PersistentVolumeClaim, StorageClass,
        storage::{PROVISIONED_BY, PROVISIONER, SELECTED_NODE},
    },
    requests::DeleteOptions,
};
use serde_json::{Value, json};

use super::patch_claim;
use crate::{
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference, precondition},
};

/// By the keys of claims and the names of volumes.
pub struct LocalPath;

pub(super) const NAME: &str = "coracle.dev/local-path";
const CLASS: &str = "local-path";
/// Below it lie the directories, on every node.
const ROOT: &str = "/var/lib/coracle/volumes";
const RETRY: Duration = Duration::from_secs(1);
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Makes the class `local-path`, and the default one, where no class is the default; ends when that is so.
pub async fn keep_default_class(caches: &Caches, requests: &Requests) {
    caches.storage_classes.synced().await;
    if caches.storage_classes.default_class().is_some() {
        return;
    }
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": NAME, "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Delete",
        "allowVolumeExpansion": true,
    });
    loop {
        match requests.create(&StorageClass::KIND, "", &class).await {
            Ok(answer) => return caches.observe_answer(&StorageClass::KIND, &answer),
            // It is there, and somebody took from it that it is the default.
            Err(error) if error.reason() == "AlreadyExists" => return,
            Err(error) => tracing::warn!("cannot make the storage class {CLASS}: {error}; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

impl Controller for LocalPath {
    fn name(&self) -> &'static str {
        NAME
    }

    fn account(&self) -> &'static str {
        crate::LOCAL_PATH
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::PersistentVolumeClaim, Topic::PersistentVolume, Topic::StorageClass, Topic::Node]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::PersistentVolumeClaim(changes) => {
                let new = changes.iter().filter_map(|change| change.new.as_ref());
                new.filter(|claim| is_asked(claim)).for_each(|claim| add(claim.key()));
            }
            Changes::PersistentVolume(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::StorageClass(changes) => {
                for change in changes {
                    let waiting = caches.persistent_volume_claims.unbound(change.key.name());
                    waiting.iter().for_each(|claim| add(claim.key()));
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        if key.namespace().is_empty() {
            let volume = caches.persistent_volumes.get(key).filter(|volume| is_over(volume));
            plan.then(volume.map(|volume| delete(&volume)).into_iter().collect());
        } else if let Some(claim) = caches.persistent_volume_claims.get(key)
            && is_asked(&claim)
        {
            provision(caches, &claim, &mut plan);
        }
        plan
    }
}

/// Whether the binder asks for a volume for this claim here.
fn is_asked(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.volume_name.is_empty()
        && !claim.metadata.is_being_deleted()
        && claim.annotation(PROVISIONER) == Some(NAME)
}

/// One of ours that nobody has any more.
fn is_over(volume: &PersistentVolume) -> bool {
    volume.metadata.annotations.get(PROVISIONED_BY) == Some(NAME)
        && *volume.status.phase == *"Released"
        && *volume.spec.persistent_volume_reclaim_policy == *"Delete"
        && !volume.metadata.is_being_deleted()
}

fn delete(volume: &PersistentVolume) -> Action {
    let options = DeleteOptions { uid: Some(volume.metadata.uid.clone()), ..DeleteOptions::default() };
    Action::Delete { kind: PersistentVolume::KIND, key: volume.key(), options, tell: None }
}

fn provision(caches: &Caches, claim: &PersistentVolumeClaim, plan: &mut Plan) {
    let name = format!("pvc-{}", claim.metadata.uid);
    let class = caches.storage_classes.find("", claim.class()).filter(|class| *class.provisioner == *NAME);
    let (Some(class), None) = (class, caches.persistent_volumes.find("", &name)) else { return };
    let about = Reference::to(claim);
    let fail = |why: &str| {
        let message = format!("failed to provision volume with StorageClass {:?}: {why}", class.metadata.name);
        Action::Event(Event::warning(&about, "ProvisioningFailed", message))
    };
    if let Some(why) = unsuited(claim) {
        return plan.then(vec![fail(why)]);
    }
    let Some(selected) = claim.annotation(SELECTED_NODE) else {
        return plan.then(vec![fail("configuration error, no node was specified")]);
    };
    let Some(node) = caches.nodes.find("", selected) else {
        // The scheduler is to choose again.
        let mut metadata = precondition(&claim.metadata);
        metadata["annotations"] = json!({SELECTED_NODE: null});
        return plan.then(vec![patch_claim(claim, json!({ "metadata": metadata }))]);
    };
    let provisioning = format!("External provisioner is provisioning volume for claim \"{}\"", claim.key());
    plan.then(vec![Action::Event(Event::normal(&about, "Provisioning", provisioning))]);
    plan.then(vec![Action::Create {
        kind: PersistentVolume::KIND,
        namespace: "".into(),
        object: volume(&name, claim, &class, &node),
        tell: None,
    }]);
    let provisioned = format!("Successfully provisioned volume {name}");
    plan.then(vec![Action::Event(Event::normal(&about, "ProvisioningSucceeded", provisioned))]);
}

/// Why a directory is not what the claim asks for.
fn unsuited(claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let of_one = |mode: &str| matches!(mode, "ReadWriteOnce" | "ReadWriteOncePod");
    if claim.spec.selector.is_some() {
        Some("claim.Spec.Selector is not supported")
    } else if *claim.spec.volume_mode == *"Block" {
        Some("block volumes are not supported")
    } else if !claim.spec.access_modes.iter().all(|mode| of_one(mode)) {
        Some("only the access modes ReadWriteOnce and ReadWriteOncePod are supported")
    } else {
        None
    }
}

fn volume(name: &str, claim: &PersistentVolumeClaim, class: &StorageClass, node: &Node) -> Value {
    let (namespace, of) = (&claim.metadata.namespace, &claim.metadata.name);
    let hostname = node.metadata.labels.get(HOSTNAME).unwrap_or(&node.metadata.name);
    let affinity = json!({"key": HOSTNAME, "operator": "In", "values": [hostname]});
    let policy = if class.reclaim_policy.is_empty() { "Delete" } else { &class.reclaim_policy };
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: NAME}},
        "spec": {
            "accessModes": claim.spec.access_modes,
            "capacity": {"storage": claim.spec.resources.requests.get("storage")},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": of,
                "uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version.to_string(),
            },
            "hostPath": {"path": format!("{ROOT}/{name}_{namespace}_{of}"), "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [affinity]}]}},
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": class.metadata.name,
            "volumeMode": "Filesystem",
        },
    });
    if !class.mount_options.is_empty() {
        volume["spec"]["mountOptions"] = json!(class.mount_options);
    }
    volume
}
