use std::sync::Arc;

use super::{Registry, RuntimeConfig, RuntimeConfigError, compare_versions, registry};
use crate::resource::Resource;

fn stock() -> Registry {
    registry(&RuntimeConfig::default())
}

/// A custom row of that group, version and plural.
fn custom(group: &str, version: &str, plural: &str) -> Resource {
    let registry = stock();
    let mut row = Resource::clone(registry.find("", "v1", "configmaps").unwrap());
    (row.group, row.version, row.plural) = (group.into(), version.into(), plural.into());
    row
}

fn group_versions(registry: &Registry) -> Vec<String> {
    let versions = |group: &super::Group| {
        group.versions.iter().map(|version| format!("{}/{}", group.name, version.name)).collect::<Vec<_>>()
    };
    registry.groups().flat_map(versions).collect()
}

#[test]
fn serves_what_stock_serves_in_its_order() {
    let expected = "/v1 apiregistration.k8s.io/v1 apps/v1 events.k8s.io/v1 authentication.k8s.io/v1 \
        authorization.k8s.io/v1 autoscaling/v2 autoscaling/v1 batch/v1 certificates.k8s.io/v1 networking.k8s.io/v1 \
        policy/v1 rbac.authorization.k8s.io/v1 storage.k8s.io/v1 admissionregistration.k8s.io/v1 \
        apiextensions.k8s.io/v1 scheduling.k8s.io/v1 coordination.k8s.io/v1 node.k8s.io/v1 discovery.k8s.io/v1 \
        resource.k8s.io/v1 flowcontrol.apiserver.k8s.io/v1";
    assert_eq!(group_versions(&stock()).join(" "), expected);
}

#[test]
fn runtime_config_switches_versions() {
    let served = |config: &str, group: &str, version: &str| {
        let registry = registry(&RuntimeConfig::parse(config).unwrap());
        registry.group(group).is_some_and(|group| group.version(version).is_some())
    };
    assert!(!served("", "resource.k8s.io", "v1beta1"));
    assert!(served("resource.k8s.io/v1beta1=true", "resource.k8s.io", "v1beta1"));
    assert!(served("api/all", "scheduling.k8s.io", "v1alpha2"));
    assert!(served("api/beta=true", "networking.k8s.io", "v1beta1"));
    assert!(!served("api/beta=true", "scheduling.k8s.io", "v1alpha2"));
    assert!(!served("api/all=true,batch/v1=false", "batch", "v1"));
    assert!(!served("v1=false", "", "v1"));
    assert_eq!(RuntimeConfig::parse("nope/v1"), Err(RuntimeConfigError::Unknown("nope/v1".into())));
    assert_eq!(RuntimeConfig::parse("batch/v1=yes"), Err(RuntimeConfigError::Value("batch/v1=yes".into())));
}

#[test]
fn custom_groups_come_after_built_in_ones_by_name() {
    let registry = stock().with([custom("z.io", "v1", "zs"), custom("a.io", "v1alpha1", "as")]);
    let registry = registry.with([custom("a.io", "v1", "as"), custom("a.io", "v1beta1", "as")]);
    let names = group_versions(&registry);
    assert_eq!(names[names.len() - 4..], ["a.io/v1", "a.io/v1beta1", "a.io/v1alpha1", "z.io/v1"]);
    assert_eq!(&*registry.find_preferred("a.io", "as").unwrap().version, "v1");
}

#[test]
fn a_registry_is_a_value() {
    let before = stock();
    let with = before.with([custom("a.io", "v1", "as"), custom("apps", "v1", "as")]);
    assert!(before.find("a.io", "v1", "as").is_none());
    assert!(with.find("a.io", "v1", "as").is_some() && with.find("apps", "v1", "as").is_some());
    let without = with.without("a.io", "as").without("apps", "as");
    assert!(without.group("a.io").is_none() && without.find("apps", "v1", "as").is_none());
    let deployments = |registry: &Registry| Arc::clone(registry.find("apps", "v1", "deployments").unwrap());
    assert!(Arc::ptr_eq(&deployments(&before), &deployments(&without)));
    assert_eq!(group_versions(&before), group_versions(&without));
}

#[test]
fn finds_by_plural_and_by_kind() {
    let registry = stock();
    assert_eq!(&*registry.find("", "v1", "pods").unwrap().kind, "Pod");
    assert_eq!(&*registry.find_kind("apps", "v1", "Deployment").unwrap().plural, "deployments");
    assert!(registry.find("", "v1", "deployments").is_none() && registry.find("apps", "v2", "deployments").is_none());
    let events = registry.find("events.k8s.io", "v1", "events").unwrap();
    assert_eq!((&*events.storage.topic, &*events.storage.api_version), ("events", "v1"));
    let autoscalers = registry.find("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
    assert_eq!(&*autoscalers.storage.api_version, "autoscaling/v2");
    assert_eq!(&*autoscalers.storage.topic, "horizontalpodautoscalers.autoscaling");
}

#[test]
fn versions_are_preferred_as_kubernetes_does() {
    let mut names =
        ["foo1", "v1alpha1", "v10", "v2beta1", "v1", "v11alpha2", "v3beta1", "foo10", "v2", "v11beta2", "v"];
    names.sort_by(|a, b| compare_versions(a, b));
    let expected = ["v10", "v2", "v1", "v11beta2", "v3beta1", "v2beta1", "v11alpha2", "v1alpha1", "foo1", "foo10", "v"];
    assert_eq!(names, expected);
}
