//! Instances and their definition, in an engine that keeps definitions in step.

use serde_json::json;

use super::*;
use crate::{
    engine::{
        Caller, decode,
        delete::DeleteOptions,
        patch::{Change, Patch},
        testing::{self, engine},
    },
    upkeep::definitions::{self, Memory},
};

fn merge(patch: Value) -> Patch {
    Patch::Merge { patch, complaints: Vec::new() }
}

/// Widgets: the version that is stored knows `spec.r`, `spec.tags` and `status.s`, another one `spec.extra` too.
async fn widgets(memory: &mut Memory) -> Arc<Engine> {
    let engine = engine(Vec::new()).await;
    let version = |name: &str, storage: bool, extra: Value| {
        let mut spec = json!({"r": {"x-kubernetes-preserve-unknown-fields": true}, "tags": {
            "type": "object", "additionalProperties": {"type": "string"},
        }});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let paths = json!({"specReplicasPath": ".spec.r", "statusReplicasPath": ".status.r"});
        json!({
            "name": name, "served": true, "storage": storage,
            "subresources": {"status": {}, "scale": paths},
            "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": spec}, "status": any},
            }},
        })
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                version("v1", true, json!({})),
                version("v2", false, json!({"extra": {"type": "integer"}})),
            ],
        },
    });
    let created =
        testing::create(&engine, "apiextensions.k8s.io", "customresourcedefinitions", definition, true).await.unwrap();
    assert_eq!(
        created["status"],
        json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": ["v1"]})
    );
    let definition = json!({"apiVersion": created["apiVersion"], "kind": created["kind"], "spec": created["spec"],
        "metadata": {"name": "widgets.example.com"}});
    testing::create(&engine, "apiextensions.k8s.io", "customresourcedefinitions", definition, false).await.unwrap();
    in_step(&engine, memory).await;
    engine
}

/// Until nothing is left to be done: each look acts on what the one before has stored.
async fn in_step(engine: &Engine, memory: &mut Memory) {
    let mut before = 0;
    while before != engine.store.revision() {
        before = engine.store.revision();
        definitions::keep_in_step(engine, memory).await.unwrap();
    }
}

fn target(engine: &Engine, group: &str, version: &str, plural: &str, name: &str) -> Target {
    let resource = engine.registry.load().find(group, version, plural).cloned().unwrap();
    let namespace = if resource.is_namespaced() { "default".to_owned() } else { String::new() };
    Target { resource, subresource: String::new(), namespace, name: name.to_owned() }
}

fn widget(engine: &Engine, version: &str, name: &str) -> Target {
    target(engine, "example.com", version, "widgets", name)
}

async fn create(engine: &Engine, version: &str, dry_run: bool, spec: Value) -> Result<Value, Status> {
    let mut document = json!({
        "apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": "a"}, "spec": spec,
    });
    let target = widget(engine, version, "");
    decode::complete(&target.resource, &mut document)?;
    let caller = Caller { dry_run, ..Caller::default() };
    engine.create(&target, &caller, document).await?.into_document(&target.resource)
}

async fn patch(engine: &Engine, version: &str, subresource: &str, patch: Value) -> Result<Value, Status> {
    let target = Target { subresource: subresource.to_owned(), ..widget(engine, version, "a") };
    let patch = merge(patch);
    engine.update(&target, &Caller::default(), &Change::Patch(&patch)).await?.into_document(&target.resource)
}

#[tokio::test]
async fn no_version_shows_what_the_stored_one_does_not_know() {
    let engine = widgets(&mut Memory::default()).await;
    let kept = json!({"r": 1, "tags": {"a": "b"}});
    let spec = json!({"r": 1, "tags": {"a": "b", "none": null}, "extra": 5});
    assert_eq!(create(&engine, "v2", true, spec.clone()).await.unwrap()["spec"], kept);
    assert_eq!(create(&engine, "v2", false, spec).await.unwrap()["spec"], kept);
    assert_eq!(patch(&engine, "v2", "", json!({"spec": {"extra": 6}})).await.unwrap()["spec"], kept);
    for version in ["v1", "v2"] {
        let (_, document) = engine.current(&widget(&engine, version, "a")).unwrap();
        assert_eq!((&document["spec"], &document["apiVersion"]), (&kept, &json!(format!("example.com/{version}"))));
    }
}

#[tokio::test]
async fn scales_are_numbers_of_pods() {
    let engine = widgets(&mut Memory::default()).await;
    let refused = |result: Result<Value, Status>, expect: &str| {
        let status = result.unwrap_err();
        assert_eq!((status.code, status.message), (422, format!("Widget.example.com \"a\" is invalid: {expect}")));
    };
    let negative = ".spec.r: Invalid value: -5: should be a non-negative integer";
    refused(create(&engine, "v1", true, json!({"r": -5})).await, negative);
    create(&engine, "v1", false, json!({"r": 5})).await.unwrap();
    refused(patch(&engine, "v1", "", json!({"spec": {"r": -5}})).await, negative);
    refused(
        patch(&engine, "v1", "status", json!({"status": {"r": "x"}})).await,
        ".status.r: Invalid value: 0: .status.r accessor error: x is of the type string, expected int64",
    );
    patch(&engine, "v1", "status", json!({"status": {"r": 2}})).await.unwrap();
}

#[tokio::test]
async fn a_definition_goes_whatever_it_says_of_stored_versions() {
    let mut memory = Memory::default();
    let engine = widgets(&mut memory).await;
    let definition = target(&engine, "apiextensions.k8s.io", "v1", "customresourcedefinitions", "widgets.example.com");
    let status = Target { subresource: "status".to_owned(), ..definition.clone() };
    let unknown = merge(json!({"status": {"storedVersions": ["v1", "v9"]}}));
    engine.update(&status, &Caller::default(), &Change::Patch(&unknown)).await.unwrap();
    engine.delete(&definition, &Caller::default(), &DeleteOptions::default()).await.unwrap();
    in_step(&engine, &mut memory).await;
    assert_eq!(engine.current(&definition).unwrap_err().code, 404);
}

#[tokio::test]
async fn a_write_to_the_status_is_about_the_status_and_its_owners() {
    let engine = engine(Vec::new()).await;
    let labels = json!({"app": "a"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    });
    testing::create(&engine, "apps", "deployments", deployment, false).await.unwrap();
    let mut target = target(&engine, "apps", "v1", "deployments", "a");
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
    let change = json!({"metadata": {"annotations": {"x": "1"}, "ownerReferences": [owner, owner]}});
    target.subresource = "status".to_owned();
    let change = merge(change);
    let caller = Caller { warnings: crate::warnings::Warnings::kept(), ..Caller::default() };
    let written = engine.update(&target, &caller, &Change::Patch(&change)).await.unwrap();
    let metadata = &written.into_document(&target.resource).unwrap()["metadata"];
    assert_eq!((&metadata["generation"], &metadata["annotations"]), (&json!(1), &json!({"x": "1"})));
    assert_eq!(metadata["ownerReferences"], json!([owner]));
    let expect = ".metadata.ownerReferences contains duplicate entries after mutating admission happens; API server \
                  dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your \
                  requests; duplicate UID(s) observed: u";
    assert_eq!(caller.warnings.noted(), [expect]);
    let wrong = merge(json!({"metadata": {"ownerReferences": [
        {"apiVersion": "a/b/c", "kind": "Pod", "name": "p", "uid": "u"},
    ]}}));
    target.subresource.clear();
    let status = engine.update(&target, &caller, &Change::Patch(&wrong)).await.map(drop).unwrap_err();
    assert!(status.message.contains("ownerReferences.apiVersion: Invalid value: \"a/b/c\": version must not be empty"));
    let unnamed = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {"l": "1"}}});
    let unnamed = Patch::Apply { config: unnamed, force: false, warnings: Vec::new() };
    let written = engine.update(&target, &caller, &Change::Patch(&unnamed)).await.unwrap();
    assert_eq!(written.into_document(&target.resource).unwrap()["metadata"]["labels"], json!({"l": "1"}));
}
