//! APIServices of what is served here: an object for each group and version, which comes with the first resource
//! in it and goes with the last. Those that clients made for servers of their own are left alone.

use std::{collections::BTreeMap, sync::Arc};

use api::{registry::Registry, status::Status};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    engine::{Caller, Engine, Target, decode, delete::DeleteOptions, patch::Change},
};

const TOPIC: &str = "apiservices.apiregistration.k8s.io";
/// Says who looks after the object: `onstart` marks what is served as long as the server is, `true` what
/// comes and goes with a definition.
const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
const BUILT_IN: &str = "onstart";
const CUSTOM: &str = "true";

type GroupPriority = (&'static str, u16, &'static [(&'static str, u16)]);

/// Group, its priority, and those of its versions where they are not 15 (kube-apiserver's aggregator).
const PRIORITIES: &[GroupPriority] = &[
    ("", 18_000, &[("v1", 1)]),
    ("apps", 17_800, &[]),
    ("events.k8s.io", 17_750, &[]),
    ("authentication.k8s.io", 17_700, &[]),
    ("authorization.k8s.io", 17_600, &[]),
    ("autoscaling", 17_500, &[("v2", 30)]),
    ("batch", 17_400, &[]),
    ("certificates.k8s.io", 17_300, &[("v1beta1", 9), ("v1alpha1", 1)]),
    ("networking.k8s.io", 17_200, &[("v1beta1", 9)]),
    ("policy", 17_100, &[]),
    ("rbac.authorization.k8s.io", 17_000, &[]),
    ("storage.k8s.io", 16_800, &[("v1beta1", 9)]),
    ("apiextensions.k8s.io", 16_700, &[]),
    ("admissionregistration.k8s.io", 16_700, &[("v1beta1", 12), ("v1alpha1", 9)]),
    ("scheduling.k8s.io", 16_600, &[("v1alpha2", 9)]),
    ("coordination.k8s.io", 16_500, &[("v1beta1", 13), ("v1alpha2", 12)]),
    ("node.k8s.io", 16_300, &[]),
    ("discovery.k8s.io", 16_200, &[]),
    ("resource.k8s.io", 16_200, &[("v1", 21), ("v1beta2", 15), ("v1beta1", 9), ("v1alpha3", 1)]),
    ("flowcontrol.apiserver.k8s.io", 16_100, &[("v1", 21)]),
    ("internal.apiserver.k8s.io", 16_000, &[("v1alpha1", 9)]),
    ("storagemigration.k8s.io", 15_800, &[("v1beta1", 9)]),
];
const VERSION_PRIORITY: u16 = 15;
const CUSTOM_PRIORITY: (u16, u16) = (1_000, 100);
/// The group that APIServices are of serves itself; it is no service of another.
const OWN_GROUP: &str = "apiregistration.k8s.io";

/// All APIServices by name, and whether nobody answers for them: those of other servers are not asked.
pub fn unavailable(engine: &Engine) -> Vec<(String, bool)> {
    let services = Cluster::list(engine, TOPIC, None);
    let name = |service: &Value| service["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    services.iter().map(|service| (name(service), service["spec"]["service"].is_object())).collect()
}

/// The APIServices that a registry calls for, by name.
fn wanted(registry: &Registry) -> BTreeMap<String, Value> {
    let mut services = BTreeMap::new();
    for group in registry.groups().filter(|group| &*group.name != OWN_GROUP) {
        for version in &group.versions {
            let is_custom = version.rows().all(|row| row.custom.is_some());
            let (group_priority, version_priority) = priorities(&group.name, &version.name);
            let name = format!("{}.{}", version.name, group.name);
            let mut spec = json!({
                "version": version.name,
                "groupPriorityMinimum": group_priority,
                "versionPriority": version_priority,
            });
            if !group.name.is_empty() {
                spec["group"] = json!(group.name);
            }
            let object = json!({
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": name, "labels": {LABEL: if is_custom { CUSTOM } else { BUILT_IN }}},
                "spec": spec,
            });
            services.insert(name, object);
        }
    }
    services
}

fn priorities(group: &str, version: &str) -> (u16, u16) {
    match PRIORITIES.iter().find(|(known, ..)| *known == group) {
        None => CUSTOM_PRIORITY,
        Some((_, group, versions)) => {
            let own = versions.iter().find(|(known, _)| *known == version);
            (*group, own.map_or(VERSION_PRIORITY, |(_, priority)| *priority))
        }
    }
}

/// Brings the objects in step with what is served.
pub async fn reconcile(engine: &Engine, caller: &Caller) -> Result<(), Status> {
    let registry = engine.registry.load_full();
    let resource = registry.find_preferred(OWN_GROUP, "apiservices").ok_or_else(Status::no_such_path)?;
    let target = |name: &str| Target {
        resource: Arc::clone(resource),
        subresource: String::new(),
        namespace: String::new(),
        name: name.to_owned(),
    };
    let mut wanted = wanted(&registry);
    for existing in Cluster::list(engine, TOPIC, None) {
        let name = existing["metadata"]["name"].as_str().unwrap_or_default();
        let keeper = existing["metadata"]["labels"][LABEL].as_str();
        let result = match (wanted.remove(name), keeper) {
            // One without the label has been taken over by whoever took the label off.
            (_, None) => Ok(()),
            (None, Some(_)) => engine.delete(&target(name), caller, &DeleteOptions::default()).await.map(|_| ()),
            (Some(object), Some(_)) if object["spec"] == existing["spec"] => Ok(()),
            (Some(object), Some(_)) => {
                let edit = move |old: &Value| {
                    let mut new = old.clone();
                    new["spec"] = object["spec"].clone();
                    Ok(new)
                };
                engine.update(&target(name), caller, &Change::Edit(&edit)).await.map(|_| ())
            }
        };
        ignore(result, 404)?;
    }
    for mut object in wanted.into_values() {
        decode::complete(resource, &mut object)?;
        ignore(engine.create(&target(""), caller, object).await.map(|_| ()), 409)?;
    }
    Ok(())
}

/// Somebody else was faster; what is there now is looked at again.
fn ignore(result: Result<(), Status>, code: u16) -> Result<(), Status> {
    match result {
        Err(status) if status.code == code => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use api::registry::{RuntimeConfig, registry};

    use super::*;

    #[test]
    fn each_group_and_version_that_is_served_has_one() {
        let services = wanted(&registry(&RuntimeConfig::default()));
        let check = |name: &str, group: u16, version: u16| {
            let spec = &services[name]["spec"];
            assert_eq!(
                (&spec["groupPriorityMinimum"], &spec["versionPriority"]),
                (&json!(group), &json!(version)),
                "{name}"
            );
            assert_eq!(services[name]["metadata"]["labels"][LABEL], BUILT_IN);
        };
        check("v1.", 18_000, 1);
        check("v1.apps", 17_800, 15);
        check("v2.autoscaling", 17_500, 30);
        assert_eq!(services["v1."]["spec"].get("group"), None);
        assert!(!services.contains_key("v1.apiregistration.k8s.io"));
        // One that lacked a line in the table would be taken for custom.
        for (name, service) in &services {
            assert_ne!(service["spec"]["groupPriorityMinimum"], CUSTOM_PRIORITY.0, "{name}");
        }
    }
}
