//! Volumes that live and die with a pod: the claim that its template describes, made once the pod is there (KEP-1698). The
//! pod owns it, so that it goes with the pod.

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Object, PersistentVolumeClaim, Pod, pod, shape::EphemeralVolume},
};
use serde_json::{Value, json};

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference},
};

/// By the keys of pods.
pub struct EphemeralVolumes;

impl Controller for EphemeralVolumes {
    fn name(&self) -> &'static str {
        "ephemeral_volume"
    }

    fn account(&self) -> &'static str {
        "ephemeral-volume-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Pod, Topic::PersistentVolumeClaim]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            // What volumes a pod has never changes.
            Changes::Pod(changes) => {
                let new = changes.iter().filter(|change| change.old.is_none()).filter_map(|change| change.new.as_ref());
                new.filter(|pod| pod.ephemeral_volumes().next().is_some()).for_each(|pod| add(pod.key()));
            }
            Changes::PersistentVolumeClaim(changes) => {
                for change in changes.iter().filter(|change| change.new.is_none()) {
                    let users = caches.pods.by(pod::CLAIM, change.key.as_str());
                    users.iter().for_each(|pod| add(pod.key()));
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(pod) = caches.pods.get(key).filter(|pod| !pod.metadata.is_being_deleted()) else { return plan };
        let fail = |volume: &EphemeralVolume, why: String| {
            let message = format!("ephemeral volume {}: {why}", volume.name);
            vec![Action::Event(Event::warning(&Reference::to(&*pod), "FailedBinding", message))]
        };
        for volume in pod.ephemeral_volumes() {
            let name = volume.claim_of(&pod.metadata.name);
            match caches.persistent_volume_claims.find(key.namespace(), &name) {
                Some(claim) if claim.metadata.is_controlled_by(&pod.metadata.uid) => {}
                Some(claim) => {
                    let claim = claim.key();
                    let why = format!("PVC {claim} was not created for pod {key} (pod is not owner)");
                    plan.then(fail(volume, why));
                    return plan;
                }
                None => {
                    plan.then(vec![create(&pod, volume, &name)]);
                    let failure = turn.failure.as_ref().filter(|failure| *failure.reason != *"AlreadyExists");
                    if let Some(failure) = failure {
                        plan.then(fail(volume, format!("create PVC {name}: {}", failure.message)));
                        return plan;
                    }
                }
            }
        }
        plan
    }
}

fn create(pod: &Pod, volume: &EphemeralVolume, name: &str) -> Action {
    let template = &volume.template;
    let mut metadata = json!({"name": name, "ownerReferences": [Reference::to(pod).as_controller()]});
    for part in ["labels", "annotations"] {
        if !template["metadata"][part].is_null() {
            metadata[part] = template["metadata"][part].clone();
        }
    }
    let object: Value = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"],
    });
    Action::Create { kind: PersistentVolumeClaim::KIND, namespace: pod.metadata.namespace.clone(), object, tell: None }
}
