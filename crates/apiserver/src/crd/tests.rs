//! Values and definitions with the errors they bring about, as data in `cases/crd`.

use std::{path::Path, sync::Arc};

use api::resource::{Custom, Origin};
use document::types::Shape;
use serde_json::{Value, json};

use super::{
    definition,
    known::Known,
    row::rows,
    schema::{Schema, Validator},
    status::{FINALIZER, Termination, UsedNames, is_true, reconcile, terminating, without_finalizer},
};

fn cases(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/crd").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn compare(wrong: &mut Vec<String>, case: &Value, got: &[String]) {
    let expect: Vec<&str> = case["errors"].as_array().unwrap().iter().map(|error| error.as_str().unwrap()).collect();
    // A trailing `…` stands for any rest.
    let fits = |(expect, got): (&&str, &String)| match expect.strip_suffix('…') {
        Some(start) => got.starts_with(start),
        None => got == expect,
    };
    if expect.len() != got.len() || !expect.iter().zip(got).all(fits) {
        wrong.push(format!("{}:\n  expected {expect:#?}\n  got {got:#?}", case["name"]));
    }
}

#[test]
fn values_are_validated() {
    let mut wrong = Vec::new();
    for case in cases("values.json") {
        let validator = Validator::new(Schema::read(&case["schema"]), None, Origin::default());
        let mut errors = Vec::new();
        validator.validate(&case["value"], case.get("old"), &mut errors);
        compare(&mut wrong, &case, &errors.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn more_patterns_than_are_remembered_are_compiled_once_for_each_document() {
    let count = 700;
    let properties: serde_json::Map<String, Value> = (0..count)
        .map(|number| (format!("f{number}"), json!({"type": "string", "pattern": format!("^x{number}$")})))
        .collect();
    let item = json!({"type": "object", "properties": properties});
    let schema = json!({"type": "object", "properties": {"items": {"type": "array", "items": item}}});
    let validator = Validator::new(Schema::read(&schema), None, Origin::default());
    let fields: serde_json::Map<String, Value> =
        (0..count).map(|number| (format!("f{number}"), format!("x{number}").into())).collect();
    let before = crate::pattern::COMPILED.get();
    let mut errors = Vec::new();
    validator.validate(&json!({"items": vec![Value::from(fields); 10]}), None, &mut errors);
    assert_eq!(errors.len(), 0);
    let compiled = crate::pattern::COMPILED.get() - before;
    assert!((1..=count).contains(&compiled), "{compiled} patterns were compiled");
}

/// A definition without faults.
fn sound() -> Value {
    json!({
        "metadata": {"name": "widgets.example.com", "generation": 1},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    })
}

/// A JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (name, value) in fields {
                if value.is_null() {
                    target.as_object_mut().unwrap().remove(name);
                } else {
                    merge(&mut target[name], value);
                }
            }
        }
        other => *target = other.clone(),
    }
}

#[test]
fn definitions_are_validated() {
    let mut wrong = Vec::new();
    for case in cases("definitions.json") {
        let mut definition = sound();
        if let Some(patch) = case.get("patch") {
            merge(&mut definition, patch);
        }
        if let Some(schema) = case.get("schema") {
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema.clone();
        }
        if let Some(version) = case.get("version") {
            merge(&mut definition["spec"]["versions"][0], version);
        }
        let strategy = definition::STRATEGY;
        (strategy.default)(&mut definition);
        (strategy.prepare_create)(&mut definition);
        let mut errors = Vec::new();
        (strategy.validate_create)(&definition, &mut errors);
        let texts: Vec<String> =
            errors.iter().map(|error| error.to_string().replace("spec.validation.openAPIV3Schema", "~")).collect();
        compare(&mut wrong, &case, &texts);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn updates_keep_what_must_stay() {
    let strategy = definition::STRATEGY;
    let mut old = sound();
    (strategy.default)(&mut old);
    (strategy.prepare_create)(&mut old);
    old["status"] = reconcile(&old, &UsedNames::default(), "2026-01-01T00:00:00Z").unwrap();
    let mut new = old.clone();
    new["spec"]["scope"] = "Cluster".into();
    new["spec"]["versions"][0]["name"] = "v2".into();
    (strategy.prepare_update)(&mut new, &old);
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    let mut errors = Vec::new();
    (strategy.validate_update)(&new, &old, &mut errors);
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(
        texts[0].starts_with("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions;"),
        "{texts:?}"
    );
    assert_eq!(texts[1], "spec.scope: Invalid value: \"Cluster\": field is immutable");
}

#[test]
fn names_are_accepted_once() {
    let mut first = sound();
    (definition::STRATEGY.default)(&mut first);
    let now = "2026-01-01T00:00:00Z";
    first["status"] = reconcile(&first, &UsedNames::default(), now).unwrap();
    assert_eq!(
        first["status"]["acceptedNames"],
        json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"})
    );
    assert_eq!(reconcile(&first, &UsedNames::default(), now), None);

    let mut used = UsedNames::default();
    used.add(&first["status"]["acceptedNames"]);
    let mut second = sound();
    second["spec"]["names"] =
        json!({"plural": "gadgets", "singular": "gadget", "kind": "Widget", "listKind": "GadgetList"});
    let status = reconcile(&second, &used, now).unwrap();
    let condition =
        |name: &str| status["conditions"].as_array().unwrap().iter().find(|known| known["type"] == name).unwrap();
    assert_eq!(condition("NamesAccepted")["reason"], "KindConflict");
    assert_eq!(condition("NamesAccepted")["message"], "\"Widget\" is already in use");
    assert_eq!(condition("Established")["status"], "False");
}

#[test]
fn deletion_begins_with_all_that_makes_it_safe() {
    let mut definition = sound();
    definition["metadata"]["finalizers"] = json!(["example.com/own"]);
    (definition::STRATEGY.default)(&mut definition);
    let (then, now) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    definition["status"] = reconcile(&definition, &UsedNames::default(), then).unwrap();
    assert!(Known::read(&definition, 1).is_served());
    (definition::STRATEGY.prepare_delete)(&mut definition, now);
    assert_eq!(definition["metadata"]["deletionTimestamp"], now);
    assert_eq!(definition["metadata"]["finalizers"], json!(["example.com/own", FINALIZER]));
    assert!(is_true(&definition, "Terminating") && is_true(&definition, "Established"));
    let known = Known::read(&definition, 2);
    assert!(known.deleting && known.has_finalizer && known.is_served());

    definition["status"] = terminating(&definition, Termination::Completed, now);
    assert!(!is_true(&definition, "Terminating"));
    let cleared = without_finalizer(&definition);
    assert_eq!(cleared["metadata"]["finalizers"], json!(["example.com/own"]));
    assert!(!Known::read(&cleared, 3).is_served());
}

#[test]
fn a_definition_becomes_a_row() {
    let mut definition = sound();
    merge(
        &mut definition["spec"]["versions"][0],
        &json!({
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "additionalPrinterColumns": [{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}],
            "selectableFields": [{"jsonPath": ".spec.color"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "integer", "default": 1}}}}}},
        }),
    );
    (definition::STRATEGY.default)(&mut definition);
    definition["status"] = reconcile(&definition, &UsedNames::default(), "2026-01-01T00:00:00Z").unwrap();
    let rows = rows(&definition, &|types| types.add(Shape::Any));
    let [row] = &rows[..] else { panic!("one version is served") };
    assert_eq!(
        (&*row.storage.topic, &*row.storage.api_version, &*row.kind),
        ("widgets.example.com", "example.com/v1", "Widget")
    );
    assert!(row.subresource("status").is_some() && row.subresource("scale").unwrap().scale.is_some());
    assert_eq!(row.columns.iter().map(|column| &*column.name).collect::<Vec<_>>(), ["Name", "Replicas"]);
    assert_eq!(&*row.selectable[0].label, "spec.color");
    let (_, spec) = row.root().field("spec").unwrap();
    assert_eq!(spec.field("replicas").unwrap().0.default, Some(json!(1)));
    assert!(row.root().field("metadata").is_some());
    let _shared: Arc<_> = Arc::clone(row.custom.as_ref().unwrap());
}
