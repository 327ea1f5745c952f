//! What a set's pods and claims are called and look like: by ordinal, the same each time they are made.

use client::objects::{
    Pod,
    apps::{ClaimTemplate, Retention, StatefulSetSpec},
    pod::Phase,
};
use serde_json::{Map, Value, json};

use super::{REVISION_LABEL, Scene, Version};
use crate::pods::from_template;

pub(super) const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
pub(super) const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The set and the ordinal that a pod's name is made of, if it is one that a set gives.
pub(super) fn parse(name: &str) -> Option<(&str, i64)> {
    let (set, digits) = name.rsplit_once('-')?;
    let ordinal: u32 = digits.parse().ok()?;
    // Two names must not stand for one ordinal.
    (digits == ordinal.to_string()).then_some((set, ordinal.into()))
}

pub(super) fn pod_name(set: &str, ordinal: i64) -> String {
    format!("{set}-{ordinal}")
}

pub(super) fn claim_name(template: &str, set: &str, ordinal: i64) -> String {
    format!("{template}-{set}-{ordinal}")
}

pub(super) fn is_running_and_ready(pod: &Pod) -> bool {
    pod.status.phase == Phase::Running && pod.is_ready()
}

/// Whether an ordinal is one of those that the set is to have.
pub(super) fn is_wanted(spec: &StatefulSetSpec, ordinal: i64) -> bool {
    let start = i64::from(spec.ordinals.start);
    (start..start + i64::from(spec.replicas)).contains(&ordinal)
}

impl Scene<'_> {
    fn set_name(&self) -> &str {
        &self.set.metadata.name
    }

    /// The version of which a pod is made: below the partition of an update it stays the one before.
    fn version_of(&self, ordinal: i64) -> &Version {
        let strategy = &self.set.spec.update_strategy;
        let untouched = match &strategy.rolling_update {
            Some(update) => update.partition,
            None if *strategy.kind == *"RollingUpdate" => self.set.status.current_replicas,
            None => 0,
        };
        let start = i64::from(self.set.spec.ordinals.start);
        if ordinal < start + i64::from(untouched) { &self.current } else { &self.update }
    }

    /// The pod of this ordinal.
    pub(super) fn pod(&self, ordinal: i64) -> Value {
        let version = self.version_of(ordinal);
        let name = pod_name(self.set_name(), ordinal);
        let mut pod = from_template(&version.template, &self.owner);
        let metadata = &mut pod["metadata"];
        metadata["name"] = json!(name);
        metadata["labels"][POD_NAME_LABEL] = json!(name);
        metadata["labels"][POD_INDEX_LABEL] = json!(ordinal.to_string());
        metadata["labels"][REVISION_LABEL] = json!(version.name);
        pod["spec"]["hostname"] = json!(name);
        if !self.set.spec.service_name.is_empty() {
            pod["spec"]["subdomain"] = json!(self.set.spec.service_name);
        }
        let claims = &self.set.spec.volume_claim_templates;
        if !claims.is_empty() {
            let is_claim = |volume: &&Value| claims.iter().any(|claim| volume["name"] == *claim.name);
            let others = pod["spec"]["volumes"].as_array().into_iter().flatten();
            let others = others.filter(|volume| !is_claim(volume)).cloned();
            pod["spec"]["volumes"] = self.claim_volumes(ordinal).chain(others).collect();
        }
        pod
    }

    /// The volumes that are the claims of this ordinal.
    pub(super) fn claim_volumes(&self, ordinal: i64) -> impl Iterator<Item = Value> {
        self.set.spec.volume_claim_templates.iter().map(move |template| {
            let claim = claim_name(&template.name, self.set_name(), ordinal);
            json!({"name": template.name, "persistentVolumeClaim": {"claimName": claim}})
        })
    }

    /// The claim of this ordinal by one of the set's templates.
    pub(super) fn new_claim(&self, template: &ClaimTemplate, ordinal: i64) -> Value {
        let mut metadata: Map<String, Value> = Map::new();
        for part in ["labels", "annotations", "finalizers"] {
            if let Some(value) = template.written["metadata"].get(part) {
                metadata.insert(part.to_owned(), value.clone());
            }
        }
        let mut labels = metadata.remove("labels").unwrap_or_else(|| json!({}));
        for (name, value) in self.set.spec.selector.written["matchLabels"].as_object().into_iter().flatten() {
            labels[name] = value.clone();
        }
        metadata.insert("labels".to_owned(), labels);
        metadata.insert("name".to_owned(), claim_name(&template.name, self.set_name(), ordinal).into());
        if self.set.spec.persistent_volume_claim_retention_policy.when_deleted == Retention::Delete {
            metadata.insert("ownerReferences".to_owned(), json!([self.owner.as_controller()]));
        }
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template.written["spec"],
        })
    }

    pub(super) fn has_its_name(&self, pod: &Pod) -> bool {
        pod.metadata.labels.get(POD_NAME_LABEL) == Some(&pod.metadata.name)
    }

    pub(super) fn has_its_claims(&self, pod: &Pod, ordinal: i64) -> bool {
        self.set.spec.volume_claim_templates.iter().all(|template| {
            let claim = claim_name(&template.name, self.set_name(), ordinal);
            pod.spec.claims.iter().any(|volume| volume.volume == template.name && *volume.claim == *claim)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_ordinal_of_one_set() {
        for (name, parsed) in [
            ("web-0", Some(("web", 0))),
            ("web-0-12", Some(("web-0", 12))),
            ("web-01", None),
            ("web-", None),
            ("web", None),
            ("web-+1", None),
            ("web-99999999999", None),
        ] {
            assert_eq!(parse(name), parsed, "{name}");
        }
    }
}
