//! Whom the claims of a set's pods belong to (`spec.persistentVolumeClaimRetentionPolicy`, KEP-1847): what owns a claim
//! takes it along when it goes.
//!
//! | when scaled | when deleted | the owner of a wanted pod's claim | of a surplus pod's |
//! |---|---|---|---|
//! | Retain | Retain | none | none |
//! | Retain | Delete | the set | the set |
//! | Delete | Retain | none | the pod |
//! | Delete | Delete | the set | the pod |
//!
//! Claims that somebody else manages, or that name a set or pod of the same name that is gone, are left to the garbage
//! collector.

use client::{
    objects::{Meta, Object, OwnerReference, PersistentVolumeClaim, Pod, apps::Retention},
    requests::Patch,
};
use serde_json::{Value, json};

use super::{
    Scene,
    identity::{is_wanted, pod_name},
};
use crate::plan::{Action, Event, Reference, precondition};

impl Scene<'_> {
    /// Lets the claims of an ordinal belong to whom they should.
    pub(super) fn mend_claims(&self, ordinal: i64, pod: Option<&Pod>, claims: &mut Vec<Action>) {
        for template in &self.set.spec.volume_claim_templates {
            let Some(claim) = self.claim(&template.name, ordinal) else { continue };
            let Some(owners) = self.owners_to_set(&claim.metadata, ordinal, pod) else { continue };
            if self.is_managed_elsewhere(&claim.metadata, ordinal) {
                let message = format!(
                    "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a manging controller, \
                     the retention policy is ignored for this claim",
                    claim.metadata.name
                );
                claims.push(Action::Event(Event::warning(&self.owner, "ConflictingController", message)));
            }
            let mut metadata = precondition(&claim.metadata);
            metadata["ownerReferences"] = owners.into();
            claims.push(Action::Patch {
                kind: PersistentVolumeClaim::KIND,
                key: claim.key(),
                subresource: "",
                form: Patch::Merge,
                patch: json!({ "metadata": metadata }),
            });
        }
    }

    /// Whether a claim of this ordinal still belongs to an earlier pod of it, with which it will go.
    pub(super) fn has_stale_claim(&self, ordinal: i64) -> bool {
        let policy = self.set.spec.persistent_volume_claim_retention_policy;
        let mut claims = self.set.spec.volume_claim_templates.iter();
        policy.when_scaled == Retention::Delete
            && claims.any(|template| {
                self.claim(&template.name, ordinal).is_some_and(|claim| {
                    claim.metadata.owner_references.iter().any(|owner| self.is_pod(owner, ordinal))
                })
            })
    }

    /// The owners that a claim should name, where they are not those it names.
    fn owners_to_set(&self, claim: &Meta, ordinal: i64, pod: Option<&Pod>) -> Option<Vec<Value>> {
        let owners = &claim.owner_references;
        let set_uid = &self.owner.uid;
        let pod_uid = pod.map(|pod| &pod.metadata.uid);
        let names_set = |owner: &&OwnerReference| self.is_set(owner);
        let names_pod = |owner: &&OwnerReference| self.is_pod(owner, ordinal);
        let stale = owners.iter().find(names_set).is_some_and(|owner| owner.uid != *set_uid)
            || owners.iter().find(names_pod).is_some_and(|owner| Some(&owner.uid) != pod_uid);
        if stale {
            return None;
        }
        let has_set = owners.iter().any(|owner| owner.uid == *set_uid);
        let has_pod = owners.iter().any(|owner| Some(&owner.uid) == pod_uid);
        let others = owners.iter().filter(|owner| !self.is_set(owner) && !self.is_pod(owner, ordinal)).map(written);
        if self.is_managed_elsewhere(claim, ordinal) {
            return (has_set || has_pod).then(|| others.collect());
        }
        let policy = self.set.spec.persistent_volume_claim_retention_policy;
        let surplus = !is_wanted(&self.set.spec, ordinal);
        let goes_with_pod = policy.when_scaled == Retention::Delete && surplus;
        let goes_with_set = policy.when_deleted == Retention::Delete && !goes_with_pod;
        let half_owned =
            owners.iter().any(|owner| !owner.controller && (owner.uid == *set_uid || Some(&owner.uid) == pod_uid));
        if has_set == goes_with_set && has_pod == goes_with_pod && !half_owned {
            return None;
        }
        let set = goes_with_set.then(|| self.owner.as_controller());
        let pod = pod.filter(|_| goes_with_pod).map(|pod| Reference::to(pod).as_controller());
        Some(others.chain(set).chain(pod).collect())
    }

    /// Whether something other than the set and its pod manages a claim. Where claims are kept anyway that is no matter.
    fn is_managed_elsewhere(&self, claim: &Meta, ordinal: i64) -> bool {
        let policy = self.set.spec.persistent_volume_claim_retention_policy;
        let keeps = policy.when_scaled == Retention::Retain && policy.when_deleted == Retention::Retain;
        let other = |owner: &OwnerReference| owner.controller && !self.is_set(owner) && !self.is_pod(owner, ordinal);
        !keeps && claim.owner_references.iter().any(other)
    }

    fn is_set(&self, owner: &OwnerReference) -> bool {
        *owner.api_version == *"apps/v1" && *owner.kind == *"StatefulSet" && owner.name == self.set.metadata.name
    }

    fn is_pod(&self, owner: &OwnerReference, ordinal: i64) -> bool {
        *owner.api_version == *"v1"
            && *owner.kind == *"Pod"
            && *owner.name == *pod_name(&self.set.metadata.name, ordinal)
    }
}

fn written(owner: &OwnerReference) -> Value {
    let mut reference = json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
    });
    for (field, value) in [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)] {
        if value {
            reference[field] = json!(true);
        }
    }
    reference
}
