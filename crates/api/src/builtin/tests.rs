use std::{collections::HashSet, time::Duration};

use document::types::{ListPatch, ListTopology, ObjectPatch, Scalar, Shape};
use serde_json::json;

use super::{groups, published::Published, types};

#[test]
fn each_row_of_the_table_has_a_schema_and_says_what_it_is() {
    let mut seen = HashSet::new();
    for group in groups() {
        for version in group.versions {
            let rows: Vec<_> = group.rows(version.name).collect();
            assert!(!rows.is_empty(), "{}/{} is empty", group.name, version.name);
            for row in rows {
                let name = format!("{}/{}", row.api_version(), row.plural);
                for field in ["apiVersion", "kind", "metadata"] {
                    assert!(row.root().field(field).is_some(), "{name} has no {field}");
                }
                assert!(!row.has_status() || row.root().field("status").is_some(), "{name} has no status");
                assert!(seen.insert(name.clone()), "{name} stands there twice");
            }
        }
    }
    assert!(seen.len() > 90, "only {} rows", seen.len());
}

/// Status is written by those who may write it: what a client sends with a creation is not believed.
#[test]
fn no_creation_brings_a_status_of_its_own() {
    // A node says itself what it is.
    let kept = ["nodes"];
    let mut seen = HashSet::new();
    for group in groups() {
        for row in group.versions.iter().flat_map(|version| group.rows(version.name)).filter(|row| row.has_status()) {
            let mut object = json!({"metadata": {}, "spec": {}, "status": {"forged": true}});
            (row.strategy.prepare_create)(&mut object);
            if object["status"]["forged"] == true {
                seen.insert(row.plural.to_string());
            }
        }
    }
    assert_eq!(seen, kept.map(str::to_owned).into());
}

#[test]
fn versions_that_a_kind_names_are_versions_of_its_group() {
    for group in groups() {
        let versions: Vec<&str> = group.versions.iter().map(|version| version.name).collect();
        for kind in group.kinds {
            for version in kind.versions.unwrap_or_default() {
                assert!(versions.contains(version), "{} of {} is in {version}", kind.kind, group.name);
            }
        }
    }
}

#[test]
fn bodies_of_subresources_have_schemas() {
    // These are query parameters, never documents.
    let options = ["NodeProxyOptions", "PodAttachOptions", "PodExecOptions", "PodPortForwardOptions"];
    let options: Vec<&str> = options.into_iter().chain(["PodProxyOptions", "ServiceProxyOptions"]).collect();
    for group in groups() {
        for row in group.versions.iter().flat_map(|version| group.rows(version.name)) {
            for (group, version, kind) in row.subresources.iter().filter_map(|part| part.body.as_ref()) {
                let name = super::type_name(group, version, kind).expect("a known group");
                assert!(options.contains(&&**kind) || types().named(&name).is_some(), "{name} has no schema");
            }
        }
    }
}

#[test]
fn tables_lie_over_the_schemas() {
    let types = types();
    let field = |name: &str, field: &str| {
        let owner = types.named(&format!("io.k8s.api.{name}")).expect(name);
        let (field, shape) = owner.field(field).expect(field);
        (field.clone(), shape.shape().clone())
    };
    let list = |name: &str, path: &str| match field(name, path).1 {
        Shape::List(list) => (list.topology, list.patch),
        other => panic!("{name}.{path} is {other:?}"),
    };
    let keys = |keys: &[&str]| ListTopology::Map(keys.iter().map(|key| (*key).into()).collect());
    assert_eq!(
        list("core.v1.Container", "ports"),
        (keys(&["containerPort", "protocol"]), ListPatch::MergeByKey("containerPort".into()))
    );
    assert_eq!(list("core.v1.PodSpec", "tolerations"), (ListTopology::Atomic, ListPatch::Replace));
    assert_eq!(list("core.v1.PodSpec", "volumes"), (keys(&["name"]), ListPatch::MergeByKey("name".into())));
    assert_eq!(field("core.v1.PodSpec", "volumes").0.patch, ObjectPatch::RetainKeys);
    assert_eq!(field("apps.v1.DeploymentSpec", "strategy").0.patch, ObjectPatch::RetainKeys);
    assert_eq!(field("policy.v1.PodDisruptionBudgetSpec", "selector").0.patch, ObjectPatch::Replace);
    let omitted = |name: &str, path: &str| field(name, path).0.omit_empty;
    assert!(omitted("core.v1.PodSpec", "hostNetwork") && omitted("core.v1.ConfigMap", "data"));
    assert!(!omitted("apps.v1.DeploymentSpec", "replicas") && !omitted("core.v1.PodSpec", "containers"));
    assert_eq!(field("core.v1.Container", "terminationMessagePath").0.default, Some(json!("/dev/termination-log")));
    assert_eq!(field("core.v1.Container", "resources").0.default, Some(json!({})));
    let atomic = |name: &str, path: &str| match field(name, path).1 {
        Shape::Object(object) => object.atomic,
        Shape::Map(map) => map.atomic,
        other => panic!("{name}.{path} is {other:?}"),
    };
    assert!(atomic("core.v1.EndpointAddress", "targetRef") && atomic("core.v1.PodSpec", "nodeSelector"));
    assert!(!atomic("core.v1.PersistentVolumeSpec", "claimRef") && !atomic("core.v1.ConfigMap", "data"));
}

#[test]
fn scalars_are_told_apart() {
    let types = types();
    let scalar = |name: &str| match types.named(name).expect(name).shape() {
        Shape::Scalar(scalar) => Some(*scalar),
        _ => None,
    };
    assert_eq!(scalar("io.k8s.apimachinery.pkg.api.resource.Quantity"), Some(Scalar::Quantity));
    assert_eq!(scalar("io.k8s.apimachinery.pkg.util.intstr.IntOrString"), Some(Scalar::IntOrString));
    assert_eq!(scalar("io.k8s.apimachinery.pkg.apis.meta.v1.Time"), Some(Scalar::Time));
    assert_eq!(scalar("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"), Some(Scalar::MicroTime));
    assert_eq!(scalar("io.k8s.apimachinery.pkg.runtime.RawExtension"), None);
    let secret = types.named("io.k8s.api.core.v1.Secret").and_then(|secret| secret.field("data"));
    let Some(Shape::Map(data)) = secret.map(|(_, data)| data.shape()) else { panic!("data is a map") };
    assert!(matches!(types.get(data.value).shape(), Shape::Scalar(Scalar::Bytes)));
}

#[test]
fn published_schemas_refer_only_to_each_other() {
    let published = Published::unpack();
    let names: HashSet<&str> = published.names().collect();
    assert!(names.len() > 600, "only {} definitions", names.len());
    for name in &names {
        assert!(published.schema(name).is_some_and(|schema| schema.is_object()), "{name}");
        for reference in published.references(name) {
            assert!(names.contains(reference), "{name} refers to {reference}");
        }
    }
}

/// The arena is read at every start, which is to take less than a third of a second in all.
#[test]
#[expect(clippy::disallowed_methods, reason = "measures, decides nothing")]
fn the_arena_is_read_quickly() {
    let text = include_str!(concat!(env!("OUT_DIR"), "/types.txt"));
    let start = std::time::Instant::now();
    drop(super::types::read(text));
    let took = start.elapsed();
    assert!(took < Duration::from_millis(200), "took {took:?}");
}

#[test]
fn what_is_special_about_kinds_is_said_of_kinds_there_are() {
    let topics: HashSet<String> = groups()
        .iter()
        .flat_map(|group| group.versions.iter().flat_map(|version| group.rows(version.name)))
        .map(|row| row.storage.topic.to_string())
        .collect();
    for topic in crate::kinds::topics() {
        assert!(topics.contains(topic), "no kind is stored as {topic}");
    }
}

/// Decoding, the tables' defaults and the kind's own defaults, together.
#[test]
fn defaults_are_those_of_kubernetes() {
    let rows: Vec<_> =
        groups().iter().flat_map(|group| group.versions.iter().flat_map(|version| group.rows(version.name))).collect();
    for case in include_str!("../../cases/defaults.txt").split("\n\n").filter(|case| !case.starts_with('#')) {
        let lines: Vec<&str> = case.lines().collect();
        let [kind, given, expected] = lines.as_slice() else { panic!("three lines a case: {case}") };
        let row = rows.iter().find(|row| format!("{} {}", row.api_version(), row.kind) == *kind).expect(kind);
        let mut document: serde_json::Value = serde_json::from_str(given).expect(given);
        let errors = document::check(&mut document, row.root()).expect(kind);
        assert_eq!(errors, Vec::<String>::new(), "{kind}");
        document::default(&mut document, row.root());
        (row.strategy.default)(&mut document);
        let expected: serde_json::Value = serde_json::from_str(expected).expect(expected);
        assert_eq!(document, expected, "{kind}: {document}");
        let once = document.clone();
        document::check(&mut document, row.root()).expect(kind);
        document::default(&mut document, row.root());
        (row.strategy.default)(&mut document);
        assert_eq!(document, once, "{kind}: defaults are not idempotent");
    }
}
